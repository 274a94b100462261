#!/usr/bin/env python3
"""Write the seeds of adapter_fuzz into corpus/adapter/ beside this script."""
import json
import struct

from make_format_seeds import gguf, safetensors, save, string

Q = "base_model.model.model.layers.0.self_attn.q_proj.lora_"


def peft(config, names, rank=2, width=4):
    header, offset = {}, 0
    for name in names:
        header[name] = {"dtype": "F32", "shape": [rank, width] if "lora_A" in name else [width, rank],
                        "data_offsets": [offset, offset + 4 * rank * width]}
        offset += 4 * rank * width
    text = json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": 4, **config}).encode()
    return b"P" + struct.pack("<H", len(text)) + text + safetensors(header, offset)


def lora(values, tensors):
    head = [("general.type", 8, string("adapter")), ("adapter.type", 8, string("lora")),
            ("general.architecture", 8, string("llama"))]
    return b"G" + gguf(head + values, tensors)


def main():
    both = [Q + "A.weight", Q + "B.weight"]
    save("adapter", "peft", peft({}, both))
    save("adapter", "peft_patterns", peft({"use_rslora": True, "rank_pattern": {"q_proj": 2}, "bias": "none",
                                           "alpha_pattern": {"^model\\.layers\\.0\\.self_attn\\.q_proj$": 3}}, both))
    save("adapter", "peft_dora", peft({"use_dora": True}, both))
    save("adapter", "peft_half", peft({}, both[:1]))
    save("adapter", "peft_rank", peft({"r": 3}, both))
    alpha = [("adapter.lora.alpha", 6, struct.pack("<f", 8))]
    pair = [("blk.0.attn_q.weight.lora_a", (4, 2), 0, 32), ("blk.0.attn_q.weight.lora_b", (2, 4), 0, 32)]
    save("adapter", "gguf", lora(alpha, pair))
    save("adapter", "gguf_half", lora([], pair[:1]))
    save("adapter", "gguf_control_vector", b"G" + gguf([("general.type", 8, string("adapter"))], pair))


if __name__ == "__main__":
    main()
