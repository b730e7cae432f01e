"""The engine protocol: token ids in, token ids with log-probs, finish reason and policy version out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from burnish.core.types import Completion

if TYPE_CHECKING:  # grading existing outputs needs Sampling, and must not load torch
    from burnish.model.policy import Policy


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are drawn. temperature 0 is greedy; top_k 0 and top_p 1 switch those cuts off.

    max_tokens: at most this many new tokens, the end-of-turn token included.
    stop:       strings that end a reply; the reply's text is cut before the first of them.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()


GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True)
class Request:
    """One reply wanted. The seed belongs to the request: its tokens depend neither on its neighbours nor on the batch."""

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    seed: int


class Engine(Protocol):
    """Something that generates. Completions come back in the order of the requests."""

    @property
    def policy_version(self) -> str:
        """Which weights it holds."""

    def generate(
        self, requests: Sequence[Request], on_finish: Callable[[int, Completion], None] | None = None
    ) -> list[Completion]:
        """One completion per request. `on_finish(index, completion)` is called as each ends, in any order.

        Raises RecipeError when a prompt and its max_tokens do not fit the context.
        """

    def load_weights(self, policy: Policy, version: str) -> None:
        """Take the learner's current weights, in memory."""


@dataclass(frozen=True, slots=True)
class Continuations:
    """Token ids whose log-probabilities after a prompt are wanted; none of the continuations is empty."""

    prompt_ids: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model makes of continuations, in their order.

    logprobs: for each continuation, the log-probability (nats, at temperature 1) of each of its tokens.
    greedy:   for each continuation, whether every one of its tokens is the most probable one at its place.
    """

    logprobs: tuple[tuple[float, ...], ...]
    greedy: tuple[bool, ...]


@runtime_checkable
class Scorer(Protocol):
    """An engine that also tells log-probabilities of given continuations."""

    def score(
        self, requests: Sequence[Continuations], on_scored: Callable[[int, Scored], None] | None = None
    ) -> list[Scored]:
        """One Scored per request, in order; `on_scored(index, scored)` is called as each is done, in any order.

        A prompt, and what several prompts begin with, is computed once. Raises RecipeError when a prompt and a
        continuation do not fit the context.
        """
