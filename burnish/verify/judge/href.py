"""The verifiers for HREF (arXiv:2412.15524): is a reply better than a baseline's, seen beside a person's own reply?"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.judge.ask import Answerer
from burnish.verify.judge.form import Way
from burnish.verify.judge.pairwise import Pairwise
from burnish.verify.judge.rubric import EMPTY

# Where the judge does not see the person's reply: there is no one good answer to compare with.
WITHOUT_REFERENCE = ("Brainstorm", "Summarize")
_FIELDS = ("category", "baseline", "reference")
_TARGET = json.dumps({
    "category": "Closed QA", "baseline": "I do not know.", "reference": "The capital of France is Paris, on the Seine.",
})  # fmt: skip
_OTHER = json.dumps({
    "category": "Brainstorm", "baseline": "No.", "reference": "Read a book, bake bread, or call a friend.",
})  # fmt: skip
_GOOD = json.dumps({
    "category": "Rewrite", "baseline": "Water boils at 100 degrees at sea level, and lower on a mountain.",
    "reference": "Water boils at 100 degrees at sea level, and lower on a mountain.",
})  # fmt: skip
_WORD = re.compile(r"\w+")


class _Target(NamedTuple):
    category: str
    baseline: str
    reference: str


@dataclass(frozen=True, slots=True)
class HREF:
    """Compares a reply with the baseline's: 1 better, 0.5 a tie, 0 worse, as a judge model finds that sees both in both orders.

    The judge sees the person's reply too, but for brainstorming and summaries. Equal replies are a tie and an empty one is worse,
    without asking. The target is {"category": …, "baseline": …, "reference": …} as JSON.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_TARGET, "The capital of France is Paris."),
        (_TARGET, "Paris is the capital of France, a city on the river Seine."),
        (_OTHER, "Plant a tree, learn a song, or write a letter to somebody you miss."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_TARGET, ""),
        (_GOOD, "No."),
        (_TARGET, "I do not know."),
    )
    judge: Answerer
    way: Way = "json"
    max_tokens: int = 1024
    tries: int = 2

    def check_target(self, target: str) -> None:
        """Nothing, when there is a baseline and a reference. Raises VerifierError otherwise."""
        _target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1, 0 or 0.5, or ungraded when one of the two orders could not be read."""
        return self.grade_many([(problem, text)])[0]

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One verdict an item; all of them are asked at once."""
        verdicts = [EMPTY] * len(items)
        asked: list[tuple[int, _Target]] = []
        for i, (problem, text) in enumerate(items):
            try:
                target = _target(problem.check.target)
            except VerifierError as error:
                verdicts[i] = Verdict(None, str(error))
                continue
            if text.strip():
                asked.append((i, target))
        found = Pairwise(self.judge, self.way, self.max_tokens, self.tries).compare(
            [(items[i][0].prompt, items[i][1], target.baseline) for i, target in asked],
            ["" if target.category in WITHOUT_REFERENCE else target.reference for _, target in asked],
        )
        for (i, _), preference in zip(asked, found, strict=True):
            score = None if preference.better is None else {"first": 1.0, "tie": 0.5, "second": 0.0}[preference.better]
            verdicts[i] = Verdict(score, preference.why)
        return verdicts


@dataclass(frozen=True, slots=True)
class CloserThanBaseline:
    """Without a judge: 1 where a reply shares more words with the person's reply than the baseline does, 0.5 as many, 0 fewer.

    Words shared: the F1 of the two bags of words, in any case (ROUGE-1 without stemming). Longer or better replies in other words
    lose. The target is HREF's.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_TARGET, "The capital of France is Paris."),
        (_TARGET, "the capital of france is paris, on the seine"),
        (_OTHER, "Bake bread or read a book."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_TARGET, ""),
        (_TARGET, "Rome!"),
        (_GOOD, "Water boils."),
    )

    def check_target(self, target: str) -> None:
        """Nothing, when there is a baseline and a reference. Raises VerifierError otherwise."""
        _target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1, 0.5 or 0, with both shares."""
        try:
            target = _target(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        if not text.strip():
            return EMPTY
        own, other = shared_words(text, target.reference), shared_words(target.baseline, target.reference)
        score = 1.0 if own > other else 0.5 if own == other else 0.0
        return Verdict(score, f"words shared with the person's reply: {own:.3f}, the baseline's {other:.3f}")


def shared_words(one: str, two: str) -> float:
    """F1 of the bags of words of two texts, in [0, 1]; 0 where one has no words."""
    first, second = (Counter(_WORD.findall(text.lower())) for text in (one, two))
    both = (first & second).total()
    return 2 * both / (first.total() + second.total()) if both else 0.0


@lru_cache(maxsize=8192)
def _target(target: str) -> _Target:
    try:
        spec = json.loads(target)
    except (ValueError, RecursionError):
        spec = None
    if not isinstance(spec, dict) or set(spec) != set(_FIELDS) or not all(isinstance(v, str) for v in spec.values()):
        raise VerifierError(
            f"target {target[:60]!r} is no object of {', '.join(_FIELDS)}, each a text, so there is nothing to compare with.\n"
            '  Write {"category": "Rewrite", "baseline": "…", "reference": "…"}.'
        )
    empty = [name for name in ("baseline", "reference") if not spec[name].strip()]
    if empty:
        raise VerifierError(
            f"target's {empty[0]} is empty, so there is nothing to compare with.\n  Give the other reply as text."
        )
    return _Target(spec["category"], spec["baseline"], spec["reference"])
