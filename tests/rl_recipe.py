"""A small RL recipe on the toy model, for tests that run it with `burnish run`."""

from __future__ import annotations

from dataclasses import dataclass

import training_runs

from burnish.data.dataset import write_dataset
from burnish.losses.policy import GRPO
from burnish.model.toy import make_toy
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.engine import Sampling
from burnish.train.grpo import RL
from burnish.train.schedule import Constant


@dataclass(frozen=True)
class Toy(Stage):
    @property
    def name(self) -> str:
        return "toy"

    def run(self, ctx: Context) -> None:
        make_toy(ctx.out / "model", hidden_size=32, intermediate_size=64)


@dataclass(frozen=True)
class Rows(Stage):
    @property
    def name(self) -> str:
        return "rows"

    def run(self, ctx: Context) -> None:
        write_dataset(ctx.out, training_runs.problems(), card={}, dropped=[])


def recipe(steps: int = 6) -> Stage:
    """RL of a few steps."""
    return RL(
        Toy(), Rows(), {"letters": training_runs.Letters()}, steps=steps, problems_per_step=2, group_size=4, lr=Constant(1e-2),
        sampling=Sampling(max_tokens=12), loss=GRPO(kl_coef=0.05),
    )  # fmt: skip
