"""Trains an experiment folder in PyTorch as its user would, and prints held-out losses against the seconds of training.

  python bench/peers/train_timed.py .pogo/convergence/moby/seed-0 --mode bf16 --compile --threads 2

Fused AdamW with a global clip of the norm at 1, bf16 by autocast over fp32 weights, torch.compile where asked. Same tokens,
batches, initial weights and schedule as ours. Outside the clock: evaluation (always fp32), and two warm-up steps whose effect
is undone. One JSON line a measurement, as bench/convergence/runTimed.ts prints them.
"""

import argparse
import json
import time

import torch

from gpt import GPT
from torch_step import peak
from train_fp32 import Experiment, held_out_loss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--mode", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision("highest")
    experiment = Experiment(a.folder)
    spec = experiment.spec
    device = torch.device(a.device)
    model = GPT(experiment.shape).to(device)
    options = spec["optimizer"]

    def optimizer():
        groups = model.decay_groups(options["weightDecay"])
        betas = (options["beta1"], options["beta2"])
        return torch.optim.AdamW(groups, lr=1e-3, betas=betas, eps=options["epsilon"], fused=True)

    loss_of = torch.compile(model) if a.compile else model

    def step(adam, inputs, targets, rate):
        for group in adam.param_groups:
            group["lr"] = rate
        with torch.autocast(a.device, dtype=torch.bfloat16, enabled=a.mode == "bf16"):
            loss = loss_of(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adam.step()
        adam.zero_grad(set_to_none=True)
        value = loss.item()
        if a.device == "cuda":
            torch.cuda.synchronize()
        return value

    def batch(index):
        inputs, targets = experiment.sequences(experiment.batches[index])
        return inputs.to(device), targets.to(device)

    def say(**fields):
        print(json.dumps(fields), flush=True)

    model.load_flat(experiment.initial.to(device))
    warm = optimizer()
    begin = time.perf_counter()
    for index in range(2):
        step(warm, *batch(index), 1e-5)
    warm_up = time.perf_counter() - begin
    model.load_flat(experiment.initial.to(device))
    adam = optimizer()
    how = a.mode + (" compiled" if a.compile else "")
    say(type="start", name=f"PyTorch {torch.__version__} {how}", threads=torch.get_num_threads(),
        parameters=sum(p.numel() for p in model.parameters()), warmUpSeconds=round(warm_up, 2))
    say(type="heldOut", step=0, loss=held_out_loss(model, experiment), trainSeconds=0)
    seconds = 0.0
    for index in range(spec["steps"]):
        inputs, targets = batch(index)
        start = time.perf_counter()
        step(adam, inputs, targets, float(experiment.rates[min(index, len(experiment.rates) - 1)]))
        seconds += time.perf_counter() - start
        if (index + 1) % spec["measureEvery"] == 0 or index + 1 == spec["steps"]:
            say(type="heldOut", step=index + 1, loss=held_out_loss(model, experiment), trainSeconds=seconds)
    say(type="end", peakBytes=peak())


if __name__ == "__main__":
    main()
