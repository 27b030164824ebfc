"""make_samplers.py: writes samplers.json: single-row choices, schedules and whole generations.

    python make_samplers.py ../golden/samplers.json

Every case whose outcome hangs on a difference that rounding could turn is dropped or drawn again
with the next seed; exact ties stay, because they have a rule.
"""
import json
import random
import sys
from dataclasses import asdict, replace

import numpy as np

import fast_dllm
import rng
import samplers
import sdar
from samplers import Closeness, Options

N_VOCAB = 50
N_CANVAS = 40
OPTIONS = ("algorithm", "steps", "block_length", "temperature", "top_k", "top_p", "threshold",
           "alg_temp", "eps", "cfg_scale", "seed", "forbid_eos", "late_eos", "logits_eos_inf",
           "confidence_eos_eot_inf", "block_order", "quirks", "eos_ids")
# what a single row's choice depends on
ROW_OPTIONS = ("algorithm", "temperature", "top_k", "top_p", "seed", "forbid_eos", "logits_eos_inf",
               "confidence_eos_eot_inf", "block_order", "quirks", "eos_ids")
RARE = ("logits_eos_inf", "confidence_eos_eot_inf", "block_order")  # written where they are on


def nine(x):
    return float("%.9g" % x)


def short(x):
    """A float32 option as the shortest decimal that reads back as the same float32."""
    return float(str(np.float32(x))) if isinstance(x, float) else x


def plain(o):
    return {k: short(v) for k, v in asdict(o).items() if k in OPTIONS and (v or k not in RARE)}


def bf16_is_safe(row, o):
    """Whether the confidence of the best id rounds to the same bfloat16 value from sums in any
    order, in float32 or better."""
    x = samplers.judged(samplers.allowed(np.asarray(row, dtype=np.float32), o), o)
    exact = samplers.softmax(samplers.to_bf16(x.astype(np.float32)).astype(np.float64))
    best = np.argmax(x)
    for scale in (1 - 3e-6, 1, 1 + 3e-6):
        near = samplers.to_bf16(np.float32([exact[best] * scale]))[0]
        if near != samplers.bf16_softmax(x)[best]:
            return False
    return True


# ------------------------------------------------------------------ sections

def rng_section():
    draw, out = random.Random(3), []
    for _ in range(12):
        seed = draw.getrandbits(draw.choice([4, 64]))
        counter = draw.getrandbits(draw.choice([6, 64]))
        purpose, step = draw.choice([1, 2, 3, 4, 99]), draw.getrandbits(draw.choice([5, 32]))
        position = draw.getrandbits(draw.choice([5, 32]))
        key = rng.key(seed, purpose, step, position)
        out.append({"seed": hex(seed), "purpose": purpose, "step": step, "position": position,
                    "counter": hex(counter), "key": hex(int(key)),
                    "u64": hex(int(rng.u64(key, np.uint64(counter)))),
                    "unit": float(rng.unit(key, np.uint64(counter)))})
    return out


def make_rows():
    """Rows of logits. -inf cannot be written in JSON: those ids are listed, their logit is 0."""
    draw = np.random.Generator(np.random.PCG64(50))
    rows = []

    def add(name, logits, minus_inf=()):
        logits = [round(float(v), 4) for v in logits]
        for i in minus_inf:
            logits[i] = 0.0
        rows.append({"name": name, "logits": logits, "minus_inf": list(minus_inf)})

    for i in range(6):
        add(f"normal-{i}", 2.5 * draw.standard_normal(N_VOCAB))
    for i in range(3):
        x = draw.standard_normal(N_VOCAB)
        x[draw.integers(0, 40)] += 9
        add(f"peaky-{i}", x)
    add("flat", np.zeros(N_VOCAB))
    add("nearly-flat", 0.01 * draw.standard_normal(N_VOCAB))
    for i in range(3):
        add(f"ties-{i}", np.round(1.2 * draw.standard_normal(N_VOCAB)))
    x = np.full(N_VOCAB, -3.0)
    x[[7, 19]] = 5
    add("two-equal-best", x)
    for i in range(2):
        add(f"minus-inf-{i}", 2 * draw.standard_normal(N_VOCAB),
            sorted(int(v) for v in draw.choice(38, 25, replace=False)))
    add("one-finite", draw.standard_normal(N_VOCAB), [i for i in range(N_VOCAB) if i != 11])
    x = 2 * draw.standard_normal(N_VOCAB)
    x[40] = 12
    add("mask-best", x)
    x = 2 * draw.standard_normal(N_VOCAB)
    x[47] = 12
    add("padding-best", x)
    x = 2 * draw.standard_normal(N_VOCAB)
    x[41], x[42] = 9, 8.5
    add("end-best", x)
    add("large", 400 + 90 * draw.standard_normal(N_VOCAB))
    add("far-below", -600 + 3 * draw.standard_normal(N_VOCAB))
    add("saturated", 60 * draw.standard_normal(N_VOCAB))
    return rows


