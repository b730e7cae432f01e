"""Reinforcement learning from verifiable rewards by PPO with a value model, as Tülu 3 did (arXiv:2411.15124 §6.2, table 21).

A token's advantage is what it brought beyond what the value model expected (burnish.train.values), so a reply needs no group to
be judged against. The policy and the value model learn several epochs from each step's replies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.core.rng import stream
from burnish.core.types import Message, Messages, Trajectory
from burnish.errors import ArtifactError, ModelError, RecipeError
from burnish.losses.policy import PolicyLoss, ppo
from burnish.losses.value import ValueLoss
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel, ValueModel
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.engine import Sampling
from burnish.train.advantages import KLInReward
from burnish.train.correction import Correction
from burnish.train.epochs import Epochs
from burnish.train.groups import Taken
from burnish.train.learner import Learner
from burnish.train.moving_reference import Reference
from burnish.train.on_policy import Algorithm, Learned, OnPolicy, Sitting
from burnish.train.optimizer import AdamW, Optimizer
from burnish.train.rollouts import Reward
from burnish.train.rows import check_numbers, stack
from burnish.train.samples import Sample, engine_gap, graded_samples, micro_batches
from burnish.train.schedule import Linear, Schedule
from burnish.train.session import Beside
from burnish.train.teacher import vocabulary
from burnish.train.values import GAE, Credit, Observed, credit, outputs

VALUE = "value"  # the value model's folder beside `model`


@dataclass(frozen=True)
class PPO(OnPolicy):
    """Trains `start` and a value model on the replies of `start` to `problems`; the reference of the KL is `start` as it came.

    value:               what the value model starts from: a reward model (Tülu 3's choice), or another PPO stage, whose value model
                         goes on; None: a fresh head on `start`, which the paper found worse.
    value_loss:          how it learns; the clip is in units of the score.
    value_lr:            its learning rate; None: the policy's.
    value_optimizer:     its optimizer; None: the policy's settings. It has a state of its own either way.
    loss:                the policy's loss; its mean is over the minibatch.
    gae:                 from rewards and values to advantages.
    kl_in_reward:        what straying from the reference costs each token; None: nothing.
    scale:               what a right answer is worth; it multiplies all of `reward`, -1 for a missing end too.
    reward_model:        a reward model whose score is added to the verifier's reward; None: verifiers alone (the paper's choice,
                         the sum was noisier). A reply whose end is missing gets no score of it where `reward` has a penalty.
    reward_model_weight: what its scores are multiplied by.
    epochs:              passes over a step's replies.
    minibatches:         optimizer steps of both models in each pass, each on its own part of the replies; every pass draws new ones.
    correction:          Truncate(…) or Refuse(…): what happens where the engine's log-probs differ (burnish.train.correction).

    The defaults are Tülu 3's for 8B: 100,000 replies in steps of 224, one a problem. All else is as in OnPolicy.
    """

    VERSION = 1
    LEAST_GROUP = 1
    MADE_OF = (
        *OnPolicy.MADE_OF, "value_lr", "value_optimizer", "value_loss", "loss", "gae", "kl_in_reward", "scale",
        "reward_model_weight", "epochs", "minibatches", "correction",
    )  # fmt: skip

    steps: int = 446
    problems_per_step: int = 224
    group_size: int = 1
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048))
    lr: Schedule = field(default_factory=lambda: Linear(3e-7, warmup=0.0))
    reward: Reward = field(default_factory=lambda: Reward(missing_end=-1.0))
    optimizer: Optimizer = field(default_factory=lambda: AdamW(eps=1e-5))
    value: Stage | None = None
    value_loss: ValueLoss = field(default_factory=lambda: ValueLoss(0.2, coef=0.1))
    value_lr: Schedule | None = None
    value_optimizer: Optimizer | None = None
    loss: PolicyLoss = field(default_factory=ppo)
    gae: GAE = field(default_factory=GAE)
    kl_in_reward: KLInReward | None = field(default_factory=lambda: KLInReward(0.05, "k1", per="token"))
    scale: float = 10.0
    reward_model: Stage | None = None
    reward_model_weight: float = 1.0
    epochs: int = 4
    minibatches: int = 1
    correction: Correction | None = None

    @property
    def name(self) -> str:
        """Always "ppo"."""
        return "ppo"

    def headline(self) -> dict[str, Any]:
        """Steps, replies a step, learning rate, longest reply, KL weight, epochs and minibatches."""
        beta = self.kl_in_reward.coef if self.kl_in_reward else 0.0
        return super().headline() | {"kl_coef": beta, "epochs": self.epochs, "minibatches": self.minibatches}

    def check(self, data: Path | None) -> None:
        """Raise RecipeError for numbers that cannot work, and for a stage that makes no reward model where one is wanted."""
        check_numbers(self.name, epochs=self.epochs, minibatches=self.minibatches)
        super().check(data)
        replies = self.problems_per_step * self.group_size
        if self.minibatches > replies:
            raise RecipeError(
                f"ppo: minibatches={self.minibatches}, but a step has {replies} replies ({self.problems_per_step} problems x "
                f"{self.group_size}), so some updates would have none.\n  Give {replies} or fewer; Tülu 3 has 1."
            )
        if not 0 < self.scale < float("inf"):
            raise RecipeError(f"ppo: scale={self.scale}: a right answer has to be worth something; Tülu 3 has 10.")
        self._check_choices()
        self._check_scores("value", self.value, "value=None starts the value model from the policy, with a fresh head.")
        self._check_scores("reward_model", self.reward_model, "reward_model=None grades by verifiers alone.")

    def _check_choices(self) -> None:
        if self.kl_in_reward is not None and self.kl_in_reward.per != "token":
            raise RecipeError(
                f"ppo: {self.kl_in_reward} takes the KL off a whole reply, and a value model learns what each token costs.\n"
                f'  Write KLInReward({self.kl_in_reward.coef:g}, per="token").'
            )
        if self.refill is not None and self.group_size < 2:
            raise RecipeError(
                f"ppo: {self.refill} asks for groups whose replies differ in reward, and group_size={self.group_size} has none.\n"
                "  Leave refill out: a value model judges single replies. Or give group_size=2 or more."
            )
        if self.gae.bootstrap and self.reward.missing_end is not None:
            raise RecipeError(
                f"ppo: GAE(bootstrap=True) goes on from where max_tokens cut a reply, and Reward(missing_end={self.reward.missing_end}) "
                "says that the cut was its end: both cannot be.\n  Write reward=Reward(), or GAE(bootstrap=False) as in Tülu 3."
            )

    def _check_scores(self, role: str, stage: Stage | None, otherwise: str) -> None:
        """Raise RecipeError for a stage that is known to make something else than a model of one number."""
        if stage is None or stage.MAKES == "" or (role == "value" and isinstance(stage, PPO)):
            return
        trains_policy = isinstance(stage, OnPolicy) or (isinstance(stage, Epochs) and not stage.SCORES)
        if stage.MAKES != "model" or trains_policy:
            raise RecipeError(
                f"ppo: {role} is the stage {stage.name} ({type(stage).__name__}), which makes no reward model.\n"
                f"  Give a RewardModeling(…) stage. {otherwise}"
            )

    def algorithm(self, sitting: Sitting) -> Algorithm:
        """Updates of the policy and of its value model."""
        ctx = sitting.ctx
        model = self._value_model(ctx)
        _same_tokens(model, sitting.policy)
        critic = Critic(model, ctx.machine, self.value_optimizer or self.optimizer, self.clip_norm)
        needed = self.kl_in_reward is not None or self.loss.kl_coef > 0
        reference = Reference(sitting.policy, self.start, ctx, None) if needed else None
        scorer = None
        if self.reward_model is not None:
            scorer = RewardModel.load(ctx.path_of(self.reward_model) / "model", ctx.machine)
            _fits(scorer, sitting.policy, "reward_model")
        return ActorCritic(self, sitting.learner, critic, reference, scorer)

    def _value_model(self, ctx: Context) -> ValueModel:
        if self.value is None:
            body = Policy.load(ctx.path_of(self.start) / "model", ctx.machine, trainable=True)
            return ValueModel.start(body, seed=self.seed)
        folder = ctx.path_of(self.value)
        own = folder / VALUE
        return ValueModel.load(own if own.exists() else folder / "model", ctx.machine, trainable=True)


class Critic(Learner):
    """The learner of a value model, whose checkpoint stands beside the policy's."""

    def load(self, folder: Path) -> dict[str, Any]:
        """Go back to a checkpoint. Raises ArtifactError where there is none: the policy would go on with a value model of before."""
        found = super().load(folder)
        if found is None:
            raise ArtifactError(
                f"The checkpoint has no {folder.name} beside it, so the value model of this run is lost.\n"
                "  Delete the stage's folder and run again: this stage starts over."
            )
        return found


