"""Keys and values of running sequences, kept by length: a short sequence never pays for a long neighbour's attention.

A shelf holds rows of one width (positions). A sequence lies on the shelf whose width its own length asks for; when it
outgrows the shelf it is copied to the next. The beginning of a long prompt that other sequences share can stay outside,
in a trunk that all of them read; the shelf then holds the positions after it.

Shapes: Y layers, B rows, K key-value heads, L positions of a row, T positions of a trunk, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Trunks and shelves are whole numbers of parts of this many positions.
PART = 64


def width_for(length: int) -> int:
    """The shelf width for `length` positions: a multiple of PART, and of a quarter of the length beyond eight of them."""
    step = PART
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

    @property
    def position_bytes(self) -> int:
        """Bytes of one position's keys and values."""
        return 2 * self.layers * self.heads * self.width * self.dtype.itemsize


@dataclass(slots=True, eq=False)
class Running:
    """A sequence being decoded.

    index:  which request. length: tokens in the cache. last: the newest token, not yet in the cache.
    trunk:  [Y, 2, K, T, D] keys and values of its first T tokens, shared with others, or None.
    shelf, row: where the keys and values of the rest lie.
    """

    index: int
    length: int
    last: int
    trunk: Tensor | None = None
    shelf: Shelf | None = None
    row: int = -1

    @property
    def past(self) -> int:
        """Positions in the trunk."""
        return 0 if self.trunk is None else self.trunk.shape[3]


@dataclass(slots=True, eq=False)
class Shelf:
    """Rows 0..n-1 of `kv`, which has room for more: [Y, 2, B, K, L, D]; all of them behind one trunk, or none."""

    width: int
    kv: Tensor
    trunk: Tensor | None = None
    rows: list[Running] = field(default_factory=list)


class Cache:
    """All shelves. `order` is the order of rows in a decode step: trunk by trunk, narrow shelves first."""

    def __init__(self, shape: Shape, slots: int) -> None:
        self.shape, self.slots = shape, slots
        self._shelves: dict[tuple[int, int], Shelf] = {}

    @property
    def shelves(self) -> list[Shelf]:
        """The shelves, those of one trunk side by side and narrow first; trunks by age, sequences without one first."""
        ages: dict[int, int] = {id(None): -1}
        for trunk, _ in self._shelves:
            ages.setdefault(trunk, len(ages))
        return [self._shelves[key] for key in sorted(self._shelves, key=lambda key: (ages[key[0]], key[1]))]

    @property
    def order(self) -> list[Running]:
        """Every running sequence in the order of a decode step."""
        return [running for shelf in self.shelves for running in shelf.rows]

    @property
    def size(self) -> int:
        """How many sequences run."""
        return sum(len(shelf.rows) for shelf in self._shelves.values())

    def add(self, running: Running, pieces: Sequence[Tensor]) -> None:
        """Place a sequence with the keys and values [Y, 2, K, length, D] of its tokens after the trunk, piece by piece."""
        # One position more than it has: the next token's keys are written before it attends.
        shelf = self._shelf(running.trunk, width_for(running.length - running.past + 1))
        row, done = len(shelf.rows), 0
        for kv in pieces:
            shelf.kv[:, :, row, :, done : done + kv.shape[3]] = kv
            done += kv.shape[3]
        shelf.rows.append(running)
        running.shelf, running.row = shelf, row

    def remove(self, running: Running) -> None:
        """Take a sequence out; the shelf's last row moves into its place, so rows stay without holes."""
        shelf, row = running.shelf, running.row
        if shelf is None:
            return
        moved = shelf.rows.pop()
        if moved is not running:
            own = moved.length - moved.past
            shelf.kv[:, :, row, :, :own] = shelf.kv[:, :, moved.row, :, :own]
            shelf.rows[row] = moved
            moved.row = row
        running.shelf, running.row = None, -1
        self._shrink(shelf)

    def grow(self, running: Running) -> None:
        """Move a sequence to a wider shelf if the next token no longer fits where it is."""
        shelf, own = running.shelf, running.length - running.past
        if shelf is None or own < shelf.width:
            return
        kv = shelf.kv[:, :, running.row, :, :own].clone()
        self.remove(running)
        self.add(running, [kv])

    def _shelf(self, trunk: Tensor | None, width: int) -> Shelf:
        """The shelf of that width behind that trunk, with room for one row more."""
        shelf = self._shelves.get((id(trunk), width))
        if shelf is None:
            shelf = self._shelves[id(trunk), width] = Shelf(width, self._empty(min(4, self.slots), width), trunk)
        if len(shelf.rows) == shelf.kv.shape[2]:
            self._resize(shelf, min(2 * len(shelf.rows), self.slots))
        return shelf

    def _shrink(self, shelf: Shelf) -> None:
        """Give memory back: a shelf without rows goes, one that is mostly empty halves."""
        used, room = len(shelf.rows), shelf.kv.shape[2]
        if not used:
            del self._shelves[id(shelf.trunk), shelf.width]
        elif used * 4 <= room and room > 4:
            self._resize(shelf, room // 2)

    def _resize(self, shelf: Shelf, room: int) -> None:
        used = len(shelf.rows)
        kv = self._empty(room, shelf.width)
        kv[:, :, :used] = shelf.kv[:, :, :used]
        shelf.kv = kv

    def _empty(self, rows: int, width: int) -> Tensor:
        # Zeros, not empty: masked positions get weight 0, and 0 times whatever memory held could be NaN.
        s = self.shape
        return torch.zeros(s.layers, 2, rows, s.heads, width, s.width, dtype=s.dtype, device=s.device)
