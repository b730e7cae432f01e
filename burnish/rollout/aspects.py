"""What a reply is scored on, in place of the paper's judged aspects: what can be verified without a judge.

An aspect is a frozen dataclass with a weight that gives a reply a score in [0, 1], or None: cannot say. A reply's score
is the weighted mean over its aspects (Tülu 3, arXiv:2411.15124, section 5.2: the mean over four judged aspects).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from burnish.core.types import Finish
from burnish.rollout.completions import Graded


@runtime_checkable
class Aspect(Protocol):
    """One thing replies are scored on. `weight` is relative to the other aspects' weights."""

    VERSION: ClassVar[int]

    @property
    def weight(self) -> float:
        """How much it counts."""

    def __call__(self, reply: Graded) -> float | None:
        """A score in [0, 1], or None when the reply cannot be judged on it; such a reply is left out."""


@dataclass(frozen=True)
class Verified:
    """The verifier's score. It outweighs the other two together, so those decide between equals only."""

    weight: float = 4.0
    VERSION: ClassVar[int] = 1

    def __call__(self, reply: Graded) -> float | None:
        """The verdict's score."""
        return reply.score


@dataclass(frozen=True)
class Finished:
    """Whether the reply came to its own end before max_tokens."""

    weight: float = 1.0
    VERSION: ClassVar[int] = 1

    def __call__(self, reply: Graded) -> float | None:
        """1 or 0."""
        return 1.0 if reply.finish is Finish.STOP else 0.0


@dataclass(frozen=True)
class NotRepetitive:
    """Whether the reply says something and does not repeat itself: distinct word 4-grams over all, 1 from `enough` up."""

    weight: float = 1.0
    enough: float = 0.8
    VERSION: ClassVar[int] = 1

    def __call__(self, reply: Graded) -> float | None:
        """1, less in proportion to repetition, or 0 for an empty reply."""
        words = reply.text.lower().split()
        if not words:
            return 0.0
        grams = [tuple(words[i : i + 4]) for i in range(len(words) - 3)]
        return min(len(set(grams)) / len(grams) / self.enough, 1.0) if grams else 1.0


ASPECTS: tuple[Aspect, ...] = (Verified(), Finished(), NotRepetitive())


def mean_score(aspects: Sequence[Aspect], reply: Graded) -> float | None:
    """The weighted mean over aspects, in [0, 1]; None when one of them cannot say."""
    scores = [aspect(reply) for aspect in aspects]
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return None
    weights = [aspect.weight for aspect in aspects]
    return sum(weight * score for weight, score in zip(weights, known, strict=True)) / sum(weights)
