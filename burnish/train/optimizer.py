"""Optimizers as values: torch's AdamW, Adafactor and Muon, bitsandbytes' AdamW8bit. The rate of every step comes from the schedule."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch

from burnish.errors import RecipeError
from burnish.model.quantized import bitsandbytes
from burnish.model.tensor_parallel import alike

Weights = Mapping[str, Any]


class Optimizer(Protocol):
    """A frozen dataclass that makes torch optimizers for named weights.

    SHARDS: whether its step on a rank's part of each weight is that part of its step on the whole.
    """

    SHARDS: ClassVar[bool]

    def make(self, weights: Weights, outer: frozenset[str]) -> list[torch.optim.Optimizer]:
        """Optimizers that hold every weight once. outer: the names of the embeddings and of the head."""

    def state_bytes(self, inner: int, outer: int) -> int:
        """About the bytes it keeps for so many numbers in the layers' matrices, and so many in all other weights."""


@dataclass(frozen=True, slots=True)
class AdamW:
    """Adam with decoupled weight decay (arXiv:1711.05101); decay applies to matrices, not to biases and norms."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    VERSION: ClassVar[int] = 1
    SHARDS: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check("AdamW", self.weight_decay, *self.betas)

    def state_bytes(self, inner: int, outer: int) -> int:
        """Two moments in float32."""
        return 8 * (inner + outer)

    def make(self, weights: Weights, outer: frozenset[str]) -> list[torch.optim.Optimizer]:
        """One fused AdamW: a single pass over each weight."""
        groups = _groups(weights, self.weight_decay)
        return [torch.optim.AdamW(groups, lr=0.0, betas=self.betas, eps=self.eps, fused=True)] if groups else []


@dataclass(frozen=True, slots=True)
class AdamW8bit:
    """AdamW whose two moments are held in 8 bits, in blocks of 256 (arXiv:2110.02861): 2 bytes a weight instead of 8.

    Weights of fewer than `smallest` numbers keep 32-bit moments, as norms and biases should. Needs bitsandbytes; one process.
    """

    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    smallest: int = 4096
    VERSION: ClassVar[int] = 1
    SHARDS: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("AdamW8bit", self.weight_decay, *self.betas)

    def state_bytes(self, inner: int, outer: int) -> int:
        """Two moments in 8 bits, and a scale in float32 for each block of 256."""
        return 2 * (inner + outer) * 65 // 64

    def make(self, weights: Weights, outer: frozenset[str]) -> list[torch.optim.Optimizer]:
        """One 8-bit AdamW. Raises MissingExtra without bitsandbytes."""
        groups = _groups(weights, self.weight_decay)
        if not groups:
            return []
        made = _eight_bit_class()(groups, lr=0.0, betas=self.betas, eps=self.eps, min_8bit_size=self.smallest)
        return [made]


@functools.cache
def _eight_bit_class() -> Any:
    """Bitsandbytes' AdamW8bit with a state of tensors of its own, so that checkpoints hold all of it and nothing twice.

    The count of steps becomes a tensor; the two tables of the values that 8 bits stand for are the same for every weight.
    """
    base: Any = bitsandbytes("AdamW8bit").optim.AdamW8bit

    class Counted(base):  # type: ignore[misc]
        def update_step(self, group: Any, p: Any, gindex: int, pindex: int) -> None:
            state = self.state[p]
            state["step"] = int(state["step"])
            if state["state1"].dtype == torch.uint8:
                if not self.name2qmap:
                    self.fill_qmap()
                state["qmap1"], state["qmap2"] = (self.name2qmap[n].to(p.device) for n in ("dynamic", "udynamic"))
            super().update_step(group, p, gindex, pindex)
            state["step"] = torch.tensor(float(state["step"]))
            state.pop("qmap1", None)
            state.pop("qmap2", None)

    return Counted


@dataclass(frozen=True, slots=True)
class Adafactor:
    """Adam's second moment as a row and a column (arXiv:1804.04235): a few numbers a weight matrix instead of two copies of it.

    beta2_decay: the second moment's decay at step t is 1 - t^beta2_decay. clip: updates are cut to this root mean square.
    The step is the schedule's rate times max(1e-3, root mean square of the weight), as in the paper's relative step.
    """

    beta2_decay: float = -0.8
    clip: float = 1.0
    weight_decay: float = 0.0
    VERSION: ClassVar[int] = 1
    SHARDS: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("Adafactor", self.weight_decay)

    def state_bytes(self, inner: int, outer: int) -> int:
        """A row and a column of each matrix: a few hundredths of a weight's own size."""
        return 4 * (inner + outer) // 64

    def make(self, weights: Weights, outer: frozenset[str]) -> list[torch.optim.Optimizer]:
        """One Adafactor."""
        groups = _groups(weights, self.weight_decay)
        made = torch.optim.Adafactor(groups, lr=0.0, beta2_decay=self.beta2_decay, d=self.clip) if groups else None
        return [made] if made else []


@dataclass(frozen=True, slots=True)
class Muon:
    """Momentum made orthogonal for the inner matrices (Jordan 2024); AdamW for embeddings, head, biases and norms.

    The update is scaled to AdamW's root mean square (arXiv:2502.16982 §2.2), so that AdamW's rates and decay carry over.
    """

    momentum: float = 0.95
    weight_decay: float = 0.0
    adamw_betas: tuple[float, float] = (0.9, 0.999)
    adamw_eps: float = 1e-8
    VERSION: ClassVar[int] = 1
    SHARDS: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check("Muon", self.weight_decay, self.momentum, *self.adamw_betas)

    def state_bytes(self, inner: int, outer: int) -> int:
        """Momentum for the inner matrices, AdamW's moments for the rest."""
        return 4 * inner + 8 * outer

    def make(self, weights: Weights, outer: frozenset[str]) -> list[torch.optim.Optimizer]:
        """Muon for the inner matrices, AdamW for the rest."""
        inner = {name: w for name, w in weights.items() if w.ndim == 2 and name not in outer}
        rest = {name: w for name, w in weights.items() if name not in inner}
        made: list[torch.optim.Optimizer] = []
        if inner:
            made.append(
                torch.optim.Muon(
                    list(inner.values()), lr=0.0, momentum=self.momentum, weight_decay=self.weight_decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )  # fmt: skip
        return made + AdamW(self.adamw_betas, self.adamw_eps, self.weight_decay).make(rest, outer)


def _groups(weights: Weights, weight_decay: float) -> list[dict[str, Any]]:
    """Matrices with decay, everything else without; no empty groups."""
    parts = (
        ([w for w in weights.values() if w.ndim >= 2], weight_decay),
        ([w for w in weights.values() if w.ndim < 2], 0.0),
    )
    return [{"params": together, "weight_decay": decay} for held, decay in parts for together in alike(held)]


def _check(name: str, weight_decay: float, *betas: float) -> None:
    if not 0 <= weight_decay < float("inf"):
        raise RecipeError(f"{name}(weight_decay={weight_decay}): a share of the weight, from 0 up, e.g. 0.01.")
    for beta in betas:
        if not 0 <= beta < 1:
            raise RecipeError(
                f"{name}: {beta} is no share of the past to keep; give a number from 0 to below 1, e.g. 0.9."
            )
