"""From graded replies to what the learner sees, and the file in which they outlive a kill.

Shapes: P problems, G replies to each, B sequences, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from burnish.core.files import JsonlLog
from burnish.core.rows import trajectory_from_json, trajectory_to_json
from burnish.core.types import Finish, Trajectory
from burnish.losses.advantage import group_relative
from burnish.losses.batch import RolloutBatch
from burnish.losses.policy import GRPO
from burnish.model.policy import Policy
from burnish.text.render import Rendered
from burnish.train.rows import split, spread, stack
from burnish.verify.monitors import Monitor, flags, rates
from burnish.verify.shaping import SoftOverlong

Group = list[Trajectory]


@dataclass(frozen=True, slots=True)
class Sample:
    """A reply to learn from: its row, its group's number and its advantage; reference log-probs once they are known."""

    trajectory: Trajectory
    group: int
    advantage: float
    ref: tuple[float, ...] = ()
    old: tuple[float, ...] = ()

    @property
    def row(self) -> Rendered:
        """Prompt and reply exactly as the engine saw and sampled them; only the reply is trained."""
        prompt, reply = self.trajectory.prompt_ids, self.trajectory.completion.token_ids
        return Rendered(prompt + reply, (False,) * len(prompt) + (True,) * len(reply))

    @property
    def tokens(self) -> int:
        """Prompt and reply."""
        return len(self.trajectory.prompt_ids) + len(self.trajectory.completion.token_ids)


@dataclass(frozen=True, slots=True)
class Reward:
    """How the verdict on a reply becomes its reward. Verdicts are in [0, 1]; penalties for what only the sampler knows may go below.

    missing_end: the reward of a reply that max_tokens cut before its end-of-turn, in place of its grade; None: it is graded
                 as it is. 0 is the rule of Tülu 3.1. -1 is that of Tülu 3, in units of a right answer: -10, where a
                 right one is worth 10 (arXiv:2411.15124 table 21).
    overlong:    DAPO's penalty for long replies, in tokens, added to the grade.
    """

    missing_end: float | None = None
    overlong: SoftOverlong | None = None
    VERSION: ClassVar[int] = 1

    def of(self, trajectory: Trajectory) -> float | None:
        """The reward of a reply; None for one that could not be graded or that the engine gave up."""
        if trajectory.completion.finish is Finish.ABORT:
            return None
        if self._unended(trajectory):
            return self.missing_end
        score = trajectory.verdict.score
        if score is None or self.overlong is None:
            return score
        return score + self.overlong.penalty(len(trajectory.completion.token_ids))

    def passed(self, trajectory: Trajectory) -> bool:
        """Whether the reply has the full score, and an end where one is asked for."""
        return trajectory.verdict.score == 1.0 and not self._unended(trajectory)

    def _unended(self, trajectory: Trajectory) -> bool:
        return self.missing_end is not None and trajectory.completion.finish is Finish.LENGTH


def advantages(groups: Sequence[Group], *, reward: Reward, std: bool) -> list[list[float]]:
    """The group-relative advantage of every reply; 0 throughout groups that teach nothing and for ungraded replies."""
    found: list[list[float]] = []
    for group in groups:
        scores = [reward.of(trajectory) for trajectory in group]
        rewards_1G = torch.tensor([[value or 0.0 for value in scores]], dtype=torch.float64)
        graded_1G = torch.tensor([[value is not None for value in scores]])
        found.append(group_relative(rewards_1G, graded_1G, std=std)[0].tolist())
    return found


def samples(groups: Sequence[Group], advantages_PG: Sequence[Sequence[float]], *, reward: Reward) -> list[Sample]:
    """The graded replies of the groups in which not all were equally good."""
    return [
        Sample(trajectory, g, advantage)
        for g, (group, row) in enumerate(zip(groups, advantages_PG, strict=True))
        if any(row)
        for trajectory, advantage in zip(group, row, strict=True)
        if reward.of(trajectory) is not None and trajectory.completion.token_ids
    ]


