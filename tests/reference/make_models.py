"""make_models.py: writes the small random models and their expected logits under a folder.

    python make_models.py ../golden

Everything is seeded: the same packages write the same bytes. Weights that are stored in several
containers are drawn once, on a grid that all of them hold exactly, so their logits are the same
numbers. Expected values are computed in float64 from what the loaders read back from the files.
"""
import json
import os
import sys

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

import models

VOCAB = 320  # embedding rows; fewer ids have a token, the rest is padding
PATTERN_Q = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
             r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# Merges in order of rank; a capital G with a dot above is the space.
MERGES = [("t", "h"), ("\u0120", "t"), ("i", "n"), ("e", "r"), ("th", "e"), ("\u0120", "a"),
          ("o", "n"), ("r", "e"), ("\u0120t", "he"), ("h", "e"), ("in", "g"), ("\u0120", "s"),
          ("e", "n"), ("a", "n"), ("an", "d"), ("\u0120", "and"), ("o", "r"),
          ("\u0120", "\u0120"), ("1", "2"), ("\u00c3", "\u00a9"), ("l", "l"), ("e", "ll"),
          ("H", "ell")]
SPECIALS = {
    "llada": ["<|startoftext|>", "<|endoftext|>", "<|mdm_mask|>", "<|start_header_id|>",
              "<|end_header_id|>", "<|eot_id|>"],
    "dream": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|beginoftext|>", "<|mask|>"],
    "lacuna": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|mask|>"],
}
TEXTS = ["Hello world", "the  theatre and\n\n the inning 12345",
         "caf\u00e9 d\u00e9j\u00e0 vu, it's 1212!", "", " ", "\u4f60\u597d", "a    b\tc\r\n"]


# ------------------------------------------------------------------ tokenizer

def byte_alphabet():
    """Character of every byte 0..255: printable bytes stand for themselves, the other 68 become
    U+0100 and up."""
    chars, spare = [], 0
    for byte in range(256):
        if 0x21 <= byte <= 0x7E or 0xA1 <= byte <= 0xAC or 0xAE <= byte <= 0xFF:
            chars.append(chr(byte))
        else:
            chars.append(chr(0x100 + spare))
            spare += 1
    return chars


def vocabulary(family):
    """Tokens in order of id: printable bytes, the other bytes, merge results, special tokens."""
    chars = byte_alphabet()
    tokens = [c for c in chars if ord(c) < 0x100] + [c for c in chars if ord(c) >= 0x100]
    merges = []
    for a, b in MERGES:
        if a in tokens and b in tokens and a + b not in tokens:
            merges.append((a, b))
            tokens.append(a + b)
    first_special = len(tokens)
    return tokens + SPECIALS[family], merges, first_special


def write_tokenizer(folder, family):
    tokens, merges, first = vocabulary(family)
    doc = {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True}
                         for i in range(first, len(tokens))],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN_Q}, "behavior": "Isolated",
             "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
             "use_regex": False}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False,
                    "use_regex": False},
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                  "byte_fallback": False, "ignore_merges": False,
                  "vocab": {t: i for i, t in enumerate(tokens[:first])},
                  "merges": [f"{a} {b}" for a, b in merges]},
    }
    write_json(os.path.join(folder, "tokenizer.json"), doc, indent=None)


def encoded_texts(folder):
    """What the tokenizers package makes of a few texts, special tokens left as text."""
    from tokenizers import Tokenizer
    tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tok.encode_special_tokens = True
    return [{"text": s, "ids": tok.encode(s, add_special_tokens=False).ids} for s in TEXTS]


def special_id(family, piece):
    tokens, _, _ = vocabulary(family)
    return tokens.index(piece)


# ------------------------------------------------------------------ weights

def on_grid(x):
    """Rounds to bfloat16 and clears what a half float could not hold exactly, so that F32, BF16
    and F16 files carry the same numbers."""
    y = torch.tensor(x, dtype=torch.float32).to(torch.bfloat16).to(torch.float32)
    y[y.abs() < 2.0 ** -16] = 0
    assert torch.equal(y, y.to(torch.float16).to(torch.float32))
    return y


