"""Supervised fine-tuning: imitate demonstrations (Tülu 3, arXiv:2411.15124 §4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from burnish.core.fingerprint import later
from burnish.core.types import Demo, Row
from burnish.losses.sft import SFTLoss
from burnish.pipeline.stage import Context
from burnish.train.demos import CutTurns, DemoRules, LeaveOut, Turns, demo_batch
from burnish.train.epochs import PolicyEpochs, train_epochs
from burnish.train.kinds import rows_of
from burnish.train.rows import fit_context
from burnish.train.session import finished


@dataclass(frozen=True)
class SFT(PolicyEpochs):
    """Trains `start` on the demonstrations of `data`; only assistant turns are trained, end-of-turn tokens included.

    global_batch: conversations an optimizer step; an epoch's last step takes what is left.
    max_tokens:   no reply is ever cut, for a cut one would teach endings that are none; see `long`.
    turns:        "all" assistant turns, or the "last" of each conversation. Turns of the numbers (the first is 0) in a row's
                  annotations["untrained"] are context only.
    long:         what happens to conversations of more than max_tokens tokens: LeaveOut(), CutTurns().
    weights:      how often the rows of a source count, by its name: {"gsm8k": 2.0}. A row's annotations["weight"] is
                  multiplied with it; rows of weight 0 are left out and counted.
    probe:        what to ask while training; it changes no weight, so it is no part of the identity.
    """

    VERSION: ClassVar[int] = 1
    READS: ClassVar[type[Row] | None] = Demo

    epochs: int = 2
    max_tokens: int = 4096
    loss: SFTLoss = field(default_factory=SFTLoss)
    turns: Turns = later(default="all")
    long: LeaveOut | CutTurns = later(default_factory=LeaveOut)
    weights: Mapping[str, float] = later(default_factory=dict)

    @property
    def name(self) -> str:
        """Always "sft"."""
        return "sft"

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work."""
        super().check(data)
        self._rules.check(self.name)

    def run(self, ctx: Context) -> None:
        """Train; writes model, metrics.jsonl and data_report.json."""
        if finished(ctx):
            return
        policy = self.policy(ctx)
        demos = rows_of(self.name, ctx, self.data, Demo)
        fit_context(self.name, self.max_tokens, policy.context)
        rows = self._rules.rows(demos, policy.renderer, ctx)
        learner = self.learner(policy, ctx)
        train_epochs(self, ctx, learner, rows, self.loss, demo_batch).finish()

    @property
    def _rules(self) -> DemoRules:
        return DemoRules(self.max_tokens, self.turns, self.long, self.weights)
