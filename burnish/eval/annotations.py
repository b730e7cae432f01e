"""Judge preferences as files have them, as `winrate.Annotations`."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from burnish.data.readers import files_of, records
from burnish.errors import DataError, nearest
from burnish.eval.winrate import Annotations, Floats, Gamed

_MODEL = ("model", "generator_2")
_GAMED = ("index", "preference", "std_delta_len", "instruction_difficulty")


def read(paths: Sequence[Path]) -> list[Annotations]:
    """The models of some files of annotations, in the order they come.

    A row has `preference` in [1, 2], 0 or 1.5 for a tie, null for none; a model, as `model` or `generator_2`; lengths, as `len_1`
    (baseline) and `len_2`, or the texts `output_1` and `output_2`; and `index`, the instruction's number. AlpacaEval's own
    annotations.json have no index: there the number is the place among the model's rows.
    Raises DataError naming file, row and field.
    """
    found: dict[str, dict[int, tuple[float, int]]] = {}
    for path in paths:
        for file in files_of(path):
            for record in records(file):
                if record.value is None:
                    raise DataError(f"{record.where}: {record.problem}")
                _add(found, record.value, record.where)
    if not found:
        raise DataError(f"{', '.join(map(str, paths))}: no annotations there, so there is nothing to count.")
    return [_model(name, rows) for name, rows in found.items()]


def _add(found: dict[str, dict[int, tuple[float, int]]], row: Mapping[str, Any], where: str) -> None:
    name = next((row[key] for key in _MODEL if isinstance(row.get(key), str) and row[key]), None)
    if name is None:
        raise DataError(
            f"{where}: no model's name in {' or '.join(_MODEL)}; {nearest(_MODEL[0], row)}\n  A row is about one model."
        )
    rows = found.setdefault(name, {})
    place = row.get("index", len(rows))
    if isinstance(place, bool) or not isinstance(place, int) or place < 0:
        raise DataError(f"{where}, field index: expected the instruction's number from 0, got {place!r:.60}.")
    if place in rows:
        raise DataError(
            f"{where}: {name} has two rows for instruction {place}, so its win rate would count one twice.\n"
            "  Keep one of them, or give the two runs names of their own."
        )
    rows[place] = (_wins(row, where), _length(row, 1, where) - _length(row, 2, where))


def _wins(row: Mapping[str, Any], where: str) -> float:
    if "preference" not in row:
        raise DataError(f"{where}: no field preference. {nearest('preference', row)}")
    given = row["preference"]
    if given is None or (isinstance(given, float) and math.isnan(given)):
        return math.nan
    if isinstance(given, bool) or not isinstance(given, int | float) or not (given == 0 or 1 <= given <= 2):
        raise DataError(
            f"{where}, field preference: expected a number from 1 (the baseline wins) to 2 (the model wins), 0 for a tie or null, got {given!r:.60}."
        )
    return 0.5 if given == 0 else float(given) - 1


def _length(row: Mapping[str, Any], side: int, where: str) -> int:
    given = row.get(f"len_{side}")
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return given
    text = row.get(f"output_{side}")
    if isinstance(text, str):
        return len(text)
    raise DataError(
        f"{where}: neither len_{side} (characters) nor output_{side} (text) says how long the {'baseline' if side == 1 else 'model'}'s reply is, "
        "so its length cannot be controlled for."
    )


def _model(name: str, rows: Mapping[int, tuple[float, int]]) -> Annotations:
    places = sorted(rows)
    wins, shorter = zip(*(rows[place] for place in places), strict=True)
    return Annotations(name, np.array(places, np.int64), np.array(wins, float), np.array(shorter, float))


def read_gamed(path: Path) -> Gamed:
    """AlpacaEval's df_gamed.csv. Raises DataError naming the column or the row that is wrong."""
    rows = _csv(path, _GAMED)
    columns = {name: np.array([row[name] for row in rows]) for name in _GAMED}
    return Gamed(columns["preference"], np.tanh(columns["std_delta_len"]), columns["instruction_difficulty"])


def read_difficulty(path: Path) -> Floats:
    """[X] γ by the instruction's number, from AlpacaEval's df_gamed.csv or instruction_difficulty.csv; NaN where it has none."""
    with path.open(encoding="utf-8", newline="") as file:
        header = next(csv.reader(file), [])
    gamed = "instruction_difficulty" in header and "index" in header
    names = ("index", "instruction_difficulty") if gamed else tuple(header[:2])
    if len(names) < 2:
        raise DataError(
            f"{path}: expected the columns index and instruction_difficulty, found {', '.join(header) or 'nothing'}."
        )
    rows = _csv(path, names)
    known = {int(row[names[0]]): row[names[1]] for row in reversed(rows)}
    difficulty = np.full(max(known, default=-1) + 1, np.nan)
    difficulty[list(known)] = list(known.values())
    return difficulty


def _csv(path: Path, names: Sequence[str]) -> list[dict[str, float]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    found = list(rows[0]) if rows else []
    for name in names:
        if name not in found:
            raise DataError(f"{path} has no column {name!r}. {nearest(name, found)}")
    numbers = []
    for line, row in enumerate(rows, 2):
        try:
            numbers.append({name: float(row[name]) for name in names})
        except (TypeError, ValueError):
            raise DataError(f"{path}, line {line}: expected numbers in {', '.join(names)}, got {row!r:.120}.") from None
    return numbers
