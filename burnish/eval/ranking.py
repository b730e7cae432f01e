"""Grading by log-probabilities: which of the given continuations a model finds likely. No reply is generated.

A problem's target is JSON: {"choices": ["Paris", "Rome"], "right": [0]}; `right` holds the indices of the true choices. The
target of lettered questions, {"letter": "B", "choices": [texts]}, is read as well: one choice is right, the letter's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class Ranked:
    """One continuation. logprob: sum over its tokens (nats). greedy: every token was the most probable one."""

    text: str
    logprob: float
    tokens: int
    greedy: bool


@runtime_checkable
class Ranking(Protocol):
    """A frozen dataclass that grades continuations. VERSION counts up with every change that can change a verdict."""

    VERSION: ClassVar[int]

    def choices(self, problem: Problem) -> tuple[str, ...]:
        """The continuations whose log-probabilities are wanted, as they stand after the prompt.

        Raises VerifierError for a target that cannot be read.
        """

    def right(self, problem: Problem) -> tuple[int, ...]:
        """Which of the choices are true, as indices, ascending. Raises VerifierError for a target that cannot be read."""

    def rank(self, problem: Problem, ranked: Sequence[Ranked]) -> Verdict:
        """The verdict on the choices, in their order. Total: what cannot be graded gets None with the reason."""


class _OfTexts:
    """A ranking of the choices' own texts."""

    __slots__ = ()
    before: str

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be read. Raises VerifierError otherwise; asked before anything runs."""
        _parsed(target)

    def choices(self, problem: Problem) -> tuple[str, ...]:
        """The texts of the choices, each behind `before`."""
        return tuple(self.before + choice for choice in _parsed(problem.check.target).choices)

    def right(self, problem: Problem) -> tuple[int, ...]:
        """The indices of the true choices."""
        return _parsed(problem.check.target).right


@dataclass(frozen=True, slots=True)
class BestChoice(_OfTexts):
    """Grades by the most probable choice: 1 when it is a right one, else 0.

    by:     what is compared: "sum", the log-probability of the whole choice (acc_raw; TruthfulQA's MC1, arXiv:2109.07958 §3.3);
            "token", its mean over the choice's tokens; or "character", its mean over the characters of the choice without
            `before` (lm-evaluation-harness's acc_norm).
    before: stands between prompt and choice, e.g. " " after "Answer:" in plain text; a chat turn begins without it.
    ties:   "share": choices that tie at the top share the point, so that a model without a preference scores as a blind guess
            does, in any order of the choices; "first": the first of them counts, as argmax in published harnesses.
    """

    VERSION: ClassVar[int] = 1
    by: Literal["sum", "token", "character"] = "sum"
    before: str = ""
    ties: Literal["share", "first"] = "share"

    def rank(self, problem: Problem, ranked: Sequence[Ranked]) -> Verdict:
        """1, 0, or a share of 1 where choices tie."""
        target, why = _readable(problem, ranked)
        if target is None:
            return Verdict(None, why)
        sizes = {
            "sum": [1] * len(ranked), "token": [each.tokens for each in ranked], "character": [len(c) for c in target.choices]
        }[self.by]  # fmt: skip
        return _best([each.logprob / size for each, size in zip(ranked, sizes, strict=True)], target, self.ties)


@dataclass(frozen=True, slots=True)
class LetterChoice:
    """Grades by the most probable letter: the prompt shows lettered choices and ends where the letter stands ("Answer:").

    before, ties: as in BestChoice.
    """

    VERSION: ClassVar[int] = 1
    before: str = ""
    ties: Literal["share", "first"] = "share"

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be read. Raises VerifierError otherwise; asked before anything runs."""
        _lettered(target)

    def choices(self, problem: Problem) -> tuple[str, ...]:
        """As many letters as there are choices, from A on, each behind `before`."""
        return tuple(self.before + letter for letter in _lettered(problem.check.target).choices)

    def right(self, problem: Problem) -> tuple[int, ...]:
        """The indices of the true choices."""
        return _lettered(problem.check.target).right

    def rank(self, problem: Problem, ranked: Sequence[Ranked]) -> Verdict:
        """1, 0, or a share of 1 where letters tie."""
        target, why = _readable(problem, ranked, _lettered)
        if target is None:
            return Verdict(None, why)
        return _best([each.logprob for each in ranked], target, self.ties)


@dataclass(frozen=True, slots=True)
class TrueShare(_OfTexts):
    """Grades by the probability of the true choices among all: TruthfulQA's MC2 (arXiv:2109.07958 §3.3).

    The sum of e^logprob over the true choices, divided by the sum over all; no length normalisation. Computed with the largest
    log-probability taken out of both sums, so that long choices, whose probabilities are below the smallest float, still count.

    before: as in BestChoice.
    """

    VERSION: ClassVar[int] = 1
    before: str = ""

    def rank(self, problem: Problem, ranked: Sequence[Ranked]) -> Verdict:
        """A share in [0, 1]."""
        target, why = _readable(problem, ranked)
        if target is None:
            return Verdict(None, why)
        shares = probabilities([each.logprob for each in ranked])
        share = min(1.0, math.fsum(shares[index] for index in target.right))
        best = max(range(len(shares)), key=shares.__getitem__)
        return Verdict(
            share,
            f"the {len(target.right)} true of {len(shares)} choices have {share:.1%} of the probability; "
            f"{_shown(target.choices[best])} alone has {shares[best]:.1%} and is {_truth(best, target)}",
        )


def probabilities(logprobs: Sequence[float]) -> list[float]:
    """The shares e^l / sum of e^l of log-probabilities (nats), which sum to 1. Adding a constant to all changes nothing.

    Raises ValueError for none, for NaN, and where all are minus infinity.
    """
    top = max(logprobs, default=-math.inf)
    if not math.isfinite(top) or any(math.isnan(each) for each in logprobs):
        raise ValueError(f"no shares of the log-probabilities {list(logprobs)!r:.80}")
    weights = [math.exp(each - top) for each in logprobs]
    whole = math.fsum(weights)
    return [weight / whole for weight in weights]


class _Target(NamedTuple):
    choices: tuple[str, ...]
    right: tuple[int, ...]


@lru_cache(maxsize=65536)
def _parsed(target: str) -> _Target:
    try:
        data = json.loads(target)
    except (ValueError, RecursionError):
        raise VerifierError(_bad(target, "is not JSON")) from None
    if not isinstance(data, dict) or set(data) not in ({"choices", "right"}, {"choices", "letter"}):
        raise VerifierError(_bad(target, "is no object of choices and right, or of choices and letter"))
    choices = data["choices"]
    if not isinstance(choices, list) or len(choices) < 2 or not all(isinstance(each, str) and each for each in choices):
        raise VerifierError(_bad(target, "does not have two or more choices, each a text"))
    if "letter" in data:
        letter = data["letter"]
        if not isinstance(letter, str) or len(letter) != 1 or letter not in ALPHABET[: len(choices)]:
            raise VerifierError(_bad(target, f"names the letter {letter!r:.20}, and it has {len(choices)} choices"))
        return _Target(tuple(choices), (ALPHABET.index(letter),))
    right = data["right"]
    if not isinstance(right, list) or not right or not all(type(i) is int and 0 <= i < len(choices) for i in right):
        raise VerifierError(_bad(target, f"does not have indices of its {len(choices)} choices in 'right'"))
    return _Target(tuple(choices), tuple(sorted(set(right))))


def _lettered(target: str) -> _Target:
    """The target with letters for choices."""
    found = _parsed(target)
    if len(found.choices) > len(ALPHABET):
        raise VerifierError(_bad(target, f"has {len(found.choices)} choices, and there are {len(ALPHABET)} letters"))
    return _Target(tuple(ALPHABET[: len(found.choices)]), found.right)


def _bad(target: str, what: str) -> str:
    return (
        f"target {target[:80]!r} {what}, so no choices can be compared.\n"
        '  Write {"choices": ["Paris", "Rome"], "right": [0]}, with the index of every true choice.'
    )


def _readable(
    problem: Problem, ranked: Sequence[Ranked], read: Callable[[str], _Target] = _parsed
) -> tuple[_Target | None, str]:
    """The target, or None and why the choices cannot be graded."""
    try:
        target = read(problem.check.target)
    except VerifierError as error:
        return None, str(error)
    if len(ranked) != len(target.choices):
        return None, f"{len(ranked)} log-probabilities for {len(target.choices)} choices"
    for each in ranked:
        if math.isnan(each.logprob) or each.logprob == math.inf or each.tokens < 1:
            return None, f"choice {_shown(each.text)} has log-probability {each.logprob} over {each.tokens} tokens"
    if all(each.logprob == -math.inf for each in ranked):
        return None, "no choice has any probability"
    return target, ""


def _best(values: Sequence[float], target: _Target, ties: Literal["share", "first"]) -> Verdict:
    top = max(values)
    best = [index for index, value in enumerate(values) if value == top]
    if ties == "first":
        best = best[:1]
    score = sum(index in target.right for index in best) / len(best)
    if len(best) > 1:
        return Verdict(score, f"{len(best)} choices tie at {top:.3f}, {round(score * len(best))} of them true")
    rest = [index for index in range(len(values)) if index not in best]
    second = max(rest, key=values.__getitem__)
    return Verdict(
        score,
        f"{_shown(target.choices[best[0]])} is most probable ({top:.3f}), before {_shown(target.choices[second])} "
        f"({values[second]:.3f}), and is {_truth(best[0], target)}",
    )


def _truth(index: int, target: _Target) -> str:
    return "true" if index in target.right else "not true"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
