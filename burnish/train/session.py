"""The frame around a training loop: where to go on, when to checkpoint, what to leave behind.

with Session.open(ctx, learner, title="sft", steps=steps) as session:
    for step in session.remaining():      # from 0, after the checkpoint's steps
        ...
        session.done(step, record)        # metrics, bar, checkpoint when due
session.finish()                          # the model, then the checkpoint goes
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from burnish.errors import ArtifactError
from burnish.losses.batch import Batch
from burnish.model.adapter import save_adapter
from burnish.model.checkpoint import remove_checkpoint
from burnish.model.policy import Policy
from burnish.model.rates import TrainedRate, keep_trained_rate, matrix_rate, today
from burnish.pipeline.estimate import check_room
from burnish.pipeline.memory import memory, resident_bytes
from burnish.pipeline.progress import Bar
from burnish.pipeline.stage import Context
from burnish.rollout.engine import Engine
from burnish.rollout.engines import make_engine
from burnish.train.estimate import memory_of_step
from burnish.train.keep import LAST, Best, Keep, Keeper
from burnish.train.learner import Learner
from burnish.train.log import MetricsLog, Speed, note
from burnish.train.panel import panel
from burnish.train.reference import FILE as REFERENCE
from burnish.train.trackers import open_trackers

# A rate is worth keeping from so many seconds of training on.
_RATED_S = 5.0


def finished(ctx: Context) -> bool:
    """Whether the stage's model is there already: killed between its last file and its rename, it has nothing left to do."""
    if not (ctx.kept / "model").exists():
        return False
    if ctx.first is None:
        remove_checkpoint(ctx.out / "checkpoint")
        _remove_beside(ctx.out / "checkpoint")
        (ctx.out / REFERENCE).unlink(missing_ok=True)
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


class Beside(Protocol):
    """Something that a checkpoint must hold beside the learner: another learner, a reference that moves."""

    def save(self, folder: Path) -> None:
        """Write a folder of its own."""

    def load(self, folder: Path) -> object:
        """Go back to what `save` wrote."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A look at rows that are not trained on, every so many steps and after the last; 0: never. All ranks take it together."""

    every: int
    numbers: Callable[[], Mapping[str, float]]


