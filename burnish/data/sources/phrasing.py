"""Sentences from patterns: `{a|b}` is a choice, `$name` a slot. The grammar that generated prompts are written in."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping

_CHOICE = re.compile(r"\{([^{}]*)\}")
_SLOT = re.compile(r"\$([A-Za-z]\w*)")


def phrase(pattern: str, rng: random.Random, slots: Mapping[str, object]) -> str:
    """One reading of a pattern: choices are drawn (inner ones first, left to right), slots filled, spaces made single.

    `$$price` is a dollar sign followed by the slot `price`. Raises KeyError for a slot that has no value.
    """
    while "{" in pattern:
        pattern = _CHOICE.sub(lambda m: rng.choice(m[1].split("|")), pattern)
    text = _SLOT.sub(lambda m: str(slots[m[1]]), pattern)
    return re.sub(r" +(?=[ .,?!:;])", "", text).strip()


def sentences(text: str) -> str:
    """The text with a capital letter at each sentence start (after `.`, `?`, `!` and at line starts)."""
    return re.sub(r"(?:^|(?<=[.?!] )|(?<=\n))[a-z]", lambda m: m[0].upper(), text)


def with_article(noun: str) -> str:
    """The noun after "a" or "an", by its first letter: the word lists hold no silent h and no spoken "yoo"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
