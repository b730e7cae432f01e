"""A reply while it grows: when it ends, why, and what its text is. Also what a request must satisfy to be taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from burnish.core.types import Completion, Finish
from burnish.errors import RecipeError
from burnish.rollout.engine import Continuations, Request, Sampling
from burnish.text.render import Renderer


def check_requests(requests: Sequence[Request], context: int) -> None:
    """Raise RecipeError for a request that cannot be served: it names the request and the numbers."""
    for i, request in enumerate(requests):
        sampling, length = request.sampling, len(request.prompt_ids)
        check_sampling(sampling)
        if not length:
            raise RecipeError(f"request {i}: the prompt has no tokens, so there is nothing to go on from.")
        if length + sampling.max_tokens > context:
            raise RecipeError(
                f"request {i}: a prompt of {length:,} tokens and max_tokens={sampling.max_tokens:,} need "
                f"{length + sampling.max_tokens:,} positions, but the model's context is {context:,}.\n"
                f"  Set max_tokens to at most {max(context - length, 0):,}, or drop prompts longer than "
                f"{max(context - sampling.max_tokens, 0):,} tokens."
            )


def check_continuations(requests: Sequence[Continuations], context: int) -> None:
    """Raise RecipeError for continuations that cannot be scored: it names the request and the numbers."""
    for i, request in enumerate(requests):
        length = len(request.prompt_ids)
        longest = max(map(len, request.continuations), default=0)
        if not length:
            raise RecipeError(f"request {i}: the prompt has no tokens, so nothing says how likely the first token is.")
        if not all(request.continuations):
            where = [len(c) for c in request.continuations].index(0)
            raise RecipeError(f"request {i}: continuation {where} has no tokens, so it has no log-probability.")
        if length + longest > context:
            raise RecipeError(
                f"request {i}: a prompt of {length:,} tokens and a continuation of {longest:,} need "
                f"{length + longest:,} positions, but the model's context is {context:,}.\n"
                f"  Drop prompts longer than {max(context - longest, 0):,} tokens, or give fewer examples in them."
            )


def check_sampling(sampling: Sampling) -> None:
    """Raise RecipeError for sampling settings without meaning."""
    wrong = ""
    if sampling.temperature != 0.0 and not 1e-4 <= sampling.temperature < float("inf"):
        wrong = f"temperature={sampling.temperature}: it divides the logits. Use 0 for greedy, or at least 0.0001."
    elif not 0.0 < sampling.top_p <= 1.0:
        wrong = f"top_p={sampling.top_p}: it is a share of probability. Use a number above 0, or 1 for no cut."
    elif sampling.top_k < 0:
        wrong = f"top_k={sampling.top_k}: it counts tokens. Use 0 for no cut."
    elif sampling.max_tokens < 1:
        wrong = f"max_tokens={sampling.max_tokens}: a reply has at least one token. Use 1 or more."
    elif any(not text for text in sampling.stop):
        wrong = "stop contains an empty string, which every reply starts with. Remove it."
    if wrong:
        raise RecipeError(f"sampling.{wrong}")


@dataclass(slots=True, eq=False)
class Reply:
    """One reply in the making."""

    request: Request
    renderer: Renderer
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Finish | None = None
    _text: str | None = None

    def push(self, token: int, logprob: float) -> bool:
        """Add a token; True when the reply ends with it."""
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        if token in self.renderer.stop_ids or (self.request.sampling.stop and self._stopped()):
            self.finish = Finish.STOP
        elif len(self.token_ids) >= self.request.sampling.max_tokens:
            self.finish = Finish.LENGTH
        return self.finish is not None

    def completion(self, version: str) -> Completion:
        """The finished reply. Raises ValueError while it still grows."""
        if self.finish is None:
            raise ValueError("the reply has not ended")
        text = self.renderer.decode(self.token_ids) if self._text is None else self._text
        return Completion(tuple(self.token_ids), tuple(self.logprobs), self.finish, text, version)

    def _stopped(self) -> bool:
        stops = self.request.sampling.stop
        # A token holds at least one byte and a character at most four: the end of the reply is enough to look at.
        tail = 4 * max(map(len, stops)) + 8
        if len(self.token_ids) > tail:
            end = self.renderer.decode(self.token_ids[-tail:])
            if not any(stop in end for stop in stops):
                return False
        text = self.renderer.decode(self.token_ids)
        found = [place for place in (text.find(stop) for stop in stops) if place >= 0]
        if not found:
            return False
        self._text = text[: min(found)]
        return True
