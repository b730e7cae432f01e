"""Every loss beside its plain formula, and one optimizer step of each: `check_one_step` is what the suite rests on.

To add a loss: one line in CASES, with the batch it wants and its formula in reference.py.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import reference as plain
import torch
from reference import Data
from torch import Tensor

from burnish.losses.batch import (
    Batch,
    PairBatch,
    RatedBatch,
    RolloutBatch,
    ScoredPairBatch,
    Sequences,
    TokenBatch,
    ValueBatch,
)
from burnish.losses.dpo import APO, DPO, IPO
from burnish.losses.kto import KTO
from burnish.losses.policy import (
    GRPO,
    KL,
    Clip,
    PolicyLoss,
    Reinforce,
    SequenceRatio,
    TokenMean,
    Truncated,
    cispo,
    dr_grpo,
    gspo,
    ppo,
    rloo,
)
from burnish.losses.reference_free import ORPO, SimPO
from burnish.losses.reward import BradleyTerry
from burnish.losses.sft import SFTLoss
from burnish.losses.value import ValueLoss
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.pipeline.machine import Machine
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW

# An epsilon far above rounding: Adam's first step divides each gradient by its own size, noise included.
LR, CLIP, DECAY, EPS = 1e-2, 0.5, 0.1, 1e-3
KL_TERMS: dict[str, tuple[Any, Any]] = {
    "k1": ("k1", "own"), "k2": ("k2", "own"), "k3 with k2's gradient": ("k3", "k2"), "weighted k1": ("k1", "weighted"),
}  # fmt: skip
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


class ValueModel(RewardModel):
    """A number for every counted token, read before it is seen."""

    def outputs(self, sequences: Sequences, temperature: float) -> Tensor:
        """[B, T] values, 0 off the mask."""
        states_KD = self.policy.states(sequences, sequences.mask_BT.roll(-1, 1))
        weight = self.model.score.weight
        out_BT = torch.zeros(sequences.mask_BT.shape, dtype=weight.dtype)
        return out_BT.masked_scatter(sequences.mask_BT, (states_KD @ weight.T)[:, 0])


@dataclass(frozen=True)
class Case:
    """A loss, the batch it takes, and its formula over what `head` makes of the plain model."""

    loss: Any
    batch: Callable[[Data], Any]
    formula: Callable[[Tensor, Data], Tensor]
    head: str = "log-probs"
    temperature: float = 1.0

    @property
    def pairs(self) -> bool:
        """Whether units are pairs of rows."""
        return self.batch in (pair_batch, scored_batch)


def sequences(data: Data) -> Sequences:
    return Sequences(data["tokens"], data["lengths"], data["mask"])


def token_batch(data: Data) -> TokenBatch:
    return TokenBatch(sequences(data))


def pair_batch(data: Data) -> PairBatch:
    return PairBatch(sequences(data), (data["reference"] * data["mask"]).sum(1))


def scored_batch(data: Data) -> ScoredPairBatch:
    return ScoredPairBatch(sequences(data), data["margin"])


def rated_batch(data: Data) -> RatedBatch:
    return RatedBatch(sequences(data), data["good"], (data["reference"] * data["mask"]).sum(1), data["z0"])


def rollout_batch(data: Data) -> RolloutBatch:
    mask = data["mask"]
    return RolloutBatch(
        sequences(data), data["old"] * mask, data["reference"] * mask, data["advantages"] * mask
    )  # fmt: skip


def weighted_batch(data: Data) -> RolloutBatch:
    return dataclasses.replace(rollout_batch(data), weight_BT=data["weight"])


def value_batch(data: Data) -> ValueBatch:
    return ValueBatch(sequences(data), data["old_values"] * data["mask"], data["returns"] * data["mask"])


def _pairs(loss: Any, formula: Callable[..., Tensor], *, mean: bool, reference: bool = True) -> Case:
    return Case(loss, pair_batch, lambda x, d: plain.pairs(x, d, formula, mean=mean, reference=reference))


def _policy(loss: Any, *, kl: tuple[float, str] | None = None, weighted: bool = False, **formula: Any) -> Case:
    def plainly(x: Tensor, d: Data) -> Tensor:
        found = plain.policy_gradient(x, d, weighted=weighted, **formula)
        return plain.with_kl(x, d, found, *kl) if kl else found

    return Case(loss, weighted_batch if weighted else rollout_batch, plainly)


CASES: dict[str, Case] = {
    "sft, mean over tokens": Case(SFTLoss("mean"), token_batch, lambda x, d: plain.imitation(x, d, "token")),
    "sft, sum over tokens": Case(SFTLoss("sum"), token_batch, lambda x, d: plain.imitation(x, d, "row")),
    "dpo": _pairs(DPO(0.1, length_normalized=False), plain.dpo(0.1), mean=False),
    "dpo, length-normalised": _pairs(DPO(), plain.dpo(5.0), mean=True),
    "dpo, label smoothing": _pairs(DPO(0.5, False, 0.2), plain.dpo(0.5, 0.2), mean=False),
    "dpo, robust": _pairs(DPO(0.1, False, 0.1, unbiased=True), plain.dpo(0.1, 0.1, robust=True), mean=False),
    "ipo": _pairs(IPO(0.2), plain.ipo(0.2), mean=True),
    "apo zero": _pairs(APO(0.1), plain.apo(0.1, "zero"), mean=False),
    "apo down": _pairs(APO(0.1, "down"), plain.apo(0.1, "down"), mean=False),
    "simpo": _pairs(SimPO(2.0, 0.6), plain.simpo(2.0, 0.6), mean=True, reference=False),
    "orpo": _pairs(ORPO(0.3), plain.orpo(0.3), mean=True, reference=False),
    "kto": Case(KTO(0.1, 1.3, 0.9), rated_batch, lambda x, d: plain.kto(x, d, 0.1, 1.3, 0.9)),
    "bradley-terry": Case(BradleyTerry(), scored_batch, plain.bradley_terry, "scores"),
    "bradley-terry, margin and centre": Case(
        BradleyTerry(True, 0.05), scored_batch, lambda x, d: plain.bradley_terry(x, d, True, 0.05), "scores"
    ),
    "grpo": Case(GRPO(), rollout_batch, lambda x, d: plain.grpo(x, d, 0.2, 0.2, 0.04, "row")),
    "grpo, mean over tokens, clip higher": Case(
        GRPO(0.2, 0.28, 0.0, "token"), rollout_batch, lambda x, d: plain.grpo(x, d, 0.2, 0.28, 0.0, "token")
    ),
    "grpo, constant length": Case(
        GRPO(kl_coef=0.1, constant_length=12), rollout_batch, lambda x, d: plain.grpo(x, d, 0.2, 0.2, 0.1, "row", 12)
    ),
    "grpo, temperature 0.7": Case(
        GRPO(), rollout_batch, lambda x, d: plain.grpo(x, d, 0.2, 0.2, 0.04, "row"), temperature=0.7
    ),
    "grpo, dual clip": _policy(PolicyLoss(surrogate=Clip(0.1, 0.1, 1.3)), per="mean", low=0.1, high=0.1, dual=1.3),
    "dr. grpo": _policy(dr_grpo(12), per="constant", length=12),
    "gspo": _policy(PolicyLoss(SequenceRatio(), Clip(0.05, 0.1)), per="mean", ratio="gspo", low=0.05, high=0.1),
    "gspo, the paper's band": _policy(gspo(), per="mean", ratio="gspo", low=3e-4, high=4e-4),
    "gspo-token": _policy(
        PolicyLoss(SequenceRatio(per_token=True), Clip(0.05, 0.1), TokenMean()),
        per="token",
        ratio="gspo-token",
        low=0.05,
        high=0.1,
    ),
    "cispo": _policy(cispo(0.2), per="token", low=1.0, high=0.2, factor="truncated"),
    "cispo, both bounds": _policy(
        PolicyLoss(surrogate=Truncated(0.1, 0.3)), per="mean", low=0.1, high=0.3, factor="truncated"
    ),
    "rloo": _policy(rloo(), per="sum", factor="none"),
    "reinforce, mean over tokens": _policy(
        PolicyLoss(surrogate=Reinforce(), per=TokenMean()), per="token", factor="none"
    ),
    "ppo, importance weights": _policy(ppo(), weighted=True, per="token"),
    "rloo, importance weights": _policy(rloo(), weighted=True, per="sum", factor="none"),
    **{
        f"ppo, {kind}": _policy(PolicyLoss(per=TokenMean(), kl=KL(0.3, *how)), kl=(0.3, kind), per="token")
        for kind, how in KL_TERMS.items()
    },
    "value": Case(ValueLoss(0.2), value_batch, lambda x, d: plain.value(x, d, 0.2), "values"),
    "value, not clipped": Case(ValueLoss(None), value_batch, lambda x, d: plain.value(x, d, None), "values"),
}


def ragged(
    case: Case, lengths: Sequence[int], silent: Sequence[int], seed: int, vocabulary: int, padding: int = 0
) -> Data:
    """Rows of these lengths with random tokens and numbers; the rows in `silent` have nothing to train.

    Reward models score whole rows, so they have none of those.
    """
    g = torch.Generator().manual_seed(seed)
    lengths_B = torch.tensor(lengths)
    rows, width = len(lengths), max(lengths) + padding
    at = torch.arange(width)
    tokens = torch.randint(3, vocabulary, (rows, width), generator=g) * (at < lengths_B[:, None])
    mask = (at > 0) & (at < lengths_B[:, None]) & (torch.rand(rows, width, generator=g) < 0.7)
    mask[torch.arange(rows), lengths_B - 1] = True
    if case.head != "scores":
        mask[list(silent)] = False

    def near(centre: float, spread: float) -> Tensor:
        return centre + spread * torch.randn(rows, width, generator=g, dtype=torch.float64)

    return {
        "tokens": tokens, "lengths": lengths_B, "mask": mask, "reference": near(-6.0, 0.3), "old": near(-6.0, 0.3),
        "advantages": near(0, 1)[:, :1].expand(rows, width), "returns": near(0, 1), "old_values": near(0, 0.3),
        "weight": near(1, 0.3).clamp(0.2, 2.0), "margin": near(1, 0.3)[: rows // 2, 0], "good": torch.rand(rows, generator=g) < 0.5,
        "z0": torch.full((rows,), 0.2, dtype=torch.float64),
    }  # fmt: skip


class Models:
    """The same start twice: as Burnish's learner and as the plain model; both go back to it before every step."""

    def __init__(self, folder: Path) -> None:
        self._policy = Policy.load(folder, Machine(), trainable=True)
        self._plain = plain.load(folder)
        self._start = copy.deepcopy(self._policy.model.state_dict())
        # Opened here, not at the start: a learner keeps the types that its weights had.
        self.vocabulary = int(self._plain.config.get_text_config().vocab_size)

    def learner(self, case: Case, dtype: torch.dtype) -> Learner:
        """A learner at the start; reward and value models with the same head each time."""
        policy = Policy(copy.deepcopy(self._policy.model), self._policy.renderer, self._policy.machine).to(dtype)
        trained: Any = policy
        if case.head != "log-probs":
            trained = (RewardModel if case.head == "scores" else ValueModel).start(policy, seed=0).to(dtype)
        return Learner(trained, Machine(), AdamW(eps=EPS, weight_decay=DECAY), clip_norm=CLIP)

    def plain(self, case: Case, data: Data) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss by its formula, and the plain model's weights by name."""
        model = self._plain
        model.load_state_dict(self._start)
        if case.head == "log-probs":
            return case.formula(plain.logprobs(model, data, case.temperature), data), dict(model.named_parameters())
        head = RewardModel.start(self._policy, seed=0).model.score.weight.detach().double().requires_grad_()
        numbers = (plain.states(model, data) @ head.T)[:, :, 0]
        if case.head == "scores":
            last = (data["mask"] * torch.arange(numbers.shape[1])).amax(1)
            numbers = numbers[torch.arange(len(last)), last]
        else:
            numbers = torch.nn.functional.pad(numbers[:, :-1], (1, 0))
        body = {f"{model.base_model_prefix}.{n}": w for n, w in model.base_model.named_parameters()}
        return case.formula(numbers, data), body | {"score.weight": head}


