"""Tools: what is accepted, what is refused by name, conversations with calls in them."""

import pytest

from openapi import validator
from server import MODEL


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
