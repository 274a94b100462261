"""Anthropic's Messages API, by its official client and raw."""

import json

import anthropic
import httpx
import pytest

from server import MODEL, Server

TOOL = {
    "name": "get_weather",
    "description": "A forecast.",
    "input_schema": {"type": "object", "properties": {"days": {"type": "integer", "minimum": 1, "maximum": 9}},
                     "required": ["days"], "additionalProperties": False},
}


@pytest.fixture(scope="module")
def claude(server):
    return anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0, timeout=60)


def ask(text="Tell me a story.", **fields):
    """The arguments of a client's method; this one's has no temperature any more."""
    if "temperature" in fields:
        fields["extra_body"] = {"temperature": fields.pop("temperature")}
    return {"model": MODEL, "max_tokens": 12, "messages": [{"role": "user", "content": text}], **fields}


def events(http, body):
    """Names and data of a stream's events."""
    body = {**body, **body.pop("extra_body", {})}
    answer = http.post("/v1/messages", json={**body, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    found = []
    for block in answer.text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    assert all(name == data["type"] for name, data in found)
    return found


def test_an_answer_is_what_chat_answers(claude, client):
    message = claude.messages.create(**ask(system="Be brief.", temperature=0))
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Tell me a story."}]
    chat = client.chat.completions.create(model=MODEL, messages=turns, temperature=0, max_tokens=12)
    assert message.type == "message" and message.role == "assistant" and message.id.startswith("msg_")
    assert message.model == MODEL and message.stop_sequence is None
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].text == chat.choices[0].message.content
    assert message.stop_reason == {"length": "max_tokens", "stop": "end_turn"}[chat.choices[0].finish_reason]
    usage = message.usage
    assert usage.input_tokens + usage.cache_read_input_tokens == chat.usage.prompt_tokens
    assert usage.output_tokens == chat.usage.completion_tokens


def test_blocks_of_text_say_the_same_as_a_text(claude):
    plain = claude.messages.create(**ask("Hello", system="Be brief.", temperature=0))
    blocks = [{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}]
    same = claude.messages.create(**ask(blocks, system=[{"type": "text", "text": "Be brief."}], temperature=0))
    assert same.content == plain.content


def test_a_stream_says_what_the_message_says(claude, http):
    whole = claude.messages.create(**ask(temperature=0))
    with claude.messages.stream(**ask(temperature=0)) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text
    assert final.content[0].text == text and final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    names = [name for name, _ in events(http, ask(temperature=0))]
    assert names[:2] == ["message_start", "content_block_start"]
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[2:-3]) == {"content_block_delta"}


def test_a_stop_sequence_is_named(claude, http):
    text = claude.messages.create(**ask(temperature=0, max_tokens=40)).content[0].text
    stop = text[len(text) // 2:][:3]
    message = claude.messages.create(**ask(temperature=0, max_tokens=40, stop_sequences=["\x01never", stop]))
    assert message.stop_reason == "stop_sequence" and message.stop_sequence == stop
    assert message.content[0].text == text[: text.index(stop)]
    delta = events(http, ask(temperature=0, max_tokens=40, stop_sequences=[stop]))[-2][1]
    assert delta["delta"] == {"stop_reason": "stop_sequence", "stop_sequence": stop}


def test_a_last_message_of_the_assistant_is_continued(claude, client):
    turns = [{"role": "user", "content": "Tell me a story."}, {"role": "assistant", "content": "Once upon"}]
    message = claude.messages.create(model=MODEL, max_tokens=8, messages=turns, extra_body={"temperature": 0})
    extra = {"continue_final_message": True}
    chat = client.chat.completions.create(model=MODEL, messages=turns, temperature=0, max_tokens=8, extra_body=extra)
    assert message.content[0].text == chat.choices[0].message.content


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "get_weather"}])
def test_a_forced_tool_is_used(claude, choice):
    message = claude.messages.create(**ask(tools=[TOOL], tool_choice=choice, max_tokens=200))
    use = message.content[-1]
    assert use.type == "tool_use" and use.name == "get_weather" and use.id
    assert 1 <= use.input["days"] <= 9
    assert message.stop_reason == "tool_use"
    with claude.messages.stream(**ask(tools=[TOOL], tool_choice=choice, max_tokens=200)) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use" and 1 <= final.content[-1].input["days"] <= 9


def test_the_text_follows_a_schema(claude):
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"],
              "additionalProperties": False}
    config = {"format": {"type": "json_schema", "schema": schema}}
    message = claude.messages.create(**ask(max_tokens=100, output_config=config))
    assert json.loads(message.content[0].text)["ok"] in (True, False)


