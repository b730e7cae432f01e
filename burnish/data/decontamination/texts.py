"""Which texts of a training row are compared, and how they are taken out of a file fast.

    columns given           each column's text, whole; every string inside a column that holds lists or objects
    a column of messages    the turns of the user (OpenAI's role/content, ShareGPT's from/value), or of everybody
    any other known layout  the user turns of the row it stands for
    a lone text column      whole
A row that does not have the file's layout is compared with every string it holds, so nothing passes unseen.

Where the columns allow it, texts come straight from Arrow buffers; everything else goes by Python, with the same result.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from burnish.core.types import Demo, Problem, Rated, Row
from burnish.data import layouts
from burnish.data.decontamination.formats import Part, TrainFile, csv_table, first_rows, records_of
from burnish.data.decontamination.items import user_turns
from burnish.errors import DataError, RecipeError, nearest

# How chat columns name their parts: (who speaks, what is said), and who counts as the user.
_SPOKEN = (("role", "content"), ("from", "value"))
_USERS = ("user", "human", "prompter")
_CHATS = ("messages", "conversations", "conversation")
_LOOKED_AT = 200
UNNAMED = "(no source named)"


@dataclass(frozen=True, slots=True)
class Reading:
    """How training rows are read.

    columns: plain text to compare. role: whose turns of a conversation. by: the column that names each row's source.
    """

    columns: tuple[str, ...] = ()
    role: Literal["user", "all"] = "user"
    by: str = ""
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.role not in ("user", "all"):
            raise RecipeError(
                f"--role {self.role}: there is no such choice. {nearest(str(self.role), ('user', 'all'))}\n"
                "  user compares what people asked, as Tülu 3 does; all compares every turn."
            )


@dataclass(frozen=True, slots=True)
class Texts:
    """The texts of some rows.

    of_row:   [rows] a list of strings for each. sources: [rows] their names, or None where the file is the source.
    problems: row → why it could not be read. foreign: rows without the file's layout, of which every string is compared.
    """

    of_row: pa.ListArray
    sources: pa.StringArray | None = None
    problems: Mapping[int, str] = field(default_factory=dict)
    foreign: int = 0


@dataclass(frozen=True, slots=True)
class Picker:
    """How texts are taken from one file. kind: columns, chat or layout; why: a sentence for people."""

    kind: Literal["columns", "chat", "layout"]
    columns: tuple[str, ...]
    role: str = "user"
    why: str = ""
    spoken: tuple[str, str] = ("role", "content")
    layout: Any = None
    delimiter: str = ","
    by: str = ""

    @property
    def needed(self) -> tuple[str, ...] | None:
        """The columns that are read, or None for all."""
        return None if self.kind == "layout" else (*self.columns, *([self.by] if self.by else []))

    def texts(self, part: Part) -> Texts:
        """The texts of a part's rows."""
        table = part.table
        if part.raw is not None and self.kind != "layout":
            table = csv_table(part, self.delimiter) if part.header else self._json_table(part.raw)
        found = None if table is None else self._from_table(table)
        if found is None or table is None:
            return self._from_records(part)
        sources = table[self.by].combine_chunks() if self.by else None
        return Texts(found, None if sources is None else sources.cast(pa.string()))

    def _json_table(self, lines: Sequence[bytes]) -> pa.Table | None:
        """The needed columns of JSON Lines, or None where a line has them in another form or is broken."""
        from pyarrow import json

        speaker, said = self.spoken
        kind = (
            pa.list_(pa.struct([(speaker, pa.string()), (said, pa.string())])) if self.kind == "chat" else pa.string()
        )
        wanted = pa.schema([*((name, kind) for name in self.columns), *([(self.by, pa.string())] if self.by else [])])
        parse = json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
        text = b"\n".join(lines)
        try:
            text.decode()
            read = json.ReadOptions(use_threads=False, block_size=len(text) + 1)
            table = json.read_json(pa.BufferReader(text), read_options=read, parse_options=parse)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeDecodeError):
            return None
        return table if table.num_rows == len(lines) else None

    def _from_table(self, table: pa.Table) -> pa.ListArray | None:
        """Texts without Python objects, or None where a column is missing, of another type, or empty somewhere."""
        if any(name not in table.column_names for name in self.needed or ()):
            return None
        if self.by and (table[self.by].null_count or not _is_text(table[self.by].type)):
            return None
        columns = [table[name].combine_chunks() for name in self.columns]
        if self.kind == "chat":
            return self._turns(columns[0])
        if self.kind == "layout" or not all(_is_text(column.type) and not column.null_count for column in columns):
            return None
        rows, wide = table.num_rows, len(columns)
        # Column by column one after the other, then taken row by row.
        flat = pa.concat_arrays([column.cast(pa.string()) for column in columns])
        if wide > 1:
            flat = flat.take(pa.array(np.arange(rows * wide).reshape(wide, rows).T.ravel()))
        return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1) * wide, pa.int32()), flat)

    def _turns(self, chat: pa.Array) -> pa.ListArray | None:
        speaker, said = self.spoken
        kind = chat.type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
            return None
        named = [kind.value_type.field(i).name for i in range(kind.value_type.num_fields)]
        if speaker not in named or said not in named or chat.null_count:
            return None
        offsets = chat.offsets.to_numpy()
        turns = chat.values.slice(offsets[0], offsets[-1] - offsets[0])
        if turns.null_count:
            return None
        who, what = (turns.flatten()[named.index(name)] for name in (speaker, said))
        if who.null_count or not (_is_text(who.type) and _is_text(what.type)):
            return None
        offsets = offsets - offsets[0]
        what = what.cast(pa.string()).fill_null("")
        if self.role == "user":
            asked = pc.is_in(pc.utf8_lower(who.cast(pa.string())), value_set=pa.array(_USERS))
            mask = asked.to_numpy(zero_copy_only=False)
            offsets = np.concatenate(([0], np.cumsum(mask)))[offsets]
            what = what.filter(asked)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), what)

    def _from_records(self, part: Part) -> Texts:
        texts: list[list[str]] = []
        sources: list[str] = []
        problems: dict[int, str] = {}
        foreign = 0
        for number, (record, problem) in enumerate(records_of(part, self.delimiter)):
            if record is None:
                problems[number] = problem
                texts.append([])
                sources.append(UNNAMED)
                continue
            found = self._of_record(record)
            if found is None:
                foreign += 1
                found = list(strings(record))
            texts.append([text.encode("utf-8", "replace").decode() for text in found])
            named = record.get(self.by) if self.by else None
            sources.append(named if isinstance(named, str) and named else UNNAMED)
        names = pa.array(sources, pa.string()) if self.by else None
        return Texts(pa.array(texts, pa.list_(pa.string())), names, problems, foreign)

    def _of_record(self, record: Mapping[str, Any]) -> Sequence[str] | None:
        """The row's texts, or None where it does not have the file's layout."""
        if self.kind == "columns":
            if any(name not in record for name in self.columns):
                return None
            return [text for name in self.columns for text in strings(record[name])]
        if self.kind == "chat":
            return self._said(record.get(self.columns[0]))
        try:
            row: Row = self.layout.row(dict(record))
        except DataError:
            return None
        return user_turns(row) if self.role == "user" else all_turns(row)

    def _said(self, turns: Any) -> list[str] | None:
        speaker, said = self.spoken
        if not isinstance(turns, list) or not all(isinstance(turn, dict) and speaker in turn for turn in turns):
            return None
        chosen = [turn for turn in turns if self.role == "all" or _asks(turn[speaker])]
        return [text for turn in chosen for text in strings(turn.get(said))]


