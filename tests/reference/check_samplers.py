"""check_samplers.py: holds rng.py and samplers.py against a second path.

    python check_samplers.py [--cc CC] [--include SRC]

1. compiles src/base/rng.h in a small C program and compares numbers;
2. a direct torch transcription of the published sampling loops (sections and steps as their papers
   and code describe them, in the published form: exponentials divided by powers, sorted
   cumulative sums, torch.linspace), fed with the same noise, against samplers.py;
3. the bfloat16 softmax and the schedule of times against torch.
"""
import argparse
import itertools
import os
import random
import subprocess
import tempfile

import numpy as np
import torch

import rng
import samplers

N_VOCAB = 50
C_PROGRAM = r"""
#include "base/rng.h"
#include <stdio.h>
#include <inttypes.h>
int main(void)
{
    uint64_t seed, counter;
    uint32_t purpose, step, position;
    while (scanf("%" SCNu64 " %" SCNu32 " %" SCNu32 " %" SCNu32 " %" SCNu64, &seed, &purpose, &step,
                 &position, &counter) == 5) {
        const uint64_t key = laci_rng_key(seed, purpose, step, position);
        printf("%" PRIu64 " %" PRIu64 " %a\n", key, laci_rng_u64(key, counter),
               laci_rng_unit(key, counter));
    }
    return 0;
}
"""


def check_rng(cc, include):
    draw = random.Random(1)
    lines = [(draw.getrandbits(draw.choice([3, 32, 64])), draw.choice([1, 2, 3, 4, 98, 99]),
              draw.getrandbits(draw.choice([4, 32])), draw.getrandbits(draw.choice([4, 32])),
              draw.getrandbits(draw.choice([6, 64]))) for _ in range(5000)]
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "r.c"), os.path.join(folder, "r")
        with open(source, "w", encoding="utf-8") as f:
            f.write(C_PROGRAM)
        subprocess.run([cc, "-std=c11", "-O2", "-I", include, source, "-o", program], check=True)
        text = "".join("%d %d %d %d %d\n" % line for line in lines)
        out = subprocess.run([program], input=text, capture_output=True, text=True, check=True)
    wrong = 0
    for line, answer in zip(lines, out.stdout.splitlines(), strict=True):
        key, number, unit = answer.split()
        mine = rng.key(*line[:4])
        counter = np.uint64(line[4])
        wrong += (int(mine) != int(key) or int(rng.u64(mine, counter)) != int(number)
                  or float(rng.unit(mine, counter)) != float.fromhex(unit))
    print(f"rng: {len(lines)} numbers, {wrong} differ")
    return wrong


# ------------------------------------------------------------------ published loops, in torch

def unit(seed, purpose, step, position, counters):
    numbers = rng.unit(rng.key(seed, purpose, step, position), np.asarray(counters))
    return torch.tensor(numbers, dtype=torch.float64)


def mock_rows(o, scale, step, n, purpose=rng.MOCK):
    rows = [scale * (unit(o.seed, purpose, step, p, range(N_VOCAB)) - 0.5) for p in range(n)]
    x = torch.stack(rows).to(torch.float32)
    return x


def forbid(x, o):
    x[:, o.mask_id] = -torch.inf
    x[:, o.n_tokens:] = -torch.inf
    return x


