#!/usr/bin/env python3
"""Make tiny random models of each family with transformers, and write down what they answer.

  family_vectors.py                 every case below            -> build/golden/families/<case>/
  family_vectors.py --committed     the few small ones          -> tests/golden/families/<case>/
  family_vectors.py --only NAME...  only these cases

The layout of a case folder is described in tests/golden/README.md. Weights come from the case's name and a seed that is
counted up until the greedy continuation has no near tie, so that a test can demand the same tokens.
"""
import argparse
import copy
import json
import math
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import family_experts as experts
import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

ROOT = Path(__file__).resolve().parents[2]
GREEDY_TOKENS = 64
MARGIN_MIN = 0.02  # between the best and the second logit, at each of the greedy steps
DISTINCT_MIN = 12  # different tokens in the continuation; random models like to repeat one
BOS, EOS, PAD = SPECIAL = ("<|begin|>", "<|end|>", "<|pad|>")
PROMPT = "The ship that we saw in the morning was 3 miles from the shore, and the wind was high."
CORPUS = (PROMPT, "It is a truth that the old house by the sea was the one they had seen in the other season.",
          "There were 12 men and 30 horses in the yard; he said that she would not be there before the evening.")

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")


@dataclass
class Case:
    family: str                 # model_type of transformers
    pre: str                    # tokenizer.ggml.pre
    hidden: int = 64
    ffn: int = 128
    layers: int = 2
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 32
    vocab: int = 320
    context: int = 512
    tied: bool = False
    dtype: str = "float32"      # of the safetensors file
    bos: bool = False           # the tokenizer puts BOS before a text
    rope: dict = field(default_factory=lambda: {"rope_type": "default", "rope_theta": 10000.0})
    extra: dict = field(default_factory=dict)  # further fields of config.json
    config_version: int = 5     # 4: rope_theta and rope_scaling, as transformers wrote them before rope_parameters
    shard: str | None = None    # largest safetensors file
    gguf: tuple = ("f32", "f16", "q8_0")  # types of its GGUF files
    served: int = 0             # the longest sequence that the test serves, where that matters (longrope); 0 = context


def rope(kind, theta=10000.0, **values):
    return {"rope_type": kind, "rope_theta": theta, **values}


def llama(**values):
    return Case("llama", "llama-bpe", bos=True, **values)


LLAMA3_ROPE = rope("llama3", 500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=64)
YARN_ROPE = rope("yarn", factor=4.0, original_max_position_embeddings=64)
DEEPSEEK_YARN = rope("yarn", factor=4.0, original_max_position_embeddings=64, beta_fast=32.0, beta_slow=1.0,
                     mscale=0.707, mscale_all_dim=0.707)
GPT_OSS_YARN = rope("yarn", 150000.0, factor=8.0, original_max_position_embeddings=64, beta_fast=32.0, beta_slow=1.0,
                    truncate=False)
LATENT = {"kv_lora_rank": 32, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 24}


def gemma(family, **values):
    """Tied, normed with 1 + w, scores scaled by another number than the head width."""
    extra = {"sliding_window": 16, "query_pre_attn_scalar": 24, **values.pop("extra", {})}
    return Case(family, "qwen2", bos=True, tied=True, extra=extra, **values)


def gemma3(full, **values):
    """Rotation differs by kind of layer: `full` where everything is seen, a base of 10000 where a window is."""
    return gemma("gemma3_text", layers=6, rope={"full_attention": full, "sliding_attention": rope("default", 1e4)},
                 **values)


def phi3(original, **values):
    """longrope over all of a head, or with partial_rotary_factor over a part of it."""
    part = values.pop("part", 1.0)
    pairs = int(values.get("head_dim", 32) * part) // 2
    steps = np.linspace(0, 1, pairs)
    parameters = rope("longrope", short_factor=[round(1 + 0.25 * s, 4) for s in steps],
                      long_factor=[round(1 + 7 * s, 4) for s in steps], original_max_position_embeddings=original)
    if part != 1:
        parameters["partial_rotary_factor"] = part
    return Case("phi3", "llama-bpe", bos=True, rope=parameters,
                **{"hidden": 128, "extra": {"original_max_position_embeddings": original}, **values})


