"""A benchmark's instructions around its questions: text before and after, and worked examples as turns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Message, Messages, Problem, user
from burnish.data.source import DerivedSource, Source, reworded
from burnish.data.sources.pinned import Pinned, locate
from burnish.errors import DataError

# MMLU-Pro, GPQA and AGIEval in Tülu 3's evaluation: what stands before a question, and what stands after it.
CONCISE = (
    "Answer the following multiple-choice question by giving the correct answer letter in parentheses. Provide CONCISE "
    'reasoning for the answer, and make sure to finish the response with "Therefore, the answer is (ANSWER_LETTER)" where '
    "(ANSWER_LETTER) is one of (A), (B), (C), (D), (E), etc.\n\n"
)
REMEMBER = (
    'Answer the above question and REMEMBER to finish your response with the exact phrase "Therefore, the answer is '
    '(ANSWER_LETTER)" where (ANSWER_LETTER) is one of (A), (B), (C), (D), (E), etc.'
)


@dataclass(frozen=True, slots=True)
class Framed(DerivedSource):
    """Problems whose questions stand between two texts; {category} in them is the row's own, with spaces for underscores.

    examples: turns before the question.
    form:     short and stable, part of the name.
    """

    problems: Source
    form: str
    before: str = ""
    after: str = ""
    examples: Messages = ()
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. "mmlu/test/cot"."""
        return f"{self.problems.name}/{self.form}"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its question framed; lineage names the plain problem."""
        for row in self.problems.rows(data):
            if not isinstance(row, Problem):
                raise DataError(
                    f"{self.name}: source {self.problems.name} yields {type(row).__name__} rows, wanted Problems."
                )
            category = row.category.replace("_", " ")
            before, after = (text.replace("{category}", category) for text in (self.before, self.after))
            asked = user(f"{before}{row.prompt[-1].content}{after}")
            yield reworded(row, (*self.examples, *asked), self.name)


class BehindExamples(DerivedSource):
    """Abstract: problems behind worked examples that lie in a file of their own. Subclasses are frozen dataclasses with `name` and
    `rows`.
    """

    __slots__ = ()
    EXAMPLES: ClassVar[Pinned]

    @property
    def name(self) -> str:
        """The source's name."""
        raise NotImplementedError

    def check(self, data: Path | None) -> None:
        """Raise DataError unless questions and examples can be had."""
        super().check(data)
        locate(self.EXAMPLES, data, self.name)


class OtherSolutions(DerivedSource):
    """Abstract: problems whose worked solutions are given otherwise. Subclasses are frozen dataclasses with `solution`."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The problems' name: prompts and targets are theirs."""
        return self.problems.name

    def solution(self, problem: Problem) -> str:
        """The solution to give, "" for none."""
        raise NotImplementedError

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in order."""
        for row in self.problems.rows(data):
            if not isinstance(row, Problem):
                raise DataError(
                    f"{self.name}: source {self.problems.name} yields {type(row).__name__} rows, wanted Problems."
                )
            yield replace(row, solution=self.solution(row))


def turns(*pairs: tuple[str, str]) -> Messages:
    """(user, assistant) texts as turns."""
    return tuple(
        message for question, answer in pairs for message in (Message("user", question), Message("assistant", answer))
    )
