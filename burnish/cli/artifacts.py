"""`burnish show | diff | trace`: looking at what finished stages left behind."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from burnish.cli.flags import out
from burnish.cli.rollouts import Asked, Sort, show_rollouts, steps_of
from burnish.errors import DataError, RecipeError


@dataclass(frozen=True)
class Show:
    """What an artifact is, what made it, what it cost; or the replies of an RL run.

    Attributes:
        artifact: a folder, its name or a unique beginning of it, or NAME@FINGERPRINT.
        page: of an evaluation or an RL run, HTML file to write, with every reply to look through.
        rollouts: of an RL run, also one that is going on, the replies that fit the flags below.
        source: rollouts whose problem is from this source.
        verifier: rollouts that this verifier graded.
        step: rollouts of this step.
        steps: rollouts of the steps from the first to the last, 10:20; 10: and :20 are open.
        min_reward: rollouts worth at least this.
        max_reward: rollouts worth at most this.
        flag: rollouts in which this monitor saw something.
        finish: rollouts that ended so: stop, length (cut) or abort (given up by the engine).
        sort: order of rollouts; surprising is by the size of the advantage.
        limit: how many rollouts are printed; 0 all.
        runs: folder of the artifacts.
        json: print JSON: its artifact.json, or the rollouts.
    """

    artifact: Positional[Annotated[str, arg(metavar="ARTIFACT")]]
    page: Path | None = None
    rollouts: bool = False
    source: str | None = None
    verifier: str = ""
    step: int | None = None
    steps: str = ""
    min_reward: float | None = None
    max_reward: float | None = None
    flag: str = ""
    finish: Literal["", "stop", "length", "abort"] = ""
    sort: Sort = "oldest"
    limit: int = 10
    runs: Path = Path("runs")
    json: bool = False

    def __call__(self) -> int:
        """Print it."""
        from burnish.core.files import read_json
        from burnish.pipeline.compare import described
        from burnish.pipeline.store import RECORD, Store
        from burnish.report.eval_page import write_page
        from burnish.report.rollouts import is_rl

        if self.rollouts:
            return self._rollouts(Store(self.runs).folder_of(self.artifact))
        self._only_rollouts()
        if self.page is not None and is_rl(folder := Store(self.runs).folder_of(self.artifact)):
            return self._rollouts(folder)
        found = Store(self.runs).find(self.artifact)
        if self.page is not None:
            write_page(found.folder, self.page)
        out(read_json(found.folder / RECORD) if self.json else described(found))
        return 0

    def _rollouts(self, folder: Path) -> int:
        from burnish.report.rollouts import Wanted

        wanted = Wanted(
            self.source,
            self.verifier,
            steps_of(self.step, self.steps),
            self.min_reward,
            self.max_reward,
            self.flag,
            self.finish,
        )
        return show_rollouts(folder, Asked(wanted, self.limit, self.sort, self.json, self.page))

    def _only_rollouts(self) -> None:
        """Raise RecipeError for a flag that chooses among replies where none are asked for."""
        names = ("source", "verifier", "step", "steps", "min_reward", "max_reward", "flag", "finish", "sort", "limit")
        usual = {field.name: field.default for field in fields(self)}
        given = [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) != usual[name]]
        if given:
            raise RecipeError(
                f"burnish show {self.artifact} {given[0]} …: it chooses among the replies of an RL run, which were not asked for.\n"
                f"  Add --rollouts."
            )


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