SOFTCAPS = {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0}
GRANITE = {"embedding_multiplier": 3.0, "attention_multiplier": 0.25, "residual_multiplier": 0.6, "logits_scaling": 2.0}
CASES = {
    "llama-gqa": llama(hidden=128, ffn=192, layers=3, config_version=4),
    "llama-mha": llama(kv_heads=4, head_dim=16, tied=True, dtype="float16"),
    "llama-one-kv-head": llama(hidden=192, ffn=256, heads=3, kv_heads=1, head_dim=64, vocab=512),
    "llama-wide": llama(hidden=256, ffn=512, heads=4, kv_heads=2, head_dim=64, vocab=512, tied=True, dtype="bfloat16"),
    "llama-biases": llama(extra={"attention_bias": True, "mlp_bias": True}),
    "llama-head-dim": llama(hidden=192, head_dim=32, heads=3, kv_heads=3),
    "llama-sharded": llama(hidden=128, layers=3, dtype="bfloat16", shard="100KB"),
    "llama-rope-llama3": llama(rope=LLAMA3_ROPE, config_version=4, dtype="bfloat16"),
    "llama-rope-linear": llama(rope=rope("linear", factor=4.0), config_version=4),
    "llama-rope-dynamic": llama(rope=rope("dynamic", factor=2.0), config_version=4),
    "llama-rope-yarn": llama(rope=YARN_ROPE),
    "mistral-window": Case("mistral", "gpt-2", bos=True, extra={"sliding_window": 16}, config_version=4),
    "mistral-no-window": Case("mistral", "gpt-2", bos=True, extra={"sliding_window": None}, rope=rope("default", 1e6)),
    "smollm": Case("llama", "smollm", hidden=192, ffn=512, layers=3, heads=3, kv_heads=1, head_dim=64, tied=True,
                   dtype="bfloat16", rope=rope("default", 100000.0)),
    "qwen2": Case("qwen2", "qwen2", hidden=128, ffn=256, rope=rope("default", 1e6), config_version=4),
    "qwen2-tied": Case("qwen2", "qwen2", hidden=256, ffn=256, heads=4, kv_heads=1, head_dim=64, vocab=333, tied=True,
                       dtype="bfloat16"),
    "qwen2-window": Case("qwen2", "qwen2", layers=3, hidden=128, gguf=(), extra={  # a window has no key in its GGUF
        "use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1}),
    "qwen2-yarn": Case("qwen2", "qwen2", hidden=128, rope=YARN_ROPE, config_version=4),
    "qwen3": Case("qwen3", "qwen2", hidden=128, ffn=192, head_dim=64, rope=rope("default", 1e6)),
    "qwen3-tied": Case("qwen3", "qwen2", hidden=256, ffn=512, heads=2, kv_heads=2, head_dim=128, vocab=333, tied=True,
                       dtype="bfloat16", config_version=4),
    "mixtral": Case("mixtral", "llama-bpe", bos=True, hidden=128, ffn=96, extra={
        "num_local_experts": 8, "num_experts_per_tok": 2}),
    "mixtral-bf16": Case("mixtral", "llama-bpe", bos=True, ffn=96, layers=3, dtype="bfloat16", config_version=4, extra={
        "num_local_experts": 3, "num_experts_per_tok": 2}),
    "qwen2-moe": Case("qwen2_moe", "qwen2", hidden=64, head_dim=16, ffn=128, extra={
        "num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 96}),
    "qwen2-moe-mixed": Case("qwen2_moe", "qwen2", hidden=64, head_dim=16, ffn=128, layers=3, gguf=(), extra={
        "num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True,
        "shared_expert_intermediate_size": 96, "mlp_only_layers": [1]}),
    "qwen3-moe": Case("qwen3_moe", "qwen2", hidden=64, ffn=128, tied=True, extra={
        "num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 32, "norm_topk_prob": True}),
    "deepseek-v2-lite": Case("deepseek_v2", "gpt-2", hidden=64, ffn=128, kv_heads=4, head_dim=16, layers=3, extra={
        **LATENT, "q_lora_rank": None, "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 32,
        "n_shared_experts": 2, "first_k_dense_replace": 1, "topk_method": "greedy", "n_group": 1, "topk_group": 1,
        "gguf_kv_b": True}),
    "deepseek-v2": Case("deepseek_v2", "gpt-2", hidden=64, ffn=128, kv_heads=4, head_dim=16, rope=DEEPSEEK_YARN, extra={
        **LATENT, "q_lora_rank": 32, "n_routed_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 32,
        "n_shared_experts": 2, "first_k_dense_replace": 1, "topk_method": "group_limited_greedy", "n_group": 4,
        "topk_group": 2, "routed_scaling_factor": 4.0}),
    "deepseek-v3": Case("deepseek_v3", "gpt-2", hidden=64, ffn=128, kv_heads=4, head_dim=16, layers=3,
                        rope=DEEPSEEK_YARN, extra={
        **LATENT, "q_lora_rank": 32, "n_routed_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 32,
        "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2}),
    "gpt-oss": Case("gpt_oss", "gpt-2", hidden=64, ffn=64, rope=GPT_OSS_YARN, gguf=("f32", "f16", "q8_0", "mxfp4"), extra={
        "num_local_experts": 8, "num_experts_per_tok": 3, "sliding_window": 8}),
    "gemma2": gemma("gemma2", extra=SOFTCAPS, layers=4),
    "gemma2-no-caps": gemma("gemma2", extra=dict.fromkeys(SOFTCAPS), gguf=(), dtype="bfloat16", head_dim=16),
    "gemma3": gemma3(rope("linear", 1e6, factor=8.0), dtype="bfloat16"),
    "gemma3-plain": gemma3(rope("default", 1e6), config_version=4),
    "phi3": Case("phi3", "llama-bpe", bos=True, hidden=128, extra={"sliding_window": 16}),
    "phi3-long": phi3(16, dtype="bfloat16"),
    "phi3-short": phi3(256, served=256),
    "phi4-mini": phi3(16, part=0.75, tied=True, kv_heads=1, dtype="float16", config_version=4),
    "granite": Case("granite", "gpt-2", hidden=128, tied=True, extra=GRANITE),
    "small-gemma2": gemma("gemma2", hidden=32, ffn=32, heads=2, kv_heads=1, dtype="bfloat16", extra=SOFTCAPS),
    "small-gemma3": gemma3(rope("linear", 1e6, factor=8.0), hidden=32, ffn=32, heads=2, kv_heads=1, dtype="bfloat16"),
    "small-phi3": phi3(16, part=0.75, hidden=64, ffn=64, heads=2, kv_heads=1, tied=True, dtype="bfloat16"),
    "small-granite": Case("granite", "gpt-2", hidden=32, ffn=32, heads=2, kv_heads=1, head_dim=16, tied=True,
                          dtype="bfloat16", extra=GRANITE),
    "small-llama": llama(ffn=64, heads=2, kv_heads=1, dtype="float16", tied=True, rope=LLAMA3_ROPE, config_version=4),
    "small-mistral": Case("mistral", "gpt-2", bos=True, ffn=64, heads=2, kv_heads=1, dtype="bfloat16", tied=True,
                          extra={"sliding_window": 16}),
    "small-qwen2": Case("qwen2", "qwen2", ffn=64, heads=2, kv_heads=1, dtype="bfloat16", tied=True, vocab=333,
                        config_version=4),
    "small-qwen3": Case("qwen3", "qwen2", ffn=64, heads=4, kv_heads=2, dtype="float16", tied=True),
    "small-deepseek": Case("deepseek_v3", "gpt-2", hidden=32, ffn=32, heads=2, kv_heads=2, head_dim=16, tied=True,
                           dtype="bfloat16", rope=DEEPSEEK_YARN, extra={
        **LATENT, "v_head_dim": 32, "q_lora_rank": 32, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
        "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2}),
    "small-gpt-oss": Case("gpt_oss", "gpt-2", hidden=32, ffn=32, heads=2, kv_heads=1, tied=True, dtype="bfloat16",
                          rope=GPT_OSS_YARN, extra={
        "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8}),
    "small-qwen2-moe": Case("qwen2_moe", "qwen2", head_dim=32, ffn=64, heads=2, kv_heads=1, dtype="bfloat16", tied=True,
                            extra={"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32,
                                   "shared_expert_intermediate_size": 32}),
}
# The cases small enough to be committed, each with the GGUF types it is committed in.
COMMITTED = {"small-llama": ["q8_0"], "small-mistral": [], "small-qwen2": ["f16"], "small-qwen3": ["q8_0"],
             "small-deepseek": ["q8_0"],
             "small-gpt-oss": ["mxfp4"], "small-qwen2-moe": ["q8_0"],
             "small-gemma2": ["q8_0"], "small-gemma3": ["q8_0"], "small-phi3": ["q8_0"], "small-granite": ["q8_0"]}


# ---- tokenizer -----------------------------------------------------------------------------------

def pre_tokenizer(pre):
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pre in ("gpt-2", "smollm"))
    first = {"gpt-2": [], "smollm": [pre_tokenizers.Digits(individual_digits=True)],
             "llama-bpe": [pre_tokenizers.Split(Regex(LLAMA3), "isolated")],
             "qwen2": [pre_tokenizers.Split(Regex(QWEN2), "isolated")]}[pre]
    return pre_tokenizers.Sequence(first + [byte_level])


def make_tokenizer(case):
    """Byte-level BPE: 256 bytes, as many merges as the vocabulary has room for, and the special tokens at the end."""
    tok = Tokenizer(models.BPE(ignore_merges=case.pre == "llama-bpe"))
    if case.pre == "qwen2":
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer, tok.decoder = pre_tokenizer(case.pre), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=case.vocab - len(SPECIAL), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator(CORPUS, trainer)
    for i in range(case.vocab - len(SPECIAL) - tok.get_vocab_size()):
        tok.add_tokens([f"<extra{i}>"])
    tok.add_special_tokens(list(SPECIAL))
    if case.bos:
        tok.post_processor = processors.TemplateProcessing(
            single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, tok.token_to_id(BOS))])
    assert tok.get_vocab_size() == case.vocab
    return tok


# ---- model ---------------------------------------------------------------------------------------

def make_config(case, tok):
    """Fields that a family's configuration class lacks are dropped by it."""
    return AutoConfig.for_model(
        case.family, vocab_size=case.vocab, hidden_size=case.hidden, intermediate_size=case.ffn,
        num_hidden_layers=case.layers, num_attention_heads=case.heads, num_key_value_heads=case.kv_heads,
        head_dim=case.head_dim, max_position_embeddings=case.context, rope_parameters=dict(case.rope),
        tie_word_embeddings=case.tied, rms_norm_eps=1e-5, bos_token_id=tok.token_to_id(BOS),
        eos_token_id=tok.token_to_id(EOS), pad_token_id=tok.token_to_id(PAD),
        **{k: v for k, v in case.extra.items() if not k.startswith("gguf_")})


def norm_mean(family, name):
    """Gemma's norms are stored less 1; what a tied model's sublayers add must outweigh the token itself."""
    if not family.startswith("gemma"):
        return 1
    return 4 if ".post_" in name else 0


def fill(case, model, generator, dtype):
    """Random weights, wide enough that attention is sharp and the logits are spread over several units.

    Only the parameters are rounded to dtype: a module's .to(dtype) would round its rotary frequencies as well."""
    biases = [(n, b) for n, b in model.named_buffers() if n.endswith("e_score_correction_bias")]
    for name, p in [*model.named_parameters(), *biases]:
        noise = torch.randn(p.shape, generator=generator)
        if name.endswith("norm.weight"):
            value = 0.2 * noise + norm_mean(case.family, name)
        elif name.endswith("bias") or name.endswith("sinks"):
            value = 0.3 * noise
        elif "embed" in name or "lm_head" in name:
            value = 0.25 * noise
        else:
            value = experts.spread(case, name, 1.6 / math.sqrt(experts.fan_in(case, name, p.shape)) * noise)
        p.data.copy_(value.to(dtype))


@torch.no_grad()
def answer(model, prompt_ids):
    """Logits of every prompt position (T, V), the greedy continuation and the margin of each of its steps."""
    ids, margins, first = torch.tensor([prompt_ids]), [], None
    for _ in range(GREEDY_TOKENS):
        logits = model(ids, use_cache=False).logits[0]
        first = logits if first is None else first
        best = logits[-1].topk(2)
        margins.append((best.values[0] - best.values[1]).item())
        ids = torch.cat([ids, best.indices[None, :1]], 1)
    return first.numpy(), ids[0, len(prompt_ids):].tolist(), margins


def new_model(case, tok):
    config = make_config(case, tok)
    config._attn_implementation = "eager"
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def make_model(name, case, tok, prompt_ids):
    """The first seeded model whose continuation is varied and nowhere near a tie, with its weights in case.dtype."""
    model, name_seed = new_model(case, tok), zlib.crc32(name.encode())
    for seed in range(400):
        fill(case, model, torch.Generator().manual_seed(name_seed + seed), getattr(torch, case.dtype))
        _, greedy, margins = answer(model, prompt_ids)
        if min(margins) >= MARGIN_MIN and len(set(greedy)) >= DISTINCT_MIN:
            return model
    raise SystemExit(f"{name}: no seed gives a continuation without a near tie")


# ---- files ---------------------------------------------------------------------------------------

def as_version_4(config):
    parameters = config.pop("rope_parameters")
    if "full_attention" in parameters:
        config["rope_local_base_freq"] = parameters["sliding_attention"]["rope_theta"]
        config.pop("layer_types")
        parameters = parameters["full_attention"]
    for moved in ("partial_rotary_factor", "original_max_position_embeddings"):
        if parameters["rope_type"] == "longrope" and moved in parameters:
            config[moved] = parameters.pop(moved)
    config["rope_theta"] = parameters.pop("rope_theta")
    config["rope_scaling"] = parameters if parameters["rope_type"] != "default" else None
    config["torch_dtype"] = config.pop("dtype")


def write_hugging_face(folder, case, tok, model):
    stored = copy.deepcopy(model).to(getattr(torch, case.dtype))
    stored.save_pretrained(folder, max_shard_size=case.shard or "1GB")
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token=BOS, eos_token=EOS, pad_token=PAD,
                                   clean_up_tokenization_spaces=False)
    fast.save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    if case.config_version == 4:
        as_version_4(config)
    path.write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)


def pairwise(array, heads):
    """Q or K rows (or bias) from transformers' half-split rotary order to the order of llama GGUF files."""
    shape = array.shape
    return array.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def llama3_divisors(case):
    """The tensor rope_freqs.weight of a GGUF file: what each rotary frequency is divided by."""
    r, half = case.rope, case.head_dim // 2
    wave = 2 * math.pi * r["rope_theta"] ** (np.arange(half) * 2.0 / case.head_dim)
    low = r["original_max_position_embeddings"] / r["low_freq_factor"]
    high = r["original_max_position_embeddings"] / r["high_freq_factor"]
    smooth = (r["original_max_position_embeddings"] / wave - r["low_freq_factor"]) / (
        r["high_freq_factor"] - r["low_freq_factor"])
    blended = 1 / ((1 - smooth) / r["factor"] + smooth)
    return np.where(wave < high, 1.0, np.where(wave > low, r["factor"], blended)).astype(np.float32)


def add_longrope(writer, case, rope):
    original = rope["original_max_position_embeddings"]
    writer.add_rope_scaling_orig_ctx_len(original)
    writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(case.context / original) / math.log(original)))
    for which in ("short", "long"):
        writer.add_tensor(f"rope_factors_{which}.weight", np.array(rope[f"{which}_factor"], np.float32))


def add_rope(writer, case):
    rope = case.rope.get("full_attention", case.rope)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_rope_dimension_count(int(case.head_dim * rope.get("partial_rotary_factor", 1)))
    kind = rope["rope_type"]
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    if kind == "longrope":
        add_longrope(writer, case, rope)
    if kind == "llama3":
        writer.add_tensor("rope_freqs.weight", llama3_divisors(case))


def add_metadata(writer, case, kind):
    writer.add_file_type({Kind.F32: gguf.LlamaFileType.ALL_F32, Kind.F16: gguf.LlamaFileType.MOSTLY_F16,
                          Kind.Q8_0: gguf.LlamaFileType.MOSTLY_Q8_0,
                          Kind.MXFP4: gguf.LlamaFileType.MOSTLY_MXFP4_MOE}[kind])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(case.vocab)
    writer.add_context_length(case.context)
    writer.add_embedding_length(case.hidden)
    writer.add_block_count(case.layers)
    writer.add_feed_forward_length(case.ffn)
    writer.add_head_count(case.heads)
    writer.add_head_count_kv(case.kv_heads)
    writer.add_key_length(case.head_dim)
    writer.add_value_length(case.head_dim)
    writer.add_layer_norm_rms_eps(1e-5)
    add_rope(writer, case)
    if case.family != "qwen2" and case.extra.get("sliding_window"):
        writer.add_sliding_window(case.extra["sliding_window"])
    add_multipliers(writer, case)


def add_multipliers(writer, case):
    if case.family == "gemma2":
        writer.add_attn_logit_softcapping(case.extra["attn_logit_softcapping"])
        writer.add_final_logit_softcapping(case.extra["final_logit_softcapping"])
    if case.family.startswith("gemma"):  # a number that the files of the released models need not hold
        writer.add_attention_scale(case.extra["query_pre_attn_scalar"] ** -0.5)
    if case.family == "granite":
        writer.add_embedding_scale(case.extra["embedding_multiplier"])
        writer.add_attention_scale(case.extra["attention_multiplier"])
        writer.add_residual_scale(case.extra["residual_multiplier"])
        writer.add_logit_scale(case.extra["logits_scaling"])


def add_vocabulary(writer, case, tok):
    tokens = sorted(tok.get_vocab(), key=tok.token_to_id)
    types = {t: gguf.TokenType.CONTROL for t in SPECIAL}
    types |= {t: gguf.TokenType.USER_DEFINED for t in tokens if t.startswith("<extra")}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(case.pre)
    writer.add_token_list(tokens)
    writer.add_token_types([types.get(t, gguf.TokenType.NORMAL) for t in tokens])
    writer.add_token_merges([" ".join(pair) for pair in json.loads(tok.to_str())["model"]["merges"]])
    writer.add_bos_token_id(tok.token_to_id(BOS))
    writer.add_eos_token_id(tok.token_to_id(EOS))
    writer.add_pad_token_id(tok.token_to_id(PAD))
    writer.add_add_bos_token(case.bos)


def write_special(writer, p, parts, join, kind):
    """A tensor that is several in GGUF, or lies there otherwise."""
    seen = []
    for name, array in parts:
        stored = experts.stored_type(name, array, kind)
        if stored == Kind.Q8_0 and array.shape[-1] % 32:
            stored = Kind.F16
        data = gguf.quants.quantize(np.ascontiguousarray(array), stored)
        seen.append(gguf.quants.dequantize(data, stored).reshape(array.shape))
        writer.add_tensor(name, data, raw_dtype=stored)
    p.data.copy_(torch.from_numpy(np.ascontiguousarray(join(seen))))


def write_gguf(path, case, tok, model, kind):
    """Writes the model and puts into it the values that a reader of the file will see."""
    other = {"mistral": "llama", "gemma3_text": "gemma3"}
    arch = experts.ARCHS.get(case.family, other.get(case.family, case.family))
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, arch.upper().replace("-", "_")), case.layers)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_name(path.parent.name)
    add_metadata(writer, case, kind)
    experts.add_keys(writer, case, model.config)
    add_vocabulary(writer, case, tok)
    biases = [(n, b) for n, b in model.named_buffers() if n.endswith("e_score_correction_bias")]
    for name, p in [*model.named_parameters(), *biases]:
        array, stored = p.detach().numpy(), kind if p.ndim == 2 and kind != Kind.MXFP4 else Kind.F32
        special = experts.tensors(case, name, array)
        if special:
            write_special(writer, p, *special, kind)
            continue
        p.data.copy_(torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(array, stored), stored)))
        if arch in ("llama", "granite") and ".q_proj." in name:
            array = pairwise(array, case.heads)
        if arch in ("llama", "granite") and ".k_proj." in name:
            array = pairwise(array, case.kv_heads)
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            array = array + 1
        data = gguf.quants.quantize(np.ascontiguousarray(array), stored)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


# ---- cases ---------------------------------------------------------------------------------------

def record(folder, variant, file, model, prompt_ids):
    logits, greedy, margins = answer(model, prompt_ids)
    logits.astype("<f4").tofile(folder / f"logits-{variant}.f32")
    return {"variant": variant, "model": file, "logits": f"logits-{variant}.f32", "greedy": greedy,
            "margins": [round(m, 4) for m in margins], "margin_min": round(min(margins), 4)}


def make_case(folder, name, case, kinds):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tok = make_tokenizer(case)
    prompt_ids = tok.encode(PROMPT).ids
    model = make_model(name, case, tok, prompt_ids)
    write_hugging_face(folder, case, tok, model)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    original = {k: v.clone() for k, v in model.state_dict().items()}
    variants = [record(folder, "hf", ".", model, prompt_ids)]
    for kind in kinds:
        model.load_state_dict(original)
        file = f"model-{kind}.gguf"
        write_gguf(folder / file, case, tok, model, Kind[kind.upper()])
        variants.append(record(folder, kind, file, model, prompt_ids))
        if kind == "mxfp4":
            experts.write_packed(folder / "packed", model)
            variants.append({**variants[-1], "variant": "hf-mxfp4", "model": "packed"})
    kind = case.rope.get("full_attention", case.rope)["rope_type"]
    expected = {"case": name, "family": case.family, "prompt": PROMPT, "prompt_ids": prompt_ids, "vocab": case.vocab,
                "rope": kind, "served": case.served, "variants": variants}
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    size = sum(f.stat().st_size for f in folder.iterdir())
    print(f"{name}: {len(prompt_ids)} prompt tokens, {size // 1024} KiB, margins",
          " ".join(f"{v['variant']}={v['margin_min']}" for v in variants), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--committed", action="store_true")
    parser.add_argument("--only", nargs="+", choices=list(CASES))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    out = args.out or ROOT / ("tests/golden/families" if args.committed else "build/golden/families")
    for name in args.only or (COMMITTED if args.committed else CASES):
        make_case(out / name, name, CASES[name], COMMITTED[name] if args.committed else CASES[name].gguf)


if __name__ == "__main__":
    main()
