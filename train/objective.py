"""Noise and loss weights: turns rows into a batch.

Owns which positions are masked, with what share, and how much each masked position counts.
Only the full-bidirectional objective exists: every position of the noisy row sees every other.

The block-wise objective (noisy half followed by the clean half, the same position ids twice, one
mask share per block) belongs into `block_batch` below, beside `full_batch`: it must return the
same Batch with `allowed` filled in; the trainer hands `allowed` on to the network.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from corpus import Corpus
from model import MASK
from rows import KINDS, Row, make_row, positions_with_jumps
from schedule import Moment

QUESTION_WEIGHT = {"kv": 4.0, "needle": 8.0}
LEAST_SHARE = 1e-3


@dataclass
class Batch:
    """ids, positions, targets [B, L] int64; weight [B, L] float32; kind [B] index into KINDS."""

    ids: Tensor
    positions: Tensor
    targets: Tensor
    weight: Tensor
    kind: Tensor
    allowed: Tensor | None = None


def stratified(rng: np.random.Generator, count: int) -> np.ndarray:
    """`count` numbers in [0, 1), evenly spread with one common offset, shuffled -> [count]."""
    return rng.permutation((rng.random() + np.arange(count) / count) % 1.0)


def make_rows(seed: int, step: int, moment: Moment, corpus: Corpus) -> list[Row]:
    """The rows of one step; kinds are drawn stratified by the shares of the stage."""
    rng = random.Random(f"rows {seed} {step}")
    draw = stratified(np.random.default_rng([seed, step, 1]), moment.rows)
    kinds = np.searchsorted(np.cumsum(moment.shares), draw * sum(moment.shares), side="right")
    return [make_row(KINDS[min(k, len(KINDS) - 1)], rng, corpus, moment.length, moment.jumps, moment.mixed)
            for k in kinds]


def mask_row(rng: np.random.Generator, row: Row, share: float, clip: float) -> tuple[np.ndarray, np.ndarray]:
    """-> masked [L] bool, weight [L] float32.

    `clip` 0 gives every masked token the weight 1; otherwise min(1/share, clip) / 2, whose mean
    over all shares keeps the balance with the question rows, which are not weighted by share.
    """
    length = len(row.ids)
    if row.kind == "recall":  # few positions may be masked at all, and the list above them stays
        share = min(1.0, 2 * share)
    masked = row.maskable & (rng.random(length) < share)
    weight = np.full(length, 1.0 if clip == 0 else min(1 / share, clip) / 2, dtype=np.float32)
    if row.answer_at < length:
        least = 1.0 if rng.random() < 0.5 else rng.random()
        masked[row.answer_at:] = rng.random(length - row.answer_at) < max(least, share)
        weight[:] = QUESTION_WEIGHT[row.kind]
    return masked, weight * masked


def full_batch(seed: int, step: int, moment: Moment, corpus: Corpus) -> Batch:
    """One step of the full-bidirectional objective."""
    rows = make_rows(seed, step, moment, corpus)
    rng = np.random.default_rng([seed, step, 2])
    low, high = moment.shares_masked
    shares = low + (high - low) * stratified(rng, len(rows))
    targets = np.stack([r.ids for r in rows])
    noise = [mask_row(rng, r, max(float(s), LEAST_SHARE), moment.clip) for r, s in zip(rows, shares)]
    masked = np.stack([m for m, _ in noise])
    jump_rng = random.Random(f"jumps {seed} {step}")
    positions = np.stack([
        positions_with_jumps(jump_rng, r) if moment.jumps and jump_rng.random() < 0.5
        else np.arange(len(r.ids)) for r in rows])
    return Batch(torch.from_numpy(np.where(masked, MASK, targets)), torch.from_numpy(positions),
                 torch.from_numpy(targets), torch.from_numpy(np.stack([w for _, w in noise])),
                 torch.tensor([KINDS.index(r.kind) for r in rows]))


def block_batch(seed: int, step: int, moment: Moment, corpus: Corpus, block: int) -> Batch:
    """Reserved for the block-wise objective."""
    raise NotImplementedError("the block-wise objective is not written yet")


def make_batch(objective: str, seed: int, step: int, moment: Moment, corpus: Corpus) -> Batch:
    if objective == "full":
        return full_batch(seed, step, moment, corpus)
    return block_batch(seed, step, moment, corpus, block=16)
