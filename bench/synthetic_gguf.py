#!/usr/bin/env python3
"""Write a GGUF model of a real shape whose weights are random, to measure with; needs numpy alone.

  synthetic_gguf.py OUT.gguf --shape 8b --type bf16        shapes: see SHAPES
  synthetic_gguf.py OUT.gguf --shape 1b --type q4_k --layers 4

How fast a model runs does not depend on what it says. One random block of 16 MiB per type is repeated from a different
place for every tensor, so that 16 GB are written as fast as the disk takes them.
"""
import argparse
import struct

import numpy as np

SHAPES = {
    "tiny": dict(width=256, layers=2, heads=4, kv=2, head=64, ffn=768, vocab=4096, base=1e4),
    "0.5b": dict(width=896, layers=24, heads=14, kv=2, head=64, ffn=4864, vocab=151936, base=1e6),
    "1b": dict(width=2048, layers=16, heads=32, kv=8, head=64, ffn=8192, vocab=128256, base=5e5),
    "8b": dict(width=4096, layers=32, heads=32, kv=8, head=128, ffn=14336, vocab=128256, base=5e5),
}
# GGML type number, elements of a block, bytes of a block; offsets of its f16 scales and what they are relative to
# 1/sqrt(columns), chosen so that the decoded values have about that deviation.
TYPES = {
    "f32": (0, 1, 4, ()),
    "f16": (1, 1, 2, ()),
    "q4_0": (2, 32, 18, ((0, 0.22),)),
    "q8_0": (8, 32, 34, ((0, 0.0135),)),
    "q4_k": (12, 256, 144, ((0, 0.0055), (2, 0.041))),
    "q6_k": (14, 256, 210, ((208, 0.00073),)),
    "bf16": (30, 1, 2, ()),
}
ALIGNMENT, POOL_BYTES = 32, 16 << 20
U32, F32, STRING, ARRAY, I32 = 4, 6, 8, 9, 5


def pool(rng, kind, columns):
    """POOL_BYTES or a little less of random blocks, as bytes."""
    _, elements, size, scales = TYPES[kind]
    deviation = 1 / np.sqrt(columns)
    count = POOL_BYTES // size
    if elements == 1:
        values = rng.standard_normal(count, np.float32) * np.float32(deviation)
        if kind == "bf16":
            return ((values.view(np.uint32) + 0x8000) >> 16).astype(np.uint16).tobytes()
        return values.astype(np.float16).tobytes()
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset, factor in scales:
        blocks[:, offset:offset + 2] = np.frombuffer(np.float16(factor * deviation).tobytes(), np.uint8)
    return blocks.tobytes()


def tensors(shape, kind):
    """(name, type, rows, columns) of every tensor; rows 0: a vector. Down and output keep q6_k in a q4_k file, as
    the K-quant mixtures that people use do."""
    better = "q6_k" if kind == "q4_k" else kind
    width, ffn, kv = shape["width"], shape["ffn"], shape["kv"] * shape["head"]
    queries = shape["heads"] * shape["head"]
    yield "token_embd.weight", kind, shape["vocab"], width
    for i in range(shape["layers"]):
        yield f"blk.{i}.attn_norm.weight", "f32", 0, width
        yield f"blk.{i}.attn_q.weight", kind, queries, width
        yield f"blk.{i}.attn_k.weight", kind, kv, width
        yield f"blk.{i}.attn_v.weight", kind, kv, width
        yield f"blk.{i}.attn_output.weight", kind, width, queries
        yield f"blk.{i}.ffn_norm.weight", "f32", 0, width
        yield f"blk.{i}.ffn_gate.weight", kind, ffn, width
        yield f"blk.{i}.ffn_up.weight", kind, ffn, width
        yield f"blk.{i}.ffn_down.weight", kind, width, ffn
    yield "output_norm.weight", "f32", 0, width
    yield "output.weight", better, shape["vocab"], width


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def array(kind, items):
    if kind == STRING:
        body = b"".join(text(item) for item in items)
    else:
        body = np.asarray(items, {F32: np.float32, I32: np.int32}[kind]).tobytes()
    return struct.pack("<IIQ", ARRAY, kind, len(items)) + body


