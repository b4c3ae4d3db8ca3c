"""The built-in recipes' model in PyTorch: the foreign system that benches and experiments compare with.

Pre-norm GPT: RMSNorm with a gain (LayerNorm with gain and bias for GPT-2), learned positions, GELU in its tanh form,
head tied to the token table. Parameter names, shapes and the flat order are those of `src/model/layout.ts`, so a flat
fp32 vector of ours loads into this model and back.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Shape:
    """What fixes the model and the tokens of one step. All sizes are counts of elements, sequences or units."""

    name: str
    vocab: int
    layers: int
    width: int
    heads: int
    hidden: int
    context: int
    sequences_per_unit: int
    units_per_step: int
    norm: str = "rms"
    bias: bool = False
    norm_epsilon: float = 1e-5
    # Options of the family gemma3 as a recipe's JSON view names them; None: the family gpt.
    gemma: dict | None = None

    @property
    def padded_vocab(self) -> int:
        return (self.vocab + 63) // 64 * 64

    @property
    def tokens_per_step(self) -> int:
        return self.units_per_step * self.sequences_per_unit * self.context


SHAPES = {
    s.name: s
    for s in (
        Shape("tiny", 256, 2, 64, 1, 256, 64, 2, 2),
        Shape("moby", 256, 4, 128, 2, 512, 128, 16, 2),
        Shape("gpt-5m", 256, 6, 256, 4, 1024, 256, 8, 2),
        Shape("gpt-19m", 256, 6, 512, 8, 2048, 256, 4, 2),
        # The CPU form of the bench: 2 sequences of 512 tokens a unit, 2 units a step.
        Shape("gpt2-124m", 50257, 12, 768, 12, 3072, 512, 2, 2, norm="layer", bias=True),
    )
}


def shape_of_recipe(recipe: dict) -> Shape:
    """Reads the fields of a recipe's JSON view that matter here; every field missing from it is a KeyError."""
    base = SHAPES.get(recipe["name"])
    epsilon = base.norm_epsilon if base else 1e-5
    if "normEpsilonBits" in recipe:
        bits = recipe["normEpsilonBits"]
        bits = int(bits, 16) if isinstance(bits, str) else int(bits)
        epsilon = torch.tensor([bits], dtype=torch.int32).view(torch.float32).item()
    return Shape(
        recipe["name"], recipe["vocab"], recipe["layers"], recipe["width"], recipe["heads"], recipe["hidden"],
        recipe["context"], recipe["sequencesPerUnit"], recipe["unitsPerStep"], recipe["norm"], recipe["bias"], epsilon,
    )


def with_sizes(shape: Shape, context=None, sequences=None, units=None) -> Shape:
    """The same model with another number of tokens a step."""
    return replace(
        shape,
        context=context or shape.context,
        sequences_per_unit=sequences or shape.sequences_per_unit,
        units_per_step=units or shape.units_per_step,
    )


def layout(shape: Shape):
    """[(name, offset, rows, cols, decay)] in flat order; a tensor starts at a multiple of 256 elements (a leaf)."""
    w, names = shape.width, []
    names.append(("wte", shape.padded_vocab, w, True))
    if shape.gemma is None:
        names.append(("wpe", shape.context, w, True))

    def norm(prefix, size=w):
        names.append((prefix + ".gain", 1, size, False))
        if shape.norm == "layer":
            names.append((prefix + ".bias", 1, w, False))

    def linear(prefix, rows, cols):
        names.append((prefix + ".weight", rows, cols, True))
        if shape.bias:
            names.append((prefix + ".bias", 1, rows, False))

    for i in range(shape.layers if shape.gemma else 0):
        size, keys = shape.gemma["headSize"], shape.gemma["keyValueHeads"]
        norm(f"h{i}.norm1")
        linear(f"h{i}.qkv", (shape.heads + 2 * keys) * size, w)
        norm(f"h{i}.qNorm", size)
        norm(f"h{i}.kNorm", size)
        linear(f"h{i}.o", w, shape.heads * size)
        norm(f"h{i}.postNorm1")
        norm(f"h{i}.norm2")
        linear(f"h{i}.fc", 2 * shape.hidden, w)
        linear(f"h{i}.proj", w, shape.hidden)
        norm(f"h{i}.postNorm2")
    for i in range(0 if shape.gemma else shape.layers):
        norm(f"h{i}.norm1")
        linear(f"h{i}.qkv", 3 * w, w)
        linear(f"h{i}.o", w, w)
        norm(f"h{i}.norm2")
        linear(f"h{i}.fc", shape.hidden, w)
        linear(f"h{i}.proj", w, shape.hidden)
    norm("norm")
    out, offset = [], 0
    for name, rows, cols, decay in names:
        out.append((name, offset, rows, cols, decay))
        offset = (offset + rows * cols + 255) // 256 * 256
    return out, offset


