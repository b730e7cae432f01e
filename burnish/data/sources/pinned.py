"""Published files that a source reads: where they are looked for, and the revision they must be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.files import read_jsonl, sha256_file
from burnish.errors import DataError, MissingData, RecipeError, nearest


@dataclass(frozen=True, slots=True)
class Pinned:
    """A published file.

    path:     below the folder of --data, e.g. "gsm8k/train.jsonl.gz".
    sha256:   of the file as stored; `rows` its rows.
    url:      the repository it was published in; `revision` the commit there.
    """

    path: str
    sha256: str
    rows: int
    licence: str
    url: str
    revision: str


def cache_folder() -> Path:
    """Where published files are looked for after --data: ~/.cache/burnish/data."""
    return Path.home() / ".cache" / "burnish" / "data"


def locate(pinned: Pinned, data: Path | None, source: str) -> Path:
    """The file on this machine. Raises MissingData, with the three ways to get it, or DataError where it is another revision."""
    places = [folder / pinned.path for folder in (data, cache_folder()) if folder is not None]
    for path in places:
        if path.is_file():
            found = sha256_file(path)
            if found != pinned.sha256:
                raise DataError(
                    f"{path} is another revision of {source}: its SHA-256 starts with {found[:12]}, and the pinned one with "
                    f"{pinned.sha256[:12]}, so results would carry a wrong name.\n"
                    f"  Restore the pinned file, or read your own with Files({str(path)!r})."
                )
            return path
    name = Path(pinned.path).name.removesuffix(".gz")
    raise MissingData(
        f"{source} is not on this machine: no {' and no '.join(str(path) for path in places)}.\n"
        f"  1. --data DIR with the file at DIR/{pinned.path} ({pinned.url}, revision {pinned.revision[:12]})\n"
        f"  2. the same file in the cache: {cache_folder() / pinned.path}\n"
        f"  3. from the hub: pip install 'burnish[hub]', save the dataset with its to_json({name!r}), and read that with "
        f"Files({name!r})"
    )


def records(pinned: Pinned, data: Path | None, source: str, fields: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The file's rows as dicts whose `fields` are strings. Raises DataError (file, line, field)."""
    path = locate(pinned, data, source)
    for number, record in read_jsonl(path):
        if not isinstance(record, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, got {type(record).__name__}.")
        for name in fields:
            if not isinstance(record.get(name), str):
                raise DataError(f"{path}, line {number}, field {name!r}: expected text, got {record.get(name)!r:.60}.")
        yield record


class PinnedSource:
    """Abstract: a source over one published file. Subclasses are frozen dataclasses with `name`, `file` and `rows`."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """The source's name."""
        raise NotImplementedError

    @property
    def file(self) -> Pinned:
        """The published file."""
        raise NotImplementedError

    @property
    def evaluation_only(self) -> bool:
        """True for rows no model may be trained on."""
        return False

    @property
    def licence(self) -> str:
        """The publisher's licence."""
        return self.file.licence

    @property
    def url(self) -> str:
        """The publisher's repository."""
        return self.file.url

    @property
    def revision(self) -> str:
        """The commit in that repository."""
        return self.file.revision

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.file.rows

    def check(self, data: Path | None) -> None:
        """Raise DataError unless the pinned file is there."""
        locate(self.file, data, self.name)


class TestSource(PinnedSource):
    """Abstract: a source over one file of a benchmark."""

    __test__: ClassVar[bool] = False  # pytest takes any class of this name for its own
    __slots__ = ()

    @property
    def evaluation_only(self) -> bool:
        """True: the set is a benchmark."""
        return True


class TestFiles:
    """Abstract: a source over several files of a benchmark, published together. Subclasses are frozen dataclasses with `name`,
    `files` and `rows`.
    """

    __test__: ClassVar[bool] = False  # pytest takes any class of this name for its own
    __slots__ = ()

    @property
    def name(self) -> str:
        """The source's name."""
        raise NotImplementedError

    @property
    def files(self) -> tuple[Pinned, ...]:
        """The published files, one or more, in the order they are read."""
        raise NotImplementedError

    @property
    def evaluation_only(self) -> bool:
        """True: the set is a benchmark."""
        return True

    @property
    def licence(self) -> str:
        """The publisher's licence."""
        return self.files[0].licence

    @property
    def url(self) -> str:
        """The publisher's repository."""
        return self.files[0].url

    @property
    def revision(self) -> str:
        """The commit in that repository."""
        return self.files[0].revision

    @property
    def count(self) -> int:
        """How many rows there are."""
        return sum(file.rows for file in self.files)

    def check(self, data: Path | None) -> None:
        """Raise DataError unless every pinned file is there."""
        for file in self.files:
            locate(file, data, self.name)


def one_of(value: str, known: Iterable[str], what: str) -> None:
    """Raise RecipeError, with the nearest known name, for a value that is not known. what: e.g. "GSM8KProblems(split=...)"."""
    names = list(known)
    if value not in names:
        raise RecipeError(f"{what.replace('...', repr(value))}: there is no such one. {nearest(str(value), names)}")
