"""Measures what a model does with one given text: needle answers by length and depth, infill.

    python probe_text.py --model DIR --data DIR --text FILE [--lengths 1024,3500,16384]

For each length, the needle (long wording, one key, between sentences) is put at ten depths of
windows of the text, with keys the model never trained on. Every case counts; nothing is picked.
With --question FILE that question is answered instead.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from corpus import load_held_out
from evaluate import answers, rate
from model import MASK, MaskedDiffusionLM
from probes import Sample, finish, place
from rows import ANSWER, question, statement, value_of
from weights import decode, load_model


def sample(rng: random.Random, text: bytes, keys: list[bytes], length: int, depth: float) -> Sample:
    """One needle at `depth` of a random window of the text; the prompt and slot have `length` bytes."""
    key, value = rng.choice(keys), value_of(rng)
    line, ask = statement(key, value, True) + b" ", question(key, True)
    room = length - ANSWER - len(ask) - 1 - len(line)
    begin = rng.randrange(len(text) - room + 1)
    hay = text[begin:begin + room]
    at = place(hay, int(depth * room), True)
    return finish("needle-long", hay[:at] + line + hay[at:] + b"\n" + ask, line, value, ANSWER, depth, 1)


def needle_rates(model: MaskedDiffusionLM, text: bytes, keys: list[bytes], length: int, n: int) -> dict:
    """-> rate over all cases and by tenth of depth, n cases a tenth."""
    by_depth = []
    for tenth in range(10):
        rng = random.Random(f"text {length} {tenth}")
        cases = [sample(rng, text, keys, length, (tenth + rng.random()) / 10) for _ in range(n)]
        by_depth.append(rate(answers(model, cases)))
    return {"length": length, "cases": 10 * n, "rate": round(float(np.mean(by_depth)), 3), "by_depth": by_depth}


def infill_rates(model: MaskedDiffusionLM, text: bytes, length: int, count: int) -> dict:
    """Byte accuracy at masked bytes: share and steps -> accuracy; windows evenly spread."""
    data, found = torch.frombuffer(bytearray(text), dtype=torch.uint8).long(), {}
    for share in (0.15, 0.20, 0.30):
        for steps in (1, 16, 64):
            right = total = 0
            for i, begin in enumerate(np.linspace(0, len(text) - length, count).astype(int)):
                window = data[begin:begin + length]
                masked = torch.rand(length, generator=torch.Generator().manual_seed(i)) < share
                filled: Tensor = decode(model, torch.where(masked, MASK, window)[None], steps)[0]
                right, total = right + (filled[0] == window)[masked].sum().item(), total + masked.sum().item()
            found[f"{share:.2f} in {steps}"] = round(right / total, 4)
    return found


def ask_file(model: MaskedDiffusionLM, text: bytes, ask: bytes) -> str:
    """The answer to `text`, newline, question; both files end with one newline, which is dropped."""
    prompt = text.rstrip(b"\n") + b"\n" + ask.rstrip(b"\n")
    ids = torch.tensor(list(prompt) + [MASK] * ANSWER)[None]
    return bytes(t for t in decode(model, ids, ANSWER)[0][0, len(prompt):].tolist() if t < 256).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", help="folder that holds corpora/ (for the keys)")
    parser.add_argument("--text", required=True)
    parser.add_argument("--lengths", default="1024,2048,3500")
    parser.add_argument("--n", type=int, default=20, help="cases a tenth of depth")
    parser.add_argument("--question", help="answer this question about the text, and nothing else")
    parser.add_argument("--infill", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, text = load_model(Path(args.model)), Path(args.text).read_bytes()
    if args.question:
        print(ask_file(model, text, Path(args.question).read_bytes()))
        return
    keys = load_held_out(Path(args.data)).nouns
    for length in map(int, args.lengths.split(",")):
        print(json.dumps(needle_rates(model, text, keys, length, args.n)), flush=True)
    if args.infill:
        print(json.dumps(infill_rates(model, text, 1024, 16)), flush=True)


if __name__ == "__main__":
    main()
