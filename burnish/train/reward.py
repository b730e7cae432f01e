"""Reward models: Bradley-Terry on preference pairs (Tülu 3, arXiv:2411.15124 §6.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch

from burnish.core.files import write_json
from burnish.core.types import Pair
from burnish.data.dataset import Dataset
from burnish.errors import DataError
from burnish.losses.batch import ScoredPairBatch
from burnish.losses.reward import BradleyTerry
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.pipeline.stage import Context, Stage
from burnish.train.dpo import RenderedPair, render_pairs
from burnish.train.epochs import Epochs, train_epochs
from burnish.train.learner import Learner
from burnish.train.ranking import ranking_report
from burnish.train.rows import split, stack
from burnish.train.schedule import Linear, Schedule
from burnish.train.session import finished


@dataclass(frozen=True)
class RewardModeling(Epochs):
    """Trains `start` with a fresh head to score the chosen reply of each pair above the rejected one.

    dev:          a dataset of pairs that are not trained on; with one, reward_report.json says how they are ranked, by
                  source, and how well the score differences predict it.
    global_batch: pairs an optimizer step; an epoch's last step takes what is left.
    max_tokens:   pairs of which either row (prompt and reply) is longer are dropped and counted, never cut.
    loss:         with use_margin, a pair's annotations["margin"] says how much better its chosen reply is known to be.

    The defaults are Tülu 3's: rate 3e-6 down to 0 in a line, 256 pairs a step, 1 epoch, 2,048 tokens, norm 1.
    """

    VERSION: ClassVar[int] = 1

    global_batch: int = 256
    lr: Schedule = field(default_factory=lambda: Linear(3e-6, warmup=0.0))
    dev: Stage | None = None
    loss: BradleyTerry = field(default_factory=BradleyTerry)

    @property
    def name(self) -> str:
        """Always "reward"."""
        return "reward"

    def run(self, ctx: Context) -> None:
        """Train; writes model, metrics.jsonl, data_report.json and, with `dev`, reward_report.json."""
        if finished(ctx):
            return
        policy = Policy.load(ctx.path_of(self.start) / "model", ctx.machine, trainable=True)
        model = RewardModel.start(policy, seed=self.seed)
        pairs = _pairs(ctx, self.data)
        rows = render_pairs(self.name, pairs, policy, ctx, self.max_tokens)
        margins = {pair.id: float(pair.annotations.get("margin", 0.0)) for pair in pairs}
        learner = Learner(model, ctx.machine, self.optimizer, self.clip_norm)
        session = train_epochs(self, ctx, learner, rows, self.loss, partial(scored_pairs, margins=margins))
        if self.dev is not None:
            held_out = _pairs(ctx, self.dev)
            write_json(ctx.out / "reward_report.json", ranking_report(held_out, score_pairs(model, held_out, ctx)))
        session.finish()


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
    parts = split(range(len(replies)), [len(row.token_ids) for row in replies], ctx.machine.micro_tokens)
    with ctx.console.bar("score pairs", len(replies), "replies") as bar:
        for part in parts:
            with torch.no_grad():
                found[part] = model.scores(stack([replies[i] for i in part])).float().cpu()
            bar.advance(len(part))
    scores: list[float] = found.tolist()
    return list(zip(scores[::2], scores[1::2], strict=True))


def _pairs(ctx: Context, stage: Stage) -> list[Pair]:
    folder = ctx.path_of(stage)
    pairs = [row for row in Dataset.open(folder).rows() if isinstance(row, Pair)]
    if not pairs:
        raise DataError(
            f"{folder.name} has no preference pairs, so a reward model cannot learn or be tried on it.\n"
            "  Give a dataset of pairs (prompt, chosen, rejected)."
        )
    return pairs
