"""MATH (Hendrycks et al. 2021, arXiv:2103.03874): competition problems with solutions; "500" is the MATH-500 subset of test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.types import Check, Demo, Message, Problem, user
from burnish.data.sources.pinned import Pinned, PinnedSource, one_of, records
from burnish.verify.math.extract import last_box

_URL = "https://github.com/TianHongZXY/rl-reasoning"
_COMMIT = "c90ce5c4ba10fd948d64ee956d3b561f883de166"
_TRAIN = "f4fcfaf1399556837776da91550d0d9630c8a1d4f9bfbc08c06a950fa49960e7"
_TEST = "65581d0a2ff099218e02e26b9afc7fb2844073cc7632722bcbadf2bca6dd61d8"
_500 = "f07ed38613fb7897a59423a841d8ab2bb288eba639fbf3ecf1ff3e2bc9c76419"
_500_COMMIT = "cf1c7858bfc145a27aa733e75d930d34f0d318a6"
FILES = {
    "train": Pinned("math/train.jsonl.gz", _TRAIN, 7500, "MIT", _URL, _COMMIT),
    "test": Pinned("math/test.jsonl.gz", _TEST, 5000, "MIT", _URL, _COMMIT),
    "500": Pinned(
        "math/math500.jsonl.gz", _500, 500, "MIT", "https://github.com/hkust-nlp/simpleRL-reason", _500_COMMIT
    ),
}


@dataclass(frozen=True, slots=True)
class MATHProblems(PinnedSource):
    """MATH problems with the reference answer as target, for verifier "math". Only the train split may be trained on.

    The target is what the reference solution's last box holds, as every evaluation of MATH takes it.
    """

    split: Literal["train", "test", "500"] = "train"
    VERSION: ClassVar[int] = 2

    def __post_init__(self) -> None:
        one_of(self.split, FILES, "MATHProblems(split=...)")

    @property
    def name(self) -> str:
        """math/train, math/test or math/500."""
        return f"math/{self.split}"

    @property
    def file(self) -> Pinned:
        """The split's file."""
        return FILES[self.split]

    @property
    def evaluation_only(self) -> bool:
        """True for every split but train."""
        return self.split != "train"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems; category is the subject, annotations hold the level."""
        subject = "subject" if self.split == "500" else "type"
        for record in records(self.file, data, self.name, ("problem", "solution", "answer", subject)):
            solution = _mended(record["solution"])
            yield Problem(
                user(record["problem"]),
                Check("math", last_box(solution) or record["answer"]),
                solution,
                record[subject],
                source=self.name,
                licence=self.licence,
                annotations={"level": str(record.get("level", ""))},
            )


@dataclass(frozen=True, slots=True)
class MATHDemos(PinnedSource):
    """MATH train problems answered by their reference solutions."""

    VERSION: ClassVar[int] = 2

    @property
    def name(self) -> str:
        """math/train."""
        return "math/train"

    @property
    def file(self) -> Pinned:
        """The train split's file."""
        return FILES["train"]

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One demo a problem."""
        for record in records(self.file, data, self.name, ("problem", "solution")):
            turns = (*user(record["problem"]), Message("assistant", _mended(record["solution"])))
            yield Demo(turns, source=self.name, licence=self.licence)


def _mended(solution: str) -> str:
    """The reference solution; two of train have lost the 0 in their box ("there are no primes in that range")."""
    return solution.replace("\\boxed{}", "\\boxed{0}")
