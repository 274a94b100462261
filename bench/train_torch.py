#!/usr/bin/env python3
"""A training step of GPT-2 124M in PyTorch, f32, as fast as it goes on a CPU: the peer of `mosa train`.

    bench/train_torch.py [--batch 4] [--seq 64] [--steps 5] [--threads 2] [--compile] [--vocab 50257]
                         [--no-optimizer]

Forward, backward, clipping and a fused AdamW step over random tokens; scaled_dot_product_attention, tied head, no dropout, mean
loss over all positions. Prints one JSON line: seconds per step (median, best) after two warm-up steps, loss, and
GFLOP/s by 6 x weights x tokens plus attention (causal half).
"""
import argparse
import json
import math
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

D, H, L, V, CONTEXT = 768, 12, 12, 50257, 1024


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.qkv, self.proj = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.up, self.down = nn.Linear(D, 4 * D), nn.Linear(4 * D, D)

    def forward(self, x):
        b, t, _ = x.shape
        q, k, v = (p.view(b, t, H, D // H).transpose(1, 2) for p in self.qkv(self.ln1(x)).split(D, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.proj(y.transpose(1, 2).reshape(b, t, D))
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.vocab = vocab
        self.wte, self.wpe = nn.Embedding(vocab, D), nn.Embedding(CONTEXT, D)
        self.blocks = nn.ModuleList(Block() for _ in range(L))
        self.ln = nn.LayerNorm(D)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * L) if "proj" in name or "down" in name else 0.02)

    def forward(self, tokens, labels):
        x = self.wte(tokens) + self.wpe(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(F.linear(self.ln(x), self.wte.weight).view(-1, self.vocab), labels.reshape(-1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seq", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--vocab", type=int, default=V, help="rows of the table; tokens stay below 50257")
    parser.add_argument("--no-optimizer", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    model = GPT(args.vocab)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    step = torch.compile(model) if args.compile else model
    tokens = torch.randint(V, (args.batch, args.seq + 1))
    seconds = []
    for i in range(args.steps + 2):
        begin = time.perf_counter()
        loss = step(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        if not args.no_optimizer:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if i >= 2:
            seconds.append(time.perf_counter() - begin)
    rows = args.batch * args.seq
    weights = L * 12 * D * D + V * D
    flops = 6 * rows * weights + 3 * 2 * L * rows * args.seq * D
    print(json.dumps({"batch": args.batch, "seq": args.seq, "compile": args.compile, "median_s": statistics.median(seconds),
                      "best_s": min(seconds), "loss": loss.item(), "gflops": flops / statistics.median(seconds) / 1e9}))


if __name__ == "__main__":
    main()
