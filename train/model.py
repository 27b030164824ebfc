"""The network: a Qwen3-style decoder layer without a causal mask.

Owns the configuration, the modules and the initialisation. Parameter names are the names in
the exported file, so a state dict is written as it is. Knows nothing about noise, rows or
optimisers. Shapes are row-major: B rows, L tokens, H heads, D head_dim, C hidden_size.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASK, EOS, BOS, SEP = 256, 257, 258, 259


@dataclass(frozen=True)
class Config:
    """Sizes of the network. The defaults are the nano model: 873,856 parameters."""

    hidden_size: int = 128
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 4
    head_dim: int = 32
    intermediate_size: int = 352
    vocab_size: int = 272
    rms_norm_eps: float = 1e-6
    rope_theta: float = 100_000.0

    def to_dict(self) -> dict:
        return asdict(self)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis, in float32 or better."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype)
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def rope_tables(positions: Tensor, cfg: Config, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """positions [B, L] -> cos, sin, each [B, 1, L, D/2]."""
    half = cfg.head_dim // 2
    index = torch.arange(half, dtype=dtype, device=positions.device)
    freq = torch.exp(-math.log(cfg.rope_theta) * index / half)
    angle = positions.to(dtype)[:, None, :, None] * freq
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split rotation: pairs are (i, i + D/2). x [B, H, L, D]."""
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D)) v; q, k, v [B, H, L, D] -> [B, H, L, D].

    Up to 256 tokens two batched products are about 1.5 times as fast to train on a CPU as the
    fused call, whose backward pass dominates there; above, the L x L scores cost more.
    """
    if allowed is not None or k.shape[2] > 256:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    wide = scores if scores.dtype == torch.float64 else scores.float()
    return wide.softmax(-1).to(v.dtype) @ v


class Attention(nn.Module):
    """Full attention; q and k are normalised per head before the rotation."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        wide = cfg.num_attention_heads * cfg.head_dim
        narrow = cfg.num_key_value_heads * cfg.head_dim
        self.q_proj = nn.Linear(cfg.hidden_size, wide, bias=False)
        self.k_proj = nn.Linear(cfg.hidden_size, narrow, bias=False)
        self.v_proj = nn.Linear(cfg.hidden_size, narrow, bias=False)
        self.o_proj = nn.Linear(wide, cfg.hidden_size, bias=False)
        self.q_norm = RMSNorm(cfg.head_dim, cfg.rms_norm_eps)
        self.k_norm = RMSNorm(cfg.head_dim, cfg.rms_norm_eps)

    def queries_keys_values(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """x [B, L, C] -> q, k, v, each [B, H, L, D], q and k rotated."""
        b, n, _ = x.shape
        q, k, v = (p(x).view(b, n, -1, self.cfg.head_dim).transpose(1, 2)
                   for p in (self.q_proj, self.k_proj, self.v_proj))
        q, k = rotate(self.q_norm(q), *rope).to(v.dtype), rotate(self.k_norm(k), *rope).to(v.dtype)
        groups = self.cfg.num_attention_heads // self.cfg.num_key_value_heads
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        return q, k, v

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], allowed: Tensor | None) -> Tensor:
        q, k, v = self.queries_keys_values(x, rope)
        out = attend(q, k, v, allowed)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.up_proj = nn.Linear(cfg.hidden_size, cfg.intermediate_size, bias=False)
        self.down_proj = nn.Linear(cfg.intermediate_size, cfg.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.self_attn = Attention(cfg)
        self.post_attention_layernorm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)
        self.mlp = MLP(cfg)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor], allowed: Tensor | None) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), rope, allowed)
        return x + self.mlp(self.post_attention_layernorm(x))


class Trunk(nn.Module):
    """Embedding, layers, final norm."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(cfg.vocab_size, cfg.hidden_size)
        self.layers = nn.ModuleList(Layer(cfg) for _ in range(cfg.num_hidden_layers))
        self.norm = RMSNorm(cfg.hidden_size, cfg.rms_norm_eps)


class MaskedDiffusionLM(nn.Module):
    """ids and positions in, one distribution per position out (no shift)."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.model = Trunk(cfg)
        self.lm_head = nn.Linear(cfg.hidden_size, cfg.vocab_size, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """N(0, 1/fan_in); o and down divided by sqrt(2 x layers); embedding N(0, 1).

        N(0, 0.02) everywhere needs about 1.6 times the tokens to learn copying.
        """
        depth = 1 / math.sqrt(2 * self.cfg.num_hidden_layers)
        for name, p in self.named_parameters():
            if name == "model.embed_tokens.weight":
                nn.init.normal_(p)
            elif p.dim() == 2:
                scale = depth if "o_proj" in name or "down_proj" in name else 1.0
                nn.init.normal_(p, std=scale / math.sqrt(p.shape[1]))

    def hidden(self, ids: Tensor, positions: Tensor, allowed: Tensor | None = None) -> list[Tensor]:
        """ids, positions [B, L] -> residual stream after the embedding and after each layer.

        `allowed` is None (everything sees everything) or a boolean mask that broadcasts to
        [B, H, L, L], True where a query may read a key.
        """
        rope = rope_tables(positions, self.cfg, self.model.norm.weight.dtype)
        stream = [self.model.embed_tokens(ids)]
        for layer in self.model.layers:
            stream.append(layer(stream[-1], rope, allowed))
        return stream

    def forward(self, ids: Tensor, positions: Tensor, allowed: Tensor | None = None) -> Tensor:
        """ids, positions [B, L] -> logits [B, L, vocabulary]."""
        return self.lm_head(self.model.norm(self.hidden(ids, positions, allowed)[-1]))
