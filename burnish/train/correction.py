"""What to do about the gap between the engine that sampled and the learner that is trained: the same weights, other arithmetic.

Tokens were drawn from the engine's distribution mu, and their gradient is taken as if they had been drawn from the learner's
pi. Each token's part of the gradient can be multiplied by pi / mu, bounded above (truncated importance sampling: IMPALA,
arXiv:1802.01561 eq. 1; for this gap F. Yao et al., "Your efficient RL framework secretly brings you off-policy RL training",
2025), or the run can stop.
With replies that older weights sampled, mu is theirs, and the same weight corrects for the age too.

Shapes: B sequences, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from burnish.errors import RecipeError, TrainingError
from burnish.losses.kl import MAX_LOG_RATIO


class Correction(Protocol):
    """A frozen dataclass that says what happens where engine and learner differ.

    WEIGHS: whether it gives weights. Then the old log-probs of the loss are always the learner's own of before the step, and the
            weight covers all that lies between them and the sampler: arithmetic and, with staleness or a replay, age (the
            decoupled objective, arXiv:2110.00641).
    """

    WEIGHS: ClassVar[bool]

    def weights(self, own_BT: Tensor, engine_BT: Tensor, mask_BT: Tensor) -> Tensor | None:
        """[B, T] what each token's part of the gradient is multiplied by, from the two policies' log-probs (nats); None: 1."""

    def check(self, gap: float, step: int) -> None:
        """Raise TrainingError where training should not go on. gap: mean |difference|, nats a token. step: counted from 0."""


@dataclass(frozen=True, slots=True)
class Truncate:
    """min(pi / mu, cap).

    level: "token": the ratio of each token's own probabilities. "sequence": that of the whole reply's, the product over its
           tokens, for all of them: unbiased up to the cap, and of high variance for long replies.
    """

    cap: float = 2.0
    level: Literal["token", "sequence"] = "token"
    VERSION: ClassVar[int] = 1
    WEIGHS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.level not in ("token", "sequence"):
            raise RecipeError(f'Truncate(level={self.level!r}): write "token" or "sequence".')
        if not 1 <= self.cap < float("inf"):
            raise RecipeError(
                f"Truncate(cap={self.cap}): a cap below 1 would shrink tokens on which engine and learner agree.\n"
                "  Give a cap from 1 up; 2.0 is usual."
            )

    def weights(self, own_BT: Tensor, engine_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """0 < weight <= cap on the mask, 1 where the two agree."""
        log_BT = (own_BT.detach() - engine_BT).masked_fill(~mask_BT, 0.0)
        if self.level == "sequence":
            log_BT = log_BT.sum(1, keepdim=True).expand_as(log_BT)
        return log_BT.clamp(max=MAX_LOG_RATIO).exp().clamp(max=self.cap)

    def check(self, gap: float, step: int) -> None:
        """Any gap is corrected for."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Stop, before the weights are touched, at a step whose mean |log pi - log mu| a token is above `gap` nats.

    float32 on one machine is below 1e-4; bf16 engines are usually below 0.05. A gap far above says that the engine has other
    weights, or another template or temperature, than the learner; with staleness or a replay it has older ones on purpose.
    """

    gap: float = 0.1
    VERSION: ClassVar[int] = 1
    WEIGHS: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.gap > 0:
            raise RecipeError(f"Refuse(gap={self.gap}): rounding alone is above 0.\n  Give nats a token, e.g. 0.1.")

    def weights(self, own_BT: Tensor, engine_BT: Tensor, mask_BT: Tensor) -> None:
        """None."""

    def check(self, gap: float, step: int) -> None:
        """Raise TrainingError for a gap above the limit."""
        if gap > self.gap:
            raise TrainingError(
                f"Step {step + 1}: the engine's log-probs differ from the learner's by {gap:.3g} nats a token on average, and "
                f"correction=Refuse(gap={self.gap:g}) allows no more, so the run stopped before the weights were touched.\n"
                "  The last checkpoint is kept. Does the engine hold the learner's weights, in a type that is wide enough? "
                "correction=Truncate() trains on, each token weighted by the ratio."
            )