class Session:
    """One sitting of a training run over its checkpoints. A run killed anywhere gives the same weights, bit for bit.

    counters: the loop's own numbers that must survive a kill; saved with every checkpoint.
    engine:   one that holds the learner's weights whenever a step is done, for the probe; without it the probe gets its own.
    """

    def __init__(
        self, ctx: Context, learner: Learner, title: str, steps: int, counters: dict[str, Any], bar: Bar, log: MetricsLog,
        probe: Probe | None, keep: Keep, dev: HeldOut | None, beside: Mapping[str, Beside],
    ) -> None:  # fmt: skip
        self.counters = counters
        self._keeper: Keeper | None = None
        if isinstance(keep, Best):
            self._keeper = Keeper(keep, ctx.kept, counters.setdefault("kept", []), learner.ranks.first)
        self.engine: Engine | None = None
        self._probe = (keep.probe if isinstance(keep, Best) else None) or probe
        self._dev = dev if dev and dev.every else None
        self._beside = beside
        self._own_engine: Engine | None = None
        self._ctx, self._learner, self._steps, self._bar, self._log = ctx, learner, steps, bar, log
        self._title, self._looked = title, False
        self._speed = _speed(ctx, learner)
        self._flops_before, self._update_before = learner.flops, learner.update_s
        self._saved_at = self._step_began = time.monotonic()
        # The counters after the last step that was done, and how many updates the learners had made by then.
        self._done, self._saved_step = (copy.deepcopy(counters), self._updates()), counters["step"]

    @classmethod
    @contextmanager
    def open(
        cls, ctx: Context, learner: Learner, *, title: str, steps: int, made_of: Mapping[str, str], probe: Probe | None = None,
        keep: Keep = LAST, dev: HeldOut | None = None, beside: Mapping[str, Beside] | None = None,
    ) -> Iterator[Session]:  # fmt: skip
        """Load the last checkpoint, cut metrics.jsonl back to it and start the bar.

        made_of: what decides the run, by name: settings as text, rows as a digest; kept in the checkpoint.
        beside:  what every checkpoint holds beside the learner, by name: each in a folder that names its step, written before
                 the learner's and removed after it, so that a kill anywhere leaves one whole set.
        Raises ArtifactError for a checkpoint that was made of something else.
        """
        counters = learner.load(cls.folder(ctx))
        if counters is None:
            counters = {"step": 0, "wall_s": 0.0, "made_of": dict(made_of)}
        _same(cls.folder(ctx), counters, made_of)
        for name, part in (beside or {}).items() if counters["step"] else ():
            part.load(_beside(cls.folder(ctx), name, counters["step"]))
        log = MetricsLog(ctx.out / "metrics.jsonl", done=counters["step"])
        if learner.ranks.first:
            log.track(open_trackers(ctx, log.records))
        if counters["step"]:
            ctx.console.line(f"  {title}: going on after step {counters['step']} of {steps}")
        try:
            with ctx.console.bar(title, steps, "steps", done=counters["step"]) as bar:
                session = cls(ctx, learner, title, steps, counters, bar, log, probe, keep, dev, beside or {})
                try:
                    yield session
                except KeyboardInterrupt:
                    session._put_by()
                    raise
        finally:
            log.close()

    @staticmethod
    def folder(ctx: Context) -> Path:
        """Where the checkpoint is."""
        return ctx.kept / "checkpoint"

    def remaining(self) -> Iterator[int]:
        """The steps still to take, counted from 0."""
        for step in range(self.counters["step"], self._steps):
            self._step_began = time.monotonic()
            yield step

    def fits(self, batches: Sequence[Batch]) -> None:
        """Look, before the first of them is computed, whether a step's micro-batches can fit in memory.

        Raises TrainingError where they certainly cannot: what is needed, what there is and what to change.
        """
        learner, machine = self._learner, self._ctx.machine
        if self._looked or learner.work is None or not batches:
            return
        self._looked = True
        parts = memory_of_step(learner, machine, [batch.sequences for batch in batches])
        there = memory()
        if parts and there:
            check_room(self._title, parts, resident_bytes(), there, machine.processes)

    def done(self, step: int, record: dict[str, Any]) -> None:
        """Close step `step`: write its record (`tokens` given, times added), move the bar, checkpoint when due."""
        now = time.monotonic()
        wall_s = now - self._step_began
        self.counters["step"] = step + 1
        self.counters["wall_s"] += wall_s
        whole = {"step": step + 1, "steps": self._steps, **record, "tokens_per_s": record["tokens"] / max(wall_s, 1e-9)}
        whole["wall_s"] = self.counters["wall_s"]
        whole |= self._measured(record.get("learn_s", wall_s))
        whole |= self._tried(step) | self._probed(step)
        given_up = self._kept(whole)
        self._log.write(whole)
        self._bar.advance(1, note(whole), lambda columns: panel(self._log.records, columns))
        due = step + 1 < self._steps and now - self._saved_at >= self._ctx.machine.checkpoint_every_s
        self._done = copy.deepcopy(self.counters), self._updates()
        if self._learner.ranks.agree(given_up or due):
            self._checkpoint(self.counters)
            if self._keeper:
                self._keeper.prune()

    def _checkpoint(self, counters: dict[str, Any]) -> None:
        """Write what a run goes on from; only then does what the checkpoint before went on from go."""
        folder = self.folder(self._ctx)
        parts = {_beside(folder, name, counters["step"]): part for name, part in self._beside.items()}
        for where, part in parts.items():
            part.save(where)
        self._learner.save(folder, counters)
        if self._learner.ranks.first:
            _remove_beside(folder, but=parts)
        self._saved_at, self._saved_step = time.monotonic(), counters["step"]

    def _updates(self) -> list[int]:
        """How many updates each learner has made; -1 for one whose weights are between two of them."""
        learners = [self._learner, *(part for part in self._beside.values() if isinstance(part, Learner))]
        return [-1 if learner.torn else learner.steps for learner in learners]

    def _put_by(self) -> None:
        """On Ctrl-C, keep the steps since the last checkpoint, where the weights are those after a whole step.

        Several ranks are interrupted at different places and cannot save together; they go back to the last checkpoint. So
        does a run with something beside its learner that is no learner, which may have moved in the step that was interrupted.
        """
        counters, updates = self._done
        known = all(isinstance(part, Learner) for part in self._beside.values())
        whole = known and self._learner.ranks.size == 1 and self._updates() == updates
        if whole and counters["step"] > self._saved_step:
            self._ctx.console.line(f"  {self._title}: keeping what was learned up to step {counters['step']}")
            self._checkpoint(counters)

    def _kept(self, record: Mapping[str, Any]) -> bool:
        """Keep the model of this step if it is one of the best; returns whether another one is given up for it."""
        if self._keeper is None:
            return False
        record = self._learner.ranks.agree(dict(record))
        looked = (self._probe is None or "probe_s" in record) and (self._dev is None or "dev_s" in record)
        return self._keeper.offer(record["step"], record, looked, self._save)

    def _save(self, folder: Path) -> None:
        """The model that a run would leave which ended here, and its adapter where it has one, in a folder."""
        with self._learner.result():
            save_adapter(self._learner.policy.model, folder / "adapter")
            self._learner.policy.save(folder / "model")

    @property
    def best(self) -> Path | None:
        """The folder of the best model so far, where that will be the stage's."""
        return self._keeper.first_folder if self._keeper else None

    def _tried(self, step: int) -> dict[str, float]:
        """The numbers of the held-out rows after this step as `dev/…`, and the seconds they took; {} between looks."""
        dev = self._dev
        if dev is None or ((step + 1) % dev.every and step + 1 < self._steps):
            return {}
        began = time.monotonic()
        with self._learner.result():
            found = {f"dev/{name}": value for name, value in dev.numbers().items()}
        return {**found, "dev_s": time.monotonic() - began}

    def _measured(self, seconds: float) -> dict[str, float]:
        """How fast the step was; {} for a model whose shape is not known. seconds: what it took to learn."""
        learner = self._learner
        flops, update_s = learner.flops - self._flops_before, learner.update_s - self._update_before
        self._flops_before, self._update_before = learner.flops, learner.update_s
        return self._speed.step(flops, seconds, update_s) if self._speed else {}

    def _probed(self, step: int) -> dict[str, float]:
        """The probe's numbers after this step and the seconds they took, which are not counted as training; {} between looks."""
        probe, policy = self._probe, self._learner.policy
        if probe is None or not isinstance(policy, Policy) or ((step + 1) % probe.every and step + 1 < self._steps):
            return {}
        if not self._learner.ranks.first:
            return {}
        began = time.monotonic()
        # An engine that samples for training holds the last weights, and a probe asks what the run would leave.
        engine = (None if self._learner.average else self.engine) or self._own_engine
        with self._learner.result():
            if engine is None:
                engine = self._own_engine = make_engine(policy, self._ctx.machine, self._ctx.console)
            if engine is self._own_engine:
                engine.load_weights(policy, f"step {step + 1}")
            found = probe.scores(engine, policy, self._ctx.data)
        return {**found, "probe_s": time.monotonic() - began}

    def finish(self) -> None:
        """Write the trained model, and its adapter beside it where it has one; then remove the checkpoint.

        The model is the last one, averaged where the learner averages; or the best one, where the best are kept.
        """
        self._tell_speed()
        if not (self._keeper and self._keeper.finish()):
            self._save(self._ctx.out)
        if self._learner.ranks.first:
            remove_checkpoint(self.folder(self._ctx))
            _remove_beside(self.folder(self._ctx))

    def _tell_speed(self) -> None:
        """Say how fast this sitting was, and keep its rate for the next plan."""
        speed, work = self._speed, self._learner.work
        if speed is None or work is None or not speed.flops:
            return
        self._ctx.console.line(speed.told(self._title))
        if speed.wall_s >= _RATED_S and self._learner.ranks.first:
            rate = TrainedRate(speed.passes / speed.devices, speed.update_s / speed.steps, today(), speed.steps)
            keep_trained_rate(self._ctx.cache, self._ctx.machine, work.what(self._title), rate)


