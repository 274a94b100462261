"""mosa bench serve: a reproducible plan, honest counts, and its three forms of output."""

import json
import subprocess
import xml.etree.ElementTree

from server import BIN, MODEL


def bench(*flags, server=None):
    command = [BIN, "bench", "serve", *flags]
    if server:
        command += ["--base-url", server.url, "--model", MODEL]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)


def plan(*flags):
    answer = bench("--plan", *flags)
    assert answer.returncode == 0, answer.stderr
    return [json.loads(line) for line in answer.stdout.splitlines()]


def test_a_seed_makes_the_plan():
    flags = ("--num-prompts", 500, "--request-rate", 50, "--random-range-ratio", 0.5, "--prefix-groups", 7)
    one = plan(*flags, "--seed", 1)
    assert one == plan(*flags, "--seed", 1) != plan(*flags, "--seed", 2)
    assert abs(one[-1]["at"] - 10) < 2 and one == sorted(one, key=lambda request: request["at"])
    assert all(128 <= request["input_tokens"] <= 384 for request in one)
    assert {request["group"] for request in one} == set(range(7))


def test_arrivals_can_be_even_or_at_once():
    gaps = [request["at"] for request in plan("--num-prompts", 5, "--request-rate", 10, "--arrival", "constant")]
    assert all(abs(at - i / 10) < 1e-9 for i, at in enumerate(gaps))
    assert all(request["at"] == 0 for request in plan("--num-prompts", 5))


def test_traces_give_times_and_lengths(tmp_path):
    azure, mooncake = tmp_path / "a.csv", tmp_path / "m.jsonl"
    azure.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.5,374,44\n"
                     "2023-11-16 18:16:00.75,396,109\n")
    mooncake.write_text('{"timestamp": 500, "input_length": 100, "output_length": 10, "hash_ids": [1]}\n'
                        '{"timestamp": 4500, "input_length": 9000, "output_length": 0, "hash_ids": []}\n')
    rows = plan("--dataset", azure, "--arrival", "trace", "--speed", 2)
    assert [(round(r["at"], 6), r["input_tokens"], r["output_tokens"]) for r in rows] == [(0, 374, 44), (7.125, 396, 109)]
    rows = plan("--dataset", mooncake, "--arrival", "trace", "--length-scale", 0.5, "--max-input-tokens", 64)
    assert [(r["at"], r["input_tokens"], r["output_tokens"]) for r in rows] == [(0, 50, 5), (4, 64, 1)]
    for text in ("TIMESTAMP\nnonsense\n", "", "2023-11-16 18:15:46.5,-5,44\n",
                 "2023-11-16 18:15:46.5,1,1\n2023-11-16 18:15:40.0,1,1\n"):
        azure.write_text(text)
        answer = bench("--plan", "--dataset", azure, "--arrival", "trace")
        assert answer.returncode == 1 and "a.csv" in answer.stderr


def test_a_run_counts_what_was_served(server, tmp_path):
    result, picture = tmp_path / "r.json", tmp_path / "p.svg"
    answer = bench("--num-prompts", 24, "--max-concurrency", 4, "--random-input-len", 20, "--random-output-len", 8,
                   "--prefix-tokens", 40, "--goodput", "ttft:60000", "--goodput", "e2el:60000", "--json",
                   "--metric-percentiles", "50,99.9", "--result-file", result, "--svg", picture, server=server)
    assert answer.returncode == 0, answer.stderr
    report = json.loads(answer.stdout)
    assert report == json.loads(result.read_text())
    assert report["completed"] == 24 and report["failed"] == 0 and report["max_concurrent_requests"] == 4
    assert report["total_input_tokens"] == 24 * 60 and report["total_output_tokens"] == 24 * 8
    assert abs(report["request_goodput"] - report["request_throughput"]) < 1e-9
    for metric in ("ttft", "tpot", "itl", "e2el"):
        assert 0 <= report[f"p50_{metric}_ms"] <= report[f"p99.9_{metric}_ms"]
    assert report["p50_ttft_ms"] <= report["p50_e2el_ms"]
    root = xml.etree.ElementTree.fromstring(picture.read_text())
    assert root.tag.endswith("svg") and len(root.findall("{*}circle")) == 24 and len(root.findall("{*}polyline")) == 4


def test_limits_that_nobody_keeps_give_no_goodput(server):
    answer = bench("--num-prompts", 4, "--random-input-len", 20, "--random-output-len", 8, "--goodput", "ttft:0.001",
                   "--json", server=server)
    assert json.loads(answer.stdout)["request_goodput"] == 0


def test_a_table_is_for_people(server):
    answer = bench("--num-prompts", 4, "--random-input-len", 20, "--random-output-len", 8, server=server)
    assert answer.returncode == 0
    for words in ("Successful requests", "Time to first token", "Inter-token latency", "p99"):
        assert words in answer.stdout


def test_failures_are_counted_and_the_first_is_told(server):
    answer = bench("--num-prompts", 3, "--endpoint", "/v1/nothing", "--json", server=server)
    assert answer.returncode == 1 and "404" in answer.stderr
    assert json.loads(answer.stdout)["failed"] == 3
    nobody = bench("--num-prompts", 2, "--base-url", "http://127.0.0.1:9", "--model", "x")
    assert nobody.returncode == 1 and "no request was answered" in nobody.stderr


def test_wrong_words_are_refused_before_anything_is_sent():
    for flags in (("--request-rate", "0"), ("--goodput", "speed:5"), ("--metric-percentiles", "101"),
                  ("--arrival", "trace"), ()):
        assert bench(*flags).returncode in (1, 2)
