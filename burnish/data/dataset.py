"""A dataset on disk: rows with their lineage, the rows that were dropped and why, and a card.

A folder holds
    rows.parquet     id, kind, source, licence, lineage, annotations (JSON), payload (JSON)
    dropped.parquet  the same columns and rule, reason, span, see
    card.json        counts; written last, so a folder with a card is whole
Text is stored as JSON inside the payload column: every string comes back bit for bit, lone surrogates included.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.core.files import disk_errors, read_json, write_atomic, write_json
from burnish.core.rows import from_json, to_json
from burnish.core.types import Row
from burnish.errors import DataError

ROWS, DROPPED, CARD = "rows.parquet", "dropped.parquet", "card.json"
_BATCH = 2048
_SHARED = ("id", "kind", "source", "licence", "lineage", "annotations", "payload")
_DROP = ("rule", "reason", "span", "see")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that was taken out.

    rule:   the filter's or step's name, e.g. "NoModelIdentity".
    reason: a short sentence; equal reasons are counted together in the card.
    span:   the text that decided, or "".
    see:    the id of the row or test item it lost against, or "".
    """

    row: Row
    rule: str
    reason: str
    span: str = ""
    see: str = ""


@dataclass(frozen=True, slots=True)
class Dataset:
    """A finished dataset folder. Make one with `Dataset.open`."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> Dataset:
        """The dataset in a folder. Raises DataError when the folder holds none or only part of one."""
        missing = [name for name in (CARD, ROWS) if not (folder / name).is_file()]
        if missing:
            raise DataError(
                f"{folder} is not a finished dataset: {' and '.join(missing)} missing, so its rows cannot be trusted.\n"
                "  Give the folder of a stage that makes rows, or run that stage again."
            )
        return cls(folder)

    @property
    def card(self) -> dict[str, Any]:
        """The content of card.json."""
        card = read_json(self.folder / CARD)
        if not isinstance(card, dict):
            raise DataError(f"{self.folder / CARD}: expected a JSON object, got {type(card).__name__}.")
        return card

    def stream(self) -> Iterator[Row]:
        """The rows in order, a batch in memory at a time."""
        return read_rows(self.folder / ROWS)

    def rows(self) -> list[Row]:
        """All rows in order."""
        return list(self.stream())

    def dropped(self) -> Iterator[Dropped]:
        """The rows that were taken out; none where no file of them was written."""
        path = self.folder / DROPPED
        return read_drops(path) if path.exists() else iter(())


def write_rows(path: Path, rows: Iterable[Row]) -> int:
    """Stream rows into a Parquet file that is whole or absent; returns how many there were."""
    with RowWriter(path) as writer:
        for row in rows:
            writer.add(row)
    return writer.count


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file of `write_rows`, a batch in memory at a time."""
    for record in _records(path):
        yield _row(record, path)


