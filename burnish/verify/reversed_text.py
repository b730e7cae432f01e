"""The verifier for texts written backwards: how alike a reply and the reversed text are, character by character."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import ClassVar

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError

_TAGGED = re.compile(r"<reversed_text>(.*?)</reversed_text>", re.DOTALL)
# SequenceMatcher is quadratic; a reply longer than this many times the target is far off whatever follows.
_LONGEST = 4


@dataclass(frozen=True, slots=True)
class Reversed:
    """Grades a reply by its likeness to the target, the text as it reads backwards: 2 M / T, with M characters in matching
    blocks of T in both (Ratcliff and Obershelp, as `difflib.SequenceMatcher.ratio` has it), the measure of the reverse-text
    task of prime-rl.

    The reply is what stands in the last <reversed_text>…</reversed_text>, or all of it where there is none; white space
    around it does not count.
    exact: full score for the same characters alone, 0 for anything else.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("nus der", "nus der"),
        ("nus der", "Here it is: <reversed_text>nus der</reversed_text>"),
        ("nus der", "<reversed_text>x</reversed_text>\n<reversed_text> nus der\n</reversed_text>"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("nus der", ""),
        ("nus der", "red sun"),
        ("nus der", "NUS DER"),
        ("nus der", "<reversed_text>red sun</reversed_text> nus der"),
    )
    exact: bool = False

    def check_target(self, target: str) -> None:
        """Nothing, when there is a text to compare with. Raises VerifierError otherwise."""
        if not target.strip():
            raise VerifierError(
                "target is empty, so every reply would be as good as any.\n  Write the text as it reads backwards."
            )

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """A score from 0 to 1, with how many of the target's characters were in place."""
        target = problem.check.target.strip()
        if not target:
            return Verdict(None, "the target is empty, so there is nothing to compare with")
        tagged = _TAGGED.findall(text)
        reply = (tagged[-1] if tagged else text).strip()
        if reply == target:
            return Verdict(1.0, "the text backwards")
        if self.exact or not reply:
            return Verdict(0.0, f"not {target[:40]!r}" if reply else "no text")
        # autojunk would leave out characters that are frequent in long texts.
        matcher = SequenceMatcher(None, reply[: _LONGEST * len(target)], target, autojunk=False)
        matched = sum(block.size for block in matcher.get_matching_blocks())
        return Verdict(2 * matched / (len(reply) + len(target)), f"{matched} of {len(target)} characters in place")
