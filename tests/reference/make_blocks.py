"""make_blocks.py: writes small random block-causal models and what they decode under a folder.

    python make_blocks.py ../golden

An SDAR-style network with blocks of 4 and a Fast-dLLM-v2-style one with blocks of 8 in sub-blocks
of 4. Nothing is cached here: every step is a forward pass over the whole prefix and the block under
the mask of training, in float64. A decode whose decisions are closer than 1e-4 is not written: no
rounding can turn what is.
"""
import json
import os
import sys

import numpy as np
import torch

import models
import samplers
import sdar
from make_models import (VOCAB, draw, expected, llama_shapes, make_folder, save, special_id,
                         vocabulary, write_json, write_tokenizer)

CLOSEST = 1e-4


class TooClose(Exception):
    pass


def proposals(logits, positions, mask, n_ids):
    """Most probable id of each row and its probability; the mask and padding rows are excluded."""
    logits = logits.clone()
    logits[:, mask] = -torch.inf
    logits[:, n_ids:] = -torch.inf
    p = torch.softmax(logits, -1)
    top = torch.topk(p, 2, -1)
    if len(positions) and (top.values[:, 0] - top.values[:, 1]).min() < CLOSEST:
        raise TooClose
    return {at: (top.values[i, 0].item(), top.indices[i, 0].item())
            for i, at in enumerate(positions)}


def chosen(found, quota, threshold):
    """Positions to fix: the `quota` most confident, and all that reach the threshold."""
    order = sorted(found, key=lambda at: (-found[at][0], at))
    n = max(quota, 1)
    while threshold and n < len(order) and found[order[n]][0] >= threshold:
        n += 1
    values = [found[at][0] for at in order]
    if n < len(order) and values[n - 1] - values[n] < CLOSEST:
        raise TooClose
    if threshold and any(abs(v - threshold) < CLOSEST for v in values):
        raise TooClose
    return order[:n]