def sample_rows(dataset: Dataset, most: int) -> tuple[int, list[Row]]:
    """(how many rows a dataset has, at most about `most` of them from all over it); the same ones each time, in their order."""
    import pyarrow.parquet as pq

    path = dataset.folder / ROWS
    with pq.ParquetFile(path) as file:
        groups = file.num_row_groups
        count = file.metadata.num_rows
        chosen = range(0, groups, max(1, groups // 16))
        each = max(1, most // max(1, len(chosen)))
        found: list[Row] = []
        for group in chosen:
            records = file.read_row_group(group)
            places = range(0, len(records), max(1, len(records) // each))
            found += [_row(record, path) for record in records.take(list(places)).to_pylist()]
    return count, found


def write_drops(path: Path, drops: Iterable[Dropped]) -> int:
    """Stream rows that were taken out into a Parquet file that is whole or absent; returns how many there were."""
    with RowWriter(path, drops=True) as writer:
        for drop in drops:
            writer.add(drop)
    return writer.count


def read_drops(path: Path) -> Iterator[Dropped]:
    """What `write_drops` wrote, a batch in memory at a time."""
    for record in _records(path):
        yield Dropped(_row(record, path), **_drop(record))


def write_dataset(
    folder: Path, rows: Iterable[Row], *, card: dict[str, Any] | None = None, dropped: Iterable[Dropped] = ()
) -> dict[str, Any]:
    """Write rows.parquet, dropped.parquet and card.json; returns the card as written.

    Both iterables are streamed. Keys that `card` leaves out are counted from the rows: rows, by_source, steps, dropped,
    contamination, diversity. Raises DataError for rows that cannot be stored and ArtifactError for a full disk.
    """
    kept: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()

    def counted_rows() -> Iterator[Row]:
        for row in rows:
            kept[row.source, row.licence] += 1
            yield row

    def counted_drops() -> Iterator[Dropped]:
        for drop in dropped:
            reasons[drop.reason] += 1
            yield drop

    (folder / CARD).unlink(missing_ok=True)
    count = write_rows(folder / ROWS, counted_rows())
    write_drops(folder / DROPPED, counted_drops())
    counted: dict[str, Any] = {
        "rows": count,
        "by_source": [
            {"source": source, "licence": licence, "url": "", "revision": "", "rows_in": n, "rows_kept": n}
            for (source, licence), n in kept.items()
        ],
        "steps": [],
        "dropped": dict(reasons),
        "contamination": [],
        "diversity": {},
    }
    whole = {**counted, **(card or {})}
    write_json(folder / CARD, whole)
    return whole


def write_table(path: Path, table: Any) -> None:
    """Write an Arrow table that fits in memory as Parquet, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())


def find(folder: Path, row_id: str) -> dict[str, Any] | None:
    """What a dataset folder knows about a row id, or None.

    The row as JSON, with "state" ("kept" or "dropped") and "drops": every time a row of this id was taken out. A kept
    row can have drops too: its exact copies from other sources share its id.
    """
    kept = next(_records(folder / ROWS, row_id), None) if (folder / ROWS).exists() else None
    drops = list(_records(folder / DROPPED, row_id)) if (folder / DROPPED).exists() else []
    first = kept or (drops[0] if drops else None)
    if first is None:
        return None
    return {
        **to_json(_row(first, folder)),
        "state": "kept" if kept else "dropped",
        "drops": [{"source": d["source"], **_drop(d)} for d in drops],
    }


def _record(row: Row) -> dict[str, Any]:
    data = to_json(row)
    try:
        for name in ("source", "licence"):
            data[name].encode()
        return {
            "id": data.pop("id"),
            "kind": data.pop("kind"),
            "source": data.pop("source"),
            "licence": data.pop("licence"),
            "lineage": _dumps(data.pop("lineage")),
            "annotations": _dumps(data.pop("annotations")),
            "payload": _dumps(data),
        }
    except (TypeError, ValueError) as error:
        raise DataError(
            f"row {row.id} from {row.source!r} cannot be stored: {error}.\n"
            "  Annotations hold JSON values (no NaN); source and licence are valid Unicode."
        ) from error


def _drop_record(drop: Dropped) -> dict[str, Any]:
    return {**_record(drop.row), **{name: _stored(name, getattr(drop, name)) for name in _DROP}}


def _row(record: dict[str, Any], path: Path) -> Row:
    try:
        payload = json.loads(record["payload"])
        shared = {name: json.loads(record[name]) for name in ("lineage", "annotations")}
        return from_json(
            {"kind": record["kind"], "source": record["source"], "licence": record["licence"], **shared, **payload}
        )
    except (ValueError, TypeError, KeyError, DataError) as error:
        raise DataError(f"{path}: row {record.get('id')} cannot be read back ({error}).") from error


def _dumps(value: Any) -> str:
    """Readable JSON; escaped where the text is not valid UTF-8, which Parquet could not hold."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text


def _stored(name: str, text: str) -> str:
    """Spans are data and come back bit for bit; the rest is our own wording and stays plain for other readers."""
    return _dumps(text) if name == "span" else text.encode(errors="backslashreplace").decode()


def _drop(record: dict[str, Any]) -> dict[str, str]:
    return {name: str(json.loads(record[name])) if name == "span" else record[name] for name in _DROP}


class RowWriter:
    """Writes rows, or rows that were taken out, to a Parquet file, a batch in memory at a time; the file is whole or absent.

    A context manager: the file appears at the end of the block, and not at all where an exception leaves it.
    """

    def __init__(self, path: Path, *, drops: bool = False) -> None:
        import pyarrow as pa

        self.path, self.count = path, 0
        self._record: Callable[[Any], dict[str, Any]] = _drop_record if drops else _record
        self._schema = pa.schema([(name, pa.string()) for name in (_SHARED + _DROP if drops else _SHARED)])
        self._batch: list[dict[str, Any]] = []

    def __enter__(self) -> RowWriter:
        import pyarrow.parquet as pq

        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
            self._temporary = Path(name)
            self._file = os.fdopen(handle, "wb")
            self._parquet = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        return self

    def add(self, item: Row | Dropped) -> None:
        """Write one more. Raises DataError for a row that cannot be stored."""
        self._batch.append(self._record(item))
        self.count += 1
        if len(self._batch) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa

        if self._batch:
            with disk_errors(self.path):
                self._parquet.write_table(pa.Table.from_pylist(self._batch, schema=self._schema))
            self._batch = []

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            with disk_errors(self.path):
                if kind is None:
                    self._flush()
                self._parquet.close()
                if kind is None:
                    self._file.flush()
                    os.fsync(self._file.fileno())
                    os.replace(self._temporary, self.path)
        finally:
            self._file.close()
            self._temporary.unlink(missing_ok=True)


def _records(path: Path, row_id: str | None = None) -> Iterator[dict[str, Any]]:
    """The records of a Parquet file as dicts, a batch at a time; with `row_id` only those of that id."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_BATCH):
                chosen = batch if row_id is None else batch.filter(pc.equal(batch.column("id"), row_id))
                yield from chosen.to_pylist()
    except (pa.ArrowException, OSError, KeyError) as error:
        raise DataError(
            f"{path} cannot be read ({error}).\n  The file is damaged or not ours: run the stage that made it again."
        ) from error
