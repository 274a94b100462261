"""`mosa train` as a user runs it: from settings to a model that answers, stopped and killed on the way."""
import json
import random
import signal
import subprocess
import time

import pytest

from server import BIN, ROOT

WORDS = "the quick brown fox jumps over a lazy dog while seven wizards quietly mix potions in old jars".split()
MODEL = ROOT / "examples/mosa-tiny.gguf"
SHAPE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 300,
    "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
    "tie_word_embeddings": True, "torch_dtype": "float32", "eos_token_id": 0,
}


def mosa(*arguments, **options):
    return subprocess.run([str(BIN), *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    chance = random.Random(3)
    text = "\n\n".join(" ".join(chance.choices(WORDS, k=40)) for _ in range(60)) + "\n"
    (folder / "text.txt").write_text(text)
    (folder / "config.json").write_text(json.dumps(SHAPE))
    with open(folder / "chats.jsonl", "w") as chats:
        for i in range(40):
            question, answer = f"What is {i} plus {i + 1}?", f"It is {2 * i + 1}."
            chats.write(json.dumps({"messages": [{"role": "user", "content": question},
                                                 {"role": "assistant", "content": answer}]}) + "\n")
    done = mosa("tokenizer", "train", folder / "text.txt", "--vocab-size", 300, "--out", folder / "tokenizer")
    assert done.returncode == 0, done.stderr
    return folder


def scratch(inputs, out, **settings):
    values = {"config_name": inputs / "config.json", "tokenizer_name": inputs / "tokenizer", "stage": "pt",
              "finetuning_type": "full", "dataset": inputs / "text.txt", "cutoff_len": 32, "logging_steps": 2,
              "per_device_train_batch_size": 2, "learning_rate": 3e-3, "save_steps": 3, "max_steps": 20,
              "output_dir": out, **settings}
    return [str(BIN), "train"] + [str(word) for key, value in values.items() for word in (f"--{key}", value)]


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def rows(folder):
    lines = [json.loads(line) for line in open(folder / "metrics.jsonl")]
    return [{k: v for k, v in row.items() if k not in ("tokens_per_second", "share_of_peak", "eval_runtime")}
            for row in lines]


def test_a_model_from_scratch_learns_and_answers(inputs, tmp_path):
    out = run(scratch(inputs, tmp_path / "run", max_steps=60, val_size=0.1, eval_steps=20))
    assert "memory" in out and "Read back: log-probabilities" in out
    losses = [row["loss"] for row in rows(tmp_path / "run") if "loss" in row]
    assert losses[-1] < 0.7 * losses[0]
    state = json.load(open(tmp_path / "run/trainer_state.json"))
    assert state["global_step"] == 60 and len(state["log_history"]) == len(rows(tmp_path / "run"))
    assert (tmp_path / "run/README.md").read_text().startswith("---\nbase_model:")
    said = mosa("run", tmp_path / "run", "the quick", "-n", 5)
    assert said.returncode == 0 and said.stdout.strip()
    assert "loss" in mosa("train", "plot", tmp_path / "run").stdout


def test_20_kills_change_nothing(inputs, tmp_path):
    run(scratch(inputs, tmp_path / "whole", val_size=0.1, eval_steps=5))
    command, chance = scratch(inputs, tmp_path / "killed", val_size=0.1, eval_steps=5), random.Random(7)
    for _ in range(20):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.02, 0.6))
        child.kill()
        child.wait()
    run(command)
    for name in ("model.safetensors", "checkpoint-20/optimizer.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert rows(tmp_path / "killed") == rows(tmp_path / "whole")


def test_ctrl_c_saves_and_the_same_command_goes_on(inputs, tmp_path):
    command = scratch(inputs, tmp_path / "run", max_steps=4000, save_steps=100000)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "run/metrics.jsonl").exists() or not rows(tmp_path / "run"):
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 3 and "the same command goes on from here" in said
    done = int(said.split("stopped after step ")[1].split(";")[0])
    out = run(scratch(inputs, tmp_path / "run", max_steps=done + 2, save_steps=100000))
    assert f"resume   after step {done}" in out


