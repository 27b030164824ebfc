"""check_models.py: holds models.py against numbers it did not make.

    python check_models.py FOLDER...          folders with a golden.json of a trained model
    python check_models.py --transformers GOLDEN   the random models against Hugging Face code

golden.json is what the training scripts write: inputs, logits and residual RMS in double
precision. The second form needs the transformers package and runs its Llama, Qwen2 and Qwen3
networks with the causal mask replaced by an open one.
"""
import json
import os
import sys

import torch

import models


def check_golden(folder):
    config, w = models.load_folder(folder)
    with open(os.path.join(folder, "golden.json"), encoding="utf-8") as f:
        golden = json.load(f)
    worst, worst_rms, wrong = 0.0, 0.0, 0
    for case in golden["cases"]:
        ids = case["input_ids"]
        logits, rms = models.forward(config, w, ids, case.get("t"))
        for row in case["logits"]:
            want = torch.tensor(row["values"], dtype=torch.float64)
            worst = max(worst, (logits[row["position"]] - want).abs().max().item())
        for got, want in zip(rms, case["hidden_after"]):
            worst_rms = max(worst_rms, abs(got - want["rms"]))
        masked = case.get("masked_positions")
        if masked:
            got = logits[masked].argmax(-1).tolist()
            wrong += sum(a != b for a, b in zip(got, case["argmax_at_masked"]))
    print(f"{folder}: {len(golden['cases'])} inputs, largest logit difference {worst:.2g}, "
          f"of RMS {worst_rms:.2g}, argmax differing {wrong}")


def check_transformers(root):
    import transformers as tf
    kinds = {"llada-llama": (tf.LlamaConfig, tf.LlamaForCausalLM),
             "dream": (tf.Qwen2Config, tf.Qwen2ForCausalLM),
             "qwen3": (tf.Qwen3Config, tf.Qwen3ForCausalLM)}
    keep = ["hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers",
            "num_key_value_heads", "rms_norm_eps", "vocab_size", "head_dim",
            "max_position_embeddings", "tie_word_embeddings"]
    for name, (config_type, model_type) in kinds.items():
        folder = os.path.join(root, name)
        with open(os.path.join(folder, "config.json"), encoding="utf-8") as f:
            c = json.load(f)
        args = {k: c[k] for k in keep if k in c}
        rope = {"rope_type": "default", "rope_theta": c["rope_theta"]}
        try:
            other = config_type(**args, rope_parameters=rope, attn_implementation="eager")
            other.rope_parameters["rope_theta"]
        except (AttributeError, TypeError):
            other = config_type(**args, rope_theta=c["rope_theta"], attn_implementation="eager")
        net = model_type(other).eval()
        config, w = models.load_folder(folder)
        state = dict(w)
        if "lm_head.weight" not in state:
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
        net.load_state_dict(state)
        net = net.to(torch.float64)
        net.model.rotary_emb.to(torch.float32)
        half = net.model.rotary_emb.inv_freq.shape[0]
        net.model.rotary_emb.inv_freq = c["rope_theta"] ** (
            -torch.arange(half, dtype=torch.float64) / half)
        expected = "llada-olmo" if name == "llada-llama" else name
        with open(os.path.join(root, expected, "expected.json"), encoding="utf-8") as f:
            cases = json.load(f)["cases"]
        worst = 0.0
        for case in cases:
            n = len(case["ids"])
            open_mask = torch.zeros(1, 1, n, n, dtype=torch.float64)
            with torch.no_grad():
                logits = net(input_ids=torch.tensor([case["ids"]]), attention_mask=open_mask,
                             use_cache=False).logits[0].double()
            want = torch.tensor(case["logits"], dtype=torch.float64)
            worst = max(worst, (logits[case["rows"]] - want).abs().max().item())
        print(f"{name}: transformers {tf.__version__}, {len(cases)} inputs, "
              f"largest logit difference {worst:.2g}")


def main():
    torch.set_num_threads(1)
    if len(sys.argv) == 3 and sys.argv[1] == "--transformers":
        check_transformers(sys.argv[2])
        return
    if len(sys.argv) < 2:
        raise SystemExit("usage: check_models.py FOLDER... | --transformers GOLDEN")
    for folder in sys.argv[1:]:
        check_golden(folder)


if __name__ == "__main__":
    main()
