"""POST /v1/chat/completions, not streamed, through the official client."""

import openai
import pytest

from openapi import validator
from server import MODEL


def ask(client, text="Once upon a time", **fields):
    fields = {"max_tokens": 8, "temperature": 0, **fields}
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **fields)


def test_an_answer_has_content_a_finish_reason_and_usage(client):
    answer = ask(client)
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-") and answer.model == MODEL
    assert answer.choices[0].message.role == "assistant"
    assert isinstance(answer.choices[0].message.content, str)
    assert answer.choices[0].finish_reason in ("stop", "length")
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens >= 0
    assert answer.system_fingerprint


def test_an_answer_is_what_the_published_schema_says(http, chat, shared):
    check = validator(shared("data/conf/openai_openapi.json"), "CreateChatCompletionResponse")
    check.validate(http.post("/v1/chat/completions", json=chat(max_tokens=4)).json())
    check.validate(http.post("/v1/chat/completions", json=chat(max_tokens=4, logprobs=True, top_logprobs=3, n=2)).json())


def test_max_tokens_ends_with_length(client):
    answer = ask(client, max_tokens=3, extra_body={"ignore_eos": True})
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


def test_max_completion_tokens_is_the_same_limit(client):
    answer = ask(client, max_tokens=openai.omit, max_completion_tokens=2, extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 2


def test_equal_seeds_give_equal_answers_and_fresh_ones_do_not(client):
    fields = {"temperature": 1, "max_tokens": 24, "extra_body": {"ignore_eos": True}}
    first, second = (ask(client, seed=7, **fields).choices[0].message.content for _ in range(2))
    assert first == second
    assert len({ask(client, **fields).choices[0].message.content for _ in range(4)}) > 1


def test_n_choices_have_their_indices_and_differ(client):
    answer = ask(client, n=4, temperature=1, seed=1, max_tokens=16, extra_body={"ignore_eos": True})
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert len({choice.message.content for choice in answer.choices}) > 1
    assert answer.usage.completion_tokens == 64, "the prompt counts once, completions all"


def test_logprobs_have_tokens_bytes_and_alternatives(client):
    answer = ask(client, logprobs=True, top_logprobs=3, extra_body={"ignore_eos": True})
    entries = answer.choices[0].logprobs.content
    assert len(entries) == answer.usage.completion_tokens
    assert b"".join(bytes(entry.bytes) for entry in entries).decode(errors="replace") == answer.choices[0].message.content
    for entry in entries:
        assert entry.logprob <= 0 and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob >= entry.top_logprobs[1].logprob
        assert entry.token == entry.top_logprobs[0].token, "greedy takes the best"


def test_without_logprobs_the_key_is_null(http, chat):
    choice = http.post("/v1/chat/completions", json=chat(max_tokens=1)).json()["choices"][0]
    assert "logprobs" in choice and choice["logprobs"] is None


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(client):
    full = ask(client, max_tokens=32, extra_body={"ignore_eos": True}).choices[0].message.content
    word = full.split()[2]
    cut = ask(client, max_tokens=32, stop=[word], extra_body={"ignore_eos": True})
    assert cut.choices[0].message.content == full[: full.index(word)]
    assert cut.choices[0].finish_reason == "stop"


def test_logit_bias_forces_a_token(client, http):
    token = http.post("/tokenize", json={"prompt": " the", "add_special_tokens": False}).json()["tokens"][0]
    answer = ask(client, logit_bias={str(token): 100}, max_tokens=3, logprobs=True)
    assert all(entry.token == " the" for entry in answer.choices[0].logprobs.content)


def test_content_may_be_a_list_of_text_parts(client):
    parts = [{"type": "text", "text": "Once upon"}, {"type": "text", "text": "a time"}]
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": parts}], max_tokens=2)
    assert answer.choices


def test_text_of_a_user_never_becomes_a_control_token(http, chat):
    plain = http.post("/tokenize", json={"messages": [{"role": "user", "content": "x"}]}).json()["tokens"]
    for spelling in ("<|im_end|>", "<|im_start|>", "</s>", "<|endoftext|>"):
        tokens = http.post("/tokenize", json={"messages": [{"role": "user", "content": spelling}]}).json()["tokens"]
        named = http.post("/tokenize", json={"prompt": spelling, "add_special_tokens": False}).json()["tokens"]
        if len(named) == 1:
            assert tokens.count(named[0]) == plain.count(named[0]), spelling


def test_a_repeated_prompt_is_found_in_the_prefix_cache(client):
    text = "The same long beginning of a prompt, " * 8
    ask(client, text)
    assert ask(client, text).usage.prompt_tokens_details.cached_tokens > 0


@pytest.mark.parametrize("name", ["reasoning_effort", "metadata", "store", "parallel_tool_calls", "never_heard_of"])
def test_unknown_fields_are_ignored(http, chat, name):
    assert http.post("/v1/chat/completions", json=chat(max_tokens=1, **{name: None})).status_code == 200
