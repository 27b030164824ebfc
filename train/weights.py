"""Reading weights: a model folder or a checkpoint of the trainer; plus the plain decoder."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from model import MASK, Config, MaskedDiffusionLM


def load_model(path: Path) -> MaskedDiffusionLM:
    """`path` is a folder with config.json and model.safetensors, or a checkpoint file."""
    if path.is_dir():
        stored = json.loads((path / "config.json").read_text())
        names = {f.name for f in fields(Config)}
        cfg, state = Config(**{k: v for k, v in stored.items() if k in names}), load_file(path / "model.safetensors")
    else:
        saved = torch.load(path)
        cfg, state = Config(**saved["config"]), saved["model"]
    model = MaskedDiffusionLM(cfg)
    model.load_state_dict(state)
    return model.eval()


def straight_positions(ids: Tensor) -> Tensor:
    return torch.arange(ids.shape[1]).expand_as(ids)


@torch.no_grad()
def decode(model: MaskedDiffusionLM, ids: Tensor, steps: int) -> tuple[Tensor, list[Tensor], list[list[int]]]:
    """Greedy decoding of all masked positions of ids [1, L].

    Each step fixes the (masked left)/(steps left) most confident positions, ties to the lower
    index. -> final ids, the ids before each step, the positions fixed in each step.
    """
    ids, before, order = ids.clone(), [], []
    for step in range(steps):
        masked = (ids[0] == MASK).nonzero()[:, 0]
        if len(masked) == 0:
            break
        before.append(ids.clone())
        probs = model(ids, straight_positions(ids))[0, masked].softmax(-1)
        confidence, choice = probs.max(-1)
        take = max(1, round(len(masked) / (steps - step)))
        pick = torch.argsort(-confidence, stable=True)[:take]
        ids[0, masked[pick]] = choice[pick]
        order.append(masked[pick].tolist())
    return ids, before, order
