"""The trainer: one process, CPU, resumable, reproducible from its seed.

    python train.py --data DIR --out RUN                    # a new run, or the rest of one
    python train.py --data DIR --out RUN --replay-step N    # one step again, compared with the log

Every step depends on (seed, step) and the weights only. RUN receives `log.txt` (flushed line by
line), `losses.txt` (step and loss of every step) and a checkpoint with the optimiser's state
every 1,000 steps. What a step contains is decided in schedule.py, rows.py and objective.py.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from corpus import data_hashes, load_training
from model import Config, MaskedDiffusionLM
from objective import Batch, make_batch
from rows import KINDS
from schedule import Schedule

CHECKPOINT_EVERY = 1000
LOG_EVERY = 200
# Go / no-go: kind, tokens seen, loss to be below. Copying is judged after 2M tokens of copy rows,
# which are 60% of the first stage; recall before the second stage makes it harder.
GATES = (("copy", 3.3e6, 1.5), ("recall", 5.5e6, 0.3))

LossFn = Callable[..., tuple[Tensor, Tensor]]


def make_loss(model: MaskedDiffusionLM) -> LossFn:
    """-> f(ids, positions, targets, weight [B, L]) = (weighted mean loss, CE [B, L])."""

    def loss(ids: Tensor, positions: Tensor, targets: Tensor, weight: Tensor,
             allowed: Tensor | None = None) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(ids, positions, allowed)
        ce = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        ce = ce.view_as(weight)
        return (ce * weight).sum() / weight.sum().clamp_min(1e-9), ce.detach()

    return loss


def make_optimizer(model: MaskedDiffusionLM) -> torch.optim.AdamW:
    """Weight decay on matrices only: the norm weights must be free to sharpen attention."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.95), fused=True)


class Meter:
    """Mean CE of masked tokens by kind since the last line."""

    def __init__(self) -> None:
        self.total, self.count = torch.zeros(len(KINDS)), torch.zeros(len(KINDS))

    def add(self, batch: Batch, ce: Tensor) -> None:
        hit = (batch.weight > 0).float()
        self.total.index_add_(0, batch.kind, (ce * hit).sum(1))
        self.count.index_add_(0, batch.kind, hit.sum(1))

    def means(self) -> dict[str, float]:
        return {k: (self.total[i] / self.count[i]).item() for i, k in enumerate(KINDS) if self.count[i] > 0}