def row_values(row):
    x = np.array(row["logits"], dtype=np.float32)
    x[row["minus_inf"]] = -np.inf
    return x


def choice_settings():
    for temperature in (0, 0.3, 1.0):
        for algorithm in ("low_confidence", "maskgit_plus", "topk_margin", "entropy"):
            yield dict(algorithm=algorithm, temperature=temperature)
    yield dict(algorithm="random", temperature=0.5)
    yield dict(algorithm="origin", temperature=0.7)
    for top in (dict(top_k=1), dict(top_k=5), dict(top_p=0.9), dict(top_p=0.3), dict(top_p=1.0),
                dict(top_p=0.95, top_k=3), dict(top_p=0.4, top_k=10), dict(top_k=200)):
        yield dict(algorithm="maskgit_plus", temperature=0.8, **top)
        yield dict(algorithm="entropy", temperature=0, **top)
    yield dict(algorithm="topk_margin", temperature=0.6, top_p=0.7)
    yield dict(algorithm="low_confidence", temperature=0.9, top_k=4)
    yield dict(algorithm="low_confidence", temperature=0.9, top_p=0.8)
    yield dict(algorithm="low_confidence", quirks=samplers.QUIRK_BF16_CONFIDENCE)
    yield dict(algorithm="low_confidence", quirks=samplers.QUIRK_SAMPLE_MASK)
    yield dict(algorithm="maskgit_plus", quirks=samplers.QUIRK_SAMPLE_PADDING)
    yield dict(algorithm="low_confidence", forbid_eos=True, eos_ids=(41,))
    yield dict(algorithm="low_confidence", logits_eos_inf=True)
    for temperature in (0, 0.8):
        end = dict(confidence_eos_eot_inf=True, temperature=temperature)
        yield dict(algorithm="low_confidence", **end)
        yield dict(algorithm="low_confidence", quirks=samplers.QUIRK_EOS_ALIAS, **end)
        yield dict(algorithm="maskgit_plus", top_p=0.9, **end)
        yield dict(algorithm="topk_margin", top_k=6, **end)
    for top in (dict(top_k=3, top_p=0.9), dict(top_k=20, top_p=0.95), dict(top_k=4, top_p=0.3),
                dict(top_k=10), dict(top_p=0.8), dict(top_k=200, top_p=0.9)):
        yield dict(algorithm="low_confidence", temperature=0.9, block_order=True, **top)
    for algorithm in ("low_confidence", "topk_margin", "entropy"):
        yield dict(algorithm=algorithm, block_order=True, top_k=5, top_p=0.8)


