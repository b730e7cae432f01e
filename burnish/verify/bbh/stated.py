"""The corrected rule for BIG-Bench Hard: what a reply states, read in the task's own form, and nothing where it states several."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from burnish.core.types import Check, Problem, Verdict
from burnish.verify.bbh.forms import Form
from burnish.verify.choice import Choice
from burnish.verify.gsm8k import GSM8K
from burnish.verify.statements import agreed, without_thought
from burnish.verify.text_match import TextMatch

_PAIRS: Mapping[Form, re.Pattern[str]] = {
    "true or false": re.compile(r"\b(true|false)\b", re.IGNORECASE),
    # "no" before a noun ("no answer", "no reason") is none.
    "yes or no": re.compile(
        r"\b(yes|no)\b(?!\s{1,3}(?!(?:yes|no|because|since|as|and|or|maybe|perhaps|but|it|he|she|they|you|we|i|the|this|that)\b)[a-z])",
        re.IGNORECASE,
    ),
    "valid or invalid": re.compile(r"\b(valid|invalid)\b", re.IGNORECASE),
}
_BRACKETS = re.compile(r"[\s\[({<`'\"$*]{0,4}?([\])}>][\])}>\s,]{0,400})")
_JOINED = re.compile(r"[\s`'\"$*.]{0,6}(?:/|;|\||\b(?:or|and|maybe|perhaps)\b)", re.IGNORECASE)
_SENTENCE = re.compile(r"[.!?;](?:\s|$)|\n")
_OR = re.compile(r"[\s*_,/|`\"'.;-]{0,6}(?:or|and|maybe|perhaps)?[\s*_,/|`\"'-]{0,4}", re.IGNORECASE)
_SEPARATORS = re.compile(r"[\s,;]+|(?:\d{1,3}[.)]|[-*•])\s+")
_SHORT = 40  # words of a last line that may be an answer; twenty words to sort, with marks between them
_OPENING = re.compile(r"[\s*_`\"'$({\\:-]{0,12}(?:text)?[{(]?")


def grade(form: Form, target: str, text: str) -> Verdict:
    """The verdict on a reply to a task of this form."""
    if form == "letter" and len(target) == len("(A)"):
        return Choice(letters=26)(_problem(target.strip("()")), text)
    if form == "letter":
        return TextMatch()(_problem(target), text)
    if form == "integer":
        return GSM8K()(_problem(target), without_thought(text))
    text = without_thought(text)
    read = _READERS[form]
    wanted = read(target)[0]
    found = agreed(text, read)
    values, how = (
        (found.values, f"after {found.how!r}") if found is not None else (_bare(text, read), "in a line of its own")
    )
    if not values:
        return Verdict(0.0, f"no answer of the form '{form}', wanted {target}")
    if len(values) > 1:
        return Verdict(
            0.0, f"several answers stated ({', '.join(value[:30] for value in values[:5])}), wanted {target}"
        )
    return Verdict(float(values[0] == wanted), f"{values[0][:80]!r} {how}, wanted {target[:80]!r}")


def _problem(target: str) -> Problem:
    return Problem((), Check("", target))


def _bare(text: str, read: Callable[[str], tuple[str, ...]]) -> tuple[str, ...]:
    """What the lines of a reply of very few lines say, else what its last line says where it is short."""
    lines = [line for line in text.strip()[-4_000:].split("\n") if line.strip()]
    if 1 < len(lines) <= 8 and all(len(line.split()) <= 3 for line in lines):
        return tuple(dict.fromkeys(value for line in lines for value in read(line)))
    return read(lines[-1]) if lines and len(lines[-1].split()) <= _SHORT else ()


def _word(pattern: re.Pattern[str]) -> Callable[[str], tuple[str, ...]]:
    def read(body: str) -> tuple[str, ...]:
        """The word a statement begins with and those listed behind it, else the only one in its first sentence."""
        place = _OPENING.match(body)
        token = pattern.match(body, place.end() if place else 0)
        if token is None:
            sentence = _SENTENCE.split(body.strip(), maxsplit=1)[0]
            return tuple(dict.fromkeys(word.lower() for word in pattern.findall(sentence)))
        found: list[str] = []
        while token is not None and len(found) < 4:
            found.append(token[1].lower())
            joined = _OR.match(body, token.end())
            token = pattern.match(body, joined.end() if joined else token.end())
        return tuple(dict.fromkeys(found))

    return read


def _brackets(body: str) -> tuple[str, ...]:
    """Closing brackets without the spaces between them; those of further lines and behind "or" are other answers."""
    found: list[str] = []
    match = _BRACKETS.match(body)
    while match is not None and len(found) < 8:
        found += [re.sub(r"[\s,]", "", line) for line in match[1].split("\n") if line.strip()]
        joined = _JOINED.match(body, match.end())
        match = _BRACKETS.match(body, joined.end()) if joined else None
    return tuple(dict.fromkeys(found))


def _words(body: str) -> tuple[str, ...]:
    """The words of a list in order, in lower case, however they are set apart; a list over several lines is one."""
    stripped = body.strip(" \t*_`\"':$").strip()
    text = stripped if _listed(stripped) else stripped.split("\n", 1)[0]
    words = [word.strip("*_`\"'.:()[]").lower() for word in _SEPARATORS.split(text)]
    words = [word for word in words if word and word != "and"]
    return (" ".join(words),) if words else ()


def _listed(text: str) -> bool:
    lines = [line for line in text.split("\n") if line.strip()]
    return len(lines) > 1 and all(len(_SEPARATORS.sub(" ", line).split()) == 1 for line in lines)


_READERS: Mapping[Form, Callable[[str], tuple[str, ...]]] = {
    **{form: _word(pattern) for form, pattern in _PAIRS.items()},
    "brackets": _brackets,
    "words": _words,
}
