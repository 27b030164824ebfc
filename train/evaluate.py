"""Evaluation of a checkpoint: what it retrieves, and whether its attention is worth pruning.

    python evaluate.py --model DIR --data DIR --out evaluation.json [--n 64]

Retrieval is exact match of the whole response (4 digits, then end tokens), predicted in one
forward with the response masked. The attention figures follow the acceptance list: a sliding
window must fail, heads must differ and be stable over steps, some head must look at the needle,
and hiding the needle must bring accuracy to chance.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from corpus import Corpus, load_held_out
from model import MASK, MaskedDiffusionLM, rope_tables
from probes import Sample, make_sample
from weights import decode, load_model, straight_positions

BLOCK = 16
CELLS = {"kv": (64, 128, 256, 512, 1024, 2048, 4096),
         "needle-short": (256, 512, 1024, 2048, 4096),
         "needle-long": (256, 512, 1024, 2048, 4096)}
MaskFn = Callable[[Sample], Tensor]  # -> allowed [L, L]


# ---- retrieval ---------------------------------------------------------------------------

@torch.no_grad()
def answers(model: MaskedDiffusionLM, samples: list[Sample], mask: MaskFn | None = None) -> list[bool]:
    """One forward per group of samples of equal length; True where the whole response is right."""
    length = len(samples[0].ids)
    group, right = max(1, 16384 // length), []
    for i in range(0, len(samples), group):
        part = samples[i:i + group]
        ids = torch.from_numpy(np.stack([s.ids for s in part]))
        allowed = torch.stack([mask(s) for s in part])[:, None] if mask else None
        best = model(ids, straight_positions(ids), allowed).argmax(-1).numpy()
        right += [bool((b[s.answer_at:] == s.target()).all()) for b, s in zip(best, part)]
    return right


def cell(task: str, corpus: Corpus, length: int, n: int, **options) -> list[Sample]:
    return [make_sample(task, corpus, length, i, **options) for i in range(n)]


def rate(right: list[bool]) -> float:
    return round(sum(right) / len(right), 4)


def retrieval(model: MaskedDiffusionLM, corpus: Corpus, n: int) -> dict:
    """{task: {length: accuracy}}"""
    return {task: {str(length): rate(answers(model, cell(task, corpus, length, n))) for length in lengths}
            for task, lengths in CELLS.items()}


# ---- masks that must break it ------------------------------------------------------------

def window_mask(share: float) -> MaskFn:
    """Keys within share x L / 2 on either side."""
    def mask(s: Sample) -> Tensor:
        at = torch.arange(len(s.ids))
        return (at[:, None] - at[None]).abs() <= share * len(s.ids) / 2
    return mask


def hide_needle(s: Sample) -> Tensor:
    """No query may read a block of 16 keys that holds a byte of the asked needle."""
    allowed = torch.ones(len(s.ids), len(s.ids), dtype=torch.bool)
    allowed[:, s.needle[0] // BLOCK * BLOCK:-(-s.needle[1] // BLOCK) * BLOCK] = False
    return allowed


def hide_from_response(s: Sample) -> Tensor:
    """As above, for the response's own queries only: others may still relay the needle."""
    allowed = torch.ones(len(s.ids), len(s.ids), dtype=torch.bool)
    allowed[s.answer_at:, s.needle[0] // BLOCK * BLOCK:-(-s.needle[1] // BLOCK) * BLOCK] = False
    return allowed


# ---- attention of the response rows ------------------------------------------------------

@torch.no_grad()
def response_attention(model: MaskedDiffusionLM, ids: Tensor, answer_at: int) -> Tensor:
    """ids [1, L] -> softmax rows of the response queries [layers, H, slot, L]."""
    positions = straight_positions(ids)
    rope = rope_tables(positions, model.cfg, model.model.norm.weight.dtype)
    rows = []
    for x, layer in zip(model.hidden(ids, positions), model.model.layers):
        q, k, _ = layer.self_attn.queries_keys_values(layer.input_layernorm(x), rope)
        scores = q[0, :, answer_at:] @ k[0].transpose(-1, -2) / math.sqrt(q.shape[-1])
        rows.append(scores.softmax(-1))
    return torch.stack(rows)


def top_blocks(rows: Tensor, share: float, end: int) -> Tensor:
    """rows [layers, H, slot, L] -> bool [layers, H, blocks]: top `share` of the prompt's key blocks by mean mass."""
    mass = F.pad(rows.mean(2)[..., :end], (0, -end % BLOCK))
    mass = mass.unflatten(-1, (-1, BLOCK)).sum(-1)
    best = mass.topk(math.ceil(share * mass.shape[-1]), dim=-1).indices
    return torch.zeros_like(mass, dtype=torch.bool).scatter_(-1, best, True)


def jaccard(a: Tensor, b: Tensor) -> Tensor:
    return (a & b).sum(-1) / (a | b).sum(-1)


def attention_figures(model: MaskedDiffusionLM, samples: list[Sample]) -> dict:
    """Means over samples: overlap between heads, of a head over steps, and needle mass."""
    between, over_steps, heads_on, mass_of = [], [], [], []
    for s in samples:
        _, before, _ = decode(model, torch.from_numpy(s.ids)[None], 8)
        early = response_attention(model, before[2], s.answer_at)
        late = top_blocks(response_attention(model, before[7], s.answer_at), 0.2, s.answer_at)
        top = top_blocks(early, 0.2, s.answer_at)
        pairs = [(i, j) for i in range(top.shape[1]) for j in range(i)]
        between.append(np.mean([jaccard(top[:, i], top[:, j]).mean().item() for i, j in pairs]))
        over_steps.append(jaccard(top, late).mean().item())
        first = response_attention(model, before[0], s.answer_at)
        mass = first[..., s.needle[0]:s.needle[1]].sum(-1).amax(-1)  # best row of each head
        mass_of.append(mass)
        heads_on.append((mass > 0.5).sum().item())
    return {"jaccard_between_heads": round(float(np.mean(between)), 3),
            "jaccard_step_2_and_7": round(float(np.mean(over_steps)), 3),
            "heads_above_half_on_needle": round(float(np.mean(heads_on)), 2),
            "needle_mass_by_layer_and_head": [[round(m, 2) for m in row] for row in torch.stack(mass_of).mean(0).tolist()]}


def premises(model: MaskedDiffusionLM, corpus: Corpus, n: int, lengths: tuple[int, ...]) -> dict:
    """Acceptance items 1 to 4, for kv and both needles."""
    found = {}
    for task in CELLS:
        for length in lengths:
            samples = cell(task, corpus, length, n)
            found[f"{task} {length}"] = {
                "dense": rate(answers(model, samples)),
                "window_25": rate(answers(model, samples, window_mask(0.25))),
                "needle_hidden": rate(answers(model, samples, hide_needle)),
                "needle_hidden_from_response": rate(answers(model, samples, hide_from_response)),
                **attention_figures(model, samples[:16])}
    return found


# ---- text --------------------------------------------------------------------------------

def windows(corpus: Corpus, length: int, count: int) -> Tensor:
    """Evenly spread windows of held-out text -> [count, length]."""
    starts = np.linspace(0, len(corpus.text) - length - 1, count).astype(int)
    return torch.from_numpy(np.stack([corpus.text[s:s + length] for s in starts]).astype(np.int64))


@torch.no_grad()
def text_figures(model: MaskedDiffusionLM, corpus: Corpus, count: int = 64, length: int = 512) -> dict:
    """{share masked: nats and accuracy at masked bytes in one forward}"""
    text, found = windows(corpus, length, count), {}
    for share in (0.15, 0.30, 0.50, 0.85):
        masked = torch.rand(text.shape, generator=torch.Generator().manual_seed(5)) < share
        logits = torch.cat([model(torch.where(m, MASK, t), straight_positions(t))
                            for t, m in zip(text.split(16), masked.split(16))])[masked]
        found[f"{share:.2f}"] = {"nats": round(F.cross_entropy(logits, text[masked]).item(), 4),
                                 "accuracy": round((logits.argmax(-1) == text[masked]).float().mean().item(), 4)}
    return found


def infill_figures(model: MaskedDiffusionLM, corpus: Corpus, count: int = 16, length: int = 1024) -> dict:
    """Byte accuracy of greedy filling in 1 and in 16 steps; `word` cuts whole words instead of bytes."""
    found = {}
    for share in (0.15, 0.30):
        for steps in (1, 16):
            right = total = 0
            for i, text in enumerate(windows(corpus, length, count)):
                masked = torch.rand(length, generator=torch.Generator().manual_seed(i)) < share
                filled, _, _ = decode(model, torch.where(masked, MASK, text)[None], steps)
                right, total = right + (filled[0] == text)[masked].sum().item(), total + masked.sum().item()
            found[f"{share:.2f} in {steps}"] = round(right / total, 4)
    return found


# ---- the whole ---------------------------------------------------------------------------

def evaluate(model: MaskedDiffusionLM, corpus: Corpus, n: int) -> dict:
    """All figures; n samples a cell."""
    return {"samples_a_cell": n, "seed": 1,
            "exact_match": retrieval(model, corpus, n),
            "needle_between_sentences": {
                task: {str(length): rate(answers(model, cell(task, corpus, length, n, sentence=True)))
                       for length in (512, 1024, 2048, 4096)} for task in ("needle-short", "needle-long")},
            "answer_slot_32": {task: {"512": rate(answers(model, cell(task, corpus, 512, n, slot=32)))} for task in CELLS},
            "premises": premises(model, corpus, n, (256, 512, 1024)),
            "text": text_figures(model, corpus), "infill": infill_figures(model, corpus)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="model folder or checkpoint")
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", help="JSON file")
    parser.add_argument("--n", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="retrieval up to 1,024 and text only")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, corpus, begin = load_model(Path(args.model)), load_held_out(Path(args.data)), time.time()
    if args.quick:
        for task, lengths in CELLS.items():
            CELLS[task] = tuple(x for x in lengths if x <= 1024)
        result = {"exact_match": retrieval(model, corpus, args.n), "text": text_figures(model, corpus, 16)}
    else:
        result = evaluate(model, corpus, args.n)
    if args.out:
        Path(args.out).write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result), f"\n{time.time() - begin:.0f} s")


if __name__ == "__main__":
    main()
