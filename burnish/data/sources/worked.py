"""Worked solutions as demonstrations: each problem with a known solution becomes a conversation to imitate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Demo, Message, Problem
from burnish.data.source import Source
from burnish.errors import DataError


@dataclass(frozen=True, slots=True)
class Worked:
    """The problems of a source, answered by their own worked solutions. Lineage names the problem."""

    problems: Source
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """The problems' name, marked as worked."""
        return f"{self.problems.name}/worked"

    @property
    def licence(self) -> str:
        """The problems' licence."""
        return self.problems.licence

    @property
    def url(self) -> str:
        """The problems' address."""
        return self.problems.url

    @property
    def revision(self) -> str:
        """The problems' revision."""
        return self.problems.revision

    @property
    def count(self) -> int | None:
        """The rows it yields, where the problems' source knows that without reading."""
        return getattr(self.problems, "count", None)

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One Demo a problem. Raises DataError for a row that is no Problem or has no worked solution."""
        for row in self.problems.rows(data):
            if not isinstance(row, Problem) or not row.solution:
                raise DataError(
                    f"Worked({self.problems.name}): row {row.id} is a {type(row).__name__} without a worked solution, so there is nothing "
                    "to imitate.\n  Use a source of Problems whose solutions are known."
                )
            yield Demo(
                (*row.prompt, Message("assistant", row.solution)),
                source=self.name,
                licence=row.licence,
                lineage=(f"problem:{row.id}",),
                annotations={"category": row.category},
            )
