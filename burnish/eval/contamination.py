"""Scores on all, clean and contaminated problems, from the decontamination of the training data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.core.files import read_jsonl, write_atomic, write_json
from burnish.core.types import Problem
from burnish.data.decontamination.tested import TESTED, KnownItems, read_tested
from burnish.errors import ArtifactError, DataError
from burnish.eval.paired import unpaired
from burnish.eval.score import measured, problem_scores, read_scores, told
from burnish.eval.task import EvalTask
from burnish.pipeline.stage import Context, Stage, ordered

FLAG = "contaminated"  # in `flags` of samples.jsonl


@dataclass(frozen=True, slots=True)
class Split:
    """Which problems of one task the training data overlap with, and which were never compared; the rest is clean."""

    origins: tuple[str, ...]
    contaminated: frozenset[str]
    unknown: frozenset[str]


def split(problems: Sequence[Problem], tested: KnownItems) -> Split:
    """The problems' ids by what is known about them."""
    status = {problem.id: tested.overlaps(problem) for problem in problems}
    return Split(
        tested.origins,
        frozenset(name for name, flag in status.items() if flag),
        frozenset(name for name, flag in status.items() if flag is None),
    )


def by_status(
    task: EvalTask, problems: Sequence[Problem], scores: Mapping[str, float | None], parts: Split
) -> dict[str, Any]:
    """`contamination` of a row of scores.json.

    from: what was compared. clean, contaminated: n, score, standard_error, interval, clusters of those problems, None
    without a graded one. unknown: how many problems were never compared; they are in neither. difference: clean -
    contaminated with its standard_error and interval, None where one side is missing. The two sides hold different
    problems, so a difference can also come from one side being harder.
    """
    graded = [(problem, score) for problem in problems if (score := scores[problem.id]) is not None]
    known = [(problem, score) for problem, score in graded if problem.id not in parts.unknown]
    sides = [
        [(p, s) for p, s in known if (p.id in parts.contaminated) is contaminated] for contaminated in (False, True)
    ]
    clean, dirty = (measured(task, side) if side else None for side in sides)
    apart = unpaired(clean, dirty) if clean and dirty else None
    return {
        "from": list(parts.origins),
        "clean": told(clean) if clean else None,
        "contaminated": told(dirty) if dirty else None,
        "unknown": sum(problem.id in parts.unknown for problem in problems),
        "difference": {**dataclasses.asdict(apart), "interval": list(apart.interval)} if apart else None,
    }


def mark(
    folder: Path, tasks: Sequence[EvalTask], problems: Mapping[str, Sequence[Problem]], tested: KnownItems
) -> dict[str, Any]:
    """Add `contamination` to each row of a finished evaluation's scores.json, and FLAG to its samples; returns the scores.

    Marks of an earlier call are replaced. Replies are not asked for again.
    """
    scores = read_scores(folder)
    samples = [record for _, record in read_jsonl(folder / "samples.jsonl")]
    known = {task.name: task for task in tasks}
    for row in scores["tasks"]:
        task, asked = known[row["task"]], problems[row["task"]]
        parts = split(asked, tested)
        row["contamination"] = by_status(task, asked, problem_scores(task, samples), parts)
        for sample in samples:
            if sample["task"] == task.name:
                kept = [flag for flag in sample["flags"] if flag != FLAG]
                sample["flags"] = [*kept, FLAG] if sample["id"] in parts.contaminated else kept
    write_atomic(
        folder / "samples.jsonl", "".join(json.dumps(s, ensure_ascii=True, allow_nan=False) + "\n" for s in samples)
    )
    write_json(folder / "scores.json", scores)
    return scores


def lines(scores: Mapping[str, Any]) -> list[str]:
    """What `mark` found, a line a task, as a person reads it."""
    return [f"  {row['task']:<16} {_said(row['contamination'])}" for row in scores["tasks"] if row.get("contamination")]


def _said(found: Mapping[str, Any]) -> str:
    parts = [
        f"{name} {100 * side['score']:.1f} (n {side['n']:,})" if side else f"{name} none"
        for name, side in (("clean", found["clean"]), ("contaminated", found["contaminated"]))
    ]
    if found["difference"]:
        low, high = found["difference"]["interval"]
        parts.append(f"difference {100 * found['difference']['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]")
    if found["unknown"]:
        parts.append(f"{found['unknown']:,} not compared")
    return ", ".join(parts)


def known_in(folders: Sequence[Path]) -> KnownItems | None:
    """What folders of `burnish decontaminate` or datasets know together; None for none."""
    found: KnownItems | None = None
    for folder in folders:
        if not folder.is_dir():
            raise DataError(
                f"--contamination {folder}: no such folder.\n"
                "  Give the --out folder of  burnish decontaminate TRAIN… --against TESTS…"
            )
        found = read_tested(folder) if found is None else found.joined(read_tested(folder))
    return found


def trained_on(model: Stage, ctx: Context) -> KnownItems | None:
    """What the datasets that a model was made from know; None where none was kept away from tests."""
    folders = []
    for stage in ordered(model):
        try:
            folder = ctx.path_of(stage)
        except ArtifactError:  # an input of an adopted artifact need not be there
            continue
        if (folder / TESTED).is_file():
            folders.append(folder)
    return known_in(folders)