class GPT(nn.Module):
    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape
        self.tensors = nn.ParameterDict()
        for name, _, rows, cols, _ in layout(shape)[0]:
            size = (cols,) if rows == 1 and not name.endswith("weight") and name not in ("wte", "wpe") else (rows, cols)
            value = torch.zeros(size)
            if name.endswith(".gain"):
                value.fill_(1.0 if shape.gemma is None else 0.0)
            elif len(size) == 2:
                std = 0.01 if name == "wpe" else 0.02
                if name.endswith((".o.weight", ".proj.weight")):
                    std /= math.sqrt(2 * shape.layers)
                value.normal_(0.0, std)
            # ParameterDict forbids dots in names.
            self.tensors[name.replace(".", "_")] = nn.Parameter(value)

    def t(self, name):
        key = name.replace(".", "_")
        return self.tensors[key] if key in self.tensors else None

    def norm(self, x, prefix):
        width = (self.shape.width,)
        if self.shape.norm == "layer":
            return F.layer_norm(x, width, self.t(prefix + ".gain"), self.t(prefix + ".bias"), self.shape.norm_epsilon)
        return F.rms_norm(x, width, self.t(prefix + ".gain"), self.shape.norm_epsilon)

    def linear(self, x, prefix):
        return F.linear(x, self.t(prefix + ".weight"), self.t(prefix + ".bias"))

    def forward(self, inputs, targets):
        """inputs, targets int64 [sequences, context] → mean cross-entropy over all tokens, nats."""
        s = self.shape
        n, context = inputs.shape
        x = F.embedding(inputs, self.t("wte")) + self.t("wpe")[:context]
        for i in range(s.layers):
            qkv = self.linear(self.norm(x, f"h{i}.norm1"), f"h{i}.qkv")
            q, k, v = qkv.view(n, context, 3, s.heads, s.width // s.heads).permute(2, 0, 3, 1, 4)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.linear(y.transpose(1, 2).reshape(n, context, s.width), f"h{i}.o")
            h = F.gelu(self.linear(self.norm(x, f"h{i}.norm2"), f"h{i}.fc"), approximate="tanh")
            x = x + self.linear(h, f"h{i}.proj")
        logits = F.linear(self.norm(x, "norm"), self.t("wte"))
        # Padded rows of the table are no entries of the vocabulary.
        if s.padded_vocab != s.vocab:
            logits = logits[..., : s.vocab]
        return F.cross_entropy(logits.reshape(n * context, -1).float(), targets.reshape(-1))

    @torch.no_grad()
    def load_flat(self, flat):
        """flat: fp32 [layout length]."""
        for name, offset, rows, cols, _ in layout(self.shape)[0]:
            p = self.t(name)
            p.copy_(flat[offset : offset + rows * cols].view(p.shape))

    @torch.no_grad()
    def store_flat(self):
        tensors, length = layout(self.shape)
        flat = torch.zeros(length)
        for name, offset, rows, cols, _ in tensors:
            flat[offset : offset + rows * cols] = self.t(name).reshape(-1)
        return flat

    def decay_groups(self, weight_decay):
        """Parameter groups of torch.optim.AdamW: decay on matrices and embeddings only."""
        decayed, plain = [], []
        for name, _, _, _, decay in layout(self.shape)[0]:
            (decayed if decay else plain).append(self.t(name))
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
