"""What a person sees while work runs: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


def duration(seconds: float) -> str:
    """Seconds as a person writes them: 8 s, 3 min 20 s, 9 h 12 min."""
    whole = int(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class Bar:
    """Progress of one loop. Call `advance` with the amount done and a short note."""

    def __init__(self, console: Console, title: str, total: float, unit: str, done: float = 0.0) -> None:
        self._console, self._title, self._total, self._unit = console, title, total, unit
        self._done = self._start_done = done
        self._start = self._last = time.monotonic()

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Count `amount` more as done and redraw; plain output prints at most a line every ten seconds."""
        self._done += amount
        now = time.monotonic()
        finished = self._done >= self._total
        if not finished and now - self._last < (0.2 if self._console.live else 10.0):
            return
        self._last = now
        rate = (self._done - self._start_done) / max(now - self._start, 1e-9)
        left = duration((self._total - self._done) / rate) if rate > 0 else "?"
        share = min(self._done / self._total, 1.0) if self._total else 1.0
        numbers = f"{self._done:,.0f}/{self._total:,.0f} {self._unit}  {rate:,.1f}/s  {'done in ' + duration(now - self._start) if finished else left + ' left'}"
        self._console.draw(self._title, share, f"{numbers}{'  ' + note if note else ''}", finished)


class Console:
    """Where messages and bars go. Lines never interleave with a bar."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self._stream = stream or sys.stderr
        self.quiet = quiet
        self.live = self._stream.isatty() and not quiet
        self._open = False

    def line(self, text: str = "") -> None:
        """Print one line."""
        if self.quiet:
            return
        if self._open:
            self._stream.write("\r\x1b[K")
            self._open = False
        self._stream.write(text + "\n")
        self._stream.flush()

    def draw(self, title: str, share: float, text: str, finished: bool) -> None:
        """Draw a bar's state: in place on a terminal, as a line elsewhere."""
        if self.quiet:
            return
        if not self.live:
            self.line(f"  {title}: {text}")
            return
        filled = int(share * 24)
        self._stream.write(f"\r\x1b[K  {title} {'━' * filled}{'╌' * (24 - filled)} {text}" + ("\n" if finished else ""))
        self._stream.flush()
        self._open = not finished

    @contextmanager
    def bar(self, title: str, total: float, unit: str, done: float = 0.0) -> Iterator[Bar]:
        """A progress bar over a loop of `total` units, of which `done` were done before."""
        yield Bar(self, title, total, unit, done)
        if self._open:
            self._stream.write("\n")
            self._open = False
