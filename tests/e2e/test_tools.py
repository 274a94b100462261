"""Tools: what is accepted, what is refused by name, conversations with calls in them."""

import json
import re
import typing

import jsonschema
import openai
import pydantic
import pytest

from openapi import validator
from server import MODEL, Server


def tool(name="get_weather", **more):
    properties = {"city": {"type": "string", "maxLength": 12}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}
    parameters = {"type": "object", "properties": properties, "required": ["city", "days"], "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": "A forecast.", "parameters": parameters, **more}}


NOW = {"type": "function", "function": {"name": "now"}}
NAMED = {"type": "function", "function": {"name": "get_weather"}}
CONTRADICTIONS = [
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [], "tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": NAMED}, "tool_choice"),
    ({"tools": [NOW], "tool_choice": NAMED}, "tool_choice"),
    ({"tools": [NOW], "tool_choice": "maybe"}, "tool_choice"),
    ({"tools": [NOW], "tool_choice": {"type": "custom"}}, "tool_choice"),
    ({"tools": [NOW], "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}},
     "tool_choice"),
    ({"tools": [NOW, NOW]}, "tools[1].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "two words"}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "function", "function": {"name": "x" * 65}}]}, "tools[0].function.name"),
    ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "string"}}}]},
     "tools[0].function.parameters"),
    ({"response_format": {"type": "json_object"}, "guided_regex": "a"}, "guided_regex"),
    ({"guided_json": {}, "structured_outputs": {"choice": ["a"]}}, "structured_outputs.choice"),
    ({"tools": [NOW], "tool_choice": "required", "response_format": {"type": "json_object"}}, "response_format"),
]


@pytest.mark.parametrize("fields,param", CONTRADICTIONS)
def test_contradictions_are_refused_by_name(http, chat, fields, param):
    answer = http.post("/v1/chat/completions", json=chat(max_tokens=1, **fields))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param, answer.text


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_an_answer_need_not_call(http, chat, shared, choice):
    answer = http.post("/v1/chat/completions", json=chat(max_tokens=4, tools=[tool(), NOW], tool_choice=choice)).json()
    validator(shared("data/conf/openai_openapi.json"), "CreateChatCompletionResponse").validate(answer)
    assert answer["choices"][0]["finish_reason"] in ("stop", "length")


def test_a_conversation_with_calls_goes_on(client):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Bern", "days": 1}'}}
    messages = [
        {"role": "user", "content": "How is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "I should ask."},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sunny."},
    ]
    answer = client.chat.completions.create(model=MODEL, messages=messages, tools=[tool()], max_tokens=4)
    assert answer.usage.completion_tokens > 0


def test_tools_reach_a_model_whose_template_does_not_know_them(http):
    def prompt(**more):
        body = {"messages": [{"role": "user", "content": "Hello."}], **more}
        tokens = http.post("/tokenize", json=body).json()["tokens"]
        return http.post("/detokenize", json={"tokens": tokens, "skip_special_tokens": False}).json()["prompt"]

    assert "get_weather" not in prompt()
    assert '"name":"get_weather"' in prompt(tools=[tool()])
    assert "get_weather" not in prompt(tools=[tool()], tool_choice="none")


# --- calls that must be made: the grammar makes even a small model write valid ones ----------------------------------


class Forecast(pydantic.BaseModel):
    city: typing.Annotated[str, pydantic.Field(max_length=12)]
    days: typing.Annotated[int, pydantic.Field(ge=1, le=9)]
    unit: typing.Literal["C", "F"]


def ask(client, **fields):
    messages = [{"role": "user", "content": "How is the weather in Bern?"}]
    return client.chat.completions.create(model=MODEL, messages=messages, **{"max_tokens": 300, "seed": 3, **fields})


def check_calls(choice, names):
    assert choice.finish_reason == "tool_calls" and choice.message.tool_calls
    for call in choice.message.tool_calls:
        assert call.type == "function" and call.id and call.function.name in names
        arguments = json.loads(call.function.arguments)
        if call.function.name == "get_weather":
            jsonschema.validate(arguments, tool()["function"]["parameters"])
        else:
            assert arguments == {}
    assert len({call.id for call in choice.message.tool_calls}) == len(choice.message.tool_calls)


@pytest.mark.parametrize("seed", range(4))
def test_required_makes_calls_that_follow_their_schemas(client, seed):
    check_calls(ask(client, tools=[tool(), NOW], tool_choice="required", seed=seed).choices[0], {"get_weather", "now"})


