"""The verifier for instruction following with checkable constraints (IFEval, arXiv:2311.07911)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.ifeval.constraints import Constraint, Finding
from burnish.verify.ifeval.target import check_target, constraints_of
from burnish.verify.ifeval.text import loose_variants

_COMMA = '[{"id": "punctuation:no_comma", "kwargs": {}}]'
_WORDS = '[{"id": "length_constraints:number_words", "kwargs": {"num_words": 5, "relation": "at least"}}]'
_BOTH = (
    '[{"id": "startend:end_checker", "kwargs": {"end_phrase": "The end."}},'
    ' {"id": "keywords:existence", "kwargs": {"keywords": ["moon", "sea"]}}]'
)


@dataclass(frozen=True, slots=True)
class IFEval:
    """Grades a reply against every instruction of its target.

    mode:    "strict" takes the reply as it is. "loose" counts an instruction as followed when any of eight variants
             follows it: the reply with or without its first line, its last line and its asterisks.
    partial: False scores 1 only when every instruction is followed (prompt level); True scores the share that is
             followed (instruction level).

    A blank reply follows nothing. A target that cannot be read gives Verdict(None, reason); `check_target` finds such
    targets before anything runs.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_COMMA, "No commas here."),
        (_WORDS, "One two three four five."),
        (_BOTH, "The moon rose over the sea. The end."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_COMMA, "One, two."),
        (_WORDS, "One two three four."),
        (_BOTH, "The moon rose. The end."),
        (_COMMA, " "),
    )
    mode: Literal["strict", "loose"] = "strict"
    partial: bool = False

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        check_target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The grade of `text`, with what was seen and what was wanted for each instruction."""
        try:
            constraints = constraints_of(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        if not text.strip():
            return Verdict(0.0, "the reply is blank")
        variants = loose_variants(text) if self.mode == "loose" else [("", text)]
        findings = [_judge(constraint, variants) for constraint in constraints]
        followed = sum(finding.followed for finding in findings)
        share = followed / len(findings)
        score = share if self.partial else float(followed == len(findings))
        # What went wrong comes first: it is what a reader looks for.
        ordered = sorted(findings, key=lambda finding: finding.followed)
        return Verdict(score, f"{followed} of {len(findings)} followed; " + "; ".join(f.why for f in ordered))


def _judge(constraint: Constraint, variants: list[tuple[str, str]]) -> Finding:
    """The first variant's finding, or that of a later variant that follows the constraint."""
    first: Finding | None = None
    for label, variant in variants:
        finding = constraint.check(variant)
        if finding.followed:
            note = f" ({label})" if label else ""
            return Finding(True, f"{constraint.ID}: {finding.why}{note}")
        first = first or finding
    assert first is not None, "a reply that is not blank has at least itself as a variant"
    return Finding(False, f"{constraint.ID}: {first.why}")
