"""GPQA (Rein et al. 2023, arXiv:2311.12022): 448 hard science questions with four choices, for verifier "choice". Evaluation only.

The set is gated: the publishers ask that its questions are not shown in public, so that they stay out of training data.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Problem
from burnish.data.sources.benchmark import Benchmark, BenchmarkSource, rows_of, text_of
from burnish.data.sources.multiple_choice import LETTERS, choice_problem, lettered
from burnish.errors import DataError

_WRONG = ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")
_RIGHT = "Correct Answer"
_MAIN = Benchmark(
    "gpqa/main", "Idavidrein/gpqa", "gpqa_main", "train", 448, "CC-BY-4.0", ("Question", *_WRONG, _RIGHT),
)  # fmt: skip
_SEED = 111
_BRACKETED = re.compile(r"\[.*?\]")


@dataclass(frozen=True, slots=True)
class GPQAQuestions(BenchmarkSource):
    """The set "main"; categories are the high-level domains: Biology, Chemistry, Physics."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """gpqa/main."""
        return "gpqa/main"

    @property
    def benchmark(self) -> Benchmark:
        """Idavidrein/gpqa."""
        return _MAIN

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order, their choices in the published order: shuffled by random.Random(111 + row).

        "Question: …", "Choices:", lines " (A) …", and a line's end. Two choices that are equal once cleaned keep both their
        letters; the first is the right one, as published.
        """
        for number, row in enumerate(rows_of(self.benchmark, data, self.name)):
            question = text_of(row, "Question", self.name, number)
            right = cleaned(row[_RIGHT])
            choices = [*(cleaned(row[column]) for column in _WRONG), right]
            if not right.strip():
                raise DataError(
                    f"{self.name}, row {number + 1}, column {_RIGHT!r}: expected text, got {row[_RIGHT]!r:.60}."
                )
            random.Random(_SEED + number).shuffle(choices)
            query = f"Question: {question}\nChoices:\n" + "".join(f"{line}\n" for line in lettered(choices))
            letter = LETTERS[choices.index(right)]
            category = row.get("High-level domain") or ""
            yield choice_problem(self, [question], query, letter, choices, category, row.get("Record ID", number))


def cleaned(choice: Any) -> str:
    """A choice without the marks that its web form left in it: " [title]" and bracketed notes; " " where there is none."""
    if not isinstance(choice, str):
        return " "
    return _BRACKETED.sub("", choice.strip().replace(" [title]", ". ")).replace("  ", " ")
