"""Evaluation prompts: key-value lists and needles in held-out book text.

A sample records its needles' token ranges, so that tests can mask or weigh them. Keys come
from the evaluation nouns, haystacks from books the model has not seen. Sample i of a cell
depends on (seed, task, length, i) alone.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from corpus import Corpus
from model import EOS, MASK
from rows import ANSWER, pairs, question, statement

TASKS = ("kv", "needle-short", "needle-long")


@dataclass
class Sample:
    """ids [L] with the response slot masked; `expected` the 4 digits; ranges are [begin, end)."""

    task: str
    ids: np.ndarray
    prompt: bytes
    expected: bytes
    needle: tuple[int, int]
    depth: float
    n_keys: int

    @property
    def answer_at(self) -> int:
        return len(self.prompt)

    def target(self) -> np.ndarray:
        """The whole response: digits, then end tokens -> [slot]."""
        full = np.full(len(self.ids) - len(self.prompt), EOS)
        full[:4] = list(self.expected)
        return full


def finish(task: str, prompt: bytes, line: bytes, value: bytes, slot: int, depth: float, n_keys: int) -> Sample:
    ids = np.full(len(prompt) + slot, MASK, dtype=np.int64)
    ids[:len(prompt)] = np.frombuffer(prompt, dtype=np.uint8)
    at = prompt.find(line)
    return Sample(task, ids, prompt, value, (at, at + len(line)), depth, n_keys)


def kv_sample(rng: random.Random, corpus: Corpus, length: int, slot: int) -> Sample:
    """Every line is a key; what is left over in front is newlines."""
    # More lines than nouns are needed at 4,096, hence the random letters beside them.
    share = 1.0 if length <= 2048 else 0.8
    many = pairs(rng, corpus, length // 12 + 2, share)
    room, listed = length - slot, []
    longest = max(len(k) for k, _ in many) + len(question(b"", False))
    for key, value in many:
        line = len(statement(key, value, False)) + 1
        if line > room - longest:
            break
        room -= line
        listed.append((key, value))
    chosen = rng.randrange(len(listed))
    key, value = listed[chosen]
    lines = b"".join(statement(k, v, False) + b"\n" for k, v in listed)
    ask = question(key, False)
    prompt = b"\n" * (length - slot - len(lines) - len(ask)) + lines + ask
    return finish("kv", prompt, b"\n" + statement(key, value, False) if chosen else statement(key, value, False),
                  value, slot, chosen / len(listed), len(listed))


def place(hay: bytes, at: int, sentence: bool) -> int:
    """The next place at or after `at` where a needle may stand."""
    if not sentence:
        return max(hay.rfind(b" ", 0, at), hay.rfind(b"\n", 0, at)) + 1
    ends = [hay.find(mark, at) for mark in (b". ", b".\n", b"? ", b"! ")]
    ends = [e for e in ends if e >= 0]
    return min(ends) + 2 if ends else len(hay)


def needle_sample(rng: random.Random, corpus: Corpus, length: int, slot: int, long: bool, n_keys: int,
                  depth: float, sentence: bool = False) -> Sample:
    """The asked needle stands at `depth` (0..1) of the haystack, the others anywhere.

    `sentence` puts needles between sentences, otherwise they are lines at any white space.
    """
    listed = pairs(rng, corpus, n_keys, 1.0)
    while len({value for _, value in listed}) < n_keys:  # a distractor must not hold the answer
        listed = pairs(rng, corpus, n_keys, 1.0)
    after = b" " if sentence else b"\n"
    needles = [statement(k, v, long) + after for k, v in listed]
    key, value = listed[0]
    ask = question(key, long)
    room = length - slot - len(ask) - 1 - sum(map(len, needles))
    begin = rng.randrange(len(corpus.text) - room)
    hay = corpus.text[begin:begin + room].tobytes()
    cuts = [(place(hay, int((depth if i == 0 else rng.random()) * room), sentence), n) for i, n in enumerate(needles)]
    out, last = b"", 0
    for at, needle in sorted(cuts):
        out, last = out + hay[last:at] + needle, at
    prompt = out + hay[last:] + b"\n" + ask
    return finish("needle-long" if long else "needle-short", prompt, needles[0], value, slot, depth, n_keys)


def make_sample(task: str, corpus: Corpus, length: int, index: int, seed: int = 1, slot: int = ANSWER,
                sentence: bool = False) -> Sample:
    """Sample `index` of a cell; needles cycle through 1, 2 and 4 keys and ten depth bins."""
    rng = random.Random(f"probe {seed} {task} {length} {index}")
    if task == "kv":
        return kv_sample(rng, corpus, length, slot)
    depth = (index % 10 + rng.random()) / 10
    long = task == "needle-long"
    most = 2 if long and length < 512 else 4  # four long needles do not fit 256 bytes
    return needle_sample(rng, corpus, length, slot, long, min((1, 2, 4)[index % 3], most), depth, sentence)
