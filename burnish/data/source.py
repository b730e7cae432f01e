"""The source protocol: where rows come from, with their licence and revision."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from burnish.core.types import Row


@runtime_checkable
class Source(Protocol):
    """A frozen dataclass that yields rows in a fixed order. Its fields are its identity."""

    VERSION: ClassVar[int]

    @property
    def name(self) -> str:
        """Short, stable, e.g. "gsm8k/train"; every row carries it as `source`."""

    @property
    def licence(self) -> str:
        """SPDX id or the publisher's name for it."""

    @property
    def url(self) -> str:
        """Where it is published; "" for generated rows."""

    @property
    def revision(self) -> str:
        """Which version: a commit, a SHA-256, or "generated"."""

    def rows(self, data: Path | None) -> Iterator[Row]:
        """The rows. `data` is the folder of --data. Raises DataError (file, line, field) or one naming the three ways to get the data."""
