"""The frame of every algorithm that samples replies, has them graded and learns from them.

A stage of such an algorithm is a dataclass below `OnPolicy` whose `algorithm` makes an object with one method, `learn`: a
step's groups of graded replies in, updates done and numbers out. All else is here, once: loading, which problems are asked,
sampling, what survives a kill, metrics, giving up.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from burnish.core.fingerprint import fingerprint, later
from burnish.core.types import Problem
from burnish.errors import RecipeError, TrainingError
from burnish.model.policy import Policy
from burnish.model.trains import All, Trains
from burnish.pipeline.machine import Machine
from burnish.pipeline.stage import Context
from burnish.train.asks import Asks
from burnish.train.groups import Taken
from burnish.train.keep import Keep, Last
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW, Optimizer
from burnish.train.rollout_log import RUNNING, RolloutLog
from burnish.train.rollouts import flags_of, group_metrics
from burnish.train.rows import check_numbers
from burnish.train.schedule import Constant, Schedule
from burnish.train.session import Beside, Probe, Session, finished


@dataclass(frozen=True, slots=True)
class Sitting:
    """What one sitting of a run has in its hands before the first step. The weights are those of `start` until a checkpoint is loaded."""

    ctx: Context
    policy: Policy
    learner: Learner
    problems: Sequence[Problem]


@dataclass(frozen=True, slots=True)
class Learned:
    """What an algorithm made of a step.

    advantages_PG: for each group, a number for each reply: how much better than expected it was; written beside the reply.
    informative:   groups that taught something; a run of steps without any ends it.
    updates:       optimizer steps of the policy.
    found:         metrics by name: loss, grad_norm and the algorithm's own.
    """

    advantages_PG: Sequence[Sequence[float]]
    informative: int
    updates: int
    found: Mapping[str, float]


class Algorithm(Protocol):
    """What turns graded groups into updates. It lives for one sitting; what must survive a kill is in `beside`."""

    @property
    def beside(self) -> Mapping[str, Beside]:
        """What every checkpoint keeps beside the policy, by name: a value model's learner, a reference that moves."""

    def learn(self, step: int, taken: Taken, lr: float) -> Learned:
        """Learn from the groups of step `step`, counted from 0, at this learning rate."""

    def finish(self, out: Path) -> None:
        """Write what the stage leaves beside the model, if anything."""


