#!/usr/bin/env python3
"""Ids and loss masks of conversations as transformers makes them, as the oracle for train/data/tokenize.h.

  train_mask_vectors.py TEMPLATE_DIR --check MOSA [--trl]   compares with `mosa data inspect`, case by case
  train_mask_vectors.py TEMPLATE_DIR --write                writes train_mask_vectors.json and train_mask_tokenizer.json

Where a template has {% generation %}, the mask is that of apply_chat_template(return_assistant_tokens_mask=True).
Otherwise it is made of renderings: an assistant message begins where the conversation before it, with a generation
prompt, ends, and ends where the conversation up to it does; end tokens and blanks behind its first end token are left
out: nobody generates beyond it. Where one of these renderings is no prefix of the whole there is no such mask and only ids are compared. --trl adds TRL's
training templates, all of which have {% generation %}. Templates that read the clock are left out.
"""
import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

os.environ["TOKENIZERS_PARALLELISM"] = "false"
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers  # noqa: E402
from transformers import PreTrainedTokenizerFast  # noqa: E402

from chat_template_vectors import TOOLS, assistant, call, result, system, user  # noqa: E402

HERE = pathlib.Path(__file__).parent
BOS, EOS = "<BOS>", "<EOS>"
ENDS = {EOS, "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<turn|>", "<|endoftext|>", "<|end_of_text|>",
        "<|eom_id|>", "<EOT>", "<|end_of_turn|>", "<|return|>", "<|call|>", "<|calls|>", "<|eot|>",
        "<end_of_utterance>", "<|END_OF_TURN_TOKEN|>"}
SPECIAL = re.compile(r"<\|[\w .\-/]+\|>|<｜[^｜<>]+｜>|<\|?[a-z_]+\|>|<start_of_turn>|<end_of_turn>|\[/?[A-Z_]{3,}\]")

# Our own, so that {% generation %} is tested without files that are not ours.
OWN = {
    "own chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}"
                  "{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}\n"
                  "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "own glued": "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}ASSISTANT:{% generation %} "
                 "{{ m.content | trim }}{{ eos_token }}{% endgeneration %}{% else %}{{ m.role | upper }}: "
                 "{{ m.content | trim }} {% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}",
    "own reasoning": "{% for m in messages %}<|start|>{{ m.role }}<|sep|>{% if m.role == 'assistant' %}{% generation %}"
                     "{% if m.reasoning_content is defined %}<think>{{ m.reasoning_content }}</think>{% endif %}"
                     "{{ m.content }}{% if m.tool_calls is defined %}{% for c in m.tool_calls %}<|call|>"
                     "{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% endif %}<|end|>"
                     "{% endgeneration %}{% else %}{{ m.content }}<|end|>{% endif %}{% endfor %}"
                     "{% if tools %}{{ tools | tojson }}{% endif %}"
                     "{% if add_generation_prompt %}<|start|>assistant<|sep|>{% endif %}",
    "own no header": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
                     "{% elif m.role == 'assistant' %} {{ m.content | trim }}{{ eos_token }}{% endif %}{% endfor %}",
    "own strips thoughts": "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and not "
                           "loop.last %}{{ m.content.split('</think>')[-1].lstrip() }}{% else %}{{ m.content }}"
                           "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n"
                           "<think>\n{% endif %}",
}
HELLO = [user("Hi there, what's 2+2?"), assistant("It is 4, since 2 and 2 make four.")]
CASES = {
    "one": {"messages": HELLO},
    "system": {"messages": [system("You are terse."), *HELLO]},
    "two": {"messages": [*HELLO, user("And 3+3?"), assistant("That's 6.")]},
    "many": {"messages": [m for i in range(5) for m in (user(f"question {i}"), assistant(f"answer {i}"))]},
    "spaces": {"messages": [user("  padded\n"), assistant("\n both  ends \n\n")]},
    "unicode": {"messages": [user("Grüße 世界 👩‍👩‍👧 e\u0301"), assistant("ΑΣ ß İ 🙂 ñ")]},
    "repeats": {"messages": [user("assistant"), assistant("user"), user("user"), assistant("assistant\nassistant")]},
    "code": {"messages": [user("print"), assistant("```python\nfor i in range(3):\n    print(i)\n```")]},
    "thoughts": {"messages": [user("2+2?"), assistant("<think>\nhm\n</think>\n\nIt is 4."), user("why?"),
                              assistant("<think>\nwell\n</think>\n\nBecause.")]},
    "reasoning": {"messages": [user("2+2?"), assistant("It is 4.", reasoning_content="Let me see.")]},
    "tools": {"messages": [user("Weather?"), assistant("", tool_calls=[call()]), result(),
                           assistant("21.5 degrees.")], "tools": TOOLS},
    "last": {"messages": [*HELLO, user("And 3+3?"), assistant("That's 6.")], "train_on": "last"},
    "weights": {"messages": [*HELLO, user("And 3+3?"), {**assistant("That's 5."), "weight": 0}, user("Sure?"),
                             assistant("No, 6.")]},
}


