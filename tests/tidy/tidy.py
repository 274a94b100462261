#!/usr/bin/env python3
"""House style as a test: reads every tracked C file and README.

Rules: includes point down the floors; no banned function; files and functions of bounded length; lines of at most 120
columns; a head comment per file; header guards; headers that compile alone; a README of at most 60 lines per folder of
src; no leftovers. tests/tidy/exceptions.txt lists what may break a rule, each with its reason.

    tidy.py           the rules
    tidy.py --sizes   how long functions and files are
"""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

FLOORS = {
    "base": 0,
    "codec": 1, "tensor": 1,
    "graph": 2, "text": 2, "store": 2,
    "backend": 3,
    "model": 4,
    "engine": 5, "train": 5, "link": 5, "platform": 5,
    "api": 6, "eval": 6,
    "cli": 7,
}
# Neighbours on one floor that may be included all the same; the pairs must stay free of cycles.
SAME_FLOOR = {("codec", "tensor")}
# The compute plane never sees tenants or SQL, the control plane never sees a tensor.
COMPUTE = {"tensor", "graph", "backend", "model", "engine", "train"}
CONTROL = {"store", "platform"}

BANNED = {
    "strcpy": "snprintf or mosa_buf", "strcat": "mosa_buf", "sprintf": "snprintf", "vsprintf": "vsnprintf",
    "gets": "getline", "strtok": "strcspn", "atoi": "mosa_parse_i64", "atof": "mosa_parse_f64", "rand": "base/rng.h",
    "alloca": "an arena",
}
FILE_LINES_MAX, FUNCTION_LINES_MAX, LINE_COLUMNS_MAX, README_LINES_MAX = 1000, 70, 120, 60
LEFTOVERS = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|(?<![\w.])/(home|root|work)/[a-z]")


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", "-z", "--", *patterns], cwd=ROOT, capture_output=True, check=True)
    names = [name for name in listed.stdout.decode().split("\0") if name]
    return [name for name in names if (ROOT / name).is_file()]


class Source:
    def __init__(self, name):
        self.name = name
        self.text = (ROOT / name).read_text(encoding="utf-8")
        self.lines = self.text.splitlines()
        self.code = strip(self.text)  # same length, comments and literals blanked


