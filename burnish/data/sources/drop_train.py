"""DROP's training questions (Dua et al. 2019, arXiv:1903.00161), from which the published protocol draws its examples."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from burnish.data.sources.benchmark import Benchmark, find, rows_of
from burnish.errors import DataError

NAME = "drop/train"
# Whose number of rows is not known here: 77,409 or 77,400 by the source asked.
_TRAIN = Benchmark("drop/train", "EleutherAI/drop", "", "train", 0, "CC-BY-SA-4.0", ("passage", "question", "answer"))


def check(data: Path | None) -> None:
    """Raise MissingData where neither this machine nor the hub has the training questions."""
    find(_TRAIN, data, NAME)


def shots(data: Path | None, count: int, seed: int) -> list[tuple[str, str]]:
    """(question, answer) of `count` training rows, random.Random(seed).sample of all in their published order.

    A question is "Passage: …", "Question: …", "Answer:"; the answer is a number, the spans joined by ", ", or a date. Raises
    MissingData, and DataError for rows in other columns.
    """
    rows = list(rows_of(_TRAIN, data, NAME))
    if len(rows) < count:
        raise DataError(f"{NAME}: {len(rows)} rows are fewer than the {count} examples wanted.")
    picked = random.Random(seed).sample(range(len(rows)), count)
    return [
        (f"Passage: {rows[i]['passage']}\nQuestion: {rows[i]['question']}\nAnswer:", _answer(rows[i]["answer"], i))
        for i in picked
    ]


def _answer(value: Any, number: int) -> str:
    """An answer in DROP's columns as the published prompt has it."""
    try:
        if value["number"] != "":
            return str(value["number"])
        if value["spans"]:
            return ", ".join(value["spans"])
        date = value["date"]
        return " ".join([date["day"], date["month"], date["year"]]).strip()
    except (KeyError, TypeError):
        raise DataError(
            f"{NAME}, row {number + 1}, column 'answer': expected number, date and spans, got {value!r:.60}."
        ) from None
