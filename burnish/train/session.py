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
from typing import Any, Protocol

from burnish.model.checkpoint import remove_checkpoint
from burnish.model.policy import Policy
from burnish.pipeline.progress import Bar
from burnish.pipeline.stage import Context
from burnish.rollout.engine import Engine
from burnish.rollout.engines import make_engine
from burnish.train.learner import Learner
from burnish.train.log import MetricsLog, note


def finished(ctx: Context) -> bool:
    """Whether the stage's model is there already: killed between its last file and its rename, it has nothing left to do."""
    if not (ctx.out / "model").exists():
        return False
    remove_checkpoint(ctx.out / "checkpoint")
    return True


class Probe(Protocol):
    """A look at the model while it is trained (`burnish.eval.probe.Probe`). It changes nothing in it.

    every: optimizer steps between looks; the last step always has one.
    """

    @property
    def every(self) -> int:
        """Optimizer steps between looks."""

    def check(self, data: Path | None) -> None:
        """Raise RecipeError or DataError for what cannot be asked."""

    def scores(self, engine: Engine, policy: Policy, data: Path | None) -> dict[str, float]:
        """Numbers by their names in metrics.jsonl, from an engine that holds the policy's weights."""


class Session:
    """One sitting of a training run over its checkpoints. A run killed anywhere gives the same weights, bit for bit.

    counters: the loop's own numbers that must survive a kill; saved with every checkpoint.
    engine:   one that holds the learner's weights whenever a step is done, for the probe; without it the probe gets its own.
    """

    def __init__(
        self, ctx: Context, learner: Learner, steps: int, counters: dict[str, Any], bar: Bar, log: MetricsLog, probe: Probe | None
    ) -> None:  # fmt: skip
        self.counters = counters
        self.engine: Engine | None = None
        self._probe = probe
        self._own_engine: Engine | None = None
        self._ctx, self._learner, self._steps, self._bar, self._log = ctx, learner, steps, bar, log
        self._saved_at = self._step_began = time.monotonic()

    @classmethod
    @contextmanager
    def open(
        cls, ctx: Context, learner: Learner, *, title: str, steps: int, probe: Probe | None = None
    ) -> Iterator[Session]:
        """Load the last checkpoint, cut metrics.jsonl back to it and start the bar."""
        counters = learner.load(cls.folder(ctx)) or {"step": 0, "wall_s": 0.0}
        log = MetricsLog(ctx.out / "metrics.jsonl", done=counters["step"])
        if counters["step"]:
            ctx.console.line(f"  {title}: going on after step {counters['step']} of {steps}")
        try:
            with ctx.console.bar(title, steps, "steps", done=counters["step"]) as bar:
                yield cls(ctx, learner, steps, counters, bar, log, probe)
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
        whole |= self._probed(step)
        self._log.write(whole)
        self._bar.advance(1, note(whole))
        if step + 1 < self._steps and now - self._saved_at >= self._ctx.machine.checkpoint_every_s:
            self._learner.save(self.folder(self._ctx), self.counters)
            self._saved_at = time.monotonic()

    def _probed(self, step: int) -> dict[str, float]:
        """The probe's numbers after this step and the seconds they took, which are not counted as training; {} between looks."""
        probe, policy = self._probe, self._learner.policy
        if probe is None or not isinstance(policy, Policy) or ((step + 1) % probe.every and step + 1 < self._steps):
            return {}
        began = time.monotonic()
        engine = self.engine or self._own_engine
        if engine is None:
            engine = self._own_engine = make_engine(policy, self._ctx.machine, self._ctx.console)
        if engine is self._own_engine:
            engine.load_weights(policy, f"step {step + 1}")
        found = probe.scores(engine, policy, self._ctx.data)
        return {**found, "probe_s": time.monotonic() - began}

    def finish(self) -> None:
        """Write the trained model, then remove the checkpoint."""
        self._learner.policy.save(self._ctx.out / "model")
        remove_checkpoint(self.folder(self._ctx))
