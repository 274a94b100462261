#!/usr/bin/env python3
"""Measures the card with PyTorch, and transformers on it: the peers of `mosa bench MODEL --device cuda:0`.

  gpu_peers.py [--shapes 1b 8b] [--prompt 8192] [--tokens 128]

Prints copy bandwidth, the bf16 matrix rate, and for each shape of bench/synthetic_gguf.py (random weights, bf16):
  decode    one stream after 16 tokens: eager; then compiled with CUDA graphs over a static cache
  prefill   one prompt, eager (its matrix products are cuBLAS already)
"""
import argparse
import time

import torch
from synthetic_gguf import SHAPES
from transformers import LlamaConfig, LlamaForCausalLM, StaticCache


def seconds(run, repeat):
    run()
    torch.cuda.synchronize()
    begin = time.perf_counter()
    for _ in range(repeat):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - begin) / repeat


def limits():
    source = torch.empty(2 << 30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy = 2 * source.numel() / seconds(lambda: target.copy_(source), 10)
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    matrix = 2 * 8192**3 / seconds(lambda: a @ b, 10)
    return copy, matrix


def model_of(name):
    s = SHAPES[name]
    config = LlamaConfig(hidden_size=s["width"], intermediate_size=s["ffn"], num_hidden_layers=s["layers"],
                         num_attention_heads=s["heads"], num_key_value_heads=s["kv"], head_dim=s["head"],
                         vocab_size=s["vocab"], max_position_embeddings=131072, rope_theta=s["base"],
                         tie_word_embeddings=False, attn_implementation="sdpa")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    return model.eval()


def decode_rate(model, forward, tokens):
    """Tokens per second of a loop that feeds its own choice back."""
    cache = StaticCache(config=model.config, max_cache_len=16 + 3 * tokens)
    ids = torch.randint(1000, (1, 16), device="cuda")
    model(input_ids=ids, past_key_values=cache, cache_position=torch.arange(16, device="cuda"))
    token, position = ids[:, :1].clone(), torch.tensor([16], device="cuda")

    def run(count):
        for _ in range(count):
            torch.compiler.cudagraph_mark_step_begin()
            logits = forward(input_ids=token, past_key_values=cache, cache_position=position,
                             position_ids=position[None]).logits
            token.copy_(logits[:, -1].argmax(-1, keepdim=True))
            position.add_(1)
        torch.cuda.synchronize()

    run(tokens)
    begin = time.perf_counter()
    run(tokens)
    return tokens / (time.perf_counter() - begin)


def report(what, rate, limit):
    print(f"{what:44} {rate:10.1f} tokens/s {100 * rate / limit:5.1f}% of the limit", flush=True)


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="*", default=["1b", "8b"], choices=SHAPES)
    parser.add_argument("--prompt", type=int, default=8192)
    parser.add_argument("--tokens", type=int, default=128)
    a = parser.parse_args()
    copy, matrix = limits()
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}: copies {copy * 1e-9:.0f} GB/s (read and written), "
          f"multiplies {matrix * 1e-12:.0f} T/s in bf16", flush=True)
    for name in a.shapes:
        model = model_of(name)
        count = sum(p.numel() for p in model.parameters())
        prompt = torch.randint(1000, (1, a.prompt), device="cuda")
        rate = a.prompt / seconds(lambda: model(input_ids=prompt, use_cache=True, logits_to_keep=1), 3)
        report(f"{name} transformers prefill {a.prompt}", rate, matrix / (2 * count))
        report(f"{name} transformers decode, eager", decode_rate(model, model.forward, a.tokens), copy / (2 * count))
        compiled = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
        report(f"{name} transformers decode, compiled", decode_rate(model, compiled, a.tokens), copy / (2 * count))
        del model, compiled
        torch.compiler.reset()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