def choice_section(rows):
    out, dropped = [], 0
    for index, row in enumerate(rows):
        x = row_values(row)
        for n, setting in enumerate(choice_settings()):
            o = Options(seed=1000 + 37 * index + n, **setting)
            if not np.isfinite(samplers.allowed(x, o)).any():
                continue
            step, position, close = (index * 5 + n) % 64, (index * 11 + n * 3) % 300, Closeness()
            chosen, confidence, logprob = samplers.choose(x, o, step, position, close)
            unsafe = o.quirks & samplers.QUIRK_BF16_CONFIDENCE and not bf16_is_safe(x, o)
            if close.smallest < 1e-9 or unsafe:
                dropped += 1
                continue
            case = {"row": index, "step": step, "position": position}
            case.update({k: v for k, v in plain(o).items() if k in ROW_OPTIONS})
            case.update(id=chosen, confidence=nine(confidence), logprob=nine(logprob))
            out.append(case)
    print(f"choices: {len(out)}, dropped as too close: {dropped}")
    return out


def dream_run(n_holes, block_length, steps, eps, quirks, fused=True):
    """Counts per step that runs, for the algorithms that take the best ones."""
    counts = []
    blocks = samplers.split_blocks(range(n_holes), block_length)
    for block, n_steps in zip(blocks, samplers.block_steps(n_holes, block_length, steps)):
        left, times = len(block), samplers.dream_times(eps, n_steps, fused)
        for i in range(n_steps):
            if left == 0:
                break
            n = samplers.dream_count(left, times[i], times[i + 1], i == n_steps - 1, quirks)
            counts.append(min(n, left))
            left -= counts[-1]
    return counts


def llada_run(n_holes, block_length, steps):
    counts = []
    blocks = samplers.split_blocks(range(n_holes), block_length)
    for block, n_steps in zip(blocks, samplers.block_steps(n_holes, block_length, steps)):
        counts += [n for n in samplers.llada_counts(len(block), n_steps) if n > 0]
    return counts


def schedule_section():
    out = []
    for n_holes, block_length, steps in ((128, 32, 128), (128, 32, 64), (128, 32, 37), (40, 16, 40),
                                         (34, 16, 10), (34, 34, 34), (34, 34, 17), (34, 10, 4),
                                         (5, 5, 5), (1, 1, 1), (9, 4, 3), (64, 64, 64),
                                         (512, 512, 512), (100, 7, 50)):
        for quirks in (0, samplers.QUIRK_ZERO_STEP):
            assert dream_run(n_holes, block_length, steps, 0, quirks) == dream_run(
                n_holes, block_length, steps, 0, quirks, fused=False)
        out.append({"n_holes": n_holes, "block_length": block_length, "steps": steps,
                    "block_steps": samplers.block_steps(n_holes, block_length, steps),
                    "llada": llada_run(n_holes, block_length, steps),
                    "dream": dream_run(n_holes, block_length, steps, 0, 0),
                    "dream_zero_step": dream_run(n_holes, block_length, steps, 0,
                                                 samplers.QUIRK_ZERO_STEP)})
    return out


TAIL = list(range(6, 40))                            # a prompt of 6, then 34 holes
SCATTERED = [i for i in range(40) if i % 3 and i != 20]  # holes among given text
ONE = [17]


