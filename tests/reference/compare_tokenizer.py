#!/usr/bin/env python3
"""Compares token ids with the Hugging Face `tokenizers` library, text by text.

    compare_tokenizer.py --command "lacuna tokenize -m {dir} --json" FOLDER [TEXT_FILE...]

FOLDER holds tokenizer.json, or vocab.json and merges.txt with --reference naming an equal
tokenizer.json. The command gets one text on standard input and answers {"ids": [...]}; {dir} is
replaced by FOLDER. Texts: the files given, and generated ones: words of every script taken from the
vocabulary, random Unicode, combining marks, broken UTF-8, runs of white space and digits, source
code, and, with --special, added tokens. Needs: pip install tokenizers.
"""
import argparse
import json
import os
import random
import shlex
import subprocess
import sys
import unicodedata

from tokenizers import Tokenizer
from tokenizers.normalizers import NFC

CHUNK = 64 * 1024  # bytes per text


def load_reference(path, with_added):
    """The reference tokenizer; without its added tokens where these must stay text."""
    with open(path, encoding="utf-8") as file:
        data = json.load(file)
    data["truncation"] = data["padding"] = data["post_processor"] = None
    if not with_added:
        data["added_tokens"] = []
    if isinstance(data["model"].get("merges"), dict):
        data["model"]["merges"] = []
    return Tokenizer.from_str(json.dumps(data)), data


def assigned():
    """Characters assigned in this Python's Unicode version, surrogates left out, and those left out
    whose canonical form or combining class the reference does not know (its tables are older)."""
    reference, chars, unknown = NFC(), [], 0
    for code in range(0x110000):
        c = chr(code)
        if 0xD800 <= code < 0xE000 or unicodedata.category(c) in ("Cn", "Co"):
            continue
        probes = [c, unicodedata.normalize("NFD", c)]
        if unicodedata.combining(c):  # an order with marks of the lowest and a high class
            probes += ["q" + c + "\u0334", "q\u0315" + c]
        if all(reference.normalize_str(p) == unicodedata.normalize("NFC", p) for p in probes):
            chars.append(c)
        else:
            unknown += 1
    print(f"{len(chars)} characters of Unicode {unicodedata.unidata_version}; "
          f"{unknown} more that the reference normalises by older tables are left out")
    return chars


def byte_alphabet():
    shown = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    table = {chr(b): b for b in shown}
    for i, b in enumerate(b for b in range(256) if b not in shown):
        table[chr(0x100 + i)] = b
    return table


def vocabulary_words(data):
    """Texts of the vocabulary that are valid UTF-8."""
    table, words = byte_alphabet(), []
    for token in data["model"]["vocab"]:
        try:
            word = bytes(table[c] for c in token).decode()
        except (KeyError, UnicodeDecodeError):
            word = token.replace("\u2581", " ")
        words.append(word)
    return words


def texts_of_words(words, rng, size, name, wanted):
    chosen = [w for w in words if any(wanted(c) for c in w)]
    if not chosen:
        return []
    parts, total = [], 0
    while total < size:
        part = rng.choice(chosen) + rng.choice(["", "", "", " ", ", ", "\n"])
        parts.append(part)
        total += len(part.encode())
    return [(name, "".join(parts).encode())]


def script(*ranges):
    return lambda c: any(low <= ord(c) <= high for low, high in ranges)


