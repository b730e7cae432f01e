"""Normal forms of short answers: what is compared when two texts are to say the same."""

from __future__ import annotations

import re
import string
import unicodedata

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = dict.fromkeys(map(ord, string.punctuation))


def lowered(text: str) -> str:
    """Olmes' form for exact match with both switches on: lower case, ASCII punctuation deleted, spaces as they are."""
    return text.lower().translate(_PUNCTUATION)


def squad(text: str) -> str:
    """SQuAD's normal form (arXiv:1606.05250): lower case, ASCII punctuation and English articles dropped, single spaces."""
    return " ".join(_ARTICLES.sub(" ", lowered(text)).split())


def normal(text: str) -> str:
    """A form for any script: compatibility forms joined, case folded, accents kept, all punctuation and symbols dropped.

    Hyphens and dashes part words. Articles at the beginning are dropped. A text of nothing but marks stays as it is,
    so that "+" and "-" differ. A minus before a number, a decimal point, and %, currency and degree signs stay.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    kept = "".join(_kept(folded, i) for i in range(len(folded)))
    words = kept.split()
    while len(words) > 1 and words[0] in ("a", "an", "the"):
        words = words[1:]
    return " ".join(words) if words else " ".join(folded.split())


def _kept(text: str, i: int) -> str:
    char = text[i]
    if char.isalnum() or char in "%$€£¥°" or unicodedata.category(char)[0] == "M":
        return char
    before, after = text[i - 1 : i], text[i + 1 : i + 2]
    if char in "-−" and after.isdigit() and not before.isalnum():
        return "-"
    if char in ".,:" and before.isdigit() and after.isdigit():
        return "" if char == "," and text[i + 1 : i + 4].isdigit() else char
    if char in "'’`´":
        return ""
    return " " if not char.isspace() else char
