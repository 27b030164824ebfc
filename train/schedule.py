"""The curriculum: what a step looks like, as a function of the step number alone.

Stages follow one another by tokens seen, never by wall clock, so a run is reproducible from its
seed. Shares of rows are in the order of rows.KINDS: text, copy, recall, kv, needle.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

MILLION = 1_000_000
COOL = 0.88  # share of the first cycle after which the learning rate falls
SECOND_FALL = 2930  # steps in which the second cycle would fall to 3% without a landing


@dataclass(frozen=True)
class Stage:
    """`lengths` and `odds` choose the row length of a step; `high` is (first, last) of the stage."""

    name: str
    tokens: float
    tokens_a_step: int
    lengths: tuple[int, ...]
    odds: tuple[float, ...]
    shares: tuple[float, ...]
    low: float
    high: tuple[float, float]
    jumps: bool
    mixed: int = 0


@dataclass(frozen=True)
class Moment:
    """Everything a single step needs to know."""

    stage: str
    length: int
    rows: int
    shares: tuple[float, ...]
    shares_masked: tuple[float, float]
    jumps: bool
    mixed: int
    clip: float
    rate: float
    odd_length: bool


def nano_stages(scale: float) -> list[Stage]:
    """Stages of the nano model; `scale` 1 is 74 million tokens."""
    m = MILLION * scale
    return [
        Stage("1 copy", 6 * m, 2048, (64,), (1,), (20, 60, 20, 0, 0), 0.03, (0.15, 0.15), False),
        Stage("2 recall", 11 * m, 2048, (64, 128), (1, 1), (30, 25, 35, 10, 0), 0.0, (0.15, 0.6), False),
        Stage("3 general", 23.343104 * m, 4096, (128, 256, 512), (1, 2, 1), (35, 10, 20, 12, 23), 0.0,
              (0.6, 0.6 + 0.4 * 5699 / 6836), True),
        Stage("4 wording", 4.096 * m, 4096, (256, 512), (3, 1), (20, 5, 40, 15, 20), 0.0, (1.0, 1.0), True, 1),
        Stage("5 stretch", 5 * m, 4096, (256, 384), (4, 1), (20, 4, 42, 24, 10), 0.0, (1.0, 1.0), True, 2),
        Stage("6 long", 6 * m, 4096, (256, 512, 1024), (40, 35, 25), (30, 8, 12, 15, 35), 0.0,
              (1.0, 1.0), True, 1),
        Stage("7 longest", 0.8 * m, 4096, (2048,), (1,), (30, 8, 12, 15, 35), 0.0, (1.0, 1.0), True, 1),
        Stage("8 again", 4.583424 * m, 4096, (256, 512, 1024, 2048), (30, 33, 27, 10), (40, 6, 10, 18, 26), 0.0,
              (1.0, 1.0), True, 1),
        Stage("9 landing", 2.048 * m, 4096, (256, 512, 1024, 2048), (30, 33, 27, 10), (40, 6, 10, 18, 26), 0.0,
              (1.0, 1.0), True, 1),
        Stage("10 keys", 11.0592 * m, 4096, (512, 1024, 2048), (15, 60, 25), (30, 4, 8, 38, 20), 0.0,
              (1.0, 1.0), True, 1),
    ]


class Schedule:
    """Maps a step to its Moment.

    Learning rate: `warm` steps up, constant, then linear to 3% over the last eighth of the first
    cycle. Stage 8 starts a second cycle at half the rate, again warmed and slowly falling;
    stage 9 lets it fall to 3%. Stage 10 is a third cycle, from a third of the rate to 3% of it.
    Weights by 1/share start with the first fall, clipped at 5, and at 20 in the first cycle's
    last 5%.
    One step in a hundred has a random shorter length.
    """

    def __init__(self, seed: int, scale: float = 1.0, rate: float = 3e-3, warm: int = 100) -> None:
        self.seed, self.rate, self.warm = seed, rate, warm
        self.stages = nano_stages(scale)
        self.ends: list[int] = []
        for stage in self.stages:
            begin = self.ends[-1] if self.ends else 0
            self.ends.append(begin + round(stage.tokens / stage.tokens_a_step))
        self.steps = self.ends[-1]
        self.first_cycle, self.landing, self.second_cycle = self.ends[6], self.ends[7], self.ends[8]

    def rate_at(self, step: int) -> float:
        first = self.first_cycle
        if step >= self.second_cycle:
            warm = min(1.0, (step - self.second_cycle + 1) / self.warm)
            done = (step - self.second_cycle) / (self.steps - self.second_cycle)
            return self.rate / 3 * warm * (1 - 0.97 * done)
        if step >= first:
            warm = min(1.0, (step - first + 1) / self.warm)
            drift = 1 - 0.97 * (min(step, self.landing) - first) / SECOND_FALL
            landing = max(0.0, (step - self.landing) / (self.second_cycle - self.landing))
            return self.rate / 2 * warm * (drift + (0.03 - drift) * landing)
        fall = (step - COOL * first) / ((1 - COOL) * first)
        return self.rate * min(1.0, (step + 1) / self.warm) * (1 - 0.97 * max(0.0, fall))

    def clip_at(self, step: int) -> float:
        if step < COOL * self.first_cycle:
            return 0.0
        return 20.0 if 0.95 * self.first_cycle <= step < self.first_cycle else 5.0

    def at(self, step: int) -> Moment:
        i = next(i for i, end in enumerate(self.ends) if step < end)
        stage, begin = self.stages[i], self.ends[i - 1] if i else 0
        rng = random.Random(f"length {self.seed} {step}")
        length = rng.choices(stage.lengths, stage.odds)[0]
        rows = stage.tokens_a_step // length
        odd = rng.random() < 0.01
        if odd:
            length = rng.randint(48 if length == 64 else 96, length)
        done = (step - begin) / (self.ends[i] - begin)
        high = stage.high[0] + (stage.high[1] - stage.high[0]) * done
        return Moment(stage.name, length, rows, stage.shares, (stage.low, high), stage.jumps,
                      stage.mixed, self.clip_at(step), self.rate_at(step), odd)