def test_arguments_that_are_cut_off_leave_a_message_that_parses(claude):
    for room in range(1, 12):
        body = ask(tools=[TOOL], tool_choice={"type": "any"}, max_tokens=room)
        message = claude.messages.create(**body)
        assert message.stop_reason in ("max_tokens", "tool_use")
        assert all(block.input == {} or "days" in block.input for block in message.content if block.type == "tool_use")


def test_a_conversation_with_tools_reads_as_in_chat(http):
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"days": 1}'}}
    function = {"name": TOOL["name"], "description": TOOL["description"], "parameters": TOOL["input_schema"]}
    chat = {"model": MODEL, "tools": [{"type": "function", "function": function}], "messages": [
        {"role": "user", "content": "Rain?"}, {"role": "assistant", "content": "I look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Sun."}, {"role": "user", "content": "Thanks"}]}
    use = {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"days": 1}}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "Sun."}]}
    messages = {"model": MODEL, "tools": [TOOL], "messages": [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": [{"type": "text", "text": "I look."}, use]},
        {"role": "user", "content": [result, {"type": "text", "text": "Thanks"}]}]}
    counted = http.post("/v1/messages/count_tokens", json=messages).json()
    assert counted == {"input_tokens": http.post("/tokenize", json=chat).json()["count"]}


def test_tokens_are_counted_as_they_are_used(claude):
    body = ask(system="Be brief.")
    del body["max_tokens"]
    counted = claude.messages.count_tokens(**body).input_tokens
    usage = claude.messages.create(**ask(system="Be brief.", max_tokens=1)).usage
    assert counted == usage.input_tokens + usage.cache_read_input_tokens


IMAGE = {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}
WRONG = [
    ({"max_tokens": 0}, 400, "invalid_request_error", "max_tokens"),
    ({"messages": []}, 400, "invalid_request_error", "messages"),
    ({"messages": [{"role": "user", "content": [IMAGE]}]}, 400, "invalid_request_error", "messages[0].content[0]"),
    ({"messages": [{"role": "system", "content": "x"}]}, 400, "invalid_request_error", "role"),
    ({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "1"}]}]}, 400,
     "invalid_request_error", "messages[0].content[0]"),
    ({"tools": [{"name": "bash", "type": "bash_20250124"}]}, 400, "invalid_request_error", "tools[0].type"),
    ({"tool_choice": {"type": "any"}}, 400, "invalid_request_error", "tool_choice"),
    ({"tool_choice": {"type": "most"}, "tools": [TOOL]}, 400, "invalid_request_error", "tool_choice"),
    ({"system": [IMAGE]}, 400, "invalid_request_error", "system"),
    ({"output_config": {"format": {"type": "xml"}}}, 400, "invalid_request_error", "output_config.format"),
    ({"model": "none"}, 404, "not_found_error", "none"),
]


@pytest.mark.parametrize("fields,code,kind,word", WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_have_the_shape_of_anthropic(http, fields, code, kind, word, stream):
    answer = http.post("/v1/messages", json=ask(stream=stream, **fields) if "messages" not in fields
                       else {"model": MODEL, "max_tokens": 4, "stream": stream, **fields})
    assert answer.status_code == code, answer.text
    body = answer.json()
    assert body["type"] == "error" and body["error"]["type"] == kind and word in body["error"]["message"], body
    assert body["request_id"] == answer.headers["x-request-id"]


def test_keys_come_as_anthropic_sends_them(start):
    server = start("--api-key", "sekret")
    right = anthropic.Anthropic(base_url=server.url, api_key="sekret", max_retries=0)
    assert right.messages.create(**ask(max_tokens=1)).usage.output_tokens == 1
    wrong = anthropic.Anthropic(base_url=server.url, api_key="guess", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as refused:
        wrong.messages.create(**ask())
    assert refused.value.body["error"]["type"] == "authentication_error"
    assert httpx.post(server.url + "/v1/messages", json=ask()).status_code == 401


def test_a_stream_whose_engine_dies_ends_with_an_error(start):
    import os
    import signal

    server = start()
    claude = anthropic.Anthropic(base_url=server.url, api_key="none", max_retries=0)
    with pytest.raises(anthropic.APIStatusError) as failed:
        with claude.messages.create(**ask(max_tokens=100000, stream=True)) as stream:
            for i, _ in enumerate(stream):
                if i == 4:
                    os.kill(server.engine_pid(), signal.SIGKILL)
    assert failed.value.body["error"]["type"] == "overloaded_error"
