"""`mosa data`: what is shown, counted, refused, cleaned, split and packed, on the command line."""
import json
import subprocess

import pytest

from server import BIN, ROOT

MODEL = ROOT / "examples/mosa-tiny.gguf"


def mosa(*arguments, cwd=None):
    return subprocess.run([str(BIN), "data", *map(str, arguments)], capture_output=True, text=True, cwd=cwd)


def chat(question, answer, **more):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_inspect_tells_masked_from_supervised(tmp_path):
    file = write(tmp_path / "a.jsonl", [chat("hi", "yo"), chat("more", "less")])
    done = mosa("inspect", file, "-m", MODEL, "--json", "--line", "2")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["line"] == 2 and row["spans"][1]["text"] == "less<|im_end|>"
    assert len(row["ids"]) == len(row["weights"]) == row["tokens"]
    assert "⟦yo<|im_end|>⟧" in mosa("inspect", file, "-m", MODEL).stdout


def test_stats_count_and_list_what_is_refused(tmp_path):
    file = write(tmp_path / "a.jsonl", [chat("hi", "yo"), chat("hi", ""), {"text": "x"}, chat("a", "b")])
    done = mosa("stats", file, "-m", MODEL, "--json")
    assert done.returncode == 1
    counts = json.loads(done.stdout)
    assert counts["records"] == 4 and counts["refused"] == 2 and counts["examples"] == 2
    assert "a.jsonl:2: messages[1]: the assistant says nothing" in done.stderr
    assert "a.jsonl:3: this record is in format text" in done.stderr


def test_pack_writes_all_or_nothing(tmp_path):
    good = write(tmp_path / "good.jsonl", [chat(f"q{i}", f"a{i}") for i in range(100)])
    done = mosa("pack", good, "-m", MODEL, "--seq-len", 128, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["examples"] == 100 and report["fill"] > 0.8 and (tmp_path / "out").exists()
    bad = write(tmp_path / "bad.jsonl", [chat("q", "a"), chat("q", "a", extra=1)])
    done = mosa("pack", bad, "-m", MODEL, "--out", tmp_path / "none")
    assert done.returncode == 1 and "bad.jsonl:2: unknown field \"extra\"" in done.stderr
    assert not (tmp_path / "none").exists()


def test_dedup_and_split(tmp_path):
    file = write(tmp_path / "a.jsonl", [chat(f"q{i % 50}", "a", id=i) for i in range(200)])
    done = mosa("dedup", file, "--out", tmp_path / "b.jsonl", "--json")
    assert json.loads(done.stdout)["kept"] == 50, done.stderr
    done = mosa("split", tmp_path / "b.jsonl", "--test", "0.3", "--json", cwd=tmp_path)
    counts = json.loads(done.stdout)
    assert sum(counts.values()) == 50 and set(counts) == {"b-train.jsonl", "b-test.jsonl"}
    assert all((tmp_path / name).exists() for name in counts)


@pytest.mark.parametrize("arguments, said", [
    (["inspect", "nothing.jsonl", "-m", MODEL], "nothing.jsonl: no such file or folder"),
    (["inspect", MODEL], "Give --model"),
    (["sing"], "there is no such command"),
    (["split", MODEL, "--parts", "1"], "splits nothing"),
    (["stats", MODEL, "-m", MODEL, "--column", "promt=x"], "no column \"promt\""),
])
def test_wrong_use_is_told(arguments, said, tmp_path):
    done = mosa(*arguments, cwd=tmp_path)
    assert done.returncode != 0 and said in done.stderr
