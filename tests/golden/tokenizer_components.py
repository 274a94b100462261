#!/usr/bin/env python3
"""Every component of tokenizer.json that we read, against Hugging Face tokenizers.

    tokenizer_components.py vectors OUT.json            writes small tokenizers with expected ids, for the unit test
    tokenizer_components.py compare TOOL SHARED WORK    trains larger ones and compares on real and random text

One tokenizer per pre-tokenizer, normaliser, model option and decoder; the pre-tokenizers of DeepSeek, Falcon, StarCoder,
Bloom and others are here because no vocabulary of theirs is at hand. Known difference: a run of byte tokens that is not
UTF-8 decodes to one U+FFFD per bad byte (as SentencePiece does); tokenizers replaces the good characters of such a run too.
"""
import json
import os
import re
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders as D, models as M, normalizers as N, pre_tokenizers as P, processors, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
PRE_C = open(os.path.join(HERE, "../../src/text/tokenizer_pre.c"), encoding="utf-8").read()
CASED = "".join(re.findall(r'"(.*?)"', re.search(r"#define CASED_LETTERS[^\n]*\n(.*?)\n#define", PRE_C, re.S).group(1))).replace("\\\\", "\\")
DEEPSEEK_V3 = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
BAILING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
SAMPLE = ["It was the best of times, it was the worst of times, it was the age of wisdom, it was the age of foolishness.",
          "The quick brown fox can't jump; she'll run 12345 miles and we've 67 more!", "for (int i = 0; i < 10; i++) {\n    total += value[i];\n}",
          "Ünïcödé naïve café, straße ΑΒΓ αβγ привет мир", "日本語のテキストと中文字符 한국어", "the the the and and of of to to in in"] * 3
TEXTS = ["", " ", "Hello, world!", "It's the BEST of times,  isn't it?\n\n\tThe end.  ", "12345 678 3.14159e-10 ½ ٣٤", "日本語のテキスト、中文。 한국어", "é é Å Ω ﬁ",
         "a\u0300b \u200bzero\u200dwidth", "👩‍👩‍👧 🇳🇱👍🏽", "for i in x:\r\n\r\n    y += 1 // note", "   leading and trailing   ", "<|end|> the <|end|>", "<unk><s></s>",
         "Привет, как дела? Ἀθῆναι", "tab\there\u00a0nbsp\u3000wide\x85nel", "x" * 40 + "the" * 30, "▁the▁ ▁", "(and) [of] {It} \"the\"", "It\n\nAnd  of   a", "\u0000\u0007\ufffd"]


def split(pattern, behavior="isolated", invert=False):
    return P.Split(Regex(pattern), behavior, invert)


def byte_level(prefix=False, regex=False):
    return P.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def pre_tokenizers():
    seq = P.Sequence
    return {
        "bytelevel": byte_level(True, True),
        "deepseek-v3": seq([split(r"\p{N}{1,3}"), split("[一-龥぀-ゟ゠-ヿ]+"), split(DEEPSEEK_V3), byte_level()]),
        "deepseek-llm": seq([split("[\r\n]"), split(r"\s?[" + CASED + "]+"), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"),
                             split("[一-龥ࠀ-一가-퟿]+"), P.Digits(individual_digits=True), byte_level()]),
        "deepseek-coder": seq([split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-퟿]+"),
                               P.Digits(individual_digits=True), byte_level()]),
        "falcon": seq([P.Punctuation("contiguous"), byte_level(regex=True), P.Digits(individual_digits=False), split("[0-9][0-9][0-9]")]),
        "starcoder": seq([P.Digits(individual_digits=True), byte_level(regex=True)]),
        "bloom": seq([split(r" ?[^(\s|.,!?…。，、।۔،)]+"), byte_level()]),
        "bailing": seq([split(BAILING), byte_level()]),
        "superbpe": seq([split(r"\p{N}+"), split(r"(?=(\d{3})+(?!\d))"), byte_level()]),
        "words": seq([split(r"\w+\S\s?|^a|\d$", "merged_with_next"), byte_level()]),
        "merged-previous": seq([split("[aeiou ]", "merged_with_previous"), byte_level()]),
        "merged-next": seq([split("[aeiou ]", "merged_with_next"), byte_level()]),
        "contiguous": seq([split("[aeiou ]", "contiguous"), byte_level()]),
        "removed": seq([split("[aeiou ]", "removed"), byte_level()]),
        "removed-inverted": seq([split(r"[\w']+|[^\w\s]", "removed", True), byte_level()]),
        "string": seq([P.Split("the", "merged_with_previous"), P.Punctuation("merged_with_next"), byte_level()]),
        "fixed": seq([P.FixedLength(5), byte_level()]),
        "delimiter": seq([P.CharDelimiterSplit("e"), P.WhitespaceSplit(), byte_level()]),
    }


def reload(tokenizer, change):
    spec = json.loads(tokenizer.to_str())
    change(spec)
    return Tokenizer.from_str(json.dumps(spec))


def with_byte_tokens(spec):
    vocab = spec["model"]["vocab"]
    start = max(vocab.values()) + 1
    for i in range(256):
        vocab[f"<0x{i:02X}>"] = start + i