class ActorCritic:
    """What PPO does with a step's groups: credit every token, then update the policy and its value model.

    learner, critic: of the policy and of the value model. reference: None where no KL is asked for. scorer: the reward model
    whose scores are added, if any.
    """

    def __init__(
        self, stage: PPO, learner: Learner, critic: Learner, reference: Reference | None, scorer: RewardModel | None = None
    ) -> None:  # fmt: skip
        self._stage, self._learner, self._critic, self._reference, self._scorer = (
            stage,
            learner,
            critic,
            reference,
            scorer,
        )
        self.beside: dict[str, Beside] = {VALUE: critic}

    def learn(self, step: int, taken: Taken, lr: float) -> Learned:
        """The step's updates; the metrics are means over all of them, but those of the step before them (Credit.metrics)."""
        worth = [[0.0] * len(group) for group in taken.groups]
        kept = graded_samples(taken.groups, self._stage.reward)
        if not kept:
            return Learned(worth, 0, 0, {"loss": 0.0, "value_loss": 0.0})
        flops, update_s = self._critic.flops, self._critic.update_s
        score_B = self._scores(kept)
        passes = self._passes(step, kept)
        correction = self._stage.correction
        observed, gap = self._observed(
            step, kept, [part for parts in passes[0] for part in parts],
            recorded=taken.recorded and not (correction is not None and correction.WEIGHS),
        )  # fmt: skip
        kl = self._stage.kl_in_reward
        found = credit(
            observed, score_B, self._stage.gae, kl_coef=kl.coef if kl else 0.0, estimator=kl.estimate if kl else "k1"
        )  # fmt: skip
        numbers = {**self._updates(step, found, kept, passes, lr), **found.metrics(), "engine_gap": gap}
        self._learner.flops += self._critic.flops - flops
        self._learner.update_s += self._critic.update_s - update_s
        for i, sample in enumerate(kept):
            worth[sample.group][sample.k] = found.advantage_of(i)
        informative = len(taken.groups) if len(set(score_B.tolist())) > 1 else 0
        return Learned(worth, informative, sum(len(parts) for parts in passes), numbers)

    def finish(self, out: Path) -> None:
        """The value model, in a folder of its own."""
        self._critic.policy.save(out / VALUE)

    def _scores(self, kept: Sequence[Sample]) -> Tensor:
        """[B] what each reply is worth as a whole; 0 for one that is not over."""
        stage = self._stage
        rewards = [0.0 if stage.gae.bootstrap and s.cut else stage.reward.of(s.trajectory) or 0.0 for s in kept]
        score_B = stage.scale * torch.tensor(rewards, dtype=torch.float64)
        return score_B if self._scorer is None else score_B + self._added(self._scorer, kept)

    def _added(self, scorer: RewardModel, kept: Sequence[Sample]) -> Tensor:
        """[B] the reward model's scores times their weight; 0 for replies that end in a penalty or are not over."""
        stage = self._stage
        scored = stage.reward.missing_end is None and not stage.gae.bootstrap
        asked = [i for i, sample in enumerate(kept) if scored or not sample.cut]
        found_B = torch.zeros(len(kept), dtype=torch.float64)
        for i, score in zip(asked, scorer.rewards([_conversation(kept[i].trajectory) for i in asked]), strict=True):
            if score is None:
                raise ModelError(
                    f"ppo: a reply to the problem {kept[i].trajectory.problem.id} is longer than the {scorer.context} tokens that the "
                    "reward model reads.\n  Lower Sampling(max_tokens=…), or give another reward_model."
                )
            found_B[i] = score
        return stage.reward_model_weight * found_B

    def _passes(self, step: int, kept: Sequence[Sample]) -> list[list[list[list[int]]]]:
        """Of each epoch its minibatches, of each of those its micro-batches, of each of those the replies' numbers.

        Replies of a group stand together where they fall into one minibatch: their prompt is computed once.
        """
        stage, found = self._stage, []
        for epoch in range(stage.epochs):
            order = list(range(len(kept)))
            stream(stage.seed, "ppo minibatches", step, epoch).shuffle(order)
            n = min(stage.minibatches, len(kept))
            found.append([self._micro(sorted(order[i::n]), kept) for i in range(n)])
        return found

    def _micro(self, part: Sequence[int], kept: Sequence[Sample]) -> list[list[int]]:
        batches = micro_batches([kept[i] for i in part], self._learner.machine.micro_tokens)
        return [[part[i] for i in batch] for batch in batches]

    def _observed(
        self, step: int, kept: Sequence[Sample], parts: Sequence[Sequence[int]], *, recorded: bool
    ) -> tuple[Observed, float]:  # fmt: skip
        """What the models say of each token before the step, and how far the engine's log-probs are from the learner's. Raises
        TrainingError for a number that is not finite.

        parts: the first epoch's micro-batches, so that its ratios are 1 to the bit. recorded: the old log-probs are those that
        the replies came with.
        """
        stage, rows, temperature = self._stage, [sample.row for sample in kept], self._stage.sampling.temperature
        names = [sample.trajectory.problem.id for sample in kept]
        old_BK, mask_BK = outputs(self._learner.policy, rows, parts, temperature, names)
        engine_BK = torch.zeros_like(old_BK).masked_scatter(
            mask_BK, torch.tensor([x for sample in kept for x in sample.engine], dtype=old_BK.dtype)
        )
        gap, weight_BK = _gap(kept, old_BK), None
        if stage.correction is not None:
            stage.correction.check(gap, step)
            weight_BK = stage.correction.weights(old_BK, engine_BK, mask_BK)
        if recorded:
            old_BK = engine_BK
        ref_BK = None
        if self._reference is not None:
            with self._reference.active():
                ref_BK, _ = outputs(self._reference.policy, rows, parts, temperature, names)
        values_BK, _ = outputs(self._critic.policy, rows, parts, temperature, names)
        if self._learner.work is not None:
            work = self._learner.work.forward([sample.tokens for sample in kept], int(mask_BK.sum()))
            self._learner.flops += (2 + (ref_BK is not None)) * work
        after_B = self._after(kept, parts, values_BK)
        return Observed(rows, mask_BK, old_BK, ref_BK, values_BK, after_B, weight_BK), gap

    @torch.no_grad()
    def _after(self, kept: Sequence[Sample], parts: Sequence[Sequence[int]], like: Tensor) -> Tensor:
        """[B] the value of the state after the last token, for replies that go on behind a cut; 0 for those that are over."""
        after_B = torch.zeros(len(kept), dtype=like.dtype)
        model = self._critic.policy
        if not self._stage.gae.bootstrap or not isinstance(model, ValueModel):
            return after_B
        for part in parts:
            cut = [i for i in part if kept[i].cut]
            if cut:
                # A reward model reads where a reply ends: the state after its last token.
                after_B[cut] = model.scores(stack([kept[i].row for i in cut])).to(after_B)
        return after_B

    def _updates(
        self, step: int, found: Credit, kept: Sequence[Sample], passes: Sequence[Sequence[Sequence[Sequence[int]]]], lr: float
    ) -> dict[str, float]:  # fmt: skip
        """One optimizer step of both models a minibatch; means over all of them, and what the first one showed."""
        stage, means = self._stage, Means()
        value_lr = lr if stage.value_lr is None else stage.value_lr.lr(step, stage.steps)
        first: dict[str, float] = {}
        for parts in (minibatch for epoch in passes for minibatch in epoch):
            names = [[kept[i].trajectory.problem.id for i in part] for part in parts]
            told = self._critic.forward_backward([found.value_batch(p) for p in parts], stage.value_loss, names=names)
            shown = {name: told[name] for name in ("value_error", "value_clip_fraction")} | {"value_loss": told["loss"]}
            means.add(shown, told["count"])
            means.highest("value_grad_norm", self._critic.step(value_lr))
            told = self._learner.forward_backward(
                [found.policy_batch(p) for p in parts], stage.loss, names=names, temperature=stage.sampling.temperature
            )
            first = first or {"first_ratio": told["ratio"], "first_old_kl": told["old_kl"]}
            means.add(told, told.pop("count"))
            means.highest("grad_norm", self._learner.step(lr))
        return {**means.all(), **first, "value_lr": value_lr}


