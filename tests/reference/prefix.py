"""prefix.py: one decoding block behind a cache of keys, under policies that read part of the cache,
in PyTorch float64: LoSA (arXiv 2604.12056), QUEST (2406.10774) for a block of queries, MAGE
(2602.14209), FlashBlock (2602.05305) and the frozen pattern of SparseD (2509.24014), for SDAR-style
and Fast-dLLM-v2-style networks.

Written from those descriptions; shares no code with the library. The cache is computed anew from the
final ids of every block by one pass under the mask of training: a policy never reaches it. A choice
that hangs on a difference too small for float32 raises TooClose.
"""
from dataclasses import dataclass

import torch

import models
from make_blocks import TooClose

CLOSEST = 2e-5  # relative


@dataclass
class Policy:
    name: str            # "losa", "quest", "mage", "flashblock", "sparsed"
    budget: int = 32     # keys of a row
    page: int = 16
    active: int = 5      # losa: rows recomputed, new ids included
    min_change: float = 0.0  # losa: a row that moved by less, of its squared size, stays as it is
    drift: str = "query"     # losa: what moved: "query", or "hidden", the layer's normalised input
    first_step: str = "dense"  # losa: or "sparse"
    refresh_steps: int = 0   # all rows read everything again after so many steps
    refresh_tokens: int = 0  # or after so many new ids
    plan_group: str = ""     # quest, losa: rows choose pages together, for "kv" or "head"; else each
                             # its own, and the rows of a key head read the union
    select_every: int = 1    # quest, losa: steps that pages serve; above 1, chosen for all rows
    selector: str = "pages"  # losa: by bounds of the scores, or "blocks": by mass in the first step

    def measures(self):
        return self.name in ("mage", "sparsed") or self.selector == "blocks"


def split(a, b):
    """Raises where two numbers that are told apart hardly differ. Zeros are exact: rows whose input
    did not change; of those the lower one comes first."""
    if (a or b) and abs(a - b) <= CLOSEST * max(abs(a), abs(b)):
        raise TooClose


def best(scores, n, kept=()):
    """Indices of `kept` and of the largest others, n in all, ascending."""
    rest = sorted((i for i in range(len(scores)) if i not in kept), key=lambda i: -scores[i])
    left = n - len(kept)
    if 0 < left < len(rest):
        split(scores[rest[left - 1]], scores[rest[left]])
    return sorted(list(kept) + rest[:left])


# ------------------------------------------------------------------ the network

