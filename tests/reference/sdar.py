"""sdar.py: block-wise decoding as SDAR and the engine of dLLM-RL do it (arXiv 2510.06303, 2509.06949),
over rows of logits that are given.

Blocks are those of the whole canvas, counted from its first position; prompt and answer are rounded
up to whole blocks. Every block gets `rounds` rounds, the ones that are open in part too; round r is
meant to fix B div rounds positions, one more while r < B mod rounds, whatever is open. All of the
last block is denoised, and what was not asked for is cut off. Where the published code would write
over fixed positions, because fewer are open than a round is meant to fix, only open ones are taken.
"""
import samplers


def take(open_, found, o, n, close):
    """Positions that a round fixes. `n` is what it is meant to fix."""
    n = min(n, len(open_))
    if o.algorithm == "sequential":
        return open_[:n]
    confidence = {p: found[p][1] for p in open_}
    if o.threshold > 0:
        for p in open_:
            close.note(confidence[p], o.threshold)
        sure = [p for p in open_ if confidence[p] > o.threshold]
        if len(sure) >= n:
            return sure
    return samplers.largest(open_, confidence, n, close)


def generate(rows, n_prompt, n_new, block, rounds, o, close):
    """`rows(step, fixed, open)` gives a row of logits for every open position of the block; `fixed`
    holds what was decided so far. Returns ids and steps of the n_new positions, and the number of
    the step after which all of these are there."""
    n_blocks = -(-(n_prompt + n_new) // block)
    fixed, when, step = {}, {}, 0
    for b in range(n_prompt // block, n_blocks):
        positions = [p for p in range(b * block, (b + 1) * block) if p >= n_prompt]
        for r in range(rounds):
            open_ = [p for p in positions if p not in fixed]
            if not open_:
                break
            given = rows(step, fixed, open_)
            found = {p: samplers.choose(given[p], o, step, p, close) for p in open_}
            for p in take(open_, found, o, block // rounds + (r < block % rounds), close):
                fixed[p], when[p] = found[p][0], step
            step += 1
        assert all(p in fixed for p in positions)
    wanted = range(n_prompt, n_prompt + n_new)
    return [fixed[p] for p in wanted], [when[p] for p in wanted], 1 + max(when[p] for p in wanted)
