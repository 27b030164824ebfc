"""samplers.py: the published samplers of LLaDA (arXiv 2502.09992), Dream (arXiv 2508.15487) and
threshold decoding (arXiv 2505.22618), over logits that are given, with noise from rng.py.

Written from the descriptions, one decision after the other, in double precision; README.md states
the rules in words. Canvas positions are absolute; `step` counts the steps run so far, over all
blocks. Nothing here knows a network, a logits shift or a tokenizer.
"""
from dataclasses import dataclass, replace

import numpy as np

import rng

LLADA = ("low_confidence", "random")
ENDS = {"forbid_eos": slice(None), "logits_eos_inf": slice(1)}  # end ids that are never chosen
DREAM = ("origin", "maskgit_plus", "topk_margin", "entropy")

QUIRK_BF16_CONFIDENCE = 1
QUIRK_ZERO_STEP = 2
QUIRK_SAMPLE_MASK = 4
QUIRK_SAMPLE_PADDING = 8
QUIRK_EOS_ALIAS = 16


@dataclass
class Options:
    """As in lac_generate_options, zero = off, plus the facts of the model that samplers need.
    Floats are float32 in the C struct: they are rounded to float32 and then used as doubles."""
    algorithm: str = "low_confidence"
    steps: int = 0           # 0 = one per hole
    block_length: int = 0    # 0 = 32 for LLaDA, all holes for Dream
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 0.0
    threshold: float = 0.0
    alg_temp: float = 0.0
    eps: float = 0.0         # 0 = 1e-3
    cfg_scale: float = 0.0
    seed: int = 0
    forbid_eos: bool = False
    late_eos: bool = False
    logits_eos_inf: bool = False
    confidence_eos_eot_inf: bool = False
    block_order: bool = False  # top-k before top-p, as block-wise models have it
    quirks: int = 0
    fused_times: bool = True  # see dream_times
    mask_id: int = 40
    n_tokens: int = 45
    eos_ids: tuple = (41, 42)

    def __post_init__(self):
        for name in ("temperature", "top_p", "threshold", "alg_temp", "eps", "cfg_scale"):
            setattr(self, name, float(np.float32(getattr(self, name))))


class Closeness:
    """Collects how near every decision between floating-point numbers was, so that goldens hold
    only decisions that no rounding can turn. Exact ties have a rule and are counted apart."""

    def __init__(self):
        self.smallest, self.ties = np.inf, 0

    def note(self, a, b):
        if a == b:
            self.ties += 1
        elif np.isfinite(a) and np.isfinite(b):
            self.smallest = min(self.smallest, abs(a - b) / max(1.0, abs(a), abs(b)))


# ------------------------------------------------------------------ one row

def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def to_bf16(x):
    """float32 values rounded to the nearest bfloat16, ties to even, as float32."""
    bits = np.asarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    bits = (bits + 0x7FFF + (bits >> np.uint64(16) & np.uint64(1))) & np.uint64(0xFFFF0000)
    return bits.astype(np.uint32).view(np.float32)


def bf16_softmax(x):
    """What torch.softmax does to a bfloat16 tensor: logits rounded to bfloat16, exponentials, sum
    and quotient in float32, the probability rounded to bfloat16."""
    x = to_bf16(x.astype(np.float32))
    e = np.exp(x - x.max(), dtype=np.float32)
    return to_bf16(e / np.cumsum(e, dtype=np.float32)[-1]).astype(np.float64)


def allowed(row, o):
    """Row of float32 logits as doubles, with what must not be chosen at -inf."""
    x = row.astype(np.float64)
    if not o.quirks & QUIRK_SAMPLE_MASK:
        x[o.mask_id] = -np.inf
    if not o.quirks & QUIRK_SAMPLE_PADDING:
        x[o.n_tokens:] = -np.inf
    for name, which in ENDS.items():
        if getattr(o, name):
            x[list(o.eos_ids[which])] = -np.inf
    return x


def judged(x, o):
    """The row that confidence is taken from. LLaDA's confidence_eos_eot_inf removes both end logits
    there; under EOS_ALIAS, at a temperature above 0, it misses the first."""
    if not o.confidence_eos_eot_inf:
        return x
    misses = o.quirks & QUIRK_EOS_ALIAS and o.temperature > 0
    x = x.copy()
    x[list(o.eos_ids[1 if misses else 0:])] = -np.inf
    return x


def keep_top_k(z, k):
    """The k largest, of equal ones the lower ids."""
    if k > 0:
        z[np.argsort(-z, kind="stable")[k:]] = -np.inf


def keep_top_p(z, top_p, close):
    """Ids before which at most top_p of the probability lies: the one that crosses stays."""
    if 0 < top_p < 1:
        order = np.argsort(-z, kind="stable")
        before = np.cumsum(softmax(z)[order])  # before[i] is what precedes order[i + 1]
        for value in before[np.isfinite(z[order])]:
            close.note(value, top_p)
        z[order[1 + int((before[:-1] <= top_p).sum()):]] = -np.inf


