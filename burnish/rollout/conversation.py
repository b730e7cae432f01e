"""Conversations of a model with environments: one engine call a round, in which every open conversation gets its next turn.

What the model sampled stays as it is: the environment's text is rendered as the tokens that would follow in the chat
template, and the next turn is asked for behind all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from burnish.core.rng import seed_of
from burnish.core.types import Completion, Finish, Message, Messages, Problem, Turn
from burnish.rollout.engine import Engine, Request
from burnish.rollout.environment import Environment, Environments, Response, answered, opening
from burnish.text.render import Renderer

OnEnd = Callable[[int, Completion, str], None]


def converse(
    engine: Engine,
    renderer: Renderer,
    problems: Sequence[Problem],
    requests: Sequence[Request],
    environments: Environments,
    on_end: OnEnd,
) -> None:
    """Generate a reply to every request: one turn, or a conversation where the problem has an environment.

    problems: of each request. Turn t of a conversation (the first is 0) has the seed of its request at t = 0 and
    seed_of(that, "turn", t) behind it. Its max_tokens is over everything behind the prompt.
    on_end(index, completion, why): called as each ends; `why` is "" or the reason for which it cannot be graded.
    Raises ModelError when the chat template would change what came before a turn.
    """
    talks: dict[int, Conversation] = {}
    for index, (problem, request) in enumerate(zip(problems, requests, strict=True)):
        environment = environments.get(problem.check.verifier)
        if environment is not None:
            talks[index] = Conversation(problem, environment, opening(environments, problem), request)

    def heard(index: int, completion: Completion) -> None:
        if index in talks:
            talks[index].hear(completion)
        else:
            on_end(index, completion, "")

    engine.generate(requests, heard)
    while talks:
        _answer([talk for talk in talks.values() if talk.finish is None], renderer)
        for index, talk in list(talks.items()):
            if talk.finish is not None:
                on_end(index, talks.pop(index).completion(), talk.why)
        following = list(talks.values())
        if following:
            replies = engine.generate([talk.request for talk in following])
            for talk, completion in zip(following, replies, strict=True):
                talk.hear(completion)


def _answer(talks: Sequence[Conversation], renderer: Renderer) -> None:
    """Let each environment answer all of its conversations."""
    for environment in {id(talk.environment): talk.environment for talk in talks}.values():
        asked = [talk for talk in talks if talk.environment is environment]
        responses = answered(environment, [(talk.problem, tuple(talk.turns)) for talk in asked])
        for talk, response in zip(asked, responses, strict=True):
            talk.answer(response, renderer)


@dataclass(slots=True, eq=False)
class Conversation:
    """One conversation in the making. request: the one for its next turn. why: for which it cannot be graded, or ""."""

    problem: Problem
    environment: Environment
    messages: Messages
    request: Request
    turns: list[Turn] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)
    finish: Finish | None = None
    why: str = ""
    version: str | None = None
    _seed: int = field(init=False)

    def __post_init__(self) -> None:
        self._seed = self.request.seed

    def hear(self, completion: Completion) -> None:
        """Add the model's turn. One that was cut or given up is the last."""
        self.turns.append(Turn("assistant", completion.text, completion.token_ids))
        self.messages = (*self.messages, Message("assistant", completion.text))
        self.logprobs += completion.logprobs
        self.sampled += completion.mask
        self.version = completion.policy_version if self.version is None else self.version
        if completion.finish is not Finish.STOP:
            self.finish = completion.finish

    def answer(self, response: Response | str, renderer: Renderer) -> None:
        """Add the environment's turn and prepare the next one, or end the conversation."""
        if isinstance(response, str):
            self._end(Finish.ABORT, response)
            self.why = response
        elif response.text is None:
            self._end(Finish.STOP, response.note)
        elif sum(turn.role == "assistant" for turn in self.turns) >= self.environment.max_turns:
            self._end(Finish.LENGTH, f"{response.note}\nThese were all max_turns={self.environment.max_turns} turns.")
        else:
            self._go_on(response.text, response.note, renderer)

    def completion(self) -> Completion:
        """The finished conversation. Raises ValueError while it goes on."""
        if self.finish is None:
            raise ValueError("the conversation has not ended")
        token_ids = tuple(token for turn in self.turns for token in turn.token_ids)
        sampled = () if all(self.sampled) else tuple(self.sampled)
        return Completion(
            token_ids, tuple(self.logprobs), self.finish, self.turns[-1].text, self.version or "", sampled, tuple(self.turns)
        )  # fmt: skip

    def _go_on(self, text: str, note: str, renderer: Renderer) -> None:
        # A lone surrogate has no UTF-8, so a tokenizer cannot read it.
        text = text.encode("utf-8", "replace").decode()
        messages = (*self.messages, Message("user", text))
        answer = renderer.follow(messages, self.turns[-1].token_ids[-1])
        spoken = self.turns[-1].token_ids + answer
        sampling = self.request.sampling
        left = sampling.max_tokens - len(spoken)
        if left < 1:
            self._end(Finish.LENGTH, f"{note}\nThe answer does not fit into what is left of max_tokens.")
            return
        self.messages = messages
        self.turns.append(Turn("user", text, answer, note))
        self.logprobs += [0.0] * len(answer)
        self.sampled += [False] * len(answer)
        turn = sum(each.role == "user" for each in self.turns)
        self.request = Request(
            self.request.prompt_ids + spoken,
            replace(sampling, max_tokens=left, min_tokens=min(sampling.min_tokens, left)),
            seed_of(self._seed, "turn", turn),
        )

    def _end(self, finish: Finish, note: str) -> None:
        self.finish = finish
        self.turns[-1] = replace(self.turns[-1], note=note.strip())
