#!/usr/bin/env python3
"""A LoRA step of a Qwen2-shaped 0.5B in PyTorch, transformers and PEFT on a CPU: the peer of tune_bench.

    bench/lora_torch.py [--batch 1] [--seq 512] [--steps 3] [--threads 2] [--type float32|bfloat16] [--rank 8]

Forward, backward, clipping and a fused AdamW step over random tokens, pairs beside every linear matrix of the layers.
Prints one JSON line: seconds per step (median, best) after one step to warm up, loss, and the most memory resident.
"""
import argparse
import json
import resource
import statistics
import time

import peft
import torch
import transformers


def make_model(args):
    config = transformers.LlamaConfig(
        vocab_size=151936, hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14,
        num_key_value_heads=2, head_dim=64, rope_theta=1e6, max_position_embeddings=32768, tie_word_embeddings=True)
    config._attn_implementation = "sdpa"
    torch.set_default_dtype(getattr(torch, args.type))
    model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    lora = peft.LoraConfig(r=args.rank, lora_alpha=2 * args.rank, target_modules=names, task_type="CAUSAL_LM")
    return peft.get_peft_model(model, lora)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--seq", type=int, default=512)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--type", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--rank", type=int, default=8)
    args = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(args.threads)
    model = make_model(args)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)
    tokens = torch.randint(1000, (args.batch, args.seq))
    seconds = []
    for i in range(args.steps + 1):
        begin = time.perf_counter()
        loss = model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if i >= 1:
            seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": args.batch * args.seq, "type": args.type, "median_s": statistics.median(seconds),
                      "best_s": min(seconds), "loss": loss.item(), "resident_mib": peak}))


if __name__ == "__main__":
    main()
