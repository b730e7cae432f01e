"""The environment in which a model can call tools until it answers without a call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from burnish.core.types import Message, Messages, Problem, Turn
from burnish.errors import RecipeError, nearest
from burnish.rollout.environment import Response
from burnish.rollout.tools.base import RunsMany, Tool, schema
from burnish.rollout.tools.calls import Call, calls_in, responses, written


@dataclass(frozen=True, slots=True)
class Tools:
    """Runs the calls of a turn and answers with what the tools say; a turn without a call is the last.

    max_calls: in one turn; calls behind these are refused.
    max_chars: of one tool's answer; the middle of a longer one is left out.
    announce:  which turn tells the model of the tools: a system turn, the beginning of the first user turn (for chat
               templates without system turns), or none, for a model that knows or a prompt that says it.
    """

    VERSION: ClassVar[int] = 1
    tools: tuple[Tool, ...]
    max_turns: int = 4
    max_calls: int = 4
    max_chars: int = 2000
    announce: Literal["system", "user", "no"] = "system"

    def __post_init__(self) -> None:
        """Raise RecipeError for tools that calls could not tell apart, or none."""
        names = [tool.name for tool in self.tools]
        if not names or len(set(names)) < len(names):
            raise RecipeError(
                f"Tools({', '.join(names) or 'no tools'}): calls name a tool, so there is at least one and each has another name.\n"
                "  Write Tools((Calculator(), Python()))."
            )
        if min(self.max_turns, self.max_calls, self.max_chars) < 1:
            raise RecipeError(
                f"Tools(max_turns={self.max_turns}, max_calls={self.max_calls}, max_chars={self.max_chars}): no tool could be "
                "used.\n  Use numbers from 1 up."
            )

    def prompt(self, problem: Problem) -> Messages:
        """The problem's prompt, and what the tools are and how they are called."""
        first = problem.prompt[0]
        if self.announce == "no":
            return problem.prompt
        if first.role == self.announce:
            return (Message(first.role, f"{self._told()}\n\n{first.content}"), *problem.prompt[1:])
        if self.announce == "system":
            return (Message("system", self._told()), *problem.prompt)
        told = next((i for i, message in enumerate(problem.prompt) if message.role == "user"), 0)
        turn = Message("user", f"{self._told()}\n\n{problem.prompt[told].content}")
        return (*problem.prompt[:told], turn, *problem.prompt[told + 1 :])

    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        """The tools' answers to the calls of the last turn; done when it has none."""
        return self.answer_many([(problem, turns)])[0]

    def answer_many(self, items: Sequence[tuple[Problem, Sequence[Turn]]]) -> list[Response]:
        """The same for many conversations, with all calls of a tool together."""
        calls = [[self._checked(i, call) for i, call in enumerate(calls_in(turns[-1].text))] for _, turns in items]
        said: dict[tuple[int, int], str] = {}
        for tool in self.tools:
            places = [
                (i, j, call.arguments)
                for i, row in enumerate(calls)
                for j, call in enumerate(row)
                if isinstance(call, Call) and call.name == tool.name
            ]
            arguments = [each for _, _, each in places]
            texts = tool.call_many(arguments) if isinstance(tool, RunsMany) else [tool(each) for each in arguments]
            said |= {(i, j): text for (i, j, _), text in zip(places, texts, strict=True)}
        return [
            self._response([call if isinstance(call, str) else said[i, j] for j, call in enumerate(row)])
            for i, row in enumerate(calls)
        ]

    def _told(self) -> str:
        tools = json.dumps([schema(tool) for tool in self.tools], ensure_ascii=False)
        tool = self.tools[0]
        form = written(Call(tool.name, dict.fromkeys(tool.arguments, "...")))
        return f"You can call these tools, each described as JSON:\n{tools}\nA call is written so:\n{form}"

    def _checked(self, place: int, call: Call | str) -> Call | str:
        """The call, or what is wrong with it."""
        if isinstance(call, str):
            return call
        if place >= self.max_calls:
            return f"error: at most {self.max_calls} calls at a time"
        tool = next((tool for tool in self.tools if tool.name == call.name), None)
        if tool is None:
            known = [tool.name for tool in self.tools]
            return f"error: there is no tool {call.name[:60]!r}. {nearest(call.name[:60], known)}"
        wanted = list(tool.arguments)
        if sorted(call.arguments) != sorted(wanted) or not all(isinstance(x, str) for x in call.arguments.values()):
            return f"error: {call.name} takes {', '.join(wanted)}, all as text"
        return call

    def _response(self, texts: Sequence[str]) -> Response:
        if not texts:
            return Response(None, "no call")
        cut = [self._cut(text) for text in texts[: self.max_calls + 1]]
        return Response(responses(cut), " · ".join(text[:80] for text in cut))

    def _cut(self, text: str) -> str:
        if len(text) <= self.max_chars:
            return text
        head, tail = self.max_chars - self.max_chars // 2, self.max_chars // 2
        left_out = len(text) - self.max_chars
        return f"{text[:head]}\n({left_out} characters left out)\n{text[len(text) - tail :]}"
