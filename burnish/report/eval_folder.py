"""What an evaluation or a grading left in a folder, read in one way: its numbers, and its replies one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from burnish.core.files import read_json
from burnish.errors import ArtifactError, DataError
from burnish.report.looks import look_notes

RUN = ("scores.json", "samples.jsonl")
GRADING = ("summary.json", "verdicts.jsonl")


@dataclass(frozen=True, slots=True)
class EvalFolder:
    """An evaluation (scores.json, samples.jsonl) or a grading of existing replies (summary.json, verdicts.jsonl).

    rows: one per task, as scores.json has them. summary: the whole of scores.json, with looks at unseen tests among its
    notes; {} for a grading.
    replies: the file of replies.
    """

    label: str
    model: str
    rows: tuple[dict[str, Any], ...]
    summary: dict[str, Any]
    replies: Path

    @property
    def graded_only(self) -> bool:
        """Whether the replies were there before, so that one line may repeat another and still count."""
        return self.replies.name == GRADING[1]

    def records(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """(byte offset, bytes, record) of each reply in the file's order. Raises DataError naming file and line."""
        with self.replies.open("rb") as file:
            at = 0
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield at, len(line), self._record(line, number)
                at += len(line)

    def at(self, file: IO[bytes], offset: int) -> dict[str, Any]:
        """The record that begins at an offset of the file of replies."""
        file.seek(offset)
        record: dict[str, Any] = json.loads(file.readline())
        return record

    def _record(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            record: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise DataError(f"{self.replies}, line {number}: not valid JSON ({error}).") from error
        wanted = ("task", "id", "prompt", "response", "score", "why")
        missing = [key for key in wanted if not isinstance(record, dict) or key not in record]
        if missing:
            raise ArtifactError(
                f"{self.replies}, line {number}: no field {missing[0]!r}, so the reply cannot be shown; another version of burnish wrote it.\n"
                f"  Repeat the {'grading' if self.graded_only else 'evaluation'} into a new folder."
            )
        return record


def load(folder: Path) -> EvalFolder:
    """The evaluation or grading in a folder. Raises ArtifactError when neither is there or another version wrote it."""
    for numbers, replies in (RUN, GRADING):
        if (folder / numbers).exists():
            if not (folder / replies).exists():
                raise ArtifactError(
                    f"{folder} has {numbers} but no {replies}, so there are no replies to look at.\n"
                    "  Copy the whole folder, or repeat the evaluation."
                )
            return _loaded(folder, numbers, replies)
    raise ArtifactError(
        f"{folder} holds neither {RUN[0]} nor {GRADING[0]}, so it is no finished evaluation.\n"
        "  Name the folder that `burnish eval` or `burnish grade --out` printed; an interrupted one is finished by the same command."
    )


def _loaded(folder: Path, numbers: str, replies: str) -> EvalFolder:
    found = read_json(folder / numbers)
    rows = found.get("tasks") if numbers == RUN[0] else [found]
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "task" in row for row in rows):
        raise ArtifactError(
            f"{folder / numbers} has no rows of tasks; another version of burnish wrote it.\n  Repeat the evaluation into a new folder."
        )
    if numbers == RUN[0]:
        label = str(found.get("label", folder.name))
        summary = {**found, "notes": [*found.get("notes", ()), *look_notes(folder)]}
        return EvalFolder(label, str(found.get("model", "")), tuple(rows), summary, folder / replies)
    return EvalFolder(folder.name, "", tuple(rows), {}, folder / replies)
