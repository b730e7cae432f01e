"""Published multiple-choice tests as problems: MMLU and TruthfulQA; and what MMLU-Pro, GPQA and AGIEval share. Evaluation only.

The prompt is the question with its lettered choices, as Tülu 3's evaluation writes them; a benchmark's instructions go around it
(burnish.eval.tasks). Targets hold the letter and the choices: for verifier "choice", and for rankings by letter. Where choices
are compared as whole texts, the prompt is the question alone, and the target has the choices with the indices of the true ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from burnish.core.types import Check, Problem, user
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.pinned import Pinned, TestSource, one_of, records
from burnish.errors import DataError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

MULTIPLE_CHOICE_817 = Pinned(
    "truthfulqa/mc_817.jsonl", "acbee5ce4af7156384d916ebcb952771fe1e2b2ee1941afae88a9726241fbca8",
    817, "Apache-2.0", "https://github.com/koppula/TruthfulQA", "4dee2311b23de20b43bfc12ace7037f3f71ba421",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MMLUQuestions(TestSource):
    """MMLU's test split (Hendrycks et al. 2020, arXiv:2009.03300): 14,042 questions in 57 subjects, which are the categories."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """mmlu/test."""
        return "mmlu/test"

    @property
    def file(self) -> Pinned:
        """The questions' file."""
        return TESTS["mmlu"].file

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order: "Question: …", four lines " A. …", and a line's end."""
        for number, record in enumerate(
            records(self.file, data, self.name, ("subject", "question", *"ABCD", "answer"))
        ):
            choices = [record[letter] for letter in "ABCD"]
            query = mmlu_question(record["question"], choices)
            yield choice_problem(
                self, [record["question"]], query, record["answer"], choices, record["subject"], number
            )


@dataclass(frozen=True, slots=True)
class TruthfulQAChoices(TestSource):
    """TruthfulQA (Lin et al. 2021, arXiv:2109.07958), MC1 as a question with lettered choices: 817 questions, one right choice each.

    The file has the right choice first; here the choices are ordered by a hash of question and choice.
    """

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """truthfulqa/mc1."""
        return "truthfulqa/mc1"

    @property
    def file(self) -> Pinned:
        """The questions' file."""
        return MULTIPLE_CHOICE_817

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order."""
        for number, record in enumerate(records(self.file, data, self.name, ("question",))):
            question, marks = record["question"], record.get("mc1_targets")
            if not isinstance(marks, dict) or sorted(marks.values()) != [0] * (len(marks) - 1) + [1]:
                raise DataError(
                    f"{self.name}, row {number + 1}: mc1_targets must mark one choice with 1 and others with 0."
                )
            choices = sorted(marks, key=lambda choice: hashlib.sha256(f"{question}\n{choice}".encode()).hexdigest())
            letter = LETTERS[next(i for i, choice in enumerate(choices) if marks[choice])]
            query = f"Question: {question}\n" + "".join(f"{line}\n" for line in lettered(choices))
            yield choice_problem(self, [question], query, letter, choices, "", number)


@dataclass(frozen=True, slots=True)
class TruthfulQARanked(TestSource):
    """TruthfulQA (arXiv:2109.07958): 817 questions whose choices, true and false, are compared as whole texts (burnish.eval.ranking).

    choices: "mc2", all true and false ones, several of each; "mc1", one true one and false ones.
    """

    choices: Literal["mc1", "mc2"] = "mc2"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        one_of(self.choices, ("mc1", "mc2"), "TruthfulQARanked(choices=...)")

    @property
    def name(self) -> str:
        """truthfulqa/mc2/ranked or truthfulqa/mc1/ranked."""
        return f"truthfulqa/{self.choices}/ranked"

    @property
    def file(self) -> Pinned:
        """The questions' file."""
        return MULTIPLE_CHOICE_817

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order, their choices in the file's; the prompt is the question alone."""
        field = f"{self.choices}_targets"
        for number, record in enumerate(records(self.file, data, self.name, ("question",))):
            marks = record.get(field)
            if not isinstance(marks, dict) or set(marks.values()) != {0, 1}:
                raise DataError(
                    f"{self.name}, row {number + 1}: {field} must mark true choices with 1 and false ones with 0."
                )
            choices, right = list(marks), [place for place, mark in enumerate(marks.values()) if mark]
            target = json.dumps({"choices": choices, "right": right}, ensure_ascii=False)
            yield Problem(
                user(record["question"]), Check("ranking", target), choices[right[0]], source=self.name, licence=self.licence,
                annotations={"key": number, "fields": [record["question"]], "choices": choices},
            )  # fmt: skip


def mmlu_question(question: str, choices: Sequence[str]) -> str:
    """A question of MMLU as Tülu 3's evaluation writes it: "Question: …", lines " A. …", and a line's end."""
    lines = "".join(f" {letter}. {choice}\n" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"Question: {question}\n{lines}"


def lettered(choices: Sequence[str]) -> list[str]:
    """One line a choice: " (A) Paris"."""
    return [f" ({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]


def choices_of(value: Any, source: Any, number: int) -> list[str]:
    """The field `options` of row `number`, counted from 0. Raises DataError where it is no list of texts."""
    if not isinstance(value, list) or not all(isinstance(choice, str) for choice in value):
        raise DataError(
            f"{source.name}, row {number + 1}, field 'options': expected a list of texts, got {value!r:.60}."
        )
    return value


def choice_problem(
    source: Any,
    asked: list[str],
    query: str,
    letter: str,
    choices: list[str],
    category: str,
    key: object,
    steps: str = "",
) -> Problem:
    """A problem with lettered choices, for verifier "choice".

    asked:  the parts of the question alone, which decontamination compares.
    query:  what the prompt says. letter: of the right choice. key: the row's name in its set.
    steps:  a worked answer; the solution is it and the closing phrase that Tülu 3's prompts ask for.

    Raises DataError where the letter is not one of the choices'.
    """
    if letter not in LETTERS[: len(choices)] or len(letter) != 1:
        raise DataError(
            f"{source.name}, row {key}: the answer is {letter!r:.40}, but the {len(choices)} choices are lettered "
            f"{', '.join(LETTERS[: len(choices)])}."
        )
    conclusion = f"Therefore, the answer is ({letter})"
    return Problem(
        user(query), Check("choice", json.dumps({"letter": letter, "choices": choices}, ensure_ascii=False)),
        f"{steps}\n{conclusion}" if steps else conclusion, category=category, source=source.name, licence=source.licence,
        annotations={"key": key, "fields": asked, "choices": choices},
    )  # fmt: skip
