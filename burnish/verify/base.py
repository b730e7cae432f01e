"""The verifier protocol: one grader, both reward and metric."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from burnish.core.types import Problem, Verdict


@runtime_checkable
class Verifier(Protocol):
    """A frozen dataclass that grades one reply to one problem. Total: it never raises and never hangs.

    What cannot be graded gets Verdict(None, reason). ACCEPTS and REJECTS hold at least three (target, reply) examples
    each; they are shown in the docs and tested by burnish.testing.laws.check_verifier.
    """

    VERSION: ClassVar[int]
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]]
    REJECTS: ClassVar[tuple[tuple[str, str], ...]]

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The grade of `text` as a reply to `problem`; `problem.check.target` is what to compare with."""


def graded(verifier: Verifier, problem: Problem, text: str) -> Verdict:
    """The verifier's verdict, or ungraded when it raises: the one boundary where a verifier's exception is caught.

    A crash says nothing about the reply, so it is None and counted, never a zero.
    """
    try:
        return verifier(problem, text)
    except Exception as error:  # noqa: BLE001 - a verifier is foreign code, and one bad row must not end a run
        return Verdict(None, f"verifier {type(verifier).__name__} raised {type(error).__name__}: {error}"[:300])
