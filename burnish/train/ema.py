"""An exponential moving average of the weights a run passes through, kept in float32 beside them.

After step t the average is sum over k <= t of d^(t-k) w_k, divided by sum over k <= t of d^(t-k): the weights after each step,
the newest counting 1, the one before d, and so on. The start's weights are no part of it, so a short run is not pulled back to
where it began (Adam's bias correction, arXiv:1412.6980 §3, for weights).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from burnish.errors import RecipeError


def check_decay(stage: str, decay: float) -> None:
    """Raise RecipeError for a decay under which there is no average."""
    if not 0 <= decay < 1:
        raise RecipeError(
            f"{stage}: ema={decay}, which is no share of the past to keep.\n"
            "  Give a number from 0 (no average) to below 1; 0.99 averages over the last 100 steps or so."
        )


class WeightAverage:
    """The average of some named weights. It takes one more copy of them in float32; float64 weights are kept in float64."""

    def __init__(self, decay: float, weights: Mapping[str, Any]) -> None:
        self.decay, self._weights = decay, weights
        self._held: dict[str, Any] = {}
        for name, weight in weights.items():
            wide = torch.promote_types(weight.dtype, torch.float32)
            self._held[name] = weight.detach().to(wide, copy=True)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step`, counted from 1."""
        share = (1 - self.decay) / (1 - self.decay**step)
        for name, held in self._held.items():
            held.lerp_(self._weights[name].detach().to(held.dtype), share)

    def state(self) -> dict[str, Tensor]:
        """The averages by the weights' names, as they are held."""
        return dict(self._held)

    @torch.no_grad()
    def load(self, name: str, value: Tensor) -> None:
        """Put back one weight's average."""
        self._held[name].copy_(value)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Inside, the weights are the averages; a copy of the weights is held meanwhile, and put back bit for bit."""
        with torch.no_grad():
            own = {name: weight.detach().clone() for name, weight in self._weights.items()}
            try:
                for name, weight in self._weights.items():
                    weight.copy_(self._held[name])
                yield
            finally:
                for name, weight in self._weights.items():
                    weight.copy_(own[name])
