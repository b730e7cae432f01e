"""Scores beside the paper's columns: what evaluation folders hold, gathered into sections that `tables_text` writes down.

A section is a suite that the folders measured any part of, or the tasks that belong to none. Averages are over the parts that
every model measured, and the published columns are averaged over the same parts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from burnish.core.files import read_json
from burnish.errors import ArtifactError, DataError, RecipeError, nearest
from burnish.eval import paper
from burnish.eval.paper import Column
from burnish.eval.suites import MISSING, SUITES, Part, Suite, average, score_of
from burnish.eval.unlock import LOG, TICKET, log_of, missing_from, read_log, times

Form = Literal["md", "latex", "html", "json"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One score in [0, 1] with its 95 % interval; None where it was not measured."""

    score: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """A row of scores: one cell a model, then the published numbers in per cent. level 1: a part of the row above it."""

    name: str
    cells: tuple[Cell, ...]
    published: tuple[float | None, ...]
    level: int = 0


@dataclass(frozen=True, slots=True)
class Measured:
    """How one task was measured on one model. settings: a fingerprint of all of them. asked: looks at an unseen task."""

    task: str
    model: str
    metric: str
    n: int
    ungraded: int
    cut_share: float
    limit: int | None
    settings: str
    asked: int | None


@dataclass(frozen=True, slots=True)
class Section:
    """A suite's table. columns: the published models, each with its table. missing: parts outside the average, and why.

    average: a line, or None where fewer than two parts were measured for every model. notes: sentences below the table.
    """

    suite: str
    title: str
    models: tuple[str, ...]
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    average: Line | None
    missing: Mapping[str, str]
    measured: tuple[Measured, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation folder. missing: why tasks were not asked. asked: looks at unseen tasks. warning: a log that was changed."""

    folder: Path
    label: str
    rows: Mapping[str, Mapping[str, Any]]
    missing: Mapping[str, str]
    asked: Mapping[str, int]
    warning: str = ""


def table(folders: Sequence[Path], form: Form = "md", *, suite: str = "", columns: str = "8b") -> str:
    """The scores in evaluation folders beside the paper's, as Markdown, LaTeX (booktabs), an HTML fragment, or JSON.

    suite:   only this one; "" is every suite of which a part was measured, and the remaining tasks.
    columns: published columns, separated by commas: 8b, 70b, 405b, closed, stages, or none.
    Raises RecipeError for unknown names, ArtifactError for a folder that is no evaluation.
    """
    from burnish.eval.tables_text import WRITERS

    if form not in get_args(Form):
        raise RecipeError(f"--table {form}: no such form. {nearest(form, get_args(Form))}")
    return WRITERS[form](gather(folders, suite=suite, columns=columns))


def gather(folders: Sequence[Path], *, suite: str = "", columns: str = "8b") -> list[Section]:
    """The sections of the table. Raises as `table` does."""
    if not folders:
        raise RecipeError("no evaluation to show.\n  Name folders that hold scores.json, e.g. runs/evals/eval-….")
    if suite and suite not in SUITES:
        raise RecipeError(f"--suite {suite}: no such suite. {nearest(suite, SUITES)}")
    evaluations = _distinct([_open(folder) for folder in folders])
    chosen = _columns(columns)
    suites = [SUITES[suite]] if suite else _measured_suites(evaluations)
    sections = [_section(each, evaluations, chosen) for each in suites]
    covered = {task for each in suites for task in each.tasks}
    others = list(dict.fromkeys(task for each in evaluations for task in each.rows if task not in covered))
    if others and not suite:
        rest = Suite("", "Other tasks" if suites else "Scores", tuple(Part(task, (task,)) for task in others))
        sections.append(_section(rest, evaluations, ()))
    return sections


def settings_of(row: Mapping[str, Any]) -> str:
    """12 hex digits of the SHA-256 of a row's metric and settings but its limit: rows that share it were measured alike."""
    settings = {key: value for key, value in (row.get("settings") or {}).items() if key != "limit"}
    text = json.dumps([row.get("metric"), settings], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _open(folder: Path) -> Evaluation:
    try:
        scores = read_json(folder / "scores.json")
        rows = {row["task"]: row for row in scores["tasks"]}
        lacking = [
            k for row in rows.values() for k in ("score", "standard_error", "interval", "n", "ungraded") if k not in row
        ]
        if lacking:
            raise KeyError(lacking[0])
        lost = read_json(folder / MISSING) if (folder / MISSING).is_file() else []
        missing = {each["task"]: each["why"] for each in lost}
        label = str(scores.get("label") or scores.get("model") or folder.name)
    except (DataError, KeyError, TypeError, AttributeError) as error:
        what = str(error) if isinstance(error, DataError) else f"its scores.json lacks {error}."
        raise ArtifactError(
            f"{folder} is not an evaluation that this version can read: {what}\n"
            "  Name a folder that `burnish eval` or a recipe's Evaluate wrote, or evaluate again: finished replies are kept."
        ) from error
    log = log_of(folder)
    if log is None:
        ticket = read_json(folder / TICKET) if (folder / TICKET).is_file() else {}
        asked = {name: part["count"] for name, part in ticket.get("tasks", {}).items()}
        told = f"{LOG}, the log of looks at unseen tasks, is gone from beside {folder.name}" if asked else ""
        return Evaluation(folder, label, rows, missing, asked, told)
    looks = read_log(log)
    told = looks.damage or missing_from(looks, folder)
    return Evaluation(
        folder, label, rows, missing, {task: looks.times(task) for task in rows},
        f"{log.name}, the log of looks at unseen tasks, was changed: {told}" if told else "",
    )  # fmt: skip


def _distinct(evaluations: list[Evaluation]) -> list[Evaluation]:
    """The same, with the folder's name beside a label that two share."""
    labels = [each.label for each in evaluations]
    return [
        replace(each, label=f"{each.label} ({each.folder.name})") if labels.count(each.label) > 1 else each
        for each in evaluations
    ]


def _columns(spelling: str) -> list[Column]:
    known = (*paper.COLUMNS, "none")
    found: list[Column] = []
    for name in filter(None, (part.strip() for part in spelling.split(","))):
        if name not in known:
            raise RecipeError(f"--columns {name}: the paper has no such columns. {nearest(name, known)}")
        found += [column for column in paper.COLUMNS.get(name, ()) if column not in found]
    return found


def _measured_suites(evaluations: Sequence[Evaluation]) -> list[Suite]:
    """The suites that the tasks belong to, in the order of SUITES; of suites that share tasks, the one with most of them."""
    left = {task for each in evaluations for task in (*each.rows, *each.missing)}
    found: set[str] = set()
    while best := max(SUITES.values(), key=lambda suite: len(left & set(suite.tasks))):
        if not left & set(best.tasks):
            break
        found.add(best.name)
        left -= set(best.tasks)
    return [suite for name, suite in SUITES.items() if name in found]


def _section(suite: Suite, evaluations: Sequence[Evaluation], chosen: Sequence[Column]) -> Section:
    rows = {part.row for part in suite.parts} - {""}
    columns = [column for column in chosen if rows & column.scores.keys()]
    measured = [part for part in suite.parts if any(task in each.rows for each in evaluations for task in part.tasks)]
    lines = [line for part in measured for line in _lines(part, evaluations, columns)]
    averaged, missing = _average(suite, evaluations, columns) if suite.name else (None, {})
    return Section(
        suite.name, suite.title, tuple(each.label for each in evaluations),
        tuple(f"{column.model} ({column.table})" for column in columns), tuple(lines), averaged, missing,
        tuple(_how(each, task) for part in measured for task in part.tasks for each in evaluations if task in each.rows),
        tuple(_notes(suite, evaluations, columns)),
    )  # fmt: skip


def _lines(part: Part, evaluations: Sequence[Evaluation], columns: Sequence[Column]) -> list[Line]:
    """A part's line, and where it is a mean of several tasks, theirs below it."""
    lines = [Line(part.name, _cells(part, evaluations), tuple(column.scores.get(part.row) for column in columns))]
    for place, task in enumerate(part.tasks if len(part.tasks) > 1 else ()):
        six = part.row == "Safety"
        known = [paper.breakdown(column).get(paper.SAFETY[place]) if six else None for column in columns]
        lines.append(Line(task, _cells(Part(task, (task,)), evaluations), tuple(known), 1))
    return lines


def _cells(part: Part, evaluations: Sequence[Evaluation]) -> tuple[Cell, ...]:
    found = [score_of(part, each.rows) for each in evaluations]
    return tuple(Cell(None) if isinstance(score, str) else Cell(score.score, score.interval) for score in found)


def _average(
    suite: Suite, evaluations: Sequence[Evaluation], columns: Sequence[Column]
) -> tuple[Line | None, dict[str, str]]:
    """The line of averages over the parts that all models have, and why the other parts are not in it."""
    each = [average(evaluation.rows.values(), suite) for evaluation in evaluations]
    common = [part for part in suite.parts if all(part.name in one.over for one in each)]
    names = [part.name for part in common]
    missing = {part.name: _why(part, evaluations) for part in suite.parts if part not in common}
    if len(common) < 2:
        return None, missing
    means = [average(evaluation.rows.values(), suite, only=names) for evaluation in evaluations]
    published = [column.mean_of(part.row for part in common) for column in columns]
    return Line(means[0].title, tuple(Cell(one.score, one.interval) for one in means), tuple(published)), missing


def _why(part: Part, evaluations: Sequence[Evaluation]) -> str:
    """Why a part is in no average: each reason once, with the models it holds for where they differ."""
    reasons: dict[str, list[str]] = {}
    for each in evaluations:
        score = score_of(part, each.rows)
        if isinstance(score, str):
            told = dict.fromkeys(each.missing[task] for task in part.tasks if task in each.missing)
            reasons.setdefault(". ".join([score, *told]), []).append(each.label)
    if [len(labels) for labels in reasons.values()] == [len(evaluations)]:
        return next(iter(reasons))
    return "; ".join(f"{', '.join(labels)}: {reason}" for reason, labels in reasons.items())


def _how(evaluation: Evaluation, task: str) -> Measured:
    row = evaluation.rows[task]
    settings = row.get("settings") or {}
    return Measured(
        task, evaluation.label, str(row.get("metric", "")), row["n"], row["ungraded"], row.get("cut_share") or 0.0,
        settings.get("limit"), settings_of(row), evaluation.asked.get(task, 0) if _unseen(evaluation, task) else None,
    )  # fmt: skip


def _unseen(evaluation: Evaluation, task: str) -> bool:
    settings = evaluation.rows.get(task, {}).get("settings") or {}
    return bool(settings.get("unseen")) or evaluation.asked.get(task, 0) > 0


def _notes(suite: Suite, evaluations: Sequence[Evaluation], columns: Sequence[Column]) -> list[str]:
    """What a reader must know besides the numbers."""
    notes = (
        [f"Published columns: {paper.URL}, as printed; their averages are over the same rows as ours."]
        if columns
        else []
    )
    notes += dict.fromkeys(
        f"{column.table} asked {row} {how}: shown, and in no average here."
        for column in columns for row, how in column.other.items()
    )  # fmt: skip
    notes += [
        f"{part.name}: {part.note}." for part in suite.parts
        if part.note and columns and any(task in each.rows for each in evaluations for task in part.tasks)
    ]  # fmt: skip
    for task in suite.tasks:
        rows = [each.rows[task] for each in evaluations if task in each.rows]
        limits = sorted({row["settings"]["limit"] for row in rows if (row.get("settings") or {}).get("limit")})
        if limits:
            notes.append(f"{task}: only the first {' or '.join(map(str, limits))} problems were asked.")
        if len({settings_of(row) for row in rows}) > 1:
            notes.append(
                f"{task} was measured with different settings, so its scores cannot be compared with each other."
            )
        known = [
            f"{p['score'] * 100:.1f} {p['model']} ({p['settings']})"
            for row in rows[:1]
            for p in row.get("published", ())
        ]
        if known and not suite.name:
            notes.append(f"{task}, published: {'; '.join(known)}.")
        looks = max((each.asked.get(task, 0) for each in evaluations if task in each.rows), default=0)
        if rows and any(_unseen(each, task) for each in evaluations):
            notes.append(f"{task} is unseen: asked {times(looks)}.")
    return [*notes, *dict.fromkeys(f"Warning: {each.warning}" for each in evaluations if each.warning)]