def draw(rng, shapes):
    """Random weights that make a lively network: matrices of gain about 1, norm weights well away
    from 1 so that a missing one shows, biases as large as what they are added to."""
    w = {}
    for name, shape in shapes:
        z = rng.standard_normal(shape)
        if name.endswith("bias"):
            w[name] = on_grid(0.7 * z)
        elif len(shape) == 1:
            w[name] = on_grid(1.0 + 0.35 * z)
        elif "embed_tokens" in name or "_emb." in name:
            w[name] = on_grid(z)
        elif "lm_head" in name or "output_head" in name:
            w[name] = on_grid(2.0 * z / shape[1] ** 0.5)
        elif ".q_proj" in name or ".k_proj" in name or ".c_q." in name or ".c_k." in name:
            w[name] = on_grid(1.4 * z / shape[1] ** 0.5)
        else:
            w[name] = on_grid(1.1 * z / shape[1] ** 0.5)
    return w


def llama_shapes(n_layers, d_model, n_heads, n_kv_heads, d_head, d_ff, bias, qk_norm, tied):
    q, kv = n_heads * d_head, n_kv_heads * d_head
    shapes = [("model.embed_tokens.weight", (VOCAB, d_model))]
    for layer in range(n_layers):
        p = f"model.layers.{layer}."
        shapes += [(p + "input_layernorm.weight", (d_model,)),
                   (p + "self_attn.q_proj.weight", (q, d_model)),
                   (p + "self_attn.k_proj.weight", (kv, d_model)),
                   (p + "self_attn.v_proj.weight", (kv, d_model)),
                   (p + "self_attn.o_proj.weight", (d_model, q)),
                   (p + "post_attention_layernorm.weight", (d_model,)),
                   (p + "mlp.gate_proj.weight", (d_ff, d_model)),
                   (p + "mlp.up_proj.weight", (d_ff, d_model)),
                   (p + "mlp.down_proj.weight", (d_model, d_ff))]
        if bias:
            shapes += [(p + "self_attn.q_proj.bias", (q,)), (p + "self_attn.k_proj.bias", (kv,)),
                       (p + "self_attn.v_proj.bias", (kv,))]
        if qk_norm:
            shapes += [(p + "self_attn.q_norm.weight", (d_head,)),
                       (p + "self_attn.k_norm.weight", (d_head,))]
    shapes.append(("model.norm.weight", (d_model,)))
    if not tied:
        shapes.append(("lm_head.weight", (VOCAB, d_model)))
    return shapes


def to_olmo(name):
    """Llama-style name to the OLMo-style name of LLaDA."""
    for olmo, llama in models.LLADA_OLMO_NAMES.items():
        if name == llama:
            return olmo
    layer, rest = name[len("model.layers."):].split(".", 1)
    middle = rest[:-len(".weight")]
    olmo = {v: k for k, v in models.LLADA_OLMO_LAYER_NAMES.items()}[middle]
    return f"model.transformer.blocks.{layer}.{olmo}.weight"


def to_gguf(name):
    for short, llama in models.GGUF_NAMES.items():
        if name == llama:
            return short
    layer, rest = name[len("model.layers."):].split(".", 1)
    middle, kind = rest.rsplit(".", 1)
    short = {v: k for k, v in models.GGUF_LAYER_NAMES.items()}[middle]
    return f"blk.{layer}.{short}.{kind}"


# ------------------------------------------------------------------ files

def write_json(path, doc, indent=1):
    separators = (",", ":") if indent is None else None
    with open(path, "w", encoding="utf-8") as f:
        json.dump(doc, f, indent=indent, separators=separators, ensure_ascii=False)
        f.write("\n")


def make_folder(root, name):
    folder = os.path.join(root, name)
    os.makedirs(folder, exist_ok=True)
    return folder


def save(path, w, dtype):
    save_file({k: v.to(dtype).contiguous() for k, v in w.items()}, path, metadata={"format": "pt"})


