"""From graded replies to what the learner sees. Shapes: B sequences, T positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from burnish.core.types import Finish, Trajectory
from burnish.errors import TrainingError
from burnish.losses.batch import RolloutBatch
from burnish.model.policy import Policy
from burnish.text.render import Rendered
from burnish.train.correction import Correction
from burnish.train.rollouts import Group, Reward
from burnish.train.rows import split, spread, stack


@dataclass(frozen=True, slots=True)
class Sample:
    """A reply to learn from: its group's number, its own number in it, its advantage, and log-probs of its sampled tokens.

    ref, old: under the reference, and under the learner when the step began; () while they are not known.
    by_token: the advantage of each sampled token, where they differ; otherwise ().
    """

    trajectory: Trajectory
    group: int
    advantage: float = 0.0
    ref: tuple[float, ...] = ()
    old: tuple[float, ...] = ()
    k: int = 0
    by_token: tuple[float, ...] = ()

    @property
    def row(self) -> Rendered:
        """Prompt and reply exactly as the engine saw and sampled them; only what the policy sampled is trained."""
        prompt, completion = self.trajectory.prompt_ids, self.trajectory.completion
        return Rendered(prompt + completion.token_ids, (False,) * len(prompt) + completion.mask)

    @property
    def tokens(self) -> int:
        """Prompt and reply."""
        return len(self.trajectory.prompt_ids) + len(self.trajectory.completion.token_ids)

    @property
    def cut(self) -> bool:
        """Whether max_tokens cut the reply."""
        return self.trajectory.completion.finish is Finish.LENGTH

    @property
    def engine(self) -> tuple[float, ...]:
        """The log-probs of the sampled tokens as the engine gave them."""
        return self.trajectory.completion.sampled_logprobs


def graded_samples(groups: Sequence[Group], reward: Reward) -> list[Sample]:
    """The replies that have a reward and a token of the policy, in order."""
    return [
        Sample(trajectory, g, k=k)
        for g, group in enumerate(groups)
        for k, trajectory in enumerate(group)
        if reward.of(trajectory) is not None and trajectory.completion.length
    ]


def rollout_batch(part: Sequence[Sample], *, own: bool = False, correction: Correction | None = None) -> RolloutBatch:
    """Samples as tensors.

    own:        old_BT holds the learner's log-probs of before the step; without it, the engine's.
    correction: with `own`, weighs each token by the ratio of the two, where it does.
    """
    sequences = stack([sample.row for sample in part])
    engine_BT = spread([sample.engine for sample in part], sequences)
    old_BT = spread([sample.old for sample in part], sequences) if own else engine_BT
    ref_BT = spread([sample.ref for sample in part], sequences) if all(sample.ref for sample in part) else None
    adv_BT = spread([s.by_token or [s.advantage] * s.trajectory.completion.length for s in part], sequences)
    weight_BT = correction.weights(old_BT, engine_BT, sequences.mask_BT) if correction and own else None
    return RolloutBatch(sequences, old_BT, ref_BT, adv_BT, weight_BT)


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
    """The samples with a policy's log-probs of their sampled tokens in `field`; no gradient.

    Raises TrainingError, naming the row, for a log-prob that is not finite.
    """
    found = list(kept)
    for part in micro_batches(kept, micro_tokens):
        sequences = stack([kept[i].row for i in part])
        with torch.no_grad():
            logp_BT = policy.logprobs(sequences, temperature).cpu()
        for b, i in enumerate(part):
            logprobs = tuple(logp_BT[b, sequences.mask_BT[b]].tolist())
            if not all(map(math.isfinite, logprobs)):
                raise TrainingError(_not_finite(kept[i], field, logprobs))
            found[i] = replace(kept[i], ref=logprobs) if field == "ref" else replace(kept[i], old=logprobs)
    return found


def _not_finite(sample: Sample, field: str, logprobs: Sequence[float]) -> str:
    whose = "the reference's" if field == "ref" else "the learner's"
    value = next(value for value in logprobs if not math.isfinite(value))
    problem = sample.trajectory.problem
    return (
        f"{whose} log-prob of a token of a reply to the problem {problem.id} (source {problem.source or 'unknown'}) is {value}, so "
        "the run stopped before the weights were touched.\n"
        "  The last checkpoint is kept. Lower the learning rate or look at that row (burnish trace ROW_ID), then run again."
    )


def engine_gap(kept: Sequence[Sample]) -> float:
    """The mean over replies of the mean |log-prob of the engine - log-prob of the learner|, in nats a token."""
    gaps = [
        math.fsum(abs(a - b) for a, b in zip(sample.old, sample.engine, strict=True)) / max(len(sample.old), 1)
        for sample in kept
    ]
    return math.fsum(gaps) / len(gaps) if gaps else 0.0
