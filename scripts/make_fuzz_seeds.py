#!/usr/bin/env python3
"""Writes the seed inputs of the fuzz targets to tests/fuzz/corpus/.

Each seed is a small file that gets far: a complete model of two layers in either container, the
configurations of every family, and files that break one rule each. Needs only the standard library.
"""
import json
import pathlib
import struct

ROOT = pathlib.Path(__file__).resolve().parent.parent / "tests" / "fuzz" / "corpus"

LAYERS, WIDTH, FF, ROWS, HEADS, HEAD = 1, 8, 8, 12, 2, 4


def put(target, name, data):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def safetensors(entries, metadata=None, pad=0):
    """entries: (name, dtype, shape, n_bytes)."""
    header, at = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, n_bytes in entries:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n_bytes]}
        at += n_bytes
    text = json.dumps(header, separators=(",", ":")).encode() + b" " * pad
    return struct.pack("<Q", len(text)) + text + bytes(range(256)) * (at // 256) + bytes(at % 256)


def make_safetensors():
    two = [("a", "F32", [2, 3], 24), ("b", "BF16", [4], 8)]
    put("fuzz_safetensors", "two", safetensors(two, {"format": "pt"}, 5))
    put("fuzz_safetensors", "scalar_and_empty", safetensors([("s", "F16", [], 2), ("z", "I64", [0, 4], 0)]))
    put("fuzz_safetensors", "sub_byte", safetensors([("f", "F4", [2, 2], 2), ("g", "F6_E2M3", [4], 3)]))
    put("fuzz_safetensors", "none", safetensors([]))
    put("fuzz_safetensors", "cut", safetensors(two)[:-1])
    put("fuzz_safetensors", "escaped_twice",
        (lambda t: struct.pack("<Q", len(t)) + t)(
            b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},'
            b'"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'))
    put("fuzz_safetensors", "wide_shape",
        (lambda t: struct.pack("<Q", len(t)) + t)(
            b'{"a":{"dtype":"U8","shape":[9007199254740992,9007199254740992],"data_offsets":[0,0]}}'))


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, kind, value):
    codes = {"u8": (0, "<B"), "u16": (2, "<H"), "u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"),
             "bool": (7, "<B"), "u64": (10, "<Q"), "f64": (12, "<d")}
    if kind == "string":
        return string(key) + struct.pack("<I", 8) + string(value)
    if isinstance(value, list):
        body = b"".join(string(v) for v in value) if kind == "[string" else b"".join(
            struct.pack(codes[kind][1], v) for v in value)
        code = 8 if kind == "[string" else codes[kind][0]
        return string(key) + struct.pack("<IIQ", 9, code, len(value)) + body
    code, form = codes[kind]
    return string(key) + struct.pack("<I", code) + struct.pack(form, value)


