"""The verifier protocol: one grader, both reward and metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol, runtime_checkable

from burnish.core.types import Problem, Verdict

Examples = tuple[tuple[str, str], ...]


@runtime_checkable
class Verifier(Protocol):
    """A frozen dataclass that grades one reply to one problem. Total: it never raises and never hangs.

    What cannot be graded gets Verdict(None, reason). ACCEPTS and REJECTS hold at least three (target, reply) examples
    each; they are shown in the docs and tested by burnish.testing.laws.check_verifier. Most verifiers have them as class
    variables; a wrapper makes them from those of the verifier inside it.
    """

    VERSION: ClassVar[int]

    @property
    def ACCEPTS(self) -> Examples:
        """(target, reply) pairs that get 1."""

    @property
    def REJECTS(self) -> Examples:
        """(target, reply) pairs that get less than 1."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The grade of `text` as a reply to `problem`; `problem.check.target` is what to compare with."""


@runtime_checkable
class GradesMany(Protocol):
    """What a verifier has besides when many replies cost less together: judges, which ask a model about all at once."""

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The verdict on each (problem, reply), in order: those that the verifier gives one by one."""


def graded(verifier: Verifier, problem: Problem, text: str) -> Verdict:
    """The verifier's verdict, or ungraded when it raises: the one boundary where a verifier's exception is caught.

    A crash says nothing about the reply, so it is None and counted, never a zero.
    """
    try:
        return verifier(problem, text)
    except Exception as error:  # noqa: BLE001 - a verifier is foreign code, and one bad row must not end a run
        return Verdict(None, f"verifier {type(verifier).__name__} raised {type(error).__name__}: {error}"[:300])


def graded_many(verifier: Verifier, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
    """One verdict an item, in order: together where the verifier can, else one by one. What raises is ungraded."""
    if not isinstance(verifier, GradesMany):
        return [graded(verifier, problem, text) for problem, text in items]
    try:
        verdicts = verifier.grade_many(items)
        if len(verdicts) == len(items):
            return verdicts
        why = f"verifier {type(verifier).__name__} gave {len(verdicts)} verdicts on {len(items)} replies"
    except Exception as error:  # noqa: BLE001 - as in graded
        why = f"verifier {type(verifier).__name__} raised {type(error).__name__}: {error}"[:300]
    return [Verdict(None, why)] * len(items)
