#!/usr/bin/env python3
"""Writes unicode_data.c: general category and age bits of every code point, in a two-stage table.

Needs unicodedata2 16.0.0 (Unicode 16, what the regex engines of Hugging Face tokenizers and tiktoken use) and perl (for
the Age property: some Hugging Face components are frozen at Unicode 8 and 9). Run: gen_unicode_data.py > unicode_data.c
"""
import subprocess
import unicodedata2 as ud

assert ud.unidata_version == "16.0.0"
BLOCK = 128
CATEGORIES = ["Cn", "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi",
              "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co"]
# So that have the property Alphabetic (circled and squared letters).
ALPHABETIC_SYMBOLS = set(range(0x24B6, 0x24EA)) | set(range(0x1F130, 0x1F14A)) | set(range(0x1F150, 0x1F16A)) | set(
    range(0x1F170, 0x1F18A))


def present_in(version):
    code = 'for my $c (0..0x10FFFF) { next if $c>=0xD800 && $c<=0xDFFF; print "$c\\n" if chr($c) =~ /\\p{Present_In: %s}/ }'
    out = subprocess.run(["perl", "-e", "no warnings;" + code % version], capture_output=True, text=True, check=True)
    return set(map(int, out.stdout.split()))


def rows(values, width):
    lines, line = [], "   "
    for value in values:
        item = f" {value},"
        if len(line) + len(item) > width:
            lines.append(line)
            line = "   "
        line += item
    return "\n".join(lines + [line])


def main():
    in8, in9 = present_in("8.0"), present_in("9.0")
    props = []
    for c in range(0x110000):
        value = CATEGORIES.index(ud.category(chr(c)))
        value |= 32 * (c in in8) | 64 * (c in in9) | 128 * (c in ALPHABETIC_SYMBOLS)
        props.append(value)
    blocks, index = {}, []
    for start in range(0, len(props), BLOCK):
        index.append(blocks.setdefault(tuple(props[start:start + BLOCK]), len(blocks)))
    while len(index) > 1 and index[-1] == index[-2]:
        index.pop()  # the lookup clamps to the last entry
    kind = "uint8_t" if len(blocks) <= 256 else "uint16_t"
    print("// Written by gen_unicode_data.py from Unicode 16; do not edit. Two-stage table: block of 128 code points, then")
    print("// general category (bits 0-4, order of mosa_unicode_category), present in Unicode 8 (bit 5) and 9 (bit 6),")
    print("// alphabetic symbol (bit 7).")
    print('#include "text/unicode_data.h"\n')
    print("// clang-format off")
    print(f"const uint32_t mosa_unicode_index_count = {len(index)};")
    print(f"const {kind} mosa_unicode_index[{len(index)}] = {{\n{rows(index, 120)}\n}};")
    flat = [v for block in blocks for v in block]
    print(f"const uint8_t mosa_unicode_props[{len(flat)}] = {{\n{rows(flat, 120)}\n}};")
    print("// clang-format on")


main()
