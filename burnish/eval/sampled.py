"""A fixed sample of a benchmark's problems, for a first look that costs minutes: chosen by hash, never the first n."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.rng import rank
from burnish.core.types import Problem
from burnish.data.source import DerivedSource, Source
from burnish.errors import DataError


@dataclass(frozen=True, slots=True)
class Sampled(DerivedSource):
    """`n` problems of a source, those whose hash of (seed, problem id) is lowest, in the source's order.

    by_category: equally many of each category (one more of some, again by hash), for scores that are means of categories'
    means; a category with fewer problems gives all it has.
    """

    problems: Source
    n: int
    seed: int = 0
    by_category: bool = False
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. "gsm8k/test/8shot/sample100"."""
        return f"{self.problems.name}/sample{self.n}" + (f".{self.seed}" if self.seed else "")

    @property
    def count(self) -> int | None:
        """The problems it yields, unless the source has fewer."""
        return self.n

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The chosen problems. Raises DataError for a source that yields anything else."""
        rows: list[Problem] = []
        for row in self.problems.rows(data):
            if not isinstance(row, Problem):
                raise DataError(f"{self.name}: source {self.problems.name} yields {type(row).__name__} rows, wanted Problems.")  # fmt: skip
            rows.append(row)
        yield from (rows[place] for place in sorted(self._chosen(rows)))

    def _chosen(self, rows: Sequence[Problem]) -> list[int]:
        if not self.by_category:
            return self._lowest(rows, range(len(rows)), self.n)
        groups: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(row.category, []).append(place)
        each, more = divmod(self.n, max(len(groups), 1))
        favoured = sorted(groups, key=lambda category: rank(self.seed, "sampled category", category))[:more]
        return [
            place
            for category, places in groups.items()
            for place in self._lowest(rows, places, each + (category in favoured))
        ]

    def _lowest(self, rows: Sequence[Problem], places: Sequence[int], n: int) -> list[int]:
        return sorted(places, key=lambda place: (rank(self.seed, "sampled", rows[place].id), place))[:n]
