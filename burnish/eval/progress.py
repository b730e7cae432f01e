"""What a person sees while an evaluation runs: all replies, and the task at hand with the time it has left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from burnish.eval.answer import Item
from burnish.pipeline.progress import Bar, Console, duration


class Progress:
    """Counts replies; used as a context around one evaluation."""

    def __init__(self, console: Console, items: Sequence[Item]) -> None:
        self._console = console
        self._total = Counter(item.task.name for item in items)
        self._done: Counter[str] = Counter()
        self._first: dict[str, tuple[float, int]] = {}
        self._known = 0
        self._bar: Bar | None = None
        self._context: AbstractContextManager[Bar] | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._context is not None:
            self._context.__exit__(kind, error, at)

    def known(self, item: Item) -> None:
        """Count a reply that was there already."""
        self._known += 1
        self._done[item.task.name] += 1

    def done(self, item: Item) -> None:
        """Count a new reply and draw: total, rate and time left, then the task at hand with its own."""
        if self._bar is None:
            if self._known:
                self._console.line(f"  {self._known:,} replies are there already")
            self._context = self._console.bar("evaluate", sum(self._total.values()), "replies", done=self._known)
            self._bar = self._context.__enter__()
        name, now = item.task.name, time.monotonic()
        began, before = self._first.setdefault(name, (now, self._done[name]))
        self._done[name] += 1
        done, total = self._done[name], max(self._total[name], self._done[name])
        rate = (done - before - 1) / (now - began) if now > began else 0.0
        left = f", {duration((total - done) / rate)} left" if rate > 0 and done < total else ""
        self._bar.advance(1, f"{name} {done:,}/{total:,}{left}")
