#!/usr/bin/env python3
"""Write a random GGUF model of mixtral's shape, to measure with; needs gguf and numpy.

  moe_gguf.py OUT.gguf [--type q4_k|q8_0|q4_0|f16] [--layers 6] [--width 2048] [--ffn 5632] [--experts 8] [--used 2]

Weights are random blocks with tame scales: the speed of a model does not depend on what it says.
"""
import argparse

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind

HEAD, VOCAB = 64, 32000


def blocks(rng, kind, shape):
    """Random bytes of a type, with scales that keep activations finite."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (*shape[:-1], shape[-1] // block, size), dtype=np.uint8)
    scale = np.float16(0.02 / np.sqrt(shape[-1])).tobytes()
    if kind == Kind.Q4_K:
        data[..., 0:2] = np.frombuffer(scale, np.uint8)
        data[..., 2:4] = 0
        data[..., 2:4] = np.frombuffer(np.float16(0.15 / np.sqrt(shape[-1])).tobytes(), np.uint8)
    else:
        data[..., 0:2] = np.frombuffer(scale, np.uint8)
    return data.reshape(*shape[:-1], -1)


def tensor(rng, kind, shape):
    if kind in (Kind.F32, Kind.F16):
        scale = 1 if len(shape) == 1 else 1 / np.sqrt(shape[-1])
        return (rng.standard_normal(shape, np.float32) * scale).astype(
            np.float32 if kind == Kind.F32 else np.float16)
    return blocks(rng, kind, shape)


def shapes(a):
    """(name, type of its own or None, shape) of every tensor."""
    heads = a.width // HEAD
    kv = max(heads // 4, 1) * HEAD
    yield "token_embd.weight", None, (VOCAB, a.width)
    yield "output_norm.weight", Kind.F32, (a.width,)
    yield "output.weight", None, (VOCAB, a.width)
    for i in range(a.layers):
        yield f"blk.{i}.attn_norm.weight", Kind.F32, (a.width,)
        yield f"blk.{i}.attn_q.weight", None, (a.width, a.width)
        yield f"blk.{i}.attn_k.weight", None, (kv, a.width)
        yield f"blk.{i}.attn_v.weight", None, (kv, a.width)
        yield f"blk.{i}.attn_output.weight", None, (a.width, a.width)
        yield f"blk.{i}.ffn_norm.weight", Kind.F32, (a.width,)
        yield f"blk.{i}.ffn_gate_inp.weight", Kind.F32, (a.experts, a.width)
        yield f"blk.{i}.ffn_gate_exps.weight", None, (a.experts, a.ffn, a.width)
        yield f"blk.{i}.ffn_up_exps.weight", None, (a.experts, a.ffn, a.width)
        yield f"blk.{i}.ffn_down_exps.weight", None, (a.experts, a.width, a.ffn)


def add_keys(w, a):
    w.add_name("random mixtral")
    w.add_context_length(8192)
    w.add_embedding_length(a.width)
    w.add_block_count(a.layers)
    w.add_feed_forward_length(a.ffn)
    w.add_head_count(a.width // HEAD)
    w.add_head_count_kv(max(a.width // HEAD // 4, 1))
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_freq_base(1e6)
    w.add_rope_dimension_count(HEAD)
    w.add_vocab_size(VOCAB)
    w.add_expert_count(a.experts)
    w.add_expert_used_count(a.used)
    w.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_K_M)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    tokens += [f"\u2581t{i}" for i in range(VOCAB - len(tokens))]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (VOCAB - 259)
    w.add_tokenizer_model("llama")
    w.add_token_list(tokens)
    w.add_token_scores([-float(i) for i in range(VOCAB)])
    w.add_token_types(kinds)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out")
    p.add_argument("--type", default="q4_k", choices=["q4_k", "q8_0", "q4_0", "f16"])
    for name, value in (("layers", 6), ("width", 2048), ("ffn", 5632), ("experts", 8), ("used", 2)):
        p.add_argument(f"--{name}", type=int, default=value)
    a = p.parse_args()
    rng, kind = np.random.default_rng(1), Kind[a.type.upper()]
    w = gguf.GGUFWriter(a.out, "llama", use_temp_file=False)
    add_keys(w, a)
    for name, own, shape in shapes(a):
        stored = kind if own is None else own
        w.add_tensor(name, tensor(rng, stored, shape), raw_dtype=stored)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()
