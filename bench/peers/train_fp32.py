"""Trains a small GPT in PyTorch fp32 on exactly the data, the initial weights and the schedule of an experiment folder.

  python bench/peers/train_fp32.py .pogo/experiments/moby/seed-0 [--threads 1] [--gradients 4bit]

The convergence peer of the open rules in docs/numerics.md: same tokens, same batches in the same order, same initial
weights, same optimizer (AdamW with the leaf-local clipping of commitLeaves, docs/numerics.md), fp32 arithmetic of
PyTorch. The folder's format is stated in bench/experiments/README.md. Writes result-fp32.jsonl into the folder, one JSON line a
measurement; the file appears only when the run is complete, so that an interrupted run starts again.
"""

import argparse
import json
import math
import os
import time

import numpy as np
import torch

from gemma import Gemma
from gpt import GPT, Shape, layout

LEAF = 256


class LeafAdamW:
    """AdamW over one flat vector with clipping local to leaves of 256 parameters (docs/numerics.md, commitLeaves)."""

    def __init__(self, model, options):
        self.model = model
        tensors, length = layout(model.shape)
        self.length = length
        self.beta1, self.beta2 = options["beta1"], options["beta2"]
        self.epsilon = options["epsilon"]
        self.decay = torch.zeros(length)
        for _, offset, rows, cols, decay in tensors:
            if decay:
                self.decay[offset : offset + rows * cols] = options["weightDecay"]
        self.m, self.v = torch.zeros(length), torch.zeros(length)
        self.theta = model.store_flat()
        self.power1, self.power2 = 1.0, 1.0

    @torch.no_grad()
    def step(self, gradient, learning_rate):
        """gradient: fp32 [length], mean over the step's tokens. Returns the share of leaves that were clipped."""
        self.power1 *= self.beta1
        self.power2 *= self.beta2
        g = gradient
        self.v.mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        v_hat = self.v / (1 - self.power2)
        bound = 4 * v_hat.view(-1, LEAF).sum(1)
        ratio = torch.where(bound > 0, (g.view(-1, LEAF).square().sum(1) / bound.clamp_min(1e-38)).sqrt(), torch.zeros_like(bound))
        scale = torch.where(ratio > 1, 1 / ratio.clamp_min(1), torch.ones_like(ratio))
        g = (g.view(-1, LEAF) * scale[:, None]).view(-1)
        self.m.mul_(self.beta1).add_(g, alpha=1 - self.beta1)
        update = (self.m / (1 - self.power1)) / (v_hat.sqrt() + self.epsilon)
        self.theta.sub_(learning_rate * (update + self.decay * self.theta))
        self.model.load_flat(self.theta)
        return (ratio > 1).float().mean().item()


def four_bit(flat, generator):
    """Stochastic rounding to 4 bits in blocks of 64 (independent uniforms): the gradient stream's effect alone."""
    blocks = flat.view(-1, 64)
    scale = blocks.abs().amax(1, keepdim=True).clamp_min(1e-30) / 7
    noise = torch.rand(blocks.shape, generator=generator)
    return (torch.floor(blocks / scale + noise).clamp_(-7, 7) * scale).view(-1)


class Experiment:
    def __init__(self, folder):
        self.folder = folder
        with open(os.path.join(folder, "experiment.json"), encoding="utf8") as file:
            self.spec = json.load(file)
        s = self.spec["model"]
        self.shape = Shape(
            self.spec["name"], s["vocab"], s["layers"], s["width"], s["heads"], s["hidden"], s["context"],
            self.spec["sequencesPerUnit"], self.spec["unitsPerStep"], s["norm"], s["bias"], s["normEpsilon"], s.get("gemma"),
        )
        self.tokens = np.fromfile(self.path("tokens"), dtype="<u2").astype(np.int64)
        per_step = self.shape.sequences_per_unit * self.shape.units_per_step
        self.batches = np.fromfile(self.path("batches"), dtype="<u8").astype(np.int64).reshape(-1, per_step)
        self.held_out = np.fromfile(self.path("heldOut"), dtype="<u8").astype(np.int64)
        self.rates = np.fromfile(self.path("learningRates"), dtype="<f4")
        self.initial = torch.from_numpy(np.fromfile(self.path("initial"), dtype="<f4"))
        length = layout(self.shape)[1]
        if len(self.initial) != length:
            raise SystemExit(f"initial weights: expected {length} elements of this layout, found {len(self.initial)}")

    def path(self, key):
        return os.path.join(self.folder, self.spec["files"][key])

    def sequences(self, offsets):
        """offsets [n] → inputs, targets int64 [n, context]."""
        rows = np.stack([self.tokens[o : o + self.shape.context + 1] for o in offsets])
        rows = torch.from_numpy(rows)
        return rows[:, :-1].contiguous(), rows[:, 1:].contiguous()


