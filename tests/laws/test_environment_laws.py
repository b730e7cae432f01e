"""Every shipped environment keeps the laws, and the laws catch environments that break them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from chat_models import GEMMA, LLAMA3, TULU, ChatModel, tokenizer_of

from burnish.core.types import Check, Message, Messages, Problem, Turn, user
from burnish.rollout import conversation
from burnish.rollout.engine import Request
from burnish.rollout.environment import Environment, Response
from burnish.rollout.tools.calculator import Calculator
from burnish.rollout.tools.calls import Call, written
from burnish.rollout.tools.python import Python
from burnish.rollout.tools.toolbox import Tools
from burnish.rollout.try_again import TryAgain
from burnish.testing.laws import check_environment
from burnish.text.render import Renderer
from burnish.verify.gsm8k import GSM8K

PROBLEMS = [
    Problem(user("What is 6 times 7?"), Check("gsm8k", "42")),
    Problem((Message("system", "Be short."), *user("What is 10 - 3?")), Check("gsm8k", "7")),
]
CALL = written(Call("calculator", {"expression": "6 * 7"}))
PROGRAM = written(Call("python", {"code": "print(6 * 7)\nprint(object())"}))
LOOP = written(Call("python", {"code": "while True: pass"}))
TALKS = [
    ["The answer is 42."], ["The answer is 41.", "The answer is 42."], [CALL, "The answer is 42."], [CALL], [CALL + CALL],
    [CALL * 9], [PROGRAM, "The answer is 7."], [written(Call("calculator", {})), written(Call("abacus", {"bead": "1"}))],
    [written(Call("calculator", {"expression": "9 ** 9 ** 9"}))], [written(Call("python", {"code": "print('x' * 100000)"}))],
]  # fmt: skip
SHIPPED: dict[str, Environment] = {
    "calculator": Tools((Calculator(),)),
    "both": Tools((Calculator(), Python()), max_turns=2, max_calls=2, announce="user"),
    "unannounced": Tools((Calculator(),), announce="no", max_chars=20),
    "try again": TryAgain(GSM8K(), max_turns=3, says="No: {why}"),
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_environments_keep_the_laws(name: str) -> None:
    environment = SHIPPED[name]
    check_environment(environment, PROBLEMS, conversations=TALKS, examples=20)


@pytest.mark.parametrize("model", [TULU, LLAMA3], ids=lambda model: model.name)
def test_with_other_templates(model: ChatModel) -> None:
    renderer = Renderer(tokenizer_of(model))
    check_environment(SHIPPED["calculator"], PROBLEMS, conversations=TALKS, examples=5, renderer=renderer)


def test_a_template_without_system_turns() -> None:
    environment = Tools((Calculator(),), announce="user")
    check_environment(
        environment, PROBLEMS[:1], conversations=TALKS, examples=5, renderer=Renderer(tokenizer_of(GEMMA))
    )


@dataclass(frozen=True)
class Sound:
    """Asks again until the model says "stop"; the mutants below change one thing each."""

    VERSION: ClassVar[int] = 1
    max_turns: int = 3

    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        return Response(None if turns[-1].text.strip() == "stop" else f"more, {len(turns)}")


class Raises(Sound):
    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        if "{" in turns[-1].text:
            raise ValueError("no braces")
        return super().__call__(problem, turns)


class Silent(Sound):
    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        return None  # type: ignore[return-value]


class Endless(Sound):
    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        return Response(turns[-1].text * 10)


class Guesses(Sound):
    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        return Response(str(random.random()))


@dataclass(frozen=True)
class Counts(Sound):
    asked: list[int] = field(default_factory=list)

    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        self.asked.append(1)
        return Response(f"you have asked {len(self.asked)} times")


class Unfair(Sound):
    def answer_many(self, items: Sequence[tuple[Problem, Sequence[Turn]]]) -> list[Response]:
        return [Response("all the same")] * len(items)


class Short(Sound):
    def answer_many(self, items: Sequence[tuple[Problem, Sequence[Turn]]]) -> list[Response]:
        return [self(problem, turns) for problem, turns in items][1:]


class Speaks(Sound):
    def prompt(self, problem: Problem) -> Messages:
        return (*problem.prompt, Message("assistant", "Sure!"))


class Forgets(Sound):
    def prompt(self, problem: Problem) -> Messages:
        return user(f"{random.random()}")


MUTANTS: dict[str, list[Environment]] = {
    "total": [Raises(), Silent()], "bounded": [Endless()], "deterministic": [Guesses(), Counts(), Unfair(), Short()],
    "opening": [Speaks(), Forgets()],
}  # fmt: skip


def test_a_sound_environment_passes() -> None:
    check_environment(Sound(), PROBLEMS, conversations=[["a", "stop"]])


@pytest.mark.parametrize(("law", "mutant"), [(law, each) for law, found in MUTANTS.items() for each in found])
def test_the_laws_catch_what_breaks_them(law: str, mutant: Environment) -> None:
    with pytest.raises(AssertionError, match=f"law {law}"):
        check_environment(mutant, PROBLEMS, conversations=[["a", "stop"]], examples=10)


def test_the_prefix_law_catches_a_turn_that_is_tokenised_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole conversation encoded again, with one token too many."""
    real = conversation.Conversation._go_on

    def retokenised(self: conversation.Conversation, text: str, note: str, renderer: Renderer) -> None:
        real(self, text, note, renderer)
        whole = renderer.prompt(self.messages)
        self.request = Request((*whole[:-1], 7, *whole[-1:]), self.request.sampling, 0)

    monkeypatch.setattr(conversation.Conversation, "_go_on", retokenised)
    with pytest.raises(AssertionError, match="law prefix"):
        check_environment(Sound(), PROBLEMS, examples=1)
