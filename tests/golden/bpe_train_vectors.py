#!/usr/bin/env python3
"""Makes bpe_train_vectors.json: texts, and the merges that Hugging Face's tokenizers trains on them.

    python3 tests/golden/bpe_train_vectors.py        (needs the package tokenizers)

Random words over few letters force what text seldom does: ties, runs of one letter, and two merges that make one token.
"""
import json
import os
import random

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

PROSE = ("The quick brown fox jumps over the lazy dog, and the lazy dog dreams of quicker foxes.\n"
         "Überall naïve façades; 12345 and 67890, don't you think?  We'll see...\n\n\tIndented, tabbed\r\n"
         "日本語のテキストと English mixed. 🙂🙃 emoji too.\n") * 3


def random_text(seed, letters, words, longest):
    rng = random.Random(seed)
    return " ".join("".join(rng.choice(letters) for _ in range(rng.randint(1, longest))) for _ in range(words))


CASES = [
    {"text": PROSE, "vocab_size": 420, "min_frequency": 0, "special": ["<|endoftext|>"]},
    {"text": PROSE, "vocab_size": 2000, "min_frequency": 2, "special": ["<a>", "<b>"]},
    {"text": random_text(1, "ab", 300, 12), "vocab_size": 400, "min_frequency": 0, "special": []},
    {"text": random_text(2, "abc", 400, 9), "vocab_size": 600, "min_frequency": 0, "special": ["ab"]},
    {"text": random_text(3, "a", 60, 40), "vocab_size": 300, "min_frequency": 0, "special": ["<s>"]},
    {"text": random_text(4, "xyzé", 500, 7), "vocab_size": 900, "min_frequency": 3, "special": ["<s>"]},
]


def train(case):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=case["vocab_size"], min_frequency=case["min_frequency"],
                                  special_tokens=case["special"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator([case["text"]], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    ids = model["vocab"]
    return {**case, "tokens": len(ids), "merges": [[ids[left], ids[right]] for left, right in model["merges"]]}


if __name__ == "__main__":
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bpe_train_vectors.json")
    with open(path, "w", encoding="utf-8") as out:
        json.dump([train(case) for case in CASES], out, separators=(",", ":"))
        out.write("\n")
