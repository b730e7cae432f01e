"""The engine protocol: token ids in, token ids with log-probs, finish reason and policy version out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from burnish.core.fingerprint import later
from burnish.core.types import Completion

if TYPE_CHECKING:  # grading existing outputs needs Sampling, and must not load torch
    from burnish.model.policy import Policy


@dataclass(frozen=True, slots=True)
class Sampling:
    """How replies are drawn. temperature 0 is greedy; the defaults of all others switch them off.

    What is done to the logits, in this order (that of transformers):

    logit_bias:         (token id, number between -100 and 100) pairs; the number is added to the token's logit. -100 all but
                        forbids a token.
    repetition_penalty: logits of tokens that stand in the prompt or in the reply so far are divided by it where positive and
                        multiplied by it where negative (CTRL, arXiv:1909.05858 section 4.1, which counts the reply only;
                        transformers and vLLM count the prompt too, and so does this).
    min_tokens:         no end token and no stop string ends the reply before so many new tokens.
    temperature:        divides the logits.
    top_k, top_p:       keep the k likeliest tokens; of these the likeliest until their probability reaches p.
    min_p:              keeps tokens at least this times as likely as the likeliest (arXiv:2407.01082).

    When a reply ends:

    max_tokens: at most this many new tokens, the end-of-turn token included; a forced beginning does not count.
    stop:       strings that end a reply; the reply's text is cut before the first of them.
    stop_ids:   tokens that end a reply beside the chat template's; they stay in the reply, as the template's do.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int = 256
    stop: tuple[str, ...] = ()
    min_p: float = later(default=0.0)
    repetition_penalty: float = later(default=1.0)
    logit_bias: tuple[tuple[int, float], ...] = later(default=())
    min_tokens: int = later(default=0)
    stop_ids: tuple[int, ...] = later(default=())

    @property
    def bent(self) -> tuple[str, ...]:
        """The settings, as "name=value", that make the distribution another one than softmax(logits / temperature)."""
        return tuple(
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)
            if field.name in _BENDING and getattr(self, field.name) != field.default
        )


_BENDING = ("top_p", "top_k", "min_p", "repetition_penalty", "logit_bias", "min_tokens")
GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, slots=True)
class Request:
    """One reply wanted. The seed belongs to the request: its tokens depend neither on its neighbours nor on the batch.

    Several replies to one prompt are as many requests with seeds of their own; engines compute the prompt once for all.

    forced: what the reply begins with. These tokens are not drawn; their log-probs are the policy's at temperature 1, and
            what follows is drawn as if they had been: a reply forced to begin as it did ends as it did.
            In the completion they stand as tokens that were not sampled.
    """

    prompt_ids: tuple[int, ...]
    sampling: Sampling
    seed: int
    forced: tuple[int, ...] = ()

    @property
    def begun(self) -> tuple[int, ...]:
        """What the first drawn token comes after: the prompt and the forced beginning."""
        return self.prompt_ids + self.forced


OnFinish = Callable[[int, Completion], None]
OnText = Callable[[int, str], None]


class Engine(Protocol):
    """Something that generates. Completions come back in the order of the requests."""

    @property
    def policy_version(self) -> str:
        """Which weights it holds."""

    def generate(
        self, requests: Sequence[Request], on_finish: OnFinish | None = None, on_text: OnText | None = None
    ) -> list[Completion]:
        """One completion per request.

        on_finish(index, completion): called as each ends, in any order.
        on_text(index, piece): called with further text of a reply as soon as it is sure: never half a character, nor what may
                               turn out to be a stop string. The pieces of a reply make up its text, the last comes before
                               its on_finish. An engine that hears of whole replies only gives one piece.
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


@runtime_checkable
class Closes(Protocol):
    """An engine that holds more than memory of this process: other processes, a connection."""

    def close(self) -> None:
        """Give it back; the next call takes it again."""
