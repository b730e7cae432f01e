"""What a person means by WHAT in `burnish data …`: a dataset folder, an artifact, files, or a named source."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import ArtifactError, DataError, RecipeError, nearest

if TYPE_CHECKING:
    from burnish.core.types import Row
    from burnish.data.dataset import Dataset
    from burnish.data.source import Broken
    from burnish.data.sources.files import Look


@dataclass
class What:
    """Rows that can be looked at.

    title:   what it is and where. look: how files are read. dataset: where it is a finished dataset folder.
    broken:  reasons of the records that were no rows, counted while `rows` is read; first: the first ten.
    """

    title: str
    offered: Callable[[], Iterator[Row | Broken]]
    dataset: Dataset | None = None
    look: Look | None = None
    broken: Counter[str] = field(default_factory=Counter)
    first: list[Broken] = field(default_factory=list)

    def rows(self) -> Iterator[Row]:
        """The rows from the beginning; records that are none are counted anew."""
        from burnish.data.source import Broken

        self.broken.clear()
        self.first.clear()
        for row in self.offered():
            if isinstance(row, Broken):
                self.broken[row.reason] += 1
                if len(self.first) < 10:
                    self.first.append(row)
            else:
                yield row

    def unread(self) -> str:
        """What could not be read, as text with the first ten places; empty where every record is a row."""
        if not self.broken:
            return ""
        lines = [f"{self.broken.total():,} records could not be read as rows:"]
        lines += [f"  {n:>9,}  {reason}" for reason, n in self.broken.most_common(10)]
        return "\n".join([*lines, *(f"  {each.where}: {each.reason}" for each in self.first)])


@dataclass(frozen=True)
class Places:
    """Where things lie and how files are read: the flags that all of `burnish data` share."""

    runs: Path
    data: Path | None
    layout: str = "auto"
    columns: str = ""


def find(spelling: str, places: Places) -> What:
    """What is meant. Raises DataError when nothing is, naming the nearest things there are."""
    from burnish.data.sources.catalogue import sources

    known = sources()
    path = Path(spelling)
    if any((path / name).is_file() for name in ("card.json", "rows.parquet", "artifact.json")):
        return _dataset(path)
    if spelling in known and not path.is_file():
        return _source(known[spelling], places)
    if path.exists() or any(c in spelling for c in "*?["):
        return _files(spelling, places)
    if spelling.startswith("hub:"):
        from burnish.data.sources.hub import Hub

        hub = Hub(
            spelling.removeprefix("hub:"), layout=places.layout, columns=columns(places.columns), verifier="unnamed"
        )
        return _source(hub, places)
    return _dataset(_artifact(spelling, places, known))


def columns(text: str) -> Mapping[str, str]:
    """{"prompt": "question"} from "prompt=question"; several are separated by commas. Raises RecipeError for other text."""
    found = {}
    for part in filter(None, text.split(",")):
        name, mark, column = (piece.strip() for piece in part.partition("="))
        if not (name and mark and column):
            raise RecipeError(
                f"--columns {text!r}: {part!r} does not say which column is meant.\n"
                "  Write prompt=question,answer=target: a name that layouts know, then the file's own."
            )
        found[name] = column
    return found


def _dataset(folder: Path) -> What:
    from burnish.data.dataset import Dataset

    dataset = Dataset.open(folder)
    return What(f"dataset {folder}", dataset.stream, dataset)


def _source(source: Any, places: Places) -> What:
    read = getattr(source, "read", source.rows)
    use = ", for evaluation only" if getattr(source, "evaluation_only", False) else ""
    count = getattr(source, "count", None)
    rows = f", {count:,} rows" if isinstance(count, int) else ""
    url = f", {source.url}" if source.url else ""
    title = f"source {source.name}{rows}, {source.licence or 'no licence given'}{url}{use}"
    return What(title, lambda: _filled(source, read(places.data)))


def _filled(source: Any, offered: Iterator[Row | Broken]) -> Iterator[Row | Broken]:
    from burnish.data.source import Broken

    for row in offered:
        if not isinstance(row, Broken):
            row = replace(row, source=row.source or source.name, licence=row.licence or source.licence)
        yield row


def _files(spelling: str, places: Places) -> What:
    from burnish.data.source import Broken
    from burnish.data.sources.files import Files, look

    renamed = columns(places.columns)
    looked = look(spelling, renamed, places.layout)
    count = f"{len(looked.files):,} files, " if len(looked.files) > 1 else ""
    top = Path(os.path.commonpath([file.parent for file in looked.files]))

    def offered() -> Iterator[Row | Broken]:
        # A source for each file, so that counts by source are counts by file.
        for file in looked.files:
            name = file.relative_to(top).as_posix()
            for row in Files(file, places.layout, renamed, "unnamed", label=name).read(None):
                yield replace(row, where=f"{name}, {row.where.partition(', ')[2]}") if isinstance(row, Broken) else row

    return What(f"{count}{spelling}", offered, look=looked)


def _artifact(spelling: str, places: Places, known: Mapping[str, object]) -> Path:
    from burnish.pipeline.store import Store

    store = Store(places.runs)
    try:
        return store.find(spelling).folder
    except ArtifactError as error:
        if not str(error).startswith("no artifact"):  # several that could be meant, or an unfinished one
            raise
    made = {artifact.name for artifact in store.artifacts()}
    places_tried = f"no file or folder, no artifact in {places.runs}, and no named source"
    raise DataError(f"{spelling!r} is {places_tried}. {nearest(spelling, {*known, *made})}")
