"""The verifier for multiple choice: MMLU, MMLU-Pro, GPQA, AGIEval and others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.choice.ladders import LADDERS, Rule
from burnish.verify.choice.reading import Reading
from burnish.verify.choice.stated import stated

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PARIS = '{"letter": "B", "choices": ["London", "Paris", "Rome", "Madrid"]}'


class _Target(NamedTuple):
    letter: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """Grades a reply by the letter it gives; the target is a letter, "B", or {"letter": "B", "choices": [texts]} as JSON.

    rule: "stated" takes the letter the reply commits to, refuses a reply that offers several, and, where the target
          has the choices, takes the text of one for its letter.
          The others are published ladders for comparison with published scores: "mmlu_cot", "mmlu_0shot_cot",
          "mmlu_pro", "gpqa" and "agieval" (Tülu 3's evaluation), "mmlu_pro_official" and "lm_eval_mmlu_pro".
          They read the letter in given places, whatever else the reply offers.
    letters: how many letters count from A on, where the target does not have the choices; for "stated" alone.

    The verdict says whether the reply had the form the prompt asks for ("format-correct") or a fallback read it.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("B", "Paris lies on the Seine. Therefore, the answer is (B)"),
        ("C", "A and D are too small. Therefore, the answer is (C)"),
        ("A", "The correct answer is (A)."),
        ("D", "Therefore, the answer is (D)."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("B", "Therefore, the answer is (C)"),
        ("A", ""),
        ("D", "I do not know which one is right."),
        ("C", "The correct answer is (A)."),
    )
    rule: Literal["stated"] | Rule = "stated"
    letters: int = 10

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        check_target(target)

    def read(self, text: str, choices: tuple[str, ...] = ()) -> Reading:
        """The letter this rule reads in a reply, how, and whether the reply has the form asked for."""
        if self.rule == "stated":
            return stated(text, ALPHABET[: len(choices) or self.letters], choices)
        return LADDERS[self.rule](text)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 for the right letter, 0 for another, several or none, with what was read."""
        try:
            target = _parsed(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        reading = self.read(text, target.choices)
        if reading.several:
            offered = ", ".join(reading.several[:8])
            return Verdict(0.0, f"several answers offered ({offered}), wanted {target.letter}")
        if not reading.letter:
            return Verdict(0.0, f"no answer letter found, wanted {target.letter}")
        form = "format-correct" if reading.format_correct else "fallback"
        right = reading.letter == target.letter
        return Verdict(float(right), f"{reading.letter} read by {reading.how} ({form}), wanted {target.letter}")


def check_target(target: str) -> None:
    """Nothing, when `target` is a letter or an object with a letter and its choices. Raises VerifierError otherwise."""
    _parsed(target)


@lru_cache(maxsize=65536)
def _parsed(target: str) -> _Target:
    if len(target) == 1 and target in ALPHABET:
        return _Target(target, ())
    try:
        data = json.loads(target)
    except (ValueError, RecursionError):
        raise VerifierError(_bad(target, "is no capital letter")) from None
    if not isinstance(data, dict) or set(data) != {"letter", "choices"}:
        raise VerifierError(_bad(target, "is no object of letter and choices"))
    letter, choices = data["letter"], data["choices"]
    if not isinstance(choices, list) or not 2 <= len(choices) <= len(ALPHABET) or not _texts(choices):
        raise VerifierError(_bad(target, "does not have 2 to 26 choices, each a text"))
    if not isinstance(letter, str) or len(letter) != 1 or letter not in ALPHABET[: len(choices)]:
        raise VerifierError(
            _bad(target, f"names the letter {letter!r:.20}, and its {len(choices)} choices end at another")
        )
    return _Target(letter, tuple(choices))


def _texts(choices: list[object]) -> bool:
    return all(isinstance(choice, str) for choice in choices)


def _bad(target: str, what: str) -> str:
    return (
        f"target {target[:80]!r} {what}, so no reply can be compared with it.\n"
        f'  Write the letter alone, "B", or the choices with it: {_PARIS}'
    )
