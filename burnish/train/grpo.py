"""Reinforcement learning from verifiable rewards by the GRPO family: groups of replies, each judged against the others.

GRPO (arXiv:2402.03300; Tülu 3, arXiv:2411.15124 §6) and its kin differ in the loss (burnish.losses.policy) and in the advantage
(burnish.train.advantages).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from burnish.core.fingerprint import later
from burnish.core.rng import stream
from burnish.errors import RecipeError
from burnish.losses.batch import RolloutBatch
from burnish.losses.policy import GRPO, PolicyLoss
from burnish.train.advantages import Advantage, GroupRelative, KLInReward, PassAtK, Whitened, judge
from burnish.train.correction import Correction
from burnish.train.groups import Taken
from burnish.train.moving_reference import Reference, RefreshEvery
from burnish.train.on_policy import Algorithm, Learned, OnPolicy, Sitting
from burnish.train.rows import check_numbers
from burnish.train.samples import Sample, engine_gap, graded_samples, micro_batches, rollout_batch, with_logprobs
from burnish.train.session import Beside


@dataclass(frozen=True)
class RL(OnPolicy):
    """Trains `start` on its own graded replies to `problems`, a reply being judged against the others of its group or step.

    loss:              GRPO(…), dapo(), gspo(), cispo(), rloo() … or any PolicyLoss(…) (burnish.losses.policy).
    advantage:         GroupRelative(std=…), LeaveOneOut() or Whitened() (burnish.train.advantages).
    updates_per_step:  optimizer steps on disjoint parts of a step's groups.
    kl_in_reward:      KLInReward(coef): KL to the reference as a part of the reward, beside or in place of a term of the loss.
    refresh_reference: RefreshEvery(steps, mix): the reference follows the policy; None: it is `start` as it came.
    correction:        Truncate(cap, level) or Refuse(gap): what to do where engine and learner differ; None: it is only logged.
    mask_cut:          leave replies that max_tokens cut out of the loss (DAPO's overlong filtering, arXiv:2503.14476 §3.4); they
                       still count in the mean of their group.

    All else is as in OnPolicy.
    """

    VERSION: ClassVar[int] = 2
    MADE_OF: ClassVar[tuple[str, ...]] = (
        *OnPolicy.MADE_OF, "advantage", "updates_per_step", "kl_in_reward", "refresh_reference", "correction", "mask_cut"
    )  # fmt: skip

    loss: PolicyLoss = field(default_factory=GRPO)
    advantage: Advantage = field(default_factory=GroupRelative)
    updates_per_step: int = 1
    kl_in_reward: KLInReward | None = later(default=None)
    refresh_reference: RefreshEvery | None = later(default=None)
    correction: Correction | None = later(default=None)
    mask_cut: bool = later(default=False)

    @property
    def name(self) -> str:
        """Always "rl"."""
        return "rl"

    def headline(self) -> dict[str, Any]:
        """Steps, replies a step, learning rate, KL weight and longest reply."""
        shared = super().headline()
        longest = shared.pop("max_tokens")
        return shared | {"kl_coef": self.loss.kl_coef, "max_tokens": longest}

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for values that cannot work together."""
        check_numbers(self.name, updates_per_step=self.updates_per_step)
        super().check(data)
        kl = self.kl_in_reward
        if kl is not None and kl.per == "token" and self.advantage != Whitened():
            raise RecipeError(
                f"rl: {kl} gives each token a reward of its own, and {self.advantage} compares whole replies.\n"
                '  Use advantage=Whitened(), or KLInReward(per="reply").'
            )
        if isinstance(self.advantage, PassAtK):
            self._check_pass_at_k(self.advantage)
        if self.refresh_reference is not None and not self.needs_reference:
            raise RecipeError(
                f"rl: refresh_reference={self.refresh_reference}, but nothing here looks at a reference.\n"
                "  Give the loss a KL term (GRPO(kl_coef=0.01)) or set kl_in_reward, or leave refresh_reference out."
            )

    def _check_pass_at_k(self, advantage: PassAtK) -> None:
        if advantage.k > self.group_size:
            raise RecipeError(
                f"rl: PassAtK(k={advantage.k}) looks at sets of {advantage.k} replies, and group_size={self.group_size} has none.\n"
                f"  Give k from 1 to {self.group_size}, or a larger group_size."
            )
        if self.kl_in_reward is not None:
            raise RecipeError(
                f"rl: with {advantage} a reply passes by its reward, and {self.kl_in_reward} takes something off every reward, so "
                "the noise of the KL would decide which replies pass.\n"
                "  Put the KL into the loss: loss=GRPO(kl_coef=…), and leave kl_in_reward out."
            )

    @property
    def needs_reference(self) -> bool:
        """Whether the loss or the reward has a KL term."""
        return bool(self.loss.kl_coef) or self.kl_in_reward is not None

    def algorithm(self, sitting: Sitting) -> Algorithm:
        """Policy-gradient updates on the groups that teach something."""
        return PolicyGradient(self, sitting)


class PolicyGradient:
    """What RL does with a step's groups."""

    def __init__(self, stage: RL, sitting: Sitting) -> None:
        self._stage, self._policy, self._learner = stage, sitting.policy, sitting.learner
        self._reference: Reference | None = None
        self.beside: dict[str, Beside] = {}
        if stage.needs_reference:
            self._reference = Reference(sitting.policy, stage.start, sitting.ctx, stage.refresh_reference)
            if stage.refresh_reference is not None:
                self.beside["reference"] = self._reference

    def learn(self, step: int, taken: Taken, lr: float) -> Learned:
        """The step's updates on disjoint parts of its groups; the metrics are means over all of them."""
        stage, kl, correction = self._stage, self._stage.kl_in_reward, self._stage.correction
        recorded = taken.recorded and not (correction is not None and correction.WEIGHS)
        # The learner's log-probs of before the step: in its first update the differentiated pass gives them.
        own = not recorded and stage.updates_per_step > 1
        found: dict[str, float] = {}
        graded = graded_samples(taken.groups, stage.reward)
        if kl is not None:
            graded = self._with_logprobs(graded, own=not recorded)
            found["kl_reward"] = kl.coef * sum(float(kl.of(sample).sum()) for sample in graded) / max(len(graded), 1)
        judged = judge(taken.groups, graded, reward=stage.reward, advantage=stage.advantage, kl=kl)
        kept = [sample for sample in judged.samples if not (stage.mask_cut and sample.cut)]
        if kl is None:
            kept = self._with_logprobs(kept, own=own)
        if own:
            found["engine_gap"] = self._checked(engine_gap(kept), step)
        parts = self._minibatches(step, kept)
        loss = stage.loss if own else FirstPass(stage.loss, correction, recorded=recorded)
        found = self._update(step, parts, lr, loss, own=own) | found
        if self._reference is not None:
            self._reference.after(step)
        return Learned(judged.advantages_PG, judged.informative if parts else 0, len(parts), found)

    def finish(self, out: Path) -> None:
        """The model is all that is left."""

    def _update(
        self, step: int, parts: Sequence[Sequence[Sample]], lr: float, loss: PolicyLoss | FirstPass, *, own: bool
    ) -> dict[str, float]:
        """An optimizer step on each part; returns means over all of them and the largest gradient norm."""
        stage, learner = self._stage, self._learner
        totals = {"loss": 0.0, "clip_fraction": 0.0}
        count = norm = 0.0
        for number, part in enumerate(parts):
            micro = [[part[i] for i in batch] for batch in micro_batches(part, learner.machine.micro_tokens)]
            found = learner.forward_backward(
                [rollout_batch(rows, own=own, correction=stage.correction) for rows in micro],
                loss,
                names=[[sample.trajectory.problem.id for sample in rows] for rows in micro],
                temperature=stage.sampling.temperature,
            )
            if number == 0 and not own:
                self._checked(found["engine_gap"], step)
            norm = max(norm, learner.step(lr))
            weight = found.pop("count")
            count += weight
            for name, value in found.items():
                totals[name] = totals.get(name, 0.0) + value * weight
        return {"grad_norm": norm} | {name: value / max(count, 1.0) for name, value in totals.items()}

    def _checked(self, gap: float, step: int) -> float:
        """The gap between engine and learner. Raises TrainingError where the recipe refuses it."""
        if self._stage.correction is not None:
            self._stage.correction.check(gap, step)
        return gap

    def _with_logprobs(self, kept: Sequence[Sample], *, own: bool) -> list[Sample]:
        """The samples with the reference's log-probs where one is needed, and with the learner's of before the step if `own`."""
        learner, temperature = self._learner, self._stage.sampling.temperature
        tokens, passes, kept = learner.machine.micro_tokens, 0, list(kept)
        if self._reference is not None:
            passes += 1
            with self._reference.active():
                kept = with_logprobs(kept, self._reference.policy, "ref", tokens, temperature)
        if own:
            passes += 1
            kept = with_logprobs(kept, self._policy, "old", tokens, temperature)
        if learner.work is not None:
            replies = sum(sample.trajectory.completion.length for sample in kept)
            learner.flops += passes * learner.work.forward([sample.tokens for sample in kept], replies)
        return kept

    def _minibatches(self, step: int, kept: Sequence[Sample]) -> list[list[Sample]]:
        """The samples in updates_per_step parts, whole groups in each."""
        groups = sorted({sample.group for sample in kept})
        stream(self._stage.seed, "rl minibatches", step).shuffle(groups)
        n = self._stage.updates_per_step
        parts = [set(groups[i::n]) for i in range(n)]
        return [[sample for sample in kept if sample.group in part] for part in parts if part]


@dataclass(frozen=True, slots=True)
class FirstPass:
    """A loss over batches whose old log-probs are the engine's, in the pass that tells the learner's own as well.

    recorded: False: the learner's own take the place of the old ones, so that every ratio is 1, and the tokens are weighted by
              the correction. True: the replies are of other weights, and the ratio is to those.
    Shapes: B sequences, T positions.
    """

    loss: PolicyLoss
    correction: Correction | None = None
    recorded: bool = False

    def count(self, batch: RolloutBatch) -> Tensor:
        """The loss's own count."""
        return self.loss.count(batch)

    def total(self, logp_BT: Tensor, batch: RolloutBatch) -> Tensor:
        """The loss's own total; the gradient goes through the policy only."""
        return self.loss.total(logp_BT, self._seen(logp_BT.detach(), batch))

    def metrics(self, logp_BT: Tensor, batch: RolloutBatch) -> dict[str, Tensor]:
        """The loss's own metrics, and `engine_gap`: mean |log-prob of the engine - log-prob of the learner|, nats a token."""
        gap_BT = (logp_BT.detach() - batch.old_BT).abs()
        found = self.loss.metrics(logp_BT, self._seen(logp_BT.detach(), batch))
        return found | {"engine_gap": self.loss.sum_units(gap_BT, batch.sequences.mask_BT)}

    def _seen(self, own_BT: Tensor, batch: RolloutBatch) -> RolloutBatch:
        if self.recorded:
            return batch
        weight_BT = None
        if self.correction is not None:
            weight_BT = self.correction.weights(own_BT, batch.old_BT, batch.sequences.mask_BT)
        return replace(batch, old_BT=own_BT, weight_BT=weight_BT)
