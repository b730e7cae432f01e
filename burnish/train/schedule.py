"""Learning rates over a run. `lr(step, steps)`: the rate of optimizer step `step` (from 0) of `steps`.

The forms are those of transformers.optimization (get_linear_schedule_with_warmup and its siblings), in which the first
warm-up step has rate 0: published recipes were run with it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

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
