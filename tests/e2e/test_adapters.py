"""LoRA adapters over HTTP: listed, chosen as models, loaded and dropped while serving, kept over an engine's death."""

import os
import signal
import subprocess

import httpx
import pytest

from server import BIN, MODEL, ROOT, wait_until



BASE = ROOT / "tests/golden/families/small-llama"
ADAPTERS = ROOT / "tests/golden/adapters/small-llama"
KEY = {"authorization": "Bearer secret"}


class Api:
    def __init__(self, server):
        self.server = server
        self.http = httpx.Client(base_url=server.url, headers=KEY, timeout=30)

    def complete(self, model, **fields):
        body = {"model": model, "prompt": "The ship that we saw", "max_tokens": 12, "temperature": 0, "logprobs": 0,
                "ignore_eos": True, **fields}
        return self.http.post("/v1/completions", json=body)

    def logprobs(self, model):
        answer = self.complete(model)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == model
        return answer.json()["choices"][0]["logprobs"]["token_logprobs"]

    def names(self):
        return [entry["id"] for entry in self.http.get("/v1/models").json()["data"]]

    def load(self, name, path, **fields):
        return self.http.post("/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(path), **fields})

    def unload(self, name):
        return self.http.post("/v1/unload_lora_adapter", json={"lora_name": name})


@pytest.fixture
def api(start):
    server = start("--api-key", "secret", "--adapter", f"plain={ADAPTERS / 'plain'}", "--max-adapters", "3", model=BASE)
    return Api(server)


def test_an_adapter_is_a_model_with_a_parent(api):
    entries = {entry["id"]: entry for entry in api.http.get("/v1/models").json()["data"]}
    assert list(entries) == [MODEL, "plain"]
    assert entries["plain"]["parent"] == MODEL and entries["plain"]["root"] == str(ADAPTERS / "plain")
    assert api.http.get("/v1/models/plain").json() == entries["plain"]
    assert api.logprobs("plain") != api.logprobs(MODEL)


def test_gguf_and_peft_forms_answer_alike(api):
    assert api.load("same", ADAPTERS / "plain.gguf").status_code == 200
    assert api.logprobs("same") == api.logprobs("plain")


def test_adapters_come_and_go_while_serving(api):
    assert api.complete("wide").json()["error"]["code"] == "model_not_found"
    answer = api.load("wide", ADAPTERS / "wide", base_model_name=MODEL)
    assert answer.status_code == 200 and answer.json()["id"] == "wide" and answer.json()["parent"] == MODEL
    assert api.names() == [MODEL, "plain", "wide"]
    assert api.logprobs("wide") != api.logprobs("plain")
    assert api.unload("wide").status_code == 200
    assert api.names() == [MODEL, "plain"]
    missing = api.complete("wide")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "model_not_found"


def test_what_cannot_be_loaded_is_refused_and_disturbs_nobody(api):
    before = api.logprobs("plain")
    assert api.load("plain", ADAPTERS / "wide").status_code == 400  # the name is taken
    assert api.load(MODEL, ADAPTERS / "wide").status_code == 400
    assert api.load("x", "/no/such/folder").status_code == 404
    assert api.load("x", ADAPTERS / "wide", base_model_name="nobody").status_code == 404
    foreign = api.load("x", ROOT / "tests/golden/adapters/small-qwen3/plain")
    assert foreign.status_code == 400 and "lora_" in foreign.json()["error"]["message"]
    for body in ({}, {"lora_name": "x"}, {"lora_name": "", "lora_path": "y"}, {"lora_name": "x" * 200, "lora_path": "y"}):
        assert api.http.post("/v1/load_lora_adapter", json=body).status_code == 400
    missing = api.unload("nobody")
    assert missing.status_code == 404 and set(missing.json()["error"]) == {"message", "type", "param", "code"}
    for name in ("b", "c"):
        assert api.load(name, ADAPTERS / "plain").status_code == 200
    full = api.load("d", ADAPTERS / "plain")
    assert full.status_code >= 400 and "max_adapters" in full.json()["error"]["message"]
    assert api.names() == [MODEL, "plain", "b", "c"]
    assert api.logprobs("plain") == before


def test_adapters_survive_the_death_of_an_engine(api):
    assert api.load("wide", ADAPTERS / "wide").status_code == 200
    before = {name: api.logprobs(name) for name in (MODEL, "plain", "wide")}
    os.kill(api.server.engine_pid(), signal.SIGKILL)
    for name, logprobs in before.items():
        assert api.logprobs(name) == logprobs
    assert api.names() == [MODEL, "plain", "wide"]


def test_loading_needs_the_key(api, start):
    api.http.headers = {}
    assert api.load("wide", ADAPTERS / "wide").status_code == 401
    open_server = start("--adapter", f"plain={ADAPTERS / 'plain'}", model=BASE)
    closed = httpx.post(open_server.url + "/v1/load_lora_adapter",
                        json={"lora_name": "wide", "lora_path": str(ADAPTERS / "wide")})
    assert closed.status_code == 403
    assert Api(open_server).logprobs("plain")


def test_an_adapter_that_does_not_load_leaves_the_model_serving(start):
    api = Api(start("--adapter", "gone=/no/such/folder", model=BASE))
    assert api.names() == [MODEL]
    assert api.logprobs(MODEL)
    assert "adapter could not be loaded" in api.server.log()


def test_streams_with_different_adapters_run_side_by_side(api):
    assert api.load("wide", ADAPTERS / "wide").status_code == 200
    alone = {name: api.complete(name, seed=3, temperature=1).json()["choices"][0]["text"] for name in (MODEL, "plain", "wide")}
    import concurrent.futures
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        jobs = [(name, pool.submit(api.complete, name, seed=3, temperature=1)) for name in list(alone) * 8]
        for name, job in jobs:
            assert job.result().json()["choices"][0]["text"] == alone[name]


def test_the_command_line_answers_with_an_adapter():
    def run(*flags):
        command = [BIN, "run", BASE, "The ship", "--raw", "--max-tokens", "8", "--temperature", "0", *flags]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)

    plain, adapted = run(), run("--adapter", ADAPTERS / "plain")
    assert plain.returncode == adapted.returncode == 0, adapted.stderr
    assert plain.stdout != adapted.stdout
    wrong = run("--adapter", BASE)
    assert wrong.returncode == 1 and "adapter_config.json" in wrong.stderr
