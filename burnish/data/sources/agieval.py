"""AGIEval (Zhong et al. 2023, arXiv:2304.06364): the eight English choice tasks as problems for verifier "choice". Evaluation only.

The task "math" has no choices, and "sat-en-without-passage" repeats "sat-en".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.fingerprint import content_id
from burnish.core.types import Problem
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.multiple_choice import choice_problem, choices_of, lettered
from burnish.data.sources.pinned import Pinned, TestFiles, one_of, records

# Rows and SHA-256 of each task's file (version 1.1 of the set).
TASKS: dict[str, tuple[int, str]] = {
    "aqua-rat": (254, "cff42e946e6082dacb27285dae19cb4be98408ab760fe43c6c462e543be50572"),
    "gaokao-english": (306, "2de1b1e5d9718d908ffb46665e949bff83bef956ad8b7de16ea412e058162b01"),
    "logiqa-en": (651, "63d0e8efaca1944e7eac5037903650f92ca9c036155a66b4e95bf2aa06da1702"),
    "lsat-ar": (230, "3b3e3fe09a07c695326adb82f38da0d67d5bbaadab41551f198c3102f1ea9dc8"),
    "lsat-lr": (510, "c6acb4d843db7b515da4d853e52bb8e6e5f776910f2e35a1805634db24bf94ea"),
    "lsat-rc": (269, "0eed491b3099d66b8110d4fabb98ce43285a6ac61ea5643285eec11b8abce202"),
    "sat-en": (206, "33fe87b32ff16ae7ba52b27bb398190b082253b3617a3eb9737005262ba12dd4"),
    "sat-math": (220, "9cde4c0522b6196852a5562db6e72bf8817b4802822db0fc10013d1becdab3c3"),
}

_SAMPLE = {task: TESTS[f"agieval_{task}"].file for task in TASKS}
_FILES: dict[str, tuple[Pinned, ...]] = {
    "sample": tuple(_SAMPLE.values()),
    "test": tuple(
        Pinned(f"agieval/{task}.jsonl", sha256, rows, _SAMPLE[task].licence, _SAMPLE[task].url, _SAMPLE[task].revision)
        for task, (rows, sha256) in TASKS.items()
    ),
}
_PREFIX = re.compile(r"^\s*\([A-E]\)\s*|^\s*[A-E][.?]?\s*")
_TIGHT = re.compile(r"(\([A-G]\))(?=\w)")
_NEWLINES = re.compile(r"\n+")


@dataclass(frozen=True, slots=True)
class AGIEvalQuestions(TestFiles):
    """AGIEval's English questions, 2,646 in the eight tasks of the test, which are the categories; or five of each task."""

    split: Literal["test", "sample"] = "test"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        one_of(self.split, _FILES, "AGIEvalQuestions(split=...)")

    @property
    def name(self) -> str:
        """agieval/test or agieval/sample."""
        return f"agieval/{self.split}"

    @property
    def files(self) -> tuple[Pinned, ...]:
        """One file a task."""
        return _FILES[self.split]

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems, task after task, cleaned as olmes cleans them.

        A choice loses its "(A)" or "A." in front (and so does one whose text begins with a capital A to E: published that
        way); "(A)x" becomes "(A) x"; line breaks in a row become one. annotations["cluster"] names the passage.
        """
        for task, file in zip(TASKS, self.files, strict=True):
            for number, record in enumerate(records(file, data, self.name, ("question", "label"))):
                choices = [_PREFIX.sub("", choice) for choice in choices_of(record.get("options"), self, number)]
                passage = f"Passage: {record['passage']}\n" if record.get("passage") else ""
                query = f"{passage}Question: {record['question']}\n" + "\n".join(lettered(choices))
                query = _NEWLINES.sub("\n", _TIGHT.sub(r"\1 ", query))
                asked = [text for text in (record.get("passage"), record["question"]) if text]
                row = choice_problem(self, asked, query, record["label"], choices, task, f"{task}/{number}")
                if passage:
                    row = replace(
                        row, annotations={**row.annotations, "cluster": content_id("passage", record["passage"])}
                    )
                yield row
