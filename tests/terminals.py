"""A terminal for tests: what a person sees of what a program writes. It knows the sequences that Burnish uses and refuses others."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from burnish.pipeline.progress import cells

_PARTS = re.compile(r"\x1b\[(\d*)([A-Za-z])|\x1b\[[\d;]*m|[\r\n]|[^\x1b\r\n]+|\x1b")


class Screen:
    """The rows of a terminal of so many columns, each a list of cells; text beyond the last column wraps, as on real ones.

    The second cell of a wide character is empty; a mark over a letter is in the letter's cell.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows: list[list[str]] = [[]]
        self.row = self.column = 0

    def feed(self, text: str) -> None:
        for match in _PARTS.finditer(text):
            self._one(match[0], match[1], match[2])

    def _one(self, part: str, count: str | None, kind: str | None) -> None:
        if kind == "A":
            self.row = max(0, self.row - int(count or 1))
        elif kind == "J":
            assert count in ("", "0")
            del self.rows[self.row][self.column :]
            del self.rows[self.row + 1 :]
        elif part.startswith("\x1b"):
            assert part.endswith("m"), f"a sequence that is not known: {part!r}"
        elif part == "\r":
            self.column = 0
        elif part == "\n":
            self._down()
        else:
            for c in part:
                self._put(c)

    def _put(self, c: str) -> None:
        width = cells(c)
        if not width:
            if self.column:
                self.rows[self.row][self.column - 1] += c
            return
        if self.column + width > self.columns:
            self._down()
        row = self.rows[self.row]
        row += [" "] * (self.column - len(row))
        row[self.column : self.column + width] = [c] + [""] * (width - 1)
        self.column += width

    def _down(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.rows):
            self.rows.append([])

    def narrower(self, columns: int) -> None:
        """What a terminal does whose window is made narrower: lines wrap anew, and the cursor stays with its text."""
        old, self.rows, self.columns = self.rows, [], columns
        for line in old:
            self.rows += [line[i : i + columns] for i in range(0, len(line), columns)] or [[]]
        self.row, self.column = len(self.rows) - 1, len(self.rows[-1])

    @property
    def text(self) -> str:
        return "\n".join("".join(row).rstrip() for row in self.rows).rstrip()


class Terminal:
    """A pseudo-terminal: `stream` is what a program writes to, `read` feeds the screen."""

    def __init__(self, columns: int, lines: int = 40) -> None:
        self._master, slave = pty.openpty()
        self.stream: TextIO = os.fdopen(slave, "w", encoding="utf-8", newline="")
        # The screen gets what the program wrote: no carriage returns in front of new lines.
        settings = termios.tcgetattr(slave)
        settings[1] &= ~termios.OPOST
        termios.tcsetattr(slave, termios.TCSANOW, settings)
        self.screen = Screen(columns)
        self.written = ""
        self.size(columns, lines)

    def size(self, columns: int, lines: int = 40) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if columns < self.screen.columns:
            self.read()
            self.screen.narrower(columns)

    def read(self) -> str:
        """The text on the screen once all that was written is on it."""
        self.stream.flush()
        os.set_blocking(self._master, False)
        raw = b""
        while True:
            try:
                block = os.read(self._master, 1 << 16)
            except (BlockingIOError, OSError):
                break
            if not block:
                break
            raw += block
        text = raw.decode()
        self.written += text
        self.screen.feed(text)
        return self.screen.text

    def close(self) -> None:
        self.stream.close()
        os.close(self._master)


@contextmanager
def terminal(columns: int, lines: int = 40) -> Iterator[Terminal]:
    made = Terminal(columns, lines)
    try:
        yield made
    finally:
        made.close()
