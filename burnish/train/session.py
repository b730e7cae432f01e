"""The frame around a training loop: where to go on, when to checkpoint, what to leave behind.

with Session.open(ctx, learner, title="sft", steps=steps) as session:
    for step in session.remaining():      # from 0, after the checkpoint's steps
        ...
        session.done(step, record)        # metrics, bar, checkpoint when due
session.finish()                          # the model, then the checkpoint goes
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from burnish.model.checkpoint import remove_checkpoint
from burnish.pipeline.progress import Bar
from burnish.pipeline.stage import Context
from burnish.train.learner import Learner
from burnish.train.log import MetricsLog, note


def finished(ctx: Context) -> bool:
    """Whether the stage's model is there already: killed between its last file and its rename, it has nothing left to do."""
    if not (ctx.out / "model").exists():
        return False
    remove_checkpoint(ctx.out / "checkpoint")
    return True


class Session:
    """One sitting of a training run over its checkpoints. A run killed anywhere gives the same weights, bit for bit.

    counters: the loop's own numbers that must survive a kill; saved with every checkpoint.
    """

    def __init__(self, ctx: Context, learner: Learner, steps: int, counters: dict[str, Any], bar: Bar, log: MetricsLog):
        self.counters = counters
        self._ctx, self._learner, self._steps, self._bar, self._log = ctx, learner, steps, bar, log
        self._saved_at = self._step_began = time.monotonic()

    @classmethod
    @contextmanager
    def open(cls, ctx: Context, learner: Learner, *, title: str, steps: int) -> Iterator[Session]:
        """Load the last checkpoint, cut metrics.jsonl back to it and start the bar."""
        counters = learner.load(cls.folder(ctx)) or {"step": 0, "wall_s": 0.0}
        log = MetricsLog(ctx.out / "metrics.jsonl", done=counters["step"])
        if counters["step"]:
            ctx.console.line(f"  {title}: going on after step {counters['step']} of {steps}")
        try:
            with ctx.console.bar(title, steps, "steps", done=counters["step"]) as bar:
                yield cls(ctx, learner, steps, counters, bar, log)
        finally:
            log.close()

    @staticmethod
    def folder(ctx: Context) -> Path:
        """Where the checkpoint is."""
        return ctx.out / "checkpoint"

    def remaining(self) -> Iterator[int]:
        """The steps still to take, counted from 0."""
        for step in range(self.counters["step"], self._steps):
            self._step_began = time.monotonic()
            yield step

    def done(self, step: int, record: dict[str, Any]) -> None:
        """Close step `step`: write its record (`tokens` given, times added), move the bar, checkpoint when due."""
        now = time.monotonic()
        wall_s = now - self._step_began
        self.counters["step"] = step + 1
        self.counters["wall_s"] += wall_s
        whole = {"step": step + 1, "steps": self._steps, **record, "tokens_per_s": record["tokens"] / max(wall_s, 1e-9)}
        whole["wall_s"] = self.counters["wall_s"]
        self._log.write(whole)
        self._bar.advance(1, note(whole))
        if step + 1 < self._steps and now - self._saved_at >= self._ctx.machine.checkpoint_every_s:
            self._learner.save(self.folder(self._ctx), self.counters)
            self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Write the trained model, then remove the checkpoint."""
        self._learner.policy.save(self._ctx.out / "model")
        remove_checkpoint(self.folder(self._ctx))
