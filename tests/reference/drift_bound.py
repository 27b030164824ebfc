"""drift_bound.py: how far bounds on what query drift does to prefix attention are from what it does.

    lacuna eval -m models/nano-b --tasks kv,niah --ctx 512,2048 --samples 8 --seed 1 --export FILE
    python drift_bound.py ../../models/nano-b FILE ../../bench/results/drift_bound.csv

A row whose query moved by D since it last read a prefix has scores that moved by D k_j / sqrt(d). If
all of these lie within e of a constant, its softmax moved by at most tanh(e / 2) in total variation.
Proof: new probabilities are p_j w_j with w_j between u and t u, t = exp(2 e); sum p_j max(w_j - 1, 0)
is convex in w, hence largest with w at the two ends; with p-mass a at the upper one it is
a (1 - a) (t - 1) / (a t + 1 - a), at most (sqrt t - 1) / (sqrt t + 1) = tanh(e / 2).
Three values of e: from the half-range of each channel over all keys of a KV head; from bounds of pages
of 16, as QUEST scores them, for D and -D; and the exact half-range of the shifts, which costs as much
as attention. The decode is dense, greedy, a token a step; queries are compared with those of the step
before and of the block's first step. A row is left out where it has a new token or did not move.
"""
import csv
import json
import sys

import numpy as np
import torch

import models
import prefix

PAGE, N_NEW, MASK = 16, 8, 256  # ids below the mask are bytes


def shifts(q, k):
    """[n, H, keys] of products with every key, over sqrt(d)."""
    return torch.einsum("nhd,khd->nhk", q, k) / q.shape[-1] ** 0.5


def bounds_of(moved, k):
    """Half-ranges e [n, H] of the score shifts: by channel, by page, exact."""
    d = moved.shape[-1] ** 0.5
    by_channel = torch.einsum("nhd,hd->nh", moved.abs(), (k.amax(0) - k.amin(0)) / 2) / d
    pages = k.split(PAGE)
    most = torch.stack([p.amax(0) for p in pages])
    least = torch.stack([p.amin(0) for p in pages])
    high = shifts(moved.clamp(min=0), most) + shifts(moved.clamp(max=0), least)
    low = shifts(moved.clamp(min=0), least) + shifts(moved.clamp(max=0), most)
    by_page = (high.amax(-1) - low.amin(-1)) / 2
    exact = shifts(moved, k)
    return by_channel, by_page, (exact.amax(-1) - exact.amin(-1)) / 2


class Watcher(prefix.Block):
    """A block that reads everything and notes what its queries did."""

    def __init__(self, *args):
        super().__init__(*args)
        self.first_q, self.last_q, self.seen = {}, {}, []

    def prefix(self, number, x, q):
        group = q.shape[1] // self.cache[number][0].shape[1]
        k, v = (t.repeat_interleave(group, 1) for t in self.cache[number])
        for since, ref in (("step", self.last_q.get(number)), ("block", self.first_q.get(number))):
            if ref is not None:
                self.note(since, q, ref, k, v)
        self.first_q.setdefault(number, q)
        self.last_q[number] = q
        return prefix.partial(q, k, v), None

    def note(self, since, q, ref, k, v):
        p, was = (torch.softmax(shifts(x, k), -1) for x in (q, ref))
        o, old = (torch.einsum("nhk,khd->nhd", x, v) for x in (p, was))
        tv = (p - was).abs().sum(-1) / 2
        error = (o - old).norm(dim=-1) / old.norm(dim=-1)
        drift = ((q - ref).pow(2).sum((1, 2)) / ref.pow(2).sum((1, 2)))
        bounds = [torch.tanh(e / 2) for e in bounds_of(q - ref, k)]
        for i in range(q.shape[0]):
            if i in self.new or drift[i] == 0:
                continue
            at = [t[i].max().item() for t in (tv, error, *bounds)]
            assert tv[i].le(bounds[2][i] + 1e-9).all() and bounds[2][i].le(bounds[1][i] + 1e-9).all()
            assert bounds[1][i].le(bounds[0][i] + 1e-9).all()
            self.seen.append((since, drift[i].item(), *at))


def watch(config, w, prompt):
    """What rows did in the decode of N_NEW tokens behind the prompt."""
    size, ids, end, seen = config["block"], list(prompt), len(prompt) + N_NEW, []
    while len(ids) < end:
        begin = len(ids) // size * size
        canvas = ids[begin:] + [None] * (begin + size - len(ids))
        block = Watcher(config, w, ids[:begin], prefix.Policy("dense"))
        while None in canvas[:end - begin]:
            logits, _ = block.logits([MASK if v is None else v for v in canvas])
            top = torch.softmax(logits[:, :MASK], -1).max(-1)
            open_ = [i for i, v in enumerate(canvas[:end - begin]) if v is None]
            at = max(open_, key=lambda i: top.values[i].item())
            canvas[at] = top.indices[at].item()
        ids, seen = ids[:begin] + canvas[:end - begin], seen + block.seen
    return seen


def ranks(x):
    return np.argsort(np.argsort(x)).astype(float)


def rows_of(task, n, seen):
    names = ("drift", "tv", "output", "tanh_channel", "tanh_page", "tanh_exact")
    for since in ("step", "block"):
        columns = dict(zip(names, np.array([s[1:] for s in seen if s[0] == since]).T))
        row = {"task": task, "ctx": n, "since": since, "rows": len(columns["tv"])}
        for name, x in columns.items():
            row[name + "_p50"], row[name + "_p90"] = np.quantile(x, (0.5, 0.9))
        for limit in (0.1, 0.5):
            for name in names[1:2] + names[3:]:
                row[f"{name}_below_{limit}"] = (columns[name] <= limit).mean()
        for name in names[:1] + names[3:]:  # with what the true distances are
            row["rank_" + name] = np.corrcoef(ranks(columns[name]), ranks(columns["tv"]))[0, 1]
        yield row


def main():
    torch.set_num_threads(1)
    config, w = models.load_folder(sys.argv[1])
    seen = {}
    with open(sys.argv[2], encoding="utf-8") as f, torch.no_grad():
        for sample in map(json.loads, f):
            found = seen.setdefault((sample["task"], sample["ctx"]), [])
            found += watch(config, w, list(sample["input"].encode("utf-8")))
    rows = [row for (task, n), found in seen.items() for row in rows_of(task, n, found)]
    with open(sys.argv[3], "w", encoding="utf-8", newline="") as f:
        out = csv.DictWriter(f, rows[0], lineterminator="\n")
        out.writeheader()
        for row in rows:
            out.writerow({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()})


if __name__ == "__main__":
    main()
