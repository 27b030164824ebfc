"""models.py: straight-line forward passes of the supported networks, in PyTorch float64.

Each family is one function that reads top to bottom: ids [n] in, logits [n, n_vocab] out, with the
RMS of the residual stream after the embedding and after every layer for debugging. Written from
the published descriptions, and slow on purpose. The loaders bring every container to one set of
names (those of Hugging Face Llama), which is what the functions take. Rows are never shifted here:
row i is what the network computes at position i.
"""
import json
import os

import torch

LLADA_OLMO_NAMES = {
    "model.transformer.wte.weight": "model.embed_tokens.weight",
    "model.transformer.ln_f.weight": "model.norm.weight",
    "model.transformer.ff_out.weight": "lm_head.weight",
}
LLADA_OLMO_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ff_norm": "post_attention_layernorm",
    "q_proj": "self_attn.q_proj",
    "k_proj": "self_attn.k_proj",
    "v_proj": "self_attn.v_proj",
    "attn_out": "self_attn.o_proj",
    "ff_proj": "mlp.gate_proj",
    "up_proj": "mlp.up_proj",
    "ff_out": "mlp.down_proj",
}
GGUF_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
GGUF_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


# ------------------------------------------------------------------ pieces

def rms_norm(x, weight, eps):
    """x [..., d] divided by its root mean square, times weight [d] unless that is None."""
    y = x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps)
    return y if weight is None else y * weight


def rotate(x, theta, sign=1):
    """x [n, heads, d]: pair (i, i + d/2) turned by sign * position * theta^(-2i/d)."""
    n, _, d = x.shape
    half = d // 2
    rate = theta ** (-2.0 * torch.arange(half, dtype=x.dtype) / d)
    angle = torch.arange(n, dtype=x.dtype)[:, None] * rate[None, :]
    c, s = torch.cos(angle)[:, None, :], sign * torch.sin(angle)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * c - b * s, b * c + a * s], dim=-1)


