"""Words as the IFBench checkers cut them: the published way, which knows ASCII marks only, and one that knows all marks."""

from __future__ import annotations

import re
import string

# What the published checkers strip from the ends of words and lines.
MARKS_AND_SPACE = string.punctuation + " "

_DELETE_MARKS = str.maketrans("", "", string.punctuation)
_BARE = re.compile(r"[^\W_](?:\S*[^\W_])?")


def without_marks(text: str) -> str:
    """`text` without ASCII punctuation, as the published checkers prepare it: "well-known" becomes "wellknown"."""
    return text.translate(_DELETE_MARKS)


def bare_words(text: str) -> list[str]:
    """Runs without white space, cut to their first and last letter or digit, lower-case; runs without any are left out.

    Marks of every script fall away at the ends: “don’t” is don't, and a lone dash is no word.
    """
    return [word.replace("’", "'") for word in _BARE.findall(text.lower())]


def letters(word: str) -> str:
    """The letters and digits of a word: "well-known" has nine."""
    return word if word.isalnum() else "".join(filter(str.isalnum, word))


def shown(words: list[str] | set[str], limit: int = 5) -> str:
    """Some words for a reader: the first few in order, each cut to 30 characters."""
    few = sorted(words) if isinstance(words, set) else words
    return ", ".join(repr(word[:30]) for word in few[:limit]) + (", …" if len(few) > limit else "")