def template_files(folder, trl):
    found = {p.name: p.read_text() for p in sorted(pathlib.Path(folder).glob("*.jinja"))}
    if trl:
        import trl as package
        for p in sorted((pathlib.Path(package.__file__).parent / "chat_templates").glob("*_training.jinja")):
            found[f"trl {p.name}"] = p.read_text()
    return {**OWN, **{name: text for name, text in found.items() if "strftime_now" not in text}}


def make_tokenizer(templates):
    texts = [m.get("content") or "" for c in CASES.values() for m in c["messages"]]
    texts += [f"<|im_start|>assistant\n{t}" for t in texts] + [(HERE / "train_mask_vectors.py").read_text()]
    specials = sorted({s for t in templates.values() for s in SPECIAL.findall(t)} | ENDS | {BOS, EOS})
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=256 + len(specials) + 300,
                                                             special_tokens=specials, initial_alphabet=alphabet,
                                                             show_progress=False))
    return tokenizer


def load_tokenizer(tokenizer):
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS)


def clean(messages):
    return [{k: v for k, v in m.items() if k != "weight"} for m in messages]


def render(hf, template, case, messages, prompt=False):
    return hf.apply_chat_template(messages, chat_template=template, tools=case.get("tools"), tokenize=False,
                                  add_generation_prompt=prompt)


def wanted(case):
    """Assistant messages that count: index and weight."""
    turns = [(i, m.get("weight", 1)) for i, m in enumerate(case["messages"]) if m["role"] == "assistant"]
    return turns[-1:] if case.get("train_on") == "last" else turns


def overlap(offsets, spans):
    return [int(any(b < end and e > begin for begin, end in spans)) for b, e in offsets]


def mask_by_prefixes(hf, template, case, messages, text, encoding):
    spans, mask = [], [0] * len(encoding.ids)
    for i, weight in wanted(case):
        before = render(hf, template, case, messages[:i], True)
        upto = render(hf, template, case, messages[:i + 1])
        if not text.startswith(before) or not text.startswith(upto) or len(upto) <= len(before):
            return None
        if weight:
            spans.append((len(before), len(upto)))
    for span in spans:
        inside = [t for t, on in enumerate(overlap(encoding.offsets, [span])) if on]
        for k, t in enumerate(inside):
            behind = [i for i in inside[k + 1:] if encoding.tokens[i] not in ENDS]
            if encoding.tokens[t] in ENDS and not "".join(text[slice(*encoding.offsets[i])] for i in behind).strip():
                inside = inside[:k + 1]
                break
        for t in inside:
            mask[t] = 1
    return mask


def mask_by_generation(hf, template, case, messages, encoding):
    out = hf.apply_chat_template(messages, chat_template=template, tools=case.get("tools"), tokenize=True,
                                 return_dict=True, return_assistant_tokens_mask=True)
    assert out["input_ids"] == encoding.ids
    mask = out["assistant_masks"]
    if case.get("train_on") != "last" and all(w for _, w in wanted(case)):
        return mask
    runs, t = [], 0  # runs of ones, one for each assistant message
    while t < len(mask):
        end = t
        while end < len(mask) and mask[end]:
            end += 1
        if end > t:
            runs.append((t, end))
        t = max(end, t + 1)
    all_turns = [i for i, m in enumerate(case["messages"]) if m["role"] == "assistant"]
    if len(runs) != len(all_turns):
        return None
    keep = {i for i, w in wanted(case) if w}
    out = [0] * len(mask)
    for i, (begin, end) in zip(all_turns, runs):
        if i in keep:
            out[begin:end] = [1] * (end - begin)
    return out


def oracle(hf, tokenizer, template, case):
    """(ids, mask or None), or None when the template refuses."""
    messages = clean(case["messages"])
    try:
        text = render(hf, template, case, messages)
        encoding = tokenizer.encode(text, add_special_tokens=False)
        if re.search(r"\{%-?\s*generation", template):
            return encoding.ids, mask_by_generation(hf, template, case, messages, encoding)
    except AssertionError:
        raise
    except Exception:
        return None
    try:
        return encoding.ids, mask_by_prefixes(hf, template, case, messages, text, encoding)
    except Exception:
        return encoding.ids, None


