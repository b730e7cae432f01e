"""A user's own rows: JSON Lines (plain or .gz), Parquet, or a folder of such files.

The identity of the source is the SHA-256 of the files' content and how they are read, never where they lie. Every row is
checked before the first is given out; broken ones are an error that lists the first ten.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from burnish.core.files import sha256_file
from burnish.core.rows import messages_from
from burnish.core.types import Check, Demo, Message, Messages, Pair, Problem, Row, user
from burnish.data.sources.instruction_sets import with_input
from burnish.errors import DataError, RecipeError, nearest

Kind = Literal["demo", "pair", "problem"]
# What each kind of row can be read from: the columns that must be there, the first fitting set decides for the file.
LAYOUTS: dict[str, tuple[tuple[str, ...], ...]] = {
    "demo": (("messages",), ("prompt", "completion"), ("instruction", "output"), ("instruction", "response")),
    "pair": (("prompt", "chosen", "rejected"), ("chosen", "rejected")),
    "problem": (("prompt", "answer"), ("messages", "answer")),
}
_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Jsonl:
    """Rows from a file, or from every such file in a folder, in the order of their names.

    path:     a .jsonl, .jsonl.gz or .parquet file, or a folder of them.
    kind:     "demo":    messages | prompt, completion | instruction, (input), output or response
              "pair":    prompt, chosen, rejected (texts or message lists) | chosen, rejected (message lists)
              "problem": prompt or messages, answer, (solution), (category)
    columns:  where the file calls a column differently: {"prompt": "question"} reads prompt from question.
    verifier: for problems, the name of the verifier that compares with `answer`.
    label:    the name rows carry as source; by default own/<the first digits of the content's SHA-256>.
    sha256:   of the content; computed when left out.
    """

    path: str | Path = field(metadata={"identity": False})
    kind: Kind = "demo"
    columns: Mapping[str, str] = field(default_factory=dict)
    verifier: str = ""
    label: str = ""
    licence: str = ""
    sha256: str = ""
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", str(self.path))
        if self.kind not in LAYOUTS:
            raise RecipeError(
                f"Jsonl({self.path!r}, kind={self.kind!r}): there is no such kind. {nearest(str(self.kind), LAYOUTS)}"
            )
        if self.kind == "problem" and not self.verifier:
            raise RecipeError(
                f"Jsonl({self.path!r}, kind='problem') names no verifier, so replies could not be graded.\n"
                "  Say which compares with `answer`: verifier='gsm8k'."
            )
        if not self.sha256:
            object.__setattr__(self, "sha256", content_sha256(Path(self.path)))

    @property
    def name(self) -> str:
        """The label, or own/<digest>."""
        return self.label or f"own/{self.sha256[:8]}"

    @property
    def url(self) -> str:
        """Nothing: the rows are the user's own."""
        return ""

    @property
    def revision(self) -> str:
        """The SHA-256 of the content."""
        return self.sha256

    def check(self, data: Path | None) -> None:
        """Raise DataError when the content is not what it was when the recipe was made."""
        found = content_sha256(Path(self.path))
        if found != self.sha256:
            raise DataError(
                f"{self.path} changed: its content is {found[:12]}, the recipe was made with {self.sha256[:12]}.\n"
                "  Run the command again to use the new content, or restore the file."
            )

    def rows(self, data: Path | None) -> Iterator[Row]:
        """The rows in order. Raises DataError naming file, line and field of the first ten broken rows."""
        self.check(data)
        rows: list[Row] = []
        broken: list[str] = []
        total = 0
        for file in files_of(Path(self.path)):
            layout: tuple[str, ...] | None = None
            for where, record in _read(file):
                total += 1
                try:
                    if isinstance(record, Exception):
                        raise DataError(f"not valid JSON ({record}).")
                    layout = layout or self._layout(record)
                    rows.append(dataclasses.replace(self._row(record, layout), source=self.name, licence=self.licence))
                except DataError as error:
                    broken.append(f"{file}, {where}: {error}")
        if broken:
            more = f"\n  … and {len(broken) - _SHOWN:,} more" if len(broken) > _SHOWN else ""
            raise DataError(
                f"{self.path}: {len(broken):,} of {total:,} rows cannot be read as kind={self.kind!r}.\n  "
                + "\n  ".join(broken[:_SHOWN])
                + f"{more}\n  Mend or delete these rows; none is left out silently."
            )
        yield from rows

    def _column(self, name: str) -> str:
        return self.columns.get(name, name)

    def _layout(self, record: object) -> tuple[str, ...]:
        """The set of columns that the file's first row has."""
        if not isinstance(record, dict):
            raise DataError(f"expected a JSON object, got {type(record).__name__}.")
        for layout in LAYOUTS[self.kind]:
            if all(self._column(name) in record for name in layout):
                return layout
        wanted = " | ".join(", ".join(map(self._column, layout)) for layout in LAYOUTS[self.kind])
        raise DataError(
            f"has the columns {', '.join(map(str, record)) or 'none'}; kind={self.kind!r} needs {wanted}. Rename with columns={{...}}."
        )

    def _row(self, record: object, layout: tuple[str, ...]) -> Row:
        if not isinstance(record, dict):
            raise DataError(f"expected a JSON object, got {type(record).__name__}.")
        missing = [self._column(name) for name in layout if self._column(name) not in record]
        if missing:
            raise DataError(f"field {missing[0]!r}: missing; the file's first row has it.")
        value: Callable[[str], Any] = lambda name: record.get(self._column(name))  # noqa: E731 - a reader of this record
        match self.kind:
            case "demo":
                return Demo(self._demo(value, layout))
            case "pair":
                return self._pair(value, layout)
            case _:
                prompt = self._prompt(value(layout[0]), layout[0])
                answer = value("answer")
                if isinstance(answer, int | float) and not isinstance(answer, bool):
                    answer = json.dumps(answer)
                return Problem(
                    prompt,
                    Check(self.verifier, self._text(answer, "answer")),
                    self._text(value("solution") or "", "solution"),
                    self._text(value("category") or "", "category"),
                )

    def _demo(self, value: Callable[[str], Any], layout: tuple[str, ...]) -> Messages:
        if layout[0] == "messages":
            return self._messages(value("messages"), "messages")
        reply = Message("assistant", self._text(value(layout[1]), layout[1]))
        if layout[0] == "prompt":
            return (*self._prompt(value("prompt"), "prompt"), reply)
        given = value("input")
        asked = with_input(
            self._text(value("instruction"), "instruction"), self._text("" if given is None else given, "input")
        )
        return (*user(asked), reply)

    def _pair(self, value: Callable[[str], Any], layout: tuple[str, ...]) -> Pair:
        chosen, rejected = value("chosen"), value("rejected")
        prompt = self._prompt(value("prompt"), "prompt") if layout[0] == "prompt" else None
        heads: list[Messages] = []
        replies: list[str] = []
        for name, given in (("chosen", chosen), ("rejected", rejected)):
            if isinstance(given, str) and prompt is not None:
                replies.append(self._text(given, name))
                continue
            turns = self._messages(given, name)
            if turns[-1].role != "assistant":
                raise DataError(
                    f"field {self._column(name)!r}: the last turn must be the assistant's, got {turns[-1].role}."
                )
            replies.append(turns[-1].content)
            heads.append(turns[:-1])
        head = prompt if prompt is not None else heads[0]
        if any(other and other != head for other in heads) or not head:
            raise DataError(
                f"fields {self._column('chosen')!r} and {self._column('rejected')!r}: both must continue the same prompt."
            )
        return Pair(head, replies[0], replies[1])

    def _prompt(self, given: Any, name: str) -> Messages:
        return user(self._text(given, name)) if isinstance(given, str) else self._messages(given, name)

    def _messages(self, given: Any, name: str) -> Messages:
        turns = messages_from(given, f"field {self._column(name)!r}")
        for turn in turns:
            self._text(turn.content, name)
        return turns

    def _text(self, given: Any, name: str) -> str:
        if not isinstance(given, str):
            raise DataError(f"field {self._column(name)!r}: expected text, got {given!r:.60}.")
        try:
            given.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"field {self._column(name)!r}: half of a surrogate pair at character {error.start}; no tokenizer can read it."
            ) from None
        return given