def keys(shape, name):
    """The metadata: (key, encoded value)."""
    def u32(value):
        return struct.pack("<II", U32, value)

    vocab = shape["vocab"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    tokens += [f"\u2581t{i}" for i in range(vocab - len(tokens))]
    yield "general.architecture", struct.pack("<I", STRING) + text("llama")
    yield "general.name", struct.pack("<I", STRING) + text(name)
    yield "general.alignment", u32(ALIGNMENT)
    yield "llama.context_length", u32(131072)
    yield "llama.embedding_length", u32(shape["width"])
    yield "llama.block_count", u32(shape["layers"])
    yield "llama.feed_forward_length", u32(shape["ffn"])
    yield "llama.attention.head_count", u32(shape["heads"])
    yield "llama.attention.head_count_kv", u32(shape["kv"])
    yield "llama.attention.key_length", u32(shape["head"])
    yield "llama.attention.value_length", u32(shape["head"])
    yield "llama.attention.layer_norm_rms_epsilon", struct.pack("<If", F32, 1e-5)
    yield "llama.rope.dimension_count", u32(shape["head"])
    yield "llama.rope.freq_base", struct.pack("<If", F32, shape["base"])
    yield "llama.vocab_size", u32(vocab)
    yield "tokenizer.ggml.model", struct.pack("<I", STRING) + text("llama")
    yield "tokenizer.ggml.tokens", array(STRING, tokens)
    yield "tokenizer.ggml.scores", array(F32, -np.arange(vocab))
    yield "tokenizer.ggml.token_type", array(I32, [2, 3, 3] + [6] * 256 + [1] * (vocab - 259))
    yield "tokenizer.ggml.bos_token_id", u32(1)
    yield "tokenizer.ggml.eos_token_id", u32(2)


def data_bytes(kind, rows, columns):
    _, elements, size, _ = TYPES[kind]
    return max(rows, 1) * (columns // elements) * size


def write_header(out, shape, layout, name):
    metadata = list(keys(shape, name))
    out.write(b"GGUF" + struct.pack("<IQQ", 3, len(layout), len(metadata)))
    for key, value in metadata:
        out.write(text(key) + value)
    offset = 0
    for tensor, kind, rows, columns in layout:
        dims = (columns, rows) if rows else (columns,)
        out.write(text(tensor) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPES[kind][0], offset))
        offset += -(-data_bytes(kind, rows, columns) // ALIGNMENT) * ALIGNMENT
    out.write(bytes(-out.tell() % ALIGNMENT))


def write_tensor(out, pools, rng, kind, rows, columns):
    if rows == 0:
        out.write(np.ones(columns, np.float32).tobytes())
    else:
        if (kind, columns) not in pools:
            pools[kind, columns] = memoryview(pool(rng, kind, columns))
        block, left = pools[kind, columns], data_bytes(kind, rows, columns)
        begin = int(rng.integers(0, len(block) // TYPES[kind][2])) * TYPES[kind][2]
        while left:
            piece = block[begin:begin + left]
            out.write(piece)
            left, begin = left - len(piece), 0
    out.write(bytes(-out.tell() % ALIGNMENT))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--shape", default="1b", choices=SHAPES)
    parser.add_argument("--type", default="bf16", choices=[kind for kind in TYPES if kind not in ("f32", "q6_k")])
    parser.add_argument("--layers", type=int, help="fewer or more than the shape has")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    shape = dict(SHAPES[a.shape])
    shape["layers"] = a.layers or shape["layers"]
    rng, pools, layout = np.random.default_rng(a.seed), {}, list(tensors(shape, a.type))
    with open(a.out, "wb", buffering=1 << 20) as out:
        write_header(out, shape, layout, f"random-{a.shape}-{a.type}")
        for _, kind, rows, columns in layout:
            write_tensor(out, pools, rng, kind, rows, columns)


if __name__ == "__main__":
    main()
