"""Writes a model folder from a checkpoint: weights, config, golden vectors, log and provenance.

    python export.py --checkpoint RUN/checkpoint-N.pt --run RUN --data DIR --out MODEL

golden.json holds, in double precision from the float32 weights: three noisy inputs with their
argmax, mean cross-entropy, hidden states and some logits; and greedy decodes of retrieval
prompts with the positions fixed in each step. Wrong answers are kept and marked.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from corpus import Corpus, data_hashes, load_held_out
from model import BOS, EOS, MASK, MaskedDiffusionLM
from probes import make_sample
from weights import decode, load_model, straight_positions

CASES = ((48, 30, 100_000), (200, 50, 200_000), (640, 15, 300_000))  # length, percent masked, offset
DECODES = (("kv", 128, 0), ("kv", 256, 1), ("kv", 1024, 2), ("needle-short", 256, 1), ("needle-short", 512, 2),
           ("needle-short", 1024, 5), ("needle-long", 256, 1), ("needle-long", 512, 3), ("needle-long", 512, 4),
           ("needle-long", 1024, 5), ("needle-long", 1024, 8), ("needle-long", 2048, 6))
DECODE_RULE = ("temperature 0, fix the (masked left)/(steps left) most confident positions, ties to the lower index")


def rounded(values: Tensor, digits: int) -> list[float]:
    return [round(v, digits) for v in values.tolist()]


def config_of(model: MaskedDiffusionLM, trained_length: int) -> dict:
    cfg = model.cfg
    return {"architectures": ["LacunaForMaskedDiffusion"], "model_type": "lacuna", "attention": "full",
            "block_size": None, "hidden_size": cfg.hidden_size, "num_hidden_layers": cfg.num_hidden_layers,
            "num_attention_heads": cfg.num_attention_heads, "num_key_value_heads": cfg.num_key_value_heads,
            "head_dim": cfg.head_dim, "intermediate_size": cfg.intermediate_size, "hidden_act": "silu",
            "rms_norm_eps": cfg.rms_norm_eps, "rope_theta": cfg.rope_theta, "qk_norm": True,
            "vocab_size": cfg.vocab_size, "tie_word_embeddings": False, "torch_dtype": "float32",
            "tokenizer_type": "bytes", "mask_token_id": MASK, "eos_token_id": EOS, "bos_token_id": BOS,
            "max_position_embeddings": 16384, "max_trained_length": trained_length}


@torch.no_grad()
def golden_case(model: MaskedDiffusionLM, corpus: Corpus, length: int, percent: int, offset: int) -> dict:
    """One noisy window of held-out text; `model` is in double precision."""
    text = torch.from_numpy(corpus.text[offset:offset + length].copy()).long()[None]
    masked = (torch.arange(length) * 7919) % 100 < percent
    ids = torch.where(masked, MASK, text)
    stream = model.hidden(ids, straight_positions(ids))
    logits = model.lm_head(model.model.norm(stream[-1]))[0]
    best = logits[masked].argmax(-1)
    rows = sorted({0, *masked.nonzero()[[len(best) // 4, len(best) // 2, 3 * len(best) // 4], 0].tolist()})
    return {"source": f"corpora/books-valid.txt.xz (unpacked), byte offset {offset}", "length": length,
            "mask_rule": f"(i*7919)%100 < {percent}", "input_ids": ids[0].tolist(),
            "argmax_at_masked": best.tolist(),
            "mean_ce_at_masked": F.cross_entropy(logits[masked], text[0, masked]).item(),
            "accuracy_at_masked": (best == text[0, masked]).double().mean().item(),
            "hidden_after": [{"layer": i, "rms": x.square().mean().sqrt().item(),
                              "pos0_first8": rounded(x[0, 0, :8], 9), "last_first8": rounded(x[0, -1, :8], 9)}
                             for i, x in enumerate(stream)],
            "logits": [{"position": r, "values": rounded(logits[r], 6)} for r in rows]}


def golden_decode(model: MaskedDiffusionLM, corpus: Corpus, task: str, length: int, index: int) -> dict:
    sample = make_sample(task, corpus, length, index, seed=2)
    ids, _, order = decode(model, torch.from_numpy(sample.ids)[None], 8)
    output = ids[0, sample.answer_at:].tolist()
    return {"task": f"{task}, {sample.n_keys} keys", "length": length, "response_from": sample.answer_at,
            "prompt": sample.prompt.decode(), "expected": sample.expected.decode(), "steps": 8,
            "rule": DECODE_RULE, "output_ids": output, "fixed_positions_per_step": order,
            "needle_range": list(sample.needle), "correct": output == sample.target().tolist()}


def golden(model: MaskedDiffusionLM, corpus: Corpus) -> dict:
    wide = model.double()
    return {"note": "double precision, from the float32 weights",
            "cases": [golden_case(wide, corpus, *case) for case in CASES],
            "greedy_decode": [golden_decode(wide, corpus, *d) for d in DECODES]}


def compare(model: MaskedDiffusionLM, stored: dict) -> None:
    """Prints how far this network is from stored golden vectors; used on older folders."""
    wide = model.double()
    for case in stored["cases"]:
        ids = torch.tensor(case["input_ids"])[None]
        with torch.no_grad():
            logits = wide(ids, straight_positions(ids))[0]
        worst = max((logits[r["position"]] - torch.tensor(r["values"], dtype=torch.float64)).abs().max().item()
                    for r in case["logits"])
        print(f"length {case['length']}: largest logit difference {worst:.1e}")
    for d in stored["greedy_decode"]:
        slot = len(d["output_ids"])
        ids = torch.tensor(list(d["prompt"].encode()) + [MASK] * slot)[None]
        got = decode(wide, ids, d["steps"])[0][0, d["response_from"]:].tolist()
        print(f"{d['task']} {d['length']}: {'same' if got == d['output_ids'] else 'DIFFERENT'}")


def export(args: argparse.Namespace) -> None:
    out, checkpoint = Path(args.out), Path(args.checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    model, saved = load_model(checkpoint), torch.load(checkpoint)
    state = {name: value.float().contiguous() for name, value in model.state_dict().items()}
    save_file(state, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config_of(model, args.trained_length), indent=2) + "\n")
    (out / "golden.json").write_text(json.dumps(golden(model, load_held_out(Path(args.data)))) + "\n")
    provenance = {"seed": saved["seed"], "scale": saved["scale"], "steps": saved["step"], "tokens": saved["tokens"],
                  "minutes": round(saved["seconds"] / 60, 1), "torch": torch.__version__, "data_sha256": data_hashes(Path(args.data))}
    (out / "provenance.json").write_text(json.dumps(provenance, indent=2) + "\n")
    shutil.copyfile(Path(args.run) / "log.txt", out / "training-log.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="checkpoint to export")
    parser.add_argument("--run", help="folder of the run, for its log")
    parser.add_argument("--data", help="folder that holds corpora/")
    parser.add_argument("--out", help="model folder to write")
    parser.add_argument("--trained-length", type=int, default=2048)
    parser.add_argument("--check", metavar="MODEL", help="compare a model folder with its own golden.json")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        compare(load_model(Path(args.check)), json.loads((Path(args.check) / "golden.json").read_text()))
    else:
        export(args)


if __name__ == "__main__":
    main()
