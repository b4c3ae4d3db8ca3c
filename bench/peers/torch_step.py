"""Times one PyTorch training step of exactly a recipe's model: forward, backward, AdamW. Prints one JSON line.

  python bench/peers/torch_step.py --recipe moby --mode fp32 --threads 2 [--compile] [--steps 20] [--warmup 3]

The instruction set is the caller's choice by the environment (ATEN_CPU_CAPABILITY=avx2 and, for the GEMMs of oneDNN and
MKL, ONEDNN_MAX_CPU_ISA=AVX2 and MKL_ENABLE_INSTRUCTIONS=AVX2); what was in force is printed. fp32 means fp32: matmul
precision 'highest'. Tokens are random: the time of a step does not depend on them.
"""

import argparse
import json
import os
import resource
import statistics
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
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=120.0, help="stops after this time with at least 3 samples")
    parser.add_argument("--context", type=int)
    parser.add_argument("--sequences", type=int, help="sequences a unit")
    parser.add_argument("--units", type=int, help="units a step")
    return parser.parse_args()


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

    warmup = [step()[0] for _ in range(a.warmup)]
    samples, losses, begin = [], [], time.perf_counter()
    while len(samples) < a.steps and (len(samples) < 3 or time.perf_counter() - begin < a.seconds):
        ms, loss = step()
        samples.append(ms)
        losses.append(loss)
    median = statistics.median(samples)
    # Linux reports KiB, macOS bytes.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({
        "type": "peer",
        "peer": "pytorch",
        "version": torch.__version__,
        "recipe": shape.name,
        "mode": a.mode,
        "compiled": a.compile,
        "device": torch.cuda.get_device_name() if a.device == "cuda" else "cpu",
        "capability": torch.backends.cpu.get_cpu_capability(),
        "environment": {k: os.environ[k] for k in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS") if k in os.environ},
        "threads": torch.get_num_threads(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "tokensPerStep": sequences * shape.context,
        "context": shape.context,
        "warmupMs": [round(x, 3) for x in warmup],
        "samplesMs": [round(x, 3) for x in samples],
        "medianMs": round(median, 3),
        "tokensPerSecond": round(sequences * shape.context / median * 1e3, 1),
        "lossFirst": losses[0],
        "lossLast": losses[-1],
        "peakRssBytes": peak,
    }), flush=True)


if __name__ == "__main__":
    main()