def test_a_named_function_is_the_one_that_is_called(client):
    choice = ask(client, tools=[tool(), NOW], tool_choice=NAMED).choices[0]
    check_calls(choice, {"get_weather"})
    assert len(choice.message.tool_calls) == 1 and not choice.message.content


def test_allowed_tools_are_the_only_ones(client):
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NOW]}}
    check_calls(ask(client, tools=[tool(), NOW], tool_choice=choice).choices[0], {"now"})


def test_one_call_unless_several_are_wanted(client):
    # A second call is what the model can write where it must not end yet.
    for parallel, least in ((False, 1), (True, 2)):
        answer = ask(client, tools=[NOW], tool_choice="required", parallel_tool_calls=parallel, extra_body={"min_tokens": 60})
        count = len(answer.choices[0].message.tool_calls)
        assert count == 1 if not parallel else count >= least


def test_a_forced_answer_is_what_the_published_schema_says(http, chat, shared):
    body = chat(max_tokens=300, tools=[tool()], tool_choice="required", n=2)
    answer = http.post("/v1/chat/completions", json=body).json()
    validator(shared("data/conf/openai_openapi.json"), "CreateChatCompletionResponse").validate(answer)
    chunk = validator(shared("data/conf/openai_openapi.json"), "CreateChatCompletionStreamResponse")
    with http.stream("POST", "/v1/chat/completions", json={**body, "stream": True}) as stream:
        lines = [line[6:] for line in stream.iter_lines() if line.startswith("data: ")]
    assert lines.pop() == "[DONE]"
    for line in lines:
        chunk.validate(json.loads(line))


def test_a_stream_brings_the_same_calls(client):
    fields = {"tools": [tool(), NOW], "tool_choice": "required", "seed": 11}
    whole = ask(client, **fields).choices[0]
    calls, reasons = {}, []
    for chunk in ask(client, stream=True, **fields):
        reasons.append(chunk.choices[0].finish_reason)
        for delta in chunk.choices[0].delta.tool_calls or []:
            if delta.id:
                assert delta.index == len(calls) and delta.type == "function"
                calls[delta.index] = [delta.function.name, ""]
            calls[delta.index][1] += delta.function.arguments
    assert reasons[-1] == "tool_calls" and not any(reasons[:-1])
    assert list(calls.values()) == [[c.function.name, c.function.arguments] for c in whole.message.tool_calls]


def test_the_clients_stream_helper_assembles_them(client):
    messages = [{"role": "user", "content": "How is the weather in Bern?"}]
    with client.chat.completions.stream(model=MODEL, messages=messages, tools=[openai.pydantic_function_tool(Forecast)],
                                        tool_choice="required", parallel_tool_calls=False,
                                        max_tokens=300, seed=5) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"tool_calls.function.arguments.delta", "tool_calls.function.arguments.done"} <= kinds
    assert isinstance(final.choices[0].message.tool_calls[0].function.parsed_arguments, Forecast)


def test_a_strict_call_under_auto_is_valid_once_it_begins(http, chat):
    # The bias makes the model begin every answer with a call's mark, token by token.
    mark = http.post("/tokenize", json={"prompt": "<tool_call>", "add_special_tokens": False}).json()["tokens"]
    body = chat(max_tokens=300, tools=[tool(strict=True)], seed=1, logit_bias={str(mark[0]): 100})
    choice = http.post("/v1/chat/completions", json=body).json()["choices"][0]
    for call in choice["message"].get("tool_calls") or []:
        jsonschema.validate(json.loads(call["function"]["arguments"]), tool()["function"]["parameters"])


def test_choices_have_calls_of_their_own(client):
    choices = ask(client, tools=[tool()], tool_choice="required", n=3, temperature=1).choices
    for choice in choices:
        check_calls(choice, {"get_weather"})
    assert len({choice.message.tool_calls[0].id for choice in choices}) == 3


def test_logprobs_leave_calls_out(client):
    choice = ask(client, tools=[NOW], tool_choice="required", logprobs=True, top_logprobs=1).choices[0]
    assert choice.message.tool_calls and choice.logprobs.content == []


# --- the form of the content -----------------------------------------------------------------------------------------


def test_parse_gives_a_pydantic_model(client):
    messages = [{"role": "user", "content": "How is the weather in Bern?"}]
    answer = client.chat.completions.parse(model=MODEL, messages=messages, response_format=Forecast, max_tokens=200, seed=2)
    assert isinstance(answer.choices[0].message.parsed, Forecast)