def attend(q, k, v, block=0):
    """q [n, H, d]; k, v [n, K, d]; query head h reads key head h / (H / K). Full attention, or with
    a block size block-causal: query i reads key j if j // block <= i // block."""
    n, n_heads, d = q.shape
    group = n_heads // k.shape[1]
    out = torch.empty_like(q)
    at = torch.arange(n) // block if block else torch.zeros(n)
    hidden = at[None, :] > at[:, None]
    for h in range(n_heads):
        scores = q[:, h] @ k[:, h // group].T / d ** 0.5
        scores[hidden] = -torch.inf
        out[:, h] = torch.softmax(scores, dim=-1) @ v[:, h // group]
    return out.reshape(n, n_heads * d)


def silu(x):
    return x / (1 + torch.exp(-x))


def rms_of(x):
    return x.pow(2).mean().sqrt().item()


# ------------------------------------------------------------------ networks

def llada_forward(config, w, ids):
    """LLaDA: no biases, no q/k norm, as many key as query heads, head untied."""
    h = w["model.embed_tokens.weight"][ids]
    n, d_model = h.shape
    heads, d = config["n_heads"], d_model // config["n_heads"]
    eps, theta = config["norm_eps"], config["rope_theta"]
    rms = [rms_of(h)]
    for layer in range(config["n_layers"]):
        p = f"model.layers.{layer}."
        x = rms_norm(h, w[p + "input_layernorm.weight"], eps)
        q = (x @ w[p + "self_attn.q_proj.weight"].T).view(n, heads, d)
        k = (x @ w[p + "self_attn.k_proj.weight"].T).view(n, heads, d)
        v = (x @ w[p + "self_attn.v_proj.weight"].T).view(n, heads, d)
        a = attend(rotate(q, theta), rotate(k, theta), v, config.get("block", 0))
        h = h + a @ w[p + "self_attn.o_proj.weight"].T
        x = rms_norm(h, w[p + "post_attention_layernorm.weight"], eps)
        gate = silu(x @ w[p + "mlp.gate_proj.weight"].T)
        h = h + (gate * (x @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
        rms.append(rms_of(h))
    return rms_norm(h, w["model.norm.weight"], eps) @ w["lm_head.weight"].T, rms


def dream_forward(config, w, ids):
    """Dream and Fast-dLLM v2: Qwen2.5 layers; biases on q, k, v; grouped key heads. The sampler
    reads row i - 1 for position i; that shift is not done here."""
    h = w["model.embed_tokens.weight"][ids]
    n, d_model = h.shape
    heads, kv_heads, d = config["n_heads"], config["n_kv_heads"], d_model // config["n_heads"]
    eps, theta = config["norm_eps"], config["rope_theta"]
    rms = [rms_of(h)]
    for layer in range(config["n_layers"]):
        p = f"model.layers.{layer}."
        x = rms_norm(h, w[p + "input_layernorm.weight"], eps)
        q = x @ w[p + "self_attn.q_proj.weight"].T + w[p + "self_attn.q_proj.bias"]
        k = x @ w[p + "self_attn.k_proj.weight"].T + w[p + "self_attn.k_proj.bias"]
        v = x @ w[p + "self_attn.v_proj.weight"].T + w[p + "self_attn.v_proj.bias"]
        a = attend(rotate(q.view(n, heads, d), theta), rotate(k.view(n, kv_heads, d), theta),
                   v.view(n, kv_heads, d), config.get("block", 0))
        h = h + a @ w[p + "self_attn.o_proj.weight"].T
        x = rms_norm(h, w[p + "post_attention_layernorm.weight"], eps)
        gate = silu(x @ w[p + "mlp.gate_proj.weight"].T)
        h = h + (gate * (x @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
        rms.append(rms_of(h))
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return rms_norm(h, w["model.norm.weight"], eps) @ head.T, rms


def qwen3_forward(config, w, ids):
    """Qwen3 and SDAR layers: q and k normalised per head, then rotated; the
    head dimension is a key of its own; the head is the embedding when no lm_head is there."""
    h = w["model.embed_tokens.weight"][ids]
    n = h.shape[0]
    heads, kv_heads, d = config["n_heads"], config["n_kv_heads"], config["d_head"]
    eps, theta = config["norm_eps"], config["rope_theta"]
    rms = [rms_of(h)]
    for layer in range(config["n_layers"]):
        p = f"model.layers.{layer}."
        x = rms_norm(h, w[p + "input_layernorm.weight"], eps)
        q = (x @ w[p + "self_attn.q_proj.weight"].T).view(n, heads, d)
        k = (x @ w[p + "self_attn.k_proj.weight"].T).view(n, kv_heads, d)
        v = (x @ w[p + "self_attn.v_proj.weight"].T).view(n, kv_heads, d)
        q = rms_norm(q, w[p + "self_attn.q_norm.weight"], eps)
        k = rms_norm(k, w[p + "self_attn.k_norm.weight"], eps)
        a = attend(rotate(q, theta), rotate(k, theta), v, config.get("block", 0))
        h = h + a @ w[p + "self_attn.o_proj.weight"].T
        x = rms_norm(h, w[p + "post_attention_layernorm.weight"], eps)
        gate = silu(x @ w[p + "mlp.gate_proj.weight"].T)
        h = h + (gate * (x @ w[p + "mlp.up_proj.weight"].T)) @ w[p + "mlp.down_proj.weight"].T
        rms.append(rms_of(h))
    head = w.get("lm_head.weight", w["model.embed_tokens.weight"])
    return rms_norm(h, w["model.norm.weight"], eps) @ head.T, rms


def tiny_dlm_forward(config, w, ids, t):
    """The character-level model: noise level t picks a row that is added to every embedding;
    norms carry no weights; q and k turn the other way and are normalised after turning."""
    eps, theta = config["norm_eps"], config["rope_theta"]
    h = rms_norm(w["token_emb.weight"][ids] + w["time_emb.weight"][t], None, eps)
    n = h.shape[0]
    heads, d = config["n_heads"], config["d_head"]
    rms = [rms_of(h)]
    for layer in range(config["n_layers"]):
        p = f"blocks.{layer}."
        x = rms_norm(h, None, eps)
        q = rotate((x @ w[p + "attn.c_q.weight"].T).view(n, heads, d), theta, -1)
        k = rotate((x @ w[p + "attn.c_k.weight"].T).view(n, heads, d), theta, -1)
        v = (x @ w[p + "attn.c_v.weight"].T).view(n, heads, d)
        a = attend(rms_norm(q, None, eps), rms_norm(k, None, eps), v)
        h = h + a @ w[p + "attn.c_proj.weight"].T
        x = rms_norm(h, None, eps)
        up = torch.relu(x @ w[p + "mlp.c_fc.weight"].T)
        h = h + (up * up) @ w[p + "mlp.c_proj.weight"].T
        rms.append(rms_of(h))
    return rms_norm(h, None, eps) @ w["output_head.weight"].T, rms


def forward(config, w, ids, t=None):
    """Runs the network config["family"] names. Returns logits [n, n_vocab] and the list of RMS."""
    ids = torch.as_tensor(ids, dtype=torch.long)
    with torch.no_grad():
        if config["family"] == "tiny-dlm":
            return tiny_dlm_forward(config, w, ids, t)
        run = {"llada": llada_forward, "dream": dream_forward, "qwen3": qwen3_forward}
        return run[config["family"]](config, w, ids)


# ------------------------------------------------------------------ loaders

def rename(name, whole, layers, prefix):
    """The Llama-style name of a tensor; `layers` maps the middle of names `prefix`N.middle.kind."""
    if name in whole:
        return whole[name]
    if not name.startswith(prefix):
        return name
    layer, rest = name[len(prefix):].split(".", 1)
    middle, kind = rest.rsplit(".", 1)
    return f"model.layers.{layer}.{layers[middle]}.{kind}"


def read_config(c):
    """The keys the functions above take, from a config.json of any of the four families."""
    if "d_model" in c:
        return {"family": "llada", "n_layers": c["n_layers"], "n_heads": c["n_heads"],
                "norm_eps": c["rms_norm_eps"], "rope_theta": c["rope_theta"]}
    if "n_embd" in c:
        return {"family": "tiny-dlm", "n_layers": c["n_layer"], "n_heads": c["n_head"],
                "d_head": c["head_dim"], "norm_eps": 1.1920929e-07, "rope_theta": c["rope_theta"]}
    family = {"llada": "llada", "Dream": "dream", "Fast_dLLM_Qwen": "dream"}.get(
        c.get("model_type"), "qwen3")
    return {"family": family, "block": c.get("block_size") or c.get("bd_size") or 0, "n_layers": c["num_hidden_layers"],
            "n_heads": c["num_attention_heads"], "n_kv_heads": c["num_key_value_heads"],
            "d_head": c.get("head_dim"), "norm_eps": c["rms_norm_eps"],
            "rope_theta": float(c["rope_theta"])}


def load_folder(path, dtype=torch.float64):
    """A folder with config.json and safetensors, one file or shards with an index."""
    from safetensors.torch import load_file
    with open(os.path.join(path, "config.json"), encoding="utf-8") as f:
        config = read_config(json.load(f))
    index = os.path.join(path, "model.safetensors.index.json")
    files = ["model.safetensors"]
    if os.path.exists(index):
        with open(index, encoding="utf-8") as f:
            files = sorted(set(json.load(f)["weight_map"].values()))
    w = {}
    for name in files:
        for key, value in load_file(os.path.join(path, name)).items():
            key = rename(key, LLADA_OLMO_NAMES, LLADA_OLMO_LAYER_NAMES, "model.transformer.blocks.")
            w[key] = value.to(dtype)
    return config, w


def gather_rows(x, n_heads):
    """Undoes the row order of llada GGUF files: row 2i + s of a head of d rows holds row
    i + s * d/2 of the original."""
    d = x.shape[0] // n_heads
    back = torch.empty_like(x)
    for row in range(x.shape[0]):
        head, at = divmod(row, d)
        i, s = divmod(at, 2)
        back[head * d + i + s * (d // 2)] = x[row]
    return back


def load_gguf(path, dtype=torch.float64):
    """A GGUF file of architecture llada, dream or lacuna; quantised tensors are dequantised."""
    import gguf
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()

    def get(key):
        return reader.fields[f"{arch}.{key}"].contents()

    config = {"family": {"lacuna": "qwen3"}.get(arch, arch), "n_layers": get("block_count"),
              "n_heads": get("attention.head_count"), "n_kv_heads": get("attention.head_count_kv"),
              "d_head": get("attention.key_length"), "rope_theta": get("rope.freq_base"),
              "norm_eps": get("attention.layer_norm_rms_epsilon")}
    w = {}
    for t in reader.tensors:
        value = torch.tensor(gguf.dequantize(t.data, t.tensor_type)).to(dtype)
        if arch == "llada" and t.name.endswith(("attn_q.weight", "attn_k.weight")):
            value = gather_rows(value, config["n_heads"])
        w[rename(t.name, GGUF_NAMES, GGUF_LAYER_NAMES, "blk.")] = value
    return config, w