class Run:
    """Model, optimiser, schedule and files of one run."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.out = args, Path(args.out)
        self.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(args.seed)
        self.cfg = Config()
        self.model = MaskedDiffusionLM(self.cfg)
        self.optimizer = make_optimizer(self.model)
        self.schedule = Schedule(args.seed, args.scale)
        self.corpus = load_training(Path(args.data))
        self.step, self.tokens, self.seconds = 0, 0, 0.0

    def path(self, step: int) -> Path:
        return self.out / f"checkpoint-{step:06d}.pt"

    def log(self, line: str) -> None:
        print(line, flush=True)
        with open(self.out / "log.txt", "a") as f:
            f.write(line + "\n")

    def save(self) -> None:
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
                 "config": self.cfg.to_dict(), "step": self.step, "tokens": self.tokens,
                 "seconds": self.seconds, "seed": self.args.seed, "scale": self.args.scale}
        partial = self.path(self.step).with_suffix(".part")
        torch.save(state, partial)
        os.replace(partial, self.path(self.step))

    def load(self, path: Path) -> None:
        state = torch.load(path)
        if state["seed"] != self.args.seed:
            raise SystemExit(f"checkpoint has seed {state['seed']}, asked for {self.args.seed}")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]

    def load_latest(self) -> bool:
        found = sorted(self.out.glob("checkpoint-*.pt"))
        if found:
            self.load(found[-1])
        return bool(found)

    def batch(self) -> Batch:
        return make_batch(self.args.objective, self.args.seed, self.step, self.schedule.at(self.step), self.corpus)

    def train_step(self, loss_fn: LossFn) -> tuple[float, Batch, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(self.step)
        batch = self.batch()
        loss, ce = loss_fn(batch.ids, batch.positions, batch.targets, batch.weight, batch.allowed)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.tokens += batch.ids.numel()
        return loss.item(), batch, ce


def header(run: Run) -> str:
    sizes = sum(p.numel() for p in run.model.parameters())
    hashes = "\n".join(f"data {name} sha256 {h}" for name, h in data_hashes(Path(run.args.data)).items())
    return (f"params {sizes} seed {run.args.seed} scale {run.args.scale} objective {run.args.objective} "
            f"torch {torch.__version__} threads {torch.get_num_threads()}\n{hashes}\n"
            f"stage ends (steps) {run.schedule.ends}")


def check_gates(run: Run, before: int, losses: dict[str, float]) -> bool:
    """Prints the verdict of each gate just passed; False asks to stop."""
    good = True
    for kind, tokens, limit in GATES:
        if before < tokens <= run.tokens:
            ok = losses.get(kind, 99.0) < limit
            run.log(f"gate {kind} {losses.get(kind, 99.0):.3f} at {run.tokens / 1e6:.2f}M, wanted below {limit}: "
                    f"{'met' if ok else 'NOT MET'}")
            good = good and ok
    return good


def train(run: Run) -> None:
    eager = make_loss(run.model)
    compiled = eager if run.args.eager else torch.compile(eager, dynamic=False)
    torch._dynamo.config.recompile_limit = 32
    run.log(f"resumed at step {run.step}" if run.load_latest() else header(run))
    if run.step == 0:
        run.save()
    meter, mark, seen = Meter(), time.time(), run.tokens
    losses = open(run.out / "losses.txt", "a")
    stop = min(run.schedule.steps, run.args.stop_at or run.schedule.steps)
    while run.step < stop:
        moment = run.schedule.at(run.step)
        loss, batch, ce = run.train_step(eager if moment.odd_length else compiled)
        losses.write(f"{run.step - 1} {loss:.6f}\n")
        meter.add(batch, ce)
        if run.step % LOG_EVERY == 0 or run.step == stop:
            took = time.time() - mark
            run.seconds += took
            means = meter.means()
            run.log(f"step {run.step} min {run.seconds / 60:.1f} Mtok {run.tokens / 1e6:.2f} "
                    f"tok/s {(run.tokens - seen) / took:.0f} stage {moment.stage} lr {moment.rate:.1e} "
                    f"share {moment.shares_masked[1]:.2f} | " + " ".join(f"{k} {v:.3f}" for k, v in means.items()))
            passed = check_gates(run, seen, means)
            meter, mark, seen = Meter(), time.time(), run.tokens
            losses.flush()
            if not passed and run.args.gate:
                break
        if run.step % CHECKPOINT_EVERY == 0:
            run.save()
    run.save()
    run.log(f"end at step {run.step}, {run.tokens} tokens, {run.seconds / 60:.1f} minutes")


def replay(run: Run, step: int) -> bool:
    """Runs on from the checkpoint at or before `step` and compares that step's loss."""
    base = max(s for s in range(0, step + 1, CHECKPOINT_EVERY) if run.path(s).exists() or s == 0)
    if run.path(base).exists() and base > 0:
        run.load(run.path(base))
    loss_fn, loss = make_loss(run.model), 0.0
    while run.step <= step:
        loss, _, _ = run.train_step(loss_fn)
    logged = dict(line.split() for line in open(run.out / "losses.txt"))[str(step)]
    difference = abs(loss - float(logged))
    print(f"replay step {step} from {base}: loss {loss:.6f}, logged {logged}, difference {difference:.1e}", flush=True)
    return difference <= 1e-3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder that holds corpora/")
    parser.add_argument("--out", required=True, help="folder of the run")
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is 63 million tokens")
    parser.add_argument("--objective", choices=("full", "block"), default="full")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--eager", action="store_true", help="do not compile")
    parser.add_argument("--gate", action="store_true", help="stop when a go / no-go rule fails")
    parser.add_argument("--stop-at", type=int, default=0, help="stop after this step")
    parser.add_argument("--replay-step", type=int, default=-1)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    run = Run(args)
    if args.replay_step >= 0:
        raise SystemExit(0 if replay(run, args.replay_step) else 1)
    train(run)


if __name__ == "__main__":
    main()
