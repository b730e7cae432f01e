"""The verifier for answers that a regular expression describes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.statements import without_thought

# Past this the search is given up: the pattern, not the reply, is at fault.
_DEADLINE_S = 0.5


@dataclass(frozen=True, slots=True)
class Pattern:
    r"""Grades a reply by a regular expression, the target, in the syntax of Python's `re` (read by the `regex` library).

    where: "whole"  the whole reply, without the white space around it, has the form.
           "last line" its last line that is not blank has it, e.g. "Answer: \\d+".
           "anywhere" some part has it. Such a pattern is easy to satisfy by listing guesses.
    A pattern that takes longer than half a second on a reply leaves it ungraded.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (r"\d{3}-\d{4}", "555-0123"),
        (r"(?i)yes|no", "Yes"),
        (r"[A-Z][a-z]+(?: [A-Z][a-z]+)*", "New York\n"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (r"\d{3}-\d{4}", "555 0123"),
        (r"(?i)yes|no", "Maybe"),
        (r"[A-Z][a-z]+(?: [A-Z][a-z]+)*", "new york"),
    )
    where: Literal["whole", "last line", "anywhere"] = "whole"

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        _compiled(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when the reply has the form, else 0, with the text that was compared."""
        try:
            pattern = _compiled(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        part = without_thought(text).strip()
        if self.where == "last line":
            part = part.rpartition("\n")[2].strip()
        match = pattern.search if self.where == "anywhere" else pattern.fullmatch
        try:
            found = match(part, timeout=_DEADLINE_S, concurrent=True) is not None
        except TimeoutError:
            return Verdict(
                None, f"the pattern took longer than {_DEADLINE_S} s on this reply; write it without nested repeats"
            )
        return Verdict(
            float(found), f"{part[:60]!r} {'has' if found else 'does not have'} the form {problem.check.target[:80]!r}"
        )


@lru_cache(maxsize=4096)
def _compiled(target: str) -> Any:
    regex = _library()
    if not target.strip():
        raise VerifierError(
            f"target {target!r} is blank, so a blank reply would be right.\n  Write a regular expression."
        )
    try:
        return regex.compile(target)
    except (regex.error, RecursionError, OverflowError) as error:
        raise VerifierError(
            f"target {target[:80]!r} is no regular expression ({error}), so no reply can be compared with it.\n"
            "  Mend it, or escape text that is meant literally with re.escape."
        ) from None


def _library() -> Any:
    """The regex library: as `re`, with a deadline. It comes with transformers."""
    import regex

    return regex