def rollout_batch(part: Sequence[Sample]) -> RolloutBatch:
    """Samples as tensors. `old_BT` holds the learner's log-probs where they were computed, else the engine's."""
    sequences = stack([sample.row for sample in part])
    replies = [sample.trajectory.completion for sample in part]
    old_BT = spread([sample.old or reply.logprobs for sample, reply in zip(part, replies, strict=True)], sequences)
    # Without a reference its log-probs are never read.
    ref_BT = spread([sample.ref or reply.logprobs for sample, reply in zip(part, replies, strict=True)], sequences)
    adv_BT = spread([[s.advantage] * len(r.token_ids) for s, r in zip(part, replies, strict=True)], sequences)
    return RolloutBatch(sequences, old_BT, ref_BT, adv_BT)


def micro_batches(samples: Sequence[Sample], micro_tokens: int) -> list[list[int]]:
    """The samples' numbers in micro-batches of at most micro_tokens computed tokens (one sample at the least).

    Neighbouring samples of a group stay together, because their prompt is computed once.
    """
    units: list[list[int]] = []
    costs: list[int] = []
    for i, sample in enumerate(samples):
        reply = len(sample.trajectory.completion.token_ids)
        follows = i > 0 and samples[i - 1].group == sample.group
        if follows and costs[-1] + reply <= micro_tokens:
            units[-1].append(i)
            costs[-1] += reply
        else:
            units.append([i])
            costs.append(sample.tokens)
    return [[i for unit in part for i in unit] for part in split(units, costs, micro_tokens)]


def with_logprobs(
    kept: Sequence[Sample], policy: Policy, field: Literal["ref", "old"], micro_tokens: int, temperature: float
) -> list[Sample]:
    """The samples with a policy's log-probs of their tokens in `field`; no gradient."""
    found = list(kept)
    for part in micro_batches(kept, micro_tokens):
        sequences = stack([kept[i].row for i in part])
        with torch.no_grad():
            logp_BT = policy.logprobs(sequences, temperature).cpu()
        for b, i in enumerate(part):
            logprobs = tuple(logp_BT[b, sequences.mask_BT[b]].tolist())
            found[i] = replace(kept[i], ref=logprobs) if field == "ref" else replace(kept[i], old=logprobs)
    return found


def engine_gap(kept: Sequence[Sample]) -> float:
    """The mean over replies of the mean |log-prob of the engine - log-prob of the learner|, in nats a token."""
    gaps = [
        _mean([abs(a - b) for a, b in zip(sample.old, sample.trajectory.completion.logprobs, strict=True)])
        for sample in kept
    ]
    return _mean(gaps)


@dataclass(frozen=True, slots=True)
class OnPolicy:
    """A loss whose old log-probs are the policy's own: the first update after sampling, in which every ratio is 1.

    Shapes: B sequences, T positions.
    """

    loss: GRPO

    def count(self, batch: RolloutBatch) -> Tensor:
        """The loss's own count."""
        return self.loss.count(batch)

    def total(self, logp_BT: Tensor, batch: RolloutBatch) -> Tensor:
        """The loss's own total at old = policy; the gradient goes through the policy only."""
        return self.loss.total(logp_BT, replace(batch, old_BT=logp_BT.detach()))

    def metrics(self, logp_BT: Tensor, batch: RolloutBatch) -> dict[str, Tensor]:
        """The loss's own metrics, and `engine_gap`: mean |log-prob of the engine - log-prob of the learner|, nats a token."""
        mask_BT = batch.sequences.mask_BT
        gap_BT = (logp_BT.detach() - batch.old_BT).abs() * mask_BT
        tokens_B = mask_BT.sum(1).clamp(min=1)
        gap = gap_BT.sum() if self.loss.unit == "token" else (gap_BT.sum(1) / tokens_B).sum()
        return self.loss.metrics(logp_BT, replace(batch, old_BT=logp_BT.detach())) | {"engine_gap": gap}


