"""Encoders: /v1/embeddings, /v1/rerank and /v1/score, on tiny random models whose answers transformers wrote down."""

import array
import json
import math
import shutil
import subprocess

import httpx
import openai
import pytest

from server import BIN, MODEL, ROOT, Server

FOLDER = ROOT / "tests/golden/encoders"


def expected(case):
    return json.loads((FOLDER / case / "expected.json").read_text())


def values(case, name, width=1):
    """Rows of `width` floats (or, by default, floats) of a file of little-endian float32."""
    flat = array.array("f", (FOLDER / case / name).read_bytes())
    return list(flat) if width == 1 else [list(flat[i:i + width]) for i in range(0, len(flat), width)]


def unit(row):
    length = math.sqrt(sum(v * v for v in row))
    return [v / length for v in row]


@pytest.fixture(scope="module", params=[".", "model-f16.gguf"])
def ranker(request):
    with Server(model=FOLDER / "small-rank" / request.param) as running:
        with httpx.Client(base_url=running.url, timeout=60) as plain:
            yield plain


@pytest.fixture(scope="module")
def encoder():
    with Server(model=FOLDER / "small-bert") as running:
        yield running


def rerank(http, **fields):
    case = expected("small-rank")
    return http.post("/v1/rerank", json={"model": MODEL, "query": case["query"], "documents": case["texts"], **fields})


def scores():
    return values("small-rank", "scores-hf.f32")


def best_first():
    return sorted(range(len(scores())), key=lambda i: -scores()[i])


