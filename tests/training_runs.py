"""Small stages and contexts for tests of training: a toy start, a few rows, a folder each."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Check, Demo, Message, Pair, Problem, Row, Verdict, user
from burnish.data.dataset import write_dataset
from burnish.losses.policy import GRPO
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.engine import Sampling
from burnish.train.dpo import Preference
from burnish.train.grpo import RL
from burnish.train.optimizer import AdamW
from burnish.train.ppo import PPO
from burnish.train.rollouts import Reward
from burnish.train.schedule import Constant, Linear
from burnish.train.sft import SFT


@dataclass(frozen=True)
class Given(Stage):
    """A stage whose artifact the test has written already."""

    label: str

    @property
    def name(self) -> str:
        return self.label


START, DATA = Given("start"), Given("data")


def context(root: Path, out: str, machine: Machine, console: Console | None = None) -> Context:
    """A context whose inputs are root/<stage name>."""
    folder = root / out
    folder.mkdir(parents=True, exist_ok=True)
    return Context(folder, machine, lambda stage: root / stage.name, None, root / "cache", console or quiet_console())


def quiet_console() -> Console:
    return Console(io.StringIO(), quiet=True)


def prepare(root: Path, rows: list[Row]) -> None:
    """A toy start and a dataset of these rows."""
    if not (root / "start").exists():
        make_toy(root / "start" / "model")
    (root / "data").mkdir(parents=True, exist_ok=True)
    write_dataset(root / "data", rows, card={}, dropped=[])


def demos(n: int = 7) -> list[Row]:
    return [
        Demo(
            (
                Message("user", f"How many apples has she? {i}"),
                Message("assistant", "The answer is " + "two " * (i + 1)),
            )
        )
        for i in range(n)
    ]


def pairs(n: int = 5) -> list[Row]:
    return [
        Pair(user(f"What is {i} and {i}?"), f"It is {2 * i}.", "I do not know that" + " at all" * i) for i in range(n)
    ]


def problems(n: int = 5) -> list[Row]:
    return [Problem(user(f"Write word {i}"), Check("letters", ""), source=f"s{i % 2}") for i in range(n)]


@dataclass(frozen=True)
class Letters:
    """Scores the share of early letters in a reply; cannot grade a reply without any letter."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        letters = [c for c in text if c.isascii() and c.isalpha()]
        if not letters:
            return Verdict(None, "no letters")
        return Verdict(sum(c in "abcdefgABCDEFG" for c in letters) / len(letters), "share of early letters")


@dataclass(frozen=True)
class Always:
    """The same score for everything."""

    score: float
    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(self.score, "always")


STAGES: dict[str, Stage] = {
    "sft": SFT(START, DATA, epochs=4, global_batch=3, lr=Linear(1e-2, 0.1), max_tokens=200, optimizer=AdamW(weight_decay=0.1)),
    "dpo": Preference(START, DATA, epochs=4, global_batch=2, lr=Linear(1e-3, 0.0), max_tokens=200),
    "rl": RL(
        START, DATA, {"letters": Letters()}, steps=6, problems_per_step=2, group_size=4, lr=Constant(1e-2),
        sampling=Sampling(max_tokens=12), updates_per_step=2, loss=GRPO(kl_coef=0.05),
    ),
}  # fmt: skip
# What is killed twenty times: those, and PPO, whose checkpoints hold two models.
KILLED: dict[str, Stage] = {
    **STAGES,
    "ppo": PPO(
        START, DATA, {"letters": Letters()}, steps=4, problems_per_step=2, group_size=3, lr=Linear(1e-2, 0.0),
        sampling=Sampling(max_tokens=12), reward=Reward(), epochs=2, minibatches=2,
    ),
}  # fmt: skip
EVERY_STEP = Machine(micro_tokens=150, checkpoint_every_s=0.0, slots=8)
