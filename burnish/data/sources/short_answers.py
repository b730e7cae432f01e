"""Published tests with short answers as problems: PopQA, DROP and BIG-Bench Hard. Evaluation only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.fingerprint import content_id
from burnish.core.types import Check, Problem, user
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.pinned import Pinned, TestSource, records
from burnish.errors import DataError

# PopQA's 16 relations, by the wording of their questions.
RELATIONS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("occupation", r"What is .*'s occupation\?"), ("place of birth", r"In what city was .* born\?"),
        ("genre", r"What genre is "), ("father", r"Who is the father of "), ("country", r"In what country is "),
        ("producer", r"Who was the producer of "), ("director", r"Who was the director of "),
        ("capital of", r"What is .* the capital of\?"), ("screenwriter", r"Who was the screenwriter for "),
        ("composer", r"Who was the composer of "), ("color", r"What color is "), ("religion", r"What is the religion of "),
        ("sport", r"What sport does .* play\?"), ("author", r"Who is the author of "), ("mother", r"Who is the mother of "),
        ("capital", r"What is the capital of "),
    )
)  # fmt: skip

_NUMBER = re.compile(r"-?[\d,]*\.?\d+")
_LONGEST = 12  # parts of an answer that are tried together


@dataclass(frozen=True, slots=True)
class PopQAQuestions(TestSource):
    """PopQA (Mallen et al. 2022, arXiv:2212.10511): 14,267 questions for facts, for verifier "aliases"; categories are relations."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """popqa/test."""
        return "popqa/test"

    @property
    def file(self) -> Pinned:
        """The questions' file."""
        return TESTS["popqa"].file

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order; the prompt is the question alone, the solution the object's own name.

        They have 13,068 wordings: questions of one wording, about things of one name, share annotations["cluster"].
        """
        for record in records(self.file, data, self.name, ("question", "answer")):
            aliases, question = record.get("aliases"), record["question"]
            if not isinstance(aliases, list) or not aliases:
                raise DataError(
                    f"{self.name}, question {question!r:.60}: field 'aliases' is no list of accepted answers."
                )
            yield Problem(
                user(question), Check("aliases", json.dumps(aliases, ensure_ascii=False)), record["answer"],
                category=relation(question), source=self.name, licence=self.licence,
                annotations={"key": record.get("index"), "cluster": content_id("question", question)},
            )  # fmt: skip


def relation(question: str) -> str:
    """The relation a PopQA question asks for, by its wording; "" for another wording."""
    return next((name for name, pattern in RELATIONS if pattern.match(question)), "")


@dataclass(frozen=True, slots=True)
class DROPQuestions(TestSource):
    """DROP's dev set (Dua et al. 2019, arXiv:1903.00161): 9,536 questions about passages, for verifier "drop".

    The file joins the spans of an answer with " and ". They are parted again where the joined text does not stand in the
    passage or the question and its parts do: DROP's spans are copied from there.
    category: the kind of the first gold answer, "number", "span" or "several spans".
    """

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """drop/dev."""
        return "drop/dev"

    @property
    def file(self) -> Pinned:
        """The questions' file."""
        return TESTS["drop"].file

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order: "Passage: …", "Question: …", "Answer:". The solution is the simplest gold answer.

        annotations["cluster"] names the passage: the file has 579, with 1 to 98 questions each.
        """
        for number, record in enumerate(records(self.file, data, self.name, ("context", "ref_text"))):
            context = record["context"]
            golds = list(dict.fromkeys(spans(gold, context) for gold in record["ref_text"].split("|") if gold.strip()))
            simplest = min(golds, key=len)
            yield Problem(
                user(context), Check("drop", json.dumps(golds, ensure_ascii=False)), "; ".join(simplest),
                category=_kind(golds[0]), source=self.name, licence=self.licence,
                annotations={"key": number, "cluster": content_id("passage", context.rpartition("\nQuestion:")[0])},
            )  # fmt: skip


def spans(answer: str, context: str) -> tuple[str, ...]:
    """The spans of a DROP answer whose spans were joined with " and ": the fewest that each stand in the context."""
    parts = answer.split(" and ")
    if len(parts) == 1 or len(parts) > _LONGEST or answer in context:
        return (answer,)
    found = _parted(parts, context)
    return tuple(found) if found else (answer,)


def _parted(parts: list[str], context: str) -> list[str]:
    """The fewest pieces " and ".join(parts) can be cut into at its "and"s so that each stands in the context; [] if none."""
    best: list[list[str] | None] = [[], *([None] * len(parts))]
    for end in range(1, len(parts) + 1):
        for start in range(end):
            before, piece = best[start], " and ".join(parts[start:end])
            known = best[end]
            if (
                before is not None
                and piece.strip()
                and piece in context
                and (known is None or len(before) + 1 < len(known))
            ):
                best[end] = [*before, piece]
    return best[-1] or []


def _kind(gold: tuple[str, ...]) -> str:
    if len(gold) > 1:
        return "several spans"
    return "number" if _NUMBER.fullmatch(gold[0].strip()) else "span"


@dataclass(frozen=True, slots=True)
class BBHQuestions(TestSource):
    """BIG-Bench Hard (Suzgun et al. 2022, arXiv:2210.09261): 6,511 questions of 27 tasks, for verifier "bbh"; categories are tasks."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """Bbh."""
        return "bbh"

    @property
    def file(self) -> Pinned:
        """The questions' file."""
        return TESTS["bbh"].file

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order; the prompt is the question alone."""
        for record in records(self.file, data, self.name, ("task", "input", "target")):
            task, answer = record["task"], record["target"]
            yield Problem(
                user(record["input"]), Check("bbh", json.dumps({"task": task, "answer": answer})), f"So the answer is {answer}.",
                category=task, source=self.name, licence=self.licence, annotations={"key": f"{task}/{record.get('index')}"},
            )  # fmt: skip