def generation_cases():
    """(name, holes, logit scale, options); scale 8 gives soft rows, 60 and more confident ones."""
    low = dict(algorithm="low_confidence")
    yield "low_confidence", TAIL, 8, dict(low)
    yield "low_confidence ragged", TAIL, 8, dict(low, block_length=16)
    yield "low_confidence ragged few steps", TAIL, 8, dict(low, block_length=16, steps=10)
    yield "low_confidence scattered", SCATTERED, 8, dict(low, block_length=8)
    yield "low_confidence scattered few steps", SCATTERED, 8, dict(low, block_length=10, steps=9)
    yield "low_confidence one step a block", TAIL, 8, dict(low, steps=4, block_length=10)
    yield "low_confidence one hole", ONE, 8, dict(low)
    yield "low_confidence temperature", TAIL, 8, dict(low, temperature=0.7, block_length=16)
    yield "low_confidence temperature 1", SCATTERED, 20, dict(low, temperature=1.0, steps=12)
    yield "low_confidence top_k", TAIL, 8, dict(low, temperature=1.0, top_k=5)
    yield "low_confidence top_p", TAIL, 8, dict(low, temperature=0.8, top_p=0.9)
    yield "random", TAIL, 8, dict(algorithm="random", block_length=16)
    yield "random temperature", TAIL, 8, dict(algorithm="random", temperature=1.0, steps=12)
    yield "threshold", TAIL, 40, dict(low, threshold=0.5, block_length=16)
    yield "threshold high", SCATTERED, 60, dict(low, threshold=0.9)
    yield "threshold temperature", TAIL, 60, dict(low, threshold=0.8, temperature=0.5,
                                                  block_length=8)
    yield "threshold maskgit_plus", TAIL, 40, dict(algorithm="maskgit_plus", threshold=0.7,
                                                   block_length=16, temperature=0.4, top_p=0.9)
    yield "guidance", TAIL, 8, dict(low, cfg_scale=1.5, block_length=16)
    yield "guidance temperature", TAIL, 8, dict(low, cfg_scale=0.5, temperature=0.5, steps=20)
    quirk = samplers.QUIRK_BF16_CONFIDENCE
    yield "quirk bf16 confidence", TAIL, 400, dict(low, quirks=quirk, steps=10)
    yield "quirk bf16 confidence soft", TAIL, 60, dict(low, quirks=quirk, steps=10)
    yield "quirk sample padding", TAIL, 8, dict(low, quirks=samplers.QUIRK_SAMPLE_PADDING)
    yield "forbid_eos", TAIL, 8, dict(low, forbid_eos=True, eos_ids=(41,), block_length=16)
    yield "late_eos", TAIL, 8, dict(low, late_eos=True, block_length=16)
    judged = dict(low, confidence_eos_eot_inf=True, block_length=16)
    yield "confidence_eos_eot_inf quirk alias", TAIL, 8, dict(
        judged, temperature=0.7, quirks=samplers.QUIRK_EOS_ALIAS)
    for name in samplers.DREAM:
        alg = dict(algorithm=name)
        yield name, TAIL, 8, dict(alg)
        yield f"{name} few steps", SCATTERED, 8, dict(alg, steps=9)
        yield f"{name} temperature top_p", TAIL, 20, dict(alg, temperature=0.4, top_p=0.95,
                                                          steps=17)
        yield f"{name} blocks", TAIL, 8, dict(alg, block_length=16, steps=20, temperature=0.3)
    for name in samplers.DREAM[1:]:
        alg = dict(algorithm=name)
        yield f"{name} quirk zero step", TAIL, 8, dict(alg, quirks=samplers.QUIRK_ZERO_STEP)
        yield f"{name} alg_temp", TAIL, 8, dict(alg, alg_temp=0.1, steps=17)
    zero = samplers.QUIRK_ZERO_STEP
    yield "entropy quirk zero step half", TAIL, 8, dict(algorithm="entropy", quirks=zero, steps=17)
    yield "entropy top_k", TAIL, 8, dict(algorithm="entropy", temperature=1.0, top_k=5)
    yield "entropy top_p top_k", TAIL, 20, dict(algorithm="entropy", temperature=0.9, top_p=0.8,
                                                top_k=3, steps=20)
    yield "maskgit_plus top_k 1", TAIL, 8, dict(algorithm="maskgit_plus", top_k=1, steps=11)
    yield "entropy eps", TAIL, 8, dict(algorithm="entropy", eps=0.05, steps=12)
    yield "entropy alg_temp temperature", SCATTERED, 8, dict(
        algorithm="entropy", alg_temp=0.5, temperature=0.4, top_p=0.95, steps=13)
    yield "origin one hole", ONE, 8, dict(algorithm="origin")
    yield "entropy one step", TAIL, 8, dict(algorithm="entropy", steps=1)
    yield "entropy guidance", TAIL, 8, dict(algorithm="entropy", cfg_scale=1.0, steps=17)
    yield "logits_eos_inf", TAIL, 8, dict(low, logits_eos_inf=True, block_length=16)
    yield "confidence_eos_eot_inf", TAIL, 8, dict(judged)
    yield "confidence_eos_eot_inf temperature", TAIL, 8, dict(judged, temperature=0.7)
    yield "confidence_eos_eot_inf threshold", TAIL, 40, dict(judged, threshold=0.5)
    yield "low_confidence more steps than holes", TAIL, 8, dict(low, steps=51, block_length=16)
    for name in ("origin", "maskgit_plus", "entropy"):
        alg = dict(algorithm=name)
        yield f"{name} more steps than holes", TAIL, 8, dict(alg, steps=51)
        yield f"{name} one step more", SCATTERED, 8, dict(alg, steps=len(SCATTERED) + 1)
    yield "entropy many more steps in blocks", TAIL, 8, dict(
        algorithm="entropy", steps=140, block_length=10, temperature=0.5)
    wait = dict(algorithm="confidence_threshold", block_length=40)
    yield "confidence_threshold", TAIL, 40, dict(wait, threshold=0.9, steps=17)
    yield "confidence_threshold low", TAIL, 40, dict(wait, threshold=0.3, steps=17)
    yield "confidence_threshold one step", TAIL, 40, dict(wait, threshold=0.7, steps=1)
    yield "confidence_threshold one hole a step", SCATTERED, 40, dict(
        wait, threshold=0.7, steps=len(SCATTERED))
    yield "confidence_threshold uneven", SCATTERED, 40, dict(wait, threshold=0.6, steps=7)
    yield "confidence_threshold temperature", TAIL, 60, dict(
        wait, threshold=0.8, steps=17, temperature=0.5, top_p=0.95, top_k=5)


