"""Online DPO: preference tuning on pairs of the policy's own replies of the moment (arXiv:2402.04792), graded by verifiers.

Tülu 3's preference stage samples its pairs once, before training (burnish.rollout.prefer); here every step samples anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch

from burnish.errors import RecipeError
from burnish.losses.batch import PairBatch
from burnish.losses.dpo import DPO
from burnish.losses.pairs import PairLoss
from burnish.model.sharing import computed_tokens
from burnish.train.groups import Taken
from burnish.train.moving_reference import Reference
from burnish.train.on_policy import Algorithm, Learned, OnPolicy, Sitting
from burnish.train.rollouts import Group, Reward
from burnish.train.rows import split, stack
from burnish.train.samples import Sample, with_logprobs
from burnish.train.session import Beside


@dataclass(frozen=True)
class OnlineDPO(OnPolicy):
    """Trains `start`, which is the reference too where the loss has one, on pairs of its own graded replies to `problems`.

    A group gives one pair: the reply with the highest reward against the one with the lowest, the first of equals; groups
    whose graded replies are all worth the same give none. One optimizer step a step, over its pairs.

    loss: DPO, IPO, APO (burnish.losses.dpo), SimPO, ORPO (burnish.losses.reference_free). Log-probs are those of the
          distribution that sampled: at sampling.temperature.

    All else is as in OnPolicy.
    """

    VERSION: ClassVar[int] = 1

    loss: PairLoss = field(default_factory=lambda: DPO(beta=0.1, length_normalized=False))

    @property
    def name(self) -> str:
        """Always "online-dpo"."""
        return "online-dpo"

    def headline(self) -> dict[str, Any]:
        """The shared settings and beta."""
        return super().headline() | {"beta": self.loss.beta}

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for settings that cannot work."""
        super().check(data)
        if self.environments:
            raise RecipeError(
                f"{self.name}: environments={sorted(self.environments)}: two conversations with a tool part where the tool answers "
                "differently, and a pair is two replies to one prompt.\n  Use RL(…) for problems with environments."
            )

    def algorithm(self, sitting: Sitting) -> Algorithm:
        """Preference updates on the best and the worst reply of each group."""
        return PairsOfGroups(self, sitting)


class PairsOfGroups:
    """What OnlineDPO does with a step's groups."""

    def __init__(self, stage: OnlineDPO, sitting: Sitting) -> None:
        self._stage, self._learner = stage, sitting.learner
        self._reference = Reference(sitting.policy, stage.start, sitting.ctx, None) if stage.loss.REFERENCE else None
        self.beside: Mapping[str, Beside] = {}

    def learn(self, step: int, taken: Taken, lr: float) -> Learned:
        """One update on the step's pairs; in rollouts.jsonl a chosen reply has the advantage 1, a rejected one -1."""
        stage, learner = self._stage, self._learner
        chosen = [best_and_worst(group, stage.reward) for group in taken.groups]
        marks_PG = [
            [float(pair is not None and k == pair[0]) - float(pair is not None and k == pair[1]) for k in range(len(group))]
            for group, pair in zip(taken.groups, chosen, strict=True)
        ]  # fmt: skip
        both = [
            Sample(taken.groups[g][k], g)
            for g, pair in enumerate(chosen) if pair is not None
            for k in pair
        ]  # fmt: skip
        if not both:
            return Learned(marks_PG, 0, 0, {"loss": 0.0, "grad_norm": 0.0})
        pairs = self._with_reference(both)
        costs = [computed_tokens([sample.row.token_ids for sample in pair]) for pair in pairs]
        parts = split(list(range(len(pairs))), costs, learner.machine.micro_tokens)
        found = learner.forward_backward(
            [pair_batch([pairs[i] for i in part]) for part in parts],
            stage.loss,
            names=[[pairs[i][0].trajectory.problem.id for i in part] for part in parts],
            temperature=stage.sampling.temperature,
        )
        norm = learner.step(lr)
        found.pop("count")
        return Learned(marks_PG, len(pairs), 1, {"grad_norm": norm, **found})

    def finish(self, out: Path) -> None:
        """The model is all that is left."""

    def _with_reference(self, both: Sequence[Sample]) -> list[tuple[Sample, Sample]]:
        """Neighbours as pairs, with the reference's log-probs where the loss reads them."""
        learner, kept = self._learner, list(both)
        if self._reference is not None:
            with self._reference.active():
                kept = with_logprobs(
                    kept, self._reference.policy, "ref", learner.machine.micro_tokens, self._stage.sampling.temperature
                )
            if learner.work is not None:
                replies = sum(sample.trajectory.completion.length for sample in kept)
                learner.flops += learner.work.forward([sample.tokens for sample in kept], replies)
        return list(zip(kept[::2], kept[1::2], strict=True))


def best_and_worst(group: Group, reward: Reward) -> tuple[int, int] | None:
    """(reply with the highest reward, reply with the lowest), the first of equals; None where no two graded replies differ."""
    worth = {k: reward.of(trajectory) for k, trajectory in enumerate(group) if trajectory.completion.length}
    known = [(value, k) for k, value in worth.items() if value is not None]
    if not known:
        return None
    best, worst = max(known, key=lambda each: (each[0], -each[1])), min(known)
    return (best[1], worst[1]) if best[0] > worst[0] else None


def pair_batch(pairs: Sequence[tuple[Sample, Sample]]) -> PairBatch:
    """Pairs as tensors: the chosen rows, then the rejected ones, as they were sampled."""
    rows = [chosen for chosen, _ in pairs] + [rejected for _, rejected in pairs]
    return PairBatch(stack([sample.row for sample in rows]), torch.tensor([sum(sample.ref) for sample in rows]))
