"""Weights in memory that several processes of one computer map: written once by the learner, read by every engine.

The memory has no name in any folder: it goes when the last process that maps it ends, however that ends. On Linux it is
never on a disk; elsewhere it is a temporary file that was removed as soon as it was opened.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.model.lora import plain_weights
from burnish.model.policy import Policy, quiet

_ALIGNED = 64  # bytes: a cache line


class SharedWeights:
    """A policy's plain weights (adapters merged in) in shared memory. `described` is what another process needs to map it.

    dtype: what they are stored in; None: each in its own type.
    """

    def __init__(self, policy: Policy, version: str, dtype: torch.dtype | None = None) -> None:
        self._layout: dict[str, list[Any]] = {}
        end = 0
        for name, weight in plain_weights(policy.model):
            kind = dtype or weight.dtype
            self._layout[name] = [str(kind).removeprefix("torch."), list(weight.shape), end]
            end += -(-weight.numel() * kind.itemsize // _ALIGNED) * _ALIGNED
        self._size = max(end, 1)
        self._file = _memory(self._size)
        self._close = weakref.finalize(self, os.close, self._file)
        self._views = mapped(self.described)
        self.version = self.checksum = ""
        self.write(policy, version)

    @property
    def file(self) -> int:
        """The file descriptor to pass on."""
        return self._file

    @property
    def described(self) -> dict[str, Any]:
        """{"file": descriptor, "size": bytes, "layout": {name: [type, shape, first byte]}}."""
        return {"file": self._file, "size": self._size, "layout": self._layout}

    @property
    def sums(self) -> dict[str, list[float]]:
        """By name, the sum and the sum of squares of each weight as it is stored, in float64."""
        found = {}
        for name, view in self._views.items():
            wide = view.double()
            found[name] = [float(wide.sum()), float((wide * wide).sum())]
        return found

    def raw(self) -> memoryview:
        """All its bytes."""
        return memoryview(mmap.mmap(self._file, self._size))

    @torch.no_grad()
    def write(self, policy: Policy, version: str) -> None:
        """Put the policy's current weights there."""
        for name, weight in plain_weights(policy.model):
            self._views[name].copy_(weight)
        self.version, self.checksum = version, policy.checksum()

    def close(self) -> None:
        """Give the memory back as soon as nobody maps it."""
        self._views = {}
        self._close()


def write_description(policy: Policy, folder: Path) -> None:
    """Write all of a policy but its weights: configuration and tokenizer."""
    with quiet():
        policy.model.config.save_pretrained(folder)
        policy.renderer.tokenizer.save_pretrained(folder)


def mapped(described: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a `SharedWeights.described`; what is written to them, every process sees."""
    memory = mmap.mmap(described["file"], described["size"])
    return {
        name: torch.frombuffer(memory, dtype=getattr(torch, kind), count=math.prod(shape), offset=offset).view(shape)
        for name, (kind, shape, offset) in described["layout"].items()
    }


def _memory(size: int) -> int:
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("burnish-weights")
    else:
        file, path = tempfile.mkstemp(prefix="burnish-weights-")
        os.unlink(path)
    os.ftruncate(file, size)
    return file
