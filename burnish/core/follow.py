"""JSON Lines that another process may still be writing, or was killed while it wrote: their whole lines, and nothing raised."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def objects(path: Path, start: int = 0) -> Iterator[tuple[int, int, dict[str, Any] | None]]:
    """(byte offset, bytes, object) of each whole line from offset `start`; None in place of a line that is no JSON object.

    A last line without its end is left out: it is being written, or was when its process ended. No file is no lines.
    """
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        return
    with file:
        file.seek(start)
        at = start
        for line in file:
            if not line.endswith(b"\n"):
                return
            if line.strip():
                yield at, len(line), parsed(line)
            at += len(line)


def parsed(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line; None where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def number(value: Any) -> float | None:
    """A JSON value as a number; None for what is none, for true and false, and for what is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if abs(found) <= 1.7976931348623157e308 else None


class Follow:
    """A growing JSON Lines file: `new` reads what was added since the last call.

    records: the objects so far. unread: whole lines that were no objects. A file that was cut back, as when a run goes on
    from its checkpoint, is read again from its beginning; `again` counts how often.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        self.unread = self.again = 0
        self._at = 0
        self._last = b""

    def new(self) -> bool:
        """Read on; whether `records` changed."""
        before = len(self.records)
        restarted = self._at > 0 and not self._same()
        if restarted:
            self.records, self.unread, self._at, self._last = [], 0, 0, b""
            self.again += 1
        end = self._at
        for at, size, record in objects(self.path, self._at):
            end = at + size
            if record is None:
                self.unread += 1
            else:
                self.records.append(record)
        if end > self._at:
            self._at = end
            self._last = self._bytes(max(0, end - 64), end)
        return restarted or len(self.records) != before

    def _same(self) -> bool:
        """Whether what was read last still stands where it stood."""
        return self._bytes(self._at - len(self._last), self._at) == self._last

    def _bytes(self, start: int, end: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(start)
                return file.read(end - start)
        except (FileNotFoundError, NotADirectoryError):
            return b""


def records_of(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSON Lines file, whatever state its writer left it in."""
    return [record for _, _, record in objects(path) if record is not None]
