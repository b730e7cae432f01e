"""Supervised fine-tuning: imitate demonstrations (Tülu 3, arXiv:2411.15124 §4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.files import write_json
from burnish.core.types import Demo
from burnish.data.dataset import Dataset
from burnish.errors import DataError, ModelError, RecipeError
from burnish.losses.batch import TokenBatch
from burnish.losses.sft import SFTLoss
from burnish.model.policy import Policy
from burnish.pipeline.stage import Context, Stage
from burnish.text.render import Rendered, Renderer
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW, Optimizer
from burnish.train.rows import rows_of_step, split, stack, steps_in
from burnish.train.schedule import Linear, Schedule
from burnish.train.session import Probe, Session, finished


@dataclass(frozen=True)
class SFT(Stage):
    """Trains `start` on the demonstrations of `data`; only assistant turns are trained, end-of-turn tokens included.

    global_batch: conversations an optimizer step; an epoch's last step takes what is left.
    max_tokens:   longer conversations are dropped and counted, never cut: a cut one would teach endings that are none.
    probe:        what to ask while training; it changes no weight, so it is no part of the identity.
    """

    VERSION: ClassVar[int] = 1
    OWN_PROCESS: ClassVar[bool] = True

    start: Stage
    data: Stage
    epochs: int = 2
    global_batch: int = 128
    lr: Schedule = field(default_factory=lambda: Linear(5e-6))
    max_tokens: int = 4096
    loss: SFTLoss = field(default_factory=SFTLoss)
    optimizer: Optimizer = field(default_factory=AdamW)
    clip_norm: float = 1.0
    seed: int = 0
    probe: Probe | None = field(default=None, metadata={"identity": False})

    @property
    def name(self) -> str:
        """Always "sft"."""
        return "sft"

    def headline(self) -> dict[str, Any]:
        """Batch, epochs and learning rate."""
        return {
            "epochs": self.epochs, "global_batch": self.global_batch, "lr": self.lr.peak, "max_tokens": self.max_tokens,
        }  # fmt: skip

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work."""
        check_numbers(self.name, epochs=self.epochs, global_batch=self.global_batch, max_tokens=self.max_tokens)
        if self.probe is not None:
            self.probe.check(data)

    def run(self, ctx: Context) -> None:
        """Train; writes model, metrics.jsonl and data_report.json."""
        if finished(ctx):
            return
        policy = Policy.load(ctx.path_of(self.start) / "model", ctx.machine, trainable=True)
        demos = [row for row in Dataset.open(ctx.path_of(self.data)).rows() if isinstance(row, Demo)]
        rows = self._render(demos, policy, ctx)
        steps = steps_in(len(rows), self.global_batch, self.epochs)
        learner = Learner(policy, ctx.machine, self.optimizer, self.clip_norm)
        with Session.open(ctx, learner, title="sft", steps=steps, probe=self.probe) as session:
            for step in session.remaining():
                chosen = [rows[i] for i in rows_of_step(step, len(rows), self.global_batch, self.seed)]
                parts = split(chosen, [len(row.token_ids) for _, row in chosen], ctx.machine.micro_tokens)
                batches = [TokenBatch(stack([row for _, row in part])) for part in parts]
                found = learner.forward_backward(batches, self.loss, names=[[name for name, _ in p] for p in parts])
                lr = self.lr.lr(step, steps)
                norm = learner.step(lr)
                tokens = sum(batch.sequences.size for batch in batches)
                session.done(step, {"lr": lr, "grad_norm": norm, "tokens": tokens, **found})
        session.finish()

    def _render(self, demos: Sequence[Demo], policy: Policy, ctx: Context) -> list[tuple[str, Rendered]]:
        """(row id, tokens with train mask) of the conversations that fit. Raises DataError when none is left."""
        fit_context(self.name, self.max_tokens, policy.context)
        rows = [(demo.id, render_demo(policy.renderer, demo)) for demo in demos]
        kept = [(name, row) for name, row in rows if len(row.token_ids) <= self.max_tokens]
        report_rows(
            ctx, kind="demonstrations", limit=self.max_tokens, rows=len(rows), kept=len(kept),
            too_long=[name for name, row in rows if len(row.token_ids) > self.max_tokens],
            tokens=sum(len(row.token_ids) for _, row in kept), trained=sum(sum(row.mask) for _, row in kept),
        )  # fmt: skip
        return kept


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


def fit_context(stage: str, max_tokens: int, context: int) -> None:
    """Raise RecipeError when max_tokens is past what the model reads."""
    if max_tokens > context:
        raise RecipeError(
            f"{stage}: max_tokens={max_tokens}, but the model reads {context} tokens, so longer rows would be garbage to it.\n"
            f"  Set max_tokens={context} or less."
        )


def check_numbers(stage: str, **numbers: int) -> None:
    """Raise RecipeError for a number below 1."""
    for name, value in numbers.items():
        if value < 1:
            raise RecipeError(f"{stage}: {name}={value}, which would train nothing.\n  Give a whole number from 1 up.")


def report_rows(
    ctx: Context, *, kind: str, limit: int, rows: int, kept: int, too_long: Sequence[str], tokens: int, trained: int
) -> None:
    """Write data_report.json and say what was dropped. Raises DataError when nothing is left."""
    write_json(
        ctx.out / "data_report.json",
        {"kind": kind, "rows": rows, "used": kept, "max_tokens": limit, "too_long": len(too_long),
         "too_long_ids": list(too_long), "tokens": tokens, "trained_tokens": trained},
    )  # fmt: skip
    if too_long:
        ctx.console.line(
            f"  {len(too_long)} of {rows} {kind} are longer than {limit} tokens and were left out (data_report.json)"
        )
    if not kept:
        why = f"all {rows} are longer than max_tokens={limit}" if rows else f"the dataset holds no {kind}"
        raise DataError(
            f"No {kind} to train on: {why}.\n"
            "  Raise max_tokens, or look at what the stage before kept and dropped (burnish show)."
        )
