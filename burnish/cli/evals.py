"""`burnish eval tasks | table | compare`: what can be asked, scores beside the paper's, models beside each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from burnish.cli.compare import CompareEvals, evaluation
from burnish.cli.flags import Command, data_folder, out, parse


@dataclass(frozen=True)
class Tasks:
    """List benchmarks and suites: problems, protocol, and whether the data are here or how to get them.

    Attributes:
        names: only these tasks and suites; none given lists all.
        data: folder of real data sets.
        json: print the list as JSON.
    """

    names: Positional[Annotated[tuple[str, ...], arg(metavar="NAME…")]] = ()
    data: Path | None = None
    json: bool = False

    def __call__(self) -> int:
        """List."""
        from burnish.eval.listing import listing, text

        found = listing(self.names, data_folder(self.data))
        out(found if self.json else text(found))
        return 0


@dataclass(frozen=True)
class Table:
    """Scores of finished evaluations beside the paper's columns.

    Attributes:
        folders: evaluations, as `burnish eval` prints them, or artifacts of a recipe's evaluations.
        form: md, latex, html or json.
        suite: only this suite.
        columns: the paper's columns: 8b, 70b, 405b, closed, stages or none, separated by commas.
        runs: folder of the artifacts.
    """

    folders: Positional[Annotated[tuple[str, ...], arg(metavar="FOLDER…")]]
    form: str = "md"
    suite: str = ""
    columns: str = "8b"
    runs: Path = Path("runs")

    def __call__(self) -> int:
        """Print."""
        from typing import cast

        from burnish.eval.tables import table

        folders = [evaluation(each, self.runs) for each in self.folders]
        out(table(folders, cast(Any, self.form), suite=self.suite, columns=self.columns))
        return 0


EVAL_COMMANDS: dict[str, Callable[..., Command]] = {"tasks": Tasks, "table": Table, "compare": CompareEvals}


def eval_command(words: list[str]) -> int:
    """Carry out `burnish eval tasks …`, `table …` or `compare …`."""
    act: Command = parse(EVAL_COMMANDS[words[0]], f"eval {words[0]}", words[1:])
    return act()
