"""Seeded generators of training rows.

A row is L token ids, a flag per token that says whether it may be masked, and the place where
its answer starts, if it has one. Every row comes from a `random.Random` handed in, so a step
can be made again from (seed, step). Noise is added elsewhere (objective.py).

Kinds: text, copy, recall (a list of keys asked again), kv (one question after `key: value`
lines), needle (one question after book text that hides the needles).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import numpy as np

from corpus import Corpus
from model import EOS

KINDS = ("text", "copy", "recall", "kv", "needle")
LETTERS = b"abcdefghijklmnopqrstuvwxyz"
NOISE = (b"The grass is green. The sky is blue. The sun is yellow. "
         b"Here we go. There and back again.\n")
LONG_BEGIN = b"What is the special magic number for "
LONG_END = b" mentioned in the text? It is "
ANSWER = 8          # response slot: 4 digits, then end tokens
LONG_WORDING = 192  # the long wording does not fit shorter rows


@dataclass
class Row:
    """ids [L] int64; maskable [L] bool; everything from `answer_at` on is the response.

    `joint_end` is where the question starts: position jumps stay before it.
    """

    kind: str
    ids: np.ndarray
    maskable: np.ndarray
    answer_at: int
    joint_end: int


@dataclass
class Builder:
    """Bytes of a prompt with the spans that may be masked."""

    data: bytearray = field(default_factory=bytearray)
    spans: list[tuple[int, int]] = field(default_factory=list)

    def add(self, text: bytes, maskable: bool = False) -> None:
        if maskable:
            self.spans.append((len(self.data), len(self.data) + len(text)))
        self.data += text


# ---- the two wordings --------------------------------------------------------------------

def statement(key: bytes, value: bytes, long: bool) -> bytes:
    """A needle without what follows it."""
    return b"One of the special magic numbers for " + key + b" is: " + value + b"." if long \
        else key + b": " + value


def question(key: bytes, long: bool) -> bytes:
    return LONG_BEGIN + key + LONG_END if long else b"What is " + key + b"? "


def cut_question(rng: random.Random, key: bytes) -> bytes:
    """The long question with its beginning mostly, and its end by a random amount, cut off.

    The key of a long question stands 29 bytes before the answer, of a short one 2. Asking at
    all distances between lets the one grow out of the other.
    """
    begin = LONG_BEGIN if rng.random() < 0.3 else b"for "
    return begin + key + b" " + LONG_END[rng.randint(1, len(LONG_END) - 1):]


# ---- small pieces ------------------------------------------------------------------------

def value_of(rng: random.Random) -> bytes:
    return b"%04d" % rng.randrange(10000)


def key_of(rng: random.Random, corpus: Corpus, noun_share: float = 0.8) -> bytes:
    """A noun, or now and then letters without meaning: matching must not rest on vocabulary."""
    if rng.random() < noun_share:
        return rng.choice(corpus.nouns)
    return bytes(rng.choices(LETTERS, k=rng.randint(3, 9)))


def pairs(rng: random.Random, corpus: Corpus, count: int, noun_share: float = 0.8) -> list[tuple[bytes, bytes]]:
    """`count` distinct keys with values."""
    chosen: dict[bytes, bytes] = {}
    while len(chosen) < count:
        chosen[key_of(rng, corpus, noun_share)] = value_of(rng)
    return list(chosen.items())


def book(rng: random.Random, corpus: Corpus, count: int) -> bytes:
    at = rng.randrange(len(corpus.text) - count)
    return corpus.text[at:at + count].tobytes()


def haystack(rng: random.Random, corpus: Corpus, count: int, noise_share: float) -> bytes:
    if rng.random() < noise_share:
        return (NOISE * (count // len(NOISE) + 1))[:count]
    return book(rng, corpus, count)


def filler(rng: random.Random, corpus: Corpus, count: int) -> bytes:
    """Fills the front of a row: newlines when short, otherwise mostly text."""
    if count <= 1 or rng.random() < (0.5 if count < 24 else 0.1):
        return b"\n" * count
    return book(rng, corpus, count - 1) + b"\n"


def finish(kind: str, b: Builder, length: int, answer_at: int, joint_end: int) -> Row:
    ids = np.full(length, EOS, dtype=np.int64)
    ids[:len(b.data)] = np.frombuffer(bytes(b.data), dtype=np.uint8)
    maskable = np.zeros(length, dtype=bool)
    for begin, end in b.spans:
        maskable[begin:end] = True
    maskable[answer_at:] = True
    return Row(kind, ids, maskable, answer_at, joint_end)


# ---- rows --------------------------------------------------------------------------------

def text_row(rng: random.Random, corpus: Corpus, length: int) -> Row:
    b = Builder()
    b.add(book(rng, corpus, length), True)
    return finish("text", b, length, length, length)


def copy_row(rng: random.Random, corpus: Corpus, length: int) -> Row:
    """A span of letters or of book text, repeated to the end of the row."""
    period = rng.randint(6, min(length // 2, 127) - 1)
    span = bytes(rng.choices(LETTERS, k=period)) if rng.random() < 0.6 else book(rng, corpus, period)
    b = Builder()
    b.add((span * (length // period + 1))[:length], True)
    return finish("copy", b, length, length, length)


def recall_forms(rng: random.Random, length: int, general: bool, mixed: int) -> tuple[bool, str]:
    """-> whether the statements are long, and how the keys are asked: plain, short or long."""
    if mixed == 2:
        return rng.choices(((False, "plain"), (False, "long"), (False, "cut"), (True, "plain"), (True, "long"),
                            (True, "cut")), (10, 15, 40, 10, 10, 15))[0]
    if mixed and length >= LONG_WORDING:
        return rng.choices(((False, "plain"), (False, "short"), (False, "long"), (True, "plain"), (True, "long")),
                           (15, 10, 35, 15, 25))[0]
    ask = rng.choice(("plain", "plain", "short", "long")) if general else "plain"
    if ask == "long" and length < LONG_WORDING:
        ask = "short"
    return ask == "long", ask


def recall_row(rng: random.Random, corpus: Corpus, length: int, general: bool, mixed: int) -> Row:
    """Lines, then the same keys in another order with maskable values.

    `general` adds the two question wordings to the plain list; `mixed` lets the wording of
    statement and question differ, so that each half of a long needle is learned where many
    keys compete: a short row holds one long statement with its long question, but many lines.
    """
    long, form = recall_forms(rng, length, general, mixed)

    def ask(key: bytes) -> bytes:
        if form == "cut":
            return cut_question(rng, key)
        return key + b": " if form == "plain" else question(key, form == "long")

    used, listed = 0, []
    for key, value in pairs(rng, corpus, length // 20 + 1):
        words = ask(key)
        cost = len(statement(key, value, long)) + len(words) + len(value) + 2
        if used + cost > length:
            break
        used += cost
        listed.append((key, value, words))
    b, asked = Builder(), rng.sample(listed, len(listed))
    body = b"".join(statement(k, v, long) + b"\n" for k, v, _ in listed)
    b.add(filler(rng, corpus, length - used) + body)
    start = len(b.data)
    for _, value, words in asked:
        b.add(words)
        b.add(value, True)
        b.add(b"\n")
    return finish("recall", b, length, length, start)


def answer_slot(rng: random.Random, length: int) -> int:
    """Mostly 8 positions; in longer rows sometimes 16 or 32, so that other slots work too."""
    return rng.choice((8, 8, 8, 8, 16, 32)) if length >= 256 else ANSWER


def kv_row(rng: random.Random, corpus: Corpus, length: int, mixed: int) -> Row:
    """`key: value` lines and one question. Mostly every line is a key; else text comes first.

    `mixed` asks half of the longer rows in the long wording; 2 also in cut forms of it.
    """
    slot = answer_slot(rng, length)
    long = bool(mixed) and length >= LONG_WORDING and rng.random() < (0.8 if mixed == 2 else 0.5)
    many = pairs(rng, corpus, length // 10 + 1 if rng.random() < 0.7 else rng.randint(1, 8))
    ask = question(many[0][0], long)
    if long and mixed == 2 and rng.random() < 0.5:
        ask = cut_question(rng, many[0][0])
    room, listed = length - slot - len(ask), []
    for key, value in many:
        line = key + b": " + value + b"\n"
        if len(line) > room:
            break
        room -= len(line)
        listed.append((key, value))
    # The asked key is the first one, whose question was counted; its place is then shuffled.
    key, value = listed[0]
    rng.shuffle(listed)
    b = Builder()
    b.add(filler(rng, corpus, room) + b"".join(k + b": " + v + b"\n" for k, v in listed))
    start = len(b.data)
    b.add(ask)
    answer_at = len(b.data)
    b.add(value)
    return finish("kv", b, length, answer_at, start)


def insert_needles(rng: random.Random, hay: bytes, needles: list[bytes]) -> bytes:
    """Puts each needle at a random place, mostly at white space, sometimes inside a word."""
    cuts = []
    for needle in needles:
        at = rng.randint(0, len(hay))
        if rng.random() < 0.75:
            at = max(hay.rfind(b" ", 0, at), hay.rfind(b"\n", 0, at), -1) + 1
        cuts.append((at, needle))
    out, last = bytearray(), 0
    for at, needle in sorted(cuts):
        out += hay[last:at] + needle
        last = at
    return bytes(out + hay[last:])


def needle_forms(rng: random.Random, length: int, mixed: int) -> tuple[bool, bool]:
    """-> whether the statement, and whether the question, is in the long wording."""
    if mixed and length >= LONG_WORDING:
        return rng.choices(((True, True), (False, True), (True, False), (False, False)), (50, 20, 10, 20))[0]
    long = length >= LONG_WORDING and rng.random() < 0.55
    return long, long


def needle_row(rng: random.Random, corpus: Corpus, length: int, mixed: int) -> Row:
    """Needles in book text; the last question is the response, earlier ones are practice."""
    forms = needle_forms(rng, length, mixed)
    slot = answer_slot(rng, length)
    count = rng.choice((1, 2, 2, 4, 4, 8))
    room, hidden = length - slot - 1, []
    n_asked = 4 if rng.random() < (0.6 if mixed else 0.4) else 1
    for key, value in pairs(rng, corpus, count):
        room -= len(statement(key, value, forms[0])) + 2
        room -= len(question(key, forms[1])) + 5 if len(hidden) < n_asked else 0
        if room < 0:
            break
        hidden.append((key, value))
    b, start, answer_at = compose_needle(rng, corpus, length - slot, hidden, min(n_asked, len(hidden)), forms)
    return finish("needle", b, length, answer_at, start)


def compose_needle(rng: random.Random, corpus: Corpus, prompt: int, hidden: list[tuple[bytes, bytes]],
                   n_asked: int, forms: tuple[bool, bool]) -> tuple[Builder, int, int]:
    """-> builder, start of the questions, start of the answer. The prompt has `prompt` bytes."""
    before = rng.choice((b"", b"", b"\n"))
    after = rng.choice((b"\n", b" "))
    needles = [before + statement(k, v, forms[0]) + after for k, v in hidden]
    asked = rng.sample(hidden[:n_asked], n_asked)
    tail = sum(len(question(k, forms[1])) + 5 for k, _ in asked) - 5
    room = prompt - tail - 1 - sum(map(len, needles))
    hay = haystack(rng, corpus, max(room, 0), 0.15)
    b = Builder()
    b.add(insert_needles(rng, hay, needles) + b"\n")
    start = len(b.data)
    for key, value in asked[:-1]:
        b.add(question(key, forms[1]))
        b.add(value, True)
        b.add(b"\n")
    b.add(question(asked[-1][0], forms[1]))
    answer_at = len(b.data)
    b.add(asked[-1][1])
    return b, start, answer_at


def make_row(kind: str, rng: random.Random, corpus: Corpus, length: int, general: bool, mixed: int) -> Row:
    if kind == "text":
        return text_row(rng, corpus, length)
    if kind == "copy":
        return copy_row(rng, corpus, length)
    if kind == "recall":
        return recall_row(rng, corpus, length, general, mixed)
    if kind == "kv":
        return kv_row(rng, corpus, length, mixed)
    return needle_row(rng, corpus, length, mixed)


# ---- positions ---------------------------------------------------------------------------

def positions_with_jumps(rng: random.Random, row: Row) -> np.ndarray:
    """0..L-1 plus one to three jumps, up to 1k, 4k or 16k in all -> [L] int64.

    Jumps come after a full stop or a newline, so no needle is torn, and never in the question
    or the response. Attention costs the same; the model sees far distances.
    """
    length = len(row.ids)
    positions = np.arange(length, dtype=np.int64)
    limit = rng.choice((1024, 4096, 16384)) - length
    joints = np.flatnonzero((row.ids[:row.joint_end] == 10) | (row.ids[:row.joint_end] == 46)) + 1
    joints = joints[joints < length]
    if limit <= 0 or len(joints) == 0:
        return positions
    total, jumps = rng.randint(1, limit), rng.randint(1, 3)
    for share in np.diff(sorted([0, total] + [rng.randint(0, total) for _ in range(jumps - 1)])):
        positions[joints[rng.randrange(len(joints))]:] += int(share)
    return positions
