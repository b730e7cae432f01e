"""The environment protocol: what answers a model turn by turn, until it says that the conversation is done.

An environment is to a conversation what a verifier is to a reply: a frozen dataclass that a recipe passes under the name
of a verifier, `environments={"gsm8k": Tools((Calculator(),))}`. Problems whose check has that name are then solved in a
conversation; the verifier of that name grades the model's last turn.

Limits of a conversation: `max_turns` turns of the model, and `Sampling.max_tokens` tokens behind the prompt, those of the
environment included, so that what fits the context as one reply fits it as a conversation. One that meets a limit ends
with Finish.LENGTH, as a reply that is cut.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from burnish.core.types import Messages, Problem, Turn
from burnish.errors import RecipeError, nearest


@dataclass(frozen=True, slots=True)
class Response:
    """What an environment answers to a turn of the model.

    text: what the model reads next, as the user's turn; None: the conversation is done.
    note: why, for a person who reads the rollouts; the model does not see it.
    """

    text: str | None
    note: str = ""

    def __post_init__(self) -> None:
        if not (self.text is None or isinstance(self.text, str)) or not isinstance(self.note, str):
            raise TypeError(f"a response is a text or None, and a note, got {self.text!r:.60} and {self.note!r:.60}")


class Environment(Protocol):
    """Answers the turns of a model. The same problem and turns give the same response: it keeps nothing between calls.

    What a model does wrong, a call that cannot be read or a tool that fails, is text for the model. What the environment
    itself cannot do it raises; the reply is then ungraded, never 0.
    """

    VERSION: ClassVar[int]

    @property
    def max_turns(self) -> int:
        """At most so many turns of the model."""

    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        """The response to the last of the turns, which is the model's; the first of all is the model's too."""


@runtime_checkable
class Opens(Protocol):
    """What an environment has besides when it says something before the first turn, such as which tools there are."""

    def prompt(self, problem: Problem) -> Messages:
        """The conversation that the model sees first, in place of the problem's prompt."""


@runtime_checkable
class AnswersMany(Protocol):
    """What an environment has besides when many answers cost less together, such as programs in a sandbox."""

    def answer_many(self, items: Sequence[tuple[Problem, Sequence[Turn]]]) -> list[Response]:
        """The response to each (problem, turns), in order: those that the environment gives one by one."""


Environments = Mapping[str, Environment]


def check_environments(stage: str, environments: Environments, verifiers: Mapping[str, object]) -> None:
    """Raise RecipeError for an environment under a name that no verifier has, or without turns."""
    for name, environment in environments.items():
        if name not in verifiers:
            raise RecipeError(
                f"{stage}: environments has {name!r}, but no verifier of that name is given, so no problem would be solved in it. "
                f"{nearest(name, verifiers)}\n  Give an environment under the name that its problems ask for in their check."
            )
        if environment.max_turns < 1:
            raise RecipeError(
                f"{stage}: environments[{name!r}]: max_turns={environment.max_turns}, so the model could not say anything.\n"
                "  Use 1 or more."
            )


def opening(environments: Environments, problem: Problem) -> Messages:
    """What the model sees first: the problem's prompt, or what its environment makes of it."""
    environment = environments.get(problem.check.verifier)
    return environment.prompt(problem) if isinstance(environment, Opens) else problem.prompt


def answered(environment: Environment, items: Sequence[tuple[Problem, Sequence[Turn]]]) -> list[Response | str]:
    """One response an item, in order, or why there is none: the one boundary where an environment's exception is caught."""
    if isinstance(environment, AnswersMany):
        found = _together(environment, items)
        if found is not None:
            return found
    return [_answered(environment, problem, turns) for problem, turns in items]


def _together(environment: AnswersMany, items: Sequence[tuple[Problem, Sequence[Turn]]]) -> list[Response | str] | None:
    """All responses, or None where asking for them together failed: one by one, the fault falls on its own item only."""
    try:
        found = environment.answer_many(items)
    except Exception:  # noqa: BLE001 - as in _answered, which then says what was raised
        return None
    return list(found) if len(found) == len(items) and all(isinstance(one, Response) for one in found) else None


def _answered(environment: Environment, problem: Problem, turns: Sequence[Turn]) -> Response | str:
    name = type(environment).__name__
    try:
        response = environment(problem, turns)
    except Exception as error:  # noqa: BLE001 - an environment is foreign code, and one bad row must not end a run
        return f"environment {name} raised {type(error).__name__}: {error}"[:300]
    if not isinstance(response, Response):
        return f"environment {name} answered with a {type(response).__name__}, not a Response"
    return response
