"""The verifier for BIG-Bench Hard."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, NamedTuple

from burnish.core.types import Problem, Verdict
from burnish.errors import VerifierError, nearest
from burnish.verify.bbh import published, stated
from burnish.verify.bbh.forms import FORMS, TARGETS

_LIES = '{"task": "web_of_lies", "answer": "Yes"}'
_SUM = '{"task": "multistep_arithmetic_two", "answer": "-5"}'
_SNARKS = '{"task": "snarks", "answer": "(A)"}'
_WORDS = '{"task": "word_sorting", "answer": "apple pear plum"}'
_DYCK = '{"task": "dyck_languages", "answer": "] ) }"}'


class _Target(NamedTuple):
    task: str
    answer: str


@dataclass(frozen=True, slots=True)
class BBH:
    """Grades a reply to a BIG-Bench Hard question; the target is {"task": its name, "answer": as in the data} as JSON.

    rule: "stated" reads what the reply states in the form of its task (true or false, yes or no, valid or invalid,
          closing brackets, an integer, a list of words, a letter), compares exactly, and refuses several answers.
          "tulu3" is the published ladder (olmes bbh:cot-v1::tulu) for comparison with published scores.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_LIES, "Fidel tells the truth. So the answer is Yes."),
        (_SUM, "2 - 7 = -5. So the answer is -5."),
        (_SNARKS, "So the answer is (A)."),
        (_WORDS, "So the answer is apple pear plum."),
        (_DYCK, "So the answer is ] ) }."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_LIES, "So the answer is No."),
        (_SUM, "So the answer is -6."),
        (_SNARKS, "So the answer is (B)."),
        (_WORDS, "So the answer is apple plum pear."),
        (_DYCK, ""),
    )
    rule: Literal["stated", "tulu3"] = "stated"

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise; Curate asks before anything runs."""
        check_target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 for the right answer, 0 for another, several or none, with what was read."""
        try:
            target = _parsed(problem.check.target)
        except VerifierError as error:
            return Verdict(None, str(error))
        if self.rule == "stated":
            return stated.grade(FORMS[target.task], target.answer, text)
        answer, how = published.extract(target.task, text)
        right = published.equal(target.task, answer, target.answer)
        return Verdict(float(right), f"{answer[:80]!r} read by {how}, wanted {target.answer[:80]!r}")


def check_target(target: str) -> None:
    """Nothing, when `target` names a task and an answer of its form. Raises VerifierError otherwise."""
    _parsed(target)


@lru_cache(maxsize=65536)
def _parsed(target: str) -> _Target:
    try:
        data = json.loads(target)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or not all(isinstance(data.get(key), str) for key in ("task", "answer")):
        raise VerifierError(
            f"target {target[:80]!r} does not name a task and an answer, so no reply can be compared with it.\n"
            f"  Write e.g. {_LIES}."
        )
    task, answer = data["task"], data["answer"]
    if task not in FORMS:
        raise VerifierError(
            f"target {target[:80]!r}: no BIG-Bench Hard task is called {task!r:.60}. {nearest(task, FORMS)}"
        )
    form = FORMS[task]
    if not TARGETS[form].fullmatch(answer):
        raise VerifierError(
            f"target {target[:80]!r}: {answer[:60]!r} is not of the form '{form}' of task {task}, so no reply could be right.\n"
            "  Write the answer as the published data does."
        )
    return _Target(task, answer)
