#!/usr/bin/env python3
"""Times `mosa data pack` beside Hugging Face datasets, tokenizers and TRL, on the same files, tokenizer and template.

  bench/data.py MOSA SHARED_DATA [--threads 2] [--rounds 2]

Needs datasets, transformers and trl. Both sides read the files, tokenize (chats: with the mask of the assistant's
tokens) and write what a run trains from; then lengths alone are packed best-fit into 2048 rows. Alternating rounds, the
best of each; the number of tokens must agree. Python's start and imports do not count.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
            "{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
ROWS = 2048


def make_inputs(shared, folder):
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(shared / "tok/qwen2")
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder / "model")
    (folder / "template.jinja").write_text(TEMPLATE)
    text = "".join(p.read_text() + "\n\n" for p in sorted((shared / "text/books").glob("*.txt")))
    (folder / "text.txt").write_text(text.replace("\r", ""))
    with open(folder / "chats.jsonl", "w") as out:
        for copy in range(4):
            for line in open(shared / "sft/gsm8k_train.jsonl"):
                row = json.loads(line)
                out.write(json.dumps({"messages": [{"role": "user", "content": f"{copy}. {row['question']}"},
                                                   {"role": "assistant", "content": row["answer"]}]}) + "\n")
    return tokenizer


def run_mosa(mosa, folder, what, threads):
    name = "text.txt" if what == "text" else "chats.jsonl"
    command = [mosa, "data", "pack", folder / name, "-m", folder / "model", "--json", "-t", str(threads), "--out",
               folder / "out.mosadata", "--seq-len", str(ROWS), "--chat-template", folder / "template.jinja"]
    if what == "text":
        command += ["--text-unit", "paragraph"]
    begin = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    whole = time.perf_counter() - begin
    report = json.loads(done.stdout)
    return whole, report["tokens"], report["batches"], report["fill"]


def run_peer(tokenizer, folder, what, threads):
    from datasets import load_dataset
    cache = tempfile.mkdtemp(dir=folder)
    begin = time.perf_counter()
    if what == "text":
        data = load_dataset("text", data_files=str(folder / "text.txt"), sample_by="paragraph", split="train",
                            cache_dir=cache)
        eos = tokenizer.eos_token

        def encode(batch):
            return {"input_ids": tokenizer([t + eos for t in batch["text"]])["input_ids"]}
        data = data.map(encode, batched=True, num_proc=threads, remove_columns=data.column_names)
    else:
        data = load_dataset("json", data_files=str(folder / "chats.jsonl"), split="train", cache_dir=cache)

        def encode(row):
            out = tokenizer.apply_chat_template(row["messages"], return_dict=True, return_assistant_tokens_mask=True)
            return {"input_ids": out["input_ids"], "assistant_masks": out["assistant_masks"]}
        data = data.map(encode, num_proc=threads, remove_columns=data.column_names)
    whole = time.perf_counter() - begin
    tokens = sum(map(len, data["input_ids"]))
    shutil.rmtree(cache)
    return whole, tokens, data


def pack_peer(data):
    from trl.data_utils import pack_dataset
    begin = time.perf_counter()
    packed = pack_dataset(data.select_columns(["input_ids"]), ROWS, "bfd")
    seconds = time.perf_counter() - begin
    return seconds, len(packed), sum(map(len, packed["input_ids"])) / (len(packed) * ROWS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mosa")
    parser.add_argument("shared", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=("text", "chats"))
    args = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import datasets
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        tokenizer = make_inputs(args.shared, folder)
        for what in [args.only] if args.only else ["text", "chats"]:
            ours, theirs = [], []
            for _ in range(args.rounds):
                ours.append(run_mosa(args.mosa, folder, what, args.threads))
                theirs.append(run_peer(tokenizer, folder, what, args.threads))
            mosa, peer = min(ours, key=lambda r: r[0]), min(theirs, key=lambda r: r[0])
            print(f"{what}: Mosa {mosa[0]:.2f} s, {mosa[1] / mosa[0] / 1e6:.2f} M tokens/s ({mosa[1]} tokens); "
                  f"Hugging Face {peer[0]:.2f} s, {peer[1] / peer[0] / 1e6:.2f} M tokens/s ({peer[1]} tokens); "
                  f"{peer[0] / mosa[0]:.1f} times", flush=True)
            seconds, packs, fill = pack_peer(peer[2])
            print(f"  packing into {ROWS} rows: Mosa {mosa[2]} batches, {100 * mosa[3]:.1f} % full, within the time above; "
                  f"TRL bfd {packs}, {100 * fill:.1f} % full, {seconds:.2f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