def filtered(x, o, close):
    """Logits over temperature with everything that the filters drop at -inf: top-p of the whole row,
    then top-k (Dream), or top-k, then top-p of what is left (SDAR)."""
    z = x / o.temperature if o.temperature > 0 else x.copy()
    if o.block_order:
        keep_top_k(z, o.top_k)
    keep_top_p(z, o.top_p, close)
    if not o.block_order:
        keep_top_k(z, o.top_k)
    return z


def gumbel(u):
    return -np.log(-np.log(u))


def note_best(scores, close):
    top = np.sort(scores)[-2:]
    close.note(top[0], top[1])


def choose_llada(x, o, stream, close):
    """Argmax of logits plus temperature times Gumbel noise, one number per id."""
    if o.temperature == 0:
        return int(np.argmax(x))
    z = filtered(x, o, close)
    noisy = np.where(np.isfinite(z), x, -np.inf)
    noisy = noisy + o.temperature * gumbel(rng.unit(stream, np.arange(len(x))))
    note_best(noisy, close)
    return int(np.argmax(noisy))


def choose_dream(z, p, o, stream, close):
    """One uniform number against the running sum of probabilities, in order of id."""
    if o.temperature == 0:
        return int(np.argmax(z))
    running = np.cumsum(p)
    target = float(rng.unit(stream, 0)) * running[-1]
    for value in running:
        close.note(value, target)
    above = np.nonzero(running > target)[0]
    return int(above[0]) if len(above) else int(np.nonzero(p > 0)[0][-1])


def choose(row, o, step, position, close):
    """Candidate of one position: (id, confidence, log-probability)."""
    row = np.asarray(row, dtype=np.float32)
    x = allowed(row, o)
    stream = rng.key(o.seed, rng.TOKEN, step, position)
    if o.algorithm in LLADA and not o.block_order:
        chosen = choose_llada(x, o, stream, close)
        if o.algorithm == "random":
            confidence = float(rng.unit(rng.key(o.seed, rng.ORDER, step, position), 0))
        elif o.quirks & QUIRK_BF16_CONFIDENCE:
            confidence = float(bf16_softmax(judged(x, o))[chosen])
        else:
            confidence = float(softmax(judged(x, o))[chosen])
    else:
        z = filtered(x, o, close)
        p = softmax(z)
        chosen = choose_dream(z, p, o, stream, close)
        is_left_out = judged(z, o)[chosen] == -np.inf
        p = softmax(judged(z, o))
        if is_left_out:
            confidence = -np.inf if o.algorithm == "entropy" else 0.0
        elif o.algorithm == "topk_margin":
            second, best = np.sort(p)[-2:]
            confidence = float(best - second)
        elif o.algorithm == "entropy":
            confidence = float((p * np.log(p + 1e-10)).sum())
        else:
            confidence = float(p[chosen])
    given = row.astype(np.float64)
    top = given.max()
    logprob = float(given[chosen] - top - np.log(np.exp(given - top).sum()))
    return chosen, confidence, logprob


def guide(plain, unguided, scale):
    """Classifier-free guidance, every operation rounded to float32."""
    plain, unguided = np.float32(plain), np.float32(unguided)
    return unguided + (np.float32(scale) + np.float32(1)) * (plain - unguided)


# ------------------------------------------------------------------ schedules

def resolve(o, n_holes):
    """Fills in what zero means."""
    block = o.block_length or (32 if o.algorithm in LLADA else n_holes)
    return replace(o, steps=o.steps or n_holes, block_length=min(block, n_holes), eps=o.eps or 1e-3)


def split_blocks(holes, block_length):
    return [holes[i:i + block_length] for i in range(0, len(holes), block_length)]


