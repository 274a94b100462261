"""POST /v1/embeddings."""

import base64
import struct

import pytest

from openapi import validator
from server import MODEL


def test_answers_are_what_the_published_schema_says(http, shared):
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": ["one", "two"]}).json()
    validator(shared("data/conf/openai_openapi.json"), "CreateEmbeddingResponse").validate(answer)
    assert [item["index"] for item in answer["data"]] == [0, 1]


def test_vectors_have_length_one_and_equal_texts_are_equal(client):
    one, two, again = (item.embedding for item in client.embeddings.create(model=MODEL, input=["a", "b", "a"]).data)
    assert abs(sum(value * value for value in one) - 1) < 1e-4
    assert one == again and one != two


def test_base64_is_the_same_numbers(http):
    body = {"model": MODEL, "input": "words"}
    floats = http.post("/v1/embeddings", json=body).json()["data"][0]["embedding"]
    text = http.post("/v1/embeddings", json={**body, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    data = base64.b64decode(text)
    assert list(struct.unpack(f"<{len(data) // 4}f", data)) == pytest.approx(floats)


def test_dimensions_cut_and_normalise(client):
    whole = client.embeddings.create(model=MODEL, input="x").data[0].embedding
    short = client.embeddings.create(model=MODEL, input="x", dimensions=8).data[0].embedding
    assert len(short) == 8 and abs(sum(value * value for value in short) - 1) < 1e-4
    assert short[0] * whole[1] == pytest.approx(short[1] * whole[0], rel=1e-3, abs=1e-6)


def test_more_inputs_than_the_engine_takes_at_once_are_all_answered(client):
    answer = client.embeddings.create(model=MODEL, input=[f"text {i}" for i in range(200)])
    assert [item.index for item in answer.data] == list(range(200))


@pytest.mark.parametrize("field,value", [("input", []), ("input", ""), ("dimensions", 10**9), ("dimensions", 0),
                                         ("encoding_format", "hex")])
def test_what_is_wrong_is_named(http, field, value):
    answer = http.post("/v1/embeddings", json={"model": MODEL, "input": "x", field: value})
    assert answer.status_code in (200, 400)
    if answer.status_code == 400:
        assert answer.json()["error"]["param"].startswith(field)
    else:
        assert value == "", "only a text that the tokenizer turns into something can be empty"