def save_two_shards(folder, w, dtype):
    """Names alternate between the files, so neighbours of one layer lie apart."""
    weight_map, total = {}, 0
    for part in range(2):
        file = f"model-0000{part + 1}-of-00002.safetensors"
        mine = {k: w[k] for i, k in enumerate(w) if i % 2 == part}
        save(os.path.join(folder, file), mine, dtype)
        weight_map.update({k: file for k in mine})
        total += sum(v.numel() * v.to(dtype).element_size() for v in mine.values())
    write_json(os.path.join(folder, "model.safetensors.index.json"),
               {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def save_gguf(path, arch, family, shape, w, ids, kind, permute, pad_tokens):
    """`shape` holds the numbers of the network, `ids` the special ids; matrices are of `kind`."""
    out = gguf.GGUFWriter(path, arch)
    out.add_name(f"{arch} random test model")
    out.add_file_type({"F32": 0, "F16": 1, "Q8_0": 7}[kind])
    out.add_context_length(512)
    out.add_embedding_length(shape["d_model"])
    out.add_block_count(shape["n_layers"])
    out.add_feed_forward_length(shape["d_ff"])
    out.add_head_count(shape["n_heads"])
    out.add_head_count_kv(shape["n_kv_heads"])
    out.add_key_length(shape["d_head"])
    out.add_value_length(shape["d_head"])
    out.add_layer_norm_rms_eps(shape["norm_eps"])
    out.add_rope_freq_base(shape["rope_theta"])
    out.add_rope_dimension_count(shape["d_head"])
    out.add_vocab_size(VOCAB)
    out.add_causal_attention(False)
    out.add_bool("diffusion.shift_logits", arch == "dream")
    tokens, merges, first = vocabulary(family)
    types = [1] * first + [3] * (len(tokens) - first)
    if pad_tokens:
        types += [5] * (VOCAB - len(tokens))
        tokens = tokens + [f"[PAD{i}]" for i in range(len(tokens), VOCAB)]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("qwen2")
    out.add_token_list(tokens)
    out.add_token_types(types)
    out.add_token_merges([f"{a} {b}" for a, b in merges])
    if "bos" in ids:
        out.add_bos_token_id(ids["bos"])
    out.add_eos_token_id(ids["eos"])
    out.add_pad_token_id(ids["pad"])
    out.add_mask_token_id(ids["mask"])
    out.add_add_bos_token(arch == "llada")
    for name, value in w.items():
        x = value.numpy().astype(np.float32)
        if permute and name.endswith(("q_proj.weight", "k_proj.weight")):
            heads = shape["n_heads"] if "q_proj" in name else shape["n_kv_heads"]
            rows, cols = x.shape
            # [heads, s, i] to [heads, i, s]: row 2i + s holds row i + s * d/2
            x = np.ascontiguousarray(
                x.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols))
        if x.ndim == 1 or kind == "F32":
            out.add_tensor(to_gguf(name), x)
        elif kind == "F16":
            out.add_tensor(to_gguf(name), x.astype(np.float16))
        else:
            q8 = gguf.GGMLQuantizationType.Q8_0
            out.add_tensor(to_gguf(name), gguf.quantize(x, q8), raw_dtype=q8)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


# ------------------------------------------------------------------ expected values

def nine(x):
    return float("%.9g" % x)


def canvas(rng, n, n_ids, mask_id):
    """Random ids with a mask at every position i where i * 7919 mod 100 is below 40."""
    ids = [int(v) for v in rng.integers(0, n_ids, n)]
    ids = [v if v != mask_id else 0 for v in ids]
    return [mask_id if i * 7919 % 100 < 40 else v for i, v in enumerate(ids)]


def make_case(config, w, ids, mask_id, shift=False, t=None, noise=None):
    logits, rms = models.forward(config, w, ids, t)
    n = len(ids)
    masked = [i for i, v in enumerate(ids) if v == mask_id]
    rows = sorted({0, n // 2, n - 1} if n < 100 else {0, 63, 64, n - 1})
    top = torch.topk(logits, 2, dim=-1)
    case = {"name": f"n{n}" if t is None else f"n{n}-t{t}"}
    if t is not None:
        case.update(t=t, noise=noise)
    case.update(ids=ids, masked=masked, argmax=[top.indices[i, 0].item() for i in masked],
                margin=[nine((top.values[i, 0] - top.values[i, 1]).item()) for i in masked])
    if shift:
        case["argmax_shifted"] = [top.indices[max(i - 1, 0), 0].item() for i in masked]
    case.update(rms=[nine(v) for v in rms], rows=rows,
                logits=[[nine(v) for v in logits[i].tolist()] for i in rows])
    return case


def write_expected(path, doc):
    """One entry a line keeps the file readable in a diff."""
    lists = {k: doc.pop(k) for k in ("encode", "cases")}
    with open(path, "w", encoding="utf-8") as f:
        f.write("{\n" + "".join(f' "{k}": {json.dumps(v)},\n' for k, v in doc.items()))
        f.write(",\n".join(f' "{k}": [\n' + ",\n".join(
            "  " + json.dumps(e, separators=(",", ":")) for e in v) + "\n ]"
            for k, v in lists.items()))
        f.write("\n}\n")


def expected(path, files, family, loaded, rng, shift, tokenizer_folder, n_ids, mask_id):
    """Writes expected.json. `loaded` holds (config, weights) per container: all must agree."""
    cases, inputs = [], [canvas(rng, n, n_ids, mask_id) for n in (1, 7, 48, 130)]
    for ids in inputs:
        first = make_case(*loaded[0], ids, mask_id, shift)
        for other in loaded[1:]:
            if make_case(*other, ids, mask_id, shift) != first:
                raise SystemExit(f"{files}: the containers do not agree at length {len(ids)}")
        cases.append(first)
    config, w = loaded[0]
    write_expected(path, {
        "files": files, "family": family, "n_vocab": VOCAB, "n_tokens": n_ids, "mask_id": mask_id,
        "shift_logits": shift, "n_params": sum(v.numel() for v in w.values()),
        "note": "float64 from the stored weights; logits[k] is row rows[k], before any shift; "
                "argmax and margin are of row p for p in masked; argmax_shifted is of row "
                "max(p - 1, 0); rms is of the residual stream after the embedding and each layer",
        "encode": encoded_texts(tokenizer_folder), "cases": cases})
    report(path, cases)


def report(path, cases):
    margin = min(m for c in cases for m in c["margin"])
    rms = ["%.2f" % v for v in cases[-1]["rms"]]
    spread = np.std(cases[-1]["logits"])
    print(f"{path}: logits std {spread:.2f}, smallest argmax margin {margin:.2g}, rms {rms}")


# ------------------------------------------------------------------ the models

def make_llada(root):
    shape = dict(n_layers=2, d_model=64, n_heads=4, n_kv_heads=4, d_head=16, d_ff=32,
                 norm_eps=1e-5, rope_theta=500000.0)
    rng = np.random.Generator(np.random.PCG64(20250214))
    w = draw(rng, llama_shapes(2, 64, 4, 4, 16, 32, bias=False, qk_norm=False, tied=False))
    bos, eos, mask = (special_id("llada", s) for s in SPECIALS["llada"][:3])
    olmo, llama, one = (make_folder(root, "llada-" + s) for s in ("olmo", "llama", "gguf"))
    write_json(os.path.join(olmo, "config.json"), {
        "architectures": ["LLaDAModelLM"], "model_type": "llada", "activation_type": "silu",
        "alibi": False, "attention_dropout": 0.0, "attention_layer_norm": False,
        "bias_for_layer_norm": False, "block_group_size": 1, "block_type": "llama", "d_model": 64,
        "embedding_size": VOCAB, "eos_token_id": eos, "flash_attention": False,
        "include_bias": False, "include_qkv_bias": False, "input_emb_norm": False,
        "layer_norm_type": "rms", "layer_norm_with_affine": True, "mask_token_id": mask,
        "max_sequence_length": 512, "mlp_hidden_size": 32, "mlp_ratio": 4,
        "multi_query_attention": None, "n_heads": 4, "n_kv_heads": 4, "n_layers": 2,
        "pad_token_id": eos, "rms_norm_eps": 1e-05, "rope": True, "rope_full_precision": True,
        "rope_theta": 500000.0, "scale_logits": False, "use_cache": False, "vocab_size": VOCAB,
        "weight_tying": False})
    write_json(os.path.join(llama, "config.json"), {
        "architectures": ["LLaDAModelLM"], "model_type": "llada", "attention_bias": False,
        "attention_dropout": 0.0, "eos_token_id": eos, "hidden_act": "silu", "hidden_size": 64,
        "intermediate_size": 32, "mask_token_id": mask, "max_position_embeddings": 512,
        "num_attention_heads": 4, "num_hidden_layers": 2, "num_key_value_heads": 4,
        "pad_token_id": eos, "rms_norm_eps": 1e-05, "rope_scaling": None, "rope_theta": 500000.0,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": False,
        "vocab_size": VOCAB})
    for folder in (olmo, llama):
        write_json(os.path.join(folder, "generation_config.json"),
                   {"_from_model_config": True, "bos_token_id": bos, "eos_token_id": eos})
        write_tokenizer(folder, "llada")
    save(os.path.join(olmo, "model.safetensors"), {to_olmo(k): v for k, v in w.items()},
         torch.bfloat16)
    save_two_shards(llama, w, torch.bfloat16)
    path = os.path.join(one, "model-f32.gguf")
    save_gguf(path, "llada", "llada", shape, w, dict(bos=bos, eos=eos, pad=eos, mask=mask), "F32",
              permute=True, pad_tokens=True)
    loaded = [models.load_folder(olmo), models.load_folder(llama), models.load_gguf(path)]
    loaded[2][0]["norm_eps"] = 1e-5  # the file holds a float32
    expected(os.path.join(olmo, "expected.json"),
             ["llada-olmo", "llada-llama", "llada-gguf/model-f32.gguf"], "llada", loaded, rng,
             False, olmo, len(vocabulary("llada")[0]), mask)


def make_dream(root):
    shape = dict(n_layers=3, d_model=64, n_heads=4, n_kv_heads=2, d_head=16, d_ff=96,
                 norm_eps=1e-6, rope_theta=1000000.0)
    rng = np.random.Generator(np.random.PCG64(20250815))
    w = draw(rng, llama_shapes(3, 64, 4, 2, 16, 96, bias=True, qk_norm=False, tied=False))
    eos, mask = special_id("dream", "<|endoftext|>"), special_id("dream", "<|mask|>")
    folder, one = make_folder(root, "dream"), make_folder(root, "dream-gguf")
    write_json(os.path.join(folder, "config.json"), {
        "architectures": ["DreamModel"], "model_type": "Dream", "attention_dropout": 0.0,
        "bos_token_id": eos, "eos_token_id": eos, "hidden_act": "silu", "hidden_size": 64,
        "intermediate_size": 96, "mask_token_id": mask, "max_position_embeddings": 512,
        "max_window_layers": 3, "num_attention_heads": 4, "num_hidden_layers": 3,
        "num_key_value_heads": 2, "pad_token_id": eos, "rms_norm_eps": 1e-06,
        "rope_scaling": None, "rope_theta": 1000000.0, "sliding_window": None,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "use_cache": False,
        "use_sliding_window": False, "vocab_size": VOCAB})
    write_json(os.path.join(folder, "generation_config.json"), {
        "_from_model_config": True, "alg": "origin", "alg_temp": None, "bos_token_id": eos,
        "eos_token_id": eos, "eps": 0.001, "mask_token_id": None, "output_history": False,
        "pad_token_id": eos, "steps": 512, "temperature": 0.0, "top_k": None, "top_p": None})
    write_tokenizer(folder, "dream")
    save(os.path.join(folder, "model.safetensors"), w, torch.bfloat16)
    path = os.path.join(one, "model-f16.gguf")
    save_gguf(path, "dream", "dream", shape, w, dict(bos=eos, eos=eos, pad=eos, mask=mask), "F16",
              permute=False, pad_tokens=True)
    loaded = [models.load_folder(folder), models.load_gguf(path)]
    loaded[1][0]["norm_eps"] = 1e-6
    expected(os.path.join(folder, "expected.json"), ["dream", "dream-gguf/model-f16.gguf"], "dream",
             loaded, rng, True, folder, len(vocabulary("dream")[0]), mask)


def make_qwen3(root):
    shape = dict(n_layers=2, d_model=96, n_heads=4, n_kv_heads=2, d_head=32, d_ff=64,
                 norm_eps=1e-6, rope_theta=100000.0)
    rng = np.random.Generator(np.random.PCG64(20251006))
    w = draw(rng, llama_shapes(2, 96, 4, 2, 32, 64, bias=False, qk_norm=True, tied=True))
    w["model.embed_tokens.weight"] = on_grid(0.3 * w["model.embed_tokens.weight"].numpy())
    eos, mask = special_id("lacuna", "<|endoftext|>"), special_id("lacuna", "<|mask|>")
    n_ids = len(vocabulary("lacuna")[0])
    folder, one = make_folder(root, "qwen3"), make_folder(root, "qwen3-q8")
    write_json(os.path.join(folder, "config.json"), {
        "architectures": ["LacunaForMaskedDiffusion"], "model_type": "lacuna", "attention": "full",
        "block_size": None, "eos_token_id": eos, "head_dim": 32, "hidden_act": "silu",
        "hidden_size": 96, "intermediate_size": 64, "mask_token_id": mask,
        "max_position_embeddings": 512, "num_attention_heads": 4, "num_hidden_layers": 2,
        "num_key_value_heads": 2, "pad_token_id": eos, "qk_norm": True, "rms_norm_eps": 1e-06,
        "rope_theta": 100000.0, "tie_word_embeddings": True, "torch_dtype": "float32",
        "vocab_size": VOCAB})
    write_tokenizer(folder, "lacuna")
    save(os.path.join(folder, "model.safetensors"), w, torch.float32)
    path = os.path.join(one, "model-q8_0.gguf")
    save_gguf(path, "lacuna", "lacuna", shape, w, dict(eos=eos, pad=eos, mask=mask), "Q8_0",
              permute=False, pad_tokens=False)
    quantised = models.load_gguf(path)
    quantised[0]["norm_eps"] = 1e-6
    state = rng.bit_generator.state
    expected(os.path.join(folder, "expected.json"), ["qwen3"], "lacuna",
             [models.load_folder(folder)], rng, False, folder, n_ids, mask)
    rng.bit_generator.state = state  # the same inputs
    expected(os.path.join(one, "expected.json"), ["qwen3-q8/model-q8_0.gguf"], "lacuna",
             [quantised], rng, False, folder, n_ids, mask)


def make_tiny_dlm(root):
    rng = np.random.Generator(np.random.PCG64(1280128))
    d, d_ff, vocab, steps = 32, 96, 128, 128
    shapes = [("token_emb.weight", (vocab, d)), ("time_emb.weight", (steps, d))]
    for layer in range(2):
        p = f"blocks.{layer}."
        shapes += [(p + f"attn.c_{s}.weight", (d, d)) for s in ("q", "k", "v", "proj")]
        shapes += [(p + "mlp.c_fc.weight", (d_ff, d)), (p + "mlp.c_proj.weight", (d, d_ff))]
    shapes.append(("output_head.weight", (vocab, d)))
    folder = make_folder(root, "tiny-dlm-random")
    save(os.path.join(folder, "model.safetensors"), draw(rng, shapes), torch.float32)
    write_json(os.path.join(folder, "config.json"), {
        "architecture": "bidirectional transformer encoder, masked diffusion with time embedding",
        "vocab_size": vocab, "tokenizer": "id = ASCII code, codes above 127 become 127",
        "mask_token_id": 0, "n_layer": 2, "n_head": 2, "head_dim": 16, "n_embd": d,
        "mlp_dim": d_ff, "mlp_activation": "relu squared",
        "norm": "RMSNorm without weights, eps 1.1920929e-07",
        "qk_norm": "RMSNorm over head_dim, after RoPE, without weights", "rope_theta": 10000,
        "rope_layout": "half split: y1 = x1*cos + x2*sin, y2 = -x1*sin + x2*cos",
        "attention_scale": "1/sqrt(head_dim)", "diffusion_steps": steps,
        "time_embedding": "table row t added to every token embedding, then RMSNorm",
        "train_sequence_len": 256, "train_context_len": 16, "tied_embeddings": False})
    config, w = models.load_folder(folder)
    cases = []
    for n in (1, 7, 48, 130):
        ids = canvas(rng, n, vocab, 0)
        for noise in (0.25, 0.75):
            t = int(noise * (steps - 1) + 0.5)
            cases.append(make_case(config, w, ids, 0, t=t, noise=noise))
    write_expected(os.path.join(folder, "expected.json"), {
        "files": ["tiny-dlm-random"], "family": "tiny-dlm", "n_vocab": vocab, "n_tokens": vocab,
        "mask_id": 0, "shift_logits": False, "n_params": sum(v.numel() for v in w.values()),
        "note": "float64 from the stored weights; t = round(noise * 127); the rest as in the "
                "other files", "encode": [], "cases": cases})
    report(os.path.join(folder, "expected.json"), cases)


def main():
    if len(sys.argv) != 2:
        raise SystemExit("usage: make_models.py FOLDER")
    torch.set_num_threads(1)
    for make in (make_llada, make_dream, make_qwen3, make_tiny_dlm):
        make(sys.argv[1])


if __name__ == "__main__":
    main()
