"""Autograd of one unit in binary64 against the gradient that bench/experiments/gradients.mjs wrote: slope and relative error.

  python bench/peers/gradients.py FOLDER
"""

import json
import os
import re
import sys

import numpy as np
import torch

from gemma import Gemma
from gpt import GPT, Shape, layout


def main():
    folder = sys.argv[1]
    with open(os.path.join(folder, "recipe.json"), encoding="utf8") as file:
        recipe = json.load(file)
    shape = Shape(
        recipe["name"], recipe["vocab"], recipe["layers"], recipe["width"], recipe["heads"], recipe["hidden"],
        recipe["context"], recipe["sequencesPerUnit"], recipe["unitsPerStep"], recipe["norm"], recipe["bias"],
        recipe["normEpsilon"], recipe.get("gemma"),
    )
    model = GPT(shape) if shape.gemma is None else Gemma(shape)
    model.load_flat(torch.from_numpy(np.fromfile(os.path.join(folder, "theta.bin"), dtype="<f4")))
    model.double()
    tokens = np.fromfile(os.path.join(folder, "tokens.bin"), dtype="<u4").astype(np.int64)
    rows = torch.from_numpy(tokens.reshape(-1, shape.context + 1))
    loss = model(rows[:, :-1], rows[:, 1:])
    loss.backward()
    ours = np.fromfile(os.path.join(folder, "gradient.bin"), dtype="<f4").astype(np.float64)
    sorts, at = {}, 0
    for name, _, rows_, cols, _ in layout(shape)[0]:
        expected = model.t(name).grad.numpy().reshape(-1)
        found = ours[at : at + rows_ * cols]
        at += rows_ * cols
        sort = re.sub(r"^h\d+\.", "", name)
        sorts.setdefault(sort, []).append((found, expected))
    if at != len(ours):
        raise SystemExit(f"gradient: expected {at} elements, found {len(ours)}")
    print(f"loss: exact {recipe['loss']:.6f}, PyTorch {loss.item():.6f}")
    print("| tensor | slope | relative error |\n|---|---|---|")
    for sort, pairs in sorts.items():
        found = np.concatenate([f for f, _ in pairs])
        expected = np.concatenate([e for _, e in pairs])
        slope = found @ expected / (expected @ expected)
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        print(f"| `{sort}` | {slope:.4f} | {error:.4f} |")


if __name__ == "__main__":
    main()
