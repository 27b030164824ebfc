"""Text and word lists for the row generators.

Reads the packed book files and the noun list from a data folder and splits the nouns into a
training and an evaluation set, so that no evaluation key was ever a training key.
"""

from __future__ import annotations

import hashlib
import lzma
from dataclasses import dataclass
from pathlib import Path

import numpy as np

TRAIN_BOOKS = "corpora/books-children.txt.xz"
HELD_OUT_BOOKS = "corpora/books-valid.txt.xz"
NOUNS = "corpora/wonderwords/nounlist.txt"


@dataclass(frozen=True)
class Corpus:
    """`text` is uint8 [n]; `nouns` are byte strings of 3 to 9 lower-case letters."""

    text: np.ndarray
    nouns: list[bytes]


def read_text(path: Path) -> np.ndarray:
    """Unpacks one book file; the form feeds between books become newlines."""
    data = np.frombuffer(lzma.open(path).read(), dtype=np.uint8).copy()
    data[data == 12] = 10
    return data


def is_evaluation_key(word: bytes) -> bool:
    """A fixed tenth of all words, chosen by hash."""
    return hashlib.sha256(word).digest()[0] % 10 == 0


def read_nouns(path: Path, evaluation: bool, longest: int) -> list[bytes]:
    words = sorted({w.strip() for w in path.read_bytes().splitlines()})
    plain = [w for w in words if 3 <= len(w) <= longest and w.isalpha() and w.islower()]
    return [w for w in plain if is_evaluation_key(w) == evaluation]


def load_training(folder: Path) -> Corpus:
    return Corpus(read_text(folder / TRAIN_BOOKS), read_nouns(folder / NOUNS, False, 9))


def load_held_out(folder: Path) -> Corpus:
    return Corpus(read_text(folder / HELD_OUT_BOOKS), read_nouns(folder / NOUNS, True, 8))


def data_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file the run reads, as stored."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in (TRAIN_BOOKS, HELD_OUT_BOOKS, NOUNS)}