def generated(data, rng, size, added):
    """(name, bytes) pairs of at least `size` bytes each."""
    words, chars = vocabulary_words(data), assigned()
    marks = [c for c in chars if unicodedata.category(c) in ("Mn", "Mc", "Me")]
    composable = [c for c in chars if unicodedata.decomposition(c)
                  and not unicodedata.decomposition(c).startswith("<")]
    spaces = " \t\n\r\x0b\x0c\x85\xa0\u1680\u180e\u2000\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000"
    texts = []
    scripts = {"chinese": script((0x4E00, 0x9FFF)), "japanese": script((0x3040, 0x30FF)),
               "korean": script((0xAC00, 0xD7A3)), "arabic": script((0x600, 0x6FF)),
               "hebrew": script((0x590, 0x5FF)), "cyrillic": script((0x400, 0x4FF)),
               "thai": script((0xE00, 0xE7F)), "devanagari": script((0x900, 0x97F)),
               "latin": str.isalpha, "any word": lambda c: True}
    for name, wanted in scripts.items():
        texts += texts_of_words(words, rng, size, name, wanted)

    def fill(name, make):
        parts, total = [], 0
        while total < size:
            part = make()
            part = part if isinstance(part, bytes) else part.encode()
            parts.append(part)
            total += len(part)
        texts.append((name, b"".join(parts)))

    fill("random unicode", lambda: rng.choice(chars))
    low = [c for c in chars if 0x20 <= ord(c) < 0x3000]
    fill("random plane 0", lambda: rng.choice(low if rng.random() < .5 else words))
    fill("marks", lambda: rng.choice("aeiouAEIOU\u1100\u1161\u11a8\uac00\u0915\u09c7") if rng.random() < .4
         else rng.choice(marks))
    fill("decomposed", lambda: unicodedata.normalize("NFD", rng.choice(composable)) + rng.choice(["", " ", "x"]))
    fill("compositions", lambda: rng.choice(composable) + rng.choice(["", rng.choice(marks)]))
    fill("emoji", lambda: chr(rng.randrange(0x1F300, 0x1F600)) + rng.choice(["", "\u200d", "\ufe0f", " ", "\U0001f3fd"]))
    fill("white space", lambda: rng.choice(spaces) * rng.choice([1, 1, 2, 3, 17, 70]) + rng.choice(["", "", "a", "1", "."]))
    fill("digits", lambda: str(rng.randrange(10 ** rng.choice([1, 3, 9, 40]))) + rng.choice(["", " ", ".", "\u0663", "\u00bd", "\u2167"]))
    fill("apostrophes", lambda: rng.choice(["I", "we", "x ", "'", "\u2019"]) + "'" +
         rng.choice(["s", "S", "t", "re", "RE", "Re", "ve", "m", "ll", "lL", "d", "D", "x", "\u017f", "\u212a", "st"]))
    fill("punctuation", lambda: "".join(rng.choice("!\"#$%&()*+,-./:;<=>?@[]^_`{|}~ \n\r") for _ in range(9)))
    fill("broken utf-8", lambda: bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5))) +
         rng.choice([b"abc", b" ", "\u00e9".encode(), "\u4e2d".encode()[:2]]))
    fill("short strings", lambda: "".join(rng.choice(words) for _ in range(3)))
    if added:
        fill("added tokens", lambda: rng.choice(added) + rng.choice(["", " ", "  ", "text", "\n", "<", "<|", "x y"]))
    return texts


def source_code(size):
    """This Python's standard library, as an example of code."""
    parts, total = [], 0
    for name in sorted(os.listdir(os.path.dirname(os.__file__))):
        if name.endswith(".py") and total < size:
            with open(os.path.join(os.path.dirname(os.__file__), name), "rb") as file:
                parts.append(file.read())
            total += len(parts[-1])
    return [("source code", b"".join(parts)[:size])]


def chunks(text):
    return [text[i:i + CHUNK] for i in range(0, len(text), CHUNK)]


def run(command, folder, text):
    argv = [part.replace("{dir}", folder) for part in shlex.split(command)]
    done = subprocess.run(argv, input=text, capture_output=True, check=False)
    if done.returncode:
        sys.exit("command failed: " + done.stderr.decode(errors="replace"))
    return json.loads(done.stdout)["ids"]


def first_difference(reference, text, ours, theirs):
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
    show = [reference.id_to_token(i) for i in theirs[max(0, at - 2):at + 4]]
    return f"id {at}: ours {ours[max(0, at - 2):at + 4]}, theirs {theirs[max(0, at - 2):at + 4]} {show}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--command", required=True)
    parser.add_argument("--reference", help="tokenizer.json to compare with; default: of FOLDER")
    parser.add_argument("--special", action="store_true", help="the command recognises added tokens")
    parser.add_argument("--size", type=int, default=100_000, help="bytes per generated text")
    parser.add_argument("--limit", type=int, default=1_000_000, help="bytes read of each file")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("folder")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()

    path = args.reference or os.path.join(args.folder, "tokenizer.json")
    reference, data = load_reference(path, args.special)
    added = [t["content"] for t in data["added_tokens"]] if args.special else []
    texts = generated(data, random.Random(args.seed), args.size, added) + source_code(4 * args.size)
    for name in args.files:
        with open(name, "rb") as file:
            texts.append((os.path.basename(name), file.read(args.limit)))

    n_bytes = n_ids = n_bad = 0
    for name, text in texts:
        bad = 0
        for part in chunks(text):
            ours = run(args.command, args.folder, part)
            theirs = reference.encode(part.decode("utf-8", "replace"), add_special_tokens=False).ids
            n_bytes += len(part)
            n_ids += len(theirs)
            if ours != theirs:
                bad += 1
                if bad == 1:
                    print(f"DIFFERENT in {name}: {first_difference(reference, part, ours, theirs)}")
        n_bad += bad
    print(f"{args.folder}: {n_bytes} bytes, {n_ids} ids, {len(texts)} kinds of text, {n_bad} chunks differ")
    return n_bad > 0


if __name__ == "__main__":
    sys.exit(main())
