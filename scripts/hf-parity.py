# Small models of `transformers` with weights from integers, their losses and logits. Called by scripts/hf-parity.mjs.
#   python scripts/hf-parity.py CASES.json FOLDER      writes FOLDER/<case>/ (safetensors, config.json), FOLDER/results.json and peers.json
# Needs torch, transformers, peft, safetensors, numpy. The numbers are those of test/support/hfParity.ts.
import copy
import json
import os
import re
import sys

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers.pytorch_utils import Conv1D
from transformers.utils import logging
from transformers import AutoModelForCausalLM, Gemma3ForCausalLM, Gemma3TextConfig, GPT2Config, GPT2LMHeadModel

GOLDEN = np.uint32(0x9E3779B9)


def mix(x):
    x = x.astype(np.uint32)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def hash_name(name, seed):
    value = (0x811C9DC5 ^ seed) & 0xFFFFFFFF
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def magnitude(name, spread):
    if re.search(r"lora_[AB]\.weight$", name):
        return 3
    if re.search(r"(?:wte|embed_tokens)\.weight$", name):
        return 2
    if name.endswith("wpe.weight"):
        return 3
    if name.endswith("bias"):
        return 5
    if re.search(r"norm\.weight$|layernorm\.weight$|ln_[12f]\.weight$", name):
        return 3
    return 4 - spread


def values(name, shape, case):
    seed, dtype = case["seed"], case["dtype"]
    index = np.arange(int(np.prod(shape)), dtype=np.uint32)
    word = (mix(np.uint32(hash_name(name, seed)) + index * GOLDEN) >> np.uint32(16)).astype(np.int64) - 32768
    scale = 2.0 ** -(15 + magnitude(name, case["spread"]))
    around = 1 if re.search(r"ln_[12f]\.weight$", name) else 0
    if re.search(r"post_\w+_layernorm\.weight$", name):
        around = case["postGain"]
    if dtype == "BF16":
        word &= ~0xFF
        if around:
            word &= ~0x7FF
    return torch.from_numpy((around + word * scale).astype(np.float32)).reshape(shape)


def tokens(vocab, count, seed):
    index = np.arange(1, count + 1, dtype=np.uint32)
    return torch.from_numpy((mix(np.uint32(seed) + index * GOLDEN) % np.uint32(vocab)).astype(np.int64))


def build(case):
    config = dict(case["config"])
    if config["model_type"] == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(**config, attn_implementation="eager"))
        strip = "transformer."
    else:
        text = config.get("text_config", config)
        model = Gemma3ForCausalLM(Gemma3TextConfig(**text, attn_implementation="eager"))
        strip = "model."
    state = {}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name == "lm_head.weight":
                continue
            own = name[len(strip):]
            parameter.copy_(values(own, parameter.shape, case))
            state[case["prefix"] + own] = parameter
        table = next(p for n, p in model.named_parameters() if re.search(r"(?:wte|embed_tokens)\.weight$", n))
        if model.lm_head.weight.data_ptr() != table.data_ptr():
            model.lm_head.weight.copy_(table)
        if case["head"]:
            state["lm_head.weight"] = table.clone()
    return model.eval(), state


