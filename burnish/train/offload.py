"""Optimizer state that waits in the CPU's memory and visits the device while its weights are updated, a few at a time.

The update itself runs where it always runs, with the same kernels on the same numbers: not a bit differs, and only the copies
take time. The idea of holding state in the CPU's memory: Ren et al. 2021 (arXiv:2101.06840); there the CPU also updates.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

PIECE = 256 << 20  # Bytes of weights updated at a time.


class StateAway:
    """The place of what optimizers hold of each weight between steps."""

    def __init__(self) -> None:
        self._hosts: dict[tuple[int, str], Tensor] = {}

    def update(self, optimizer: torch.optim.Optimizer) -> None:
        """`optimizer.step()`, piece by piece: optimizers treat each weight by itself."""
        groups = optimizer.param_groups
        try:
            for piece in _pieces(groups):
                weights: list[Tensor] = piece["params"]
                for weight in weights:
                    fields = optimizer.state.get(weight, {})
                    for name, value in _tensors(fields):
                        fields[name] = value.to(weight.device, non_blocking=True)
                optimizer.param_groups = [piece]
                optimizer.step()
                for weight in weights:
                    self.send(weight, optimizer.state.get(weight, {}))
        finally:
            optimizer.param_groups = groups

    def send(self, weight: Tensor, fields: dict[str, Any]) -> None:
        """Move what is held of a weight into the CPU's memory, in place; page-locked, so that copies need no detour."""
        for name, value in _tensors(fields):
            if value.device.type == "cpu":
                continue
            host = self._hosts.get((id(weight), name))
            if host is None or host.shape != value.shape or host.dtype != value.dtype:
                host = self._hosts[id(weight), name] = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
            fields[name] = host.copy_(value)


def _tensors(fields: dict[str, Any]) -> list[tuple[str, Tensor]]:
    return [(name, value) for name, value in fields.items() if isinstance(value, Tensor)]


def _pieces(groups: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The groups cut into groups of at most PIECE bytes, or of one larger weight."""
    for group in groups:
        held: list[Tensor] = []
        for weight in group["params"]:
            if held and sum(w.nbytes for w in held) + weight.nbytes > PIECE:
                yield {**group, "params": held}
                held = []
            held.append(weight)
        if held:
            yield {**group, "params": held}
