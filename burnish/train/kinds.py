"""Which rows of a dataset a stage trains, and what is said of the others."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from burnish.core.types import Demo, Pair, Problem, Rated, Row
from burnish.data.dataset import Dataset
from burnish.errors import DataError
from burnish.pipeline.stage import Context, Stage

Kind = TypeVar("Kind", Demo, Pair, Problem, Rated)

# Of each kind of row: what it is called, and what trains it.
_KINDS: dict[type[Row], tuple[str, str]] = {
    Demo: ("demonstrations", "SFT"),
    Pair: ("preference pairs", "Preference, RewardModeling or Unpaired"),
    Rated: ("rated replies", "Unpaired"),
    Problem: ("problems", "RL"),
}


def rows_of(stage: str, ctx: Context, data: Stage, kind: type[Kind]) -> list[Kind]:
    """The rows of one kind in a dataset, in order; rows of other kinds are counted in a line.

    Raises DataError when all rows are of other kinds, with the stage that trains those; an empty dataset gives no rows.
    """
    found: list[Kind] = []
    others: Counter[type[Row]] = Counter()
    for row in Dataset.open(ctx.path_of(data)).stream():
        if isinstance(row, kind):
            found.append(row)
        else:
            others[type(row)] += 1
    if not others:
        return found
    name, shown = _KINDS[kind][0], " and ".join(f"{n} {_KINDS[other][0]}" for other, n in others.items())
    if not found:
        trained_by = ", ".join(f"{_KINDS[other][0]} with {_KINDS[other][1]}" for other in others)
        raise DataError(
            f"{stage}: the dataset {data.name} holds {shown} but no {name}, so there is nothing that this stage trains.\n"
            f"  Train {trained_by}, or give this stage a dataset of {name}."
        )
    ctx.console.line(f"  {shown} in {data.name} are no {name} and were passed over")
    return found
