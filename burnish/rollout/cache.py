"""Keys and values of running sequences, kept by length: a short sequence never pays for a long neighbour's attention.

A shelf holds rows of one width (positions). A sequence lies on the shelf whose width its own length asks for; when it
outgrows the shelf it is copied to the next. A beginning that other sequences share can stay outside, in a trunk that all
of them read; the shelf then holds the positions after it.

Shapes: Y layers, B rows, K key-value heads, L positions of a row, T positions of a trunk, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Trunks are whole numbers of parts of this many positions, and shelves of such parts and a narrower last one.
PART = 256
_STEP = 64


def width_for(length: int) -> int:
    """The shelf width for `length` positions: a multiple of 64, and of a quarter of the length beyond 512."""
    step = _STEP
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
    trunk:  keys and values of its first tokens, shared with others: pieces [Y, 2, K, T, D] in order, or ().
    shelf, row: where the keys and values of the rest lie.
    """

    index: int
    length: int
    last: int
    trunk: tuple[Tensor, ...] = ()
    shelf: Shelf | None = None
    row: int = -1

    @property
    def past(self) -> int:
        """Positions in the trunk."""
        return sum(piece.shape[3] for piece in self.trunk)


@dataclass(slots=True, eq=False)
class Shelf:
    """Rows 0..n-1, with room for more.

    trunk: the one that all rows are behind, where shelves are kept apart by trunk; else ().
    parts: the positions, cut every PART of them: [Y, 2, B, K, PART or less, D].
    """

    width: int
    parts: list[Tensor]
    trunk: tuple[Tensor, ...] = ()
    rows: list[Running] = field(default_factory=list)

    @property
    def room(self) -> int:
        """How many rows fit."""
        return self.parts[0].shape[2]

    def read(self, row: int, length: int) -> list[Tensor]:
        """The keys and values [Y, 2, K, up to PART, D] of a row's first positions, part by part: views."""
        starts = range(0, length, PART)
        return [part[:, :, row, :, : length - start] for part, start in zip(self.parts, starts, strict=False)]

    def write(self, row: int, start: int, kv: Tensor) -> None:
        """Put keys and values [Y, 2, K, length, D] at the positions from `start` on."""
        done, length = 0, kv.shape[3]
        while done < length:
            part, place = divmod(start + done, PART)
            count = min(PART - place, length - done)
            self.parts[part][:, :, row, :, place : place + count] = kv[:, :, :, done : done + count]
            done += count


class Cache:
    """All shelves. `order` is the order of rows in a decode step: trunk by trunk, narrow shelves first."""

    def __init__(self, shape: Shape, slots: int, *, apart: bool = True) -> None:
        """apart: rows behind different trunks lie on different shelves."""
        self.shape, self.slots, self._apart = shape, slots, apart
        self._shelves: dict[tuple[tuple[int, ...], int], Shelf] = {}

    @property
    def shelves(self) -> list[Shelf]:
        """The shelves, those of one trunk side by side and narrow first; trunks by age, sequences without one first."""
        ages: dict[tuple[int, ...], int] = {(): -1}
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
        trunk = running.trunk if self._apart else ()
        shelf = self._shelf(trunk, width_for(running.length - running.past + 1))
        row, done = len(shelf.rows), 0
        for kv in pieces:
            shelf.write(row, done, kv)
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
            for to, kv in zip(shelf.read(row, own), shelf.read(moved.row, own), strict=True):
                to.copy_(kv)
            shelf.rows[row] = moved
            moved.row = row
        running.shelf, running.row = None, -1
        self._shrink(shelf)

    def grow(self, running: Running) -> None:
        """Move a sequence to a wider shelf if the next token no longer fits where it is."""
        shelf, own = running.shelf, running.length - running.past
        if shelf is None or own < shelf.width:
            return
        pieces = [kv.clone() for kv in shelf.read(running.row, own)]
        self.remove(running)
        self.add(running, pieces)

    def _shelf(self, trunk: tuple[Tensor, ...], width: int) -> Shelf:
        """The shelf of that width behind that trunk, with room for one row more."""
        shelf = self._shelves.get((_key(trunk), width))
        if shelf is None:
            parts = self._empty(min(4, self.slots), width)
            shelf = self._shelves[_key(trunk), width] = Shelf(width, parts, trunk)
        if len(shelf.rows) == shelf.room:
            self._resize(shelf, min(2 * shelf.room, self.slots))
        return shelf

    def _shrink(self, shelf: Shelf) -> None:
        """Give memory back: a shelf without rows goes, one that is mostly empty halves."""
        used, room = len(shelf.rows), shelf.room
        if not used:
            del self._shelves[_key(shelf.trunk), shelf.width]
        elif used * 4 <= room and room > 4:
            self._resize(shelf, room // 2)

    def _resize(self, shelf: Shelf, room: int) -> None:
        used, parts = len(shelf.rows), self._empty(room, shelf.width)
        for new, old in zip(parts, shelf.parts, strict=True):
            new[:, :, :used] = old[:, :, :used]
        shelf.parts = parts

    def _empty(self, rows: int, width: int) -> list[Tensor]:
        # Zeros, not empty: masked positions get weight 0, and 0 times whatever memory held could be NaN.
        s = self.shape
        return [
            torch.zeros(s.layers, 2, rows, s.heads, min(PART, width - start), s.width, dtype=s.dtype, device=s.device)
            for start in range(0, width, PART)
        ]


def _key(trunk: tuple[Tensor, ...]) -> tuple[int, ...]:
    return tuple(map(id, trunk))
