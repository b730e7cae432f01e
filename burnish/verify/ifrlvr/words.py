"""What the fixed readings take for a word: what stands between white space, without the marks around it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from burnish.verify.ifeval.rule_sentences import rule_sentences

_LETTERS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_COMMON_MARKS = ".,:;!?()[]{}*\"'#-“”’"


def bare(piece: str) -> str:
    """`piece` in lower case without the marks around it; "" for a piece without a letter or digit."""
    core = piece if piece.isalnum() else piece.strip(_COMMON_MARKS)
    if core and core[0].isalnum() and core[-1].isalnum():
        return core.casefold()
    start, stop = 0, len(core)
    while start < stop and not core[start].isalnum():
        start += 1
    while start < stop and not core[stop - 1].isalnum():
        stop -= 1
    return core[start:stop].casefold()


def bare_words(text: str) -> Iterator[str]:
    """The words of `text`; lone marks are none."""
    return filter(None, map(bare, text.split()))


def first_word(text: str) -> str:
    """The first word of `text`, or ""."""
    return next(bare_words(text), "")


def last_word(text: str) -> str:
    """The last word of `text`, or ""."""
    return next(filter(None, map(bare, reversed(text.split()))), "")


def letter_words(text: str) -> Iterator[str]:
    """Runs of letters, with apostrophes inside: "don't" is one."""
    return (match[0] for match in _LETTERS.finditer(text))


def spoken_sentences(text: str) -> list[list[str]]:
    """The words of every sentence that has any."""
    return [words for sentence in rule_sentences(text) if (words := list(bare_words(sentence)))]
