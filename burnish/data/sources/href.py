"""HREF (Lyu et al. 2024, arXiv:2412.15524): instructions with a baseline's reply and a person's own. Evaluation only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.benchmark import Benchmark, BenchmarkSource, rows_of, text_of

_COLUMNS = ("category", "instruction", "output", "reference")
_DEV = Benchmark("href/dev", "allenai/href", "", "dev", 430, "ODC-By-1.0", _COLUMNS)


@dataclass(frozen=True, slots=True)
class HREFInstructions(BenchmarkSource):
    """The published part: 430 instructions of 8 categories, for verifier "href". The 4,258 of 11 that were scored stay hidden."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """href/dev."""
        return "href/dev"

    @property
    def benchmark(self) -> Benchmark:
        """allenai/href."""
        return _DEV

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order. The solution is the person's reply, which need not be the better one for every judge."""
        for number, row in enumerate(rows_of(self.benchmark, data, self.name)):
            category, instruction, baseline, reference = (
                text_of(row, column, self.name, number) for column in _COLUMNS
            )
            target = {"category": category, "baseline": baseline, "reference": reference}
            yield Problem(
                user(instruction), Check("href", json.dumps(target, ensure_ascii=False)), reference, category=category,
                source=self.name, licence=self.licence, annotations={"key": number},
            )  # fmt: skip
