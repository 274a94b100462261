"""`mosa tokenizer train`: its files load everywhere, any number of threads gives the same, faults name file and line."""
import json
import subprocess

import pytest

from server import BIN

TEXT = "It was the best of times, it was the worst of times.\nNaïve façades, 12345!\n" * 20


def mosa(*arguments):
    return subprocess.run([str(BIN), *map(str, arguments)], capture_output=True, text=True)


def train(folder, *files, **flags):
    words = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", value)]
    done = mosa("tokenizer", "train", *files, "--out", folder, *words)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "tokenizer.json").read_text())


def test_text_survives_the_trained_tokenizer(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    made = train(tmp_path / "out", tmp_path / "text.txt", vocab_size=290, pre="llama-bpe")
    assert len(made["model"]["vocab"]) == 290
    assert made["added_tokens"][0]["content"] == "<|endoftext|>"
    sample = "the best façades 99\n\n of times"
    ids = mosa("tokenize", tmp_path / "out/tokenizer.json", sample, "--ids").stdout.split()
    assert 0 < len(ids) < len(sample.encode())
    assert mosa("tokenize", tmp_path / "out/tokenizer.json", " ".join(ids), "--decode").stdout == sample + "\n"


def test_threads_change_nothing(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "b.txt").write_text(TEXT[::-1])
    made = [train(tmp_path / str(n), tmp_path / "a.txt", tmp_path / "b.txt", vocab_size=500, threads=n) for n in (1, 3)]
    assert made[0] == made[1]


def test_lines_of_json(tmp_path):
    (tmp_path / "plain.txt").write_text("one two two\n")
    (tmp_path / "data.jsonl").write_text(json.dumps({"body": "one two two\n"}) + "\n\n")
    plain = train(tmp_path / "p", tmp_path / "plain.txt", vocab_size=300)
    lines = train(tmp_path / "j", tmp_path / "data.jsonl", vocab_size=300, field="body")
    assert plain["model"] == lines["model"]


@pytest.mark.parametrize("name, content, flags, said", [
    ("a.txt", b"fine\nnot \xff fine\n", [], "a.txt:2: this is not UTF-8"),
    ("a.jsonl", b'{"text": "x"}\n{"text": 1}\n', [], 'a.jsonl:2: there is no text in field "text"'),
    ("a.jsonl", b'{"text": \n', [], "a.jsonl:1"),
    ("a.txt", b"", [], "no text"),
    ("a.txt", b"x", ["--vocab-size", "100"], "--vocab-size"),
    ("a.txt", b"x", ["--pre", "nonsense"], "--pre nonsense"),
    ("a.txt", b"x", ["--special", "<s>", "--special", "<s>"], "given twice"),
])
def test_faults_are_told(tmp_path, name, content, flags, said):
    (tmp_path / name).write_bytes(content)
    done = mosa("tokenizer", "train", tmp_path / name, "--out", tmp_path / "out", *flags)
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
