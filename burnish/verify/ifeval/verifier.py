"""The verifier for instruction following with checkable constraints (IFEval, arXiv:2311.07911, and its successors)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

from burnish.core.types import Problem, Verdict
from burnish.errors import MissingData, MissingExtra, VerifierError
from burnish.verify.ifeval.constraints import Constraint, Finding, PublishedRule
from burnish.verify.ifeval.target import check_target, constraints_of
from burnish.verify.ifeval.text import loose_variants

_COMMA = '[{"id": "punctuation:no_comma", "kwargs": {}}]'
_WORDS = '[{"id": "length_constraints:number_words", "kwargs": {"num_words": 5, "relation": "at least"}}]'
_EXACT = '[{"id": "tulu3:validate_word_constraint", "kwargs": {"N": 4, "quantifier": "at most"}}]'
_UNIQUE = '[{"id": "count:count_unique", "kwargs": {}}]'
_BOTH = (
    '[{"id": "startend:end_checker", "kwargs": {"end_phrase": "The end."}},'
    ' {"id": "keywords:existence", "kwargs": {"keywords": ["moon", "sea"]}}]'
)


@dataclass(frozen=True, slots=True)
class IFEval:
    """Grades a reply against every instruction of its target: those of IFEval, Tülu 3, IF-RLVR and IFBench, in any mix.

    mode:    "strict" takes the reply as it is. "loose" counts an instruction as followed when any of eight variants
             follows it: the reply with or without its first line, its last line and its asterisks.
    partial: False scores 1 only when every instruction is followed (prompt level); True scores the share that is
             followed (instruction level).
    rule:    "fixed" counts what the instruction's sentence says. "published" counts as the code that the instructions
             were published with, quirks included. IFEval's own 25 are the same under both.

    A blank reply follows nothing. A target that cannot be read gives Verdict(None, reason); `check_target` finds such
    targets before anything runs.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_COMMA, "No commas here."),
        (_WORDS, "One two three four five."),
        (_BOTH, "The moon rose over the sea. The end."),
        (_EXACT, "One two three four."),
        (_UNIQUE, "The moon rose."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_COMMA, "One, two."),
        (_WORDS, "One two three four."),
        (_BOTH, "The moon rose. The end."),
        (_COMMA, " "),
        (_EXACT, "One two three four five."),
        (_UNIQUE, "The moon saw the moon."),
    )
    mode: Literal["strict", "loose"] = "strict"
    partial: bool = False
    rule: Literal["fixed", "published"] = "fixed"

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
        try:
            findings = [_judge(constraint, variants, self.rule) for constraint in constraints]
        except (MissingData, MissingExtra) as error:
            return Verdict(None, str(error))
        followed = sum(finding.followed for finding in findings)
        share = followed / len(findings)
        score = share if self.partial else float(followed == len(findings))
        # What went wrong comes first: it is what a reader looks for.
        ordered = sorted(findings, key=lambda finding: finding.followed)
        return Verdict(score, f"{followed} of {len(findings)} followed; " + "; ".join(f.why for f in ordered))


def _judge(constraint: Constraint, variants: list[tuple[str, str]], rule: str) -> Finding:
    """The first variant's finding, or that of a later variant that follows the constraint."""
    has_quirks = rule == "published" and isinstance(constraint, PublishedRule)
    check = cast(PublishedRule, constraint).check_published if has_quirks else constraint.check
    first: Finding | None = None
    for label, variant in variants:
        finding = check(variant)
        if finding.followed:
            note = f" ({label})" if label else ""
            return Finding(True, f"{constraint.ID}: {finding.why}{note}")
        first = first or finding
    assert first is not None, "a reply that is not blank has at least itself as a variant"
    return Finding(False, f"{constraint.ID}: {first.why}")
