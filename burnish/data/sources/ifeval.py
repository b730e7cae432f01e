"""IFEval (Zhou et al. 2023, arXiv:2311.07911): 541 prompts with instructions that a program can verify. Evaluation only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.pinned import Pinned, TestSource, records
from burnish.errors import DataError

FILE = Pinned(
    "ifeval/input_data.jsonl",
    "67ffeee0fcb87c317c5b08a2de85557b4a7e96ada6178aa645b4954fe4b53d49",
    541,
    "CC-BY-4.0",
    "https://github.com/josejg/instruction_following_eval",
    "0c495b2f95155e8b10acb919ae283bfb4d5be6e2",
)


@dataclass(frozen=True, slots=True)
class IFEvalPrompts(TestSource):
    """The IFEval prompts as problems for verifier "ifeval".

    target: JSON list of {"id": instruction id, "kwargs": its arguments}. category: the family of the first instruction.
    """

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """Ifeval."""
        return "ifeval"

    @property
    def file(self) -> Pinned:
        """The prompts' file."""
        return FILE

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order; annotations hold the set's own key."""
        for record in records(FILE, data, self.name, ("prompt",)):
            target = target_of(record)
            yield Problem(
                user(record["prompt"]),
                Check("ifeval", json.dumps(target)),
                category=target[0]["id"].partition(":")[0],
                source=self.name,
                licence=self.licence,
                annotations={"key": record.get("key")},
            )


def target_of(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The instructions of a row in IFEval's own columns; arguments that are null are left out. Raises DataError."""
    ids, kwargs = record.get("instruction_id_list"), record.get("kwargs")
    if not isinstance(ids, list) or not isinstance(kwargs, list) or len(ids) != len(kwargs) or not ids:
        raise DataError(f"ifeval row {record.get('key')}: instruction_id_list and kwargs must be equally long lists.")
    if not all(isinstance(arguments, dict) for arguments in kwargs):
        raise DataError(
            f"ifeval row {record.get('key')}: each of kwargs must be an object of arguments, empty for none."
        )
    return [
        {"id": name, "kwargs": {k: v for k, v in arguments.items() if v is not None}}
        for name, arguments in zip(ids, kwargs, strict=True)
    ]
