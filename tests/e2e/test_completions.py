"""POST /v1/completions."""

import pytest

from openapi import validator
from server import MODEL


def complete(client, prompt="Once upon a time", **fields):
    return client.completions.create(model=MODEL, prompt=prompt, **{"max_tokens": 4, "temperature": 0, **fields})


def test_answers_are_what_the_published_schema_says(http, shared):
    check = validator(shared("data/conf/openai_openapi.json"), "CreateCompletionResponse")
    body = {"model": MODEL, "prompt": "Once", "max_tokens": 3}
    check.validate(http.post("/v1/completions", json=body).json())
    check.validate(http.post("/v1/completions", json={**body, "logprobs": 2}).json())


def test_a_text_and_its_tokens_give_the_same(client, http):
    tokens = http.post("/tokenize", json={"prompt": "Once upon a time"}).json()["tokens"]
    assert complete(client).choices[0].text == complete(client, tokens).choices[0].text


def test_several_prompts_give_choices_in_order(client):
    answer = complete(client, ["Once", "The king said"], n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text == complete(client, "Once").choices[0].text
    assert answer.choices[2].text == complete(client, "The king said").choices[0].text


def test_echo_puts_the_prompt_first(client):
    plain, echoed = complete(client), complete(client, echo=True)
    assert echoed.choices[0].text == "Once upon a time" + plain.choices[0].text


def test_echo_with_logprobs_scores_the_prompt(client):
    answer = complete(client, echo=True, logprobs=2, max_tokens=2, extra_body={"ignore_eos": True})
    marks = answer.choices[0].logprobs
    assert len(marks.tokens) == len(marks.token_logprobs) == len(marks.top_logprobs) == len(marks.text_offset)
    assert len(marks.tokens) == answer.usage.prompt_tokens + 2
    assert marks.token_logprobs[0] is None and all(value <= 0 for value in marks.token_logprobs[1:])
    assert marks.text_offset == sorted(marks.text_offset)


def test_echo_with_max_tokens_0_only_scores(client):
    answer = complete(client, echo=True, logprobs=0, max_tokens=0)
    assert answer.choices[0].text == "Once upon a time"
    assert len(answer.choices[0].logprobs.tokens) == answer.usage.prompt_tokens
    assert answer.usage.completion_tokens == 0 and answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("field,value", [("suffix", "the end"), ("best_of", 3), ("prompt", []), ("prompt", [[]]),
                                         ("prompt", [10**9]), ("prompt", [-1]), ("prompt", ["a", 1]), ("prompt", None),
                                         ("prompt", 5), ("logprobs", 21)])
def test_what_is_wrong_is_named(http, field, value):
    answer = http.post("/v1/completions", json={"model": MODEL, "prompt": "x", "max_tokens": 1, field: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(field)
