"""The command line's frame: help, wrong usage, settings and exit codes."""

import json
import os
import subprocess

import httpx
import pytest

from server import BIN, MODEL, MODEL_FILE, Server


def mosa(*arguments, env=None, cwd=None, stdout=subprocess.PIPE):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MOSA_")} | (env or {})
    return subprocess.run([BIN, *arguments], stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE,
                          text=True, env=environment, cwd=cwd, timeout=60)


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_the_commands_by_group(arguments):
    done = mosa(*arguments)
    assert done.returncode == 0 and done.stderr == ""
    for group in ("Serve", "Talk to a model", "Models and files", "Tools"):
        assert f"\n{group}\n" in done.stdout
    assert "  chat " in done.stdout and "  engine " not in done.stdout


def test_every_command_explains_itself_within_the_terminal():
    commands = [line.split()[0] for line in mosa("--help").stdout.splitlines() if line.startswith("  ")]
    commands = [name for name in commands if name != "mosa"]
    assert {"serve", "chat", "run", "pull", "inspect", "convert", "bench", "version"} <= set(commands)
    for name in commands:
        asked, flagged = mosa("help", name), mosa(name, "--help")
        assert asked.returncode == 0 and asked.stdout == flagged.stdout
        assert f"Usage: mosa {name}" in asked.stdout
        assert max(len(line) for line in asked.stdout.splitlines()) <= 120


@pytest.mark.parametrize("arguments, message", [
    (["serv"], "unknown command 'serv'\n      did you mean `mosa serve`?"),
    (["serve", "--prot", "1"], "unknown flag '--prot'\n      did you mean --port?"),
    (["serve", "--port", "99999"], "--port: must be 0 to 65535, not '99999'"),
    (["chat"], "chat needs MODEL\n      see `mosa help chat`"),
    (["version", "x"], "version takes 0 arguments, 'x' is too many"),
])
def test_wrong_usage_says_what_to_do_and_exits_with_2(arguments, message):
    done = mosa(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"mosa: {message}")


def test_a_missing_model_is_a_failure_not_wrong_usage():
    done = mosa("run", "/nonexistent/model.gguf", "hello")
    assert done.returncode == 1 and "/nonexistent/model.gguf" in done.stderr


def test_settings_come_from_file_and_environment(tmp_path):
    (tmp_path / "mosa.yaml").write_text("server:\n  port: 1234\n  api_key: [hush]\nlog:\n  level: debug\n")
    shown = mosa("config", cwd=tmp_path, env={"MOSA_LOG_LEVEL": "warn"}).stdout
    assert "  port: 1234\n" in shown and '  level: "warn"\n' in shown
    assert "hush" not in shown


def test_a_wrong_file_names_file_and_key(tmp_path):
    (tmp_path / "mosa.yaml").write_text("server:\n  prot: 1234\n")
    done = mosa("config", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "mosa: mosa.yaml: unknown key 'server.prot'\n      did you mean server.port?\n"


def test_the_printed_configuration_file_is_valid(tmp_path):
    (tmp_path / "mosa.yaml").write_text(mosa("config", "--yaml").stdout)
    before, after = mosa("config").stdout, mosa("config", cwd=tmp_path).stdout
    assert before.splitlines()[1:] == after.splitlines()[1:]


def test_output_that_cannot_be_written_is_an_error():
    with open("/dev/full", "w") as full:
        done = mosa("version", stdout=full)
    assert done.returncode == 1 and "No space left on device" in done.stderr


@pytest.mark.parametrize("flag, text, check", [
    ("--json-schema", '{"type":"object","properties":{"n":{"type":"integer","maximum":9,"minimum":0}},"required":["n"],'
     '"additionalProperties":false}', lambda out: json.loads(out)["n"] in range(10)),
    ("--grammar", 'start: "a" | "b"\n', lambda out: out in ("a\n", "b\n")),
])
def test_an_answer_has_the_form_that_a_file_asks_for(tmp_path, flag, text, check):
    path = tmp_path / "form"
    path.write_text(text)
    done = mosa("run", flag, str(path), MODEL_FILE, "hello")
    assert done.returncode == 0, done.stderr
    assert check(done.stdout)


def test_forms_exclude_each_other_and_what_is_unsupported_is_named(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text('{"uniqueItems": true}')
    assert "exclude each other" in mosa("run", "--regex", "a", "--grammar", str(path), MODEL_FILE, "x").stderr
    done = mosa("run", "--json-schema", str(path), MODEL_FILE, "x")
    assert done.returncode == 1 and "uniqueItems" in done.stderr
    assert mosa("run", "--regex", "(yes|no)!", MODEL_FILE, "x").stdout in ("yes!\n", "no!\n")


def test_devices_tells_what_can_be_named_and_why_a_card_cannot():
    listed = json.loads(mosa("devices", "--json").stdout)["devices"]
    assert listed[0]["device"] == "cpu" and listed[0]["usable"] and "thread" in listed[0]["description"]
    assert [device["device"] for device in listed[1:]] == [f"cuda:{i}" for i in range(len(listed) - 1)]
    shown = mosa("devices").stdout
    assert listed[0]["description"] in shown
    assert ("NVIDIA driver" in shown) if len(listed) > 1 else ("no GPUs: " in shown)


def test_bench_counts_what_streams_decode_together():
    done = mosa("bench", MODEL_FILE, "--json", "-p", "32", "-n", "24", "-d", "40", "-b", "1", "-b", "3", "-r", "1")
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert [row["test"] for row in measured["results"]] == ["prefill 32", "decode, 1 stream at 40",
                                                            "decode, 3 streams at 40"]
    assert all(row["tokens_per_s"] > 0 for row in measured["results"])
    assert measured["results"][1]["share_of_limit"] > 0 and measured["matrix_ops_per_s"] == 0


def test_another_program_may_run_the_engine(tmp_path):
    program = tmp_path / "engine"
    program.write_text(f'#!/bin/sh\necho "$1 $2" > {tmp_path}/called\nexec {BIN} "$@"\n')
    program.chmod(0o755)
    with Server("--engine-program", program) as server:
        answer = httpx.post(server.url + "/v1/completions", json={"model": MODEL, "prompt": "a", "max_tokens": 2})
    assert answer.status_code == 200 and answer.json()["usage"]["completion_tokens"] == 2
    assert (tmp_path / "called").read_text() == "engine fd:3\n"
