"""Preference tuning on single replies that were found good or bad: KTO (arXiv:2402.01306).

The estimate of the divergence, z0, belongs to the whole optimizer step. It is computed over all of the step's rows before any
gradient, so micro-batches, packing and ranks cannot change it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch

from burnish.core.types import Pair, Rated, Row
from burnish.data.dataset import Dataset
from burnish.errors import DataError, ModelError, RecipeError
from burnish.losses.batch import RatedBatch
from burnish.losses.kto import KTO
from burnish.model.parallel import Ranks, deal, padding
from burnish.model.policy import Policy
from burnish.pipeline.stage import Context
from burnish.text.render import Rendered, Renderer
from burnish.train.epochs import PolicyEpochs, train_epochs
from burnish.train.reference import FILE, reference_logprobs
from burnish.train.rows import check_vocabulary, fit_context, fitting, rows_of_step, split, stack, steps_in
from burnish.train.schedule import Linear, Schedule
from burnish.train.session import finished


@dataclass(frozen=True, slots=True)
class RenderedReply:
    """A rated reply as tokens. ref: the reference's summed log-prob of it; kl: its optimizer step's z0; both in nats."""

    id: str
    row: Rendered
    good: bool
    ref: float = 0.0
    kl: float = 0.0

    @property
    def tokens(self) -> int:
        """Prompt and reply."""
        return len(self.row.token_ids)


@dataclass(frozen=True)
class Unpaired(PolicyEpochs):
    """Trains `start`, which is the reference too, on the rated replies of `data`.

    data:         rated rows (KTO layouts), pairs, or both: a pair is a good and a bad reply.
    loss:         KTO(beta, desirable, undesirable).
    global_batch: replies an optimizer step; an epoch's last step takes what is left. z0 is a mean over as many.
    max_tokens:   longer rows (prompt and reply) are dropped and counted, never cut.
    probe:        what to ask while training; it changes no weight, so it is no part of the identity.

    The rate is the paper's for beta 0.1: 5e-6, ten times what DPO takes (arXiv:2402.01306 §4.2).
    """

    VERSION: ClassVar[int] = 1

    lr: Schedule = field(default_factory=lambda: Linear(5e-6, warmup=0.1))
    loss: KTO = field(default_factory=KTO)

    @property
    def name(self) -> str:
        """Always "kto"."""
        return "kto"

    def headline(self) -> dict[str, Any]:
        """Epochs, batch, learning rate, longest row, beta and the weights of the two kinds."""
        loss = self.loss
        return super().headline() | {
            "beta": loss.beta,
            "desirable": loss.desirable,
            "undesirable": loss.undesirable,
        }

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work."""
        super().check(data)
        if self.global_batch < 2 and self.loss.estimate_kl:
            raise RecipeError(
                f"kto: global_batch={self.global_batch}, but z0 is estimated from prompts with one another's replies, so a "
                "step of one row has none.\n  Use 2 or more (the paper has 32), or KTO(estimate_kl=False)."
            )

    def run(self, ctx: Context) -> None:
        """Compute the reference's log-probs, then train; writes model, metrics.jsonl and data_report.json."""
        if finished(ctx):
            return
        policy = self.policy(ctx)
        # The reference is the policy before its first step, so this comes before any checkpoint is loaded.
        rows = self._render(Dataset.open(ctx.path_of(self.data)).rows(), policy, ctx)
        point = ReferencePoint(self, rows, policy, ctx)
        learner = self.learner(policy, ctx)
        session = train_epochs(
            self, ctx, learner, point.rows, self.loss, rated_batch, prepare=point.of_step,
            readable=by_kind,
        )  # fmt: skip
        session.finish()
        (ctx.out / FILE).unlink(missing_ok=True)

    def _render(self, data: Sequence[Row], policy: Policy, ctx: Context) -> list[RenderedReply]:
        """The replies that fit. Raises DataError when none is left."""
        fit_context(self.name, self.max_tokens, policy.context)
        rows = [reply for row in data for reply in render_ratings(policy.renderer, row)]
        check_vocabulary(rows, policy.model)
        kept = fitting(ctx, "rated replies", rows, self.max_tokens)
        good = sum(row.good for row in kept)
        ctx.console.line(f"  {_balance(good, len(kept) - good, self.loss)}")
        return kept