def llada_torch(o, prompt_length, gen_length, scale):
    """The loop of LLaDA: whole blocks, equal steps per block."""
    n = prompt_length + gen_length
    x = torch.full((n,), o.mask_id)
    x[:prompt_length] = 0
    when = torch.full((n,), -1)
    blocks = gen_length // o.block_length
    per_block = o.steps // blocks
    for block in range(blocks):
        begin = prompt_length + block * o.block_length
        end = begin + o.block_length
        total = (x[begin:end] == o.mask_id).sum()
        transfer = torch.zeros(per_block, dtype=torch.int64) + total // per_block
        transfer[:total % per_block] += 1
        for i in range(per_block):
            step = block * per_block + i
            mask_index = x == o.mask_id
            logits = mock_rows(o, scale, step, n)
            if o.cfg_scale > 0:
                un = mock_rows(o, scale, step, n, rng.MOCK_UNGUIDED)
                logits = un + (o.cfg_scale + 1) * (logits - un)
            logits = forbid(logits, o)
            noisy = logits.to(torch.float64)
            if o.temperature > 0:
                u = torch.stack([unit(o.seed, rng.TOKEN, step, p, range(N_VOCAB))
                                 for p in range(n)])
                noisy = noisy.exp() / (-torch.log(u)) ** o.temperature
            x0 = noisy.argmax(-1)
            if o.algorithm == "low_confidence":
                prob = torch.softmax(logits.to(torch.float64), -1)
                x0_p = prob.gather(-1, x0[:, None])[:, 0]
            else:
                x0_p = torch.stack([unit(o.seed, rng.ORDER, step, p, 0) for p in range(n)])
            x0_p[end:] = -torch.inf
            confidence = torch.where(mask_index, x0_p, -torch.inf)
            select = torch.sort(confidence, descending=True, stable=True).indices[:transfer[i]]
            x[select] = x0[select]
            when[select] = step
    return x[prompt_length:].tolist(), when[prompt_length:].tolist()


def dream_sample(logits, o, noise):
    """Tokens and confidence of the masked rows, as the Dream code does it."""
    logits = logits.to(torch.float64)
    if o.temperature > 0:
        logits = logits / o.temperature
    if 0 < o.top_p < 1:
        sorted_logits, order = torch.sort(logits, descending=True)
        cumulative = torch.cumsum(torch.softmax(sorted_logits, -1), -1)
        remove = cumulative > o.top_p
        remove[..., 1:] = remove[..., :-1].clone()
        remove[..., 0] = False
        drop = torch.zeros_like(remove).scatter(-1, order, remove)
        logits = logits.masked_fill(drop, -torch.inf)
    if o.top_k > 0:
        kth = torch.topk(logits, min(o.top_k, logits.shape[-1])).values[..., -1, None]
        logits = logits.masked_fill(logits < kth, -torch.inf)
    probs = torch.softmax(logits, -1)
    if o.temperature > 0:
        running = probs.cumsum(-1)
        x0 = torch.searchsorted(running, (noise * running[:, -1])[:, None], right=True)[:, 0]
        confidence = probs.gather(-1, x0[:, None])[:, 0]
    else:
        confidence, x0 = probs.max(-1)
    if o.algorithm == "topk_margin":
        top = probs.sort(descending=True).values
        confidence = top[:, 0] - top[:, 1]
    elif o.algorithm == "entropy":
        confidence = (probs * torch.log(probs + 1e-10)).sum(-1)
    return confidence, x0


def dream_torch(o, prompt_length, gen_length, scale):
    """The loop of Dream, all positions at once; counts in double where the code has float32."""
    n = prompt_length + gen_length
    x = torch.full((n,), o.mask_id)
    x[:prompt_length] = 0
    when = torch.full((n,), -1)
    times = torch.linspace(1, o.eps or 1e-3, o.steps + 1)
    for i in range(o.steps):
        masked = torch.nonzero(x == o.mask_id)[:, 0]
        if len(masked) == 0:
            break
        logits = forbid(mock_rows(o, scale, i, n), o)[masked]
        noise = torch.stack([unit(o.seed, rng.TOKEN, i, int(p), 0) for p in masked])
        confidence, x0 = dream_sample(logits, o, noise)
        share = 1 - times[i + 1].double() / times[i].double()
        if o.algorithm == "origin":
            flip = torch.stack([unit(o.seed, rng.FLIP, i, int(p), 0) for p in masked])
            select = torch.nonzero(flip < (share if i < o.steps - 1 else 1))[:, 0]
        else:
            count = int(len(masked) * share) if i < o.steps - 1 else len(masked)
            if not o.quirks & samplers.QUIRK_ZERO_STEP:
                count = max(count, 1)
            if o.alg_temp > 0:  # an exponential race draws without replacement in proportion
                weight = torch.softmax(confidence / o.alg_temp, -1)
                u = torch.stack([unit(o.seed, rng.PICK, i, int(p), 0) for p in masked])
                confidence = weight / -torch.log(u)
            # torch.topk leaves the order of equal values open; the lower position goes first
            select = torch.sort(confidence, descending=True, stable=True).indices[:count]
        x[masked[select]] = x0[select]
        when[masked[select]] = i
    return x[prompt_length:].tolist(), when[prompt_length:].tolist()