def test_a_schema_and_tools_at_once_give_one_or_the_other(client):
    form = {"type": "json_schema", "json_schema": {"name": "f", "strict": True, "schema": tool()["function"]["parameters"]}}
    for seed in range(4):
        choice = ask(client, tools=[tool()], response_format=form, seed=seed).choices[0]
        if choice.message.tool_calls:
            check_calls(choice, {"get_weather"})
        else:
            jsonschema.validate(json.loads(choice.message.content), tool()["function"]["parameters"])


GUIDES = [
    ({"guided_regex": "[ab]{3}/x"}, r"[ab]{3}/x"),
    ({"guided_choice": ["yes", "no"]}, "yes|no"),
    ({"guided_json": {"type": "integer", "minimum": 10, "maximum": 99}}, r"\d\d"),
    ({"guided_json": '{"enum": ["a"]}'}, '"a"'),
    ({"guided_grammar": 'start: "a" | "b"'}, "a|b"),
    ({"guided_grammar": 'root ::= "x"{2}'}, "xx"),
    ({"structured_outputs": {"regex": "z{2}"}}, "zz"),
    ({"structured_outputs": {"choice": ["one"]}}, "one"),
]


@pytest.mark.parametrize("fields,pattern", GUIDES)
def test_guides_hold_in_both_routes(client, http, fields, pattern):
    text = ask(client, extra_body=fields).choices[0].message.content
    assert re.fullmatch(pattern, text), text
    body = {"model": MODEL, "prompt": "Once", "max_tokens": 50, **fields}
    text = http.post("/v1/completions", json=body).json()["choices"][0]["text"]
    assert re.fullmatch(pattern, text), text


UNENFORCEABLE = [
    ({"guided_regex": "("}, "guided_regex"),
    ({"guided_grammar": "start: missing"}, "guided_grammar"),
    ({"guided_json": {"unevaluatedProperties": False}}, "guided_json"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "oddity"}}}},
     "response_format.json_schema.schema"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#/nowhere"}}}],
      "tool_choice": "required"}, "tools"),
]


@pytest.mark.parametrize("fields,param", UNENFORCEABLE)
def test_what_cannot_be_enforced_is_refused_at_once(http, chat, fields, param):
    answer = http.post("/v1/chat/completions", json=chat(max_tokens=5, **fields))
    assert answer.status_code == 400 and answer.json()["error"]["param"] == param, answer.text


# --- reasoning -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reasoner(tmp_path_factory):
    """The small model with a template that opens the reasoning in the prompt."""
    template = tmp_path_factory.mktemp("template") / "think.jinja"
    template.write_text("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                        "{% if add_generation_prompt %}<|im_start|>assistant\n"
                        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
                        "{% else %}<think>\n{% endif %}{% endif %}")
    with Server("--chat-template", str(template)) as running:
        yield openai.OpenAI(base_url=running.url + "/v1", api_key="none", max_retries=0, timeout=60)


def test_reasoning_is_apart_from_the_answer_and_counted(reasoner):
    answer = ask(reasoner, max_tokens=8, extra_body={"ignore_eos": True})
    message = answer.choices[0].message
    assert message.reasoning_content and message.content == ""
    assert answer.usage.completion_tokens_details.reasoning_tokens == 8
    chunks = list(ask(reasoner, max_tokens=8, stream=True, extra_body={"ignore_eos": True}))
    text = "".join(getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks)
    assert text == message.reasoning_content


def test_reasoning_can_be_hidden_or_turned_off(reasoner):
    hidden = ask(reasoner, max_tokens=8, extra_body={"include_reasoning": False, "ignore_eos": True})
    assert not hasattr(hidden.choices[0].message, "reasoning_content") and hidden.choices[0].message.content == ""
    off = ask(reasoner, max_tokens=8, extra_body={"chat_template_kwargs": {"enable_thinking": False}, "ignore_eos": True})
    assert off.choices[0].message.content and off.usage.completion_tokens_details.reasoning_tokens == 0


def test_a_guide_binds_the_answer_behind_the_reasoning(reasoner, shared):
    answer = ask(reasoner, max_tokens=600, extra_body={"guided_choice": ["yes", "no"], "min_p": 0.2}, stop=["zzz"])
    message = answer.choices[0].message
    if answer.choices[0].finish_reason == "stop":
        assert message.content in ("yes", "no")
    else:
        assert message.content == "" and message.reasoning_content
    off = {"chat_template_kwargs": {"enable_thinking": False}, "guided_choice": ["yes", "no"]}
    assert ask(reasoner, extra_body=off).choices[0].message.content in ("yes", "no")