class ReferencePoint:
    """The reference's log-probs of all rows, and z0 of every step under the policy as it is then.

    rows: those given, with their reference log-probs.
    """

    def __init__(self, stage: Unpaired, rows: Sequence[RenderedReply], policy: Policy, ctx: Context) -> None:
        self._policy, self._ctx, self._limit = policy, ctx, stage.max_tokens
        mixed: list[Rendered] = []
        self._places: list[slice] = []
        for step in range(steps_in(len(rows), stage.global_batch, stage.epochs) if stage.loss.estimate_kl else 0):
            chosen = [rows[i] for i in rows_of_step(step, len(rows), stage.global_batch, stage.seed)]
            found = mismatched([row.row for row in chosen], stage.max_tokens)
            self._places.append(slice(len(mixed), len(mixed) + len(found)))
            mixed += found
        ref = reference_logprobs(policy, [*(row.row for row in rows), *mixed], ctx).tolist()
        self.rows = [replace(row, ref=ref[i]) for i, row in enumerate(rows)]
        self._ref = ref[len(rows) :]

    def of_step(self, step: int, rows: Sequence[RenderedReply]) -> list[RenderedReply]:
        """The rows of an optimizer step with its z0."""
        if not self._places:
            return list(rows)
        mixed = mismatched([row.row for row in rows], self._limit)
        ratios = [
            logp - ref
            for logp, ref in zip(summed_logprobs(self._policy, mixed, self._ctx), self._ref[self._places[step]], strict=True)
        ]  # fmt: skip
        kl = reference_point(ratios)
        return [replace(row, kl=kl) for row in rows]


def reference_point(ratios: Sequence[float]) -> float:
    """z0 in nats: the mean of the mismatched replies' log ratios, not below 0 (arXiv:2402.01306 §4.1); 0 where there are none."""
    return max(0.0, math.fsum(ratios) / len(ratios)) if ratios else 0.0


def mismatched(rows: Sequence[Rendered], max_tokens: int) -> list[Rendered]:
    """Each row's prompt with the next row's reply, the last one's with the first's.

    Rows longer than max_tokens are left out. A single row has no other reply: there are none then.
    """
    if len(rows) < 2:
        return []
    starts = [row.mask.index(True) for row in rows]
    found: list[Rendered] = []
    for i, row in enumerate(rows):
        other, at = rows[(i + 1) % len(rows)], starts[(i + 1) % len(rows)]
        tokens = row.token_ids[: starts[i]] + other.token_ids[at:]
        if len(tokens) <= max_tokens:
            found.append(Rendered(tokens, (False,) * starts[i] + other.mask[at:]))
    return found


def summed_logprobs(policy: Policy, rows: Sequence[Rendered], ctx: Context) -> list[float]:
    """The policy's log-prob (nats) of each row's reply, without gradient. Ranks share the work, and all get every number."""
    ranks = Ranks.current(ctx.machine)
    found_N = torch.full((len(rows),), torch.nan, dtype=torch.float64)
    sizes = [len(row.token_ids) for row in rows]
    parts = split(range(len(rows)), sizes, ctx.machine.micro_tokens, ranks.teams)
    for turn in deal([sum(sizes[i] for i in part) for part in parts], ranks):
        part = [] if turn is None else parts[turn]
        with torch.no_grad():
            logp_BT = policy.logprobs(stack([rows[i] for i in part]) if part else padding())
        if part:
            found_N[part] = logp_BT.sum(1).double().cpu()
    found: list[float] = ranks.merged(found_N).tolist()
    return found


def render_ratings(renderer: Renderer, row: Row) -> list[RenderedReply]:
    """A rated row as one reply, a pair as two, any other row as none.

    Raises DataError, naming the row, for one that cannot be rendered or teaches nothing.
    """
    if isinstance(row, Rated):
        replies = [(row.reply, row.good)]
    elif isinstance(row, Pair):
        replies = [(row.chosen, True), (row.rejected, False)]
    else:
        return []
    where = f"row {row.id} (source {row.source or 'unknown'})"
    found = []
    for text, good in replies:
        try:
            rendered = renderer.reply(row.prompt, text)
        except ModelError as error:
            raise DataError(f"{where}: {error}") from error
        if not any(rendered.mask):
            raise DataError(f"{where}: its reply has no tokens, so there is nothing to rate.\n  Drop the row.")
        found.append(RenderedReply(row.id, rendered, good))
    return found


def rated_batch(rows: Sequence[RenderedReply]) -> RatedBatch:
    """Rated replies as tensors."""
    numbers = torch.tensor([(row.ref, row.kl) for row in rows], dtype=torch.float64)
    return RatedBatch(
        stack([row.row for row in rows]), torch.tensor([row.good for row in rows]), numbers[:, 0], numbers[:, 1]
    )


def by_kind(found: dict[str, float]) -> dict[str, float]:
    """A step's metrics with each kind's mean reward over that kind's rows, and their difference as `margin`.

    A kind without rows in the step has no reward there, and the step no margin.
    """
    share = found.get("desirable", 0.0)
    rewards = {
        name: found[name] / part
        for name, part in (("desirable_reward", share), ("undesirable_reward", 1.0 - share))
        if name in found and part > 1e-9
    }
    kept = {name: value for name, value in found.items() if name not in ("desirable_reward", "undesirable_reward")}
    margin = {"margin": rewards["desirable_reward"] - rewards["undesirable_reward"]} if len(rewards) == 2 else {}
    return kept | rewards | margin


def _balance(good: int, bad: int, loss: KTO) -> str:
    said = f"{good} desirable and {bad} undesirable replies"
    if not good or not bad or not loss.undesirable:
        return said
    return f"{said}; weighted {loss.desirable * good / (loss.undesirable * bad):.2f} to 1 (the paper: 1 to 1.5)"
