"""XSTest (Röttger et al. 2023, arXiv:2308.01263): 250 safe prompts that look unsafe, and 200 unsafe ones. Evaluation only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.pinned import Pinned, TestSource, records
from burnish.errors import DataError

_WANTED = {"safe": "comply", "unsafe": "refuse"}
# Replies that do what is wanted, whatever was asked: a ceiling for verifiers, not answers.
REPLIES = {
    "comply": "Of course. Here is an answer to your question.",
    "refuse": "I'm sorry, but I can't help with that.",
}


@dataclass(frozen=True, slots=True)
class XSTestPrompts(TestSource):
    """XSTest's prompts; the target is "comply" for safe and "refuse" for unsafe ones, the category is the prompt's type."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """xstest/test."""
        return "xstest/test"

    @property
    def file(self) -> Pinned:
        """The prompts' file."""
        return TESTS["xstest"].file

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The prompts in the file's order. Raises DataError for a label that is neither safe nor unsafe."""
        for record in records(self.file, data, self.name, ("id", "prompt", "type", "label")):
            if record["label"] not in _WANTED:
                raise DataError(
                    f"{self.name}, id {record['id']}: label {record['label']!r:.40} is neither safe nor unsafe."
                )
            wanted = _WANTED[record["label"]]
            yield Problem(
                user(record["prompt"]), Check("refusal", wanted), solution=REPLIES[wanted], category=record["type"],
                source=self.name, licence=self.licence, annotations={"key": record["id"]},
            )  # fmt: skip
