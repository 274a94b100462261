"""How models with experts, latent attention or sinks are written to GGUF: tensors and keys, for family_vectors.py."""
import re
import shutil

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import save_file

ARCHS = {"mixtral": "llama", "qwen2_moe": "qwen2moe", "qwen3_moe": "qwen3moe", "deepseek_v2": "deepseek2",
         "deepseek_v3": "deepseek2", "gpt_oss": "gpt-oss"}

# Tensors of a layer: transformers' name in memory -> GGUF's. Only matrices that GGUF files quantise may change type.
NAMES = {
    "mlp.gate.weight": "ffn_gate_inp.weight",
    "mlp.router.weight": "ffn_gate_inp.weight",
    "mlp.router.bias": "ffn_gate_inp.bias",
    "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.experts.down_proj": "ffn_down_exps.weight",
    "mlp.experts.down_proj_bias": "ffn_down_exps.bias",
    "mlp.shared_expert_gate.weight": "ffn_gate_inp_shexp.weight",
    "self_attn.sinks": "attn_sinks.weight",
    "self_attn.q_a_proj.weight": "attn_q_a.weight",
    "self_attn.q_a_layernorm.weight": "attn_q_a_norm.weight",
    "self_attn.q_b_proj.weight": "attn_q_b.weight",
    "self_attn.kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight",
    "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
}
PLAIN = ("ffn_gate_inp", "_norm.", ".bias", "attn_sinks")  # stay f32


def one(name, array):
    return [(name, array)], lambda arrays: arrays[0]


def gate_up(case, suffix, array):
    """Gate and up, which transformers keeps in one tensor: one after the other, or in turn (gpt-oss)."""
    names = [f"ffn_gate_exps.{suffix}", f"ffn_up_exps.{suffix}"]
    if case.family == "gpt_oss":
        rows = array.swapaxes(1, 2) if array.ndim == 3 else array
        parts = [rows[:, 0::2], rows[:, 1::2]]

        def join(arrays):
            rows = np.stack(arrays, 2).reshape(arrays[0].shape[0], -1, *arrays[0].shape[2:])
            return rows.swapaxes(1, 2) if rows.ndim == 3 else rows
        return list(zip(names, parts)), join
    return list(zip(names, np.split(array, 2, axis=1))), lambda arrays: np.concatenate(arrays, 1)


def latent(case, array):
    """kv_b_proj as one matrix for the keys of each head, transposed, and one for the values."""
    if case.extra.get("gguf_kv_b"):
        return one("attn_kv_b.weight", array)
    nope, heads = case.extra["qk_nope_head_dim"], case.heads
    both = array.reshape(heads, -1, array.shape[1])
    parts = [("attn_k_b.weight", both[:, :nope].swapaxes(1, 2)), ("attn_v_b.weight", both[:, nope:])]
    return parts, lambda a: np.concatenate([a[0].swapaxes(1, 2), a[1]], 1).reshape(array.shape)


def tensors(case, name, array):
    """[(GGUF name, array)] and the function that turns such arrays back into the tensor; None for the usual tensors."""
    match = re.match(r"model\.layers\.(\d+)\.(.*)", name)
    if case.family not in ARCHS or not match:
        return None
    layer, name = match.groups()
    shared = re.match(r"mlp\.shared_experts?\.(gate|up|down)_proj\.weight", name)
    if shared:
        parts, join = one(f"ffn_{shared[1]}_shexp.weight", array)
    elif name.startswith("mlp.experts.gate_up_proj"):
        parts, join = gate_up(case, "bias" if name.endswith("bias") else "weight", array)
    elif name == "mlp.experts.down_proj" and case.family == "gpt_oss":
        parts, join = [("ffn_down_exps.weight", array.swapaxes(1, 2))], lambda arrays: arrays[0].swapaxes(1, 2)
    elif name == "self_attn.kv_b_proj.weight":
        parts, join = latent(case, array)
    elif name == "mlp.shared_expert_gate.weight":
        parts, join = [(NAMES[name], array[0])], lambda arrays: arrays[0][None]
    elif name == "post_attention_layernorm.weight" and case.family == "gpt_oss":
        parts, join = one("post_attention_norm.weight", array)
    elif name in NAMES:
        parts, join = one(NAMES[name], array)
    else:
        return None
    return [(f"blk.{layer}.{part}", values) for part, values in parts], join


