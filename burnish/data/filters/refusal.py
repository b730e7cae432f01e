"""Replies that open by refusing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.core.types import Row
from burnish.data.clean import KEEP, Decision, Drop, replies
from burnish.verify.refusal import refusal_in


@dataclass(frozen=True, slots=True)
class NoRefusal:
    """Drops rows in which an assistant turn opens by refusing: "I'm sorry, but I can't assist with that."

    Only the opening is read, and it must be the assistant that will not do what was asked: replies that discuss refusing,
    quote a refusal, regret something ("I'm sorry to hear that") or praise ("I cannot recommend it enough") stay. Tülu 3
    has no such filter (arXiv:2411.15124 §3); use it on sets that should help, not on safety sets.
    """

    VERSION: ClassVar[int] = 1

    def __call__(self, row: Row) -> Decision:
        """Keep() or Drop."""
        for text in replies(row):
            if words := refusal_in(text):
                return Drop("a reply opens by refusing", words)
        return KEEP
