"""What is compared: the fields of test items on one side, the user turns of training rows on the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, TypeVar

from burnish.core.types import Demo, Problem, Row
from burnish.data.decontamination.rule import Overlap
from burnish.data.source import Source
from burnish.errors import DataError

T = TypeVar("T")


class TestSet(Protocol):
    """Problems that training data must not contain."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def problems(self, data: Path | None) -> list[Problem]:
        """Its items."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A test set as decontamination sees it: a name and where its problems come from. Settings of its evaluation have no part."""

    name: str
    source: Source

    def problems(self, data: Path | None) -> list[Problem]:
        """Every problem of the source. Raises DataError when it yields other rows or none."""
        found = list(self.source.rows(data))
        if not found:
            raise DataError(
                f"test set {self.name}: source {self.source.name} yields no problems, so nothing could be compared."
            )
        problems = [row for row in found if isinstance(row, Problem)]
        if len(problems) < len(found):
            raise DataError(f"test set {self.name}: source {self.source.name} yields rows that are not Problems.")
        return problems


@dataclass(frozen=True, slots=True)
class Item:
    """A test item: the texts of its fields.

    prompt:  what is asked; several texts where the test keeps parts apart (a passage and a question).
    choices: the options offered. answers: the accepted answers. Both count under Overlap(fields="all") only.
    """

    test: str
    id: str
    prompt: tuple[str, ...]
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    def fields(self, rule: Overlap) -> tuple[str, ...]:
        """The texts that the rule compares, prompt first."""
        return self.prompt if rule.fields == "prompt" else (*self.prompt, *self.choices, *self.answers)


def item_of(test: str, problem: Problem) -> Item:
    """The item of a problem: annotations["fields"] where its source gives them, else the last user turn.

    Worked examples before the last turn are not the item; a source that puts examples and question into one turn
    names the question in annotations["fields"], because 8 examples would thin out any overlap below one half.
    annotations["choices"] and annotations["answers"] are lists of texts, where a source gives them.
    """
    notes = problem.annotations
    asked = [turn.content for turn in problem.prompt if turn.role == "user"]
    prompt = tuple(str(text) for text in notes.get("fields") or asked[-1:])
    choices = tuple(str(text) for text in notes.get("choices") or ())
    answers = tuple(str(text) for text in notes.get("answers") or ())
    return Item(test, problem.id, prompt, choices, answers)


def user_turns(row: Row) -> tuple[str, ...]:
    """The texts of a training row that are compared: its user turns, one by one."""
    turns = row.messages if isinstance(row, Demo) else row.prompt
    return tuple(turn.content for turn in turns if turn.role == "user")


def batches(rows: Iterable[T], size: int) -> Iterator[tuple[int, list[T]]]:
    """(number of the first row, at most `size` rows), one after another."""
    rest, first = iter(rows), 0
    while batch := list(islice(rest, size)):
        yield first, batch
        first += len(batch)