def strip(text):
    """Blanks comments and the insides of literals, keeping every position."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def functions(source):
    """(name, first line, number of lines) of each function: a top-level brace after a parameter list."""
    found, depth, start, head = [], 0, 0, 0
    # Preprocessor lines may hold unbalanced braces.
    code = re.sub(r"^[ \t]*#(?:.*\\\n)*.*$", lambda m: re.sub(r"[^\n]", " ", m[0]), source.code, flags=re.M)
    for at, char in enumerate(code):
        if char == "{":
            if depth == 0:
                start = at
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                words = code[head:start]
                name = re.search(r"(\w+)\s*\(", re.sub(r"__attribute__\s*\(\(.*?\)\)", "", words, flags=re.S))
                if name and "=" not in words and words.rstrip().endswith(")"):
                    first = code.count("\n", 0, head + len(words) - len(words.lstrip())) + 1
                    found.append((name[1], first, code.count("\n", 0, at) + 2 - first))
                head = at + 1
        elif char == ";" and depth == 0:
            head = at + 1
    return found


# --- rules: each yields (file, line, message, key for exceptions) -------------------------------------------------------


def includes_point_down(sources):
    for s in sources:
        parts = s.name.split("/")
        if parts[0] != "src":
            continue
        folder = parts[1]
        for number, line in enumerate(s.lines, 1):
            match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if not match:
                continue
            target = match[1].split("/")
            if target[0] == "mosa":
                if match[1] != "mosa/status.h" and FLOORS[folder] < FLOORS["engine"]:
                    yield s.name, number, f"{match[1]} is above {folder}", match[1]
            elif len(target) == 1 or target[0] not in FLOORS:
                yield s.name, number, f'"{match[1]}" is not relative to src', match[1]
            elif target[0] != folder:
                yield from check_edge(s, number, folder, target[0], match[1])


def check_edge(source, number, folder, target, header):
    if FLOORS[target] >= FLOORS[folder] and (folder, target) not in SAME_FLOOR:
        yield source.name, number, f"{folder} may not include {header}: it does not lie below", header
    if (folder in COMPUTE and target in CONTROL) or (folder in CONTROL and target in COMPUTE):
        yield source.name, number, f"{folder} may not include {header}: the other plane", header


def nothing_banned(sources):
    pattern = re.compile(rf"(?<![\w.>])({'|'.join(BANNED)})\s*\(")
    for s in sources:
        for match in pattern.finditer(s.code):
            line = s.code.count("\n", 0, match.start()) + 1
            yield s.name, line, f"{match[1]} is banned: use {BANNED[match[1]]}", match[1]


def files_are_short(sources):
    for s in sources:
        if len(s.lines) > FILE_LINES_MAX:
            yield s.name, 1, f"{len(s.lines)} lines, at most {FILE_LINES_MAX}", "file"


def functions_are_short(sources):
    for s in sources:
        for name, line, length in functions(s):
            if length > FUNCTION_LINES_MAX:
                yield s.name, line, f"{name} has {length} lines, at most {FUNCTION_LINES_MAX}", name


def lines_are_short(sources):
    for s in sources:
        for number, line in enumerate(s.lines, 1):
            if len(line) > LINE_COLUMNS_MAX:
                yield s.name, number, f"{len(line)} columns, at most {LINE_COLUMNS_MAX}", "columns"


def files_begin_with_their_role(sources):
    for s in sources:
        if not s.text.startswith("// "):
            yield s.name, 1, "does not begin with a comment that says what it owns", "head"


def headers_have_guards(sources):
    for s in sources:
        if not s.name.endswith(".h"):
            continue
        guard = re.sub(r"\W", "_", re.sub(r"^(src|include/mosa|include)/", "", s.name)).upper()
        short = re.sub(r"^TESTS_[A-Z]+_", "TESTS_", guard)
        if not any(f"#ifndef MOSA_{g}\n#define MOSA_{g}\n" in s.text for g in (guard, short)):
            yield s.name, 1, f"has no header guard MOSA_{guard}", "guard"


def headers_compile_alone(sources):
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function",
             "-Wno-unused-variable", "-Wno-missing-field-initializers", "-Isrc", "-Iinclude", "-Itests/unit",
             '-DMOSA_SOURCE_ROOT="."', "-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl",
             "-mavx512vnni", "-fsyntax-only", "-xc", "-"]

    def compile_one(name):
        include = re.sub(r"^(src|include)/", "", name) if not name.startswith("tests/") else f"../{name}"
        return name, subprocess.run(["gcc", *flags], cwd=ROOT, input=f'#include "{include}"\n', text=True,
                                    capture_output=True)

    # Those of the CUDA plugin need NVIDIA's headers, which only who builds the plugin has.
    cuda = Path("/usr/local/cuda/include")
    flags[-2:-2] = ["-isystem", str(cuda)] if cuda.exists() else []
    headers = [s.name for s in sources if s.name.endswith(".h") and (cuda.exists() or "/cuda/plugin/" not in s.name)]
    with ThreadPoolExecutor(2) as pool:
        for name, result in pool.map(compile_one, headers):
            if result.returncode:
                yield name, 1, "does not compile alone: " + result.stderr.strip().split("\n")[0], "alone"


def nothing_is_left_over(sources):
    for s in sources:
        for number, line in enumerate(s.lines, 1):
            match = LEFTOVERS.search(line)
            if match:
                yield s.name, number, f"leftover: {match[0]}", "leftover"


def folders_have_readmes(sources):
    folders = {"/".join(s.name.split("/")[:2]) for s in sources if s.name.startswith("src/")}
    for folder in sorted(folders):
        readme = ROOT / folder / "README.md"
        if not readme.exists():
            yield folder, 1, "has no README.md", "readme"
        elif len(readme.read_text(encoding="utf-8").splitlines()) > README_LINES_MAX:
            yield f"{folder}/README.md", 1, f"has more than {README_LINES_MAX} lines", "readme"


RULES = [
    includes_point_down, nothing_banned, files_are_short, functions_are_short, lines_are_short,
    files_begin_with_their_role, headers_have_guards, headers_compile_alone, nothing_is_left_over,
    folders_have_readmes,
]


# --- running them -------------------------------------------------------------------------------------------------------


def read_exceptions():
    """rule, file, key -> reason; one per line: RULE FILE KEY REASON..."""
    exceptions = {}
    for number, line in enumerate((ROOT / "tests/tidy/exceptions.txt").read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(None, 3)
        if len(words) < 4:
            sys.exit(f"tests/tidy/exceptions.txt:{number}: needs a rule, a file, a key and a reason")
        exceptions[tuple(words[:3])] = words[3]
    return exceptions


def print_sizes(sources):
    lengths = sorted(length for s in sources if s.name.startswith("src/") for _, _, length in functions(s))
    files = sorted(len(s.lines) for s in sources if s.name.startswith("src/"))
    under_50, over_70 = sum(n < 50 for n in lengths), sum(n > 70 for n in lengths)
    print(f"{len(lengths)} functions: median {lengths[len(lengths) // 2]}, longest {lengths[-1]}, "
          f"{100 * under_50 / len(lengths):.1f}% under 50 lines, {100 * over_70 / len(lengths):.1f}% over 70")
    print(f"{len(files)} files: median {files[len(files) // 2]}, longest {files[-1]} lines, {sum(files)} in all")


def main():
    sources = [Source(name) for name in tracked("*.c", "*.h")]
    if "--sizes" in sys.argv:
        return print_sizes(sources)
    exceptions, used, broken = read_exceptions(), set(), 0
    for rule in RULES:
        faults = []
        for name, line, message, key in rule(sources):
            entry = (rule.__name__, name, key)
            if entry in exceptions:
                used.add(entry)
            else:
                faults.append(f"{name}:{line}: {message}")
        broken += bool(faults)
        for fault in faults:
            print(fault)
    for entry in sorted(set(exceptions) - used):
        print(f"tests/tidy/exceptions.txt: nobody needs the exception {' '.join(entry)}")
    broken += bool(set(exceptions) - used)
    kept = len(RULES) + 1 - broken
    print(f"tidy: {kept} rules kept, {broken} broken, {len(sources)} files")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