def turned(x, first, theta):
    """x [n, heads, d] rotated for positions first, first + 1, ...: pairs (i, i + d/2)."""
    n, _, d = x.shape
    rate = theta ** (-2.0 * torch.arange(d // 2, dtype=x.dtype) / d)
    angle = (first + torch.arange(n, dtype=x.dtype))[:, None, None] * rate
    a, b = x[..., :d // 2], x[..., d // 2:]
    return torch.cat([a * torch.cos(angle) - b * torch.sin(angle),
                      b * torch.cos(angle) + a * torch.sin(angle)], -1)


class Layer:
    """One layer; biases and norms of q and k where the weights have them."""

    def __init__(self, config, w, number):
        self.config, self.w, self.at = config, w, f"model.layers.{number}."

    def weight(self, name):
        return self.w.get(self.at + name)

    def heads(self, x, kind, n_heads):
        y = x @ self.weight(f"self_attn.{kind}_proj.weight").T
        bias = self.weight(f"self_attn.{kind}_proj.bias")
        y = (y if bias is None else y + bias).view(x.shape[0], n_heads, -1)
        norm = self.weight(f"self_attn.{kind}_norm.weight")
        return y if norm is None else models.rms_norm(y, norm, self.config["norm_eps"])

    def project(self, h, first):
        """Normalised input, and q, k, v of rows at positions first, ..."""
        c = self.config
        x = models.rms_norm(h, self.weight("input_layernorm.weight"), c["norm_eps"])
        q, k = self.heads(x, "q", c["n_heads"]), self.heads(x, "k", c["n_kv_heads"])
        return (x, turned(q, first, c["rope_theta"]), turned(k, first, c["rope_theta"]),
                self.heads(x, "v", c["n_kv_heads"]))

    def finish(self, h, a):
        h = h + a.reshape(h.shape[0], -1) @ self.weight("self_attn.o_proj.weight").T
        x = models.rms_norm(h, self.weight("post_attention_layernorm.weight"),
                            self.config["norm_eps"])
        up = x @ self.weight("mlp.up_proj.weight").T
        gate = models.silu(x @ self.weight("mlp.gate_proj.weight").T)
        return h + (gate * up) @ self.weight("mlp.down_proj.weight").T


def head_of(config, w, h):
    return models.rms_norm(h, w["model.norm.weight"], config["norm_eps"]) @ w.get(
        "lm_head.weight", w["model.embed_tokens.weight"]).T


# ------------------------------------------------------------------ attention

def scores_of(q, k):
    """[H, n, keys] of queries q [n, H, d] and keys k [keys, K, d]."""
    group = q.shape[1] // k.shape[1]
    return torch.einsum("nhd,khd->hnk", q, k.repeat_interleave(group, 1)) / q.shape[-1] ** 0.5


def partial(q, k, v, mask=None):
    """Normalised output [n, H, d] and log-sum-exp [n, H] over the keys that mask [H, keys] names;
    no keys give 0 and minus infinity."""
    n, heads, d = q.shape
    if not k.shape[0]:
        return torch.zeros_like(q), torch.full((n, heads), -torch.inf, dtype=q.dtype)
    scores = scores_of(q, k)
    if mask is not None:
        scores = scores.masked_fill(~mask[:, None, :], -torch.inf)
    lse = torch.logsumexp(scores, -1)
    p = torch.exp(scores - lse[..., None])
    return torch.einsum("hnk,khd->nhd", p, v.repeat_interleave(heads // v.shape[1], 1)), lse.T


def merged(one, other):
    """Two results over keys that have none in common."""
    lse = torch.logaddexp(one[1], other[1])
    return (torch.exp(one[1] - lse)[..., None] * one[0] +
            torch.exp(other[1] - lse)[..., None] * other[0])


# ------------------------------------------------------------------ selection

def bound_pages(q, k, policy):
    """Per key head, the union over rows and query heads of the pages with the highest bounds; or, per
    key head or query head, those with the largest sum over rows of the softmax of their bounds."""
    group = q.shape[1] // k.shape[1]
    pages = [k[i:i + policy.page] for i in range(0, k.shape[0], policy.page)]
    most = torch.stack([p.amax(0) for p in pages])
    least = torch.stack([p.amin(0) for p in pages])
    n, last = -(-policy.budget // policy.page), len(pages) - 1
    kept = ([0] if n > 1 else []) + ([last] if n > 2 else [])
    def bounds(head):
        """[rows, pages] of one query head."""
        rows, kv = q[:, head, None], head // group
        return torch.maximum(rows * most[:, kv], rows * least[:, kv]).sum(-1)

    lists, span = [], 1 if policy.plan_group == "head" else group
    for first in range(0, q.shape[1], span):
        all_ = torch.cat([bounds(first + i) for i in range(span)])
        if policy.plan_group:
            mass = torch.softmax(all_ / q.shape[-1] ** 0.5, -1).sum(0)
            lists.append(best(mass.tolist(), n, kept))
        else:
            lists.append(sorted({i for b in all_ for i in best(b.tolist(), n, kept)}))
    return lists


def by_mass(q, k, policy):
    """What the softmax of the block's rows over the prefix singles out: keys for each key head
    (mage), pages for each query head (sparsed) or each key head (losa)."""
    mass = torch.softmax(scores_of(q, k), -1).mean(1)  # [H, keys]
    if policy.name in ("mage", "losa"):
        mass = mass.view(k.shape[1], -1, k.shape[0]).mean(1)
    if policy.name == "mage":
        return [best(m.tolist(), policy.budget) for m in mass]
    pages = torch.stack([m.sum(-1) for m in mass.split(policy.page, -1)], -1)
    return [best(m.tolist(), -(-policy.budget // policy.page)) for m in pages]


def mask_of(lists, unit, n_heads, n_keys):
    mask = torch.zeros(n_heads, n_keys, dtype=torch.bool)
    for h in range(n_heads):
        for i in lists[h * len(lists) // n_heads]:
            mask[h, i * unit:(i + 1) * unit] = True
    return mask


# ------------------------------------------------------------------ a block

class Memory:
    """What one layer remembers of the active block."""

    def __init__(self):
        self.o = self.lse = self.ref = self.lists = None
        self.step = self.tokens = 0  # when it last read everything
        self.chosen = None           # when `lists` were chosen, by bounds


class Block:
    """The rows at positions first, ... behind the cache of everything before them."""

    def __init__(self, config, w, ids, policy):
        self.config, self.w, self.policy = config, w, policy
        self.layers = [Layer(config, w, i) for i in range(config["n_layers"])]
        self.first, self.cache = len(ids), []
        h = w["model.embed_tokens.weight"][torch.tensor(ids, dtype=torch.long)]
        for layer in self.layers:
            _, q, k, v = layer.project(h, 0)
            self.cache.append((k, v))
            if self.first:
                h = layer.finish(h, models.attend(q, k, v, config["block"]))
        self.memory = [Memory() for _ in self.layers]
        self.step, self.n_tokens, self.last = 0, 0, None

    def active_rows(self, moved, m):
        """New ids, then the rows that moved most and far enough."""
        change = (moved - m.ref).pow(2).flatten(1).sum(1).tolist()
        size = m.ref.pow(2).flatten(1).sum(1).tolist()
        taken = sorted(self.new)
        for i in range(len(change)):
            if self.policy.min_change and i not in self.new:
                split(change[i], self.policy.min_change * size[i])
        far = [i for i in range(len(change))
               if i not in self.new and change[i] >= self.policy.min_change * size[i]]
        n = max(0, min(self.policy.active - len(taken), len(far)))
        return sorted(taken + [far[i] for i in best([change[i] for i in far], n)])

    def prefix(self, number, x, q):
        """Attention to the prefix of all rows, and what was read: None = everything, else the
        active rows and the lists."""
        k, v = self.cache[number]
        p, m = self.policy, self.memory[number]
        n, n_heads = q.shape[:2]
        moved = x if p.drift == "hidden" else q
        is_due = ((p.refresh_steps and self.step - m.step >= p.refresh_steps) or
                  (p.refresh_tokens and self.n_tokens - m.tokens >= p.refresh_tokens))
        is_first = self.step == 0 and p.name != "quest" and p.first_step == "dense"
        if is_first or is_due:
            m.o, m.lse = partial(q, k, v)
            m.ref, m.step, m.tokens = moved.clone(), self.step, self.n_tokens
            if p.measures():
                m.lists = by_mass(q, k, p)
            return (m.o, m.lse), None
        if p.name == "flashblock":
            return (m.o, m.lse), ([], [])
        rows = list(range(n))
        if p.name == "losa" and self.step:
            rows = self.active_rows(moved, m)
        if not rows:
            return (m.o, m.lse), ([], [])
        serves = m.chosen is not None and self.step < m.chosen + p.select_every
        if not p.measures() and not serves:
            m.lists = bound_pages(q if p.select_every > 1 else q[rows], k, p)
            m.chosen = self.step
        lists = m.lists
        mask = mask_of(lists, 1 if p.name == "mage" else p.page, n_heads, k.shape[0])
        o, lse = partial(q[rows], k, v, mask)
        if p.name != "losa" or not self.step:
            m.o, m.lse, m.ref = o, lse, moved.clone()
        else:
            m.o[rows], m.lse[rows], m.ref[rows] = o, lse, moved[rows]
        return (m.o, m.lse), (rows, lists)

    def logits(self, ids):
        """One step over the ids of the block: logits of its rows, and what each layer read."""
        self.new = {i for i, v in enumerate(ids) if self.step and v != self.last[i]}
        self.n_tokens += len(self.new)
        h, read = self.w["model.embed_tokens.weight"][torch.tensor(ids)], []
        for number, layer in enumerate(self.layers):
            x, q, k, v = layer.project(h, self.first)
            own, far, what = partial(q, k, v), None, None
            if self.policy.budget < self.first or self.policy.name == "flashblock":
                far, what = self.prefix(number, x, q)
            else:
                far = partial(q, *self.cache[number])
            h = layer.finish(h, merged(own, far))
            read.append(what)
        self.last, self.step = list(ids), self.step + 1
        return head_of(self.config, self.w, h), read
