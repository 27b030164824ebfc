#!/usr/bin/env python3
"""Makes the golden tokenizers and their expected ids with the Hugging Face `tokenizers` library.

    make.py TEXT_FILE        # public-domain English text; the committed files used Project
                             # Gutenberg prose (first 600,000 characters)

Writes, beside this script:
  bytelevel/   byte-level BPE of the Qwen layout (NFC, Split, ByteLevel): tokenizer.json, and the
               same as vocab.json, merges.txt, tokenizer_config.json, added_tokens.json
  characters/  BPE over characters with byte fallback: tokenizer.json
  cases.json   texts and ids, ids and texts, of both and of the byte-level one under other patterns
"""
import json
import os
import random
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BAILING = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*"
           r"|\s*[\r\n]|\s+(?!\S)|\s+")
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
GEMMA = r"[^\n]+|[\n]+"
FOREIGN = ("今天天气很好，我们去公园散步。明天可能会下雨。中文字符和标点。 \n"
           "السلام عليكم ورحمة الله وبركاته. كيف حالك اليوم؟\n"
           "Привет, как дела? Сегодня хорошая погода.\n日本語のテキストです。한국어 문장입니다.\n"
           "def f(x):\n    return x * 2  # comment\n\tif (a[i] != b[j]) { return 0; }\n") * 40
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|mask|>", "<|startoftext|>",
           "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<role>", "</role>", "<|role_end|>"]


def byte_level_tokenizer(text):
    tok = Tokenizer(models.BPE())
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tok.decoder = decoders.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=1256, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator([text, FOREIGN], trainer)
    tok.add_special_tokens([AddedToken(t, normalized=False) for t in SPECIAL])
    tok.add_tokens([AddedToken("<tool_call>", normalized=False), AddedToken("<think>", normalized=False),
                    AddedToken("</think>", normalized=False), AddedToken("<tool", normalized=False),
                    AddedToken("<|strip|>", normalized=False, lstrip=True, rstrip=True),
                    AddedToken("whole", normalized=False, single_word=True),
                    AddedToken("Cafe\u0301", normalized=True), AddedToken("   ", normalized=True)])
    return tok


def character_tokenizer(text):
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                     decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False, limit_alphabet=100, max_token_length=8,
                                  special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    tok.train_from_iterator(text[:100_000].split(" "), trainer)
    data = json.loads(tok.to_str())
    data["added_tokens"] = [t for t in data["added_tokens"] if not t["content"].startswith("<0x")]
    data["model"]["merges"] = [m if isinstance(m, list) else m.split(" ", 1) for m in data["model"]["merges"]]
    return Tokenizer.from_str(json.dumps(data))


def sentences(text, rng):
    """Texts of all the kinds that have caused bugs in tokenizers."""
    at = [rng.randrange(len(text) - 400) for _ in range(60)]
    texts = [text[a:a + rng.randrange(1, 300)] for a in at]
    texts += ["", " ", "  ", "a", "\n", "\r\n", " \n", "\n ", "  \n\n  x", "a  b", "a   b ", "\t\t\tx", "a\u00a0b", "\u3000x\u3000",
              "Hello, world!", "It's we'll I'M you'RE they'd 've 'x '", "x'\u017f y'\u017f", "'S'T'Re", "\u2019s",
              "1234567890", "3.14159", "1,000,000", "x1y22z333", "\u0663\u0664", "\u00bd\u2167\u2460", "a1b2",
              "cafe\u0301 cafe\u00e9", "\u212b \u00c5 A\u030a", "e\u0301\u0302", "a\u0323\u0307 a\u0307\u0323", "\u1100\u1161\u11a8 \uac01",
              "q\u0307\u0323\u0327", "\u0958 \u0915\u093c", "\ufb01 \u2126 \u0374", "\u0301start", "\n\u0301x", "\u00e9\u0301",
              "\U0001f600\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1eb\U0001f1f7", "\u200b\u200c\u200d\ufeff", "\u180ea \u180e",
              "\u4eca\u5929\u5929\u6c14\u5f88\u597d", "\u0627\u0644\u0633\u0644\u0627\u0645", "\u0e44\u0e17\u0e22", "\ud55c\uad6d\uc5b4",
              "\U00020000\U0002a6df", "\x1c\x1d\x1e\x1f", "\x85x\x0bx\x0cx", "\u2028\u2029x", "\x7f", "~" * 50, "-" * 100, "=" * 33 + "\n",
              "a" * 300, " " * 300, "\n" * 100, "ab" * 200, "\u4e2d" * 100, "\u00e9" * 99, "the" * 60, " the" * 60,
              "def f(n):\n    return n if n < 2 else f(n-1)\n", "x=a[i]+b[j]*c; // comment", "<a href=\"x\">y</a>",
              "C:\\path\\file.txt", "https://example.org/a?b=c&d=e#f", "a@b.cd", "--flag=value", "(((())))", "!?!?\n\n!?", "$100.00 \u20ac5"]
    texts += ["<|im_start|>user\nHi<|im_end|>\n", "<|im_end", "<|im_end|><|im_end|>", "<tool_call>", "<tool_cal", "<tool", "<<tool_call>>",
              "<think>\n\n</think>\n\n", "a <|strip|> b", "a  \n<|strip|>\t\u3000b", "<|strip|><|strip|>", "whole", "wholes awhole a whole b",
              "whole,whole", "_whole", "\u00e9whole", "Cafe\u0301!", "Caf\u00e9", "Cafe", "a   b    c      d", "<|mask|>" * 5,
              "<|endoftext|>x<|startoftext|>", "<role>HUMAN</role>x<|role_end|>", "x<|mask|>", "<s>a</s> <unk> <0x41>"]
    chars = [chr(c) for c in range(0x3000) if unicodedata.category(chr(c)) not in ("Cn", "Cs", "Co")]
    texts += ["".join(rng.choice(chars) for _ in range(rng.randrange(1, 12))) for _ in range(60)]
    mixed = list("aeE '\n\t.1<|") + ["\u0301", "\u0323", "\u4e2d", "\u00e9", "  ", "\r\n", " the", "'s", "\u3000", "\U0001f600"]
    texts += ["".join(rng.choice(mixed) for _ in range(rng.randrange(1, 20))) for _ in range(80)]
    raw = [t.encode() for t in texts] + [b"a\x00b", b"\xff", b"a\xffb", b"\xc3", b"\xe4\xb8", b"\xe4\xb8x", b"\xed\xa0\x80",
           b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xf0\x9f\x98", b"\x80\x80", b"ok\xfe\xffok", b"\xe9t\xe9"]
    return raw + [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 9))) for _ in range(40)]


