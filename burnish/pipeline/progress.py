"""What a person sees while work runs: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_USUAL = os.terminal_size((80, 24))


def duration(seconds: float) -> str:
    """Seconds as a person writes them: 8 s, 3 min 20 s, 9 h 12 min."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plain(text: str) -> str:
    """The text without colours and weights (SGR sequences)."""
    return _STYLE.sub("", text)


def cells(text: str) -> int:
    """How many columns of a terminal the text takes: colours none, marks over letters none, wide characters two."""
    text = plain(text)
    return len(text) if text.isascii() else sum(_cells(c) for c in text)


def _cells(c: str) -> int:
    if unicodedata.combining(c):
        return 0
    return 2 if unicodedata.east_asian_width(c) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """The text in at most `columns` columns (1 or more), with … where something is left out; colours stay and end there."""
    if cells(text) <= columns:
        return text
    kept, left = [], columns - 1
    for part in re.split(f"({_STYLE.pattern})", text):
        if _STYLE.fullmatch(part):
            kept.append(part)
            continue
        for c in part:
            left -= _cells(c)
            if left < 0:
                return "".join(kept) + "…" + ("\x1b[0m" if "\x1b" in text else "")
            kept.append(c)
    return "".join(kept)


class Bar:
    """Progress of one loop. Call `advance` with the amount done and a short note."""

    def __init__(self, console: Console, title: str, total: float, unit: str, done: float = 0.0) -> None:
        self._console, self._title, self._total, self._unit = console, title, total, unit
        self._done = self._start_done = done
        self._start = self._last = time.monotonic()

    def advance(
        self, amount: float = 1.0, note: str = "", below: Callable[[int], Sequence[str]] | None = None
    ) -> None:  # fmt: skip
        """Count `amount` more as done and redraw; plain output prints at most a line every ten seconds.

        below: on a terminal the lines under the bar, made for so many columns; they stand in place of the note.
        """
        self._done += amount
        now = time.monotonic()
        finished = self._done >= self._total
        if not finished and now - self._last < (0.2 if self._console.live else 10.0):
            return
        self._last = now
        rate = (self._done - self._start_done) / max(now - self._start, 1e-9)
        left = duration((self._total - self._done) / rate) if rate > 0 else "?"
        share = min(self._done / self._total, 1.0) if self._total else 1.0
        speed = f"{rate:,.1f}/s" if rate >= 0.1 or not rate else f"{duration(1 / rate)} each"
        numbers = f"{self._done:,.0f}/{self._total:,.0f} {self._unit}  {speed}  {'done in ' + duration(now - self._start) if finished else left + ' left'}"
        lines = below(self._console.columns) if below and self._console.live else ()
        self._console.draw(
            self._title, share, f"{numbers}{'  ' + note if note and not lines else ''}", finished, lines
        )  # fmt: skip


class Console:
    """Where messages and bars go. Lines never interleave with a bar.

    live: a terminal on which a bar is drawn again in place. A terminal that says it cannot (TERM=dumb) gets plain lines.
    """

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self.quiet = quiet
        self.live = self._stream.isatty() and not quiet and os.environ.get("TERM") != "dumb"
        self._colour = self.live and not os.environ.get("NO_COLOR")
        self._drawn: list[str] = []

    @property
    def columns(self) -> int:
        """How many columns a line may take."""
        return max(self._size().columns - 1, 8)

    def line(self, text: str = "") -> None:
        """Print one line."""
        if self.quiet:
            return
        self._erase()
        self._stream.write(text + "\n")
        self._stream.flush()

    def draw(self, title: str, share: float, text: str, finished: bool, below: Sequence[str] = ()) -> None:
        """Draw a bar's state: in place on a terminal, with the lines below it, as a line elsewhere."""
        if self.quiet:
            return
        if not self.live:
            self.line(f"  {title}: {text}")
            return
        filled = int(share * 24)
        self.show([f"  {title} {'━' * filled}{'╌' * (24 - filled)} {text}", *below], finished)

    def show(self, lines: Sequence[str], finished: bool = False) -> None:
        """Draw lines in place of those drawn before, as many as the terminal has room for; where it is none, print them."""
        if self.quiet:
            return
        if not self.live:
            self._stream.write("".join(f"{plain(line)}\n" for line in lines))
            self._stream.flush()
            return
        fitting = [cut(line, self.columns) for line in lines[: max(self._size().lines - 1, 1)]]
        if not self._colour:
            fitting = [plain(line) for line in fitting]
        self._erase()
        self._stream.write("\n".join(fitting) + ("\n" if finished else ""))
        self._stream.flush()
        self._drawn = [] if finished else fitting

    def _erase(self) -> None:
        """Clear what is drawn; on a terminal that has become narrower its lines take more rows than they did."""
        if not self._drawn:
            return
        columns = max(self._size().columns, 1)
        rows = sum(max(1, -(-cells(line) // columns)) for line in self._drawn)
        self._stream.write("\r" + (f"\x1b[{rows - 1}A" if rows > 1 else "") + "\x1b[J")
        self._drawn = []

    def _size(self) -> os.terminal_size:
        """The terminal's size, which a person may change at any time."""
        try:
            size = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return _USUAL
        return os.terminal_size((size.columns or _USUAL.columns, size.lines or _USUAL.lines))

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0.0) -> Iterator[Bar]:
        """A progress bar over a loop of `total` units, of which `done` were done before."""
        try:
            yield Bar(self, title, total, unit, done)
        finally:
            self.rest()

    def rest(self) -> None:
        """Leave what is drawn where it is and go on below it."""
        if self._drawn:
            self._stream.write("\n")
            self._stream.flush()
            self._drawn = []
