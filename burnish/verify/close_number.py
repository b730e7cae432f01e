"""The verifier for answers that a program computed (GSM-Hard, arXiv:2211.10435): a number close to the target."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import ClassVar

from burnish.core.types import Problem, Verdict
from burnish.errors import RecipeError, VerifierError
from burnish.verify.gsm8k import answer_in
from burnish.verify.numbers import Found, one_number


@dataclass(frozen=True, slots=True)
class CloseNumber:
    """Grades a reply by the number it gives, which GSM8K's rule "flexible" reads; right within `within` of the target.

    The default is GSM-Hard's own: less than 0.001 apart, whatever the size of the numbers.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("14053029.666666666", "It comes to 14,053,029.6667 dollars.\n#### 14053029.6667"),
        ("51", "#### 51"),
        ("-7055", "The answer is -7,055.0"),
        ("0.0016791648", "That makes 0.0017"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("14053029.666666666", "#### 14053029.7"),
        ("51", "#### 52"),
        ("-7055", "#### 7055"),
        ("51", ""),
    )
    within: float = 0.001

    def __post_init__(self) -> None:
        if not self.within > 0:
            raise RecipeError(
                f"CloseNumber(within={self.within}): numbers must be allowed to differ by something above 0."
            )

    def check_target(self, target: str) -> None:
        """Nothing, when `target` is one number. Raises VerifierError otherwise."""
        if _target(target) is None:
            raise VerifierError(_bad(target))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 for a number close enough, 0 for another or none, with what was read."""
        target = problem.check.target
        wanted = _target(target)
        if wanted is None:
            return Verdict(None, _bad(target))
        found, how = answer_in(text)
        if found is None:
            return Verdict(0.0, f"{how}, wanted {target}")
        apart = abs(found.value - wanted.value)
        return Verdict(float(apart < Fraction(str(self.within))), f"{how} {_shown(found.value)}, wanted {target}")


@lru_cache(maxsize=4096)
def _target(target: str) -> Found | None:
    return one_number(target)


def _bad(target: str) -> str:
    return (
        f"target {target[:60]!r} is not one number, so no reply can be compared with it.\n"
        '  Write the final answer alone, e.g. "72" or "388147.4117647059".'
    )


def _shown(value: Fraction) -> str:
    return str(value) if value.denominator == 1 else f"about {float(value):.10g}"
