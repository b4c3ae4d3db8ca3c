"""PyTorch's training step of exactly a recipe's model, as a peer: forward, backward, AdamW.

  python bench/peers/torch_step.py --recipe moby --mode fp32 --threads 2 [--compile] [--warmup 3]

Warms up, prints one JSON line {"type": "ready", ...}, then answers every line {"calls": N, "seconds": S} on its standard
input with one line {"type": "round", "samplesMs": [...], "peakBytes": ...}; it ends when its input does. Between rounds it
only waits, so that another program can be timed in turn.

The instruction set is the caller's choice by the environment (ATEN_CPU_CAPABILITY=avx2 holds ATen's and the compiler's
kernels); what was in force is printed. fp32 means fp32: matmul precision 'highest'. Tokens are random: the time of a step
does not depend on them. The peak is the high-water mark of this process (VmHWM), set back when a round begins.
"""

import argparse
import json
import math
import os
import sys
import time

import torch

from gpt import GPT, SHAPES, shape_of_recipe, with_sizes


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", required=True, help="built-in name (%s) or a recipe's JSON file" % ", ".join(SHAPES))
    parser.add_argument("--mode", choices=("fp32", "bf16"), default="fp32", help="bf16: autocast, fp32 master weights")
    parser.add_argument("--compile", action="store_true", help="torch.compile of the model (needs a C++ compiler)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--context", type=int)
    parser.add_argument("--sequences", type=int, help="sequences a unit")
    parser.add_argument("--units", type=int, help="units a step")
    return parser.parse_args()


def reset_peak():
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass  # not Linux: peak() then gives nothing


def peak():
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


def say(line):
    # JSON has no NaN: a loss that left the numbers (random tokens, no warm-up of the learning rate) becomes null.
    line = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in line.items()}
    print(json.dumps(line, allow_nan=False), flush=True)


def main():
    a = arguments()
    if a.recipe in SHAPES:
        shape = SHAPES[a.recipe]
    else:
        with open(a.recipe, encoding="utf8") as file:
            shape = shape_of_recipe(json.load(file))
    shape = with_sizes(shape, a.context, a.sequences, a.units)
    torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision("highest")
    torch.manual_seed(1)
    device = torch.device(a.device)
    model = GPT(shape).to(device)
    optimizer = torch.optim.AdamW(model.decay_groups(0.1), lr=1e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)
    loss_of = torch.compile(model) if a.compile else model
    sequences = shape.units_per_step * shape.sequences_per_unit
    tokens = torch.randint(0, shape.vocab, (sequences, shape.context + 1), device=device)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def step():
        start = time.perf_counter()
        with torch.autocast(a.device, dtype=torch.bfloat16, enabled=a.mode == "bf16"):
            loss = loss_of(inputs, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        if a.device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) * 1e3, value

    first, first_loss = step()
    warmup = [first]
    # Two calls at least; more only where they are quick.
    while len(warmup) < a.warmup and (len(warmup) < 2 or sum(warmup[1:]) < 5e3):
        warmup.append(step()[0])
    capability = torch.backends.cpu.get_cpu_capability()
    how = a.mode + (" compiled" if a.compile else "")
    held = ", ATen held to AVX2" if os.environ.get("ATEN_CPU_CAPABILITY") == "avx2" else ""
    say({
        "type": "ready",
        "name": f"PyTorch {torch.__version__} {how}{held}",
        "recipe": shape.name,
        "mode": a.mode,
        "compiled": a.compile,
        "device": torch.cuda.get_device_name() if a.device == "cuda" else "cpu",
        "capability": capability,
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokensPerStep": sequences * shape.context,
        "context": shape.context,
        "lossFirst": first_loss,
        "warmUpMs": [round(x, 3) for x in warmup],
    })
    for line in sys.stdin:
        request = json.loads(line)
        samples, loss, begin = [], None, time.perf_counter()
        reset_peak()
        while len(samples) < request["calls"] and (not samples or time.perf_counter() - begin < request["seconds"]):
            ms, loss = step()
            samples.append(round(ms, 3))
        say({"type": "round", "samplesMs": samples, "peakBytes": peak(), "loss": loss})


if __name__ == "__main__":
    main()