def flags_of(groups: Sequence[Group], monitors: Sequence[Monitor]) -> list[list[dict[str, str]]]:
    """What the monitors see in every reply."""
    return [[flags(monitors, t.problem, t.completion.text) for t in group] for group in groups]


def group_metrics(
    groups: Sequence[Group],
    advantages_PG: Sequence[Sequence[float]],
    flags_PG: Sequence[Sequence[dict[str, str]]],
    *,
    reward: Reward,
    monitors: Sequence[Monitor],
) -> dict[str, float]:
    """What a step's replies were like: reward (mean over graded replies, by source too), pass_rate, length, counts, flags.

    flag/<name>: the share of replies in which a monitor sees something; flagged_passes: the share of those with the full
    score in which any of them does.
    """
    every = [trajectory for group in groups for trajectory in group]
    seen = [flagged for row in flags_PG for flagged in row]
    scored = [(t, value) for t in every if (value := reward.of(t)) is not None]
    found: dict[str, float] = {
        "reward": _mean([value for _, value in scored]),
        "pass_rate": _mean([float(reward.passed(t)) for t, _ in scored]),
        "length": _mean([float(len(t.completion.token_ids)) for t in every]),
        "cut_share": _mean([float(t.completion.finish is Finish.LENGTH) for t in every]),
        "groups": len(groups),
        "informative": sum(any(row) for row in advantages_PG),
        "ungraded": len(every) - len(scored),
    }
    for source in sorted({t.problem.source for t, _ in scored}):
        found[f"reward/{source}"] = _mean([value for t, value in scored if t.problem.source == source])
    if monitors:
        found |= {f"flag/{name}": rate for name, rate in rates(monitors, seen).items()}
        found["flagged_passes"] = _mean(
            [float(bool(flagged)) for t, flagged in zip(every, seen, strict=True) if reward.passed(t)]
        )
    return found


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


class RolloutLog:
    """rollouts.jsonl: every reply with its step, group and advantage. What was generated after the last checkpoint is
    given back instead of being generated again.
    """

    def __init__(self, path: Path, *, done: int) -> None:
        self._log = JsonlLog(path)
        self._waiting: dict[int, list[dict[str, Any]]] = {}
        for record in self._log.records:
            if record["step"] > done:
                self._waiting.setdefault(record["step"], []).append(record)
        self._before = sum(record["step"] <= done for record in self._log.records)

    def replay(self, step: int, problems: int, group_size: int) -> list[Group] | None:
        """The groups of step `step` (from 1) if all of them were kept; otherwise None, and what is left is dropped."""
        records = self._waiting.pop(step, [])
        if len(records) != problems * group_size:
            if records or self._waiting:
                self._log.keep(self._before)
                self._waiting.clear()
            return None
        self._before += len(records)
        groups: list[Group] = [[] for _ in range(problems)]
        for record in records:
            groups[record["group"]].append(trajectory_from_json(record))
        return groups

    def write(
        self,
        step: int,
        groups: Sequence[Group],
        advantages_PG: Sequence[Sequence[float]],
        flags_PG: Sequence[Sequence[dict[str, str]]],
    ) -> None:
        """Add a step's replies, each with what the monitors see in it."""
        for g, (group, row, seen) in enumerate(zip(groups, advantages_PG, flags_PG, strict=True)):
            for trajectory, advantage, flagged in zip(group, row, seen, strict=True):
                record = {"step": step, "group": g, "advantage": advantage, **trajectory_to_json(trajectory)}
                if flagged:
                    record["flags"] = flagged
                self._log.append(record)
                # They are in the file; a long run would fill memory with them.
                self._log.records.clear()

    def close(self) -> None:
        """Close the file."""
        self._log.close()
