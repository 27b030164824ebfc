"""rng.py: the counter-based random numbers of src/base/rng.h, in numpy. A number is a pure function
of seed, purpose, step, position and counter. check_samplers.py compiles the header and compares.
"""
import numpy as np

TOKEN, ORDER, FLIP, PICK = 1, 2, 3, 4
MOCK, MOCK_UNGUIDED = 99, 98  # purposes of the made-up logits in samplers.json

_U64 = np.uint64


def mix(x):
    with np.errstate(over="ignore"):
        x = np.asarray(x, dtype=_U64) + _U64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
        return x ^ (x >> _U64(31))


def key(seed, purpose, step, position):
    return mix(mix(_U64(seed) ^ mix(purpose)) ^ (_U64(step) << _U64(32) | _U64(position)))


def u64(stream, counter):
    """The counter-th number of a stream; an array of counters gives an array."""
    return mix(stream ^ mix(counter))


def unit(stream, counter):
    """Uniform in (0, 1): (n + 0.5) / 2^52."""
    return ((u64(stream, counter) >> _U64(12)).astype(np.float64) + 0.5) * 2.0 ** -52
