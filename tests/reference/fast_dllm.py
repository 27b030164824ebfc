"""fast_dllm.py: Fast-dLLM v1's `confidence_threshold` for Dream (arXiv 2505.22618), the form without
a cache, over rows of logits that are given.

Each step has a quota: its even share of the holes and what steps before it put off. The best
`quota` open positions are looked at; the first is fixed, each other one only if its probability is
not below the threshold. What is put off in the last step gets another step, until nothing is left.
Published for numbers of steps that divide the holes; elsewhere the first steps have one more.
"""
import samplers


def generate(logits, holes, o, close):
    """As samplers.generate, all holes in one block."""
    n_left, put_off, step = len(holes), 0, 0
    shares = samplers.llada_counts(len(holes), o.steps)
    done, fixed = {}, []
    while n_left:
        quota = (shares[step] if step < len(shares) else 0) + put_off
        open_ = [p for p in holes if p not in done]
        found = {p: samplers.choose(logits(step, p), o, step, p, close) for p in open_}
        confidence = {p: found[p][1] for p in open_}
        best = sorted(open_, key=lambda p: (-confidence[p], p))[:quota]
        samplers.largest(open_, confidence, quota, close)
        samplers.largest(open_, confidence, 1, close)
        for p in best:
            close.note(confidence[p], o.threshold)
        now = [p for i, p in enumerate(best) if i == 0 or confidence[p] >= o.threshold]
        for p in now:
            done[p] = (found[p][0], step, found[p][2], confidence[p])
        put_off = quota - len(now)
        n_left -= len(now)
        fixed.append(len(now))
        step += 1
    ids, step_map, logprobs, confidences = zip(*(done[p] for p in holes))
    return {"ids": list(ids), "step_map": list(step_map), "logprobs": list(logprobs),
            "confidence": list(confidences), "fixed_per_step": fixed, "n_steps": step,
            "n_steps_planned": max(step, o.steps)}