def test_scores_are_those_of_transformers_best_first(ranker):
    answer = rerank(ranker).json()
    assert [r["index"] for r in answer["results"]] == best_first()
    for result in answer["results"]:
        assert result["relevance_score"] == pytest.approx(scores()[result["index"]], abs=1e-4)
        assert set(result) == {"index", "relevance_score"}
    tokens = sum(len(ids) for ids in expected("small-rank")["prompts"])
    assert answer["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert answer["model"] == MODEL and answer["id"].startswith("rerank-")


def test_pairs_of_roberta_have_two_separators_and_one_type():
    case = expected("small-roberta-rank")
    with Server(model=FOLDER / "small-roberta-rank") as running:
        body = {"model": MODEL, "text_1": case["query"], "text_2": case["texts"]}
        answer = httpx.post(running.url + "/v1/score", json=body).json()
    want = values("small-roberta-rank", "scores-hf.f32")
    assert [d["score"] for d in answer["data"]] == pytest.approx(want, abs=1e-4)
    assert answer["usage"]["total_tokens"] == sum(len(ids) for ids in case["prompts"])


def test_objects_top_n_and_returned_documents(ranker):
    texts = expected("small-rank")["texts"]
    answer = rerank(ranker, documents=[{"text": t} for t in texts], top_n=2, return_documents=True).json()
    assert [r["document"]["text"] for r in answer["results"]] == [texts[i] for i in best_first()[:2]]
    assert ranker.post("/rerank", json={"model": MODEL, "query": "a", "documents": ["b"], "top_n": 9}).status_code == 200


def test_the_score_route_keeps_the_order(ranker):
    case = expected("small-rank")
    for first in (case["query"], [case["query"]], [case["query"]] * len(case["texts"])):
        answer = ranker.post("/v1/score", json={"model": MODEL, "text_1": first, "text_2": case["texts"]}).json()
        assert [d["score"] for d in answer["data"]] == pytest.approx(scores(), abs=1e-4)
    one = ranker.post("/score", json={"model": MODEL, "text_1": case["query"], "text_2": case["texts"][1]}).json()
    assert [d["score"] for d in one["data"]] == pytest.approx(scores()[1:2], abs=1e-4)


def test_many_documents_do_not_disturb_each_other(ranker):
    texts = expected("small-rank")["texts"]
    answer = rerank(ranker, documents=texts * 50).json()
    found = {r["index"]: r["relevance_score"] for r in answer["results"]}
    assert all(found[i] == found[i % len(texts)] for i in range(len(texts) * 50))


@pytest.mark.parametrize("fields,param", [
    ({"documents": []}, "documents"), ({"documents": [1]}, "documents"), ({"documents": [{"title": "x"}]}, "documents"),
    ({"top_n": 0}, "top_n"), ({"query": None}, "query"), ({"documents": ["word " * 2000]}, "documents"),
    ({"documents": ["x"] * 5000}, "documents")])
def test_what_is_wrong_is_named(ranker, fields, param):
    answer = rerank(ranker, **fields)
    assert answer.status_code == 400 and answer.json()["error"]["param"].startswith(param)


def test_pairs_that_do_not_match_are_refused(ranker):
    answer = ranker.post("/v1/score", json={"model": MODEL, "text_1": ["a", "b"], "text_2": ["a", "b", "c"]})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "text_1"


def test_a_long_document_is_cut_when_asked(ranker):
    long = "the ship was high " * 200
    assert rerank(ranker, documents=[long]).json()["error"]["code"] == "context_length_exceeded"
    answer = rerank(ranker, documents=[long, long + "wind"], truncate=True).json()
    assert answer["results"][0]["relevance_score"] == answer["results"][1]["relevance_score"]


def test_embeddings_are_pooled_as_the_files_say(encoder):
    case = expected("small-bert")
    client = openai.OpenAI(base_url=encoder.url + "/v1", api_key="none", max_retries=0)
    answer = client.embeddings.create(model=MODEL, input=case["texts"])
    assert case["pooling"] == "cls"
    for item, row in zip(answer.data, values("small-bert", "embeddings-hf.f32", case["width"]), strict=True):
        assert item.embedding == pytest.approx(row, abs=1e-4)
    assert answer.usage.prompt_tokens == sum(len(ids) for ids in case["prompts"])
    rows = values("small-bert", "hidden-hf.f32", case["width"])[:len(case["prompts"][0])]
    mean = client.embeddings.create(model=MODEL, input=case["texts"][0], extra_body={"pooling": "mean"})
    assert mean.data[0].embedding == pytest.approx(unit([sum(column) for column in zip(*rows)]), abs=1e-4)


def test_an_encoder_takes_its_whole_context_and_not_more(encoder):
    ids = [5] * 96
    assert httpx.post(encoder.url + "/v1/embeddings", json={"model": MODEL, "input": ids}).status_code == 200
    answer = httpx.post(encoder.url + "/v1/embeddings", json={"model": MODEL, "input": ids + [5]})
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "context_length_exceeded"


def test_an_encoder_generates_nothing_and_says_so(encoder):
    messages = [{"role": "user", "content": "hi"}]
    for path, body in (("completions", {"prompt": "hi"}), ("chat/completions", {"messages": messages}),
                       ("chat/completions", {"messages": messages, "stream": True})):
        answer = httpx.post(f"{encoder.url}/v1/{path}", json={"model": MODEL, **body})
        assert answer.status_code == 400 and "encoder" in answer.json()["error"]["message"]


def test_a_model_without_a_classifier_scores_nothing(encoder, http):
    for base in (encoder.url, str(http.base_url)):
        answer = httpx.post(base + "/v1/rerank", json={"model": MODEL, "query": "a", "documents": ["b"]})
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "unsupported"


@pytest.mark.parametrize("case,fields,word", [
    ("encoders/small-bert", {"position_embedding_type": "alibi"}, "alibi"),
    ("encoders/small-bert", {"is_decoder": True}, "is_decoder"),
    ("encoders/small-bert", {"max_position_embeddings": 96, "hidden_size": 64}, "configuration asks"),
    ("encoders/small-nomic", {"prenorm": True}, "prenorm"),
    ("families/small-gemma3", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ("families/small-gemma3", {"layer_types": ["full_attention"]}, "layer_types"),
    ("families/small-gemma3", {"query_pre_attn_scalar": -1}, "query_pre_attn_scalar"),
    ("families/small-phi3", {"rope_parameters": {"rope_type": "longrope", "long_factor": [1.0],
                                                 "original_max_position_embeddings": 16}}, "long_factor"),
    ("families/small-granite", {"logits_scaling": 0}, "divided by 0")])
def test_a_model_that_would_compute_something_else_is_refused(tmp_path, case, fields, word):
    shutil.copytree(ROOT / "tests/golden" / case, tmp_path / "model")
    path = tmp_path / "model/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    done = subprocess.run([BIN, "run", tmp_path / "model", "x"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and word in done.stderr


@pytest.mark.parametrize("file,fields,word", [
    ("1_Pooling/config.json", {"pooling_mode": "max"}, "pooling"), ("2_Dense/config.json", {}, "behind the pooling")])
def test_another_way_of_pooling_is_refused(tmp_path, file, fields, word):
    shutil.copytree(FOLDER / "small-bert", tmp_path / "model")
    (tmp_path / "model" / file).parent.mkdir(exist_ok=True)
    (tmp_path / "model" / file).write_text(json.dumps(fields))
    done = subprocess.run([BIN, "run", tmp_path / "model", "x"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and word in done.stderr