def has_effect(o, holes, scale, result):
    """Options that act on rare tokens must act in the golden, or it tests nothing."""
    watched = samplers.QUIRK_SAMPLE_PADDING | samplers.QUIRK_EOS_ALIAS
    published = o.logits_eos_inf or o.confidence_eos_eot_inf
    if not (o.forbid_eos or o.late_eos or published or o.quirks & watched):
        return True
    variants = [replace(o, forbid_eos=False, late_eos=False, logits_eos_inf=False,
                        confidence_eos_eot_inf=False), replace(o, quirks=0)]
    if o.logits_eos_inf:
        variants.append(replace(o, logits_eos_inf=False, forbid_eos=True))
    if o.confidence_eos_eot_inf:
        variants.append(replace(o, confidence_eos_eot_inf=False, late_eos=True))
    for other in variants:
        if other != o:
            logits = samplers.mock_logits(other, N_VOCAB, scale)
            if samplers.generate(logits, holes, other, Closeness())["ids"] == result["ids"]:
                return False
    return True


def run(logits, holes, o, close):
    is_fast = o.algorithm == "confidence_threshold"
    return (fast_dllm if is_fast else samplers).generate(logits, holes, o, close)


def bf16_generation_is_safe(o, holes, scale, n_steps):
    logits = samplers.mock_logits(o, N_VOCAB, scale)
    return all(bf16_is_safe(logits(s, p), o) for s in range(n_steps) for p in holes)


def make_generation(name, holes, scale, setting, first_seed):
    for seed in range(first_seed, first_seed + 400):
        o, close = Options(seed=seed, **setting), Closeness()
        result = run(samplers.mock_logits(o, N_VOCAB, scale), holes, o, close)
        if close.smallest < (1e-5 if o.cfg_scale > 0 else 1e-8):
            continue
        if o.quirks & samplers.QUIRK_BF16_CONFIDENCE and not bf16_generation_is_safe(
                o, holes, scale, result["n_steps"]):
            continue
        unfused = replace(o, fused_times=False)
        if run(samplers.mock_logits(o, N_VOCAB, scale), holes, unfused, Closeness()) != result:
            continue
        if has_effect(o, holes, scale, result):
            break
    else:
        raise SystemExit(f"{name}: no seed gives a robust case")
    print(f"{name}: seed {seed}, {result['n_steps']} steps, closest {close.smallest:.1g}, "
          f"ties {close.ties}")
    for key in ("logprobs", "confidence"):
        result[key] = [nine(v) for v in result[key]]
    return {"name": name, **plain(samplers.resolve(o, len(holes))), "logit_scale": scale,
            "n_canvas": N_CANVAS, "holes": holes, **result}


