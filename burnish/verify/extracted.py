"""The verifier for answers that a regular expression finds in a reply: extract, put in a normal form, compare."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError

# Past this the search is given up: the pattern, not the reply, is at fault.
_DEADLINE_S = 0.5


@dataclass(frozen=True, slots=True)
class Extracted:
    r"""Grades a reply by the part of it that a regular expression finds; the target is the answer as text.

    pattern:     in the syntax of Python's `re` (read by the `regex` library). What counts is its first group that holds text,
                 or the whole match where it has no groups, without the white space around it.
    take:        "first" or "last", of several matches.
    ignore:      expressions whose matches are deleted from answer and target before they are compared.
    ignore_case: compare in lower case.

    It takes the reply at its word: whatever else is offered beside the match does not count. With the settings of
    lm-evaluation-harness's filter "regex" and metric "exact_match" it gives their verdicts. A search that takes longer than half a
    second leaves the reply ungraded.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Paris", "It lies on the Seine.\nAnswer: Paris"),
        ("1080", "12 * 90 = 1080\nanswer: 1080 \n"),
        ("(B)", "Answer: (B)"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("Paris", "Answer: Rome"),
        ("1080", "It is 1080."),
        ("(B)", ""),
    )
    pattern: str = r"(?i)answer:[ \t]*(\S[^\n]*)"
    take: Literal["first", "last"] = "last"
    ignore: tuple[str, ...] = ()
    ignore_case: bool = False

    def __post_init__(self) -> None:
        for pattern in (self.pattern, *self.ignore):
            _compiled(pattern)

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        if not self._normal(target):
            raise VerifierError(_blank(target))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when what is found equals the target, else 0, with what was found."""
        target = problem.check.target
        try:
            wanted = self._normal(target)
            found = self._found(text)
            got = None if found is None else self._normal(found)
        except TimeoutError:
            return Verdict(None, f"{self.pattern!r:.80} took longer than {_DEADLINE_S} s on this reply")
        if not wanted:
            return Verdict(None, _blank(target))
        if got is None:
            return Verdict(0.0, f"nothing in the reply matches {self.pattern!r:.80}, wanted {target!r:.60}")
        return Verdict(float(got == wanted), f"found {got!r:.60}, wanted {wanted!r:.60}")

    def _found(self, text: str) -> str | None:
        """The text of the match that counts, or None without one."""
        chosen = None
        for match in _compiled(self.pattern).finditer(text, timeout=_DEADLINE_S, concurrent=True):
            chosen = match
            if self.take == "first":
                break
        if chosen is None:
            return None
        groups = chosen.groups()
        held = next((group for group in groups if group), None) if groups else chosen[0]
        # Several groups without any text are no match; a single empty one is an empty answer.
        return held.strip() if held is not None else "" if len(groups) == 1 else None

    def _normal(self, text: str) -> str:
        for pattern in self.ignore:
            text = _compiled(pattern).sub("", text, timeout=_DEADLINE_S, concurrent=True)
        return text.lower() if self.ignore_case else text


def _blank(target: str) -> str:
    return (
        f"target {target[:60]!r} has no text left to compare with, so any reply or none would be right.\n"
        "  Write the answer as the expression finds it."
    )


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> Any:
    import regex  # as `re`, with a deadline; it comes with transformers

    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise VerifierError(
            f"pattern {pattern[:80]!r} is no regular expression ({error}), so nothing can be extracted with it.\n"
            "  Mend it, or escape text that is meant literally with re.escape."
        ) from None
