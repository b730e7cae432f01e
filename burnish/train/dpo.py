"""Preference tuning on pairs: DPO as in Tülu 3 (arXiv:2411.15124 §5), its variants, and losses without a reference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from burnish.core.types import Pair, Row
from burnish.errors import DataError, ModelError
from burnish.losses.batch import PairBatch
from burnish.losses.dpo import DPO
from burnish.losses.pairs import PairLoss
from burnish.model.policy import Policy
from burnish.model.sharing import computed_tokens
from burnish.pipeline.stage import Context
from burnish.text.render import Rendered, Renderer
from burnish.train.epochs import PolicyEpochs, train_epochs
from burnish.train.kinds import rows_of
from burnish.train.reference import FILE, reference_logprobs
from burnish.train.rows import check_vocabulary, fit_context, report_rows, stack
from burnish.train.schedule import Linear, Schedule
from burnish.train.session import finished


@dataclass(frozen=True, slots=True)
class RenderedPair:
    """A pair's two replies as tokens, with the reference's summed log-prob of each (nats)."""

    id: str
    chosen: Rendered
    rejected: Rendered
    ref_chosen: float = 0.0
    ref_rejected: float = 0.0

    @property
    def tokens(self) -> int:
        """Both rows, prompts included."""
        return len(self.chosen.token_ids) + len(self.rejected.token_ids)

    @property
    def computed(self) -> int:
        """The same, their common beginning once."""
        return computed_tokens([self.chosen.token_ids, self.rejected.token_ids])


@dataclass(frozen=True)
class Preference(PolicyEpochs):
    """Trains `start`, which is the reference too where the loss has one, on the pairs of `data`.

    loss:         DPO, IPO, APO (burnish.losses.dpo), SimPO, ORPO (burnish.losses.reference_free), or one of your own.
    global_batch: pairs an optimizer step; an epoch's last step takes what is left.
    max_tokens:   pairs of which either row (prompt and reply) is longer are dropped and counted, never cut.
    probe:        what to ask while training; it changes no weight, so it is no part of the identity.
    """

    VERSION: ClassVar[int] = 1
    READS: ClassVar[type[Row] | None] = Pair

    lr: Schedule = field(default_factory=lambda: Linear(5e-7, warmup=0.1))
    loss: PairLoss = field(default_factory=DPO)

    @property
    def name(self) -> str:
        """Always "dpo"."""
        return "dpo"

    def headline(self) -> dict[str, Any]:
        """Epochs, batch, learning rate, longest row and beta."""
        return super().headline() | {"beta": self.loss.beta}

    def run(self, ctx: Context) -> None:
        """Compute the reference's log-probs where the loss reads them, then train; writes model, metrics.jsonl and data_report.json."""
        if finished(ctx):
            return
        policy = self.policy(ctx)
        pairs = rows_of(self.name, ctx, self.data, Pair)
        # The reference is the policy before its first step, so this comes before any checkpoint is loaded.
        rows = render_pairs(self.name, pairs, policy, ctx, self.max_tokens)
        learner = self.learner(policy, ctx)
        if self.loss.REFERENCE:
            rows = self._with_reference(rows, policy, ctx)
        train_epochs(self, ctx, learner, rows, self.loss, pair_batch, cost=pair_cost).finish()
        (ctx.out / FILE).unlink(missing_ok=True)

    def _with_reference(self, rows: Sequence[RenderedPair], policy: Policy, ctx: Context) -> list[RenderedPair]:
        replies = [reply for row in rows for reply in (row.chosen, row.rejected)]
        ref = reference_logprobs(policy, replies, ctx, together=2).tolist()
        return [
            RenderedPair(row.id, row.chosen, row.rejected, ref[2 * i], ref[2 * i + 1]) for i, row in enumerate(rows)
        ]


def render_pairs(
    stage: str, pairs: Sequence[Pair], policy: Policy, ctx: Context, max_tokens: int
) -> list[RenderedPair]:
    """The pairs whose two rows fit; the others are counted in data_report.json. Raises DataError when none is left."""
    fit_context(stage, max_tokens, policy.context)
    rows = [render_pair(policy.renderer, pair) for pair in pairs]
    check_vocabulary(rows, policy.model)
    longest = [max(len(row.chosen.token_ids), len(row.rejected.token_ids)) for row in rows]
    kept = [row for row, length in zip(rows, longest, strict=True) if length <= max_tokens]
    report_rows(
        ctx, kind="preference pairs", limit=max_tokens, rows=len(rows), kept=len(kept),
        too_long=[row.id for row, length in zip(rows, longest, strict=True) if length > max_tokens],
        tokens=sum(row.tokens for row in kept),
        trained=sum(sum(row.chosen.mask) + sum(row.rejected.mask) for row in kept),
    )  # fmt: skip
    return kept


def render_pair(renderer: Renderer, pair: Pair) -> RenderedPair:
    """A pair's two rows. Raises DataError, naming the row, for one that cannot be rendered or teaches nothing."""
    where = f"row {pair.id} (source {pair.source or 'unknown'})"
    try:
        row = RenderedPair(
            pair.id, renderer.reply(pair.prompt, pair.chosen), renderer.reply(pair.prompt, pair.rejected)
        )
    except ModelError as error:
        raise DataError(f"{where}: {error}") from error
    if not any(row.chosen.mask) or not any(row.rejected.mask):
        raise DataError(f"{where}: one of its replies has no tokens, so there is nothing to prefer.\n  Drop the row.")
    return row


def pair_cost(pair: RenderedPair) -> int:
    """Tokens that a forward pass computes for a pair."""
    return pair.computed


def pair_batch(pairs: Sequence[RenderedPair]) -> PairBatch:
    """Pairs as tensors: the chosen rows, then the rejected ones."""
    rows = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    ref = [pair.ref_chosen for pair in pairs] + [pair.ref_rejected for pair in pairs]
    return PairBatch(stack(rows), torch.tensor(ref))