class Means:
    """Numbers of several updates: weighted means, and highest values."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._weights: dict[str, float] = {}
        self._highest: dict[str, float] = {}

    def add(self, found: dict[str, float], weight: float) -> None:
        """Numbers that are means over `weight` units."""
        for name, value in found.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * weight
            self._weights[name] = self._weights.get(name, 0.0) + weight

    def highest(self, name: str, value: float) -> None:
        """A number of which the highest is kept."""
        self._highest[name] = max(value, self._highest.get(name, value))

    def all(self) -> dict[str, float]:
        """By name."""
        return {name: total / max(self._weights[name], 1e-12) for name, total in self._sums.items()} | self._highest


def _gap(kept: Sequence[Sample], old_BK: Tensor) -> float:
    """How far the engine's log-probs are from the learner's, nats a token."""
    rows = zip(kept, old_BK.tolist(), strict=True)
    return engine_gap([replace(sample, old=tuple(row[: len(sample.engine)])) for sample, row in rows])


def _conversation(trajectory: Trajectory) -> tuple[Messages, str]:
    """The messages before the last turn of the model, and that turn."""
    before = tuple(Message(turn.role, turn.text) for turn in trajectory.completion.turns[:-1])
    return trajectory.problem.prompt + before, trajectory.completion.text


def _same_tokens(model: ValueModel, policy: Policy) -> None:
    """Raise ModelError for a value model to which a token id means something else, or that reads less than the policy."""
    if vocabulary(model.renderer)["sha256"] != vocabulary(policy.renderer)["sha256"]:
        raise ModelError(
            "ppo: value and start have different vocabularies, so the tokens that the policy samples mean something else to the "
            "value model.\n  Give a reward model that was trained from the same base, or value=None."
        )
    _fits(model, policy, "value")


def _fits(model: RewardModel, policy: Policy, role: str) -> None:
    """Raise ModelError for a model that reads less than the policy writes."""
    if model.context < policy.context:
        raise ModelError(
            f"ppo: the model of {role} reads {model.context} tokens and the policy up to {policy.context}.\n"
            "  Give one made for sequences at least as long."
        )