@dataclass(frozen=True)
class OnPolicy(Asks):
    """Abstract: trains `start` on its own graded replies to `problems`.

    steps:    each samples replies and learns from them.
    patience: stop after so many steps in a row that taught nothing.
    keep:     Last() model, or Best(metric, n) of the run; with ema, replies are still sampled from the weights themselves.
    trains:   All() weights, some Layers(…), or adapters beside frozen weights, LoRA(…); engines get them merged.
    probe:    what to ask while training; it changes no weight, so it is no part of the identity.

    What is asked and how replies are sampled and graded are the fields of Asks. MADE_OF names the fields that a checkpoint was
    made with.
    """

    MAKES: ClassVar[str] = "model"
    OWN_PROCESS: ClassVar[bool] = True
    RANKS: ClassVar[bool] = True
    MADE_OF: ClassVar[tuple[str, ...]] = (*Asks.MADE_OF, "steps", "lr", "optimizer", "clip_norm")

    steps: int = 100
    lr: Schedule = field(default_factory=lambda: Constant(5e-7))
    patience: int = 20
    optimizer: Optimizer = field(default_factory=AdamW)
    clip_norm: float = 1.0
    trains: Trains = later(default_factory=All)
    keep: Keep = later(default_factory=Last)
    probe: Probe | None = field(default=None, metadata={"identity": False})

    def algorithm(self, sitting: Sitting) -> Algorithm:
        """What learns from the groups, its own models loaded."""
        raise NotImplementedError

    def headline(self) -> dict[str, Any]:
        """Steps, replies a step, learning rate and longest reply."""
        return {
            "steps": self.steps, "problems_per_step": self.problems_per_step, "group_size": self.group_size,
            "lr": self.lr.peak, "max_tokens": self.sampling.max_tokens,
        }  # fmt: skip

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for values that cannot work."""
        check_numbers(self.name, steps=self.steps, patience=self.patience)
        super().check(data)
        self.keep.check(self.name, data)
        if self.probe is not None:
            self.probe.check(data)

    def check_on(self, machine: Machine) -> None:
        """Raise RecipeError for processes of which none holds and computes the whole model: engines get their weights from one."""
        if machine.processes * machine.nodes == 1 or (machine.sharding == "replicated" and machine.team == 1):
            return
        raise RecipeError(
            f"{self.name}: Machine(sharding={machine.sharding!r}, context={machine.context}, tensor={machine.tensor}) divides "
            "the model or its rows among processes, and the engine that samples gets its weights from one that has all.\n"
            "  Set sharding='replicated', context=1 and tensor=1: every process then learns from its share of the replies."
        )

    def run(self, ctx: Context) -> None:
        """Train; writes model, metrics.jsonl, rollouts.jsonl and data_report.json."""
        if finished(ctx):
            (ctx.out / RUNNING).unlink(missing_ok=True)
            return
        policy = Policy.load(
            ctx.path_of(self.start) / "model", ctx.machine, trainable=True, trains=self.trains, seed=self.seed
        )
        problems = self.fitting(policy, ctx)
        learner = Learner(policy, ctx.machine, self.optimizer, self.clip_norm, self.keep.ema)
        sitting = Sitting(ctx, policy, learner, problems)
        algorithm = self.algorithm(sitting)
        made_of = {name: repr(getattr(self, name)) for name in self.MADE_OF}
        made_of["rows"] = fingerprint([problem.id for problem in problems])
        with (
            Session.open(
                ctx, learner, title=self.name, steps=self.steps, made_of=made_of, probe=self.probe, keep=self.keep,
                beside=algorithm.beside,
            ) as session,
            closing(RolloutLog(ctx.out, done=session.counters["step"])) as log,
            closing(self.rollouts(policy, problems, ctx, log, done=session.counters["step"], steps=self.steps)) as rollouts,
        ):  # fmt: skip
            session.engine = rollouts.engine
            for step in session.remaining():
                began = time.monotonic()
                taken = rollouts.groups(step)
                sampled = time.monotonic()
                lr = self.lr.lr(step, self.steps)
                learned = algorithm.learn(step, taken, lr)
                flags_PG = flags_of(taken.groups, self.monitors)
                log.write(step + 1, taken.groups, learned.advantages_PG, flags_PG, self.reward.of)
                rollouts.learned(step, learned.updates > 0)
                session.counters["idle"] = 0 if learned.informative else session.counters.get("idle", 0) + 1
                record = {
                    "lr": lr,
                    "tokens": sum(trajectory.completion.length for group in taken.groups for trajectory in group),
                    **learned.found,
                    **group_metrics(taken.groups, flags_PG, reward=self.reward, monitors=self.monitors),
                    **taken.found,
                    "rollout_s": sampled - began,
                    "learn_s": time.monotonic() - sampled,
                }
                session.done(step, record)
                self._give_up(session.counters["idle"], record)
            log.finish()
        algorithm.finish(ctx.out)
        session.finish()

    def _give_up(self, idle: int, record: Mapping[str, Any]) -> None:
        """Raise TrainingError when too many steps in a row taught nothing."""
        if idle < self.patience:
            return
        if record["informative"]:
            raise TrainingError(
                f"{self.name}: for {idle} steps in a row replies got different rewards, yet none was learned from: they were left out "
                f"of the loss ({record['cut_share']:.0%} of the last step's were cut by max_tokens), or the advantage makes nothing "
                "of the difference.\n"
                "  Raise sampling.max_tokens, learn from cut replies too, or choose another advantage. Look at rollouts.jsonl for "
                "what it wrote."
            )
        raise TrainingError(
            f"{self.name}: for {idle} steps in a row all replies to a problem got the same reward (mean {record['reward']:.2f}), "
            "so there was nothing to learn from.\n"
            "  Near 0 the problems are too hard for this model, near 1 too easy: choose others, train longer before RL, or "
            "raise group_size. Look at rollouts.jsonl for what it wrote."
        )
