"""The family gemma3 in PyTorch: the foreign system that its gradients and its training are compared with.

RMSNorm with 1 + gain before and after attention and MLP, norms of q and k by head, RoPE with a local and a global base, grouped heads,
a sliding window on local layers, GeGLU, a scaled embedding, a head tied to the token table. Names and the flat order are those of
`src/model/layout.ts`.
"""

import math

import torch
import torch.nn.functional as F

from gpt import GPT


def rms(x, gain, epsilon):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon) * (1 + gain)


class Gemma(GPT):
    def turns(self, context, is_global, dtype):
        """Cosine and sine of every position and pair: [context, head size / 2], in binary64 until the end."""
        g = self.shape.gemma
        size = g["headSize"]
        base, scale = (g["ropeGlobalBase"], g["ropeGlobalScale"]) if is_global else (g["ropeLocalBase"], 1)
        pairs = torch.arange(size // 2, dtype=torch.float64)
        angles = torch.arange(context, dtype=torch.float64)[:, None] * base ** (-2 * pairs / size) / scale
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def rotate(self, x, turns):
        cosine, sine = turns
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cosine - b * sine, b * cosine + a * sine), dim=-1)

    def attend(self, x, prefix, is_global):
        s, g = self.shape, self.shape.gemma
        n, context, _ = x.shape
        size, keys = g["headSize"], g["keyValueHeads"]
        heads = self.linear(x, prefix + ".qkv").view(n, context, s.heads + 2 * keys, size).transpose(1, 2)
        q, k, v = heads.split((s.heads, keys, keys), dim=1)
        turns = self.turns(context, is_global, x.dtype)
        q = self.rotate(rms(q, self.t(prefix + ".qNorm.gain"), s.norm_epsilon), turns)
        k = self.rotate(rms(k, self.t(prefix + ".kNorm.gain"), s.norm_epsilon), turns)
        k, v = (part.repeat_interleave(s.heads // keys, dim=1) for part in (k, v))
        distance = torch.arange(context)[:, None] - torch.arange(context)[None, :]
        seen = distance >= 0
        if not is_global:
            seen &= distance < g["slidingWindow"]
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, scale=1 / math.sqrt(g["queryScalar"]))
        return self.linear(y.transpose(1, 2).reshape(n, context, s.heads * size), prefix + ".o")

    def forward(self, inputs, targets):
        """inputs, targets int64 [sequences, context] → mean cross-entropy over all tokens, nats."""
        s, g = self.shape, self.shape.gemma
        n, context = inputs.shape
        x = F.embedding(inputs, self.t("wte")) * g["embeddingScale"]
        for i in range(s.layers):
            h = f"h{i}"
            is_global = (i + 1) % g["globalEvery"] == 0
            y = self.attend(rms(x, self.t(h + ".norm1.gain"), s.norm_epsilon), h, is_global)
            x = x + rms(y, self.t(h + ".postNorm1.gain"), s.norm_epsilon)
            gate, up = self.linear(rms(x, self.t(h + ".norm2.gain"), s.norm_epsilon), h + ".fc").chunk(2, dim=-1)
            y = self.linear(F.gelu(gate, approximate="tanh") * up, h + ".proj")
            x = x + rms(y, self.t(h + ".postNorm2.gain"), s.norm_epsilon)
        logits = F.linear(rms(x, self.t("norm.gain"), s.norm_epsilon), self.t("wte"))[..., : s.vocab]
        return F.cross_entropy(logits.reshape(n * context, -1), targets.reshape(-1))
