"""Supervised fine-tuning: imitate demonstrations (Tülu 3, arXiv:2411.15124 §4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Demo
from burnish.data.dataset import Dataset
from burnish.errors import DataError, ModelError
from burnish.losses.batch import TokenBatch
from burnish.losses.sft import SFTLoss
from burnish.model.policy import Policy
from burnish.pipeline.stage import Context
from burnish.text.render import Rendered, Renderer
from burnish.train.epochs import Epochs, train_epochs
from burnish.train.learner import Learner
from burnish.train.rows import fit_context, report_rows, stack
from burnish.train.session import Probe, finished


@dataclass(frozen=True, slots=True)
class RenderedDemo:
    """A conversation as tokens with their train mask."""

    id: str
    row: Rendered

    @property
    def tokens(self) -> int:
        """All of them, trained or not."""
        return len(self.row.token_ids)


@dataclass(frozen=True)
class SFT(Epochs):
    """Trains `start` on the demonstrations of `data`; only assistant turns are trained, end-of-turn tokens included.

    global_batch: conversations an optimizer step; an epoch's last step takes what is left.
    max_tokens:   longer conversations are dropped and counted, never cut: a cut one would teach endings that are none.
    probe:        what to ask while training; it changes no weight, so it is no part of the identity.
    """

    VERSION: ClassVar[int] = 1

    epochs: int = 2
    max_tokens: int = 4096
    loss: SFTLoss = field(default_factory=SFTLoss)
    probe: Probe | None = field(default=None, metadata={"identity": False})

    @property
    def name(self) -> str:
        """Always "sft"."""
        return "sft"

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work."""
        super().check(data)
        if self.probe is not None:
            self.probe.check(data)

    def run(self, ctx: Context) -> None:
        """Train; writes model, metrics.jsonl and data_report.json."""
        if finished(ctx):
            return
        policy = Policy.load(ctx.path_of(self.start) / "model", ctx.machine, trainable=True)
        demos = [row for row in Dataset.open(ctx.path_of(self.data)).rows() if isinstance(row, Demo)]
        rows = self._render(demos, policy, ctx)
        learner = Learner(policy, ctx.machine, self.optimizer, self.clip_norm)
        train_epochs(self, ctx, learner, rows, self.loss, demo_batch, probe=self.probe).finish()

    def _render(self, demos: Sequence[Demo], policy: Policy, ctx: Context) -> list[RenderedDemo]:
        """The conversations that fit. Raises DataError when none is left."""
        fit_context(self.name, self.max_tokens, policy.context)
        rows = [RenderedDemo(demo.id, render_demo(policy.renderer, demo)) for demo in demos]
        kept = [row for row in rows if row.tokens <= self.max_tokens]
        report_rows(
            ctx, kind="demonstrations", limit=self.max_tokens, rows=len(rows), kept=len(kept),
            too_long=[row.id for row in rows if row.tokens > self.max_tokens],
            tokens=sum(row.tokens for row in kept), trained=sum(sum(row.row.mask) for row in kept),
        )  # fmt: skip
        return kept


def demo_batch(rows: Sequence[RenderedDemo]) -> TokenBatch:
    """Conversations as tensors."""
    return TokenBatch(stack([row.row for row in rows]))


def render_demo(renderer: Renderer, demo: Demo) -> Rendered:
    """A conversation's tokens and train mask. Raises DataError, naming the row, when no token would be trained."""
    where = f"row {demo.id} (source {demo.source or 'unknown'})"
    try:
        row = renderer.render(demo.messages)
    except ModelError as error:
        raise DataError(f"{where}: {error}") from error
    if not any(row.mask):
        raise DataError(
            f"{where}: no token of it would be trained, so it would teach nothing.\n"
            "  Its last turn must be an assistant turn, and the chat template must show assistant turns."
        )
    return row
