"""The verifier for word problems with a number as answer (GSM8K, arXiv:2110.14168)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import islice
from typing import ClassVar, Literal, NamedTuple

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.numbers import Found, numbers_in, one_number, plain

_HASHES = re.compile(r"####[ \t:*_]*(?=[-+]?\\?[$€£¥₹₩]?[ ]?[-+]?[.\d])([^\n#]*)")
_HEADING = re.compile(r"\d+[.):]\s+[A-Za-z*]|\d+\s*:\s*\S")
_BOXED = re.compile(r"\\boxed\s{0,3}\{((?:[^{}]|\{[^{}]{0,100}\}){0,200})\}")
_PHRASE = re.compile(r"\banswer\b[*_`\"']*\s*(?:is|was|equals|would be|will be|=|:)[\s:*_=]*", re.IGNORECASE)
_FINAL = re.compile(r"\bfinal[\s*_]*$", re.IGNORECASE)
_CORRECTION = re.compile(
    r"\b(?:no|wait|actually|correction|corrected|correct|sorry|mistake|instead|oops|hmm)\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)|\n")
_BETWEEN = re.compile(
    r"[\s,;|/&*_$()\[\]-]*(?:(?:(?:or|and|maybe|perhaps|possibly|probably|either|also|even|to|vs|could be|it is)\b|\(?\b[a-h][).:])[\s,;|*_$]*)*",
    re.IGNORECASE,
)
_UNIT = re.compile(r"\s?([A-Za-z]+)")
_PUBLISHED = re.compile(r"[-+]?\d*\.\d+|\d+")

# A statement of the answer is short, and made a few times; the bounds keep hostile replies from costing more.
_STATEMENT = 300
_TRIES = 8
_TAIL = 4000


class _Reading(NamedTuple):
    """The answer a reply gives, or None with the reason why it gives none."""

    answer: Found | None
    how: str


@dataclass(frozen=True, slots=True)
class GSM8K:
    r"""Grades a reply by the number it gives as its answer; the target is a number as text, e.g. "1,080" or "-3.5".

    rule: "flexible" reads the answer after "####", else in \boxed{}, else after "the answer is", else the last number.
          "strict"   reads only the form "#### N".
          "tulu3"    is the published rule of Tülu 3 (arXiv:2411.15124): delete thousands commas, take the last number,
                     compare as strings. It reads -5 as 5 and 3.00 as unequal to 3; for comparison with published scores.

    "flexible" and "strict" compare exact values and refuse a reply that offers several different answers. A percent
    equals the number before the sign and the number it stands for: "50%" is right where 50, 50% or 0.5 is wanted.
    """

    VERSION: ClassVar[int] = 2
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("72", "48 / 2 = 24 in May.\n48 + 24 = 72 in all.\n#### 72"),
        ("1,080", "He earns 12 * 90 = 1080.\n#### 1080"),
        ("18", "9 * 2 = 18\n#### 18"),
        ("5", "So 5 it is: 2 + 3 = 5\n\n#### 5"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("72", "#### 73"),
        ("18", "#### 16\n#### 17\n#### 18\n#### 19"),
        ("18", ""),
        ("7", "#### 72"),
    )
    rule: Literal["flexible", "strict", "tulu3"] = "flexible"

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        check_target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 for the right number, 0 for another or none, with what was read."""
        target = problem.check.target
        wanted = _target(target)
        if wanted is None:
            return Verdict(None, _bad_target(target))
        if self.rule == "tulu3":
            read, gold = _last_published(text), _last_published(target)
            return Verdict(float(read == gold), f"last number {read[-40:]!r}, wanted {gold!r}")
        reading = _marked(plain(text)) if self.rule == "strict" else _flexible(plain(text))
        if reading is None:
            return Verdict(0.0, "no answer of the form '#### N'" if self.rule == "strict" else "no number in the reply")
        if reading.answer is None:
            return Verdict(0.0, f"{reading.how}, wanted {target}")
        return Verdict(float(reading.answer.equals(wanted)), f"{reading.how} {_shown(reading.answer)}, wanted {target}")


def check_target(target: str) -> None:
    """Nothing, when `target` is one number. Raises VerifierError otherwise; for plan time, before any compute."""
    if _target(target) is None:
        raise VerifierError(_bad_target(target))


@lru_cache(maxsize=65536)
def _target(target: str) -> Found | None:
    return one_number(target)


def _bad_target(target: str) -> str:
    return (
        f"target {target[:60]!r} is not one number, so no reply can be compared with it.\n"
        '  Write the final answer alone, e.g. "72", "1,080" or "-3.5".'
    )


def answer_in(text: str) -> tuple[Found | None, str]:
    """The number that rule "flexible" reads in a reply, and how; or None and why there is none."""
    reading = _flexible(plain(text))
    return (None, "no number in the reply") if reading is None else (reading.answer, reading.how)


def last_number(text: str) -> str | None:
    """The last number of a reply as it is written there; None without one, or in a list of different ones."""
    reading = _last(plain(text[-_TAIL:]))
    return _shown(reading.answer) if reading and reading.answer else None


