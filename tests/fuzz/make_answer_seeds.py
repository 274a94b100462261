#!/usr/bin/env python3
"""Seeds of the answer target from the cases of tests/unit/text_dialect_test.c: a byte for the dialect, then the answer."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = re.search(r"table\[\] = \{(.*?)\};", (ROOT / "src/text/dialect/dialect.c").read_text(), re.S)[1]
NAMES = re.findall(r"mosa_dialect_(\w+)", TABLE)
CASE = re.compile(r'\{"(\w+)", (?:NULL|&\w+), (true|false),\s*((?:"(?:[^"\\]|\\.)*"\s*)+),')


def main():
    folder = ROOT / "tests/fuzz/corpus/answer"
    folder.mkdir(parents=True, exist_ok=True)
    source = (ROOT / "tests/unit/text_dialect_test.c").read_text()
    counts = {}
    for dialect, is_open, literal in CASE.findall(source):
        text = "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literal))
        text = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), text)
        counts[dialect] = counts.get(dialect, -1) + 1
        head = bytes([NAMES.index(dialect) + (64 if is_open == "true" else 0)])
        (folder / f"{dialect}{counts[dialect]}").write_bytes(head + text.encode())


main()