def gguf(pairs, tensors, version=3, alignment=32):
    """tensors: (name, dims fastest first, type, n_bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join(pairs)
    at = 0
    for name, dims, kind, n_bytes in tensors:
        head += string(name) + struct.pack("<I", len(dims))
        head += b"".join(struct.pack("<Q", d) for d in dims) + struct.pack("<IQ", kind, at)
        at += (n_bytes + alignment - 1) // alignment * alignment
    head += bytes(-len(head) % alignment)
    return head + bytes(at)


def model_pairs(arch):
    tokens = ["t%d" % i for i in range(ROWS)]
    return [
        pair("general.architecture", "string", arch),
        pair("general.name", "string", "seed"),
        pair(arch + ".block_count", "u32", LAYERS),
        pair(arch + ".context_length", "u32", 64),
        pair(arch + ".embedding_length", "u64", WIDTH),
        pair(arch + ".feed_forward_length", "u32", FF),
        pair(arch + ".attention.head_count", "u32", HEADS),
        pair(arch + ".attention.head_count_kv", "i32", [HEADS] * LAYERS),
        pair(arch + ".attention.key_length", "u16", HEAD),
        pair(arch + ".attention.layer_norm_rms_epsilon", "f32", 1e-6),
        pair(arch + ".rope.freq_base", "f32", 1e6),
        pair("diffusion.shift_logits", "bool", 0),
        pair("tokenizer.ggml.model", "string", "gpt2"),
        pair("tokenizer.ggml.tokens", "[string", tokens),
        pair("tokenizer.ggml.token_type", "i32", [1] * ROWS),
        pair("tokenizer.ggml.mask_token_id", "u32", 5),
        pair("tokenizer.ggml.eos_token_id", "u32", 6),
    ]


def model_tensors(bias, norms):
    q = HEADS * HEAD
    out = [("token_embd.weight", [WIDTH, ROWS]), ("output_norm.weight", [WIDTH]),
           ("output.weight", [WIDTH, ROWS])]
    for i in range(LAYERS):
        b = "blk.%d." % i
        out += [(b + "attn_norm.weight", [WIDTH]), (b + "ffn_norm.weight", [WIDTH])]
        out += [(b + "attn_%s.weight" % p, [WIDTH, q]) for p in "qkv"]
        out += [(b + "attn_%s.bias" % p, [q]) for p in "qkv" if bias]
        out += [(b + "attn_%s_norm.weight" % p, [HEAD]) for p in "qk" if norms]
        out += [(b + "attn_output.weight", [q, WIDTH]), (b + "ffn_gate.weight", [WIDTH, FF]),
                (b + "ffn_up.weight", [WIDTH, FF]), (b + "ffn_down.weight", [FF, WIDTH])]
    sized = []
    for name, dims in out:
        n = 1
        for d in dims:
            n *= d
        sized.append((name, dims, 0, 4 * n) if len(dims) == 1 else (name, dims, 30, 2 * n))
    return sized


def make_gguf():
    for arch, bias, norms in (("llada", False, False), ("dream", True, False),
                              ("sdar", False, True), ("lacuna", False, True)):
        put("fuzz_gguf", arch, gguf(model_pairs(arch), model_tensors(bias, norms)))
    put("fuzz_gguf", "empty", gguf([], []))
    put("fuzz_gguf", "version_2", gguf([pair("general.alignment", "u32", 8)],
                                       [("w", [32, 2], 8, 68), ("v", [1], 0, 4)], 2, 8))
    put("fuzz_gguf", "quantized", gguf([pair("general.architecture", "string", "qwen2")],
                                       [("w", [256], 12, 144), ("x", [256], 23, 136)]))
    put("fuzz_gguf", "cut", gguf(model_pairs("llada"), model_tensors(False, False))[:1500])
    put("fuzz_gguf", "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0))


def make_config():
    qwen = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96, "vocab_size": 300,
            "max_position_embeddings": 512, "rope_theta": 1e6, "rms_norm_eps": 1e-6,
            "mask_token_id": 299, "eos_token_id": [1, 2], "hidden_act": "silu", "rope_scaling": None,
            "sliding_window": 4096, "use_sliding_window": False}
    llada = {"architectures": ["LLaDAModelLM"], "model_type": "llada", "d_model": 64, "n_layers": 2,
             "n_heads": 4, "n_kv_heads": None, "mlp_hidden_size": 96, "vocab_size": 300,
             "embedding_size": 320, "max_sequence_length": 128, "rope_theta": 5e5,
             "rms_norm_eps": 1e-5, "mask_token_id": 299, "eos_token_id": 1, "alibi": False}
    tiny = {"vocab_size": 128, "tokenizer": "id = ASCII code", "mask_token_id": 0, "n_layer": 1,
            "n_head": 2, "head_dim": 4, "n_embd": 8, "mlp_dim": 16, "mlp_activation": "relu squared",
            "norm": "RMSNorm without weights", "rope_theta": 10000, "diffusion_steps": 8,
            "qk_norm": "RMSNorm over head_dim, after RoPE, without weights",
            "rope_layout": "half split: y1 = x1*cos + x2*sin, y2 = -x1*sin + x2*cos",
            "attention_scale": "1/sqrt(head_dim)", "train_sequence_len": 16,
            "time_embedding": "table row t added to every token embedding, then RMSNorm"}
    seeds = {
        "sdar": dict(qwen, architectures=["SDARForCausalLM"], block_size=8),
        "dream": dict(qwen, architectures=["DreamModel"], model_type="Dream"),
        "llada_names": llada,
        "llada_hf": dict(qwen, architectures=["LLaDAModelLM"]),
        "lacuna": dict(qwen, architectures=["LacunaForMaskedDiffusion"], attention="block_causal",
                       block_size=4, qk_norm=True, tokenizer_type="bytes", max_trained_length=64),
        "in_words": dict(qwen, architectures=["x"], attention="full",
                         tokenizer="ids 0..255 are the bytes", qk_norm="per head, before RoPE"),
        "tiny_dlm": tiny,
        "moe": dict(qwen, model_type="llada", num_experts=4, expert_intermediate_size=8),
        "unknown": {"architectures": ["Qwen3ForCausalLM"]},
    }
    for name, value in seeds.items():
        put("fuzz_config", name, json.dumps(value, separators=(",", ":")).encode())
    both = json.dumps(seeds["sdar"]).encode() + b"\0" + b'{"eos_token_id":[3,1],"mask_token_id":null}'
    put("fuzz_config", "with_generation", both)
    put("fuzz_config", "escapes", b'{"\\ud83d\\ude00":"\\u00e4\\n\\/","a":[1e5,-0.5,true,null,{}]}')
    put("fuzz_config", "twice", b'{"a":1,"\\u0061":2}')


def plan(dims, rows, kept, version=1, pad=0):
    head = b"LACPLAN\n" + struct.pack("<8I", version, *dims, pad)
    body = b"".join(rows) + struct.pack("<%df" % len(kept), *kept)
    h = 0xCBF29CE484222325
    for byte in head + body:
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return head + struct.pack("<Q", h) + body


def make_plans():
    # n_batch, n_heads, n_q, n_k, block, n_prompt; then the bits of every row of every pattern
    put("fuzz_plan", "one", plan((1, 1, 16, 16, 16, 0), [b"\x01"], [1]))
    two = (2, 2, 40, 200, 32, 100)
    rows = [bytes([b]) for b in (1, 0x7F, 0x40, 3, 0x11, 0x55, 0x2A, 2)]
    put("fuzz_plan", "two", plan(two, rows, [0.5, 1, float("nan"), 0]))
    put("fuzz_plan", "wide", plan((1, 1, 100, 1100, 16, 1100), [b"\xff" * 8 + b"\x1f"] * 7, [1]))
    put("fuzz_plan", "cut", plan(two, rows, [0.5, 1, 1, 0])[:-1])
    put("fuzz_plan", "empty_row", plan((1, 1, 16, 16, 16, 0), [b"\x00"], [1]))
    put("fuzz_plan", "past_the_end", plan((1, 1, 16, 16, 16, 0), [b"\x03"], [1]))
    put("fuzz_plan", "too_much", plan((1, 1, 16, 16, 16, 0), [b"\x01"], [1.5]))
    put("fuzz_plan", "huge", plan((65536, 65536, 1 << 24, 1 << 24, 16, 0), [b"\x01"], [1]))
    put("fuzz_plan", "odd_block", plan((1, 1, 48, 48, 48, 0), [b"\x01"], [1]))
    put("fuzz_plan", "prompt_too_long", plan((1, 1, 16, 16, 16, 17), [b"\x01"], [1]))
    put("fuzz_plan", "version", plan((1, 1, 16, 16, 16, 0), [b"\x01"], [1], version=2))
    put("fuzz_plan", "reserved", plan((1, 1, 16, 16, 16, 0), [b"\x01"], [1], pad=1))


def lines(*values):
    return b"".join(json.dumps(v, separators=(",", ":")).encode() + b"\n" for v in values)


def make_traces():
    """The first byte chooses what an accepted trace is written as."""
    def header(**more):
        return dict({"type": "header", "version": "0.1.0", "model": "seed", "family": "llada",
                     "dtype": "f32", "sparse": "window", "n_prompt": 33, "n_canvas": 40, "n_holes": 7,
                     "n_ctx": 40, "n_layers": 2, "n_heads": 2, "steps": 2, "block_length": 7,
                     "block_size": 0}, **more)

    def plan_line(step, layer, kept, **more):
        return dict({"type": "plan", "step": step, "pass": 0, "layer": layer, "n_q": 40, "n_k": 40,
                     "q_block": 32, "k_block": 32, "density": 0.75, "kept_mass": None,
                     "kept": kept}, **more)

    def step_line(step, **more):
        return dict({"type": "step", "step": step, "block": 0, "span": [33, 40], "n_fixed": 1,
                     "n_left": 6 - step, "fixed": [{"pos": 39 - step, "id": 5, "conf": 0.5}],
                     "open": [{"pos": 33, "id": 7, "conf": None}], "ms": 0.5, "density": 0.75}, **more)

    summary = {"type": "summary", "finish_reason": "length", "steps": 2, "forwards": 2, "n_ids": 7,
               "seconds": 0.1, "seconds_forward": 0.1, "density": 0.75, "text": "seven.."}
    whole = lines(header(), plan_line(0, 0, ["8c", "c4"]), plan_line(0, 1, ["cc"]), step_line(0),
                  plan_line(1, 0, "same"), plan_line(1, 1, ["84", "48"], kept_mass=[0.5, 0.25]),
                  step_line(1), summary)
    for kind, name in ((0, "table"), (1, "page"), (2, "drawing")):
        put("fuzz_trace", name, bytes([kind]) + whole)
    put("fuzz_trace", "cut", b"\0" + whole[:-40])
    put("fuzz_trace", "no_plans", b"\0" + lines(header(), step_line(0), summary))
    block = header(block_size=8, sparse="losa", n_prompt=32)
    read = {"type": "plan", "step": 0, "pass": 0, "layer": 0, "n_q": 2, "n_k": 32, "q_block": 2,
            "k_block": 16, "first": 32, "active": [1, 3], "density": 0.5, "kept_mass": None,
            "kept": ["8", "4"]}
    seen = {"n_active": 2, "union_inflation": 1.5, "bytes_read": 4096}
    for kind, name in ((0, "blocks_table"), (1, "blocks_page"), (2, "blocks_drawing")):
        put("fuzz_trace", name, bytes([kind]) + lines(block, read, dict(read, layer=1),
                                                      step_line(0, **seen), step_line(1, **seen),
                                                      summary))


def make_eval_files():
    settings = {"type": "settings", "seed": "1", "model": "m"}
    figures = ("score exact agree kl kl_worst top1 kept_mass needle_kept density ms_per_step "
               "tokens_per_forward union_inflation bytes_read").split()

    def record(index, policy, **more):
        return dict({"type": "sample", "task": "kv", "ctx": 96, "depth": -1, "index": index,
                     "policy": policy}, **dict({f: 0.5 for f in figures}, **more))

    whole = lines(settings, record(0, "off"), record(0, "window", kl=None), record(1, "off"))
    put("fuzz_eval_record", "whole", whole)
    put("fuzz_eval_record", "torn", whole[:-9])
    put("fuzz_eval_record", "twice", lines(settings, record(0, "off"), record(0, "off")))
    put("fuzz_eval_record", "failed", lines(settings, record(0, "off", failed=True, score=0)))
    put("fuzz_eval_record", "other", lines(dict(settings, seed="2"), record(0, "off")))
    put("fuzz_eval_record", "empty", b"")
    sample = {"index": 0, "input": "crayon: 9259\nhedge: 8987\nWhat is crayon? ", "outputs": ["9259"],
              "length": 62, "length_w_model_temp": 62, "answer_prefix": " It is",
              "token_position_answer": 0, "task": "kv", "ctx": 64}
    bare = {"index": 3, "input": "x", "outputs": ["a", "b"], "length": 9}
    put("fuzz_eval_data", "whole", lines(sample, dict(sample, index=1, task="other")))
    put("fuzz_eval_data", "bare", lines(bare))
    put("fuzz_eval_data", "one_answer", lines(dict(bare, outputs="a", others=[1, {"x": None}])))
    put("fuzz_eval_data", "cut", lines(sample)[:-20])


def make_prompts():
    put("fuzz_prompt", "document", b"\4" + "caf\u00e9 <|x|>".encode() + b"\0and then?\0")
    put("fuzz_prompt", "canvas", b"\1a [MASK] b [MASK*12]\ncd[MASK*0] [MASK*x]")
    put("fuzz_prompt", "hole", b"\3one ___ two ______\0\0___")
    put("fuzz_prompt", "special", b"\x15[MASK]<|im_end|>[MASK]\0say it\0")
    put("fuzz_prompt", "plain", b"\x0c\xff\xfe raw \xc3\0text\0")


def byte_alphabet():
    """The characters that stand for bytes in byte-level vocabularies, by byte."""
    kept = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    moved = iter(range(256, 512))
    return [chr(b) if b in kept else chr(next(moved)) for b in range(256)]


def make_tokenizers():
    letters = byte_alphabet()
    merges = ["a b", "ab a", "\u0120 t", "t h"]
    tokens = letters + ["aba", "ab", "\u0120t", "th"]
    pairs = [pair("tokenizer.ggml.model", "string", "gpt2"), pair("tokenizer.ggml.pre", "string", "qwen2"),
             pair("tokenizer.ggml.tokens", "[string", tokens + ["<|end|>", "<s>"]),
             pair("tokenizer.ggml.merges", "[string", merges),
             pair("tokenizer.ggml.token_type", "i32", [1] * len(tokens) + [3, 4])]
    put("fuzz_tokenizer_gguf", "whole", gguf(pairs, []))
    put("fuzz_tokenizer_gguf", "no_merges", gguf(pairs[:3] + pairs[4:], []))
    put("fuzz_tokenizer_gguf", "llada", gguf([pairs[0], pair("tokenizer.ggml.pre", "string", "llada-moe"),
                                              pairs[2], pairs[3]], []))
    put("fuzz_tokenizer_gguf", "few", gguf([pairs[0], pairs[1],
                                            pair("tokenizer.ggml.tokens", "[string", ["a", "b", "ab"]),
                                            pair("tokenizer.ggml.merges", "[string", ["a b"])], []))
    vocab = json.dumps({t: i for i, t in enumerate(tokens)}, separators=(",", ":")).encode()
    merged = b"#version: 0.2\n" + "\n".join(merges).encode() + b"\n"
    added = {"content": "<|end|>", "single_word": False, "lstrip": True, "rstrip": False,
             "normalized": False, "special": True}
    config = json.dumps({"added_tokens_decoder": {"260": added}, "tokenizer_class": "Qwen2Tokenizer",
                         "add_prefix_space": False, "eos_token": "<|end|>"}).encode()
    more = json.dumps({"<s>": 261}).encode()
    put("fuzz_tokenizer_files", "whole", b"\0".join([vocab, merged, config, more]))
    put("fuzz_tokenizer_files", "two", b"\0".join([vocab, merged]))
    put("fuzz_tokenizer_files", "small", b"\0".join([b'{"a":0,"b":1,"ab":2}', b"a b", b"{}", b'{"x":9}']))
    put("fuzz_tokenizer_files", "no_merges", b"\0".join([vocab, b"", config]))


def make_operations():
    """Bytes of operations (fuzz_batch.c) and of options (fuzz_options.c)."""
    add, step = bytes([3, 9, 11, 1, 0, 0, 0]), bytes([4])
    put("fuzz_batch", "one", add + 20 * step + b"\2\0")
    put("fuzz_batch", "three", add + step + bytes([3, 17, 5, 0, 1, 1, 2]) + add + 14 * step + b"\2\1\2\0")
    put("fuzz_batch", "full", 4 * add + 8 * step)
    put("fuzz_batch", "replaced", add + 3 * step + b"\1\0" + bytes([3, 20, 8, 1, 0, 1, 3]) + 20 * step + b"\2\0")
    put("fuzz_batch", "cancelled", add + 2 * step + b"\0\0\2\0" + add + 20 * step + b"\2\1")
    policies = ["", "off", "auto", "dense:measure=on", "sparsed:block=16,skip=0,reset=block,refresh=auto",
                "fidelity:fidelity=0.5", "pulsecol:refreshes=2", "window:window=9", "streaming:sink=3",
                "losa:budget=8,page=16,min-prefix=0,min-change=0", "quest:budget=0.5,min-prefix=0",
                "flashblock:min-prefix=0,refresh-tokens=2", "mage:budget=9,min-prefix=0",
                "sparsed:budget=0.5,min-prefix=0", "losa:budget=0", "none:at=all"]
    for i, policy in enumerate(policies):
        for model in range(3):
            put("fuzz_options", "policy_%d_%d" % (i, model),
                bytes([model]) + policy.encode() + b"\0" + 60 * b"\1")


make_safetensors()
make_plans()
make_gguf()
make_config()
make_traces()
make_eval_files()
make_prompts()
make_tokenizers()
make_operations()
