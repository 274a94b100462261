#!/usr/bin/env python3
"""Write the seeds of gguf_fuzz, safetensors_fuzz and hf_config_fuzz into corpus/<target>/ beside this script."""
import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent / "corpus"


def string(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def array(item_type, count, items):
    return struct.pack("<IQ", item_type, count) + items


# type id -> encoded value, one of each kind
VALUES = [
    ("u8", 0, b"\x07"), ("i8", 1, b"\xff"), ("u16", 2, struct.pack("<H", 7)), ("i16", 3, struct.pack("<h", -7)),
    ("general.alignment", 4, struct.pack("<I", 32)), ("i32", 5, struct.pack("<i", -1)), ("f32", 6, struct.pack("<f", 0.5)),
    ("bool", 7, b"\x01"), ("general.architecture", 8, string("llama")), ("u64", 10, struct.pack("<Q", 1 << 40)),
    ("i64", 11, struct.pack("<q", -5)), ("f64", 12, struct.pack("<d", 1e-5)),
    ("strs", 9, array(8, 3, string("a") + string("") + string("é"))), ("ids", 9, array(5, 3, struct.pack("<3i", 1, 2, 3))),
    ("nested", 9, array(9, 2, array(4, 1, struct.pack("<I", 1)) + array(8, 1, string("x")))), ("none", 9, array(6, 0, b"")),
]


def gguf(values, tensors):
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    for key, kind, value in values:
        out += string(key) + struct.pack("<I", kind) + value
    offset, data = 0, b""
    for name, dims, kind, size in tensors:
        out += string(name) + struct.pack("<I", len(dims)) + struct.pack("<%dQ" % len(dims), *dims)
        out += struct.pack("<IQ", kind, offset)
        padded = (size + 31) // 32 * 32
        data += bytes(i & 255 for i in range(size)) + bytes(padded - size)
        offset += padded
    return out + bytes(-len(out) % 32) + data


def safetensors(header, size):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(i & 255 for i in range(size))


def save(target, name, data):
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def main():
    save("gguf", "all_value_types", gguf(VALUES, []))
    save("gguf", "tensors", gguf(VALUES[8:9], [("token_embd.weight", (32, 2), 8, 68), ("output_norm.weight", (3,), 0, 12),
                                               ("blk.0.attn_q.weight", (256, 1), 12, 144), ("s", (), 1, 2)]))
    save("safetensors", "two_tensors", safetensors({
        "__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b\u00e9\n\U0001f600": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]}}, 16))
    save("safetensors", "scalar_and_empty", safetensors({
        "s": {"dtype": "F16", "shape": [], "data_offsets": [0, 2]},
        "e": {"dtype": "I64", "shape": [0, 3], "data_offsets": [2, 2]}}, 2))
    save("safetensors", "no_tensors", safetensors({}, 0))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "rms_norm_eps": 1e-5,
              "eos_token_id": [1, 2], "tie_word_embeddings": False, "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
              "pad_token_id": None}
    save("hf_config", "llama", json.dumps(config).encode())
    save("hf_config", "odd_types", b'{"hidden_size":4096.0,"eos_token_id":7,"rope_scaling":[],"model_type":3}')


main()