def test_threads_and_accumulation(inputs, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    import numpy
    results = []
    for batch, steps, threads in ((16, 1, 1), (16, 1, 2), (8, 2, 2), (4, 4, 2), (2, 8, 2)):
        out = tmp_path / f"{batch}-{threads}"
        run(scratch(inputs, out, per_device_train_batch_size=batch, gradient_accumulation_steps=steps, threads=threads,
                    max_steps=1, max_samples=16, optim="sgd", max_grad_norm=0, learning_rate=0.1))
        results.append(safetensors.load_file(out / "model.safetensors"))
    for name, value in results[0].items():
        assert (results[1][name] == value).all(), name
        for other in results[2:]:
            assert numpy.abs(other[name] - value).max() < 1e-6, name


@pytest.mark.parametrize("form", ["hf", "gguf", "merged"])
def test_lora_on_the_model_that_ships(inputs, tmp_path, form):
    out = tmp_path / "run"
    said = run([str(BIN), "train", "--model", str(MODEL), "--dataset", str(inputs / "chats.jsonl"), "--output_dir",
                str(out), "--lora_rank", "4", "--max_steps", "12", "--learning_rate", "5e-3", "--cutoff_len", "128",
                "--export_format", form, "--logging_steps", "4"])
    assert "Read back: log-probabilities" in said
    losses = [row["loss"] for row in rows(out)]
    assert losses[-1] < losses[0]
    if form == "hf":
        config = json.load(open(out / "adapter_config.json"))
        assert config["r"] == 4 and "q_proj" in config["target_modules"]
    adapter = {"hf": [out], "gguf": [out / "adapter.gguf"]}.get(form)
    words = ["run", MODEL, "What is 3 plus 4?", "-n", "8"] + (["--adapter", *adapter] if adapter else [])
    if form == "merged":
        words[1] = out / "merged.gguf"
    assert mosa(*words).returncode == 0


def test_pairs(inputs, tmp_path):
    with open(tmp_path / "pairs.jsonl", "w") as pairs:
        for i in range(24):
            pairs.write(json.dumps({"prompt": f"Say {i}. ", "chosen": f"{i}, gladly.", "rejected": "No way."}) + "\n")
    out = tmp_path / "run"
    run([str(BIN), "train", "--model", str(MODEL), "--stage", "dpo", "--dataset", str(tmp_path / "pairs.jsonl"),
         "--output_dir", str(out), "--max_steps", "12", "--logging_steps", "1", "--learning_rate", "2e-3",
         "--per_device_train_batch_size", "4"])
    made = rows(out)
    assert abs(made[0]["loss"] - 0.693147) < 1e-4
    assert made[-1]["rewards/accuracies"] == 1 and made[-1]["loss"] < 0.6


def test_tensorboard_reads_the_events(inputs, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(scratch(inputs, tmp_path / "run", max_steps=6))
    read = events.EventAccumulator(str(tmp_path / "run"))
    read.Reload()
    scalars = read.Scalars("train/loss")
    assert [s.step for s in scalars] == [2, 4, 6]
    assert scalars[-1].value == pytest.approx(rows(tmp_path / "run")[-1]["loss"], rel=1e-6)


@pytest.mark.parametrize("flags, said", [
    (["--learning_rat", "1"], "did you mean --learning_rate?"),
    (["--optim", "adamw_torhc"], "did you mean adamw_torch?"),
    (["--fp16", "true"], "use bf16"),
    (["--dataset", "nowhere.jsonl"], "nowhere.jsonl"),
    (["--lora_target", "q_porj"], "q_porj"),
    (["--stage", "dpo"], "holds chat, stage dpo needs pairs"),
    (["--finetuning_type", "full"], "q8_0"),
])
def test_what_cannot_work_is_refused_before_the_first_step(inputs, tmp_path, flags, said):
    done = mosa("train", "--model", MODEL, "--dataset", inputs / "chats.jsonl", "--output_dir", tmp_path / "run", *flags)
    assert done.returncode != 0
    assert said in done.stderr
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_a_bad_record_is_named_with_its_line(inputs, tmp_path):
    good = (inputs / "chats.jsonl").read_text().splitlines()
    good[6] = json.dumps({"messages": [{"role": "user", "content": "x"}, {"role": "asistant", "content": "y"}]})
    (tmp_path / "data.jsonl").write_text("\n".join(good) + "\n")
    done = mosa("train", "--model", MODEL, "--dataset", tmp_path / "data.jsonl", "--output_dir", tmp_path / "run")
    assert done.returncode != 0
    assert "data.jsonl:7:" in done.stderr and "asistant" in done.stderr