def decode(config, w, prompt, n_new, mask, n_ids, per_step, threshold, shift, sub, whole=False):
    """Greedy block-wise decoding. Returns ids and, for each, the step that fixed it. The last block
    ends with the tokens that are asked for, masks behind; `whole`: it is denoised to its end."""
    block, ids = config["block"], list(prompt)
    end, steps, step = len(prompt) + n_new, {}, 0
    while len(ids) < end:
        begin = len(ids) // block * block
        canvas = ids + [None] * (begin + block - len(ids))
        if shift and begin == len(ids) and begin > 0:  # the block before proposes its first token
            logits, _ = models.forward(config, w, ids)
            canvas[begin] = proposals(logits[-1:], [begin], mask, n_ids)[begin][1]
            steps[begin] = step
            step += 1
        last = None if whole else end
        while any(v is None for v in canvas[:end]):
            open_ = [i for i, v in enumerate(canvas[:last]) if v is None]
            if sub:
                open_ = [i for i in open_ if i // sub == open_[0] // sub]
            logits, _ = models.forward(config, w, [mask if v is None else v for v in canvas])
            rows = [max(i - 1, 0) if shift else i for i in open_]
            found = proposals(logits[rows], open_, mask, n_ids)
            for at in chosen(found, min(per_step, len(open_)), threshold):
                canvas[at] = found[at][1]
                steps[at] = step
            step += 1
        ids = canvas[:end]
    return ids[len(prompt):], [steps[i] for i in range(len(prompt), end)]


def decodes(config, w, rng, mask, n_ids, shift, sub):
    """Prompts that end inside a block, on a border, and empty; a token a step, and by threshold."""
    cases, block = [], config["block"]
    for n_prompt, n_new in ((2 * block + 1, 3 * block), (3 * block, 2 * block + 3), (0, 2 * block)):
        for threshold in (0, 0.125):
            for _ in range(200):
                prompt = [int(v) for v in rng.integers(0, mask, n_prompt)]
                try:
                    ids, steps = decode(config, w, prompt, n_new, mask, n_ids, 1, threshold, shift,
                                        sub)
                except TooClose:
                    if n_prompt:
                        continue
                    ids = None
                break
            if ids is None:
                continue
            cases.append({"prompt": prompt, "n_new": n_new, "threshold": threshold, "cut": True,
                          "ids": ids, "step_map": steps})
    return cases


def whole_decodes(config, w, rng, mask, n_ids, shift, sub):
    """What ends inside a block, with the block denoised to its end; a cut one gives another text."""
    cases, block = [], config["block"]
    for n_prompt, n_new in ((2 * block + 1, 2 * block), (block, block + 3), (3 * block - 1, 4)):
        for threshold in (0, 0.125):
            for _ in range(2000):
                prompt = [int(v) for v in rng.integers(0, mask, n_prompt)]
                what = config, w, prompt, n_new, mask, n_ids, 1, threshold, shift, sub
                try:
                    ids, steps = decode(*what, whole=True)
                    is_own = sub or decode(*what) != (ids, steps)
                except TooClose:
                    continue
                if is_own:
                    break
            else:
                raise SystemExit(f"{n_prompt}, {n_new}: no case")
            cases.append({"prompt": prompt, "n_new": n_new, "threshold": threshold, "ids": ids,
                          "step_map": steps})
    return cases


def sdar_decodes(config, w, rng, mask, n_ids):
    """Rounds a block, strategies and filters of SDAR, in blocks that are open in part."""
    cases, block = [], config["block"]
    low = dict(algorithm="low_confidence", block_order=True, mask_id=mask, n_tokens=n_ids)
    for n_prompt, n_new, rounds, setting in (
            (6, 13, 2, dict(low)), (9, 10, 3, dict(low)), (3, 9, 1, dict(low)),
            (7, 12, 9, dict(low)), (5, 14, 2, dict(low, algorithm="sequential")),
            (10, 12, 2, dict(low, threshold=0.125)),
            (6, 14, 4, dict(low, temperature=0.7, top_k=6, top_p=0.8)),
            (5, 13, 2, dict(low, temperature=0.5, top_k=20, top_p=0.95, threshold=0.3))):
        for seed in range(200):
            prompt = [int(v) for v in rng.integers(0, mask, n_prompt)]
            o, close = samplers.Options(seed=seed, **setting), samplers.Closeness()

            def rows(_, fixed, open_):
                end = (open_[0] // block + 1) * block
                canvas = prompt + [fixed.get(p, mask) for p in range(n_prompt, end)]
                logits, _ = models.forward(config, w, canvas)
                given = {p: logits[p].float().numpy() for p in open_}
                for p in open_:  # the best two are apart
                    best = np.sort(given[p][:n_ids])[-2:]
                    close.note(float(best[0]), float(best[1]))
                return given

            ids, steps, n = sdar.generate(rows, n_prompt, n_new, block, rounds, o, close)
            if close.smallest >= CLOSEST:
                break
        else:
            raise SystemExit(f"{rounds} rounds, {setting}: no case")
        cases.append({"prompt": prompt, "n_new": n_new, "block_steps": rounds, "seed": seed,
                      "algorithm": o.algorithm, "threshold": setting.get("threshold", 0),
                      "temperature": setting.get("temperature", 0),
                      "top_k": o.top_k, "top_p": setting.get("top_p", 0), "ids": ids,
                      "step_map": steps, "n_steps": n})
    return cases


def make(root, name, config, shift, sub, seed, **shape):
    rng = np.random.Generator(np.random.PCG64(seed))
    folder = make_folder(root, name)
    eos, mask = special_id("lacuna", "<|endoftext|>"), special_id("lacuna", "<|mask|>")
    n_ids = len(vocabulary("lacuna")[0])
    w = draw(rng, llama_shapes(**shape))
    write_json(os.path.join(folder, "config.json"), {
        **config, "eos_token_id": eos, "hidden_act": "silu", "hidden_size": shape["d_model"],
        "intermediate_size": shape["d_ff"], "mask_token_id": mask, "max_position_embeddings": 512,
        "num_attention_heads": shape["n_heads"], "num_hidden_layers": shape["n_layers"],
        "num_key_value_heads": shape["n_kv_heads"], "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0, "tie_word_embeddings": shape["tied"], "torch_dtype": "bfloat16",
        "vocab_size": VOCAB})
    write_tokenizer(folder, "lacuna")
    save(os.path.join(folder, "model.safetensors"), w, torch.bfloat16)
    loaded = models.load_folder(folder)
    expected(os.path.join(folder, "expected.json"), [name], name, [loaded], rng, shift, folder,
             n_ids, mask)
    cases = decodes(*loaded, rng, mask, n_ids, shift, sub)
    cases += whole_decodes(*loaded, rng, mask, n_ids, shift, sub)
    if not shift:
        cases += sdar_decodes(*loaded, rng, mask, n_ids)
    with open(os.path.join(folder, "decode.json"), "w", encoding="utf-8") as f:
        f.write("{\n " + json.dumps("cases") + ": [\n" + ",\n".join(
            "  " + json.dumps(c, separators=(",", ":")) for c in cases) + "\n ]\n}\n")
    print(f"{name}: {len(cases)} decodes, most steps {max(max(c['step_map']) for c in cases) + 1}")


def main():
    root = sys.argv[1]
    make(root, "sdar", {"architectures": ["SDARForCausalLM"], "model_type": "sdar",
                        "attention_bias": False, "block_size": 4, "head_dim": 32}, False, 0, 251006,
         n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, d_head=32, d_ff=64, bias=False,
         qk_norm=True, tied=False)
    make(root, "fast-dllm", {"architectures": ["Fast_dLLM_QwenForCausalLM"],
                             "model_type": "Fast_dLLM_Qwen", "bd_size": 8, "small_block_size": 4},
         True, 4, 250926, n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, d_head=16, d_ff=64,
         bias=True, qk_norm=False, tied=True)


if __name__ == "__main__":
    main()