def block_steps(n_holes, block_length, steps):
    """Steps of every block: the share of `steps` up to its end, less the share before it; a block
    has at least one."""
    ends = list(range(block_length, n_holes, block_length)) + [n_holes]
    begins = [0] + ends[:-1]
    return [max(1, steps * e // n_holes - steps * b // n_holes) for b, e in zip(begins, ends)]


def llada_counts(n_masked, steps):
    """Positions to fix in every step of a block."""
    return [n_masked // steps + (1 if i < n_masked % steps else 0) for i in range(steps)]


def dream_times(eps, steps, fused=True):
    """linspace(1, eps, steps + 1) in float32: the increment is rounded to float32, the values are
    built from both ends and rounded once, as by a fused multiply-add, which is what torch does.
    Without `fused` the product is rounded too; no golden depends on which."""
    eps = np.float32(eps if eps > 0 else 1e-3)
    d = (eps - np.float32(1)) / np.float32(steps)
    n = steps + 1
    if not fused:
        return [np.float32(1) + d * np.float32(i) if i < n // 2 else
                eps - d * np.float32(n - 1 - i) for i in range(n)]
    d = float(d)
    return [np.float32(1 + d * i) if i < n // 2 else np.float32(float(eps) - d * (n - 1 - i))
            for i in range(n)]


def dream_count(n_masked, t, s, is_last, quirks):
    """Positions to fix; t and s, the float32 times of this step and the next, act as doubles. Where
    there are more steps than positions the count is as published, as under ZERO_STEP."""
    if is_last:
        return n_masked
    n = int(n_masked * (1 - float(s) / float(t)))
    return n if quirks & QUIRK_ZERO_STEP else max(1, n)


# ------------------------------------------------------------------ one step

def largest(positions, scores, n, close):
    """The n positions of largest score, equal scores by lower position."""
    order = sorted(positions, key=lambda p: (-scores[p], p))
    if 0 < n < len(order):
        close.note(scores[order[n - 1]], scores[order[n]])
    return sorted(order[:n])


def pick_origin(masked, o, step, t, s, is_last, close):
    chance = 1.0 if is_last else 1 - float(s) / float(t)
    out = []
    for p in masked:
        u = float(rng.unit(rng.key(o.seed, rng.FLIP, step, p), 0))
        close.note(u, chance)
        if is_last or u < chance:
            out.append(p)
    return out


def ranks(masked, candidates, o, step):
    """What positions are ordered by: the confidence, with noise for alg_temp; last of all where the
    candidate is an end token that late_eos holds back."""
    out = {}
    for p in masked:
        chosen, confidence, _ = candidates[p]
        if o.alg_temp > 0 and o.algorithm in DREAM:
            noise = gumbel(rng.unit(rng.key(o.seed, rng.PICK, step, p), 0))
            confidence = confidence / o.alg_temp + float(noise)
        out[p] = -np.inf if o.late_eos and chosen in o.eos_ids else confidence
    return out


def pick(masked, rank, o, step, index, times, counts, close):
    """Positions that this step fixes, from the open positions `masked` of the block. `index` is
    the step within the block; the last step fixes all that is left."""
    is_last = index == len(counts) - 1
    if o.threshold > 0:
        if is_last:
            return list(masked)
        for p in masked:
            close.note(rank[p], o.threshold)
        best = largest(masked, rank, 1, close)
        return [p for p in masked if rank[p] >= o.threshold or p in best]
    if o.algorithm in LLADA:
        return largest(masked, rank, min(counts[index], len(masked)), close)
    t, s = times[index], times[index + 1]
    if o.algorithm == "origin":
        return pick_origin(masked, o, step, t, s, is_last, close)
    n = min(dream_count(len(masked), t, s, is_last, o.quirks), len(masked))
    return largest(masked, rank, n, close)


def generate(logits, holes, o, close):
    """Fills the holes (ascending canvas positions). `logits(step, position)` gives a float32 row,
    guided already. Returns per hole: id, step, logprob, confidence; and per step: count fixed."""
    o = resolve(o, len(holes))
    block_length = o.block_length
    planned = block_steps(len(holes), block_length, o.steps)
    done, fixed, step = {}, [], 0
    for block, n_steps in zip(split_blocks(holes, block_length), planned):
        counts = llada_counts(len(block), n_steps)
        times = dream_times(o.eps, n_steps, o.fused_times)
        for index in range(n_steps):
            masked = [p for p in block if p not in done]
            if not masked:
                break
            candidates = {p: choose(logits(step, p), o, step, p, close) for p in masked}
            rank = ranks(masked, candidates, o, step)
            spare = QUIRK_ZERO_STEP if n_steps > len(block) else 0
            now = pick(masked, rank, replace(o, quirks=o.quirks | spare), step, index, times,
                       counts, close)
            for p in now:
                done[p] = (candidates[p][0], step, candidates[p][2], candidates[p][1])
            fixed.append(len(now))
            step += 1
    ids, step_map, logprobs, confidences = zip(*(done[p] for p in holes))
    return {"ids": list(ids), "step_map": list(step_map), "logprobs": list(logprobs),
            "confidence": list(confidences), "fixed_per_step": fixed, "n_steps": step,
            "n_steps_planned": sum(planned)}


def mock_logits(o, n_vocab, scale):
    """Made-up logits that C can make too: scale * (unit - 0.5), rounded to float32."""
    ids = np.arange(n_vocab)

    def row(purpose, step, position):
        u = rng.unit(rng.key(o.seed, purpose, step, position), ids)
        return (scale * (u - 0.5)).astype(np.float32)

    def logits(step, position):
        plain = row(rng.MOCK, step, position)
        if o.cfg_scale == 0:
            return plain
        return guide(plain, row(rng.MOCK_UNGUIDED, step, position), o.cfg_scale)

    return logits
