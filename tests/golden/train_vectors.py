#!/usr/bin/env python3
"""Log-probabilities and gradients of the committed tiny models, by torch over transformers -> train_vectors.json.

Of each family in tests/golden/families: three segments of tokens, each run alone through the model in f32 (eager
attention), loss = sum of coef * -logp of the next token with coefficients of both signs and zeros. Of each gradient its
length and its products with eight vectors of random signs are kept (train_step_test.c has the same), under the name of
the tensor as the model's file spells it.
"""
import json
import re
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent
LENGTHS = (9, 2, 17)
MASK = (1 << 64) - 1
SIGNS = 8


def mix(x):
    """mosa_rng_mix over an array of u64."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def products(gradient):
    flat = gradient.reshape(-1)
    at = np.arange(flat.size, dtype=np.uint64)
    out = []
    for stream in range(SIGNS):
        start = np.uint64(stream * 0x9E3779B97F4A7C15 & MASK)
        signs = np.where(mix(start + at) >> np.uint64(63), -1.0, 1.0)
        out.append(float(signs @ flat))
    return {"norm": float(np.sqrt(flat @ flat)), "products": out}


def segments(config):
    """Phi-3's rotation differs by the length of a sequence; ours is that of long ones throughout."""
    rng = np.random.default_rng(7)
    for n in (19, 17, 18) if config.model_type == "phi3" else LENGTHS:
        yield {"tokens": rng.integers(0, config.vocab_size, n).tolist(),
               "coef": np.round(rng.choice([1.0, 0.0, 0.5, -0.25, 2.0], n) * rng.uniform(0.5, 1, n), 3).tolist()}


def run(model, batch):
    """Loss of all segments; logp of each row (0 for the last row of a segment, which has no label)."""
    loss, logps = 0.0, []
    for segment in batch:
        ids = torch.tensor([segment["tokens"]])
        logits = model(ids, use_cache=False).logits[0]
        logp = logits.log_softmax(-1)[:-1].gather(1, ids[0, 1:, None])[:, 0]
        loss = loss - (torch.tensor(segment["coef"][:-1]) * logp).sum()
        logps += [round(x, 7) for x in logp.tolist()] + [0.0]
    return loss, logps


def split(config, name, g):
    """A gradient under the names that params.h gives it: of the file's tensor, or of what is made of several at load."""
    layer = re.match(r"model\.layers\.(\d+)\.", name)
    made = "ffn_%s_exps" + f"{{}} (layer {layer[1] if layer else -1})"
    oss, end = config.model_type == "gpt_oss", name.split("experts.")[-1]
    if "mlp.experts." in name and end.startswith("gate_up_proj"):
        bias = "_bias" if end.endswith("_bias") else ""
        half = g.shape[1] // 2
        parts = (g[..., 0::2], g[..., 1::2]) if oss else (g[:, :half], g[:, half:])  # gpt-oss: they alternate
        for kind, part in zip(("gate", "up"), parts):
            yield (made % kind).format(bias), part.transpose(0, 2, 1) if oss and not bias else part
    elif "mlp.experts." in name and end == "down_proj":
        yield (made % "down").format(""), g.transpose(0, 2, 1) if oss else g
    elif name.endswith("kv_b_proj.weight"):  # matrices of each head: keys' lie transposed
        heads = g.reshape(config.num_attention_heads, -1, g.shape[1])
        yield name + ", keys", heads[:, :config.qk_nope_head_dim].transpose(0, 2, 1)
        yield name + ", values", heads[:, config.qk_nope_head_dim:]
    else:
        yield name, g


def main():
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    out = {}
    for folder in sorted((ROOT / "families").iterdir()):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        batch = list(segments(model.config))
        loss, logps = run(model, batch)
        loss.backward()
        gradients = {}
        for name, p in model.named_parameters():
            if p.grad is None:
                print(folder.name, "no gradient of", name)
                continue
            for part, g in split(model.config, name, p.grad.double().numpy()):
                gradients[part] = products(np.ascontiguousarray(g))
        print(folder.name, round(loss.item(), 4), len(gradients), "gradients")
        out[folder.name] = {"segments": batch, "logp": logps, "gradients": gradients}
    (ROOT / "train_vectors.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    np.seterr(over="ignore")
    main()
