"""Policy-gradient losses of the PPO family, made of four choices: ratio x surrogate x aggregation x KL.

    loss of a token = weight * surrogate(ratio, advantage) + coef * KL estimate,   put together by `per`

- ratio:     of which probabilities: a token's (TokenRatio) or a whole reply's (SequenceRatio).
- surrogate: what is made of it: Clip (PPO, GRPO), Truncated (CISPO), Reinforce (no ratio at all).
- per:       how tokens become one number: TokenMean, ReplyMean, ReplySum, ConstantLength.
- kl:        KL(…) to the reference in the loss, or None.

`GRPO`, `dr_grpo`, `dapo`, `gspo`, `cispo`, `rloo`, `reinforce_pp` and `ppo` give the papers' combinations. Where policy and
sampler are the same and a reply's tokens share one advantage, every surrogate has REINFORCE's gradient, - A grad log p, put
together by `per`.

Shapes: B sequences, T positions. Off the mask all tensors here hold 0, and values there count for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.kl import ESTIMATORS, MAX_LOG_RATIO, k1, k3

if TYPE_CHECKING:
    from burnish.losses.batch import RolloutBatch

Unit = Literal["sequence", "token"]


class Ratio(Protocol):
    """pi / pi_old, one number a token."""

    def of(self, logp_BT: Tensor, old_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """[B, T], 1 where the two policies agree; finite whatever the log-probs."""


class Surrogate(Protocol):
    """What replaces the expected advantage, as a loss to be minimised.

    RATIO: whether it reads the ratio.
    """

    RATIO: ClassVar[bool]

    def loss(self, logp_BT: Tensor, ratio_BT: Tensor, adv_BT: Tensor) -> Tensor:
        """[B, T]."""

    def clipped(self, ratio_BT: Tensor, adv_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Bool [B, T] twice: where a ratio too high, and one too low, costs a token gradient."""