def check_one_step(
    models: Models, case: Case, data: Data, parts: Sequence[Sequence[int]], dtype: torch.dtype = torch.float64
) -> None:
    """Raise AssertionError unless the learner's loss, gradients, norm and weights after a step are those of the plain step, and
    its metrics those of one whole batch.

    parts: the units (rows, or pairs) of each micro-batch.
    """
    near = TOLERANCE[dtype]
    value, weights = models.plain(case, data)
    norm, gradients = plain.step(weights, value, lr=LR, clip=CLIP, decay=DECAY, eps=EPS)
    learner = models.learner(case, dtype)
    whole: Batch = case.batch(data)
    batches = [whole.take(torch.tensor(part)) for part in parts]
    found = learner.forward_backward(batches, case.loss, temperature=case.temperature)
    logged = models.learner(case, dtype).forward_backward([whole], case.loss, temperature=case.temperature)
    assert found.keys() == logged.keys()
    for metric, number in logged.items():
        _same(f"metric {metric}", _wide(found[metric]), _wide(number), near)
    own = dict(learner.policy.model.named_parameters())
    _same("loss", _wide(found["loss"]), value.detach(), near)
    for name, expected in gradients.items():
        grad = own[name].grad
        assert grad is not None, f"{name} has no gradient"
        _same(f"gradient of {name}", grad, expected, near)
    _same("norm of the gradient", _wide(learner.step(LR)), _wide(norm), near * 10)
    assert own.keys() >= weights.keys()
    for name, expected in weights.items():
        _same(f"{name} after the step", own[name].detach(), expected.detach(), near)


def _wide(number: float) -> Tensor:
    return torch.tensor(number, dtype=torch.float64)


def _same(what: str, found: Tensor, expected: Tensor, near: float) -> None:
    gap = float((found.double() - expected.double()).abs().max()) if found.numel() else 0.0
    assert gap <= near * max(1.0, float(expected.abs().max())), f"{what} is {gap:.3g} off"
