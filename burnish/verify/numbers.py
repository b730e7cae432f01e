"""Numbers in prose, read exactly: signs, thousands separators, decimals, fractions, mixed numbers, powers of ten,
percents, currency, any script's digits.

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
_PLAIN = {**_SIGNS, **_MARKS, **_SPACES, ord("’"): "'"}

_CURRENCY = r"[$€£¥₹₩₽₺₫₦₱฿]"
_NUMBER = re.compile(
    rf"(?<![\w.])(?P<sign>[-+]?|(?<![-+])negative[ ])(?P<money>\\?{_CURRENCY}[ ]?)?(?P<inner>(?<={_CURRENCY})[-+])?"
    r"(?P<whole>\d{1,3}(?:,\d{3}){1,30}(?!\d)|\d{1,3}(?:\u202f\d{3}){1,30}(?!\d)|\d++|(?=\.\d))"
    r"(?P<point>\.\d++)?+(?P<power>[eE][-+]?\d{1,2}(?!\d))?(?!(?:st|nd|rd|th)\b)"
    r"(?:[ ]?/[ ]?(?P<under>\d+)(?![.,/]?\d))?(?P<percent>[ ]?\\?%)?"
)
# What may follow an integer, or any number, and belongs to it: the 1/2 of "1 1/2", and the 10^4 of "3 x 10^4".
_FRACTION = re.compile(r"[ ](?:and[ ])?(?P<over>\d{1,6})/(?P<under>\d{1,6})(?![.,/]?\d)(?P<percent>[ ]?\\?%)?")
_TIMES = r"[ ]{0,2}(?:\\times|\\cdot|[x×·⋅∙*])[ ]{0,2}10"
_POWER = re.compile(
    rf"(?P<times>{_TIMES})?\^(?:\{{[ ]?(?P<braced>[-+]?\d{{1,2}})[ ]?\}}|(?P<bare>[-+]?\d{{1,2}}))(?!\d)"
)
_LATEX = re.compile(
    r"(?P<before>\d?)\\[dt]?frac\s*(?:\{\s*(?P<over>[-+]?\d+)\s*\}|(?P<a>\d))\s*(?:\{\s*(?P<under>\d+)\s*\}|(?P<b>\d))"
)
_GROUP_MARKS = re.compile(r"(?<=\d)(?:\{,\}|\\,|\\!,?|,\\!)(?=\d{3})")
_APOSTROPHES = re.compile(r"(?<=\d)'(?=\d{3}(?!\d))")
_VULGAR = re.compile(r"(\d?)([¼-¾⅐-⅞])")
_RAISED = re.compile(r"(?<=10)[⁻⁺]?[⁰¹²³⁴-⁹]{1,2}")


class Found(NamedTuple):
    """A number in a text: its exact value and where it stands (start, end) in the plain form of the text.

    percent: a percent sign follows. The value is the number before the sign: 50 for "50%".
    """

    value: Fraction
    start: int
    end: int
    percent: bool = False

    def equals(self, other: Found) -> bool:
        """Equal values. A percent also equals the plain number it stands for, and the number before the sign:
        "50%" equals "50%", "0.5" and "50"; "50" does not equal "0.5".
        """
        if self.value == other.value:
            return True
        return self.percent != other.percent and self._share() == other._share()

    def _share(self) -> Fraction:
        return self.value / 100 if self.percent else self.value


def plain(text: str) -> str:
    """`text` with every script's digits, minus signs and separators in their ASCII form, and LaTeX numbers spelled out."""
    if not text.isascii():
        text = _RAISED.sub(lambda match: "^" + unicodedata.normalize("NFKC", match[0]), text)
        text = _VULGAR.sub(lambda match: _beside(match[1], unicodedata.normalize("NFKC", match[2])), text)
        text = "".join(
            str(unicodedata.decimal(c)) if c.isdecimal() and not c.isascii() else c for c in text.translate(_PLAIN)
        )
    if "\\" in text or "{" in text:
        text = _GROUP_MARKS.sub(",", _LATEX.sub(_fraction, text))
    return _APOSTROPHES.sub(",", text) if "'" in text else text


def numbers_in(text: str) -> Iterator[Found]:
    """The numbers of a `plain` text in order. A hyphen behind a word or a number is not a sign; ordinals are not numbers."""
    done = 0
    for match in _NUMBER.finditer(text):
        if match.start() < done:
            continue
        found = _found(match)
        if found is not None:
            done = found.end
            yield found


def one_number(text: str) -> Found | None:
    """The number of a text that is one number and nothing else but currency, percent and white space; else None."""
    body = plain(text).strip().removesuffix(".")
    match = _NUMBER.match(body)
    found = _found(match) if match else None
    return found if found is not None and found.end == len(body) else None


def parse_number(text: str) -> Fraction | None:
    """The value of `one_number(text)`: 50 for "50%"."""
    found = one_number(text)
    return found.value if found else None


def _fraction(match: re.Match[str]) -> str:
    return _beside(match["before"], f"{match['over'] or match['a']}/{match['under'] or match['b']}")


def _beside(whole: str, fraction: str) -> str:
    """A fraction right behind a digit is the second part of a mixed number."""
    return f"{whole} {fraction}" if whole else fraction


def _found(match: re.Match[str]) -> Found | None:
    """The number that begins with the match: with the fraction or the power of ten that goes with it."""
    value = _value(match)
    if value is None:
        return None
    negative = match["sign"] in ("-", "negative ") or match["inner"] == "-"
    end, percent = match.end(), match["percent"] is not None
    if not (match["power"] or match["under"] or percent):
        power, part = _POWER.match(match.string, end), _FRACTION.match(match.string, end)
        if power and (power["times"] or (match["whole"] == "10" and not match["point"])):
            scale = Fraction(10) ** int(power["braced"] or power["bare"])
            value, end = (value if power["times"] else 1) * scale, power.end()
        elif part and not match["point"] and int(part["over"]) < int(part["under"]):
            value += Fraction(int(part["over"]), int(part["under"]))
            end, percent = part.end(), part["percent"] is not None
    return Found(-value if negative else value, match.start(), end, percent)


def _value(match: re.Match[str]) -> Fraction | None:
    """The value without sign."""
    whole = match["whole"].replace(",", "").replace("\u202f", "")
    point = match["point"] or ""
    under = match["under"] or "1"
    if len(whole) + len(point) > MAX_DIGITS or len(under) > MAX_DIGITS or int(under) == 0:
        return None
    if not point and not match["power"]:
        return Fraction(int(whole), int(under))
    return Fraction(f"{whole or '0'}{point}{match['power'] or ''}") / int(under)
