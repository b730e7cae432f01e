"""The verifier for mathematics with an answer in LaTeX (MATH, arXiv:2103.03874)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from burnish.core.types import Problem, Verdict
from burnish.errors import MissingExtra, VerifierError
from burnish.verify.deadline import Crashed, TimedOut
from burnish.verify.gsm8k import last_number
from burnish.verify.math import extract
from burnish.verify.math.answers import compare, distinct
from burnish.verify.math.extract import LONGEST
from burnish.verify.math.normal_forms import hendrycks_equal, minerva
from burnish.verify.math.symbolic import proved_equal, require, sympy_equal

_MOST_BOXES = 12
_PROSE = 8  # words of a line that are taken as prose
_PROVED = 3  # different boxed answers that math-verify is asked about: each question may take its full time


@dataclass(frozen=True, slots=True)
class Math:
    r"""Grades a reply by the answer it states; the target is the reference answer in LaTeX, e.g. "\frac{3}{4}".

    rule: "fixed"     reads \boxed{}, else the statement after "the answer is" or "####", else the last formula, else a
                      reply of one line as it stands; several different boxed answers are a list of answers. Compares
                      exactly: structure (lists, sets, tuples, intervals, unions, matrices, equations, units), numbers,
                      words, normal forms, and what is left by math-verify.
          "strict"    the same comparison, but reads \boxed{} and Minerva's closing phrase only.
          "flex"      Tülu 3's "exact_match_flex" (arXiv:2411.15124): right if any of the Minerva phrase, the last box,
                      else the text between the last two "$", else the whole reply equals the target, by sympy on the
                      Minerva normal form or as Hendrycks normal form.
          "minerva"   the strict score of that protocol: the Minerva phrase alone, by sympy. It rejects about one in
                      twenty right answers (tuples, intervals, matrices), as published.
          "hendrycks" MATH's own evaluation: the last box, by Hendrycks normal form.

    All but "hendrycks" need `pip install 'burnish[math]'`. "fixed" and "strict" leave a reply ungraded when no comparison
    was done in time; the published rules count that as wrong, as published.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("\\frac{3}{4}", "So the probability is $\\boxed{\\frac{3}{4}}$."),
        ("(3,-1)", "Solving, we get\n$$\\boxed{(3, -1)}.$$"),
        ("72", "48 + 24 = 72, so the answer is $\\boxed{72}$."),
        ("2\\sqrt{3}", "Final Answer: The final answer is $\\boxed{2\\sqrt{3}}$. I hope it is correct."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("72", "The answer is $\\boxed{73}$."),
        ("\\frac{3}{4}", "So the probability is $\\boxed{\\frac{4}{3}}$."),
        ("(3,-1)", "Solving, we get $\\boxed{(-1,3)}$."),
        ("72", ""),
    )
    rule: Literal["fixed", "strict", "flex", "minerva", "hendrycks"] = "fixed"

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise, and MissingExtra where the rule
        needs a library that is not installed; Curate asks before anything runs.
        """
        problem = _bad_target(target)
        if problem:
            raise VerifierError(problem)
        if self.rule != "hendrycks":
            require(f"Math(rule={self.rule!r})", published=self.rule in ("flex", "minerva"))

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 for the right answer, 0 for another or none, with what was read."""
        target = problem.check.target
        if bad := _bad_target(target):
            return Verdict(None, bad)
        try:
            if self.rule in ("fixed", "strict"):
                return _fixed(target, text, strict=self.rule == "strict")
            return self._published(target, text)
        except (TimedOut, Crashed, MissingExtra) as error:
            return Verdict(None, f"not compared with {_short(target)}: {error}")

    def _published(self, target: str, text: str) -> Verdict:
        if self.rule == "hendrycks":
            box = extract.last_box(text)
            if box is None:
                return Verdict(0.0, f"no closed \\boxed{{}} in the reply, wanted {_short(target)}")
            right = len(box) <= LONGEST and hendrycks_equal(box, target)
            return Verdict(float(right), f"the last box holds {_short(box)}, wanted {_short(target)}")
        gold, late = minerva(target), ""
        candidates = list(_candidates(text, flex=self.rule == "flex"))
        if self.rule == "flex":
            for how, candidate in candidates:
                if hendrycks_equal(candidate, gold):
                    return Verdict(1.0, f"{how} is {_short(candidate)}, wanted {_short(gold)}")
        for how, candidate in candidates:
            if not candidate:
                continue
            try:
                if sympy_equal(gold, candidate):
                    return Verdict(1.0, f"{how} is {_short(candidate)}, by sympy equal to {_short(gold)}")
            except (TimedOut, Crashed) as error:
                late = f" ({error}; counted as unequal)"
        read = "; ".join(f"{how} is {_short(candidate)}" for how, candidate in candidates)
        return Verdict(0.0, f"{read or 'no closing phrase in the reply'}, wanted {_short(gold)}{late}")


def _candidates(text: str, *, flex: bool) -> Iterator[tuple[str, str]]:
    """(where it was read, its Minerva normal form), in the published order."""
    phrase = extract.minerva_phrase(text)
    if phrase is not None:
        yield "the answer phrased", minerva(phrase)
    if not flex:
        return
    box = extract.last_box(text)
    if box is not None:
        yield "the last box", minerva(box)
    if phrase is None and box is None:
        formula = extract.between_last_dollars(text)
        if formula is not None:
            yield "the last formula", minerva(formula)
        else:
            yield "the whole reply", minerva(text)


def _fixed(target: str, text: str, *, strict: bool) -> Verdict:
    how, answers = _read(text, strict=strict)
    if not answers:
        return Verdict(0.0, f"{how}, wanted {_short(target)}")
    if any(len(answer) > LONGEST for answer in answers):
        return Verdict(0.0, f"{how} is longer than {LONGEST} characters, wanted {_short(target)}")
    several = distinct(answers)
    if 1 < len(several) <= _PROVED:
        several = distinct(several, proved_equal)
    answer = ", ".join(several)
    if len(several) > 1:
        how = f"{len(several)} different answers ({how})"
    right = compare(target, answer)
    by = ""
    if right is None:
        right, by = proved_equal(target, answer), ", compared by math-verify"
    return Verdict(float(right), f"{how} is {_short(answer)}, wanted {_short(target)}{by}")


def _read(text: str, *, strict: bool) -> tuple[str, list[str]]:
    """Where the answer stands, and the answers there."""
    found = [box for box in extract.boxes(text) if box.strip()]
    if found:
        return "the boxed answer", list(dict.fromkeys(found))[-_MOST_BOXES:]
    if strict:
        phrase = extract.minerva_phrase(text)
        return ("the answer phrased", [phrase]) if phrase else ("no boxed answer and no closing phrase", [])
    said = extract.stated(text)
    if said:
        return "the answer stated", said
    formula = extract.last_formula(text)
    if formula:
        return "the last formula", [formula]
    whole = text.strip()
    if 0 < len(whole) <= 200 and (len(whole.split()) < _PROSE or not re.search(r"[a-z]", whole)):
        return "the reply", [whole]
    number = last_number(text)
    return ("the last number", [number]) if number else ("no answer in the reply", [])


def _bad_target(target: str) -> str:
    if target.strip() and len(target) <= LONGEST:
        return ""
    what = "is empty" if not target.strip() else f"has {len(target)} characters"
    return f'target {target[:60]!r} {what}, so no reply can be compared with it.\n  Write the final answer alone, e.g. "\\\\frac{{3}}{{4}}".'


def _short(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 80 else text[:77] + "...")
