#!/usr/bin/env python3
"""Write quant_vectors.bin: random blocks of every format and what the `gguf` package (pip install gguf) makes of them.

usage: make_quant_vectors.py OUT.bin

Records, little-endian: char name[16]; u32 kind (0 decode, 1 encode); u32 n_elements; u32 n_bytes; block bytes; floats.
For kind 0 the floats are the decoded blocks; for kind 1 the bytes are the encoding of the floats.
"""
import struct
import sys

import gguf
import numpy as np
from gguf import quants

# Byte offsets of the half-float fields of a block, which must be finite for values to be comparable.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
}


def random_blocks(rng, name, count):
    _, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for offset in HALVES[name]:
        half = rng.integers(0, 65536, count).astype(np.uint16)
        half = np.where((half & 0x7C00) == 0x7C00, half & 0x83FF, half).astype(np.uint16)
        raw[:, offset : offset + 2] = half.view(np.uint8).reshape(count, 2)
    return raw


def write_record(out, name, kind, raw, values):
    raw, values = raw.reshape(-1), values.astype(np.float32).reshape(-1)
    out.write(struct.pack("<16sIII", name.lower().encode(), kind, values.size, raw.size))
    out.write(raw.tobytes())
    out.write(values.tobytes())


def main():
    rng = np.random.default_rng(20)
    with open(sys.argv[1], "wb") as out:
        for name in HALVES:
            kind = gguf.GGMLQuantizationType[name]
            block_len = gguf.GGML_QUANT_SIZES[kind][0]
            raw = random_blocks(rng, name, 16 if block_len == 32 else 4)
            write_record(out, name, 0, raw, quants.dequantize(raw, kind))
        values = np.concatenate([rng.standard_normal(512) * 0.05, rng.laplace(size=256), rng.uniform(-3, 3, 256),
                                 np.zeros(32), np.full(32, -2.5), rng.standard_normal(192) * 1e-4]).astype(np.float32)
        for name in ("Q8_0", "Q4_0"):
            write_record(out, name, 1, quants.quantize(values, gguf.GGMLQuantizationType[name]), values)


main()
