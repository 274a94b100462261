"""Errors: status, the four keys of the error object, request ids, unknown paths and methods."""

import openai
import pytest

from server import MODEL


def error_of(answer):
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}, "all four keys, always"
    assert isinstance(error["message"], str) and error["message"]
    assert answer.headers["x-request-id"]
    return error


def test_an_unknown_model_is_404_and_not_retried(http, client, chat):
    answer = http.post("/v1/chat/completions", json={**chat(), "model": "nobody"})
    assert answer.status_code == 404 and error_of(answer)["code"] == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_a_prompt_that_is_too_long_is_context_length_exceeded(http, chat):
    answer = http.post("/v1/chat/completions", json=chat("word " * 5000))
    assert answer.status_code == 400 and error_of(answer)["code"] == "context_length_exceeded"


WRONG = [
    ("messages", None), ("messages", []), ("messages", "hello"), ("messages", [{}]), ("messages", [{"role": "wizard"}]),
    ("messages", [{"role": "user"}]), ("messages", [{"role": "user", "content": 5}]),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
    ("model", 5), ("temperature", "hot"), ("temperature", -1), ("temperature", 3), ("top_p", 2), ("top_k", "many"),
    ("min_p", 1.5), ("n", 0), ("n", 1000), ("n", 1.5), ("stream", "yes"), ("stop", 5), ("stop", ["x"] * 17),
    ("stop", [""]), ("max_tokens", -1), ("max_tokens", 0), ("max_tokens", "ten"), ("seed", "x"), ("logprobs", 3),
    ("top_logprobs", 21), ("top_logprobs", 2), ("logit_bias", {"1": 200}), ("logit_bias", {"x": 1}),
    ("logit_bias", {"99999999": 1}), ("presence_penalty", 3), ("frequency_penalty", -3), ("repetition_penalty", 0),
    ("tools", "hammer"), ("tools", [{}]), ("tool_choice", "maybe"), ("tools", [{"type": "function"}]),
    ("response_format", {"type": "xml"}), ("response_format", {"type": "json_schema"}),
    ("response_format", {"type": "json_schema", "json_schema": {"schema": {}}}),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": [1]}}),
    ("guided_json", "{"), ("guided_regex", ""), ("guided_choice", []), ("guided_choice", [1]), ("guided_grammar", 5),
    ("structured_outputs", {"json": 5}), ("parallel_tool_calls", "yes"),
    ("function_call", "auto"), ("functions", [{"name": "x"}]), ("stream_options", {"include_usage": True}),
    ("modalities", ["audio"]), ("chat_template_kwargs", 5), ("priority", "high"),
]


@pytest.mark.parametrize("field,value", WRONG)
def test_a_wrong_field_is_400_and_named(http, chat, field, value):
    answer = http.post("/v1/chat/completions", json={**chat(max_tokens=1), field: value})
    assert answer.status_code == 400, answer.text
    assert error_of(answer)["param"].startswith(field), answer.text


@pytest.mark.parametrize("field", ["model", "messages"])
def test_a_missing_field_is_named(http, chat, field):
    body = chat()
    del body[field]
    answer = http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400 and field in error_of(answer)["message"]


def test_json_that_is_broken_is_400(http):
    for body in (b"", b"{", b"[]", b"null", b'{"model": "\xff"}', b'{"a": 1, "a": 2}', b"[" * 100000):
        answer = http.post("/v1/chat/completions", content=body)
        assert answer.status_code == 400, body[:20]
        error_of(answer)


def test_an_unknown_path_is_404_and_a_wrong_method_405_with_allow(http):
    assert error_of(http.get("/v1/nothing"))["code"] == "unknown_url"
    answer = http.get("/v1/chat/completions")
    assert answer.status_code == 405 and answer.headers["allow"] == "POST, OPTIONS"
    assert error_of(answer)["code"] == "method_not_allowed"
    answer = http.delete("/v1/models")
    assert answer.status_code == 405 and answer.headers["allow"] == "GET, HEAD, OPTIONS"


def test_head_is_get_without_the_body(http):
    answer = http.head("/v1/models")
    assert answer.status_code == 200 and not answer.content and int(answer.headers["content-length"]) > 0


def test_options_tells_the_methods(http):
    answer = http.options("/v1/chat/completions")
    assert answer.status_code == 204 and answer.headers["allow"] == "POST, OPTIONS"
    assert "access-control-allow-origin" not in answer.headers


def test_a_request_id_is_repeated_if_it_is_sane_and_replaced_if_not(http):
    assert http.get("/health", headers={"x-request-id": "abc-123_x.y"}).headers["x-request-id"] == "abc-123_x.y"
    for bad in ("a b", "x" * 65, "<script>"):
        assert http.get("/health", headers={"x-request-id": bad}).headers["x-request-id"].startswith("req_")
    assert http.get("/nothing", headers={"x-request-id": "on-errors-too"}).headers["x-request-id"] == "on-errors-too"


def test_the_sdk_shows_the_request_id(client, chat):
    answer = client.chat.completions.create(model=MODEL, messages=chat()["messages"], max_tokens=1)
    assert answer._request_id.startswith("req_")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=[], max_tokens=1)
    assert caught.value.request_id.startswith("req_") and caught.value.type == "invalid_request_error"


def test_jsontestsuite_bodies_never_make_a_server_error(http, shared):
    for file in sorted(shared("data/conf/JSONTestSuite/test_parsing").iterdir()):
        answer = http.post("/v1/chat/completions", content=file.read_bytes())
        assert answer.status_code == 400, file.name
        error_of(answer)
