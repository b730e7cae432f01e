"""Learning rates over a run. `lr(step, steps)`: the rate of optimizer step `step` (from 0) of `steps`.

The forms are those of transformers.optimization (get_linear_schedule_with_warmup and its siblings), in which the first
warm-up step has rate 0: published recipes were run with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

from burnish.errors import RecipeError


class Schedule(Protocol):
    """A frozen dataclass that says the learning rate of every step."""

    @property
    def peak(self) -> float:
        """The highest rate."""

    def lr(self, step: int, steps: int) -> float:
        """The rate of step `step`, counted from 0, in a run of `steps`."""


def _check(peak: float, warmup: float) -> None:
    if not peak >= 0.0 or math.isinf(peak):
        raise RecipeError(f"peak={peak}: a learning rate is a number from 0 up, e.g. 5e-6.")
    if not 0.0 <= warmup < 1.0:
        raise RecipeError(f"warmup={warmup}: the share of steps that warm up, from 0 to below 1, e.g. 0.03.")


def _warm(step: int, steps: int, warmup: float) -> tuple[float, float]:
    """(factor of the warm-up, share of the rest that is over)."""
    warm = math.ceil(steps * warmup)
    if step < warm:
        return step / warm, 0.0
    return 1.0, min((step - warm) / max(1, steps - warm), 1.0)


@dataclass(frozen=True, slots=True)
class Linear:
    """Up from 0 over the first `warmup` share of steps, then straight down to 0 at the end."""

    peak: float
    warmup: float = 0.03

    def __post_init__(self) -> None:
        _check(self.peak, self.warmup)

    def lr(self, step: int, steps: int) -> float:
        """The rate of step `step`, counted from 0, in a run of `steps`."""
        factor, over = _warm(step, steps, self.warmup)
        return self.peak * factor * (1.0 - over)


@dataclass(frozen=True, slots=True)
class Cosine:
    """Up from 0 over the first `warmup` share of steps, then down along half a cosine to `floor` times the peak."""

    peak: float
    warmup: float = 0.03
    floor: float = 0.0

    def __post_init__(self) -> None:
        _check(self.peak, self.warmup)

    def lr(self, step: int, steps: int) -> float:
        """The rate of step `step`, counted from 0, in a run of `steps`."""
        factor, over = _warm(step, steps, self.warmup)
        return self.peak * factor * (self.floor + (1.0 - self.floor) * 0.5 * (1.0 + math.cos(math.pi * over)))


@dataclass(frozen=True, slots=True)
class Constant:
    """Up from 0 over the first `warmup` share of steps, then the peak to the end."""

    peak: float
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _check(self.peak, self.warmup)

    def lr(self, step: int, steps: int) -> float:
        """The rate of step `step`, counted from 0, in a run of `steps`."""
        return self.peak * _warm(step, steps, self.warmup)[0]


@dataclass(frozen=True, slots=True)
class WSD:
    """Warm-up, stable, decay: the peak until the last `decay` share of steps, then down to `floor` times the peak (MiniCPM,
    arXiv:2404.06395 §4.2), in a straight line or as 1 - sqrt of the share that is over (arXiv:2405.18392 eq. 1).
    """

    peak: float
    warmup: float = 0.03
    decay: float = 0.2
    floor: float = 0.0
    shape: Literal["linear", "sqrt"] = "linear"

    def __post_init__(self) -> None:
        _check(self.peak, self.warmup)
        if not 0.0 < self.decay <= 1.0 - self.warmup:
            raise RecipeError(
                f"WSD(decay={self.decay}, warmup={self.warmup}): the share of steps that decay is above 0, and with the warm-up at most 1."
            )
        if self.shape not in ("linear", "sqrt"):
            raise RecipeError(f'WSD(shape={self.shape!r}): write "linear" or "sqrt".')

    def lr(self, step: int, steps: int) -> float:
        """The rate of step `step`, counted from 0, in a run of `steps`."""
        factor, _ = _warm(step, steps, self.warmup)
        falling = max(1, round(steps * self.decay))
        over = max(0.0, (step - (steps - falling)) / falling)
        left = 1.0 - (math.sqrt(over) if self.shape == "sqrt" else over)
        return self.peak * factor * (self.floor + (1.0 - self.floor) * left)
