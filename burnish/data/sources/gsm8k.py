"""GSM8K (Cobbe et al. 2021, arXiv:2110.14168): grade-school maths word problems with worked solutions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.types import Check, Demo, Message, Problem, user
from burnish.data.sources.pinned import Pinned, PinnedSource, one_of, records
from burnish.errors import DataError

_URL = "https://github.com/openai/grade-school-math"
_COMMIT = "3101c7d5072418e28b9008a6636bde82a006892c"
_TRAIN = "d52a31668743a4f18e4a284514e54eea07a06ae31fcf4293af2506c198c05bda"
_TEST = "bb13a52c31b1fa4805ebab294dce067e337ccd4b61c3e6461c85c92965282c62"
FILES = {
    "train": Pinned("gsm8k/train.jsonl.gz", _TRAIN, 7473, "MIT", _URL, _COMMIT),
    "test": Pinned("gsm8k/test.jsonl.gz", _TEST, 1319, "MIT", _URL, _COMMIT),
}
_CALCULATOR = re.compile(r"<<[^<>]*>>")


@dataclass(frozen=True, slots=True)
class GSM8KProblems(PinnedSource):
    """GSM8K questions with their final number as target, for verifier "gsm8k". The test split is for evaluation only."""

    split: Literal["train", "test"] = "train"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        one_of(self.split, FILES, "GSM8KProblems(split=...)")

    @property
    def name(self) -> str:
        """gsm8k/train or gsm8k/test."""
        return f"gsm8k/{self.split}"

    @property
    def file(self) -> Pinned:
        """The split's file."""
        return FILES[self.split]

    @property
    def evaluation_only(self) -> bool:
        """True for the test split."""
        return self.split != "train"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems; the solution is the worked answer without calculator annotations."""
        for question, solution, number in _read(self, data):
            yield Problem(user(question), Check("gsm8k", number), solution, source=self.name, licence=self.licence)


@dataclass(frozen=True, slots=True)
class GSM8KDemos(PinnedSource):
    """GSM8K questions answered by their worked solutions, which end in "#### number", without calculator annotations."""

    split: Literal["train"] = "train"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        one_of(self.split, ("train",), "GSM8KDemos(split=...)")

    @property
    def name(self) -> str:
        """gsm8k/train."""
        return f"gsm8k/{self.split}"

    @property
    def file(self) -> Pinned:
        """The split's file."""
        return FILES[self.split]

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One demo a question."""
        for question, solution, _ in _read(self, data):
            yield Demo((*user(question), Message("assistant", solution)), source=self.name, licence=self.licence)


def without_calculator(text: str) -> str:
    """A worked solution without its <<48/2=24>> annotations."""
    return _CALCULATOR.sub("", text)


def _read(source: PinnedSource, data: Path | None) -> Iterator[tuple[str, str, str]]:
    """(question, worked solution, final number)."""
    for record in records(source.file, data, source.name, ("question", "answer")):
        solution = without_calculator(record["answer"])
        _, mark, number = solution.rpartition("####")
        if not mark:
            raise DataError(f"{source.name}: the answer to {record['question']!r:.60} has no '#### number'.")
        yield record["question"], solution, number.strip()
