"""Limits: bodies, queues, deadlines, connections. Every one has its own small server."""

import concurrent.futures
import json
import socket
import time

import httpx
import pytest

from server import receive, wait_until


def test_a_body_over_the_limit_is_413(start, chat):
    server = start("--max-body-bytes", "16K")
    assert httpx.post(server.url + "/v1/chat/completions", json=chat("x" * 20000)).status_code == 413
    assert httpx.post(server.url + "/v1/chat/completions", json=chat("x" * 200000)).status_code == 413

    def pieces():
        for _ in range(40):
            yield b"x" * 1000

    assert httpx.post(server.url + "/v1/chat/completions", content=pieces()).status_code == 413
    assert server.is_ready()


def test_an_endless_chunked_body_is_cut(start):
    server = start("--max-body-bytes", "16K")
    with server.connect() as connection, pytest.raises(OSError):
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(10000):
            connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")


def test_a_full_queue_is_429_with_retry_after(start, chat):
    server = start("--max-requests", "2", "--max-seqs", "1")

    def ask(_):
        body = chat(max_tokens=300, ignore_eos=True)
        answer = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=60)
        return answer.status_code, answer.headers.get("retry-after")

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = set(pool.map(ask, range(8)))
    assert results == {(200, None), (429, "1")}


def test_a_full_engine_queue_is_429_too(start, chat):
    server = start("--max-queue", "1", "--max-seqs", "1")

    def ask(_):
        return httpx.post(server.url + "/v1/chat/completions", json=chat(max_tokens=300, ignore_eos=True),
                          timeout=60).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = set(pool.map(ask, range(8)))
    assert results == {200, 429}


def drip(server, first, rest, interval):
    """Sends `first`, then bytes of `rest` one by one; returns how long the server bore it."""
    began = time.monotonic()
    with server.connect() as connection:
        connection.sendall(first)
        connection.settimeout(interval)
        for byte in rest * 1000:
            try:
                connection.sendall(bytes([byte]))
                if connection.recv(1) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    return time.monotonic() - began


def test_slow_headers_are_cut(start):
    server = start("--header-timeout", "500ms", "--idle-timeout", "60s")
    assert drip(server, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"a", 0.1) < 5
    assert drip(server, b"G", b"E", 0.1) < 5, "not even its first line"
    assert server.metric("mosa_http_connections_cut_total") == 2


def test_slow_bodies_are_cut(start):
    server = start("--body-timeout", "500ms")
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    assert drip(server, head, b" ", 0.1) < 5


def test_idle_connections_are_closed_after_their_time(start):
    server = start("--header-timeout", "200ms", "--idle-timeout", "1s")
    with server.connect() as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        assert receive(connection, quiet=5).startswith(b"HTTP/1.1 200")
        assert 0.8 < time.monotonic() - began < 3


def test_a_slow_answer_is_no_idle_connection(start, chat):
    server = start("--header-timeout", "200ms", "--idle-timeout", "200ms", "--body-timeout", "300ms")
    answer = httpx.post(server.url + "/v1/chat/completions", json=chat(max_tokens=700, ignore_eos=True), timeout=60)
    assert answer.status_code == 200


def test_a_request_that_takes_too_long_is_504(start, chat):
    server = start("--request-timeout", "500ms", "--max-seqs", "1")
    body = chat(max_tokens=900, n=8, ignore_eos=True)
    answer = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=60)
    assert answer.status_code == 504 and answer.json()["error"]["code"] == "timeout"
    wait_until(lambda: server.metric("mosa_engine_running") == 0)


def open_idle(server, count):
    connections = []
    for _ in range(count):
        connection = server.connect()
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connections.append(connection)
    return connections


def check_idle(server, count, limit_bytes, chat):
    connections = open_idle(server, count)
    assert server.metric("mosa_http_connections ") >= count
    print(f"{count} idle connections: {server.rss_bytes() / 1e6:.0f} MB")
    assert server.rss_bytes() < limit_bytes
    assert httpx.post(server.url + "/v1/chat/completions", json=chat(max_tokens=1)).status_code == 200
    for connection in connections:
        connection.close()
    wait_until(lambda: server.metric("mosa_http_connections ") < 10, 30)


def is_sanitized(server):
    return "libasan" in open(f"/proc/{server.process.pid}/maps").read()


def test_1000_idle_connections_are_cheap(start, chat):
    server = start()
    check_idle(server, 1000, (1 << 40) if is_sanitized(server) else 80 << 20, chat)


@pytest.mark.long
def test_10000_idle_connections_cost_under_200_mb(start, chat):
    server = start()
    if is_sanitized(server):
        pytest.skip("memory means nothing under the address sanitizer")
    check_idle(server, 10000, 200_000_000, chat)


def test_more_connections_than_the_limit_do_not_stop_the_others(start):
    server = start("--max-connections", "8", "--http-threads", "2")
    connections = open_idle(server, 6)
    for connection in connections:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.close()
    assert server.is_ready()


def test_large_headers_are_refused(server):
    for size in (20_000, 200_000):
        answer = server.exchange(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * size + b"\r\n\r\n")
        assert answer == b"" or answer.split()[1] in (b"431", b"413", b"400"), answer[:100]
    assert server.exchange(b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n").split()[1:2] in ([b"414"], [b"431"], [])
    assert server.is_ready()


def test_a_large_body_is_read_and_tokenized(server, chat):
    body = json.dumps(chat("word " * 200_000)).encode()
    answer = httpx.post(server.url + "/v1/chat/completions", content=body, timeout=60)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "context_length_exceeded"


def test_expect_100_continue(server, chat):
    body = json.dumps(chat(max_tokens=1)).encode()
    with server.connect() as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body))
        assert connection.recv(4096).startswith(b"HTTP/1.1 100")
        connection.sendall(body)
        assert receive(connection).startswith(b"HTTP/1.1 200")


def test_a_port_that_is_taken_is_told(start):
    server = start()
    with pytest.raises(AssertionError, match=f"port {server.port} on 127.0.0.1 is taken"):
        start("--port", server.port)


def test_the_listening_socket_survives_bursts(server):
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]
    for one in sockets:
        one.close()
    assert server.is_ready()
