"""The verifier for DeepMind Mathematics (arXiv:1904.01557): short answers as plain text.

Numbers, fractions, expressions in Python's notation, lists, True and False, letters of choices, times of day.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from burnish.core.types import Problem, Verdict
from burnish.errors import MissingExtra, VerifierError
from burnish.verify.deadline import Crashed, TimedOut
from burnish.verify.math.answers import Node, distinct, equal, number
from burnish.verify.math.extract import LONGEST
from burnish.verify.math.latex import split_at
from burnish.verify.math.symbolic import python_equal, require

_STATED = re.compile(r"Therefore, the final answer is (.{0,1000}?)\. I hope it is correct.", re.IGNORECASE)
_PHRASES = (
    re.compile(r"the final answer is([^\n]{0,1000})", re.IGNORECASE),
    re.compile(r"answer is([^\n]{0,1000})", re.IGNORECASE),
)
_CLOSING = re.compile(r"\s{0,20}\.?\s{0,20}I hope it is correct.*", re.DOTALL | re.IGNORECASE)
_TOKENS = ("<end_of_turn>", "<|eot_id|>", "<s>", "</s>")
_WRAPPERS = (("$", "$"), ("\\(", "\\)"), ("***", "***"), ("**", "**"), ("\\[", "\\]"))
# What may be given to sympy's parser, which evaluates Python: digits, operators, one-letter names, a few functions.
_SAFE = re.compile(
    r"(?:\s|\d++(?:\.\d*+)?+|\.\d++|[-+*/(),=<>!^]|(?<![A-Za-z])(?:[A-Za-z]|sqrt|pi|exp|log|sin|cos|tan)(?![A-Za-z_.]))++"
)


@dataclass(frozen=True, slots=True)
class DeepMindMath:
    r"""Grades a reply that ends "Therefore, the final answer is [answer]. I hope it is correct."; the target is plain text.

    rule: "fixed" compares lists, exact numbers and words, and expressions by sympy; a reply that states several different
                  answers is wrong.
          "olmes" is the published rule of Tülu 3's unseen suite (arXiv:2411.15124): the last such statement, equal as text
                  in any case, or as sympy expressions with the same symbols.

    Text that is no arithmetic is never given to sympy, whose parser runs it as a program. Needs `pip install 'burnish[math]'`.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("-3/4", "Therefore, the final answer is -3/4. I hope it is correct."),
        ("2*x**2 - 3", "Therefore, the final answer is 2*x**2 - 3. I hope it is correct."),
        ("-1, 5", "Therefore, the final answer is -1, 5. I hope it is correct."),
        ("True", "Therefore, the final answer is **yes**. I hope it is correct."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("-3/4", "Therefore, the final answer is 3/4. I hope it is correct."),
        ("2*x**2 - 3", "Therefore, the final answer is 2*x**2 + 3. I hope it is correct."),
        ("True", "Therefore, the final answer is False. I hope it is correct."),
        ("5", ""),
    )
    rule: Literal["fixed", "olmes"] = "fixed"

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise, MissingExtra without sympy."""
        if not target.strip() or len(target) > LONGEST:
            raise VerifierError(
                f'target {target[:60]!r} is no answer.\n  Write the final answer alone, e.g. "-3/4" or "2*x**2 - 3".'
            )
        require("DeepMindMath", published=False)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 for the right answer, 0 for another or none, with what was read."""
        target = problem.check.target.strip()
        if not target or len(target) > LONGEST:
            return Verdict(None, f"target {target[:60]!r} is no answer, so no reply can be compared with it")
        answers = _answers(text, first=self.rule == "olmes")
        if not answers:
            return Verdict(0.0, f"no answer stated, wanted {target!r}")
        if self.rule == "fixed" and len(several := distinct(answers)) > 1:
            return Verdict(
                0.0, f"{len(several)} different answers stated ({', '.join(several[:5])!s:.80}), wanted {target!r}"
            )
        answer = answers[-1]
        try:
            right = _same_text(target, answer)
            if not right and self.rule == "fixed":
                right = bool(equal(_tree(target), _tree(answer), _prove))
            elif not right:
                right = _prove(target, answer)
        except (TimedOut, Crashed, MissingExtra) as error:
            return Verdict(None, f"not compared with {target!r}: {error}")
        return Verdict(float(right), f"the answer stated is {answer[:80]!r}, wanted {target!r}")


def _answers(text: str, *, first: bool) -> list[str]:
    """The answers stated, cleaned, in order; the closing phrase as asked for, where there is none looser ones.

    first: of those only the first counts, as published.
    """
    found = _STATED.findall(text)
    for phrase in _PHRASES:
        if not found:
            found = [part.strip().removesuffix(".") for part in phrase.findall(text)][: 1 if first else None]
    return [answer for answer in map(_cleaned, found[-20:]) if answer]


def _cleaned(answer: str) -> str:
    answer = _CLOSING.sub("", answer)
    for token in _TOKENS:
        answer = answer.replace(token, "")
    answer = answer.strip().removesuffix(".").strip()
    for opening, closing in _WRAPPERS:
        if answer.startswith(opening) and answer.endswith(closing) and len(answer) > len(opening) + len(closing):
            answer = answer[len(opening) : -len(closing)].strip()
    return answer


def _same_text(target: str, answer: str) -> bool:
    also = {"true": "yes", "false": "no"}.get(target.lower(), "")
    return answer.lower() in {target.lower(), also} - {""}


def _tree(text: str) -> Node:
    """The answer as a list of expressions, their order free."""
    parts = [part.strip() for part in split_at(text.strip("{}[]"), ",") if part.strip()]
    leaves = tuple(Node("leaf", part) for part in parts)
    return leaves[0] if len(leaves) == 1 else Node("list", text, leaves)


def _prove(target: str, answer: str) -> bool:
    one, two = number(target), number(answer)
    if one is not None and two is not None and "," not in target + answer:
        return one.value == two.value
    return bool(_SAFE.fullmatch(target) and _SAFE.fullmatch(answer)) and python_equal(target, answer)