def files_of(path: Path) -> list[Path]:
    """The file itself, or the readable files of a folder by name. Raises DataError where there are none."""
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(_SUFFIXES))
        if not found:
            raise DataError(f"{path} holds no {', '.join(_SUFFIXES)} file.")
        return found
    if not path.is_file():
        raise DataError(
            f"{path} does not exist.\n  Give the path of a file or folder, relative to where the command runs."
        )
    if not path.name.endswith(_SUFFIXES):
        raise DataError(
            f"{path}: only {', '.join(_SUFFIXES)} can be read.\n  Convert it, or rename it if it is JSON Lines."
        )
    return [path]


def content_sha256(path: Path) -> str:
    """The SHA-256 of a file, or of the SHA-256s of a folder's files in the order of their names."""
    digests = [sha256_file(file) for file in files_of(path)]
    return digests[0] if not path.is_dir() else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _read(file: Path) -> Iterator[tuple[str, Any]]:
    return _parquet(file) if file.suffix == ".parquet" else _lines(file)


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    """("line N", value or the exception) of a JSON Lines file. Raises DataError where the compression is broken."""
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as opened:
        number = 0
        while True:
            try:
                line = opened.readline()
            except (OSError, EOFError, zlib.error) as error:
                raise DataError(
                    f"{file}: cannot be read past line {number} ({error}).\n  Is the file complete and really {file.suffix}?"
                ) from error
            if not line:
                return
            number += 1
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except (ValueError, RecursionError) as error:
                    yield f"line {number}", error


def _parquet(file: Path) -> Iterator[tuple[str, Any]]:
    """("row N", record) of a Parquet file. Raises DataError where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(file) as opened:
            for batch in opened.iter_batches(1024):
                for record in batch.to_pylist():
                    number += 1
                    yield f"row {number}", record
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{file}: cannot be read past row {number} ({error}).\n  Is the file complete and really Parquet?"
        ) from error
