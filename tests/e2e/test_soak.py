"""A soak: mixed traffic with random cancellations over the real program, after which everything is as it was.

Workers send chats, completions, embeddings and nonsense, streamed or not, of several callers and priorities, and hang
up at random. Few pages and slots make sequences push each other out; speculation is on. All along, one seeded request
is repeated and must give the same bits each time. At the end pages, memory and descriptors are what they were.
"""

import pathlib
import random
import re
import threading
import time

import httpx
import pytest

from server import MODEL, wait_until

SECONDS_SHORT, SECONDS_LONG, WORKERS, WARM_UP_SECONDS = 20, 600, 8, 4
MEMORY_SLACK = 24 << 20
WORDS = "the king and his daughter went into a deep forest where an old woman lived alone with three cats".split()
PROBE = {"model": MODEL, "prompt": "Once upon a time", "max_tokens": 24, "seed": 5, "temperature": 0.8, "logprobs": 2}


def rss_bytes(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024


def descriptors(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def text(rng, most):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, most)))


def draw_request(rng):
    """(path, body, codes that are right) of a request of any kind."""
    common = {"model": MODEL, "max_tokens": rng.choice([1, 8, 40, 160]), "temperature": rng.choice([0, 0.7, 1.5]),
              "seed": rng.randint(0, 99), "user": f"caller-{rng.randint(0, 3)}", "priority": rng.choice([0, 0, 0, 1, -1])}
    kind = rng.randint(0, 9)
    if kind < 4:
        body = common | {"messages": [{"role": "user", "content": text(rng, 60)}], "stream": rng.random() < 0.6,
                         "n": rng.choice([1, 1, 2]), "stop": rng.choice([None, ["king"], [".", "the"]])}
        return "/v1/chat/completions", body, {200, 429}
    if kind < 7:
        body = common | {"prompt": [text(rng, 120) for _ in range(rng.randint(1, 3))], "stream": rng.random() < 0.6,
                         "logprobs": rng.choice([None, 3]), "frequency_penalty": rng.choice([0, 0.5])}
        return "/v1/completions", body, {200, 429}
    if kind == 7:
        return "/v1/embeddings", {"model": MODEL, "input": [text(rng, 80), text(rng, 5)]}, {200, 429}
    if kind == 8:
        return "/v1/completions", common | {"prompt": "king " * 5000}, {400}
    return "/v1/completions", common | {"prompt": "a", "temperature": -1}, {400}


class Storm:
    def __init__(self, url):
        self.url, self.stopped, self.errors, self.done, self.hung_up = url, threading.Event(), [], 0, 0
        self.expected = self.probe()

    def probe(self):
        answer = httpx.post(self.url + "/v1/completions", json=PROBE, timeout=120)
        if answer.status_code == 429:
            return None
        assert answer.status_code == 200, answer.text
        choice = answer.json()["choices"][0]
        return choice["text"], choice["logprobs"]["token_logprobs"]

    def send(self, client, rng):
        path, body, right = draw_request(rng)
        with client.stream("POST", self.url + path, json=body) as answer:
            assert answer.status_code in right, f"{answer.status_code} for {body}"
            for i, _ in enumerate(answer.iter_raw()):
                if rng.random() < 0.05 or (i == 0 and rng.random() < 0.2):
                    self.hung_up += 1
                    return  # leaving the block closes the connection
        self.done += 1

    def work(self, seed):
        rng = random.Random(seed)
        with httpx.Client(timeout=120) as client:
            while not self.stopped.is_set():
                try:
                    if seed == 0 or rng.random() < 0.02:
                        got = self.probe()
                        assert got in (None, self.expected), "a seeded request changed in the storm"
                    self.send(client, rng)
                except Exception as error:  # every worker goes on; the test reports
                    self.errors.append(repr(error))
                    return

    def run(self, seconds):
        self.stopped.clear()
        workers = [threading.Thread(target=self.work, args=(i,)) for i in range(WORKERS)]
        for worker in workers:
            worker.start()
        time.sleep(seconds)
        self.stopped.set()
        for worker in workers:
            worker.join(150)
        assert not self.errors, self.errors[:3]


def settled(server):
    wait_until(lambda: server.metric("mosa_engine_running") + server.metric("mosa_engine_waiting") == 0, 30)
    wait_until(lambda: server.metric(f'mosa_engine_kv_pages{{model="{MODEL}",state="used"}}') == 0, 10)
    time.sleep(1)  # the gateway closes what its clients left
    pids = server.process.pid, server.engine_pid()
    return [(rss_bytes(pid), descriptors(pid)) for pid in pids]


def soak(start, seconds):
    server = start("--max-seqs", 6, "--max-queue", 12, "--max-requests", 64, "--max-model-len", 512, "--kv-memory",
                   "2M", "--max-batch-tokens", 64, "--speculate", "ngram")
    storm = Storm(server.url)
    storm.run(WARM_UP_SECONDS)
    before = settled(server)
    storm.run(seconds)
    after = settled(server)
    assert storm.done > 10 and storm.hung_up > 5
    assert storm.probe() == storm.expected
    for name in ("preemptions_total", "accepted_tokens_total"):
        assert server.metric(f"mosa_engine_{name}") > 0, f"the storm made no {name}"
    assert server.metric(f'mosa_engine_requests_total{{model="{MODEL}",result="cancelled"}}') > 0
    assert server.metric(f'mosa_engine_requests_total{{model="{MODEL}",result="failed"}}') == 0
    assert server.metric("mosa_engine_restarts_total") == 0
    for (rss_before, fds_before), (rss_after, fds_after) in zip(before, after):
        assert rss_after < rss_before + MEMORY_SLACK, f"memory grew from {rss_before} to {rss_after}"
        assert fds_after <= fds_before, f"descriptors grew from {fds_before} to {fds_after}"


def test_a_short_soak_leaves_everything_as_it_was(start):
    soak(start, SECONDS_SHORT)


@pytest.mark.long
def test_a_long_soak_leaves_everything_as_it_was(start):
    soak(start, SECONDS_LONG)