def stored_type(gguf_name, array, kind):
    """The type of a tensor in a file of a kind: mxfp4 files have only their experts in it."""
    if array.ndim < 2 or any(part in gguf_name for part in PLAIN):
        return Kind.F32
    if kind == Kind.MXFP4 and "_exps." not in gguf_name:
        return Kind.F32
    return kind


def pack(array):
    """Blocks and scales of gpt-oss folders: rows of 32-element groups, the earlier of two levels in the low half."""
    data = gguf.quants.quantize(np.ascontiguousarray(array), Kind.MXFP4).reshape(*array.shape[:-1], -1, 17)
    low, high = data[..., 1:] & 15, data[..., 1:] >> 4
    levels = np.concatenate([low, high], -1)
    return levels[..., 0::2] | levels[..., 1::2] << 4, data[..., 0]


def write_packed(folder, model):
    """The model as gpt-oss is published: a folder with MXFP4 experts."""
    folder.mkdir()
    tensors = {}
    for name, p in model.named_parameters():
        if re.search(r"experts\.(gate_up|down)_proj$", name):
            blocks, scales = pack(p.detach().numpy().swapaxes(1, 2))
            tensors[name + "_blocks"] = torch.from_numpy(blocks)
            tensors[name + "_scales"] = torch.from_numpy(np.ascontiguousarray(scales))
        else:
            tensors[name] = p.detach().contiguous()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder.parent / file, folder / file)


def add_latent_keys(writer, case):
    e = case.extra
    writer.add_head_count_kv(1)
    writer.add_key_length(e["kv_lora_rank"] + e["qk_rope_head_dim"])
    writer.add_value_length(e["kv_lora_rank"])
    writer.add_key_length_mla(e["qk_nope_head_dim"] + e["qk_rope_head_dim"])
    writer.add_value_length_mla(e["v_head_dim"])
    writer.add_kv_lora_rank(e["kv_lora_rank"])
    if e.get("q_lora_rank"):
        writer.add_q_lora_rank(e["q_lora_rank"])
    writer.add_rope_dimension_count(e["qk_rope_head_dim"])
    if case.rope.get("mscale_all_dim"):
        writer.add_rope_scaling_yarn_log_mul(0.1 * case.rope["mscale_all_dim"])


def add_router_keys(writer, case, config):
    e = case.extra
    v3 = case.family == "deepseek_v3"
    writer.add_leading_dense_block_count(e["first_k_dense_replace"])
    writer.add_expert_shared_count(e["n_shared_experts"])
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    writer.add_expert_weights_norm(v3)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if v3 else gguf.ExpertGatingFuncType.SOFTMAX)
    if v3 or config.topk_method != "greedy":
        writer.add_expert_group_count(e["n_group"])
        writer.add_expert_group_used_count(e["topk_group"])


def add_keys(writer, case, config):
    """Keys of experts and of what comes with them; after the usual keys, of which it replaces some."""
    e = case.extra
    if case.family not in ARCHS:
        return
    writer.add_expert_count(next(e[k] for k in ("num_local_experts", "num_experts", "n_routed_experts") if k in e))
    writer.add_expert_used_count(e["num_experts_per_tok"])
    if "moe_intermediate_size" in e:
        writer.add_expert_feed_forward_length(e["moe_intermediate_size"])
    if "shared_expert_intermediate_size" in e:
        writer.add_expert_shared_feed_forward_length(e["shared_expert_intermediate_size"])
    if case.family == "gpt_oss":
        writer.add_expert_feed_forward_length(case.ffn)
        writer.add_sliding_window(e["sliding_window"])
    if case.family.startswith("deepseek"):
        add_latent_keys(writer, case)
        add_router_keys(writer, case, config)


def fan_in(case, name, shape):
    """Inputs of a matrix: the last dimension, but for gpt-oss' experts, which lie transposed."""
    return shape[1] if case.family == "gpt_oss" and ".experts." in name else shape[-1]


def spread(case, name, value):
    """Routers get wider logits, so that no choice of experts is a near tie."""
    return value * 2 if re.search(r"mlp\.(gate|router)\.weight", name) else value
