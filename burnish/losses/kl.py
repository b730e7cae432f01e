"""Estimators of KL(policy || reference), in nats, from tokens that the policy sampled (J. Schulman, "Approximating KL
divergence", 2020; joschu.net/blog/kl-approx.html, with r = pi_ref/pi, so -log r = logp - ref).

Under samples of the policy k1 and k3 have KL as their expected value, k2 nearly. As terms of a loss, where only the sampled
token's log-probability is differentiated, they teach different things: the gradient of k1 has expectation 0, that of k2 is
the gradient of KL(policy || reference), that of k3 is the gradient of KL(reference || policy). Put k1 into the reward or k2
into the loss for the exact gradient; k3 in the loss is what GRPO published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from torch import Tensor

# Past this log-ratio k3 stays at its value there (about e^20) and has no gradient: one token must not become inf.
MAX_LOG_RATIO = 20.0


def k1(logp: Tensor, ref: Tensor) -> Tensor:
    """Log pi/pi_ref: unbiased, of either sign, high variance."""
    return logp - ref


def k2(logp: Tensor, ref: Tensor) -> Tensor:
    """(log pi/pi_ref)^2 / 2: never negative, slightly biased in value."""
    return (logp - ref).square() / 2


def k3(logp: Tensor, ref: Tensor) -> Tensor:
    """R - 1 - log r with r = pi_ref/pi: unbiased, never negative, low variance while the policies are close."""
    log_r = (ref - logp).clamp(max=MAX_LOG_RATIO)
    return log_r.expm1() - log_r


# By the names that recipes write.
ESTIMATORS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {"k1": k1, "k2": k2, "k3": k3}
