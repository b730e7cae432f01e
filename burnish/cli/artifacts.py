"""`burnish show | diff | trace`: looking at what finished stages left behind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from burnish.cli.flags import out
from burnish.errors import DataError


@dataclass(frozen=True)
class Show:
    """What an artifact is, what made it, what it cost.

    Attributes:
        artifact: a folder, its name or a unique beginning of it, or NAME@FINGERPRINT.
        page: of an evaluation, HTML file to write, with every reply to look through.
        runs: folder of the artifacts.
        json: print its artifact.json.
    """

    artifact: Positional[Annotated[str, arg(metavar="ARTIFACT")]]
    page: Path | None = None
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Print it."""
        from burnish.core.files import read_json
        from burnish.pipeline.compare import described
        from burnish.pipeline.store import RECORD, Store
        from burnish.report.eval_page import write_page

        found = Store(self.runs).find(self.artifact)
        if self.page is not None:
            write_page(found.folder, self.page)
        out(read_json(found.folder / RECORD) if self.json else described(found))
        return 0


@dataclass(frozen=True)
class Diff:
    """What differs between two artifacts: fields, inputs, rows, scores.

    Attributes:
        a: an artifact, spelled as for `burnish show`.
        b: another.
        runs: folder of the artifacts.
        json: print JSON.
    """

    a: Positional[Annotated[str, arg(metavar="A")]]
    b: Positional[Annotated[str, arg(metavar="B")]]
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Print it."""
        from burnish.pipeline.compare import compare
        from burnish.pipeline.store import Store

        store = Store(self.runs)
        found = compare(store.find(self.a), store.find(self.b))
        out(found.to_json() if self.json else found.text())
        return 0


@dataclass(frozen=True)
class Trace:
    """Where a row came from and where it went.

    Attributes:
        row_id: 16 hex digits, as reports and logs print them.
        runs: folder of the artifacts.
        json: print JSON.
    """

    row_id: Positional[Annotated[str, arg(metavar="ROW_ID")]]
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Print it. Raises DataError when no artifact knows the row."""
        from burnish.data.dataset import find
        from burnish.pipeline import trace
        from burnish.pipeline.store import Store

        found = trace.trace(self.row_id, Store(self.runs), find)
        if not found:
            raise DataError(
                f"row {self.row_id!r} is in no artifact under {self.runs}.\n"
                "  A row's id is 16 hex digits; give the store it was made in with --runs DIR."
            )
        out([one.to_json() for one in found] if self.json else trace.text(self.row_id, found))
        return 0