def _flexible(text: str) -> _Reading | None:
    for read in (_marked, _boxed, _phrased):
        reading = read(text)
        if reading is not None:
            return reading
    return _last(text)


def _marked(text: str) -> _Reading | None:
    """The number after "####". A Markdown heading with a number ("#### 2. Add up") is not an answer."""
    parts = (m[1] for m in _HASHES.finditer(text) if not _HEADING.match(m[1]))
    return _agreed(parts, "the answer after '####' is")


def _boxed(text: str) -> _Reading | None:
    return _agreed((m[1] for m in _BOXED.finditer(text)), "the boxed answer is")


def _agreed(statements: Iterable[str], how: str) -> _Reading | None:
    """One answer where all statements give the same one; none where they differ."""
    answers: list[Found] = []
    for statement in dict.fromkeys(part[:_STATEMENT] for part in statements):
        reading = _single(statement)
        if reading is None:
            continue
        if reading.answer is None:
            return reading
        if not any(reading.answer.equals(answer) for answer in answers):
            answers.append(reading.answer)
        if len(answers) > _TRIES:
            break
    if len(answers) > 1:
        return _Reading(None, f"different final answers ({', '.join(map(_shown, answers[:5]))})")
    return _Reading(answers[0], how) if answers else None


def _phrased(text: str) -> _Reading | None:
    """The number after "the answer is", in the same or the next line: after "the final answer is" where there is one."""
    matches = standing(text, list(_PHRASE.finditer(text))[-_TRIES:])
    statements = (text[match.end() : match.end() + _STATEMENT] for match in matches)
    return _agreed((_SENTENCE_END.split(part, maxsplit=1)[0] for part in statements), "the answer given is")


def standing(text: str, statements: list[re.Match[str]]) -> list[re.Match[str]]:
    """The statements of an answer that count: none that a later one corrects ("No, the answer is 18"), and only those
    called final where one is.
    """
    for place in range(len(statements) - 1, 0, -1):
        start = statements[place].start()
        if _CORRECTION.search(text, max(statements[place - 1].end(), start - 60), start):
            statements = statements[place:]
            break
    final = [match for match in statements if _FINAL.search(text, max(0, match.start() - 12), match.start())]
    return final or statements


def _single(part: str) -> _Reading | None:
    """The answer in a short statement: behind its last "=", else its first number, unless it lists several."""
    for body in (part.rpartition("=")[2], part):
        found = list(islice(numbers_in(body), 4))
        if found:
            return _several(found) if _listed(body, found, 0) else _Reading(found[0], "")
    return None


def _last(text: str) -> _Reading | None:
    for body in (text[-_TAIL:], text):
        found = list(deque(numbers_in(body), maxlen=2))
        if len(found) == 2:
            break
    if not found:
        return None
    if _listed(body, found, len(found) - 1):
        return _several(found)
    return _Reading(found[-1], "the last number is")


def _listed(text: str, found: list[Found], index: int) -> bool:
    """True if the number at `index` has a different one beside it in a list: "17, 18", "17 or 18", "17 cm or 18 cm"."""
    for left, right in ((index - 1, index), (index, index + 1)):
        if left < 0 or right >= len(found) or found[left].equals(found[right]):
            continue
        if _joined(text, found[left], found[right]):
            return True
    return False


def _joined(text: str, left: Found, right: Found) -> bool:
    gap = text[left.end : right.start]
    if len(gap) > 80:
        return False
    if "\n" in gap and gap.strip(" \n\t-*,;|") == "":
        # Lines of bare numbers are a list; a bare number under a worked line is that line's answer.
        line = text[text.rfind("\n", 0, left.start) + 1 : left.start]
        return line.strip(" \t-*$") == ""
    if _BETWEEN.fullmatch(gap):
        return True
    unit, other = _UNIT.match(gap), _UNIT.match(text, right.end)
    return bool(unit and other and unit[1].lower() == other[1].lower() and _BETWEEN.fullmatch(gap[unit.end() :]))


def _several(found: list[Found]) -> _Reading:
    return _Reading(None, f"several candidate answers ({', '.join(map(_shown, found[:5]))})")


def _shown(number: Found) -> str:
    return _show(number.value) + ("%" if number.percent else "")


def _show(value: Fraction) -> str:
    """The value as a person writes it: a decimal where that is exact and short, else a fraction."""
    if value.denominator == 1:
        return str(value.numerator)
    if 10**12 % value.denominator == 0:
        scaled = value * 10**12
        digits = f"{abs(scaled.numerator):013d}"
        return f"{'-' if value < 0 else ''}{digits[:-12]}.{digits[-12:].rstrip('0')}"
    return f"{value.numerator}/{value.denominator}"


def _last_published(text: str) -> str:
    text = re.sub(r"(\d),(\d)", r"\1\2", text)
    numbers = _PUBLISHED.findall(text)
    return str(numbers[-1]).lower() if numbers else text.strip().lower()