def generation_section():
    return [make_generation(*case, first_seed=1 + 500 * i)
            for i, case in enumerate(generation_cases())]


def block_cases():
    """(name, prompt, new tokens, block, rounds a block, logit scale, options)."""
    low = dict(algorithm="low_confidence", block_order=True)
    yield "a token a round", 9, 16, 4, 4, 8, dict(low)
    yield "ends inside a block", 8, 7, 4, 4, 8, dict(low)
    yield "two tokens a round", 10, 22, 4, 2, 8, dict(low)
    yield "one hole in the first block", 15, 9, 8, 3, 8, dict(low)
    yield "uneven rounds", 5, 30, 8, 3, 8, dict(low)
    yield "more rounds than positions", 6, 13, 4, 9, 8, dict(low)
    yield "one round", 3, 18, 8, 1, 8, dict(low)
    yield "one token", 4, 1, 4, 2, 8, dict(low)
    yield "within one block", 17, 5, 16, 5, 8, dict(low)
    yield "sequential", 10, 21, 8, 3, 8, dict(low, algorithm="sequential")
    yield "threshold", 9, 21, 8, 4, 30, dict(low, threshold=0.5)
    yield "threshold high", 9, 21, 8, 2, 60, dict(low, threshold=0.9)
    yield "top_k top_p", 9, 25, 4, 4, 8, dict(low, temperature=0.6, top_k=8, top_p=0.95)
    yield "top_k top_p threshold", 6, 27, 8, 4, 30, dict(
        low, temperature=0.8, top_k=5, top_p=0.8, threshold=0.85)


def block_generation(name, n_prompt, n_new, block, rounds, scale, setting, first_seed):
    for seed in range(first_seed, first_seed + 400):
        o, close = Options(seed=seed, **setting), Closeness()
        logits = samplers.mock_logits(o, N_VOCAB, scale)
        rows = lambda step, _, open_: {p: logits(step, p) for p in open_}
        ids, steps, n = sdar.generate(rows, n_prompt, n_new, block, rounds, o, close)
        other = replace(o, block_order=False)
        reversed_ = sdar.generate(rows, n_prompt, n_new, block, rounds, other, Closeness())
        if close.smallest >= 1e-8 and (o.top_p == 0 or reversed_[:2] != (ids, steps)):
            break
    else:
        raise SystemExit(f"{name}: no seed gives a robust case")
    print(f"blocks, {name}: seed {seed}, {n} steps, closest {close.smallest:.1g}")
    return {"name": name, **plain(o), "logit_scale": scale, "n_prompt": n_prompt, "n_new": n_new,
            "block": block, "block_steps": rounds, "ids": ids, "step_map": steps, "n_steps": n}


def block_section():
    return [block_generation(*case, first_seed=100001 + 500 * i)
            for i, case in enumerate(block_cases())]


# ------------------------------------------------------------------ file

def write(path, head, sections):
    """One entry a line."""
    def line(x):
        return json.dumps(x, separators=(",", ":"), allow_nan=False)

    with open(path, "w", encoding="utf-8") as f:
        f.write("{\n" + "".join(f' "{k}": {line(v)},\n' for k, v in head.items()))
        parts = [f' "{k}": [\n' + ",\n".join("  " + line(e) for e in v) + "\n ]"
                 for k, v in sections.items()]
        f.write(",\n".join(parts) + "\n}\n")


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: make_samplers.py FILE")
    rows = make_rows()
    write(sys.argv[1],
          {"note": "made by tests/reference/make_samplers.py; rules in tests/reference/README.md",
           "n_vocab": N_VOCAB, "mask_id": 40, "n_tokens": 45},
          {"rng": rng_section(), "rows": rows, "choices": choice_section(rows),
           "schedules": schedule_section(), "generations": generation_section(),
           "block_generations": block_section()})


if __name__ == "__main__":
    main()
