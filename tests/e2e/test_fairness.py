"""One engine, several callers: who has many requests waiting does not hold up who has one."""

import threading
import time

import httpx
import pytest

from server import MODEL, wait_until

KEYS = ["key-of-the-many", "key-of-the-one"]


def ask(server, caller, finished, by_key):
    body = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 400, "ignore_eos": True}
    headers = {"Authorization": f"Bearer {KEYS[caller]}"} if by_key else {}
    if not by_key:
        body["user"] = KEYS[caller]
    answer = httpx.post(server.url + "/v1/completions", json=body, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    finished.append((time.monotonic(), caller))


@pytest.mark.parametrize("by_key", [True, False], ids=["API keys", "values of user"])
def test_a_caller_with_many_requests_does_not_hold_up_another(start, by_key):
    options = [word for key in KEYS for word in ("--api-key", key)] if by_key else []
    server = start("--max-seqs", 2, "--max-model-len", 512, "--prefix-cache", *options, ready=not by_key)
    if by_key:
        wait_until(lambda: httpx.get(server.url + "/health").status_code == 200, 30)
    finished = []
    many = [threading.Thread(target=ask, args=(server, 0, finished, by_key)) for _ in range(12)]
    for one in many:
        one.start()
    time.sleep(0.1)
    ask(server, 1, finished, by_key)
    rank = [caller for _, caller in sorted(finished)].index(1)
    for one in many:
        one.join()
    assert len(finished) == 13
    assert rank <= 6, f"{rank} requests of the other caller went before"
