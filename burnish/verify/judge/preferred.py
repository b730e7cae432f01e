"""How surely a judge prefers a reply to another one, from the chances of one token, as AlpacaEval 2 asks (arXiv:2404.04475)."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.core.types import Message, Messages, Problem, Verdict, user
from burnish.errors import RecipeError, VerifierError
from burnish.verify.judge.ask import Answer, Answerer, Question, encodable, fenced, shown_prompt
from burnish.verify.judge.rubric import EMPTY

FIRST, SECOND = "m", "M"
_PLACES = ("{instruction}", "{output_1}", "{output_2}")
_TURN = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)\n?<\|im_end\|>", re.DOTALL)
_NO_TARGET = "the target is empty, so there is no reply to compare with.\n  Write the baseline's reply as the target."


@dataclass(frozen=True, slots=True)
class Preferred:
    """How likely a judge prefers the reply to the target, the baseline's reply to the same prompt: preference - 1, in [0, 1].

    The two replies are shown in an order drawn from the instruction and `seed`, as AlpacaEval draws it; the judge answers with
    one token, "m" for the first and "M" for the second. The score is p(the reply's) / (p(m) + p(M)), a token that is not
    among the likeliest counting 0; where the judge tells no chances, the token it wrote decides, 1 or 0. Equal replies are a
    tie (0.5) and an empty one loses, without asking.

    form: the published text with {instruction}, {output_1}, {output_2}; turns may stand between <|im_start|> and <|im_end|> as
          in AlpacaEval's files. "" asks in our own words.
    Flags: "shown_first" or "shown_second", where the reply stood; "no_logprobs" where a written token decided.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("I do not know.", "The capital of France is Paris, on the Seine."),
        ("No.", "At sea level water boils at 100 °C, and lower on a mountain."),
        ("Maybe.", "Hello, and welcome to the library; how may I help you?"),
    )
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = (
        ("The capital of France is Paris, on the Seine.", "I do not know."),
        ("The same words.", "The same words."),
        ("At sea level water boils at 100 °C.", ""),
    )
    judge: Answerer
    form: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        lacks = [place for place in _PLACES if place not in self.form]
        if self.form and lacks:
            raise RecipeError(
                f"Preferred(form={self.form[:40]!r} …) has no {' and no '.join(lacks)}, so the judge would not see what it compares.\n"
                f"  Give a form with {', '.join(_PLACES)}, or none."
            )

    def check_target(self, target: str) -> None:
        """Nothing, when there is a reply to compare with. Raises VerifierError for an empty one."""
        if not target.strip():
            raise VerifierError(_NO_TARGET)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """The preference for the reply, or ungraded with the reason."""
        return self.grade_many([(problem, text)])[0]

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """One verdict an item; all of them are asked at once."""
        verdicts = [self._without(problem.check.target, text) for problem, text in items]
        waiting = [i for i, verdict in enumerate(verdicts) if verdict is None]
        questions = [self._question(*items[i]) for i in waiting]
        answers = self.judge.answers(questions) if questions else []
        if len(answers) != len(questions):
            raise VerifierError(f"{self.judge.name} gave {len(answers)} answers to {len(questions)} questions.")
        for i, answer in zip(waiting, answers, strict=True):
            verdicts[i] = _verdict(answer, self.switched(items[i][0]))
        return [verdict for verdict in verdicts if verdict is not None]

    def switched(self, problem: Problem) -> bool:
        """Whether the reply is shown before the baseline's."""
        seed = f"is_switched_outputs{shown_prompt(problem.prompt)}{self.seed}"
        return random.Random(seed.encode("utf-8", "surrogatepass")).choices((False, True))[0]

    @staticmethod
    def _without(target: str, text: str) -> Verdict | None:
        """The verdict that needs no judge."""
        if not target.strip():
            return Verdict(None, _NO_TARGET)
        if text == target:
            return Verdict(0.5, "a tie: the two replies are equal")
        return EMPTY if not text.strip() else None

    def _question(self, problem: Problem, text: str) -> Question:
        baseline, instruction = problem.check.target, shown_prompt(problem.prompt)
        first, second = (text, baseline) if self.switched(problem) else (baseline, text)
        prompt = self._filled(instruction, first, second) if self.form else _asked(instruction, first, second)
        return Question(prompt, max_tokens=1, options=(FIRST, SECOND))

    def _filled(self, instruction: str, first: str, second: str) -> Messages:
        texts = dict(zip(_PLACES, map(encodable, (instruction, first, second)), strict=True))
        turns = [(match[1], match[2]) for match in _TURN.finditer(self.form)] or [("user", self.form)]
        place = re.compile("|".join(map(re.escape, _PLACES)))
        return tuple(_turn(role, place.sub(lambda found: texts[found[0]], body)) for role, body in turns)


def _turn(role: str, content: str) -> Message:
    return Message("system" if role == "system" else "assistant" if role == "assistant" else "user", content)


def _asked(instruction: str, first: str, second: str) -> Messages:
    task = (
        "Two models, m and M, replied to one instruction. Which reply would most people prefer? Weigh whether it does what was "
        "asked, whether it is right, and whether it reads well. The order of the replies is no reason."
    )
    texts = fenced([("INSTRUCTION", instruction), (f"REPLY OF {FIRST}", first), (f"REPLY OF {SECOND}", second)])
    wanted = f"Answer with one letter and nothing else: {FIRST} or {SECOND}, the model whose reply is better."
    return user("\n\n".join([task, texts, wanted]))


def _verdict(answer: Answer, shown_first: bool) -> Verdict:
    """The score of the reply from the judge's answer about the two as shown."""
    if answer.text is None:
        return Verdict(None, answer.why, ("judge_down" if answer.down else "no_reply",))
    place = "shown_first" if shown_first else "shown_second"
    chances = [0.0 if value is None else math.exp(value) for value in answer.logprobs]
    if len(chances) == 2:
        first, second = chances
        if first + second <= 0:
            why = f"neither {FIRST} nor {SECOND} is among the judge's likeliest first tokens; it wrote {answer.text[:20]!r}"
            return Verdict(None, why, ("parse_error", place))
        share = first / (first + second)
        told = f"p({FIRST}) {first:.4g}, p({SECOND}) {second:.4g}"
        flags: tuple[str, ...] = (place,)
    else:
        said = answer.text.strip()
        if said not in (FIRST, SECOND):
            return Verdict(None, f"the judge wrote {said[:20]!r}, neither {FIRST} nor {SECOND}", ("parse_error", place))
        share, told = float(said == FIRST), f"the judge wrote {said} and told no chances"
        flags = (place, "no_logprobs")
    score = share if shown_first else 1 - share
    return Verdict(score, f"preferred with {score:.3f}: {told}; the reply was {place.replace('_', ' ')}", flags)
