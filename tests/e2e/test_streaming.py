"""Server-sent events: what each chunk of a stream holds, and in which order."""

import asyncio
import json
import os
import signal
import socket

import httpx
import openai
import pytest

from openapi import validator
from server import MODEL, receive, wait_until


def events(http, body, path="/v1/chat/completions"):
    with http.stream("POST", path, json=body) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = answer.read().decode()
    assert text.endswith("\n\n")
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line and not line.startswith(":")]


def chunks(http, body, path="/v1/chat/completions"):
    lines = events(http, body, path)
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_the_client_reads_the_same_text_as_without_streaming(client):
    fields = {"model": MODEL, "messages": [{"role": "user", "content": "Tell me"}], "max_tokens": 40, "seed": 3}
    whole = client.chat.completions.create(**fields)
    parts = list(client.chat.completions.create(stream=True, **fields))
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole.choices[0].message.content
    assert parts[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_the_first_chunk_says_the_role_and_the_last_the_reason(http, chat):
    parts = chunks(http, chat(stream=True, max_tokens=3, ignore_eos=True))
    assert parts[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert parts[-1]["choices"][0]["delta"] == {} and parts[-1]["choices"][0]["finish_reason"] == "length"
    assert all(part["choices"][0]["finish_reason"] is None for part in parts[:-1])
    assert len({(part["id"], part["created"], part["model"]) for part in parts}) == 1


def test_chunks_are_what_the_published_schema_says(http, chat, shared):
    check = validator(shared("data/conf/openai_openapi.json"), "CreateChatCompletionStreamResponse")
    body = chat(stream=True, max_tokens=3, logprobs=True, top_logprobs=2, stream_options={"include_usage": True})
    for part in chunks(http, body):
        check.validate(part)


def test_include_usage_adds_a_last_chunk_without_choices_and_null_elsewhere(http, chat):
    parts = chunks(http, chat(stream=True, max_tokens=3, ignore_eos=True, stream_options={"include_usage": True}))
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"]["completion_tokens"] == 3
    assert all(part["usage"] is None for part in parts[:-1])


def test_without_include_usage_no_chunk_has_the_key(http, chat):
    assert all("usage" not in part for part in chunks(http, chat(stream=True, max_tokens=3)))


def test_n_choices_are_interleaved_with_their_index(http, chat):
    parts = chunks(http, chat(stream=True, n=3, max_tokens=4, ignore_eos=True))
    for index in range(3):
        own = [part for part in parts if part["choices"][0]["index"] == index]
        assert own[0]["choices"][0]["delta"]["role"] == "assistant"
        assert own[-1]["choices"][0]["finish_reason"] == "length"


def test_streamed_logprobs_join_to_the_whole_ones(client):
    fields = {"model": MODEL, "messages": [{"role": "user", "content": "Hm"}], "max_tokens": 12, "seed": 5,
              "logprobs": True, "top_logprobs": 1}
    whole = client.chat.completions.create(**fields).choices[0].logprobs.content
    parts = client.chat.completions.create(stream=True, **fields)
    joined = [entry for part in parts if part.choices[0].logprobs for entry in part.choices[0].logprobs.content]
    assert [(entry.token, entry.logprob) for entry in joined] == [(entry.token, entry.logprob) for entry in whole]


def test_every_piece_of_text_is_whole_characters(http, chat):
    for part in chunks(http, chat("\U0001f600 \u4f60\u597d", stream=True, max_tokens=48, temperature=2, seed=11)):
        content = part["choices"][0]["delta"].get("content", "")
        content.encode()  # lone surrogates would fail


def test_completions_stream_too(http, shared):
    body = {"model": MODEL, "prompt": "Once", "stream": True, "max_tokens": 4, "ignore_eos": True}
    parts = chunks(http, body, "/v1/completions")
    check = validator(shared("data/conf/openai_openapi.json"), "CreateCompletionResponse")
    for part in parts[:-1]:
        assert part["object"] == "text_completion" and part["choices"][0]["finish_reason"] is None
    assert parts[-1]["choices"][0]["finish_reason"] == "length"
    check.validate(parts[-1])


def test_the_connection_is_kept_after_a_stream(server, chat):
    body = json.dumps(chat(stream=True, max_tokens=2)).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"\r\n0\r\n\r\n"):
                part = connection.recv(65536)
                assert part, answer
                answer += part
            assert answer.startswith(b"HTTP/1.1 200") and b"data: [DONE]" in answer


def test_an_http_1_0_client_gets_the_stream_without_chunks(server, chat):
    body = json.dumps(chat(stream=True, max_tokens=2)).encode()
    request = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    head, _, text = server.exchange(request).partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert text.startswith(b"data: {") and text.endswith(b"data: [DONE]\n\n")


def test_two_pipelined_streams_are_answered_in_order(server, chat):
    body = json.dumps(chat(stream=True, max_tokens=2)).encode()
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with server.connect() as connection:
        connection.sendall(request + request)
        assert receive(connection).count(b"data: [DONE]") == 2


def test_a_fault_before_the_first_token_has_its_own_status(http, chat):
    answer = http.post("/v1/chat/completions", json=chat("word " * 5000, stream=True))
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "context_length_exceeded"


def test_closing_a_stream_cancels_its_generation(server, client):
    before = server.metric('mosa_engine_requests_total{model="mosa-tiny",result="cancelled"')
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "On and on"}], stream=True, max_tokens=900,
        extra_body={"ignore_eos": True})
    next(iter(stream))
    stream.close()
    # The engine's counters arrive a few times per second: wait for the one that tells, not for gauges that may be old.
    wait_until(lambda: server.metric('mosa_engine_requests_total{model="mosa-tiny",result="cancelled"') > before, 3)
    wait_until(lambda: server.metric("mosa_calls{") == 0 and server.metric("mosa_engine_running") == 0, 3)