def compare(name, transcription, options, scale, prompt_length, gen_length):
    """Returns 1 when ids or steps differ."""
    ids, when = transcription(options, prompt_length, gen_length, scale)
    holes = list(range(prompt_length, prompt_length + gen_length))
    logits = samplers.mock_logits(options, N_VOCAB, scale)
    mine = samplers.generate(logits, holes, options, samplers.Closeness())
    # samplers.py numbers the steps it runs; the published loops run none after the last token
    if mine["ids"] == ids and mine["step_map"] == when:
        return 0
    print(f"differs: {name} {options}")
    return 1


def check_loops():
    n_runs = n_wrong = 0
    geometry = [(32, 16, 32), (32, 16, 8), (24, 24, 7), (40, 10, 20)]
    for (gen, block, steps), seed, temperature, algorithm, cfg in itertools.product(
            geometry, range(3), (0, 0.3, 1.0), samplers.LLADA, (0, 1.5)):
        o = samplers.Options(algorithm, steps=steps, block_length=block, temperature=temperature,
                             seed=seed, cfg_scale=cfg)
        n_wrong += compare("llada", llada_torch, o, 8.0 if seed else 30.0, 5, gen)
        n_runs += 1
    print(f"llada: {n_runs} generations, {n_wrong} differ")
    wrong, n_runs = n_wrong, 0
    n_wrong = 0
    for (gen, steps), temperature, (top_p, top_k), algorithm, alg_temp, quirks in itertools.product(
            [(40, 40), (40, 20), (33, 12)], (0, 0.2, 1.0), [(0, 0), (0.9, 0), (0, 5), (0.8, 7)],
            samplers.DREAM, (0, 0.1), (0, samplers.QUIRK_ZERO_STEP)):
        o = samplers.Options(algorithm, steps=steps, temperature=temperature, top_p=top_p,
                             top_k=top_k, alg_temp=alg_temp, quirks=quirks, seed=7 + steps)
        n_wrong += compare("dream", dream_torch, o, 8.0, 3, gen)
        n_runs += 1
    print(f"dream: {n_runs} generations, {n_wrong} differ")
    return wrong + n_wrong


def check_arithmetic():
    wrong = 0
    for steps in range(1, 1025):
        for eps in (1e-3, 1e-5, 0.1):
            mine = np.array(samplers.dream_times(eps, steps), dtype=np.float32)
            wrong += not np.array_equal(mine, torch.linspace(1, eps, steps + 1).numpy())
    print(f"times: 3072 schedules, {wrong} differ from torch.linspace in some bit")
    counts = other = 0
    all_times = {n: samplers.dream_times(0, n) for n in range(1, 129)}
    for n, steps in itertools.product(range(1, 129), range(1, 129)):
        times = all_times[steps]
        left = n
        for i in range(steps - 1):
            t, s = times[i], times[i + 1]
            double = samplers.dream_count(left, t, s, False, samplers.QUIRK_ZERO_STEP)
            single = int(np.float32(left) * (np.float32(1) - s / t))
            counts += 1
            other += double != single
            left -= double
            if left == 0:
                break
    print(f"dream counts: {counts} steps, {other} differ when computed in float32")
    generator = torch.Generator().manual_seed(1)
    bits = 0
    for scale in (1, 4, 20, 100):
        x = (scale * torch.randn(2000, N_VOCAB, generator=generator)).to(torch.float32)
        theirs = torch.softmax(x.to(torch.bfloat16), -1).double().numpy()
        mine = np.stack([samplers.bf16_softmax(row.astype(np.float64)) for row in x.numpy()])
        bits += int((theirs != mine).sum())
    print(f"bf16 softmax: {4 * 2000 * N_VOCAB} values, {bits} differ from torch")
    return wrong


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser()
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--include", default=os.path.join(here, "..", "..", "src"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    wrong = check_rng(args.cc, args.include) + check_loops() + check_arithmetic()
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
