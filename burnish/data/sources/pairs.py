"""Pairs of replies as problems: is the better one found? RewardBench (arXiv:2403.13787), and any source of `Pair` rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Check, Messages, Pair, Problem, user
from burnish.data.source import Broken, DerivedSource, Source
from burnish.data.sources.benchmark import Benchmark, BenchmarkSource, rows_of, text_of
from burnish.errors import DataError

REWARDBENCH = Benchmark(
    "rewardbench/filtered", "allenai/reward-bench", "", "filtered", 2985, "ODC-BY-1.0",
    ("prompt", "chosen", "rejected", "subset"),
)  # fmt: skip


def pair_problem(
    prompt: Messages, chosen: str, rejected: str, subset: str, source: Source, key: object
) -> Problem:  # fmt: skip
    """The pair as a problem. target: JSON {"choices": [chosen, rejected], "right": [0]}; the solution is the chosen reply.

    subset: the category. key: the pair's name in its set.
    """
    target = json.dumps({"choices": [chosen, rejected], "right": [0]}, ensure_ascii=False)
    return Problem(
        prompt, Check("pair", target), solution=chosen, category=subset, source=source.name, licence=source.licence,
        annotations={"key": key, "fields": [turn.content for turn in prompt if turn.role == "user"]},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class RewardBench(BenchmarkSource):
    """RewardBench's 2,985 pairs, in 23 subsets. Columns: prompt, chosen, rejected, subset."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """rewardbench/filtered."""
        return "rewardbench/filtered"

    @property
    def benchmark(self) -> Benchmark:
        """The data set on the hub."""
        return REWARDBENCH

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The pairs in the file's order."""
        for number, record in enumerate(rows_of(self.benchmark, data, self.name)):
            prompt, chosen, rejected, subset = (
                text_of(record, name, self.name, number) for name in self.benchmark.columns
            )
            yield pair_problem(user(prompt), chosen, rejected, subset, self, record.get("id", number))


@dataclass(frozen=True, slots=True)
class PairProblems(DerivedSource):
    """The pairs of another source, such as a set of HH-RLHF or files of (prompt, chosen, rejected).

    Records that the source calls broken (empty turns, two equal replies) are left out; a task that names its n notices others.
    subset: the annotation that holds a pair's subset, or "".
    """

    problems: Source
    subset: str = "subset"
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. hh_rlhf/helpful-base/pairs."""
        return f"{self.problems.name}/pairs"

    @property
    def count(self) -> int | None:
        """Unknown without reading, for what is left out."""
        return None

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The pairs in the source's order. Raises DataError for rows that are none."""
        read = getattr(self.problems, "read", self.problems.rows)
        for number, row in enumerate(read(data)):
            if isinstance(row, Broken):
                continue
            if not isinstance(row, Pair):
                raise DataError(
                    f"{self.name}: source {self.problems.name} yields {type(row).__name__} rows, wanted Pairs."
                )
            subset = str(row.annotations.get(self.subset, "")) if self.subset else ""
            yield pair_problem(row.prompt, row.chosen, row.rejected, subset, self, number)
