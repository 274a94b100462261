#!/usr/bin/env python3
"""Make random LoRA adapters with PEFT for the committed small models, and write down what the models answer with them.

  adapter_vectors.py          -> tests/golden/adapters/<model>/

Of each model folder: <adapter>/ in PEFT's form, <adapter>.gguf where one is made, and expected.json with the logits'
files: f32 rows of the positions listed there, of the prompt that the model's own expected.json has.
"""
import json
import shutil
import zlib
from pathlib import Path

import gguf
import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from family_vectors import pairwise

HERE = Path(__file__).resolve().parent
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "plain": dict(r=4, lora_alpha=8, target_modules=ALL),
    "pattern": dict(r=2, lora_alpha=3, use_rslora=True, target_modules=["q_proj", "v_proj", "down_proj"],
                    rank_pattern={"q_proj": 6}, alpha_pattern={"model.layers.1.mlp.down_proj": 5}),
    "wide": dict(r=16, lora_alpha=16, target_modules=["k_proj", "o_proj"]),
}
FUSED = dict(r=4, lora_alpha=8, target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])
ATTENTION = dict(r=4, lora_alpha=8, target_modules=ALL[:4])
OF_MODEL = {"small-phi3": FUSED, "small-qwen2-moe": ATTENTION}  # "plain" there
MODELS = {"small-llama": ["plain", "pattern", "wide"], "small-qwen2": ["plain", "pattern"], "small-qwen3": ["plain"],
          "small-gemma2": ["plain"], "small-gemma3": ["plain"], "small-granite": ["plain"], "small-phi3": ["plain"],
          "small-qwen2-moe": ["plain"]}
DTYPES = {"plain": torch.float32, "pattern": torch.bfloat16, "wide": torch.float16}
POSITIONS = 8


def fill(model, seed, dtype):
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data = (torch.randn(p.shape, generator=generator) * 0.2).to(dtype).float()


def save_folder(folder, model, dtype):
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    from safetensors.torch import load_file, save_file
    path = folder / "adapter_model.safetensors"
    save_file({k: v.to(dtype).contiguous() for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
    config = folder / "adapter_config.json"
    fields = json.loads(config.read_text())
    fields["base_model_name_or_path"] = None
    config.write_text(json.dumps(fields, indent=1, sort_keys=True) + "\n")


def save_gguf(path, model, config, alpha, arch="llama"):
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, arch.upper()), config.num_hidden_layers)
    writer = gguf.GGUFWriter(path, arch)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, p in model.named_parameters():
        if "lora_" not in name:
            continue
        module, half = name.removeprefix("base_model.model.").split(".lora_")
        array = p.detach().numpy()
        if half.startswith("B") and module.endswith("q_proj"):
            array = pairwise(array, config.num_attention_heads)
        if half.startswith("B") and module.endswith("k_proj"):
            array = pairwise(array, config.num_key_value_heads)
        base = names.get_name(module + ".weight", try_suffixes=(".weight",))
        writer.add_tensor(f"{base}.lora_{half[0].lower()}", np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(model_name, adapter, out):
    family = HERE / "families" / model_name
    settings = OF_MODEL.get(model_name, ADAPTERS[adapter])
    model = AutoModelForCausalLM.from_pretrained(family, dtype=torch.float32, attn_implementation="eager").eval()
    ids = json.loads((family / "expected.json").read_text())["prompt_ids"]
    lora = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", **settings)).eval()
    fill(lora, zlib.crc32(f"{model_name}/{adapter}".encode()), DTYPES[adapter])
    save_folder(out / adapter, lora, DTYPES[adapter])
    files = [adapter]
    if model_name == "small-llama" and adapter == "plain":
        save_gguf(out / "plain.gguf", lora, model.config, settings["lora_alpha"])
        files.append("plain.gguf")
    with torch.no_grad():
        logits = lora(torch.tensor([ids])).logits[0].numpy()
    positions = np.linspace(0, len(ids) - 1, POSITIONS).astype(int)
    logits[positions].astype("<f4").tofile(out / f"logits-{adapter}.f32")
    return {"adapter": adapter, "files": files, "positions": positions.tolist(), "logits": f"logits-{adapter}.f32"}


def main():
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    for model, adapters in MODELS.items():
        out = HERE / "adapters" / model
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        cases = [make(model, adapter, out) for adapter in adapters]
        (out / "expected.json").write_text(json.dumps({"model": model, "cases": cases}) + "\n")
        print(model, sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) // 1024, "KiB")


if __name__ == "__main__":
    main()
