"""The source protocol: where rows come from, with their licence and revision; and two bases that answer parts of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from burnish.core.types import Messages, Problem, Row


@dataclass(frozen=True, slots=True)
class Broken:
    """A record that could not be read as a row.

    where:  file and line or row number, for a person to find it.
    reason: a short sentence; equal reasons are counted together.
    raw:    the beginning of the record as it stands in the file.
    """

    where: str
    reason: str
    raw: str = ""


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
        """The rows. `data` is the folder of --data. Raises DataError (file, line, field) or one naming the three ways to get the data.

        A source that reads outside files has `read(data) -> Iterator[Row | Broken]` beside it, which never stops at a broken record.
        """


class GeneratedSource:
    """Abstract: a source of `n` rows made by this library. Subclasses are frozen dataclasses with `name` and `rows`."""

    __slots__ = ()
    n: int

    @property
    def licence(self) -> str:
        """That of this library, which the texts are part of."""
        return "Apache-2.0"

    @property
    def url(self) -> str:
        """Empty: the rows are generated."""
        return ""

    @property
    def revision(self) -> str:
        """`generated`."""
        return "generated"

    @property
    def count(self) -> int:
        """The rows it yields."""
        return self.n


class DerivedSource:
    """Abstract: the rows of another source in another form. Subclasses are frozen dataclasses with `name` and `rows`."""

    __slots__ = ()
    problems: Source

    @property
    def licence(self) -> str:
        """The problems' licence."""
        return self.problems.licence

    @property
    def url(self) -> str:
        """Where the problems are published."""
        return self.problems.url

    @property
    def revision(self) -> str:
        """The problems' revision."""
        return self.problems.revision

    @property
    def count(self) -> int | None:
        """The rows it yields, where the problems' source knows that without reading."""
        return getattr(self.problems, "count", None)

    @property
    def evaluation_only(self) -> bool:
        """The problems' own word for it: True for rows no model may be trained on."""
        return getattr(self.problems, "evaluation_only", False)

    def check(self, data: Path | None) -> None:
        """Raise DataError unless the problems can be had."""
        if check := getattr(self.problems, "check", None):
            check(data)


def reworded(problem: Problem, prompt: Messages, source: str) -> Problem:
    """The problem asked in other words or behind examples; its lineage names the plain one.

    What decontamination compares stays the plain question (annotations["fields"]): a template's own words in an item would
    thin out every overlap.
    """
    asked = [turn.content for turn in problem.prompt if turn.role == "user"]
    notes = {**problem.annotations, "fields": list(problem.annotations.get("fields") or asked[-1:])}
    return replace(problem, prompt=prompt, source=source, lineage=(*problem.lineage, problem.id), annotations=notes)
