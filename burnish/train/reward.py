"""Reward models: Bradley-Terry on preference pairs (Tülu 3, arXiv:2411.15124 §6.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from burnish.core.files import write_json
from burnish.core.fingerprint import later
from burnish.core.types import Pair, Row
from burnish.errors import DataError, RecipeError
from burnish.losses.batch import ScoredPairBatch
from burnish.losses.reward import BradleyTerry
from burnish.model.reward import RewardModel
from burnish.model.sharing import computed_tokens
from burnish.pipeline.stage import Context, Stage
from burnish.train.dpo import RenderedPair, pair_cost, render_pairs
from burnish.train.epochs import Epochs, train_epochs
from burnish.train.kinds import rows_of
from burnish.train.ranking import ranking_report
from burnish.train.rows import split, stack
from burnish.train.schedule import Linear, Schedule
from burnish.train.session import HeldOut, finished


@dataclass(frozen=True)
class RewardModeling(Epochs):
    """Trains `start` with a fresh head to score the chosen reply of each pair above the rejected one.

    dev:          a dataset of pairs that are not trained on; with one, reward_report.json says how they are ranked, by
                  source, and how well the score differences predict it. That report is on the model that is left.
    dev_every:    steps between looks at `dev` while training, logged as dev/accuracy, dev/margin, dev/nll (nats a pair) and
                  dev/calibration_error; 0: none, but the report. keep=Best("dev/accuracy") goes by them.
    global_batch: pairs an optimizer step; an epoch's last step takes what is left.
    max_tokens:   pairs of which either row (prompt and reply) is longer are dropped and counted, never cut.
    loss:         with use_margin, a pair's annotations["margin"] says how much better its chosen reply is known to be.

    The defaults are Tülu 3's: rate 3e-6 down to 0 in a line, 256 pairs a step, 1 epoch, 2,048 tokens, norm 1.
    """

    VERSION: ClassVar[int] = 1
    READS: ClassVar[type[Row] | None] = Pair
    SCORES: ClassVar[bool] = True

    global_batch: int = 256
    lr: Schedule = field(default_factory=lambda: Linear(3e-6, warmup=0.0))
    dev: Stage | None = None
    loss: BradleyTerry = field(default_factory=BradleyTerry)
    dev_every: int = later(default=0)

    @property
    def name(self) -> str:
        """Always "reward"."""
        return "reward"

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work."""
        super().check(data)
        if self.dev_every and self.dev is None:
            raise RecipeError(
                f"reward: dev_every={self.dev_every}, but there is no dev set to look at.\n"
                "  Give dev=, a dataset of pairs that are not trained on, or leave dev_every out."
            )
        if self.dev_every < 0:
            raise RecipeError(
                f"reward: dev_every={self.dev_every} is no number of steps.\n  Give one from 0 (never) up."
            )

    def run(self, ctx: Context) -> None:
        """Train; writes model, metrics.jsonl, data_report.json and, with `dev`, reward_report.json."""
        if finished(ctx):
            return
        policy = self.policy(ctx)
        model = RewardModel.start(policy, seed=self.seed)
        pairs = rows_of(self.name, ctx, self.data, Pair)
        held_out = self._held_out(ctx)
        rows = render_pairs(self.name, pairs, policy, ctx, self.max_tokens)
        margins = {pair.id: float(pair.annotations.get("margin", 0.0)) for pair in pairs}
        if self.loss.use_margin and not any(margins.values()):
            raise DataError(
                f"{self.name}: the loss has use_margin=True, but no pair of {self.data.name} has a margin, so nothing would differ.\n"
                '  Put a number into annotations["margin"] of the pairs, or write BradleyTerry() without it.'
            )
        learner = self.learner(model, ctx)
        session = train_epochs(
            self, ctx, learner, rows, self.loss, partial(scored_pairs, margins=margins), cost=pair_cost,
            dev=HeldOut(self.dev_every, lambda: _numbers(ranking_report(held_out, score_pairs(model, held_out, ctx)))),
        )  # fmt: skip
        if held_out:
            left = RewardModel.load(best / "model", ctx.machine) if (best := session.best) else model
            with learner.result():
                write_json(ctx.out / "reward_report.json", ranking_report(held_out, score_pairs(left, held_out, ctx)))
        session.finish()

    def _held_out(self, ctx: Context) -> list[Pair]:
        """The pairs of `dev`; none without one. Raises DataError, before anything is trained, for a dataset without pairs."""
        if self.dev is None:
            return []
        pairs = rows_of(self.name, ctx, self.dev, Pair)
        if not pairs:
            raise DataError(
                f"{self.name}: the dataset {self.dev.name}, given as dev, has no preference pairs to try the reward model on.\n"
                "  Give a dataset of pairs (prompt, chosen, rejected), or leave dev out."
            )
        return pairs


def _numbers(report: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(report[name]) for name in ("accuracy", "margin", "nll", "calibration_error")}


def scored_pairs(pairs: Sequence[RenderedPair], margins: dict[str, float]) -> ScoredPairBatch:
    """Pairs as tensors: the chosen rows, then the rejected ones, and the known margins."""
    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    return ScoredPairBatch(stack(rows), torch.tensor([margins[pair.id] for pair in pairs]))


def score_pairs(model: RewardModel, pairs: Sequence[Pair], ctx: Context) -> list[tuple[float, float]]:
    """(score of the chosen, score of the rejected) of each pair, in order."""
    replies = [
        model.renderer.reply(pair.prompt, text) for pair in pairs for text in (pair.chosen, pair.rejected)
    ]  # fmt: skip
    found = torch.zeros(len(replies))
    # Both replies to a prompt go together: the prompt is computed once.
    starts = range(0, len(replies), 2)
    costs = [computed_tokens([row.token_ids for row in replies[i : i + 2]]) for i in starts]
    with ctx.console.bar("score pairs", len(replies), "replies") as bar:
        for firsts in split(starts, costs, ctx.machine.micro_tokens):
            part = [i for first in firsts for i in (first, first + 1)]
            with torch.no_grad():
                found[part] = model.scores(stack([replies[i] for i in part])).float().cpu()
            bar.advance(len(part))
    scores: list[float] = found.tolist()
    return list(zip(scores[::2], scores[1::2], strict=True))