def all_turns(row: Row) -> tuple[str, ...]:
    """Every turn of a row, the replies to learn from included."""
    if isinstance(row, Demo):
        return tuple(turn.content for turn in row.messages)
    asked = tuple(turn.content for turn in row.prompt)
    if isinstance(row, Problem):
        return (*asked, row.solution)
    return (*asked, row.reply) if isinstance(row, Rated) else (*asked, row.chosen, row.rejected)


def strings(value: Any) -> Iterator[str]:
    """Every string inside a value, in order; the parts of a message of several parts, the choices of a question."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)


def picker(file: TrainFile, reading: Reading) -> Picker:
    """How to take the texts out of this file. Raises DataError when it has no rows, no such column, or no known layout."""
    delimiter = file.delimiter
    read = list(records_of(first_rows(file, _LOOKED_AT), delimiter))
    records = [record for record, _ in read if record is not None]
    if not records:
        first = f" Its first row: {read[0][1]}." if read else " It is empty."
        raise DataError(
            f"{file.path} has no rows that could be read, so there is nothing to compare.{first}\n  Mend it, or leave it out."
        )
    names = list(dict.fromkeys(name for record in records for name in record))
    for column in (*reading.columns, *([reading.by] if reading.by else [])):
        if column not in names:
            raise DataError(
                f"{file.path} has no column {column!r}, so its rows could not be compared. {nearest(column, names)}\n"
                "  Files with other columns need a command of their own."
            )
    found = _chosen(file, records, names, reading)
    return replace(found, role=reading.role, delimiter=delimiter, by=reading.by)


def _chosen(file: TrainFile, records: Sequence[Mapping[str, Any]], names: Sequence[str], reading: Reading) -> Picker:
    if reading.columns:
        return Picker("columns", reading.columns, why=f"column {', '.join(reading.columns)}")
    who = "user turns" if reading.role == "user" else "all turns"
    for column in (name for name in _CHATS if name in names):
        spoken = _spoken(records, column)
        if spoken is not None:
            _check_asked(file, records, column, spoken[0], reading)
            return Picker("chat", (column,), why=f"{who} of {column}", spoken=spoken)
    try:
        found = layouts.detect(records, {})
    except DataError as error:
        return _lone_text(file, records, names, error)
    # Nothing is graded here; a name is only there because problems cannot be without.
    layout = found.layout.graded("none") if found.layout.needs_verifier else found.layout
    return Picker("layout", tuple(names), why=f"{who}, layout {layout.name}", layout=layout)


def _check_asked(
    file: TrainFile, records: Sequence[Mapping[str, Any]], column: str, speaker: str, reading: Reading
) -> None:
    """A file of which nothing would be compared must not count as clean."""
    roles = {turn.get(speaker) for record in records for turn in record.get(column) or () if isinstance(turn, dict)}
    if reading.role == "user" and not any(map(_asks, roles)):
        raise DataError(
            f"{file.path}: no turn in {column} is the user's, so nothing would be compared; {speaker} is "
            f"{', '.join(sorted(map(repr, roles)))}.\n  Compare every turn with --role all."
        )


def _asks(role: Any) -> bool:
    return isinstance(role, str) and role.lower() in _USERS


def _spoken(records: Sequence[Mapping[str, Any]], column: str) -> tuple[str, str] | None:
    turns: list[Any] = next(
        (record[column] for record in records if isinstance(record.get(column), list) and record[column]), []
    )
    for pair in _SPOKEN:
        if turns and all(isinstance(turn, dict) and pair[0] in turn and pair[1] in turn for turn in turns):
            return pair
    return None


def _lone_text(file: TrainFile, records: Sequence[Mapping[str, Any]], names: Sequence[str], error: DataError) -> Picker:
    texts = [name for name in names if any(isinstance(record.get(name), str) for record in records)]
    lone = ["text"] if "text" in texts else texts
    if len(lone) == 1:
        return Picker("columns", (lone[0],), why=f"column {lone[0]}")
    raise DataError(
        f"{file.path}: no known layout fits, so it is not clear which texts are to be compared.\n"
        f"  Columns: {', '.join(names)}. Name those to compare: --column {texts[0] if texts else 'NAME'}"
    ) from error


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
