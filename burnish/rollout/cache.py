"""Keys and values of running sequences, kept by length: a short sequence never pays for a long neighbour's attention.

A shelf holds rows of one width (positions). A sequence lies on the shelf whose width its own length asks for, so the
shape of its attention depends on nothing else; when it outgrows the shelf it is copied to the next.

Shapes: Y layers, B rows, K key-value heads, L positions, D head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


def width_for(length: int) -> int:
    """The shelf width for a sequence of `length` tokens: a multiple of 64, and of a quarter of the length beyond 512."""
    step = 64
    while length > step * 8:
        step *= 2
    return -(-length // step) * step


@dataclass(frozen=True, slots=True)
class Shape:
    """What one position of one sequence needs in the cache."""

    layers: int
    heads: int
    width: int
    dtype: torch.dtype
    device: torch.device


@dataclass(slots=True, eq=False)
class Running:
    """A sequence being decoded.

    index:  which request. length: tokens in the cache. last: the newest token, not yet in the cache.
    shelf, row: where its keys and values lie.
    """

    index: int
    length: int
    last: int
    shelf: Shelf | None = None
    row: int = -1


@dataclass(slots=True, eq=False)
class Shelf:
    """Rows 0..n-1 of `kv`, which has room for more: [Y, 2, B, K, L, D]."""

    width: int
    kv: Tensor
    rows: list[Running] = field(default_factory=list)


class Cache:
    """All shelves. `order` is the order of rows in a decode step: shelf by shelf, narrow first."""

    def __init__(self, shape: Shape, slots: int) -> None:
        self.shape, self.slots = shape, slots
        self._shelves: dict[int, Shelf] = {}

    @property
    def shelves(self) -> list[Shelf]:
        """The shelves that hold sequences, narrow first."""
        return [shelf for _, shelf in sorted(self._shelves.items()) if shelf.rows]

    @property
    def order(self) -> list[Running]:
        """Every running sequence in the order of a decode step."""
        return [running for shelf in self.shelves for running in shelf.rows]

    @property
    def size(self) -> int:
        """How many sequences run."""
        return sum(len(shelf.rows) for shelf in self._shelves.values())

    def add(self, running: Running, kv: Tensor) -> None:
        """Place a sequence with the keys and values [Y, 2, K, length, D] of its first `length` tokens."""
        # One position more than it has: the next token's keys are written before it attends.
        shelf = self._shelf(width_for(running.length + 1))
        row = len(shelf.rows)
        shelf.kv[:, :, row, :, : running.length] = kv
        shelf.rows.append(running)
        running.shelf, running.row = shelf, row

    def remove(self, running: Running) -> None:
        """Take a sequence out; the shelf's last row moves into its place, so rows stay without holes."""
        shelf, row = running.shelf, running.row
        if shelf is None:
            return
        moved = shelf.rows.pop()
        if moved is not running:
            shelf.kv[:, :, row, :, : moved.length] = shelf.kv[:, :, moved.row, :, : moved.length]
            shelf.rows[row] = moved
            moved.row = row
        running.shelf, running.row = None, -1

    def grow(self, running: Running) -> None:
        """Move a sequence to a wider shelf if the next token no longer fits where it is."""
        shelf = running.shelf
        if shelf is None or running.length < shelf.width:
            return
        kv = shelf.kv[:, :, running.row, :, : running.length].clone()
        self.remove(running)
        self.add(running, kv)

    def _shelf(self, width: int) -> Shelf:
        """The shelf of that width with room for one row more."""
        shelf = self._shelves.get(width)
        if shelf is None:
            shelf = self._shelves[width] = Shelf(width, self._empty(min(4, self.slots), width))
        used, room = len(shelf.rows), shelf.kv.shape[2]
        if used == room:
            wider = self._empty(min(2 * room, self.slots), width)
            wider[:, :, :used] = shelf.kv
            shelf.kv = wider
        return shelf

    def _empty(self, rows: int, width: int) -> Tensor:
        # Zeros, not empty: masked positions get weight 0, and 0 times whatever memory held could be NaN.
        s = self.shape
        return torch.zeros(s.layers, 2, rows, s.heads, width, s.width, dtype=s.dtype, device=s.device)
