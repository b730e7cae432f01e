"""What a rule reads in a reply to a multiple-choice question."""

from __future__ import annotations

from typing import NamedTuple


class Reading(NamedTuple):
    """The letter a reply gives, "" where it gives none; how it was read, and whether it has the form the prompt asks for.

    several: the different letters of a reply that offers more than one; `letter` is "" then.
    """

    letter: str
    how: str
    format_correct: bool = False
    several: tuple[str, ...] = ()


NONE = Reading("", "no answer letter")