def test_a_client_that_leaves_before_the_answer_is_noticed(server, chat):
    """The connection is suspended all the time: nothing has been sent to it yet."""
    body = json.dumps(chat(n=24, max_tokens=900, ignore_eos=True)).encode()
    with server.connect() as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                           % (len(body), body))
        wait_until(lambda: server.metric("mosa_engine_running") > 0)
    wait_until(lambda: server.metric("mosa_calls{") == 0 and server.metric("mosa_engine_running") == 0, 3)


def test_a_slow_reader_is_cancelled_when_its_buffer_is_full(start, chat):
    """The socket's own buffers are made small, so that a few kilobytes of events are too many."""
    server = start("--stream-buffer-bytes", "4096", "--max-model-len", "1024")
    body = json.dumps(chat(stream=True, n=16, max_tokens=900, ignore_eos=True, logprobs=True, top_logprobs=20)).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
                       % (len(body), body))
    wait_until(lambda: server.metric("mosa_calls_disconnected_total") == 1, 60, 0.2)
    wait_until(lambda: server.metric("mosa_calls{") == 0)
    connection.close()


def test_512_streams_at_once_all_finish(server, chat):
    async def one(http, index):
        body = chat(f"Number {index}", stream=True, max_tokens=4, ignore_eos=True)
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            text = (await answer.aread()).decode()
            return answer.status_code, text.endswith("data: [DONE]\n\n"), text.count('"finish_reason":"length"')

    async def all_of_them():
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        async with httpx.AsyncClient(base_url=server.url, timeout=300, limits=limits) as http:
            return await asyncio.gather(*(one(http, i) for i in range(512)))

    assert set(asyncio.run(all_of_them())) == {(200, True, 1)}


def test_a_stream_without_tokens_gets_comments(start, chat):
    server = start("--sse-keep-alive", "100ms")
    body = chat(stream=True, n=24, max_tokens=900, ignore_eos=True)  # not over before it is stopped
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=body, timeout=60) as answer:
        pieces = answer.iter_text()
        text = next(pieces)
        os.kill(server.engine_pid(), signal.SIGSTOP)
        while ": keep-alive\n\n" not in text:
            text += next(pieces)
        os.kill(server.engine_pid(), signal.SIGCONT)
        text += "".join(pieces)
    assert text.endswith("data: [DONE]\n\n")


def test_python_sdk_raises_on_an_error_in_the_stream(start):
    server = start()
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    stream = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "On"}], stream=True, max_tokens=900,
        extra_body={"ignore_eos": True})
    next(iter(stream))
    os.kill(server.engine_pid(), signal.SIGKILL)
    with pytest.raises(openai.APIError) as caught:
        for _ in stream:
            pass
    assert caught.value.message
