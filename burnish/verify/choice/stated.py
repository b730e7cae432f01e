"""The corrected rule for answer letters: the letter a reply commits to, and none where it offers several."""

from __future__ import annotations

import re
from collections.abc import Sequence

from burnish.verify.choice.reading import NONE, Reading
from burnish.verify.statements import agreed, without_thought
from burnish.verify.text_forms import normal

_OPENING = (
    r"(?:[\s*_`\"'“‘$\[({<:#>~-]|\\(?:text|textbf|textit|mathrm|mathbf|boxed|left)\b|\\[(\[]|"
    r"\b(?:definitely|clearly|either|both|probably|option|choice|letter|answer)\b){0,16}"
)
_LETTER = r"(?P<letter>[A-Za-z])(?![\w'’])(?P<closing>[\s]{0,1}[)\]}.:*_`\"'”’$\\]{0,6})"
_TOKEN = re.compile(_OPENING + _LETTER, re.IGNORECASE)
_JOINED = re.compile(
    r"[\s*_`)\].}$]{0,8}(?:(?:,|;|/|&|\||\+|-|\bor\b|\band\b|\bmaybe\b|\bperhaps\b|\bpossibly\b|\balso\b|\bboth\b|\bthen\b|\beven\b)[\s]{0,4}){0,4}",
    re.IGNORECASE,
)
_ALSO = re.compile(r"(?:,|;|/|\bor\b|\band\b|\n)\s{0,4}(?:\w{1,8}\s)?[*_]{0,2}\(([A-Z])\)")
_NOUN = re.compile(r"\s[a-z]{2,}")
_GOES_ON = re.compile(
    r"\s(?:because|since|as|for|is|was|and|or|based|due|which|in|with|from|given|while|but|where|so|not|the|by|only)\b"
)
_LISTS_ON = re.compile(r"\s(?:or|and|maybe|perhaps)\b")
_IS_CORRECT = re.compile(
    r"(?<![\w'’])(?P<open>[(*\[`\"]{0,4})(?P<letter>[A-Z])(?P<close>[)*\].`\"]{0,4})\s{1,3}is\s{1,3}(?:therefore\s|thus\s|clearly\s|indeed\s)?"
    r"(?:the\s{1,3})?(?:(?:most\s)?(?:correct|right|best|only correct)(?:\s(?:answer|choice|option|one))?|answer)\b"
)
_SENTENCE = re.compile(r"(?<!\b[A-Z])[.!?]\s|\n\n")
_LINES = 200


def stated(text: str, letters: str, choices: Sequence[str]) -> Reading:
    """The letter a reply gives as its answer.

    Read in this order: conclusions and marks ("Therefore, the answer is (B)", a box, <answer>, ####); other statements
    ("the answer is B", "Answer: B", "the correct option is B"); "B is correct"; a reply or first line that is a letter
    ("B", "(B) Paris"); a last line that is one; the text of one choice instead of its letter.
    """
    text = without_thought(text)
    found = agreed(text, lambda body: _listed(body, letters, choices))
    if found is not None:
        correct = found.final and found.how.lower().startswith("therefore")
        return _reading(found.values, f"'{found.how}'", correct)
    values = tuple(
        dict.fromkeys(m["letter"] for m in _IS_CORRECT.finditer(text) if _sure(m) and m["letter"] in letters)
    )
    if values:
        return _reading(values, "'X is correct'")
    return _bare(text, letters) or _by_text(text, letters, choices) or NONE


def _reading(values: Sequence[str], how: str, format_correct: bool = False) -> Reading:
    if len(values) == 1:
        return Reading(values[0], how, format_correct)
    return Reading("", how, False, tuple(values))


def _sure(match: re.Match[str]) -> bool:
    """False for the pronoun in "I is correct" and the article in "A is correct", unless something encloses the letter."""
    return bool(match["close"]) or match["letter"] != "I"


def _listed(body: str, letters: str, choices: Sequence[str]) -> tuple[str, ...]:
    """The letters at the beginning of a statement: one, or the members of a list."""
    token = _token(body, 0, letters)
    if token is None:
        named = _named(_SENTENCE.split(body, maxsplit=1)[0], letters, choices)
        return (named,) if named else ()
    found = [token[0]]
    place = token[1]
    while token is not None and len(found) < len(letters) + 1:
        joined = _JOINED.match(body, place)
        token = _token(body, joined.end() if joined else place, letters, short=True)
        if token is not None:
            found.append(token[0])
            place = token[1]
    rest = _SENTENCE.split(body[place:], maxsplit=1)[0]
    found += [letter for letter in _ALSO.findall(rest) if letter in letters]
    return tuple(dict.fromkeys(found))


def _token(body: str, place: int, letters: str, short: bool = False) -> tuple[str, int] | None:
    """The letter that stands at a place and where it ends. An article ("a car") and a pronoun ("I think") are no letters."""
    match = _TOKEN.match(body, place)
    if match is None or match["letter"].upper() not in letters:
        return None
    letter, closed = match["letter"], match["closing"].strip()
    after = body[match.end("letter") :]
    goes_on = _LISTS_ON if short else _GOES_ON
    if letter in "AIai" and not closed and _NOUN.match(after) and not goes_on.match(after):
        return None
    if letter.islower() and not closed and after.strip():
        return None
    return letter.upper(), match.end()


def _bare(text: str, letters: str) -> Reading | None:
    """A reply that begins or ends with a line that is a letter; a list of options is not an answer."""
    lines = [line for line in text.strip()[: _LINES * 100].split("\n") if line.strip()][:_LINES]
    if not lines:
        return None
    first, last = lines[0], text.strip().rpartition("\n")[2]
    for line, how in ((first, "first line"), (last, "last line")):
        if len(line) > 200 or not _leading(line, letters):
            continue
        # Under a lone letter, "A. ..." explains an option; under "(B) Paris" it is another answer.
        lone = _lone(line)
        beside = [letter for other in lines if (letter := _leading(other, letters)) and _lone(other) >= lone]
        return _reading(tuple(dict.fromkeys([*_listed(line, letters, ()), *beside])), how)
    return None


def _lone(line: str) -> bool:
    return sum(char.isalnum() for char in line) == 1


def _leading(line: str, letters: str) -> str:
    """The letter a line begins with, where it is closed ("B)", "(B) Paris") or all there is."""
    token = _TOKEN.match(line)
    if token is None or token["letter"].upper() not in letters:
        return ""
    closed = bool(token["closing"].strip()) and not re.match(r"\s?['’]", token["closing"])
    rest = line[token.end("letter") :].strip(" \t.)*_]")
    joined = _JOINED.match(line, token.end())
    listed = joined is not None and _token(line, joined.end(), letters, short=True) is not None
    return token["letter"].upper() if closed or listed or not rest else ""


def _by_text(text: str, letters: str, choices: Sequence[str]) -> Reading | None:
    letter = _named(text.strip(), letters, choices)
    return Reading(letter, "the text of a choice") if letter else None


def _named(body: str, letters: str, choices: Sequence[str]) -> str:
    """The letter of the one choice whose text this is, else "". A choice that other choices repeat names nothing."""
    if not choices or len(body) > 2_000:
        return ""
    said = normal(body)
    if not said:
        return ""
    fitting = [letter for letter, choice in zip(letters, choices, strict=False) if normal(choice) == said]
    return fitting[0] if len(fitting) == 1 else ""
