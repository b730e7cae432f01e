"""Data sets of the Hugging Face hub: from a folder where they lie, or streamed through the `datasets` library (extra `hub`).

Looked for in this order, DIR being first the folder of --data and then the cache (`cache_folder()`):
    DIR/<id, "/" as "__">[/<config>]/<split>.parquet | .jsonl | .jsonl.gz       one file
    DIR/<id, "/" as "__">[/<config>]/<split>-….parquet                          shards, also in a folder data/ in there
    DIR/<id, "/" as "__">[/<config>]/<split>/*.parquet                          shards
then a folder <id> where the command runs, which `datasets` would read before the hub, and last the hub itself.
`hf download ID --repo-type dataset --local-dir DIR/<id with __>` makes such a folder.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.files import sha256_file
from burnish.core.types import Row
from burnish.data.layouts import LAYOUTS, Layout, detect
from burnish.data.readers import Record, records
from burnish.data.source import Broken
from burnish.data.sources.pinned import cache_folder, one_of
from burnish.errors import DataError, MissingData, MissingExtra, RecipeError, nearest

_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz")
# Records looked at to tell the layout of all.
_LOOKED_AT = 100
# How far the rows read may lie from the rows published: releases differ by a row or two, half a download by more.
_TOLERANCE = 0.01
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """Where a data set is.

    files:    on this machine; none where it is read through `datasets`.
    place:    what `datasets` is asked for: the id, or a folder of that name.
    revision: the commit on the hub, or the SHA-256 of the files' content.
    """

    files: tuple[Path, ...]
    place: str
    revision: str

    @property
    def where(self) -> str:
        """The first files, or the place, for a message."""
        return ", ".join(map(str, self.files[:2])) + (", …" if len(self.files) > 2 else "") or self.place


@dataclass(frozen=True, slots=True)
class Hub:
    """A split of a data set, or the rows of it that `only` names, in the order they are published.

    id:         "org/name".
    revision:   commit or tag; "" is not pinned: the newest is read, and the card records which commit that was. Files on
                this machine are read as they are and recorded by the SHA-256 of their content.
    layout:     a name of LAYOUTS, or "auto" to tell it from the first records.
    columns:    where the set calls a column differently: {"prompt": "question"} reads prompt from question.
    only:       the rows whose columns have these values: one part of a mixture, {"source": "…"}.
    verifier:   for problems, the verifier that compares with their answer.
    label:      the name rows carry as source; by default id, config and split.
    rows_known: how many rows are published. A plan shows it; reading 1 % more or fewer is an error.
    """

    id: str
    config: str = ""
    split: str = "train"
    revision: str = ""
    layout: str = "auto"
    columns: Mapping[str, str] = field(default_factory=dict)
    only: Mapping[str, str] = field(default_factory=dict)
    verifier: str = ""
    licence: str = ""
    label: str = ""
    rows_known: int | None = field(default=None, metadata={"identity": False})
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise RecipeError(
                f"Hub({self.id!r}): an id looks like 'org/name'.\n  For a file or folder write Files(path)."
            )
        if self.layout != "auto":
            one_of(self.layout, LAYOUTS, "Hub(layout=...)")
        if self.layout != "auto" and LAYOUTS[self.layout].needs_verifier and not self.verifier:
            raise RecipeError(self._ungraded(self.layout))

    @property
    def name(self) -> str:
        """The label, or the id with config and split where they are not the usual ones."""
        unusual = [self.config, "" if self.split == "train" else self.split]
        return self.label or "/".join([self.id, *filter(None, unusual)])

    @property
    def url(self) -> str:
        """The page of the data set."""
        return f"https://huggingface.co/datasets/{self.id}"

    @property
    def count(self) -> int | None:
        """The rows published, where that is known."""
        return self.rows_known

    def check(self, data: Path | None) -> None:
        """Raise MissingData, naming the three ways to get it, where neither this machine nor the hub has the data set."""
        if not self._local(data):
            self._place(data)

    def found(self, data: Path | None) -> Found:
        """Where it is. Reads the files through for their hash. Raises MissingData as `check` does."""
        if files := self._local(data):
            return Found(files, "", _digest(files))
        place = self._place(data)
        return Found((), place, self.revision if place != self.id else _commit(self.id, self.revision)[0])

    def revision_found(self, data: Path | None) -> str:
        """What the card records as the revision: the commit that was read, or the hash of the files."""
        return self.found(data).revision

    def rows(self, data: Path | None) -> Iterator[Row]:
        """The rows. Raises DataError at the first broken record; `read` goes on."""
        for row in self.read(data):
            if isinstance(row, Broken):
                raise DataError(f"{row.where}: {row.reason}")
            yield row

    def read(self, data: Path | None) -> Iterator[Row | Broken]:
        """The rows, and the records that are none. A batch is in memory at a time.

        Raises MissingData; DataError for files that cannot be read, a column in `only` that is not there, a layout that
        nobody knows, and another number of rows than is published.
        """
        found = self.found(data)
        stream = self._records(found)
        head = list(islice(stream, _LOOKED_AT))
        if not head:
            raise self._nothing(found)
        layout = self._layout([record.value for record in head if record.value is not None])
        lineage = (f"{self.name}@{found.revision[:12]}",)
        count = 0
        for record in chain(head, stream):
            count += 1
            if record.value is None:
                yield Broken(record.where, record.problem, record.raw)
                continue
            try:
                row = layout.row(record.value)
            except DataError as error:
                yield Broken(record.where, str(error), repr(record.value)[:200])
                continue
            yield replace(row, source=self.name, licence=self.licence, lineage=lineage)
        self._check_count(count, found)

    def as_published(self, data: Path | None) -> Iterator[Record]:
        """The records of the split in their own columns, in no layout. Raises MissingData, and DataError as `read` does."""
        return self._records(self.found(data))

    def _records(self, found: Found) -> Iterator[Record]:
        return self._chosen(_of_files(found.files, self.only) if found.files else self._streamed(found))

    def _layout(self, head: Sequence[dict[str, Any]]) -> Layout:
        """The layout named, or told from the first records."""
        if self.layout != "auto":
            return LAYOUTS[self.layout].renamed(self.columns).graded(self.verifier)
        try:
            found = detect(head, self.columns).layout
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error
        if found.needs_verifier and not self.verifier:
            raise RecipeError(self._ungraded(found.name))
        return found.graded(self.verifier)

    def _ungraded(self, layout: str) -> str:
        return (
            f"Hub({self.id!r}): its layout {layout!r} makes problems and names no verifier, so replies could not be graded.\n"
            "  Say which compares with the answer: verifier='gsm8k'."
        )

    def _chosen(self, stream: Iterator[Record]) -> Iterator[Record]:
        """Records whose columns have the values of `only`; broken ones are passed on, since nobody knows whose they are."""
        for record in stream:
            if record.value is not None:
                for column in self.only:
                    if column not in record.value:
                        raise DataError(
                            f"{self.name}: {record.where} has no column {column!r}, which tells the parts of the mixture "
                            f"apart. {nearest(column, record.value)}"
                        )
                if any(record.value[column] != value for column, value in self.only.items()):
                    continue
            yield record

    def _check_count(self, count: int, found: Found) -> None:
        if self.rows_known is None or abs(count - self.rows_known) <= max(1, _TOLERANCE * self.rows_known):
            return
        raise DataError(
            f"{self.name}: {count:,} rows were read from {found.where}, but {self.rows_known:,} are published, so this is another set "
            "or a part of it.\n"
            f"  Fetch it again, or take it as it is on purpose: dataclasses.replace(source, rows_known={count})."
        )

    def _nothing(self, found: Found) -> DataError:
        wanted = " and ".join(f"column {column!r} is {value!r}" for column, value in self.only.items())
        return DataError(
            f"{self.name}: {found.where} has no row{f' whose {wanted}' if wanted else ''}, so there is nothing to take.\n"
            "  Is it the right set, config and split? A part of a mixture is spelled as its column spells it."
        )

    def _local(self, data: Path | None) -> tuple[Path, ...]:
        """The files on this machine. Raises DataError where the same split is there in two forms."""
        for folder in (data, cache_folder()):
            if folder is None:
                continue
            base = folder / self.id.replace("/", "__") / self.config
            forms = [[base / f"{self.split}{suffix}"] for suffix in _SUFFIXES]
            forms += [sorted(place.glob(f"{self.split}-*.parquet")) for place in (base, base / "data")]
            forms += [sorted((base / self.split).glob("*.parquet"))]
            there = [form for form in forms if form and form[0].is_file()]
            if len(there) > 1:
                raise DataError(
                    f"{self.name}: {there[0][0]} and {there[1][0]} both hold split {self.split}, and they could differ.\n"
                    "  Keep one of them."
                )
            if there:
                return tuple(there[0])
        return ()

    def _place(self, data: Path | None) -> str:
        """What to ask `datasets` for. Raises MissingData where it cannot be had."""
        if Path(self.id).is_dir():
            _datasets()
            return str(Path(self.id))
        problem = _commit(self.id, self.revision)[1]
        if not problem:
            return self.id
        folder = self.id.replace("/", "__")
        inner = "/".join(filter(None, (folder, self.config, f"{self.split}.parquet")))
        pinned = f" --revision {self.revision}" if self.revision else ""
        raise MissingData(
            f"{self.id} is not on this machine: {'' if data is None else f'no {data / inner}, '}no {cache_folder() / inner}, "
            f"{problem}.\n"
            f"  1. --data DIR with {inner} (or .jsonl, .jsonl.gz, or shards {self.split}-….parquet) in it: on a machine with a "
            f"network, hf download {self.id} --repo-type dataset{pinned} --local-dir {data or 'DIR'}/{folder}\n"
            f"  2. the same folder in the cache: {cache_folder() / folder}\n"
            f"  3. from the hub while it runs: pip install 'burnish[hub]', and a network"
        )

    def _streamed(self, found: Found) -> Iterator[Record]:
        """The records as `datasets` streams them. Raises DataError for what it refuses, with its own words."""
        datasets = _datasets()
        revision = None if Path(found.place).is_dir() else found.revision
        try:
            builder = datasets.load_dataset_builder(found.place, self.config or None, revision=revision)
            # Parquet is filtered where it lies, so that a part of a mixture does not cost the whole of it.
            filters = [(column, "==", value) for column, value in self.only.items()]
            more = {"filters": filters} if filters and hasattr(builder.config, "filters") else {}
            stream = datasets.load_dataset(
                found.place, self.config or None, split=self.split, revision=revision, streaming=True, **more
            )
            for number, value in enumerate(stream, 1):
                yield Record(f"{self.id}, row {number}", value)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            what = f"config {self.config!r}, " if self.config else ""
            raise DataError(f"{self.id} ({what}split {self.split!r}) cannot be read from the hub: {error}") from error


def _of_files(files: Sequence[Path], only: Mapping[str, str]) -> Iterator[Record]:
    """The records of files; of Parquet only those that match, where whole row groups can be left out unread."""
    if only and files[0].suffix == ".parquet":
        yield from _matching(files, only)
        return
    for file in files:
        for record in records(file):
            yield replace(record, where=f"{file}, {record.where}")


def _matching(files: Sequence[Path], only: Mapping[str, str]) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.dataset as ds

    number = 0
    try:
        dataset = ds.dataset([str(file) for file in files], format="parquet")
        known = [column for column in only if column in dataset.schema.names]
        wanted = functools.reduce(
            lambda a, b: a & b, (ds.field(column) == only[column] for column in known), ds.scalar(True)
        )
        for batch in dataset.to_batches(filter=wanted, batch_size=1024, batch_readahead=1, fragment_readahead=1):
            for value in batch.to_pylist():
                number += 1
                yield Record(f"{files[0].parent}, matching row {number}", value)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{files[0].parent}: cannot be read past matching row {number} ({error}).\n  Are the files complete and really Parquet?"
        ) from error


def _digest(files: Sequence[Path]) -> str:
    """The SHA-256 of a file, or of the SHA-256s of several in their order."""
    digests = [_file_digest(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


@functools.cache
def _file_digest(file: str, changed_ns: int, size: int) -> str:
    """Remembered as long as the file is as it was: the parts of a mixture share their files."""
    return sha256_file(Path(file))


def _datasets() -> Any:
    """The library. Raises MissingExtra."""
    try:
        import datasets
    except ImportError:
        raise MissingExtra("Reading from the hub", "datasets", "hub") from None
    return datasets


@functools.cache
def _commit(hub_id: str, revision: str) -> tuple[str, str]:
    """(the commit that a revision of a data set is on the hub, "") or ("", why it cannot be had). Asked once a process."""
    missing = [name for name in ("datasets", "huggingface_hub") if importlib.util.find_spec(name) is None]
    if missing:
        return "", f"and for the hub {' and '.join(missing)} is not installed"
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if problem := _unreachable():
        return "", problem
    try:
        info = HfApi().dataset_info(hub_id, revision=revision or None, timeout=_PATIENCE_S)
        HfApi().auth_check(hub_id, repo_type="dataset")
    except GatedRepoError:
        return "", "and the hub gives it only to those who accepted its terms there (hf auth login)"
    except RepositoryNotFoundError:
        return "", "and the hub has no such data set, or only for those who may see it (hf auth login)"
    except RevisionNotFoundError:
        return "", f"and on the hub it has no revision {revision!r}"
    except _refusals() as error:
        return "", f"and the hub did not answer ({error})"
    return str(info.sha), ""


@functools.cache
def _unreachable() -> str:
    """Why the hub cannot be reached, or "". One short request, so that a machine without a network does not wait for each source."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "and HF_HUB_OFFLINE forbids the hub"
    try:
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE_S)
    except _refusals() as error:
        return f"and the hub cannot be reached ({error})"
    return ""


def _refusals() -> tuple[type[Exception], ...]:
    """What a request to the hub raises: errors of the HTTP library that huggingface_hub uses, and of the system."""
    import huggingface_hub.utils

    library: Any = huggingface_hub.utils
    return library.httpx.HTTPError, OSError
