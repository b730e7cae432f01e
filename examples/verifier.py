"""A verifier of your own in one file: a multiple-choice letter, graded exactly, with its laws checked.

python examples/verifier.py
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from burnish.core.types import Check, Problem, Verdict, user
from burnish.testing.laws import check_verifier

STATED = re.compile(r"\b[Aa]nswer(?: is)?:?([^.\n]{1,80})")
LETTER = re.compile(r"\b[A-E]\b")


@dataclass(frozen=True, slots=True)
class Letter:
    """1 when the reply states the target letter as its answer, and states no other."""

    VERSION: ClassVar[int] = 1  # raise it when the same reply would get another grade
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("B", "The answer is B."),
        ("C", "A is too small and B too large. Answer: (C)"),
        ("D", "The answer is D. Yes, the answer is (D)."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("B", "The answer is C."),
        ("B", "The answer is A. The answer is B."),
        ("B", "The answer is A, B or C."),
        ("B", "B"),
        ("B", ""),
    )

    def __call__(self, problem: Problem, text: str) -> Verdict:
        if problem.check.target not in tuple("ABCDE"):
            return Verdict(None, f"target {problem.check.target!r} is not a letter from A to E")
        stated = sorted({letter for part in STATED.findall(text) for letter in LETTER.findall(part)})
        score = float(stated == [problem.check.target])
        return Verdict(score, f"states {' and '.join(stated) or 'no answer'}, wanted {problem.check.target}")


def main() -> float:
    question = Problem(user("Which is even? (A) 3 (B) 4 (C) 5"), Check("letter", "B"), "4 = 2 * 2. The answer is B.")
    check_verifier(Letter(), [question], mutate=lambda p: ["The answer is A.", "Answer: B. Or rather, answer: C."])
    verdict = Letter()(question, "The answer is C.")
    print(verdict.score, verdict.why)
    return verdict.score or 0.0


if __name__ == "__main__":
    main()