def adapt(case, model, strip, folder):
    # Adapters from integers on a model that was saved before, saved by peft.
    adapter = case["adapter"]
    config = LoraConfig(
        r=adapter["r"],
        lora_alpha=adapter["alpha"],
        target_modules=adapter["targets"],
        fan_in_fan_out=case["config"]["model_type"] == "gpt2",
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                own = name[len("base_model.model." + strip):].replace(".default.weight", ".weight")
                parameter.copy_(values(own, parameter.shape, case))
    adapted.save_pretrained(os.path.join(folder, "adapter"))
    return adapted.eval()


def save(case, model, state, folder):
    os.makedirs(folder)
    if case["shards"] > 1 and case["prefix"] in ("transformer.", "model."):
        # As transformers itself cuts and names them.
        size = sum(t.numel() * 4 for t in state.values())
        model.save_pretrained(folder, max_shard_size=f"{size // case['shards'] // 1000}KB")
    else:
        dtype = torch.bfloat16 if case["dtype"] == "BF16" else torch.float32
        kept = {name: tensor.detach().to(dtype).contiguous() for name, tensor in state.items()}
        if "text_config" in case["config"]:
            kept["vision_tower.patch.weight"] = torch.zeros(2, 2)
        save_file(kept, os.path.join(folder, "model.safetensors"), metadata={"format": "pt"})
        with open(os.path.join(folder, "config.json"), "w") as file:
            json.dump(case["config"], file)


def evaluate(case, model):
    context, windows = case["context"], case["windows"]
    vocab = (case["config"].get("text_config") or case["config"])["vocab_size"]
    text = tokens(vocab, context * windows + 1, case["seed"])
    total, logits = 0.0, []
    with torch.no_grad():
        for window in range(windows):
            part = text[window * context : (window + 1) * context + 1]
            out = model(part[None, :-1]).logits[0].double()
            total += torch.nn.functional.cross_entropy(out, part[1:], reduction="sum").item()
            logits.append(out)
    return total / (context * windows), logits


GROUP = 1024


def coded(x):
    # Rounded to 8-bit codes with one scale a group of a row, as docs/numerics.md has it for the operands of products.
    parts = []
    for part in x.split(GROUP, dim=-1):
        scale = part.abs().amax(dim=-1, keepdim=True).clamp(min=1e-30) / 127
        parts.append(torch.round(part / scale) * scale)
    return torch.cat(parts, dim=-1)


def code_products(model):
    # Everything stays fp32 but the operands of linear layers and of the head, which become codes: what codes alone do to logits.
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            weight, bias = coded(module.weight.detach()), module.bias
        elif isinstance(module, Conv1D):
            weight, bias = coded(module.weight.detach().T.contiguous()), module.bias
        else:
            continue
        module.forward = lambda x, weight=weight, bias=bias: torch.nn.functional.linear(coded(x), weight, bias)
    return model


def distance(logits, expected):
    found, truth = torch.cat(logits), torch.cat(expected)
    return (torch.linalg.norm(found - truth) / torch.linalg.norm(truth)).item()


def check_exports(cases, root):
    # Every model that was exported again is opened by transformers: the same logits but for the key bias, which is 0 there.
    worst = 0.0
    for case in cases:
        folder = os.path.join(root, case["name"], "exported")
        is_adapted = case["adapter"] is not None
        whole = os.path.join(root, case["name"]) if is_adapted else folder
        model, report = AutoModelForCausalLM.from_pretrained(whole, output_loading_info=True, attn_implementation="eager")
        if is_adapted:
            model = PeftModel.from_pretrained(model, folder)
            loaded = model.load_adapter(folder, "again")
            assert not loaded.unexpected_keys, (case["name"], loaded.unexpected_keys)
            assert not [key for key in loaded.missing_keys if "lora_" in key and ".again." in key], case["name"]
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            assert not report[key], (case["name"], key, report[key])
        case = {**case, "config": case["config"].get("text_config", case["config"])}
        _, logits = evaluate(case, model.eval())
        before = np.fromfile(os.path.join(root, case["name"], "logits.f32"), dtype=np.float32)
        after = np.stack([part.numpy() for part in logits]).ravel()
        error = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert error < 1e-5, (case["name"], error)
        worst = max(worst, error)
    print(f"Exported again and opened by transformers: {len(cases)} of {len(cases)}, logits within {worst:.0e} of the originals.")


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    cases = json.load(open(sys.argv[1]))
    root = sys.argv[2]
    if sys.argv[3:] == ["exported"]:
        return check_exports(cases, root)
    results, peers = {}, {}
    for case in cases:
        model, state = build(case)
        folder = os.path.join(root, case["name"])
        save(case, model, state, folder)
        if case["adapter"] is not None:
            strip = "transformer." if case["config"]["model_type"] == "gpt2" else "model."
            model = adapt(case, model, strip, folder)
        loss, logits = evaluate(case, model)
        np.stack([part.numpy().astype(np.float32) for part in logits]).tofile(os.path.join(folder, "logits.f32"))
        _, in_codes = evaluate(case, code_products(copy.deepcopy(model)))
        _, in_bf16 = evaluate(case, model.to(torch.bfloat16))
        peers[case["name"]] = {"codes": distance(in_codes, logits), "bf16": distance(in_bf16, logits)}
        results[case["name"]] = {"loss": loss, "logits": [round(x, 4) for x in logits[-1][-1].tolist()]}
    json.dump(results, open(os.path.join(root, "results.json"), "w"))
    json.dump(peers, open(os.path.join(root, "peers.json"), "w"))
    import peft
    import transformers

    print(f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}")


main()
