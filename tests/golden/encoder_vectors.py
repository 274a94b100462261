#!/usr/bin/env python3
"""Make tiny random encoders with transformers, and write down their hidden states, embeddings and scores.

  encoder_vectors.py                 every case   -> build/golden/encoders/<case>/
  encoder_vectors.py --committed     small ones   -> tests/golden/encoders/<case>/

A case is a Hugging Face model folder with GGUF forms beside it and expected.json: the prompts (token ids, and where the
second of two texts begins), the pooling, and per variant the model's file and the files of its answers: hidden rows of
all prompts one after another (rows, D), embeddings (prompts, D) and, with a classifier, scores, all float32.
"""
import argparse
import copy
import json
import math
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedTokenizerFast
from transformers.utils import logging

ROOT = Path(__file__).resolve().parents[2]
QUERY = "where is the ship?"
TEXTS = ("The ship that we saw in the morning was 3 miles from the shore.", "The wind was high.", "A",
         "It is a truth that the old house by the sea was the one they had seen in the other season, and the men and "
         "horses in the yard would not be there before the evening.")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
POOLINGS = {"mean": gguf.PoolingType.MEAN, "cls": gguf.PoolingType.CLS, "lasttoken": gguf.PoolingType.LAST}


@dataclass
class Case:
    family: str
    pooling: str = "mean"
    scores: bool = False
    hidden: int = 64
    ffn: int = 96
    layers: int = 2
    heads: int = 4
    vocab: int = 160
    context: int = 96
    dtype: str = "float32"
    gguf: tuple = ("f32", "f16", "q8_0")
    extra: dict = field(default_factory=dict)


CASES = {
    "bert": Case("bert"),
    "bert-cls": Case("bert", pooling="cls", hidden=96, heads=3, dtype="bfloat16", layers=3),
    "bert-rank": Case("bert", scores=True),
    "roberta": Case("roberta", pooling="lasttoken", gguf=(), extra={"type_vocab_size": 1}),
    "xlm-roberta-rank": Case("xlm-roberta", scores=True, gguf=(), dtype="float16", extra={"type_vocab_size": 1}),
    "nomic-bert": Case("nomic_bert", context=512),
    "small-bert": Case("bert", pooling="cls", hidden=32, ffn=32, heads=2, dtype="bfloat16"),
    "small-rank": Case("bert", scores=True, hidden=32, ffn=32, heads=2, layers=1, dtype="bfloat16"),
    "small-roberta-rank": Case("xlm-roberta", scores=True, hidden=32, ffn=32, heads=2, layers=1, dtype="bfloat16",
                               gguf=(), context=200, extra={"type_vocab_size": 1}),
    "small-nomic": Case("nomic_bert", hidden=32, ffn=32, heads=2, layers=1, dtype="bfloat16"),
}
COMMITTED = {"small-bert": ["q8_0"], "small-rank": ["f16"], "small-roberta-rank": [], "small-nomic": ["f16"]}


# ---- tokenizer and prompts -----------------------------------------------------------------------

def make_roberta_tokenizer(case):
    """Byte-level BPE; two separators between texts."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator([QUERY, *TEXTS], trainers.BpeTrainer(
        vocab_size=case.vocab, special_tokens=SPECIAL, show_progress=False))
    ends = [(t, tok.token_to_id(t)) for t in ("[SEP]", "[CLS]")]
    tok.post_processor = processors.RobertaProcessing(*ends, add_prefix_space=False)
    return tok


def make_tokenizer(case):
    if "roberta" in case.family:
        return make_roberta_tokenizer(case)
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer, tok.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    tok.train_from_iterator([QUERY, *TEXTS], trainers.WordPieceTrainer(
        vocab_size=case.vocab, special_tokens=SPECIAL, show_progress=False))
    for i in range(case.vocab - tok.get_vocab_size()):
        tok.add_tokens([f"extra{i}"])
    tok.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, tok.token_to_id(t)) for t in ("[CLS]", "[SEP]")])
    return tok


def prompts_of(case, tok):
    """Each with its token types. Only BERT tells the second text apart."""
    made = [tok.encode(QUERY, text) if case.scores else tok.encode(text) for text in TEXTS]
    return [(e.ids, [0] * len(e.ids) if case.family != "bert" else e.type_ids) for e in made]


# ---- model ---------------------------------------------------------------------------------------

def make_model(name, case):
    config = AutoConfig.for_model(
        case.family, vocab_size=case.vocab, hidden_size=case.hidden, intermediate_size=case.ffn,
        num_hidden_layers=case.layers, num_attention_heads=case.heads, max_position_embeddings=case.context,
        pad_token_id=0, **({"num_labels": 1} if case.scores else {}), **case.extra)
    config._attn_implementation = "eager"
    kind = AutoModelForSequenceClassification if case.scores else AutoModel
    model, generator = kind.from_config(config, dtype=torch.float32).eval(), torch.Generator()
    generator.manual_seed(zlib.crc32(name.encode()))
    for key, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        value = 0.5 * noise if "embeddings" in key else 1.2 / math.sqrt(p.shape[-1]) * noise
        if p.ndim == 1:
            value = 0.2 * noise + (1 if key.endswith("weight") else 0)
        p.data.copy_(value.to(getattr(torch, case.dtype)))
    return model


def pool(case, hidden):
    v = {"mean": lambda: hidden.mean(0), "cls": lambda: hidden[0], "lasttoken": lambda: hidden[-1]}[case.pooling]()
    return v / v.norm()


@torch.no_grad()
def answer(case, model, prompts):
    hidden, embeddings, scores = [], [], []
    for ids, types in prompts:
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
                  "token_type_ids": torch.tensor([types])}
        hidden.append(getattr(model, model.base_model_prefix, model)(**inputs).last_hidden_state[0])
        embeddings.append(pool(case, hidden[-1]))
        if case.scores:
            scores.append(model(**inputs).logits[0, 0].sigmoid())
    return torch.cat(hidden), torch.stack(embeddings), torch.stack(scores) if scores else None


# ---- files ---------------------------------------------------------------------------------------

def write_hugging_face(folder, case, tok, model):
    # A copy: .to(dtype) would round the model's rotary frequencies as well.
    copy.deepcopy(model).to(getattr(torch, case.dtype)).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tok, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
                            sep_token="[SEP]", mask_token="[MASK]").save_pretrained(folder)
    if case.pooling != "mean":
        (folder / "1_Pooling").mkdir()
        flags = {"pooling_mode_cls_token": case.pooling == "cls", "pooling_mode_mean_tokens": False,
                 "pooling_mode_lasttoken": case.pooling == "lasttoken", "word_embedding_dimension": case.hidden}
        (folder / "1_Pooling/config.json").write_text(json.dumps(flags) + "\n")
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)


def gguf_names(case, state):
    """GGUF name -> array, as llama.cpp's converter has them; its own form of BERT's pooler is the classifier's first."""
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH[case.family.upper()], case.layers)
    for name, array in state.items():
        name = name.removeprefix("bert.")
        if name.startswith("pooler."):
            if case.scores:
                yield "cls." + name.split(".")[-1], array
        elif name.startswith("classifier."):
            yield "cls.output." + name.split(".")[-1], array
        elif not name.endswith("position_ids"):
            yield table.get_name(name, try_suffixes=(".weight", ".bias")), array


