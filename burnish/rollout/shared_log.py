"""An append-only JSON Lines file that several processes write at once; a kill costs at most the line being written.

`burnish.core.files.JsonlLog` belongs to one process, which may cut its file back. Here every line is one write behind a
file lock, and nobody ever cuts: a line that a kill left without its end is closed by the next writer and passed over.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from burnish.core.files import disk_errors


class SharedLog:
    """The file at `path`, or memory of this process for None. Used by one thread at a time."""

    def __init__(self, path: Path | None) -> None:
        self._seen = 0
        self._locked = False
        self._memory: list[dict[str, Any]] = []
        self._file: int | None = None
        self._path = path
        if path is not None:
            with disk_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)

    def new(self) -> list[tuple[int, dict[str, Any]]]:
        """(place, record) of every whole record that was appended, by anyone, since the last call."""
        if self._file is None:
            found = list(enumerate(self._memory))[self._seen :]
            self._seen = len(self._memory)
            return found
        records: list[tuple[int, dict[str, Any]]] = []
        raw = self._rest()
        whole, ended, _ = raw.rpartition(b"\n")
        for line in whole.split(b"\n") if ended else ():
            record = _record(line)
            if record is not None:
                records.append((self._seen, record))
            self._seen += len(line) + 1
        return records

    def at(self, place: int) -> dict[str, Any]:
        """The record at a place that `new` gave."""
        if self._file is None:
            return self._memory[place]
        raw, size = b"", 1 << 14
        while b"\n" not in raw:
            part = os.pread(self._file, size, place + len(raw))
            if not part:
                break
            raw += part
        return _record(raw.partition(b"\n")[0]) or {}

    def append(self, record: dict[str, Any]) -> None:
        """Add one record; it is in the operating system's hands when this returns."""
        if self._file is None or self._path is None:
            self._memory.append(record)
            return
        line = json.dumps(record, ensure_ascii=True, allow_nan=False).encode() + b"\n"
        with disk_errors(self._path), self.locked():
            end = os.fstat(self._file).st_size
            if end and os.pread(self._file, 1, end - 1) != b"\n":
                line = b"\n" + line
            while line:
                line = line[os.write(self._file, line) :]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process appends inside; may be nested."""
        if self._file is None or self._locked:
            yield
            return
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._locked = True
        try:
            yield
        finally:
            self._locked = False
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _rest(self) -> bytes:
        parts: list[bytes] = []
        at = self._seen
        while self._file is not None and (part := os.pread(self._file, 1 << 22, at)):
            parts.append(part)
            at += len(part)
        return b"".join(parts)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class ReplyCache:
    """Replies by what was asked, in a file of a folder. Texts stay on disk; memory holds where they lie."""

    def __init__(self, folder: Path | None, name: str = "replies.jsonl") -> None:
        self._log = SharedLog(folder / name if folder else None)
        self._places: dict[str, int] = {}

    def get(self, key: str) -> dict[str, Any] | None:
        """What was kept under the key, by any process, or None."""
        if key not in self._places:
            self._places.update((record["key"], place) for place, record in self._log.new() if "key" in record)
        return self._log.at(self._places[key]) if key in self._places else None

    def put(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record under the key."""
        self._log.append({"key": key, **record})

    def close(self) -> None:
        """Close the file."""
        self._log.close()
