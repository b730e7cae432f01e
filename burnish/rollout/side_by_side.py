"""Replies on a terminal while they are written: in columns, or one below the other.

Columns are written a row at a time: a row is final when every model has finished its part of it. The row in the making is
drawn again in place, so nothing above it ever changes and the terminal's own scrolling works.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol, TextIO

from burnish.pipeline.progress import cells

LEAST = 36  # columns of the terminal that a model's text needs
_GAP = " │ "


class View(Protocol):
    """Something that shows pieces of several texts."""

    def text(self, number: int, piece: str) -> None:
        """More of text `number`."""

    def end(self, number: int) -> None:
        """Text `number` is complete."""


class InTurn:
    """The texts below each other under their names: each is shown as it comes once those before it are complete."""

    def __init__(self, out: TextIO, names: Sequence[str]) -> None:
        """names: of the texts, or none for a single text without a heading."""
        self._out, self._names = out, names
        self._current = 0
        self._waiting = [""] * max(len(names), 1)
        self._ended = [False] * len(self._waiting)
        self._head()

    def text(self, number: int, piece: str) -> None:
        """Write it, or keep it until its turn comes."""
        if number == self._current:
            self._out.write(piece)
            self._out.flush()
        else:
            self._waiting[number] += piece

    def end(self, number: int) -> None:
        """Go on with the next text that is not complete."""
        self._ended[number] = True
        while self._current < len(self._ended) and self._ended[self._current]:
            self._out.write("\n")
            self._current += 1
            if self._current < len(self._ended):
                self._head()
                self._out.write(self._waiting[self._current])
        self._out.flush()

    def _head(self) -> None:
        if self._names:
            self._out.write(f"[{self._names[self._current]}]\n")
            self._out.flush()


class Columns:
    """The texts beside each other, each wrapped to its column."""

    def __init__(self, out: TextIO, names: Sequence[str], columns: int) -> None:
        """columns: of the terminal."""
        self._out = out
        self._width = (columns - 1 - len(_GAP) * (len(names) - 1)) // len(names)
        self._rows: list[list[str]] = [[""] for _ in names]
        self._ended = [False] * len(names)
        self._done = 0
        self._write([_cut(name, self._width) for name in names], "\n")
        self._write(["─" * self._width] * len(names), "\n")

    @classmethod
    def on(cls, out: TextIO, names: Sequence[str]) -> Columns | None:
        """Columns on a terminal that is wide enough for two texts or more, else None."""
        if len(names) < 2 or not out.isatty() or os.environ.get("TERM") == "dumb":
            return None
        try:
            columns = os.get_terminal_size(out.fileno()).columns
        except (OSError, ValueError):
            return None
        return cls(out, names, columns) if columns >= len(names) * (LEAST + len(_GAP)) else None

    def text(self, number: int, piece: str) -> None:
        """Add to the text; words that do not fit a row go to the next."""
        rows = self._rows[number]
        lines = "".join(c for c in piece.expandtabs(4) if c.isprintable() or c == "\n").split("\n")
        for i, line in enumerate(lines):
            if i:
                rows.append("")
            rows[-1:] = _wrapped(rows[-1] + line, self._width)
        self._draw()

    def end(self, number: int) -> None:
        """The rows of a complete text no longer wait for it."""
        self._ended[number] = True
        self._draw()

    def _draw(self) -> None:
        """Write every row that is final, then the one in the making over itself."""
        longest = max(map(len, self._rows))
        parts = zip(self._rows, self._ended, strict=True)
        final = min(longest if ended else len(rows) - 1 for rows, ended in parts)
        while self._done < final:
            self._write(self._row(self._done), "\n", again=True)
            self._done += 1
        if self._done < longest:
            self._write(self._row(self._done), "", again=True)
        self._out.flush()

    def _row(self, index: int) -> list[str]:
        return [rows[index] if index < len(rows) else "" for rows in self._rows]

    def _write(self, parts: Sequence[str], end: str, again: bool = False) -> None:
        padded = [part + " " * (self._width - cells(part)) for part in parts]
        self._out.write(("\r\x1b[K" if again else "") + _GAP.join(padded).rstrip() + end)


def _wrapped(line: str, width: int) -> list[str]:
    """The line in rows of at most `width` columns, cut at spaces where there are any."""
    rows = []
    while cells(line.rstrip()) > width:
        room, at = 0, 0
        while room + cells(line[at]) <= width:
            room += cells(line[at])
            at += 1
        space = line.rfind(" ", 1, at + 1)
        rows.append(line[: space if space > 0 else at])
        line = line[space + 1 if space > 0 else at :]
    return [*rows, line]


def _cut(text: str, width: int) -> str:
    return text if cells(text) <= width else "…" + text[-(width - 1) :]
