"""How often unseen tests had been looked at when an evaluation asked them, from the file it keeps (`unseen.json`)."""

from __future__ import annotations

from pathlib import Path

from burnish.core.files import read_json

TICKET = "unseen.json"


def look_notes(folder: Path) -> list[str]:
    """A sentence for each unseen task that the evaluation in `folder` asked; none where it asked none."""
    if not (folder / TICKET).is_file():
        return []
    look = read_json(folder / TICKET)
    return [
        f"{task} is an unseen test, asked here for the {_ordinal(part['count'])} time ({look['time'][:10]}: {look['reason']})."
        for task, part in look["tasks"].items()
    ]


def _ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