def digest(values):
    value = 0xCBF29CE484222325
    for v in values:
        for byte in v.to_bytes(4, "little"):
            value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{(value ^ value >> 32) & 0xFFFFFFFF:08x}"


def write_model(folder, tokenizer):
    (folder / "tokenizer.json").write_text(tokenizer if isinstance(tokenizer, str) else tokenizer.to_str())
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": BOS, "eos_token": EOS}))


def run_mosa(mosa, folder, template, titles):
    """Line number to (ids, mask), and what was refused."""
    (folder / "template.jinja").write_text(template)
    found, refused = {}, {}
    for train_on in ("assistant", "last"):
        lines = [json.dumps({"messages": CASES[t]["messages"], **({"tools": CASES[t]["tools"]} if "tools" in CASES[t]
                                                                   else {})})
                 if CASES[t].get("train_on", "assistant") == train_on else "" for t in titles]
        (folder / "cases.jsonl").write_text("\n".join(lines))
        done = subprocess.run([mosa, "data", "inspect", folder / "cases.jsonl", "-m", folder, "--chat-template",
                               folder / "template.jinja", "--json", "-n", "1000", "--eos", "none", "--train-on",
                               train_on], capture_output=True, text=True)
        for line in done.stdout.splitlines():
            row = json.loads(line)
            found[row["line"]] = row["ids"], [int(w != 0) for w in row["weights"]]
        for line in done.stderr.splitlines():
            if match := re.search(r"cases\.jsonl:(\d+): (.*)", line):
                refused.setdefault(int(match[1]), match[2])
    return found, refused


def check(templates, tokenizer, mosa):
    hf, titles = load_tokenizer(tokenizer), list(CASES)
    compared = masks = wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_model(folder, tokenizer)
        for title, template in templates.items():
            found, refused = run_mosa(mosa, folder, template, titles)
            notes = []
            for i, case in enumerate(titles):
                want, got = oracle(hf, tokenizer, template, CASES[case]), found.get(i + 1)
                if got is None:
                    if want is not None:
                        notes.append(f"{case}: refused ({refused.get(i + 1)})")
                    continue
                if want is None:
                    notes.append(f"{case}: transformers refuses")
                    continue
                compared += 1
                masks += want[1] is not None
                mask = [0, *want[1][1:]] if want[1] else None
                if want[0] != got[0] or (mask is not None and mask != got[1]):
                    wrong += 1
                    notes.append(f"{case}: WRONG {'ids' if want[0] != got[0] else 'mask'}")
                    if want[0] == got[0]:
                        for what, m in (("want", mask), ("got", got[1])):
                            notes.append(f"    {what}: " + repr(tokenizer.decode(
                                [t for t, on in zip(got[0], m) if on], skip_special_tokens=False)))
                elif mask is None:
                    notes.append(f"{case}: no oracle; got " + repr(tokenizer.decode(
                        [t for t, on in zip(got[0], got[1]) if on], skip_special_tokens=False)))
            print(title)
            for note in notes:
                print("   ", note)
    print(f"{len(templates)} templates, {compared} cases, {masks} masks, {wrong} wrong")
    return wrong == 0


def write(templates, tokenizer):
    hf = load_tokenizer(tokenizer)
    rows = {}
    for title, template in templates.items():
        row = {}
        for case in CASES:
            want = oracle(hf, tokenizer, template, CASES[case])
            if want is not None:
                row[case] = [digest(want[0]), digest([0, *want[1][1:]]) if want[1] else None]
        rows[title] = row
    vectors = {"own": OWN, "cases": CASES, "digests": rows}
    (HERE / "train_mask_vectors.json").write_text(json.dumps(vectors, ensure_ascii=False, indent=0) + "\n")
    (HERE / "train_mask_tokenizer.json").write_text(tokenizer.to_str() + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("templates")
    parser.add_argument("--check", metavar="MOSA")
    parser.add_argument("--trl", action="store_true")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    templates = template_files(args.templates, args.trl)
    tokenizer = make_tokenizer(templates)
    if args.write:
        write(templates, tokenizer)
    return 0 if not args.check or check(templates, tokenizer, args.check) else 1


if __name__ == "__main__":
    sys.exit(main())
