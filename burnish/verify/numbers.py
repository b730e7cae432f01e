"""Numbers in prose, read exactly: signs, thousands separators, decimals, fractions, exponents, any script's digits.

Values are fractions, never floats: 0.1 + 0.2 written as "0.3" equals 3/10, and "18.00" equals 18.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

# Longer digit strings are not read: no answer has them, and arithmetic on them is where a hostile reply could stall us.
MAX_DIGITS = 100

_SIGNS = dict.fromkeys(map(ord, "−﹣－‐‑‒–"), "-")
_MARKS = {ord("，"): ",", ord("．"): ".", ord("٬"): ",", ord("٫"): ".", ord("％"): "%", ord("＄"): "$", ord("⁄"): "/"}
_SPACES = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), "\u202f")
_PLAIN = {**_SIGNS, **_MARKS, **_SPACES}

_CURRENCY = r"[$€£¥₹₩]"
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<sign>[-+]?)(?P<money>\\?{_CURRENCY}[ ]?)?(?P<inner>(?<={_CURRENCY})[-+])?"
    r"(?P<whole>\d{1,3}(?:,\d{3}){1,30}(?!\d)|\d{1,3}(?:\u202f\d{3}){1,30}(?!\d)|\d++|(?=\.\d))"
    r"(?P<point>\.\d++)?+(?P<power>[eE][-+]?\d{1,2}(?!\d))?(?!(?:st|nd|rd|th)\b)"
    r"(?:[ ]?/[ ]?(?P<under>\d+)(?![.,/]?\d))?(?P<percent>[ ]?\\?%)?"
)
_LATEX = re.compile(r"\\[dt]?frac\s*\{\s*([-+]?\d+)\s*\}\s*\{\s*(\d+)\s*\}")
_GROUP_MARKS = re.compile(r"(?<=\d)(?:\{,\}|\\,|\\!,?|,\\!)(?=\d{3})")


class Found(NamedTuple):
    """A number in a text: its exact value and where it stands (start, end) in the plain form of the text."""

    value: Fraction
    start: int
    end: int


def plain(text: str) -> str:
    """`text` with every script's digits, minus signs and separators in their ASCII form, and LaTeX numbers spelled out."""
    if not text.isascii():
        text = "".join(
            str(unicodedata.decimal(c)) if c.isdecimal() and not c.isascii() else c for c in text.translate(_PLAIN)
        )
    if "\\" in text or "{" in text:
        text = _GROUP_MARKS.sub(",", _LATEX.sub(r"\1/\2", text))
    return text


def numbers_in(text: str) -> Iterator[Found]:
    """The numbers of a `plain` text in order. A hyphen behind a word or a number is not a sign; ordinals are not numbers."""
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is not None:
            yield Found(value, match.start(), match.end())


def parse_number(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else but currency, percent and white space; else None."""
    body = plain(text).strip().removesuffix(".")
    match = _NUMBER.fullmatch(body)
    return _value(match) if match else None


def _value(match: re.Match[str]) -> Fraction | None:
    whole = match["whole"].replace(",", "").replace("\u202f", "")
    point = match["point"] or ""
    under = match["under"] or "1"
    if len(whole) + len(point) > MAX_DIGITS or len(under) > MAX_DIGITS or int(under) == 0:
        return None
    exact = not point and not match["power"]
    value = (
        Fraction(int(whole), int(under))
        if exact
        else Fraction(f"{whole or '0'}{point}{match['power'] or ''}") / int(under)
    )
    negative = "-" in (match["sign"], match["inner"])
    return -value if negative else value