def build(train, extra):
    """(name, tokenizer) for every component. `extra`: merges to learn beyond the alphabet."""
    specials = ["<unk>", "<s>", "</s>"]
    for name, pre in pre_tokenizers().items():
        t = Tokenizer(M.BPE())
        t.pre_tokenizer, t.decoder = pre, D.ByteLevel()
        train(t, trainers.BpeTrainer(vocab_size=257 + extra, initial_alphabet=P.ByteLevel.alphabet(), special_tokens=["<|end|>"], show_progress=False))
        yield name, t
    llama = D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    for name, norm, pre, decoder in (
            ("llama", N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]), None, llama),
            ("metaspace-first", None, P.Metaspace(prepend_scheme="first", split=False), llama),
            ("metaspace-always", N.NFKC(), P.Metaspace(prepend_scheme="always"), D.Metaspace(prepend_scheme="always")),
            ("metaspace-never", N.Sequence([N.NFD(), N.StripAccents(), N.Lowercase(), N.Strip()]), P.Metaspace(prepend_scheme="never"),
             D.Metaspace(prepend_scheme="never")),
            ("gemma", N.Replace(" ", "▁"), P.Split(" ", "merged_with_previous"), D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse()])),
            ("replace-nmt", N.Sequence([N.Replace(Regex(r"\s{2,}"), "  "), N.Nmt(), N.NFKD()]), P.Whitespace(), D.Fuse())):
        t = Tokenizer(M.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        if norm:
            t.normalizer = norm
        t.pre_tokenizer, t.decoder = pre or P.Metaspace(prepend_scheme="never"), decoder
        train(t, trainers.BpeTrainer(vocab_size=200 + extra, special_tokens=specials, show_progress=False))

        def change(spec, pre=pre):
            with_byte_tokens(spec)
            if not pre:
                spec["pre_tokenizer"] = None
        yield name, reload(t, change)
    t = Tokenizer(M.BPE(unk_token="<unk>"))
    t.pre_tokenizer, t.decoder = P.Whitespace(), D.BPEDecoder(suffix="</w>")
    train(t, trainers.BpeTrainer(vocab_size=200 + extra, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False))
    yield "word-suffix", t
    t = Tokenizer(M.BPE(unk_token="<unk>"))
    t.pre_tokenizer, t.decoder = P.BertPreTokenizer(), D.WordPiece("##", cleanup=True)
    train(t, trainers.BpeTrainer(vocab_size=200 + extra, special_tokens=["<unk>"], continuing_subword_prefix="##", show_progress=False))
    yield "subword-prefix", t
    t = Tokenizer(M.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer, t.decoder = N.BertNormalizer(), P.BertPreTokenizer(), D.WordPiece()
    train(t, trainers.WordPieceTrainer(vocab_size=200 + extra, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    yield "wordpiece", t
    t = Tokenizer(M.Unigram())
    t.normalizer = N.Sequence([N.NFKC(), N.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer, t.decoder = P.Metaspace(), D.Metaspace()
    train(t, trainers.UnigramTrainer(vocab_size=140 + extra, special_tokens=specials, unk_token="<unk>", show_progress=False))
    yield "unigram", t

    def fall_back(spec):
        spec["model"]["byte_fallback"] = True
        spec["model"]["vocab"] += [[f"<0x{i:02X}>", -30.0] for i in range(256)]
        spec["decoder"] = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                                                            {"type": "ByteFallback"}, {"type": "Fuse"}]}
    yield "unigram-bytes", reload(t, fall_back)
    t = Tokenizer(M.BPE())
    t.normalizer, t.pre_tokenizer, t.decoder = N.Lowercase(), byte_level(regex=True), D.ByteLevel()
    train(t, trainers.BpeTrainer(vocab_size=257 + extra, initial_alphabet=P.ByteLevel.alphabet(), special_tokens=["<|end|>"], show_progress=False))
    t.add_tokens([AddedToken("the", single_word=True), AddedToken("and", lstrip=True, normalized=True), AddedToken("of", rstrip=True, normalized=False),
                  AddedToken("  "), AddedToken("    "), AddedToken("a", single_word=True, lstrip=True, rstrip=True, normalized=False)])
    t.add_special_tokens([AddedToken("it", normalized=True), AddedToken("\n\n", lstrip=True)])
    yield "added-tokens", t


def write_vectors(out):
    entries = []
    for name, t in build(lambda t, trainer: t.train_from_iterator(SAMPLE, trainer), 24):
        cases = []
        for text in TEXTS:
            ids = t.encode(text, add_special_tokens=False).ids
            cases.append([text, ids, t.decode(ids)])
        entries.append({"name": name, "around": t.encode("", add_special_tokens=True).ids, "tokenizer": json.loads(t.to_str()), "cases": cases})
    lines = ",\n".join(json.dumps(e, ensure_ascii=False, separators=(",", ":")) for e in entries)
    with open(out, "w", encoding="utf-8") as file:
        file.write("[\n" + lines + "\n]\n")


def compare(tool, shared, work):
    sys.argv = ["tokenizer_parity.py", tool, shared, work]
    sys.path.insert(0, HERE)
    import tokenizer_parity as parity
    parity.load_unicode()
    texts = [parity.lossy(t).translate(parity.NEWER).encode() for t in parity.TEXTS[::5] + parity.TEXTS[-400:] if len(t) < 30000]
    corpus = [os.path.join(shared, "data/tok/sentencepiece/botchan.txt")]
    for name, t in build(lambda t, trainer: t.train(corpus, trainer), 900):
        path = os.path.join(work, f"component-{name}.json")
        t.save(path)
        theirs = [t.encode(parity.lossy(text), add_special_tokens=False).ids for text in texts]
        parity.compare(name, parity.run_tool("encode-special", path, texts), theirs)
        whole = [ids for ids in theirs]
        parity.compare(name + " decode", parity.run_decode(path, whole), [t.decode(ids).encode() for ids in whole])
    print("FAILED: " + ", ".join(parity.FAILED) if parity.FAILED else "all equal")
    return 1 if parity.FAILED else 0


if __name__ == "__main__":
    if sys.argv[1] == "vectors":
        write_vectors(sys.argv[2])
    else:
        sys.exit(compare(*sys.argv[2:5]))
