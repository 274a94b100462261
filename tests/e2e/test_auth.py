"""The static bearer key, and CORS."""

import httpx
import openai
import pytest

from server import MODEL, Server

KEY = "secret-key-1"


@pytest.fixture(scope="module")
def locked():
    with Server("--api-key", KEY, "--api-key", "second", "--allowed-origins", "https://app.example") as running:
        yield running


def test_without_a_key_401_invalid_api_key(locked, chat):
    answer = httpx.post(locked.url + "/v1/chat/completions", json=chat())
    assert answer.status_code == 401 and answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer", KEY, "Basic " + KEY, "Bearer " + KEY + "x",
                                    "Bearer " + KEY[:-1], "Bearer " + "x" * 4000])
def test_a_wrong_key_is_401(locked, header):
    assert httpx.get(locked.url + "/v1/models", headers={"Authorization": header}).status_code == 401


@pytest.mark.parametrize("key", [KEY, "second"])
def test_a_right_key_opens(locked, key):
    client = openai.OpenAI(base_url=locked.url + "/v1", api_key=key)
    assert client.models.list().data[0].id == MODEL


def test_health_needs_no_key_and_metrics_do(locked):
    assert httpx.get(locked.url + "/health").status_code == 200
    assert httpx.get(locked.url + "/metrics").status_code == 401
    assert httpx.get(locked.url + "/metrics", headers={"Authorization": "Bearer " + KEY}).status_code == 200


def test_the_key_is_not_in_the_log(locked):
    assert KEY not in locked.log()


def test_a_listed_origin_is_allowed_and_others_are_not(locked):
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    answer = httpx.options(locked.url + "/v1/chat/completions", headers={"Origin": "https://app.example", **ask})
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "authorization" in answer.headers["access-control-allow-headers"]
    answer = httpx.options(locked.url + "/v1/chat/completions", headers={"Origin": "https://evil.example", **ask})
    assert "access-control-allow-origin" not in answer.headers