@torch.no_grad()
def held_out_loss(model, experiment, batch=16):
    total, offsets = 0.0, experiment.held_out
    for i in range(0, len(offsets), batch):
        part = offsets[i : i + batch]
        total += model(*experiment.sequences(part)).item() * len(part)
    return total / len(offsets)


def flat_gradient(model, length):
    flat = torch.zeros(length)
    for name, offset, rows, cols, _ in layout(model.shape)[0]:
        p = model.t(name)
        flat[offset : offset + rows * cols] = p.grad.reshape(-1)
        p.grad = None
    return flat


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, help="default: all of the experiment")
    parser.add_argument("--gradients", choices=("fp32", "4bit"), default="fp32")
    parser.add_argument("--run", help="name of the run and its result file (default: fp32 or fp32-4bit)")
    parser.add_argument("--evaluate", metavar="FILE", help="only the held-out loss of these weights (raw fp32, our layout)")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_float32_matmul_precision("highest")
    experiment = Experiment(a.folder)
    spec, shape = experiment.spec, experiment.shape
    model = GPT(shape) if shape.gemma is None else Gemma(shape)
    if a.evaluate:
        model.load_flat(torch.from_numpy(np.fromfile(a.evaluate, dtype="<f4")))
        print(json.dumps({"type": "heldOut", "experiment": spec["name"], "seed": spec["seed"], "file": a.evaluate, "loss": held_out_loss(model, experiment)}))
        return
    model.load_flat(experiment.initial)
    optimizer = LeafAdamW(model, spec["optimizer"])
    ema, ema_every, ema_decay = experiment.initial.clone(), spec["ema"]["every"], spec["ema"]["decay"]
    generator = torch.Generator().manual_seed(spec["seed"] + 1000)
    label = a.run or ("fp32" if a.gradients == "fp32" else "fp32-4bit")
    final = os.path.join(a.folder, f"result-{label}.jsonl")
    partial = final + ".partial"
    steps = min(a.steps or spec["steps"], spec["steps"])
    start = time.perf_counter()
    with open(partial, "w", encoding="utf8") as out:

        def emit(**fields):
            line = json.dumps({"run": label, "experiment": spec["name"], "seed": spec["seed"], **fields})
            out.write(line + "\n")
            out.flush()
            print(line, flush=True)

        def measure(step):
            raw = held_out_loss(model, experiment)
            model.load_flat(ema)
            smooth = held_out_loss(model, experiment)
            model.load_flat(optimizer.theta)
            emit(type="heldOut", step=step, raw=raw, ema=smooth, seconds=round(time.perf_counter() - start, 1))

        measure(0)
        for step in range(steps):
            loss = model(*experiment.sequences(experiment.batches[step]))
            if not math.isfinite(loss.item()):
                raise SystemExit(f"loss is not finite at step {step}")
            loss.backward()
            gradient = flat_gradient(model, optimizer.length)
            if a.gradients == "4bit":
                gradient = four_bit(gradient, generator)
            clipped = optimizer.step(gradient, float(experiment.rates[min(step, len(experiment.rates) - 1)]))
            done = step + 1
            if done % ema_every == 0:
                ema.mul_(ema_decay).add_(optimizer.theta, alpha=1 - ema_decay)
            if done % 10 == 0 or done == 1:
                emit(type="train", step=done, loss=loss.item(), clipped=round(clipped, 4))
            if done % spec["measureEvery"] == 0 or done == steps:
                measure(done)
    os.replace(partial, final)


if __name__ == "__main__":
    main()
