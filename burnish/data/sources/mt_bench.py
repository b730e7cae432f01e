"""MT-Bench: 80 questions of two turns, GPT-4's reference answers to 30 of them, and the judge's texts. Evaluation only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.pinned import Pinned, TestSource, locate, records
from burnish.errors import DataError

_FASTCHAT = ("Apache-2.0", "https://github.com/lm-sys/FastChat", "0e6d3e4beaab66f4d3f93db72541a4abab8af28d")
REFERENCES = Pinned(
    "mt_bench/reference_answer_gpt-4.jsonl", "f957a5bc977badb66885ec970e6cd08527845780313f0995764260e5777b9b3f", 30, *_FASTCHAT
)  # fmt: skip
PROMPTS = Pinned(
    "mt_bench/judge_prompts.jsonl", "fd283293406d024f44c174b094ef48031d0687a4682fd3a56b29b138f80281b6", 8, *_FASTCHAT
)
# Categories whose questions have one right answer: judged beside the reference, in other words.
WITH_REFERENCE = ("math", "reasoning", "coding")


@dataclass(frozen=True, slots=True)
class MTBench(TestSource):
    """MT-Bench (arXiv:2306.05685): a problem is the first turn; its category is the question's.

    target: JSON {"system", "form", "references"}: the judge's two texts for this turn, and the reference answers to the turns so
            far, [] for categories without.
    annotations: "next", the second turn's {"question", "target"}; "key", the question's number.
    """

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """mt_bench."""
        return "mt_bench"

    @property
    def file(self) -> Pinned:
        """The questions' file."""
        return TESTS["mt_bench"].file

    def check(self, data: Path | None) -> None:
        """Raise DataError unless the pinned files are there."""
        for file in (self.file, REFERENCES, PROMPTS):
            locate(file, data, self.name)

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The questions in the file's order. Raises DataError where a reference is missing."""
        texts = {
            record["name"]: record
            for record in records(PROMPTS, data, self.name, ("name", "system_prompt", "prompt_template"))
        }
        references = {record["question_id"]: record for record in records(REFERENCES, data, self.name, ())}
        for record in records(self.file, data, self.name, ("category",)):
            number, turns = (
                record["question_id"],
                _two(record.get("turns"), f"{self.name}, question {record.get('question_id')}"),
            )
            known: list[str] = []
            if record["category"] in WITH_REFERENCE:
                if number not in references:
                    raise DataError(f"{self.name}, question {number}: no reference answer in {REFERENCES.path}.")
                known = _two(references[number]["choices"][0]["turns"], f"{REFERENCES.path}, question {number}")
            first, second = (_target(texts, known[: turn + 1], turn) for turn in (0, 1))
            yield Problem(
                user(turns[0]), Check("mt_bench", first), category=record["category"], source=self.name, licence=self.licence,
                annotations={"key": number, "fields": turns, "next": {"question": turns[1], "target": second}},
            )  # fmt: skip


def _two(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(text, str) for text in value):
        raise DataError(f"{where}: expected two turns, got {value!r:.60}.")
    return value


def _target(texts: Mapping[str, Mapping[str, str]], references: list[str], turn: int) -> str:
    chosen = texts[f"single-{'math-' if references else ''}v1{'-multi-turn' if turn else ''}"]
    found = {"system": chosen["system_prompt"], "form": chosen["prompt_template"], "references": references}
    return json.dumps(found, ensure_ascii=False)
