r"""Where a reply states its answer: "Therefore, the answer is", \boxed{}, <answer>, "####", "Answer:", and the like.

What follows the phrase is given back as text; each verifier reads its own kind of answer in it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, TypeVar

# What follows the phrase is short; the bounds keep hostile replies from costing more.
_BODY = 300
_MOST = 200

_CONCLUDED = (
    r"(?P<concluded>\b(?:therefore|thus|hence|so),?[ \t]{1,3}the[ \t]{1,3}(?:final |correct )?answer[ \t]{1,3}is)"
)
_STATED = (
    r"(?P<stated>\b(?:answer|(?:correct|right|best)[ \t]{1,3}(?:option|choice|statement|one))\b[*_`\"']{0,4}[ \t]{0,3}"
    r"(?:(?:is|was|would be|must be|should be|has to be|will be)(?![a-z])|[:=]|\n(?=[ \t]{0,3}\(?[A-Z][).\s])))"
)
_MARKED = r"(?P<marked>\\boxed[ \t]{0,3}\{|\\fbox[ \t]{0,3}\{|<answer>|^[ \t]{0,3}####(?!#))"
_PHRASE = re.compile(f"{_CONCLUDED}|{_MARKED}|{_STATED}", re.IGNORECASE | re.MULTILINE)
_NEGATED = re.compile(r"[\s*_]{0,4}(?:not|never|neither|unlikely|wrong|incorrect)\b|n['’]t\b", re.IGNORECASE)
_RETRACTED = re.compile(
    r"\b(?:wait|hold on|correction|on second thought|scratch that|let me (?:re|double)|i (?:made|was) (?:a |an )?(?:mistaken?|error|wrong)"
    r"|actually|but no)\b",
    re.IGNORECASE,
)
_THOUGHT = "</think>"

Value = TypeVar("Value")


class Statement(NamedTuple):
    """What follows one phrase: the text, where the phrase starts, and whether the phrase marks the final answer."""

    body: str
    start: int
    final: bool
    marked: bool
    how: str


class Agreed(NamedTuple):
    """What the statements say: one value, or several different ones; and how they were found. marked: by a box, tag or ####."""

    values: tuple[str, ...]
    how: str
    final: bool
    marked: bool


def without_thought(text: str) -> str:
    """The reply after its last </think>, and all of it where there is none."""
    return text.rpartition(_THOUGHT)[2]


def statements(text: str) -> list[Statement]:
    """The statements of an answer in order, the last 200 of them. "The answer is not B" states nothing."""
    found = []
    for match in deque(_PHRASE.finditer(text), maxlen=_MOST):
        body = text[match.end() : match.end() + _BODY]
        if not _NEGATED.match(body):
            found.append(
                Statement(
                    _closed(match, body),
                    match.start(),
                    match.lastgroup != "stated",
                    match.lastgroup == "marked",
                    _how(match),
                )
            )
    return found


def agreed(text: str, read: Callable[[str], tuple[str, ...]]) -> Agreed | None:
    """The answer that a reply's statements give, or None where no statement holds one.

    read: the candidate answers at the beginning of a statement: none, one, or the members of a list.
    Marked and concluding statements ("Therefore, the answer is", a box) go before others. Of one standing all count,
    from the last retraction ("wait", "actually") on: statements that differ give several values.
    """
    every = [(statement, read(statement.body)) for statement in statements(text)]
    given = [(statement, values) for statement, values in every if values]
    for wanted in (True, False):
        ranked = [(statement, values) for statement, values in given if statement.final == wanted]
        if ranked:
            last = ranked[-1][0]
            since = _retraction(text, last.start)
            values = dict.fromkeys(value for s, values in ranked if s.start >= since for value in values)
            return Agreed(tuple(values), last.how, last.final, last.marked)
    return None


def _retraction(text: str, before: int) -> int:
    """Where the last retraction before a place stands; 0 where there is none."""
    last = 0
    for match in _RETRACTED.finditer(text, 0, before):
        last = match.start()
    return last


def _closed(match: re.Match[str], body: str) -> str:
    """The body up to its closing mark, where the phrase is one that opens something."""
    opened = match[0].lower()
    if opened.endswith("{"):
        return _braced(body)
    if opened == "<answer>":
        return re.split(r"</answer>", body, maxsplit=1, flags=re.IGNORECASE)[0]
    return body


def _braced(body: str) -> str:
    depth = 1
    for place, char in enumerate(body):
        depth += (char == "{") - (char == "}")
        if depth == 0:
            return body[:place]
    return body


def _how(match: re.Match[str]) -> str:
    return " ".join(match[0].split()).strip("*_`\"'{ \\")
