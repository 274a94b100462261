"""`mosa eval`: its figures are those that the HTTP API's log-probabilities and answers give."""
import json
import math
import subprocess

import pytest

from server import BIN, MODEL, MODEL_FILE

TEXT = "It is a truth universally acknowledged, that a single man in possession of a good fortune must be in want. " * 6


def mosa_eval(*arguments):
    return subprocess.run([str(BIN), "eval", str(MODEL_FILE), *map(str, arguments)], capture_output=True, text=True)


def figures(*arguments):
    done = mosa_eval("--json", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def scored(http, text):
    """Bytes of each token of a text, and the log-probabilities of all but the first."""
    answer = http.post("/v1/completions", json={"model": MODEL, "prompt": text, "max_tokens": 0, "echo": True,
                                                "logprobs": 0}).json()["choices"][0]["logprobs"]
    return answer["tokens"], answer["token_logprobs"]


def test_loss_is_that_of_the_api(tmp_path, http):
    (tmp_path / "text.txt").write_text(TEXT)
    result = figures("--task", "loss", "--data", tmp_path / "text.txt")
    tokens, logprobs = scored(http, TEXT)
    nats = -sum(logprobs[1:])
    assert result["metrics"]["tokens"] == len(tokens) - 1
    assert result["metrics"]["loss"] == pytest.approx(nats / (len(tokens) - 1), rel=1e-5)
    assert result["metrics"]["perplexity"] == pytest.approx(math.exp(nats / (len(tokens) - 1)), rel=1e-4)
    assert result["metrics"]["bytes"] == len(TEXT) - len(tokens[0])
    assert result["metrics"]["bits_per_byte"] == pytest.approx(nats / math.log(2) / result["metrics"]["bytes"], rel=1e-5)


def test_windows_cut_the_text(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    whole = figures("--task", "loss", "--data", tmp_path / "text.txt")
    cut = figures("--task", "loss", "--data", tmp_path / "text.txt", "--window", 20)
    assert cut["records"] == math.ceil((whole["metrics"]["tokens"] + 1) / 20)
    assert cut["metrics"]["loss"] > whole["metrics"]["loss"]  # less is known of what comes before
    assert figures("--task", "loss", "--data", tmp_path / "text.txt", "--window", 20, "--limit", 2)["records"] == 2


def test_choices_are_ranked_as_the_api_scores_them(tmp_path, http):
    question, choices = "Once upon a time there was a", ["king", "xylophone quartz", "little girl"]
    _, before = scored(http, question)
    scores = []
    for choice in choices:
        _, logprobs = scored(http, f"{question} {choice}")
        scores.append(sum(logprobs[len(before):]))
    best = scores.index(max(scores))
    norms = [score / len(choice) for score, choice in zip(scores, choices)]
    best_norm = norms.index(max(norms))
    data = write_lines(tmp_path / "data.jsonl", [{"question": question, "choices": choices, "answer": best},
                                                 {"question": question, "choices": choices, "answer": "ABC"[best]},
                                                 {"question": question, "choices": choices, "answer": choices[best]},
                                                 {"query": question, "choices": choices, "label": (best + 1) % 3}])
    result = figures("--task", "choice", "--data", data, "--outcomes", tmp_path / "out.jsonl")
    assert result["metrics"]["accuracy"] == 0.75
    assert result["standard_errors"]["accuracy"] == pytest.approx(0.25)
    outcomes = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [outcome["chosen"] for outcome in outcomes] == [best] * 4
    assert [outcome["chosen_norm"] for outcome in outcomes] == [best_norm] * 4


def test_answers_are_greedy_and_judged(tmp_path, http):
    question = "How many?"
    answer = http.post("/v1/completions", json={"model": MODEL, "prompt": f"Question: {question}\nAnswer:",
                                                "max_tokens": 20, "temperature": 0, "stop": ["\nQuestion:"]}).json()
    data = write_lines(tmp_path / "data.jsonl", [{"question": question, "answer": "so #### 7"}] * 3)
    result = figures("--task", "gsm8k", "--data", data, "--max-tokens", 20, "--outcomes", tmp_path / "out.jsonl")
    outcomes = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [outcome["answer"] for outcome in outcomes] == [answer["choices"][0]["text"]] * 3
    assert {outcome["right"] for outcome in outcomes} == {"7"}
    assert result["records"] == 3


def test_examples_come_first_and_too_long_is_skipped(tmp_path):
    example = {"question": "One and one?", "answer": "It is 1 + 1 = 2\n#### 2"}
    data = write_lines(tmp_path / "data.jsonl", [example, {"question": "long " * 2000, "answer": "#### 1"}])
    result = figures("--task", "gsm8k", "--data", data, "--shots", 1, "--examples", data, "--max-tokens", 8)
    assert result["records"] == 1 and result["metrics"]["skipped"] == 1


@pytest.mark.parametrize("task, content, said", [
    ("choice", '{"question": "a"}\n', "record 1: choices"),
    ("choice", '{"question": "a", "choices": ["x", "y"], "answer": 2}\n', "record 1: answer"),
    ("choice", '{"question": "a", "choices": ["x", "y"], "answer": 0}\n[]\n', "data:2: this is no JSON object"),
    ("gsm8k", '{"question": "a", "answer": "none"}\n', "record 1: there is no answer"),
    ("gsm8k", "\n\n", "there are no records"),
    ("gsm8k", "{", "data:1"),
    ("loss", "", "too short"),
    ("nothing", "x", "known are loss choice gsm8k"),
])
def test_faults_are_told_before_anything_runs(tmp_path, task, content, said):
    (tmp_path / "data").write_text(content)
    done = mosa_eval("--task", task, "--data", tmp_path / "data")
    assert done.returncode != 0
    assert said in done.stderr
