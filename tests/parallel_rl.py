"""A small recipe of reinforcement learning on the toy model, for tests that run it in several processes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import training_runs

from burnish.data.dataset import write_dataset
from burnish.losses.policy import GRPO
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.pipeline.run import run
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.engine import Sampling
from burnish.train.grpo import RL
from burnish.train.on_policy import OnPolicy
from burnish.train.online_dpo import OnlineDPO
from burnish.train.ppo import PPO
from burnish.train.schedule import Constant


@dataclass(frozen=True)
class Toy(Stage):
    @property
    def name(self) -> str:
        return "toy"

    def run(self, ctx: Context) -> None:
        make_toy(ctx.out / "model")


@dataclass(frozen=True)
class Problems(Stage):
    @property
    def name(self) -> str:
        return "problems"

    def run(self, ctx: Context) -> None:
        write_dataset(ctx.out, training_runs.problems(), card={}, dropped=[])


ROOT = RL(
    Toy(), Problems(), {"letters": training_runs.Letters()}, steps=4, problems_per_step=2, group_size=4, lr=Constant(1e-3),
    sampling=Sampling(max_tokens=12), loss=GRPO(kl_coef=0.05), staleness=1,
)  # fmt: skip
OTHERS: dict[str, OnPolicy] = {
    "ppo": PPO(
        Toy(), Problems(), {"letters": training_runs.Letters()}, steps=2, problems_per_step=2, group_size=3, lr=Constant(1e-3),
        sampling=Sampling(max_tokens=12), epochs=2, minibatches=2,
    ),
    "online-dpo": OnlineDPO(
        Toy(), Problems(), {"letters": training_runs.Letters()}, steps=2, problems_per_step=3, group_size=4, lr=Constant(1e-3),
        sampling=Sampling(max_tokens=12),
    ),
}  # fmt: skip


def make(runs: Path, root: OnPolicy = ROOT, **where: Any) -> Path:
    """Run it; `where` are fields of the Machine."""
    machine = dataclasses.replace(Machine(threads=2, micro_tokens=80, checkpoint_every_s=0.0, slots=8), **where)
    modules = (Path(training_runs.__file__), Path(__file__))
    return run(root, runs=runs, machine=machine, cache=runs / "cache", modules=modules)
