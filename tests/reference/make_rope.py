"""make_rope.py: writes rope.json: cosines and sines of rotation angles, exact and as published code
has them, where power, frequency and angle are rounded to float32 one after the other.

    python make_rope.py ../golden/rope.json
"""
import json
import sys
from decimal import Decimal, getcontext

import numpy as np

THETA, DIM = 100000.0, 32
POSITIONS = (0, 1, 2, 63, 511, 1000, 4095, 9999, 16383)
getcontext().prec = 60
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def exact(position, i):
    """The angle less whole turns, from sixty digits."""
    frequency = (Decimal(THETA).ln() * Decimal(-2 * i) / Decimal(DIM)).exp()
    return float((Decimal(position) * frequency) % (2 * PI))


def published(position, i):
    power = np.float32(2 * i) / np.float32(DIM)
    frequency = np.float32(1) / np.float32(np.float64(np.float32(THETA)) ** np.float64(power))
    return float(np.float32(position) * frequency)


def main():
    cases = []
    for position in POSITIONS:
        for i in range(DIM // 2):
            a, b = exact(position, i), published(position, i)
            cases.append([position, i] + [float("%.9g" % v) for v in
                                          (np.cos(a), np.sin(a), np.cos(b), np.sin(b))])
    worst = max(abs(c[2] - c[4]) for c in cases)
    print(f"{len(cases)} angles, cosines differ by up to {worst:.2g}")
    for position in (65535, 262143):
        far = max(abs(np.cos(exact(position, i)) - np.cos(published(position, i)))
                  for i in range(DIM // 2))
        print(f"at {position}: up to {far:.2g}")
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        lines = ",\n".join("  " + json.dumps(c, separators=(",", ":")) for c in cases)
        f.write(f'{{\n "theta": {THETA}, "dim": {DIM},\n "angles": [\n{lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
