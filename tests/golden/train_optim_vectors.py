#!/usr/bin/env python3
"""Ten steps of each optimiser and thirty of each schedule, by torch.optim and transformers.

Writes train_optim_vectors.json beside itself. Weights and gradients come from a formula that the C test repeats, so that
only results are stored. Muon's Newton-Schulz runs in float32 here (PyTorch's is in bfloat16), the rest is unchanged.
8-bit AdamW is NumPy in float32 after Dettmers et al. (2022), with the dynamic maps built as bitsandbytes builds them.
"""

import inspect
import json
from pathlib import Path

import numpy as np
import torch
import torch.optim._muon as muon
from transformers import get_scheduler

OUT = Path(__file__).with_name("train_optim_vectors.json")
SHAPES = {"wide": [6, 10], "tall": [9, 4], "bias": [7]}
STEPS, LR, SCALE, MAX_NORM = 10, 0.01, 0.25, 1.0

exec(inspect.getsource(muon._zeropower_via_newtonschulz).replace("bfloat16()", "float()"), muon.__dict__)


def value(i, step, salt):
    return np.float32(((i * 7919 + step * 104729 + salt * 1299709) % 2003 - 1001) / 1001.0)


def tensor(shape, step, salt):
    n = int(np.prod(shape))
    return torch.tensor([value(i, step, salt) for i in range(n)], dtype=torch.float32).reshape(shape)


def run(make, clip=False):
    params = {name: torch.nn.Parameter(tensor(shape, 0, salt)) for salt, (name, shape) in enumerate(SHAPES.items())}
    optimizers, norms = make(params), []
    for step in range(1, STEPS + 1):
        for salt, (name, p) in enumerate(params.items()):
            p.grad = tensor(SHAPES[name], step, salt) * SCALE
        if clip:
            norms.append(float(torch.nn.utils.clip_grad_norm_(params.values(), MAX_NORM)))
        for optimizer in optimizers:
            optimizer.step()
    result = {name: p.detach().flatten().tolist() for name, p in params.items()}
    return {**result, "norms": norms} if clip else result


def groups(params, **options):
    return [{"params": [params["wide"], params["tall"]], **options, "weight_decay": 0.1},
            {"params": [params["bias"]], **options, "weight_decay": 0.0}]


def dynamic_map(signed):
    data = []
    for i in range(7):
        parts = 2 ** (i if signed else i + 1)
        edges = np.linspace(0.1, 1, parts + 1)
        middles = 10.0 ** (i - 6) * (edges[:-1] + edges[1:]) / 2
        data += list(middles) + (list(-middles) if signed else [])
    return np.sort(np.array(data + [0.0, 1.0], dtype=np.float32))


def encode(table, x):
    largest = np.abs(x).max()
    scaled = x * (np.float32(1) / largest) if largest > 0 else x
    low = np.clip(np.searchsorted(table, scaled, side="right") - 1, 0, 254)
    return np.where(scaled - table[low] <= table[low + 1] - scaled, low, low + 1), largest


def adamw_8bit(n=5000, block=256):
    f = np.float32
    w = np.array([value(i, 0, 0) for i in range(n)], dtype=f)
    maps = dynamic_map(True), dynamic_map(False)
    blocks = [slice(b, min(b + block, n)) for b in range(0, n, block)]
    zero = [[np.full(s.stop - s.start, int(np.where(m == 0)[0][0])), f(0)] for m in maps for s in blocks]
    state = [zero[: len(blocks)], zero[len(blocks):]]
    b1, b2 = f(0.9), f(0.999)
    for step in range(1, STEPS + 1):
        g = np.array([value(i, step, 0) for i in range(n)], dtype=f)
        size, root = f(f(LR) / (1 - float(b1) ** step)), f(np.sqrt(1 - float(b2) ** step))
        for k, s in enumerate(blocks):
            m, v = (maps[j][state[j][k][0]] * state[j][k][1] for j in (0, 1))
            m = m + (g[s] - m) * (f(1) - b1)
            v = v * b2 + (f(1) - b2) * g[s] * g[s]
            w[s] = w[s] * (f(1) - f(LR) * f(0.1)) - size * (m / (np.sqrt(v) / root + f(1e-8)))
            state[0][k], state[1][k] = list(encode(maps[0], m)), list(encode(maps[1], v))
    return w[::50].tolist()


def schedule(name, warmup, total, **options):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = get_scheduler(name, optimizer, warmup, total, scheduler_specific_kwargs=options or None)
    factors = []
    for _ in range(30):
        factors.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return factors


adamw = lambda p: [torch.optim.AdamW(groups(p), lr=LR, betas=(0.9, 0.95), eps=1e-8)]
sgd = lambda nesterov: lambda p: [torch.optim.SGD(groups(p), lr=LR, momentum=0.9, nesterov=nesterov)]
muon_adamw = lambda match: lambda p: [
    torch.optim.Muon([p["wide"], p["tall"]], lr=LR, weight_decay=0.1, adjust_lr_fn=match),
    torch.optim.AdamW([p["bias"]], lr=LR, betas=(0.9, 0.95), weight_decay=0.0)]

vectors = {
    "optimizers": {"adamw": run(adamw), "adamw_clipped": run(adamw, clip=True), "sgd": run(sgd(False)),
                   "sgd_nesterov": run(sgd(True)), "muon": run(muon_adamw("original")),
                   "muon_match": run(muon_adamw("match_rms_adamw"))},
    "adamw_8bit": adamw_8bit(),
    "schedules": [
        {"name": name, "warmup": warmup, "total": 25, **options, "factors": factors}
        for name, warmup, options, factors in [
            ("linear", 5, {}, schedule("linear", 5, 25)),
            ("linear", 0, {}, schedule("linear", 0, 25)),
            ("cosine", 5, {}, schedule("cosine", 5, 25)),
            ("cosine_with_restarts", 5, {"cycles": 3}, schedule("cosine_with_restarts", 5, 25, num_cycles=3)),
            ("cosine_with_min_lr", 5, {"min_ratio": 0.1}, schedule("cosine_with_min_lr", 5, 25, min_lr_rate=0.1)),
            ("polynomial", 5, {"power": 2, "min_ratio": 0.01}, schedule("polynomial", 5, 25, power=2.0, lr_end=0.01)),
            ("constant", 0, {}, schedule("constant", 0, 25)),
            ("constant_with_warmup", 5, {}, schedule("constant_with_warmup", 5, 25)),
            ("inverse_sqrt", 5, {}, schedule("inverse_sqrt", 5, 25)),
            ("warmup_stable_decay", 5, {"decay_steps": 8, "min_ratio": 0.1, "decay": "cosine"},
             schedule("warmup_stable_decay", 5, 25, num_decay_steps=8, min_lr_ratio=0.1)),
            ("warmup_stable_decay", 5, {"decay_steps": 8, "decay": "1-sqrt"},
             schedule("warmup_stable_decay", 5, 25, num_decay_steps=8, decay_type="1-sqrt")),
        ]
    ],
}
OUT.write_text(json.dumps(vectors, separators=(",", ":")) + "\n")
