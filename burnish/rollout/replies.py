"""All replies of one call of generate: the one place where engines draw tokens, and tell of text and of finished replies.

Shapes: B rows, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from burnish.core.types import Completion, Finish
from burnish.errors import ModelError
from burnish.rollout.engine import Continuations, OnFinish, OnText, Request, Scored
from burnish.rollout.reply import Reply
from burnish.rollout.sampler import sample
from burnish.text.render import Renderer

Score = Callable[[Sequence[Continuations]], Sequence[Scored]]


class Replies:
    """The replies in the order of their requests."""

    def __init__(
        self,
        requests: Sequence[Request],
        renderer: Renderer,
        version: str,
        on_finish: OnFinish | None,
        on_text: OnText | None,
    ) -> None:
        self._replies = [Reply(request, renderer) for request in requests]
        self._version, self._on_finish, self._on_text = version, on_finish, on_text
        self._done: dict[int, Completion] = {}
        self._penalised = any(request.sampling.repetition_penalty != 1.0 for request in requests)
        self._delayed = any(request.sampling.min_tokens for request in requests)

    def begin(self, score: Score) -> None:
        """Start the replies that are forced to begin in some way; `score` tells the log-probs of their beginnings."""
        forced = [reply for reply in self._replies if reply.request.forced]
        wanted = list(dict.fromkeys((reply.request.prompt_ids, reply.request.forced) for reply in forced))
        if not wanted:
            return
        scored = score([Continuations(prompt, (tokens,)) for prompt, tokens in wanted])
        found = dict(zip(wanted, (each.logprobs[0] for each in scored), strict=True))
        for reply in forced:
            reply.begin(found[reply.request.prompt_ids, reply.request.forced])

    def draw(self, indices: Sequence[int], logits_BV: Tensor) -> list[tuple[int, bool]]:
        """The next token of each of these replies, from the logits after what it has, and whether it ends the reply.

        Raises ModelError where a log-prob is not finite.
        """
        replies = [self._replies[i] for i in indices]
        tokens, logprobs = sample(
            logits_BV,
            [reply.request.sampling for reply in replies],
            [reply.request.seed for reply in replies],
            [len(reply.token_ids) for reply in replies],
            seen=[reply.seen for reply in replies] if self._penalised else (),
            barred=[reply.barred for reply in replies] if self._delayed else (),
        )
        return [
            (token, self._push(index, token, logprob))
            for index, token, logprob in zip(indices, tokens, logprobs, strict=True)
        ]

    def take(self, index: int, tokens: Sequence[int], logprobs: Sequence[float]) -> None:
        """Take what another process sampled for a reply. Where it ends and what its text is does not depend on the engine; a
        reply that has come to no end by these rules was given up.

        Raises ModelError as `draw`.
        """
        for token, logprob in zip(tokens, logprobs, strict=True):
            if self._add(index, token, logprob):
                break
        else:
            self._replies[index].finish = Finish.ABORT
        self._tell(index)

    def _push(self, index: int, token: int, logprob: float) -> bool:
        ended = self._add(index, token, logprob)
        if ended or self._on_text:
            self._tell(index)
        return ended

    def _add(self, index: int, token: int, logprob: float) -> bool:
        if not math.isfinite(logprob):
            place = len(self._replies[index].token_ids)
            raise ModelError(
                f"request {index}: token {place} was drawn with the log-prob {logprob}: the model's numbers are not finite.\n"
                "  The weights have diverged or are damaged; go on from an earlier checkpoint."
            )
        return self._replies[index].push(token, logprob)

    def _tell(self, index: int) -> None:
        reply = self._replies[index]
        if self._on_text and (piece := reply.news()):
            self._on_text(index, piece)
        if reply.finish:
            self._done[index] = reply.completion(self._version)
            if self._on_finish:
                self._on_finish(index, self._done[index])

    def completions(self) -> list[Completion]:
        """Every reply, in order. Raises KeyError while one has not ended."""
        return [self._done[index] for index in range(len(self._replies))]
