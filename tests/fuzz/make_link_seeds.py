#!/usr/bin/env python3
"""Writes the seeds of link_frame_fuzz: one file per kind of frame, and one with several."""

import pathlib
import struct

VERSION = 2  # MOSA_LINK_VERSION
FOLDER = pathlib.Path(__file__).parent / "corpus/link_frame"


def frame(kind, payload=b"", request=0):
    return struct.pack("<IHHQ", len(payload), kind, VERSION, request) + payload


def text(data):
    return struct.pack("<I", len(data)) + data


def submit():
    sampling = struct.pack("<fffIfffQ", 0.7, 0.9, 0.05, 40, 1.1, 0.5, -0.5, 7)
    bias = struct.pack("<IIfIf", 2, 5, 1.0, 6, -100.0)
    adapter = text(b"poet")
    stop = struct.pack("<I", 2) + text(b"END") + text(b"\n\n")
    tokens = struct.pack("<II4i", 2, 4, 1, 2, 3, 4)
    return struct.pack("<BBhiQqq", 0, 7, 5, -1, 9, 64, 2) + sampling + bias + adapter + stop + tokens


def event(request, finish=0, top=0, embedding=(), words=b"hi", error=None):
    head = struct.pack("<Qiff", request, 3, -0.5, 0.75)
    head += struct.pack("<BBhiiiII", 2 if error else 0, finish, -1, 9, 4, 1, top, len(embedding))
    body = b"".join(struct.pack("<if", i, -i) for i in range(top))
    body += struct.pack(f"<{len(embedding)}f", *embedding) + text(words)
    return head + body + (error or b"")


ERROR = struct.pack("<H", 10) + text(b"the queue is full") + text(b"retry later")
SEEDS = {
    "hello": frame(1, b'{"version":"0.1.0","name":"tiny","width":64,"can_embed":true,"pid":7}'),
    "submit": frame(2, submit(), 77),
    "step": frame(4, event(1) + event(2, 2, 3) + event(3, 1, 0, (0.5, -0.5), b"") + event(4, 4, 0, (), b"", ERROR)),
    "stats": frame(5, struct.pack("<17Q", *range(17))),
    "error": frame(7, ERROR, 5),
    "adapter": frame(8, b"\x01" + text(b"poet") + text(b"/adapters/poet"), 3),
    "adapter_done": frame(9, b"\x01" + text(b"poet") + text(b"/a") + struct.pack("<IQB", 16, 1 << 20, 0), 3)
                    + frame(9, b"\x00" + text(b"poet") + text(b"") + struct.pack("<IQB", 0, 0, 1) + ERROR, 4),
    "several": frame(3, request=9) + frame(6) + frame(7, ERROR, 1) + frame(4, event(8)),
}

FOLDER.mkdir(parents=True, exist_ok=True)
for name, data in SEEDS.items():
    (FOLDER / name).write_bytes(data)
