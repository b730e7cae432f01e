"""A judge's rating of a conversation's last reply from 1 to 10, in MT-Bench's published texts (arXiv:2306.05685, appendix A)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from burnish.core.types import Message, Problem, Verdict
from burnish.errors import VerifierError
from burnish.verify.judge.ask import Answerer, Ask, Question, Unread, encodable
from burnish.verify.judge.form import QUOTED, without_thoughts
from burnish.verify.judge.rubric import EMPTY, Items, graded_together

_DOUBLE, _SINGLE = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]"), re.compile(r"\[(\d+(?:\.\d+)?)\]")
_PLACE = re.compile(r"\{([a-z_0-9]+)\}")
_TARGET = '{"system": "", "form": "Rate aloud {answer}, a reply to {question}.", "references": []}'


@dataclass(frozen=True, slots=True)
class Rating:
    """The rating of a reply as a share: (rating - 1) / 9. The target holds the judge's texts for the turn, as JSON.

    {"system": its system prompt, "form": the question to it, "references": answers of a strong model to the turns so far, or []}.
    Places in the form: {question}, {answer} and {ref_answer_1} in a first turn; {question_1}, {answer_1}, {question_2} ... in
    later ones.

    Read as FastChat does: the first "[[number]]" of the judge's reply, else the first "[number]". Ungraded where there is none,
    where the number is not from 1 to 10, and where the judged texts hold the same mark, which the judge may have quoted.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_TARGET, "The capital of France is Paris."),
        (_TARGET, "Hello, and welcome."),
        (_TARGET, "It boils at 100 °C."),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        (_TARGET, "bad"),
        (_TARGET, ""),
        (_TARGET, "A bad reply, which is wrong."),
    )
    judge: Answerer
    max_tokens: int = 2048
    tries: int = 1

    def check_target(self, target: str) -> None:
        """Nothing, for the judge's texts as JSON. Raises VerifierError for anything else."""
        _texts(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The rating as a share with the judge's words, or ungraded with the reason."""
        return self.grade_many([(problem, text)])[0]

    def grade_many(self, items: Items) -> list[Verdict]:
        """One verdict an item; all of them are asked at once."""
        return graded_together(self.judge, items, self._ask, _scored, self.tries)

    def _ask(self, problem: Problem, text: str) -> Ask[tuple[float, str]] | Verdict:
        try:
            texts = _texts(problem.check.target)
            content = _filled(texts["form"], _values(problem, text, texts["references"]))
        except VerifierError as error:
            return Verdict(None, str(error))
        if not text.strip():
            return EMPTY
        system = (Message("system", texts["system"]),) if texts["system"] else ()
        judged = (*(turn.content for turn in problem.prompt), text)

        def read(said: str) -> tuple[float, str] | Unread:
            return _read(said, judged)

        return Ask(Question((*system, Message("user", content)), self.max_tokens), read)


def _texts(target: str) -> dict[str, Any]:
    try:
        found = json.loads(target)
    except (ValueError, RecursionError):
        found = None
    good = isinstance(found, dict) and set(found) == {"system", "form", "references"}
    if good and all(isinstance(found[name], str) for name in ("system", "form")) and found["form"].strip():
        references = found["references"]
        if isinstance(references, list) and all(isinstance(each, str) for each in references):
            return dict(found)
    raise VerifierError(
        f"target {target[:60]!r} does not hold a judge's texts, so nothing can be asked.\n"
        '  Write {"system": "...", "form": "... {question} ... {answer} ...", "references": []}.'
    )


def _values(problem: Problem, text: str, references: Sequence[str]) -> dict[str, str]:
    """What may stand in the form's places."""
    questions = [turn.content for turn in problem.prompt if turn.role == "user"]
    answers = [*(turn.content for turn in problem.prompt if turn.role == "assistant"), text]
    values = {"question": questions[0], "answer": text} if len(questions) == 1 else {}
    for name, parts in (("question", questions), ("answer", answers), ("ref_answer", references)):
        values |= {f"{name}_{number}": part for number, part in enumerate(parts, 1)}
    return values


def _filled(form: str, values: dict[str, str]) -> str:
    lacks = [name for name in _PLACE.findall(form) if name not in values]
    if lacks:
        raise VerifierError(
            f"the judge's form has the place {{{lacks[0]}}}, and a conversation of this length has {', '.join(values)}.\n"
            "  Write a form for each turn."
        )
    return encodable(_PLACE.sub(lambda place: values[place[1]], form))


def _read(said: str, judged: Sequence[str]) -> tuple[float, str] | Unread:
    own = without_thoughts(said)[-1]
    found = _DOUBLE.search(own) or _SINGLE.search(own)
    if found is None:
        return Unread('it has no rating in the form "[[5]]"')
    if any(found[0] in text for text in judged):
        return Unread(QUOTED)
    rating = float(found[1])
    return (rating, own) if 1 <= rating <= 10 else Unread(f"its rating {found[1]} is not from 1 to 10")


def _scored(_: Problem, value: tuple[float, str]) -> Verdict:
    rating, said = value
    return Verdict((rating - 1) / 9, f"rating {rating:g} of 10: {' '.join(said.split())[:400]}")
