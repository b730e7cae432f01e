"""MMLU-Pro (Wang et al. 2024, arXiv:2406.01574): questions with up to ten choices, for verifier "choice". Evaluation only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Problem
from burnish.data.sources.benchmark import Benchmark, BenchmarkSource, rows_of, text_of
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.multiple_choice import choice_problem, choices_of, lettered
from burnish.data.sources.pinned import Pinned, TestSource, records

_COT = "A: Let's think step by step."
_TEST = Benchmark(
    "mmlu_pro/test", "TIGER-Lab/MMLU-Pro", "", "test", 12_032, "MIT", ("question", "options", "answer", "category"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MMLUProQuestions(BenchmarkSource):
    """The test split: 12,032 questions in 14 categories."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """mmlu_pro/test."""
        return "mmlu_pro/test"

    @property
    def benchmark(self) -> Benchmark:
        """TIGER-Lab/MMLU-Pro."""
        return _TEST

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order: "Question: …", lines " (A) …", and a line's end."""
        for number, row in enumerate(rows_of(self.benchmark, data, self.name)):
            for column in ("question", "answer", "category"):
                text_of(row, column, self.name, number)
            yield _asked(self, row, number)


@dataclass(frozen=True, slots=True)
class MMLUProValidation(TestSource):
    """The validation split: 70 questions in 14 categories, with worked answers."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """mmlu_pro/validation."""
        return "mmlu_pro/validation"

    @property
    def file(self) -> Pinned:
        """The questions' file."""
        return TESTS["mmlu_pro_validation"].file

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order; solutions are the published worked answers with the closing phrase asked for."""
        for number, row in enumerate(
            records(self.file, data, self.name, ("question", "answer", "category", "cot_content"))
        ):
            yield _asked(self, row, number, row["cot_content"].removeprefix(_COT).strip())


def _asked(source: MMLUProQuestions | MMLUProValidation, row: dict[str, Any], number: int, steps: str = "") -> Problem:
    choices = choices_of(row.get("options"), source, number)
    query = f"Question: {row['question']}\n" + "".join(f"{line}\n" for line in lettered(choices))
    return choice_problem(
        source, [row["question"]], query, row["answer"], choices, row["category"], row.get("question_id", number), steps
    )
