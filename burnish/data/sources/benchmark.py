"""Benchmarks whose published files carry no commit that is known here: read as they are found, whole and in their own columns.

Looked for in this order, DIR being first the folder of --data and then the cache (`cache_folder()`):
    DIR/<path>.jsonl.gz | .jsonl | .json | .parquet | .csv | .tsv     one file of the split
    DIR/<hub id, "/" as "__">[/<config>]/<split>…                     as `burnish.data.sources.hub` has it
and last the hub. No revision can be asked for, so the number of rows is what tells another set: it must be the published one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.data.readers import Record
from burnish.data.readers import records as records_of
from burnish.data.sources.hub import Hub
from burnish.data.sources.pinned import cache_folder
from burnish.errors import DataError, MissingData

NOT_PINNED = "not pinned"
SUFFIXES = (".jsonl.gz", ".jsonl", ".json", ".parquet", ".csv", ".tsv")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A split of a published benchmark.

    path:    below the folder of --data, without suffix, e.g. "gpqa/main".
    hub:     "org/name" on the hub, with `config` ("" for the usual one) and `split`.
    rows:    how many are published, 0 where that is not known.
    columns: which a row must have.
    """

    path: str
    hub: str
    config: str
    split: str
    rows: int
    licence: str
    columns: tuple[str, ...]

    @property
    def published(self) -> Hub:
        """The split as the hub has it."""
        return Hub(self.hub, self.config, self.split, licence=self.licence)


def find(benchmark: Benchmark, data: Path | None, source: str) -> Path | None:
    """The file on this machine; None where the folder of a hub's data set has it, or the hub.

    Raises MissingData, with the three ways to get it, and DataError where it is there in two forms.
    """
    for folder in (data, cache_folder()):
        there = [folder / f"{benchmark.path}{suffix}" for suffix in SUFFIXES if folder is not None]
        there = [file for file in there if file.is_file()]
        if len(there) > 1:
            raise DataError(
                f"{source}: {there[0]} and {there[1]} both hold {benchmark.path}, and they could differ.\n  Keep one of them."
            )
        if there:
            return there[0]
    try:
        benchmark.published.check(data)
    except MissingData as error:
        raise MissingData(_missing(benchmark, data, source, str(error).partition("\n")[0])) from None
    return None


def _missing(benchmark: Benchmark, data: Path | None, source: str, why: str) -> str:
    hub, file = benchmark.hub, f"{benchmark.path}.jsonl.gz"
    folder = hub.replace("/", "__")
    config = f", {benchmark.config!r}" if benchmark.config else ""
    split, name = f"split={benchmark.split!r}", Path(benchmark.path).name
    return (
        f"{source} is not on this machine: {'' if data is None else f'no {data / file}, '}no {cache_folder() / file}; {why}\n"
        f"  1. --data DIR with the rows in their own columns at DIR/{file} (or {', '.join(SUFFIXES[1:])}): where there is a network, "
        f"datasets.load_dataset({hub!r}{config}, {split}).to_json('{name}.jsonl')\n"
        f"  2. the same file in the cache: {cache_folder() / file}; or the whole data set: hf download {hub} --repo-type dataset "
        f"--local-dir {cache_folder() / folder}\n"
        f"  3. from the hub while it runs: pip install 'burnish[hub]', and a network"
    )


def rows_of(benchmark: Benchmark, data: Path | None, source: str) -> Iterator[dict[str, Any]]:
    """The rows as dicts that have every one of the columns.

    Raises MissingData; DataError for a row that cannot be read or lacks a column, and, at the end, for another number of
    rows than is published.
    """
    file = find(benchmark, data, source)
    count = 0
    for record in _records(benchmark, data, file):
        count += 1
        where = f"{source}: {'' if file is None else f'{file}, '}{record.where}"
        if record.value is None:
            raise DataError(
                f"{where}: {record.problem}.\n  Fetch the file again; no row of a benchmark is left out silently."
            )
        missing = [column for column in benchmark.columns if column not in record.value]
        if missing:
            raise DataError(
                f"{where} has no column {missing[0]!r}; its columns are {', '.join(map(str, record.value))}.\n"
                f"  Give the rows as {benchmark.hub} publishes them: {', '.join(benchmark.columns)}."
            )
        yield record.value
    if benchmark.rows and count != benchmark.rows:
        raise DataError(
            f"{source}: {count:,} rows were read{'' if file is None else f' from {file}'}, but {benchmark.rows:,} are published, so "
            "this is another set or a part of it, and scores would carry a wrong name.\n"
            f"  Fetch split {benchmark.split!r} of {benchmark.hub} again."
        )


def _records(benchmark: Benchmark, data: Path | None, file: Path | None) -> Iterator[Record]:
    return benchmark.published.as_published(data) if file is None else records_of(file)


def text_of(row: dict[str, Any], column: str, source: str, number: int) -> str:
    """The text in a column. number: of the row, from 0. Raises DataError for anything else."""
    value = row.get(column)
    if not isinstance(value, str):
        raise DataError(f"{source}, row {number + 1}, column {column!r}: expected text, got {value!r:.60}.")
    return value


class BenchmarkSource:
    """Abstract: a source over one split of a benchmark. Subclasses are frozen dataclasses with `name`, `benchmark` and `rows`."""

    __slots__ = ()
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """The source's name."""
        raise NotImplementedError

    @property
    def benchmark(self) -> Benchmark:
        """What is published."""
        raise NotImplementedError

    @property
    def evaluation_only(self) -> bool:
        """True: the set is a benchmark."""
        return True

    @property
    def licence(self) -> str:
        """The publisher's licence."""
        return self.benchmark.licence

    @property
    def url(self) -> str:
        """The publisher's page."""
        return self.benchmark.published.url

    @property
    def revision(self) -> str:
        """That none is pinned: the rows are read as they are found."""
        return NOT_PINNED

    @property
    def count(self) -> int | None:
        """How many rows are published, where that is known."""
        return self.benchmark.rows or None

    def check(self, data: Path | None) -> None:
        """Raise MissingData where neither this machine nor the hub has the rows."""
        find(self.benchmark, data, self.name)
