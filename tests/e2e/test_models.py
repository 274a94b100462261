"""Models, tokenization, health, metrics, the front page."""

import httpx

from openapi import validator
from server import MODEL, MODEL_FILE, wait_until


def test_models_are_listed_and_described(client, http, shared):
    path = shared("data/conf/openai_openapi.json")
    validator(path, "ListModelsResponse").validate(http.get("/v1/models").json())
    validator(path, "Model").validate(http.get(f"/v1/models/{MODEL}").json())
    assert client.models.retrieve(MODEL).id == MODEL


def test_tokenize_and_detokenize_are_inverse(http):
    text = "Once upon a time, \u4f60\u597d \U0001f600"
    answer = http.post("/tokenize", json={"model": MODEL, "prompt": text, "add_special_tokens": False}).json()
    assert answer["count"] == len(answer["tokens"]) and answer["max_model_len"] > 0
    assert http.post("/detokenize", json={"model": MODEL, "tokens": answer["tokens"]}).json()["prompt"] == text


def test_tokenize_counts_a_conversation_as_chat_does(client, http, chat):
    count = http.post("/tokenize", json={"messages": chat()["messages"]}).json()["count"]
    answer = client.chat.completions.create(**chat(max_tokens=1))
    assert answer.usage.prompt_tokens == count


def test_detokenize_refuses_what_is_no_token(http):
    for tokens in ([10**9], [-1], [2**40]):
        answer = http.post("/detokenize", json={"tokens": tokens})
        assert answer.status_code == 400 and answer.json()["error"]["param"] == "tokens"


def test_health_tells_the_engine(http):
    assert http.get("/health/live").json() == {"status": "ok"}
    for path in ("/health", "/health/ready"):
        answer = http.get(path)
        assert answer.status_code == 200 and answer.json()["models"][0]["engine"] == "ready"


def test_metrics_are_prometheus_text_and_count(server, http, chat):
    before = server.metric("mosa_engine_generated_tokens_total")
    http.post("/v1/chat/completions", json=chat(max_tokens=5, ignore_eos=True))
    wait_until(lambda: server.metric("mosa_engine_generated_tokens_total") >= before + 5, 3)
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'mosa_http_requests_total{route="/v1/chat/completions",code="200"}' in answer.text
    assert "# TYPE mosa_first_token_seconds histogram" in answer.text


def test_the_front_page_says_what_this_is(http):
    answer = http.get("/")
    assert answer.status_code == 200 and "Mosa" in answer.text and MODEL in answer.text


def test_two_models_are_served_side_by_side(start, chat):
    server = start("--model", f"other={MODEL_FILE}")
    models = [model["id"] for model in httpx.get(server.url + "/v1/models").json()["data"]]
    assert models == [MODEL, "other"]
    for model in models:
        answer = httpx.post(server.url + "/v1/chat/completions", json={**chat(max_tokens=1), "model": model}, timeout=30)
        assert answer.json()["model"] == model