def _beside(folder: Path, name: str, step: int) -> Path:
    """Where a checkpoint of `step` steps in `folder` has the part of this name."""
    return folder.with_name(f"{folder.name}-{name}-{step:06d}")


def _remove_beside(folder: Path, but: Collection[Path] = ()) -> None:
    """Remove the parts of checkpoints in `folder`, finished or not, except these."""
    for pattern in (f"{folder.name}-*", f".{folder.name}-*"):
        for path in folder.parent.glob(pattern):
            if path not in but:
                shutil.rmtree(path, ignore_errors=True)


def _speed(ctx: Context, learner: Learner) -> Speed | None:
    """The meter of a sitting; None for a model whose shape is not known. All ranks wait while the first one measures."""
    if learner.work is None:
        return None
    ranks = learner.ranks
    rate = ranks.agree(matrix_rate(ctx.cache, ctx.machine) if ranks.first else None)
    return Speed(rate, ranks.size) if rate else None


def _same(folder: Path, counters: Mapping[str, Any], made_of: Mapping[str, str]) -> None:
    before = counters.get("made_of", {})
    other = [name for name in made_of if before.get(name) != made_of[name]]
    if other:
        what = "; ".join(f"{name} {before.get(name, 'unknown')} there, {made_of[name]} here" for name in other)
        raise ArtifactError(
            f"The checkpoint {folder} was made of something else ({what}), so going on from it would give a model that no recipe "
            "describes.\n  Put the data, the chat template and the settings back as they were, or delete that folder and run "
            "again: this stage starts over."
        )