def add_vocabulary(writer, tok):
    tokens = sorted(tok.get_vocab(), key=tok.token_to_id)
    spelled = [t if t in SPECIAL else t[2:] if t.startswith("##") else "\u2581" + t for t in tokens]
    writer.add_tokenizer_model("bert")
    writer.add_tokenizer_pre("bert")
    writer.add_token_list(spelled)
    writer.add_token_types([gguf.TokenType.CONTROL if t in SPECIAL else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_type_count(2)
    for add, token in ((writer.add_unk_token_id, "[UNK]"), (writer.add_pad_token_id, "[PAD]"),
                       (writer.add_bos_token_id, "[CLS]"), (writer.add_sep_token_id, "[SEP]"),
                       (writer.add_mask_token_id, "[MASK]")):
        add(tok.token_to_id(token))


def write_gguf(path, case, tok, model, state, kind):
    writer = gguf.GGUFWriter(path, case.family.replace("_", "-"))
    writer.add_context_length(case.context)
    writer.add_embedding_length(case.hidden)
    writer.add_block_count(case.layers)
    writer.add_feed_forward_length(case.ffn)
    writer.add_head_count(case.heads)
    writer.add_layer_norm_eps(model.config.layer_norm_eps)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.RANK if case.scores else POOLINGS[case.pooling])
    if case.family == "nomic_bert":
        writer.add_rope_freq_base(model.config.rope_parameters["rope_theta"])
    add_vocabulary(writer, tok)
    for name, array in gguf_names(case, state):
        stored = kind if array.ndim == 2 and array.shape[1] % 32 == 0 and array.shape[0] > 2 else Kind.F32
        data = gguf.quants.quantize(array, stored)
        array[...] = gguf.quants.dequantize(data, stored)
        writer.add_tensor(name, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def record(folder, variant, file, case, model, prompts):
    files = {}
    for what, values in zip(("hidden", "embeddings", "scores"), answer(case, model, prompts)):
        if values is not None:
            files[what] = f"{what}-{variant}.f32"
            values.numpy().astype("<f4").tofile(folder / files[what])
    return {"variant": variant, "model": file, **files}


def read_state(folder):
    from safetensors.torch import load_file
    return {k: v.float().numpy() for k, v in load_file(folder / "model.safetensors").items()}


def make_case(folder, name, case, kinds):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tok, model = make_tokenizer(case), make_model(name, case)
    prompts = prompts_of(case, tok)
    write_hugging_face(folder, case, tok, model)
    variants = [record(folder, "hf", ".", case, model, prompts)]
    for kind in kinds:
        state = read_state(folder)
        write_gguf(folder / f"model-{kind}.gguf", case, tok, model, state, Kind[kind.upper()])
        seen = folder / "seen"  # what a reader of the file sees, by way of a folder of its own
        shutil.copytree(folder, seen, ignore=shutil.ignore_patterns("seen"))
        from safetensors.numpy import save_file
        save_file(state, seen / "model.safetensors", metadata={"format": "pt"})
        loaded = type(model).from_pretrained(seen, dtype=torch.float32, attn_implementation="eager").eval()
        shutil.rmtree(seen)
        variants.append(record(folder, kind, f"model-{kind}.gguf", case, loaded, prompts))
    expected = {"case": name, "family": case.family, "width": case.hidden, "pooling": case.pooling,
                "query": QUERY, "texts": TEXTS, "prompts": [ids for ids, _ in prompts],
                "first": [types.index(1) if 1 in types else 0 for _, types in prompts], "variants": variants}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(f"{name}: {sum(len(ids) for ids, _ in prompts)} tokens", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--committed", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(CASES))
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    out = ROOT / ("tests/golden/encoders" if args.committed else "build/golden/encoders")
    for name in args.only or (COMMITTED if args.committed else CASES):
        make_case(out / name, name, CASES[name], COMMITTED[name] if args.committed else CASES[name].gguf)


if __name__ == "__main__":
    main()
