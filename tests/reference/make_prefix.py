"""make_prefix.py: what small random block-causal models decode under each policy behind a key cache.

    python make_prefix.py ../golden

Reads the models that make_blocks.py wrote and writes a prefix.json beside each. A case that hangs on
a near-tie, or whose logits dense attention would give too, is drawn again.
"""
import json
import os
import sys
from dataclasses import replace

import numpy as np
import torch

import models
import prefix
from make_blocks import TooClose, chosen, decode, proposals
from make_models import special_id, vocabulary

DENSE = prefix.Policy("dense", budget=1 << 30)


class Witness:
    """Collects what every step saw, as the golden file tells it."""

    def __init__(self, mask, n_ids):
        self.columns = [i for i in range(0, n_ids, 16) if i != mask]
        self.steps = []

    def see(self, position, row, read):
        """`row` of logits decides `position`, the first open one."""
        layers = [None if r is None else {"active": r[0], "lists": r[1]} for r in read]
        self.steps.append({"position": position, "layers": layers,
                           "logits": [float("%.7g" % row[i].item()) for i in self.columns]})


    def differs(self, other):
        return any(abs(a - b) > 1e-2 for s, o in zip(self.steps, other.steps)
                   for a, b in zip(s["logits"], o["logits"]))


def run(config, w, prompt, n_new, mask, n_ids, policy, shift, sub, witness):
    """Greedy, one token a step. Returns ids and, for each, the step that fixed it."""
    size, ids, fixed = config["block"], list(prompt), {}
    end, step = len(prompt) + n_new, 0
    while len(ids) < end:
        begin = len(ids) // size * size
        canvas = ids[begin:] + [None] * (begin + size - len(ids))
        if shift and begin == len(ids):  # the pass that stores what came before proposes a token
            row = models.forward(config, w, ids)[0][-1]
            witness.see(begin, row, [])
            canvas[0] = proposals(row[None], [0], mask, n_ids)[0][1]
            fixed[begin], step = step, step + 1
        block = prefix.Block(config, w, ids[:begin], policy)
        while any(v is None for v in canvas[:end - begin]):
            open_ = [i for i, v in enumerate(canvas[:end - begin]) if v is None]
            if sub:
                open_ = [i for i in open_ if i // sub == open_[0] // sub]
            logits, read = block.logits([mask if v is None else v for v in canvas])
            rows = [i - 1 if shift else i for i in open_]
            witness.see(begin + open_[0], logits[rows[0]], read)
            found = proposals(logits[rows], open_, mask, n_ids)
            at = chosen(found, 1, 0)[0]
            canvas[at] = found[at][1]
            fixed[begin + at], step = step, step + 1
        ids = ids[:begin] + canvas[:end - begin]
    return ids[len(prompt):], [fixed[i] for i in range(len(prompt), end)]


def cases_of(config, w, rng, mask, n_ids, shift, sub):
    P = prefix.Policy
    wanted = [P("quest", 32), P("quest", 64, page=32), P("losa", 32, active=2),
              P("losa", 20, active=1, min_change=0.05), P("losa", 48, active=3, min_change=0.02),
              P("losa", 32, active=2, refresh_steps=2), P("losa", 32, active=2, drift="hidden"),
              P("losa", 48, active=3, first_step="sparse"), P("mage", 21),
              P("flashblock", refresh_tokens=3), P("sparsed", 32),
              P("quest", 48, plan_group="kv"), P("losa", 48, active=2, plan_group="kv"),
              P("quest", 32, plan_group="head", select_every=3),
              P("losa", 32, active=2, select_every=3),
              P("losa", 32, active=2, selector="blocks"),
              P("losa", 64, active=3, min_change=0.01, page=32, selector="blocks")]
    size, cases = config["block"], []

    def reads_otherwise(witness, prompt, policy):
        """Whether other rows or pages are named without what the policy has of its own."""
        other = Witness(mask, n_ids)
        plain = replace(policy, drift="query", plan_group="", select_every=1)
        if plain == policy:
            return True
        run(config, w, prompt, n_new, mask, n_ids, plain, shift, sub, other)
        return any(s["layers"] != o["layers"] for s, o in zip(witness.steps, other.steps))

    for i, policy in enumerate(wanted):
        # Inside a block, and on the border of one; the last page of the prefix is ragged.
        n_prompt, n_new = (120 if i % 2 else 118), 2 * size + 2
        for _ in range(200):
            prompt = [int(v) for v in rng.integers(0, mask, n_prompt)]
            witness = Witness(mask, n_ids)
            try:
                ids, steps = run(config, w, prompt, n_new, mask, n_ids, policy, shift, sub, witness)
                is_own = reads_otherwise(witness, prompt, policy)
                other = Witness(mask, n_ids)
                dense, _ = run(config, w, prompt, n_new, mask, n_ids, DENSE, shift, sub, other)
                plain, _ = decode(config, w, prompt, n_new, mask, n_ids, 1, 0, shift, sub)
            except TooClose:
                continue
            assert dense == plain, "the cache alone changes a decode"
            if is_own and (ids != dense or witness.differs(other)):
                break
        else:
            raise SystemExit(f"{policy}: no case in 200 draws")
        print(f"{policy.name}: {ids != dense and 'other tokens' or 'other logits'}", flush=True)
        cases.append({**vars(policy), "prompt": prompt, "ids": ids, "step_map": steps,
                      "columns": witness.columns, "steps": witness.steps})
    return cases


def make(root, name, shift, sub, seed):
    rng = np.random.Generator(np.random.PCG64(seed))
    config, w = models.load_folder(os.path.join(root, name))
    mask, n_ids = special_id("lacuna", "<|mask|>"), len(vocabulary("lacuna")[0])
    with torch.no_grad():
        cases = cases_of(config, w, rng, mask, n_ids, shift, sub)
    with open(os.path.join(root, name, "prefix.json"), "w", encoding="utf-8") as f:
        f.write('{\n "cases": [\n' + ",\n".join(
            "  " + json.dumps(c, separators=(",", ":")) for c in cases) + "\n ]\n}\n")
    print(f"{name}: {len(cases)} decodes under policies")


def main():
    torch.set_num_threads(1)
    make(sys.argv[1], "sdar", False, 0, 260413)
    make(sys.argv[1], "fast-dllm", True, 4, 260414)


if __name__ == "__main__":
    main()
