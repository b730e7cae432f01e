"""Reinforcement learning with verifiable rewards by GRPO (arXiv:2402.03300; Tülu 3, arXiv:2411.15124 §6)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from burnish.core.fingerprint import fingerprint, later
from burnish.core.rng import stream
from burnish.core.types import Problem, Row
from burnish.data.dataset import Dataset
from burnish.errors import RecipeError, TrainingError
from burnish.losses.policy import GRPO
from burnish.model.lora import adapters, adapters_off
from burnish.model.policy import Policy
from burnish.model.trains import All, Trains
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.collect import check_verifiers, collect
from burnish.rollout.engine import Engine, Sampling
from burnish.rollout.engines import make_engine
from burnish.train.keep import Keep, Last
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW, Optimizer
from burnish.train.rollouts import (
    Group,
    OnPolicy,
    Reward,
    RolloutLog,
    Sample,
    advantages,
    engine_gap,
    flags_of,
    group_metrics,
    micro_batches,
    rollout_batch,
    samples,
    with_logprobs,
)
from burnish.train.rows import check_numbers, report_rows, rows_of_step
from burnish.train.schedule import Constant, Schedule
from burnish.train.session import Probe, Session, finished
from burnish.verify.base import Verifier
from burnish.verify.monitors import MONITORS, Monitor

# What a checkpoint was made with beside its problems; it cannot go on with other values.
MADE_OF = (
    "steps", "problems_per_step", "group_size", "updates_per_step", "sampling", "lr", "optimizer", "clip_norm", "seed"
)  # fmt: skip


@dataclass(frozen=True)
class RL(Stage):
    """Trains `start` on its own graded replies to `problems`; the reference of the KL term is `start` as it came.

    verifiers:         by the name that problems give in their check.
    problems_per_step: groups a step, each of group_size replies; an epoch's last step takes what is left.
    updates_per_step:  optimizer steps on disjoint parts of a step's groups.
    normalize_std:     divide a group's advantages by its standard deviation (GRPO) or not (Dr. GRPO).
    reward:            how a verdict becomes a reward: Reward(missing_end=0.0) gives replies cut by max_tokens nothing (Tülu 3.1).
    monitors:          what to look for in replies that may be gaming their grade; they report, and change no reward.
    patience:          stop after so many steps in a row in which no group had replies of different worth.
    keep:              Last() model, or Best(metric, n) of the run; with ema, replies are still sampled from the weights themselves.
    trains:            All() weights, some Layers(…), or adapters beside frozen weights, LoRA(…); engines get them merged.
    probe:             what to ask while training; it changes no weight, so it is no part of the identity.
    """

    VERSION = 1
    MAKES = "model"
    OWN_PROCESS = True

    start: Stage
    problems: Stage
    verifiers: dict[str, Verifier]
    loss: GRPO = field(default_factory=GRPO)
    steps: int = 100
    problems_per_step: int = 16
    group_size: int = 8
    sampling: Sampling = field(default_factory=Sampling)
    lr: Schedule = field(default_factory=lambda: Constant(5e-7))
    updates_per_step: int = 1
    normalize_std: bool = True
    reward: Reward = field(default_factory=Reward)
    monitors: tuple[Monitor, ...] = MONITORS
    patience: int = 20
    optimizer: Optimizer = field(default_factory=AdamW)
    clip_norm: float = 1.0
    seed: int = 0
    trains: Trains = later(default_factory=All)
    keep: Keep = later(default_factory=Last)
    probe: Probe | None = field(default=None, metadata={"identity": False})

    @property
    def name(self) -> str:
        """Always "rl"."""
        return "rl"

    def headline(self) -> dict[str, Any]:
        """Steps, replies a step and learning rate."""
        return {
            "steps": self.steps, "problems_per_step": self.problems_per_step, "group_size": self.group_size,
            "lr": self.lr.peak, "kl_coef": self.loss.kl_coef, "max_tokens": self.sampling.max_tokens,
        }  # fmt: skip

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work."""
        check_numbers(
            self.name, steps=self.steps, problems_per_step=self.problems_per_step,
            updates_per_step=self.updates_per_step, patience=self.patience,
        )  # fmt: skip
        self.keep.check(self.name, data)
        if self.probe is not None:
            self.probe.check(data)
        if self.group_size < 2:
            raise RecipeError(
                f"rl: group_size={self.group_size}, but a reply is judged against the others of its group.\n"
                "  Give 2 or more; 8 is usual."
            )
        if self.sampling.temperature <= 0 or self.sampling.top_p < 1 or self.sampling.top_k > 0:
            raise RecipeError(
                f"rl: {self.sampling} cuts the distribution, so the learner's log-probs would not be those of the sampler.\n"
                "  Use a temperature above 0, top_p=1 and top_k=0."
            )

    def run(self, ctx: Context) -> None:
        """Train; writes model, metrics.jsonl, rollouts.jsonl and data_report.json."""
        if finished(ctx):
            return
        policy = Policy.load(
            ctx.path_of(self.start) / "model", ctx.machine, trainable=True, trains=self.trains, seed=self.seed
        )
        reference = self._reference(policy, ctx)
        problems = self._fitting(Dataset.open(ctx.path_of(self.problems)).rows(), policy, ctx)
        learner = Learner(policy, ctx.machine, self.optimizer, self.clip_norm, self.keep.ema)
        with (
            Session.open(
                ctx,
                learner,
                title="rl",
                steps=self.steps,
                probe=self.probe,
                keep=self.keep,
                made_of={name: repr(getattr(self, name)) for name in MADE_OF}
                | {"rows": fingerprint([p.id for p in problems])},
            ) as session,
            closing(RolloutLog(ctx.out / "rollouts.jsonl", done=session.counters["step"])) as rollouts,
        ):
            engine = make_engine(policy, ctx.machine, ctx.console)
            engine.load_weights(policy, f"step {session.counters['step']}")
            session.engine = engine
            for step in session.remaining():
                chosen = rows_of_step(step, len(problems), self.problems_per_step, self.seed)
                began = time.monotonic()
                groups, worth, flags_PG = self._rollouts(rollouts, step, [problems[i] for i in chosen], engine, policy)
                generated = time.monotonic()
                kept = samples(groups, worth, reward=self.reward)
                lr = self.lr.lr(step, self.steps)
                found = self._learn(step, kept, learner, policy, reference, lr)
                if kept:
                    engine.load_weights(policy, f"step {step + 1}")
                session.counters["idle"] = 0 if kept else session.counters.get("idle", 0) + 1
                record = {
                    "lr": lr,
                    "tokens": sum(len(t.completion.token_ids) for group in groups for t in group),
                    **found,
                    **group_metrics(groups, worth, flags_PG, reward=self.reward, monitors=self.monitors),
                    "rollout_s": generated - began,
                    "learn_s": time.monotonic() - generated,
                }
                session.done(step, record)
                self._give_up(session.counters["idle"], record)
        session.finish()

    def _rollouts(
        self, rollouts: RolloutLog, step: int, problems: Sequence[Problem], engine: Engine, policy: Policy
    ) -> tuple[list[Group], list[list[float]], list[list[dict[str, str]]]]:
        """A group of graded replies a problem, their advantages and flags; what an interrupted run generated is not paid twice."""
        kept = rollouts.replay(step + 1, len(problems), self.group_size)
        groups = kept or collect(
            engine, policy.renderer, problems, n=self.group_size, sampling=self.sampling, verifiers=self.verifiers,
            seed=self.seed, purpose="rl", step=step,
        )  # fmt: skip
        worth = advantages(groups, reward=self.reward, std=self.normalize_std)
        flags_PG = flags_of(groups, self.monitors)
        if kept is None:
            rollouts.write(step + 1, groups, worth, flags_PG)
        return groups, worth, flags_PG

    def _learn(
        self, step: int, kept: Sequence[Sample], learner: Learner, policy: Policy, reference: Policy | None, lr: float
    ) -> dict[str, float]:
        """The step's updates; returns their metrics, each a mean over all of them, and the largest gradient norm."""
        tokens, temperature = learner.machine.micro_tokens, self.sampling.temperature
        once = self.updates_per_step == 1
        if reference is not None:
            with adapters_off(reference.model):
                kept = with_logprobs(kept, reference, "ref", tokens, temperature)
        if not once:
            kept = with_logprobs(kept, policy, "old", tokens, temperature)
        if learner.work is not None:
            replies = sum(len(sample.trajectory.completion.token_ids) for sample in kept)
            passes = (reference is not None) + (not once)
            learner.flops += passes * learner.work.forward([sample.tokens for sample in kept], replies)
        totals = {"loss": 0.0, "kl": 0.0, "clip_fraction": 0.0, "engine_gap": 0.0}
        count = norm = 0.0
        for part in self._minibatches(step, kept):
            micro = [[part[i] for i in batch] for batch in micro_batches(part, tokens)]
            found = learner.forward_backward(
                [rollout_batch(rows) for rows in micro],
                OnPolicy(self.loss) if once else self.loss,
                names=[[sample.trajectory.problem.id for sample in rows] for rows in micro],
                temperature=temperature,
            )
            norm = max(norm, learner.step(lr))
            weight = found.pop("count")
            count += weight
            for name, value in found.items():
                totals[name] = totals.get(name, 0.0) + value * weight
        means = {name: value / max(count, 1.0) for name, value in totals.items()}
        return {"grad_norm": norm, **means} | ({} if once else {"engine_gap": engine_gap(kept)})

    def _minibatches(self, step: int, kept: Sequence[Sample]) -> list[list[Sample]]:
        """The samples in updates_per_step parts, whole groups in each."""
        groups = sorted({sample.group for sample in kept})
        stream(self.seed, "rl minibatches", step).shuffle(groups)
        parts = [set(groups[i :: self.updates_per_step]) for i in range(self.updates_per_step)]
        return [[sample for sample in kept if sample.group in part] for part in parts if part]

    def _reference(self, trained: Policy, ctx: Context) -> Policy | None:
        """The start policy, frozen, in the learner's own precision; none where no KL term asks for it.

        With adapters it is the trained policy itself, which without them is still the start.
        """
        if not self.loss.kl_coef:
            return None
        if adapters(trained.model):
            return trained
        policy = Policy.load(ctx.path_of(self.start) / "model", ctx.machine, trainable=True)
        policy.model.requires_grad_(False)
        return policy

    def _fitting(self, rows: Sequence[Row], policy: Policy, ctx: Context) -> list[Problem]:
        """The problems whose prompt and longest reply fit the model. Raises RecipeError for a verifier that is not given."""
        problems = [row for row in rows if isinstance(row, Problem)]
        check_verifiers(self.verifiers, problems)
        limit = policy.context - self.sampling.max_tokens
        lengths = [len(policy.renderer.prompt(problem.prompt)) for problem in problems]
        kept = [problem for problem, length in zip(problems, lengths, strict=True) if length <= limit]
        report_rows(
            ctx, kind="problems", limit=limit, rows=len(problems), kept=len(kept),
            too_long=[problem.id for problem, length in zip(problems, lengths, strict=True) if length > limit],
            tokens=sum(length for length in lengths if length <= limit), trained=0,
        )  # fmt: skip
        return kept

    def _give_up(self, idle: int, record: dict[str, Any]) -> None:
        """Raise TrainingError when too many steps in a row taught nothing."""
        if idle < self.patience:
            return
        raise TrainingError(
            f"rl: for {idle} steps in a row all replies to a problem got the same reward (mean {record['reward']:.2f}), "
            "so there was nothing to learn from.\n"
            "  Near 0 the problems are too hard for this model, near 1 too easy: choose others, train longer before RL, or "
            "raise group_size. Look at rollouts.jsonl for what it wrote."
        )
