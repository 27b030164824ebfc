"""make_sparsed.py: SparseD's published selection (arXiv 2509.24014, as its code does it), written
again in PyTorch in double precision with whole L x L matrices, and the attention it leads to. Writes
tests/golden/sparsed.json: per case and head the kept blocks, the mass they keep under the scores
that ranked them, and some rows of the sparse output. Queries, keys and values are those of
tests/backend/attend_rig.h. bf16 roundings of the published code, which make ties, are left out.

    python3 tests/reference/make_sparsed.py
"""
import json
import math
import pathlib

import numpy as np
import torch

import rng

CASES = [
    # scoring, L, prompt, heads, KV heads, d, block, select
    ("llada", 200, 150, 4, 4, 16, 16, 0.3),   # straddled boundary, ragged end
    ("llada", 333, 320, 4, 4, 16, 32, 0.2),   # all that is generated lies in the last two blocks
    ("llada", 256, 128, 4, 4, 16, 32, 0.5),   # boundary on a border, no ragged block
    ("dream", 333, 100, 4, 2, 24, 32, 0.3),   # grouped heads
    ("dream", 130, 128, 2, 1, 32, 64, 0.3),   # the last block holds two keys
    ("dream", 130, 120, 2, 2, 32, 64, 0.1),   # boundary in the block before the last
    ("dream", 90, 40, 2, 2, 32, 128, 0.3),    # one block
    ("dream", 150, 0, 2, 2, 32, 16, 0.3),     # no prompt
    ("llada", 150, 70, 4, 4, 16, 16, 1.0),    # more than there are: clamped
]


def rows(seed, n, n_heads, d):
    """[n_heads, n, d] numbers in [-2, 2] by place; see random_rows in attend_rig.h."""
    row, head, i = np.meshgrid(np.arange(n), np.arange(n_heads), np.arange(d), indexing="ij")
    at = ((row.astype(np.uint64) << np.uint64(8) | head.astype(np.uint64)) << np.uint64(16)) | i.astype(np.uint64)
    x = (4 * rng.unit(np.uint64(seed), at).astype(np.float32) - 2).astype(np.float64)
    return torch.from_numpy(x).permute(1, 0, 2)


def pooled(p, block):
    """Mean over tiles of block x block, the padding of the last ones included."""
    n = (p.shape[-1] + block - 1) // block
    out = torch.zeros(p.shape[0], (p.shape[1] + block - 1) // block, n, dtype=p.dtype)
    for i in range(out.shape[1]):
        strip = p[:, i * block:(i + 1) * block]
        for b in range(n):
            out[:, i, b] = strip[:, :, b * block:(b + 1) * block].sum((1, 2)) / block**2
    return out


def top(importance, k):
    mask = torch.zeros_like(importance, dtype=torch.bool)
    mask.scatter_(-1, importance.topk(min(k, importance.shape[-1]), dim=-1).indices, True)
    return mask


def select(scores, prompt, block, share):
    """The published mask [heads, n, n] and the pooled map that ranked it."""
    n = (scores.shape[-1] + block - 1) // block
    last = min(math.ceil(prompt / block), n - 1)
    importance = pooled(scores.softmax(-1), block)
    mask = top(importance, max(1, int(n * share) + 1))
    mask[:, :, last:] = False
    late = pooled(scores[:, :, last * block:].softmax(-1), block)
    mask[:, :, last:] |= top(late, max(1, int((n - last) * share) + 1))
    return mask


def case(scoring, length, prompt, n_heads, n_kv_heads, d, block, share):
    q = rows(1, length, n_heads, d)
    k, v = (rows(s, length, n_kv_heads, d).repeat_interleave(n_heads // n_kv_heads, 0) for s in (2, 3))
    dots = q @ k.transpose(1, 2)
    scale = math.sqrt(n_heads) if scoring == "llada" else math.sqrt(d)
    mask = select(dots / scale, prompt, block, share)
    fine = mask.repeat_interleave(block, 1)[:, :length].repeat_interleave(block, 2)[:, :, :length]
    kept = ((dots / scale).softmax(-1) * fine).sum(-1).mean(-1)
    out = (dots / math.sqrt(d)).masked_fill(~fine, -math.inf).softmax(-1) @ v
    picked = [0, length // 2, length - 1]
    return {
        "scoring": scoring, "length": length, "prompt": prompt, "n_heads": n_heads,
        "n_kv_heads": n_kv_heads, "d": d, "block": block, "select": share,
        "mask": ["".join("1" if x else "0" for x in head.flatten().tolist()) for head in mask],
        "kept": [round(x, 8) for x in kept.tolist()],
        "rows": picked,
        "out": [round(x, 6) for x in out[:, picked].flatten().tolist()],
    }


def main():
    path = pathlib.Path(__file__).parent.parent / "golden" / "sparsed.json"
    path.write_text(json.dumps({"cases": [case(*c) for c in CASES]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
