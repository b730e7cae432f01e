"""Published multiple-choice tests as problems for verifier "choice": MMLU, MMLU-Pro, AGIEval, TruthfulQA. Evaluation only.

The prompt is the question with its lettered choices, as Tülu 3's evaluation writes them; a benchmark's instructions go around it
(burnish.eval.tasks). Targets hold the letter and the choices.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.pinned import Pinned, TestSource, locate, records
from burnish.errors import DataError

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# The eight English tasks of AGIEval that count; "math" has no choices and "sat-en-without-passage" repeats "sat-en".
AGIEVAL = ("aqua-rat", "gaokao-english", "logiqa-en", "lsat-ar", "lsat-lr", "lsat-rc", "sat-en", "sat-math")

MULTIPLE_CHOICE_817 = Pinned(
    "truthfulqa/mc_817.jsonl", "acbee5ce4af7156384d916ebcb952771fe1e2b2ee1941afae88a9726241fbca8",
    817, "Apache-2.0", "https://github.com/koppula/TruthfulQA", "4dee2311b23de20b43bfc12ace7037f3f71ba421",
)  # fmt: skip

_COT = "A: Let's think step by step."
_LETTERED = re.compile(r"^\s*\([A-E]\)\s*|^\s*[A-E][.?]?\s*")
_TIGHT = re.compile(r"(\([A-G]\))(?=\S)")
_NEWLINES = re.compile(r"\n+")


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
            query = f"Question: {record['question']}\n" + "".join(
                f" {letter}. {choice}\n" for letter, choice in zip(LETTERS, choices, strict=False)
            )
            yield _problem(self, [record["question"]], query, record["answer"], choices, record["subject"], number)


@dataclass(frozen=True, slots=True)
class MMLUProValidation(TestSource):
    """MMLU-Pro's validation split (Wang et al. 2024, arXiv:2406.01574): 70 questions with up to ten choices, in 14 categories."""

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
        for number, record in enumerate(
            records(self.file, data, self.name, ("question", "answer", "category", "cot_content"))
        ):
            choices = _choices(record.get("options"), self, number)
            query = f"Question: {record['question']}\n" + "".join(f"{line}\n" for line in _lines(choices))
            steps = record["cot_content"].removeprefix(_COT).strip()
            asked = [record["question"]]
            yield _problem(
                self, asked, query, record["answer"], choices, record["category"], record.get("question_id"), steps
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
            query = f"Question: {question}\n" + "".join(f"{line}\n" for line in _lines(choices))
            yield _problem(self, [question], query, letter, choices, "", number)


@dataclass(frozen=True, slots=True)
class AGIEvalSample:
    """Five questions of each of the eight English choice tasks of AGIEval (Zhong et al. 2023, arXiv:2304.06364): 40 in all."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """agieval/sample."""
        return "agieval/sample"

    @property
    def licence(self) -> str:
        """The publishers' licences."""
        return _agieval(AGIEVAL[0]).licence

    @property
    def url(self) -> str:
        """The publishers' repository."""
        return _agieval(AGIEVAL[0]).url

    @property
    def revision(self) -> str:
        """The commit in that repository."""
        return _agieval(AGIEVAL[0]).revision

    @property
    def evaluation_only(self) -> bool:
        """True: the set is a benchmark."""
        return True

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(_agieval(task).rows for task in AGIEVAL)

    def check(self, data: Path | None) -> None:
        """Raise DataError unless the pinned files are there."""
        for task in AGIEVAL:
            locate(_agieval(task), data, self.name)

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems, task after task; the task is the category."""
        for task in AGIEVAL:
            for number, record in enumerate(records(_agieval(task), data, self.name, ("question", "label"))):
                choices = [_LETTERED.sub("", choice) for choice in _choices(record.get("options"), self, number)]
                passage = f"Passage: {record['passage']}\n" if record.get("passage") else ""
                query = f"{passage}Question: {record['question']}\n" + "\n".join(_lines(choices))
                query = _NEWLINES.sub("\n", _TIGHT.sub(r"\1 ", query))
                asked = [text for text in (record.get("passage"), record["question"]) if text]
                yield _problem(self, asked, query, record["label"], choices, task, f"{task}/{number}")


def _agieval(task: str) -> Pinned:
    return TESTS[f"agieval_{task}"].file


def _lines(choices: Sequence[str]) -> list[str]:
    return [f" ({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]


def _choices(value: Any, source: Any, number: int) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(choice, str) for choice in value):
        raise DataError(
            f"{source.name}, row {number + 1}, field 'options': expected a list of texts, got {value!r:.60}."
        )
    return value


def _problem(
    source: Any,
    asked: list[str],
    query: str,
    letter: str,
    choices: list[str],
    category: str,
    key: object,
    steps: str = "",
) -> Problem:
    """asked: the parts of the question alone, which decontamination compares."""
    conclusion = f"Therefore, the answer is ({letter})"
    return Problem(
        user(query), Check("choice", json.dumps({"letter": letter, "choices": choices}, ensure_ascii=False)),
        f"{steps}\n{conclusion}" if steps else conclusion, category=category, source=source.name, licence=source.licence,
        annotations={"key": key, "fields": asked, "choices": choices},
    )  # fmt: skip
