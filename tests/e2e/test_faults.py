"""Faults: the engine is killed, does not start, the server is told to stop."""

import json
import os
import signal
import subprocess
import threading
import time

import httpx
import pytest

from server import BIN, MODEL_FILE, wait_until


def test_killed_in_mid_stream_the_stream_ends_with_an_error_event(start, chat):
    server = start()
    body = chat(stream=True, max_tokens=900, ignore_eos=True)
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=body, timeout=30) as answer:
        lines = answer.iter_lines()
        for _ in range(6):
            next(lines)
        os.kill(server.engine_pid(), signal.SIGKILL)
        rest = [line for line in lines if line.startswith("data: ")]
    error = json.loads(rest[-1].removeprefix("data: "))["error"]
    assert set(error) == {"message", "type", "param", "code"} and error["code"] == "engine_failed"
    assert server.process.poll() is None


def test_killed_with_an_answer_half_made_the_request_is_503_and_retryable(start, chat):
    server = start()
    result = {}

    def ask():
        body = chat(max_tokens=900, n=8, ignore_eos=True)
        result["answer"] = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=30)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: server.metric("mosa_engine_generated_tokens_total") > 0)
    os.kill(server.engine_pid(), signal.SIGKILL)
    thread.join()
    assert result["answer"].status_code == 503 and result["answer"].headers["retry-after"] == "1"
    assert result["answer"].json()["error"]["code"] == "engine_failed"


def test_killed_before_the_first_token_requests_are_answered_by_the_next_engine(start, chat):
    """Their engine is stopped, so that it cannot have begun; no client sees anything of its death."""
    server = start()
    os.kill(server.engine_pid(), signal.SIGSTOP)
    results = []

    def ask(stream):
        answer = httpx.post(server.url + "/v1/chat/completions", json=chat(stream=stream, max_tokens=2), timeout=30)
        results.append(answer.status_code)

    threads = [threading.Thread(target=ask, args=(i % 2 == 0,)) for i in range(6)]
    for thread in threads:
        thread.start()
    wait_until(lambda: server.metric("mosa_calls{") == 6)
    os.kill(server.engine_pid(), signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert results == [200] * 6


def test_after_a_kill_the_engine_is_back_within_2_seconds(start, chat):
    server = start()
    for _ in range(2):
        os.kill(server.engine_pid(), signal.SIGKILL)
        began = time.monotonic()
        wait_until(lambda: httpx.get(server.url + "/health").status_code == 503 or time.monotonic() - began > 0.5)
        answer = httpx.post(server.url + "/v1/chat/completions", json=chat(max_tokens=1), timeout=30)
        assert answer.status_code == 200
        assert time.monotonic() - began < 2
    time.sleep(1)
    assert server.metric("mosa_engine_restarts_total") == 2, "each kill is one death, also a second later"


def test_while_no_engine_is_there_requests_wait_and_then_get_503(start, chat):
    server = start("--engine-wait", "300ms")
    os.kill(server.engine_pid(), signal.SIGSTOP)
    # The link's end is what tells of a death; a stopped engine is alive, so its requests wait for the request timeout.
    os.kill(server.engine_pid(), signal.SIGKILL)
    answer = httpx.post(server.url + "/v1/chat/completions", json=chat(max_tokens=1), timeout=30)
    assert answer.status_code in (200, 503)
    if answer.status_code == 503:
        assert answer.headers["retry-after"]


def test_an_engine_that_keeps_dying_leaves_the_gateway_alive(start):
    server = start("--engine-restart-limit", "3", "--engine-restart-backoff", "20ms")
    for _ in range(3):
        pid = server.engine_pid()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server.engine_pid() != pid)
    assert httpx.get(server.url + "/health/live").status_code == 200
    wait_until(server.is_ready, 10)


def test_the_reason_of_a_death_is_in_the_log(start):
    server = start()
    os.kill(server.engine_pid(), signal.SIGSEGV)
    wait_until(lambda: "killed by SIGSEGV" in server.log() or "exit code" in server.log())
    pid = server.engine_pid()
    wait_until(server.is_ready)
    os.kill(server.engine_pid(), signal.SIGKILL)
    wait_until(lambda: "killed by SIGKILL (out of memory?)" in server.log())
    assert pid


def test_the_engine_dies_with_its_gateway(start):
    server = start()
    pid = server.engine_pid()
    server.process.kill()
    server.process.wait()

    def gone():
        try:
            return "State:\tZ" in open(f"/proc/{pid}/status").read()
        except FileNotFoundError:
            return True

    wait_until(gone, 5)


def test_sigterm_finishes_running_requests_and_exits_0(start, chat):
    server = start()
    result = {}

    def ask():
        body = chat(n=24, max_tokens=900, ignore_eos=True)  # long enough to be seen running
        result["answer"] = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=30)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_until(lambda: server.metric("mosa_engine_running") > 0)
    server.process.send_signal(signal.SIGTERM)
    thread.join()
    assert result["answer"].status_code == 200 and result["answer"].json()["usage"]["completion_tokens"] == 24 * 900
    assert server.process.wait(10) == 0


def test_a_second_signal_ends_at_once(start, chat):
    server = start()
    body = chat(stream=True, n=8, max_tokens=900, ignore_eos=True)
    with httpx.stream("POST", server.url + "/v1/chat/completions", json=body, timeout=30) as answer:
        lines = answer.iter_lines()
        next(lines)
        server.process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        server.process.send_signal(signal.SIGINT)
        rest = [line for line in lines if line.startswith("data: ")]
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert server.process.wait(10) == 0


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "text"])
def test_a_model_that_cannot_be_loaded_is_told_and_ends_the_server(tmp_path, damage):
    path = tmp_path / "broken.gguf"
    if damage == "empty":
        path.write_bytes(b"")
    if damage == "truncated":
        path.write_bytes(MODEL_FILE.read_bytes()[:1_000_000])
    if damage == "text":
        path.write_text("This is no model.\n")
    result = subprocess.run([BIN, "serve", "--model", path, "--port", "0"], capture_output=True, text=True, timeout=30)
    assert result.returncode == 1
    assert "broken.gguf" in result.stderr.splitlines()[-1] or "broken.gguf" in result.stderr


def test_no_model_is_told():
    result = subprocess.run([BIN, "serve"], capture_output=True, text=True, timeout=30, cwd="/")
    assert result.returncode in (1, 2) and "--model" in result.stderr
