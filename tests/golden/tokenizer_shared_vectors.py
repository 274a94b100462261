#!/usr/bin/env python3
"""Writes tokenizer_shared.json: expected ids for the vocabularies in SHARED/data/tok, for the unit test.

    tokenizer_shared_vectors.py SHARED OUT.json

The ids come from tiktoken, tokenizers and sentencepiece; tokenizer_parity.py compares far more text.
"""
import base64
import json
import os
import sys

import sentencepiece
import tiktoken
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tiktoken_ext import openai_public as public

SHARED, OUT = sys.argv[1:3]
TOK = os.path.join(SHARED, "data/tok")
TEXTS = ["", " ", "Hello, world! It's 2024.", "  def f(x):\n\treturn x**2  # ok\r\n\r\n", "日本語のテキスト、中文。 한국어", "👩‍👩‍👧 🇳🇱👍🏽 é é ﬁ ½ ٣٤",
         "DON'T she'LL I'ſ 'tis", "   leading   and trailing   ", "a\u0300\u0323b\u200d\u00a0\u3000\x85c", "HTTPServer parseJSON camelCase ǅungla ʰa",
         "12345678901 3.14e-10 0xFF", "!!!???...---***///\n\n/", "Привет Ἀθῆναι עברית العربية हिन्दी ไทย", "<|endoftext|><s></s>[CLS]", "x" * 100 + "ab" * 50,
         "\t\t\n \n  \n   x", "The committee's report (1998) said: “no”—and that was that…"]


def ranks_of(path):
    return {base64.b64decode(t): int(r) for t, r in (line.split() for line in open(path, "rb") if line.strip())}


def main():
    entries = []

    def add(path, encode):
        entries.append({"path": path, "cases": [[t, encode(t)] for t in TEXTS]})
    real, public.load_tiktoken_bpe = public.load_tiktoken_bpe, lambda *a, **k: {}
    patterns = {"cl100k_base": public.cl100k_base()["pat_str"], "o200k_base": public.o200k_base()["pat_str"], "gpt2": public.r50k_pat_str}
    public.load_tiktoken_bpe = real
    for name, pattern in patterns.items():
        encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks_of(os.path.join(TOK, name + ".tiktoken")), special_tokens={})
        add(f"data/tok/{name}.tiktoken", encoding.encode_ordinary)
    folder = os.path.join(TOK, "qwen2")
    merges = [tuple(m.split()) for m in open(os.path.join(folder, "merges.txt"), encoding="utf-8").read().split("\n")[1:] if m]
    qwen = Tokenizer(models.BPE(json.load(open(os.path.join(folder, "vocab.json"), encoding="utf-8")), merges))
    qwen.normalizer = normalizers.NFC()
    pattern = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    qwen.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    add("data/tok/qwen2", lambda t: qwen.encode(t, add_special_tokens=False).ids)
    for path in ("data/tok/gptneox_20B_tokenizer.json", "data/weights/model2vec/test-model-float32/tokenizer.json"):
        hf = Tokenizer.from_file(os.path.join(SHARED, path))
        hf.no_truncation()
        hf.no_padding()
        hf.encode_special_tokens = True
        add(path, lambda t, hf=hf: hf.encode(t, add_special_tokens=False).ids)
    for name in ("test_model", "test_ja_model"):
        sp = sentencepiece.SentencePieceProcessor(model_file=os.path.join(TOK, "sentencepiece", name + ".model"))
        add(f"data/tok/sentencepiece/{name}.model", lambda t, sp=sp: sp.encode(t))
    with open(OUT, "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in entries) + "\n]\n")


main()