def spelled(raw):
    """A text as JSON: readable where it can be, else hexadecimal."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return {"hex": raw.hex()}
    return {"hex": raw.hex()} if "\0" in text else {"text": text}


def without_added(tok):
    data = json.loads(tok.to_str())
    data["added_tokens"] = []
    return Tokenizer.from_str(json.dumps(data))


def encode_cases(tok, texts):
    plain, cases = without_added(tok), []
    for raw in texts:
        text = raw.decode("utf-8", "replace")
        ids = plain.encode(text, add_special_tokens=False).ids
        special = tok.encode(text, add_special_tokens=False).ids
        case = {**spelled(raw), "ids": ids}
        if special != ids:
            case["special_ids"] = special
        cases.append(case)
    return cases


def decode_cases(tok, rng, n):
    size, cases = max(tok.get_vocab().values()) + 1, []
    for i in range(n):
        ids = [rng.randrange(size if i % 2 else 300) for _ in range(rng.randrange(1, 12))]
        cases.append({"ids": ids, **spelled(tok.decode(ids, skip_special_tokens=True).encode()),
                      "kept": tok.decode(ids, skip_special_tokens=False).encode().hex()})
    return cases


def write(name, data, indent=None):
    path = os.path.join(HERE, name)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(data, file, ensure_ascii=False, indent=indent, separators=None if indent else (",", ":"))
        file.write("\n")


def write_cases(name, groups):
    """One case a line, so that a change is a readable diff."""
    with open(os.path.join(HERE, name), "w", encoding="utf-8") as file:
        file.write("{\n")
        for i, (key, cases) in enumerate(groups.items()):
            lines = ",\n".join(json.dumps(c, ensure_ascii=True, separators=(",", ":")) for c in cases)
            file.write(f"{json.dumps(key)}: [\n{lines}\n]{',' if i + 1 < len(groups) else ''}\n")
        file.write("}\n")


def write_files(tok):
    """The byte-level tokenizer in the older layout; one added token is spelled in two ways."""
    data = json.loads(tok.to_str())
    write("bytelevel/tokenizer.json", data)
    write("bytelevel/vocab.json", data["model"]["vocab"])
    with open(os.path.join(HERE, "bytelevel/merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n")
        for merge in data["model"]["merges"]:
            file.write((merge if isinstance(merge, str) else " ".join(merge)) + "\n")
    added = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in data["added_tokens"]}
    write("bytelevel/tokenizer_config.json", {"added_tokens_decoder": added, "add_prefix_space": False,
                                    "model_max_length": 1000000000000000019884624838656,
                                    "tokenizer_class": "Qwen2Tokenizer"}, 1)
    names = {t["content"]: t["id"] for t in data["added_tokens"] if t["content"] != "<|mask|>"}
    write("bytelevel/added_tokens.json", {**names, "<MASK>": tok.token_to_id("<|mask|>")}, 1)


def with_pattern(tok, pattern):
    data = json.loads(tok.to_str())
    data["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern
    return Tokenizer.from_str(json.dumps(data))


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        text = file.read(600_000)
    rng = random.Random(7)
    texts = sentences(text, rng)
    tok = byte_level_tokenizer(text)
    write_files(tok)
    characters = character_tokenizer(text)
    write("characters/tokenizer.json", json.loads(characters.to_str()))
    write_cases("cases.json", {
        "bytelevel": encode_cases(tok, texts),
        "bailing": [{**spelled(t), "ids": with_pattern(without_added(tok), BAILING).encode(t.decode("utf-8", "replace")).ids}
                    for t in texts[60:110]],
        "gpt2": [{**spelled(t), "ids": with_pattern(without_added(tok), GPT2).encode(t.decode("utf-8", "replace")).ids}
                 for t in texts[60:110]],
        "gemma": [{**spelled(t), "ids": with_pattern(without_added(tok), GEMMA).encode(t.decode("utf-8", "replace")).ids}
                  for t in texts[60:110]],
        "characters": encode_cases(characters, texts[50:]),
        "bytelevel decode": decode_cases(tok, rng, 100),
        "characters decode": decode_cases(characters, rng, 100),
    })


if __name__ == "__main__":
    main()