class Per(Protocol):
    """How the losses of tokens become a sum over units.

    UNIT: what is counted: sampled tokens, or replies that have any.
    """

    UNIT: ClassVar[Unit]

    def total(self, loss_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """A scalar; loss_BT holds 0 off the mask."""


# Ratios -----------------------------------------------------------------------------------------------------------------


def importance_ratio(logp_BT: Tensor, old_BT: Tensor) -> Tensor:
    """pi(token) / pi_old(token); past e^20 it stays there and has no gradient, so that no token becomes inf."""
    return (logp_BT - old_BT).clamp(max=MAX_LOG_RATIO).exp()


@dataclass(frozen=True, slots=True)
class TokenRatio:
    """pi(token) / pi_old(token): PPO (arXiv:1707.06347 eq. 6), GRPO, DAPO, CISPO."""

    VERSION: ClassVar[int] = 1

    def of(self, logp_BT: Tensor, old_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Each token's own."""
        return importance_ratio(logp_BT, old_BT)


@dataclass(frozen=True, slots=True)
class SequenceRatio:
    """s = (pi(reply) / pi_old(reply)) ^ (1 / length), the same for all tokens of a reply (GSPO, arXiv:2507.18071 eq. 7).

    length_normalized: False leaves the exponent out: the true ratio of the reply's two probabilities, which with ReplyMean() has
                       the gradient of REINFORCE with ReplySum() (TRL's RLOO). For short replies only: a product over hundreds of
                       tokens is 0 or huge.
    per_token: GSPO-token (eq. 14): s as a number, its gradient through each token's own log-prob. The value is the same; so is
               the gradient, summed over a reply with length normalisation, as long as its tokens share one advantage. With
               advantages of their own, tokens keep them apart only here.
    """

    length_normalized: bool = True
    per_token: bool = False
    VERSION: ClassVar[int] = 1

    def of(self, logp_BT: Tensor, old_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The reply's, at each of its tokens."""
        log_B1 = (logp_BT - old_BT).sum(1, keepdim=True)
        if self.length_normalized:
            log_B1 = log_B1 / mask_BT.sum(1, keepdim=True).clamp(min=1)
        log_BT = log_B1.expand_as(logp_BT)
        if self.per_token:
            log_BT = log_BT.detach() + (logp_BT - logp_BT.detach())
        return log_BT.clamp(max=MAX_LOG_RATIO).exp()


# Surrogates -------------------------------------------------------------------------------------------------------------


def clipped_objective(ratio_BT: Tensor, adv_BT: Tensor, low: float, high: float) -> Tensor:
    """min(r A, clip(r, 1 - low, 1 + high) A), to be maximised (PPO, arXiv:1707.06347 eq. 7)."""
    return torch.minimum(ratio_BT * adv_BT, ratio_BT.clamp(1 - low, 1 + high) * adv_BT)


def _check_band(of: str, **sides: float) -> None:
    """Raise RecipeError for a clip that leaves no ratio its gradient; sides are low and high by the user's names."""
    (low_name, low), (high_name, high) = sides.items()
    if not 0 < low <= 1 or not high > 0:
        raise RecipeError(
            f"{of}({low_name}={low}, {high_name}={high}): {low_name} must be in (0, 1], {high_name} above 0, or every ratio but 1 "
            "is cut off."
        )


@dataclass(frozen=True, slots=True)
class Clip:
    """- min(r A, clip(r, 1 - low, 1 + high) A) (PPO, arXiv:1707.06347 eq. 7); high above low is DAPO's clip-higher.

    dual: the c of dual-clip PPO (arXiv:1912.09729 eq. 5), above 1: where A < 0 the objective is at least c A, so a token that
          became far likelier than when it was sampled cannot dominate a step. verl has 3 by default; TRL's delta. None: off.
    """

    low: float = 0.2
    high: float = 0.2
    dual: float | None = None
    VERSION: ClassVar[int] = 1
    RATIO: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_band("Clip", low=self.low, high=self.high)
        if self.dual is not None and not self.dual > 1 + self.high:
            raise RecipeError(
                f"Clip(high={self.high}, dual={self.dual}): dual must be above 1 + high = {1 + self.high:g}, or it would undo the "
                "clip.\n  3.0 is usual; None switches it off."
            )

    def loss(self, logp_BT: Tensor, ratio_BT: Tensor, adv_BT: Tensor) -> Tensor:
        """The negative objective."""
        objective_BT = clipped_objective(ratio_BT, adv_BT, self.low, self.high)
        if self.dual is not None:
            objective_BT = torch.where(adv_BT < 0, torch.maximum(objective_BT, self.dual * adv_BT), objective_BT)
        return -objective_BT

    def clipped(self, ratio_BT: Tensor, adv_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Where the gradient is gone: A > 0 above the band, or A < 0 past the dual clip; A < 0 below the band."""
        high_BT = (adv_BT > 0) & (ratio_BT > 1 + self.high)
        if self.dual is not None:
            high_BT = high_BT | ((adv_BT < 0) & (ratio_BT > self.dual))
        return high_BT, (adv_BT < 0) & (ratio_BT < 1 - self.low)


@dataclass(frozen=True, slots=True)
class Truncated:
    """- sg[clip(r, 1 - low, 1 + high)] A log p: no token loses its gradient, its weight is bounded (CISPO, arXiv:2506.13585
    eq. 4, 5).

    low=1 sets no lower bound, as in the paper. TRL gives the upper bound itself: its epsilon_high=5 is high=4.
    """

    low: float = 1.0
    high: float = 4.0
    VERSION: ClassVar[int] = 1
    RATIO: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.low <= 1 or not self.high >= 0:
            raise RecipeError(
                f"Truncated(low={self.low}, high={self.high}): low must be in [0, 1], high not below 0: weights are held between "
                "1 - low and 1 + high."
            )

    def loss(self, logp_BT: Tensor, ratio_BT: Tensor, adv_BT: Tensor) -> Tensor:
        """Its value says little, its gradient is that of the policy."""
        return -ratio_BT.detach().clamp(1 - self.low, 1 + self.high) * adv_BT * logp_BT

    def clipped(self, ratio_BT: Tensor, adv_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Where the weight was brought down, or up."""
        used_BT = adv_BT != 0
        return used_BT & (ratio_BT > 1 + self.high), used_BT & (ratio_BT < 1 - self.low)


@dataclass(frozen=True, slots=True)
class Reinforce:
    """- A log p, without a ratio (Williams 1992; RLOO, arXiv:2402.14740 eq. 6): for one update a batch of replies."""

    VERSION: ClassVar[int] = 1
    RATIO: ClassVar[bool] = False

    def loss(self, logp_BT: Tensor, ratio_BT: Tensor, adv_BT: Tensor) -> Tensor:
        """Its value says little, its gradient is that of the expected reward."""
        return -adv_BT * logp_BT

    def clipped(self, ratio_BT: Tensor, adv_BT: Tensor) -> tuple[Tensor, Tensor]:
        """Nowhere."""
        none_BT = torch.zeros_like(ratio_BT, dtype=torch.bool)
        return none_BT, none_BT


# Aggregation ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenMean:
    """The mean over all tokens of the optimizer step: long replies weigh more (DAPO, arXiv:2503.14476 eq. 8; PPO)."""

    VERSION: ClassVar[int] = 1
    UNIT: ClassVar[Unit] = "token"

    def total(self, loss_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The sum over tokens."""
        return loss_BT.sum()


@dataclass(frozen=True, slots=True)
class ReplyMean:
    """The mean over replies of each reply's mean over its tokens (GRPO, arXiv:2402.03300 eq. 3): the tokens of long replies
    weigh less.
    """

    VERSION: ClassVar[int] = 1
    UNIT: ClassVar[Unit] = "sequence"

    def total(self, loss_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The sum over replies of their means."""
        return (loss_BT.sum(1) / mask_BT.sum(1).clamp(min=1)).sum()


@dataclass(frozen=True, slots=True)
class ReplySum:
    """The mean over replies of each reply's sum over its tokens: the log-prob of the reply as one action (REINFORCE and RLOO,
    arXiv:2402.14740 eq. 6).
    """

    VERSION: ClassVar[int] = 1
    UNIT: ClassVar[Unit] = "sequence"

    def total(self, loss_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The sum over replies of their sums."""
        return loss_BT.sum()


@dataclass(frozen=True, slots=True)
class ConstantLength:
    """The mean over replies of each reply's sum divided by `tokens`, whatever its length: ReplySum at another learning rate
    (Dr. GRPO, arXiv:2503.20783 §3.2: the most tokens a reply may have).
    """

    tokens: int
    VERSION: ClassVar[int] = 1
    UNIT: ClassVar[Unit] = "sequence"

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise RecipeError(
                f"ConstantLength({self.tokens}): needs a length of at least 1, usually that of Sampling(max_tokens=…)."
            )

    def total(self, loss_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The sum over replies of their sums / tokens."""
        return loss_BT.sum() / self.tokens


# KL ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KL:
    """coef * an estimate of KL(policy || reference) at each token, in the loss (burnish.losses.kl).

    estimate: "k1", "k2" or "k3". What its value estimates is not what its gradient teaches:
    gradient: "own":      the estimate is differentiated as it stands. k1 then teaches nothing (its expected gradient is 0), k2
                          the gradient of KL(policy || reference), k3 that of KL(reference || policy), which is GRPO's choice.
              "k2":       the value of `estimate`, the gradient of k2, which is right (straight-through; verl's "k3+").
              "weighted": pi / pi_old times the estimate, the ratio differentiated too. With k1 and k3 value and gradient are
                          those of KL(policy || reference), for tokens of an older policy as well (DeepSeek V3.2, arXiv:2512.02556
                          §3.1; TRL's use_bias_correction_kl).
    """

    coef: float = 0.04
    estimate: Literal["k1", "k2", "k3"] = "k3"
    gradient: Literal["own", "k2", "weighted"] = "own"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.coef > 0:
            raise RecipeError(
                f"KL(coef={self.coef}): must be above 0, or the policy is pushed off its reference. kl=None leaves the term out."
            )
        if self.estimate not in ESTIMATORS:
            raise RecipeError(f'KL(estimate={self.estimate!r}): write "k1", "k2" or "k3".')
        if self.gradient not in ("own", "k2", "weighted"):
            raise RecipeError(f'KL(gradient={self.gradient!r}): write "own", "k2" or "weighted".')

    def loss(self, logp_BT: Tensor, ref_BT: Tensor, old_BT: Tensor) -> Tensor:
        """[B, T], nats times coef."""
        found_BT = ESTIMATORS[self.estimate](logp_BT, ref_BT)
        if self.gradient == "k2":
            taught_BT = ESTIMATORS["k2"](logp_BT, ref_BT)
            found_BT = found_BT.detach() + (taught_BT - taught_BT.detach())
        elif self.gradient == "weighted":
            found_BT = importance_ratio(logp_BT, old_BT) * found_BT
        return self.coef * found_BT


# The loss ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyLoss:
    """A policy-gradient loss over sampled tokens; a reply without any counts as nothing.

    With RolloutBatch.weight_BT (how much likelier a token was under pi_old than under the engine that sampled it, bounded) the
    surrogate of each token is multiplied by it, the KL term is not.
    """

    ratio: Ratio = TokenRatio()
    surrogate: Surrogate = Clip()
    per: Per = ReplyMean()
    kl: KL | None = None
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.surrogate.RATIO and self.ratio != TokenRatio():
            raise RecipeError(
                f"PolicyLoss(ratio={self.ratio}, surrogate={self.surrogate}): this surrogate reads no ratio, so the choice "
                "would have no effect.\n  Leave ratio out, or use Clip() or Truncated()."
            )

    @property
    def unit(self) -> Unit:
        """What the mean is over."""
        return self.per.UNIT

    @property
    def kl_coef(self) -> float:
        """Of the KL term; 0 where there is none, and then no reference is needed."""
        return self.kl.coef if self.kl else 0.0

    def count(self, batch: RolloutBatch) -> Tensor:
        """Replies that have trained tokens, or those tokens."""
        mask_BT = batch.sequences.mask_BT
        return mask_BT.any(1).sum() if self.unit == "sequence" else mask_BT.sum()

    def total(self, logp_BT: Tensor, batch: RolloutBatch) -> Tensor:
        """The loss summed over replies or tokens. Raises RecipeError where a KL term has no reference to go by."""
        mask_BT = batch.sequences.mask_BT
        logp_BT, old_BT, adv_BT = (_masked(x, mask_BT) for x in (logp_BT, batch.old_BT, batch.adv_BT))
        loss_BT = self.surrogate.loss(logp_BT, self.ratio.of(logp_BT, old_BT, mask_BT), adv_BT)
        if batch.weight_BT is not None:
            loss_BT = _masked(batch.weight_BT.detach(), mask_BT) * loss_BT
        if self.kl is not None:
            if batch.ref_BT is None:
                raise RecipeError(f"{self.kl} needs the reference's log-probs, and the batch has none (ref_BT=None).")
            loss_BT = loss_BT + self.kl.loss(logp_BT, _masked(batch.ref_BT, mask_BT), old_BT)
        return self.per.total(loss_BT, mask_BT)

    def metrics(self, logp_BT: Tensor, batch: RolloutBatch) -> dict[str, Tensor]:
        """Means over tokens, summed over units (`sum_units`).

        ratio; clip_fraction, the share of tokens that the clip takes gradient from, and clip_fraction_high, clip_fraction_low,
        its two sides; entropy: - log p of the sampled tokens, nats, an estimate of the policy's entropy while the ratio is near
        1; old_kl from the sampling policy (k3, nats); with a reference kl (k3) and kl_k1, nats.
        """
        mask_BT = batch.sequences.mask_BT
        logp_BT, old_BT, adv_BT = (_masked(x, mask_BT) for x in (logp_BT.detach(), batch.old_BT, batch.adv_BT))
        ratio_BT = self.ratio.of(logp_BT, old_BT, mask_BT)
        high_BT, low_BT = self.surrogate.clipped(ratio_BT, adv_BT)
        values = {
            "ratio": ratio_BT,
            "clip_fraction": (high_BT | low_BT).to(ratio_BT.dtype),
            "clip_fraction_high": high_BT.to(ratio_BT.dtype),
            "clip_fraction_low": low_BT.to(ratio_BT.dtype),
            "entropy": -logp_BT,
            "old_kl": k3(old_BT, logp_BT),
        }
        if batch.ref_BT is not None:
            ref_BT = _masked(batch.ref_BT, mask_BT)
            values |= {"kl": k3(logp_BT, ref_BT), "kl_k1": k1(logp_BT, ref_BT)}
        return {name: self.sum_units(value_BT, mask_BT) for name, value_BT in values.items()}

    def sum_units(self, value_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Numbers of tokens summed over the loss's units: over tokens, or over replies of each reply's mean."""
        per: Per = TokenMean() if self.unit == "token" else ReplyMean()
        return per.total(_masked(value_BT, mask_BT), mask_BT)


def _masked(value_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """With 0 off the mask, whatever lay there: junk times 0 would still be NaN."""
    return value_BT.masked_fill(~mask_BT, 0.0)


# The papers' combinations -----------------------------------------------------------------------------------------------


def GRPO(
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    kl_coef: float = 0.04,
    unit: Unit = "sequence",
    constant_length: int | None = None,
) -> PolicyLoss:
    """GRPO (arXiv:2402.03300 eq. 3, 4; beta 0.04 from §4.2): clipped token ratios, each reply's mean, k3 in the loss.

    kl_coef: 0 leaves the term and the reference out.
    unit: "token" is the mean over all tokens (DAPO); constant_length divides each reply's sum by this (Dr. GRPO).
    """
    if unit not in ("sequence", "token"):
        raise RecipeError(f'GRPO(unit={unit!r}): write "sequence" or "token".')
    _check_band("GRPO", clip_low=clip_low, clip_high=clip_high)
    if not kl_coef >= 0:
        raise RecipeError(f"GRPO(kl_coef={kl_coef}): must not be below 0, or the policy is pushed off its reference.")
    if constant_length is not None and (unit == "token" or constant_length < 1):
        raise RecipeError(
            f"GRPO(constant_length={constant_length}, unit={unit!r}): needs a length of at least 1, and goes with "
            'unit="sequence" only, because two rules for one sum contradict each other.'
        )
    per: Per = TokenMean() if unit == "token" else ReplyMean()
    if constant_length is not None:
        per = ConstantLength(constant_length)
    return PolicyLoss(TokenRatio(), Clip(clip_low, clip_high), per, KL(kl_coef) if kl_coef else None)


def dr_grpo(tokens: int) -> PolicyLoss:
    """Dr. GRPO (arXiv:2503.20783 §3.2): sums divided by one constant, no KL. Its advantages leave the deviation out.

    tokens: the most a reply may have, Sampling(max_tokens=…).
    """
    return PolicyLoss(TokenRatio(), Clip(0.2, 0.2), ConstantLength(tokens))


def dapo() -> PolicyLoss:
    """DAPO (arXiv:2503.14476 §3, §4.1): clip 0.2 below and 0.28 above, the mean over tokens, no KL."""
    return PolicyLoss(TokenRatio(), Clip(0.2, 0.28), TokenMean())


def gspo(*, per_token: bool = False) -> PolicyLoss:
    """GSPO (arXiv:2507.18071 eq. 5; §5.1: 3e-4 and 4e-4), or GSPO-token (eq. 13): whole replies are clipped; no KL."""
    return PolicyLoss(SequenceRatio(per_token=per_token), Clip(3e-4, 4e-4), ReplyMean())


def cispo(high: float = 4.0) -> PolicyLoss:
    """CISPO (arXiv:2506.13585 eq. 4): the mean over tokens, no lower bound, no KL.

    high: the paper tunes it and does not print it; a bound of 5, which is high=4, is arXiv:2510.13786's.
    """
    return PolicyLoss(TokenRatio(), Truncated(1.0, high), TokenMean())


def rloo() -> PolicyLoss:
    """RLOO (arXiv:2402.14740 eq. 8): a reply is one action, no clipping; its KL is in the reward, its advantages leave_one_out."""
    return PolicyLoss(TokenRatio(), Reinforce(), ReplySum())


def reinforce_pp(kl_coef: float = 0.0) -> PolicyLoss:
    """REINFORCE++ (arXiv:2501.03262): PPO's clip without a value model, the mean over tokens; its advantages are `whitened`.

    kl_coef: 0 where KL (k1) is in the reward, as without group baselines; the variant with them has k2 in the loss.
    """
    return PolicyLoss(TokenRatio(), Clip(0.2, 0.2), TokenMean(), KL(kl_coef, "k2") if kl_coef else None)


def ppo() -> PolicyLoss:
    """PPO (arXiv:1707.06347 eq. 7, epsilon 0.2) as in Tülu 3 (arXiv:2411.15124 table 21): the mean over tokens, KL in the reward."""
    return PolicyLoss(TokenRatio(), Clip(0.2, 0.2), TokenMean())
