"""A reply while it grows: when it ends, why, and what its text is. Also what a request must satisfy to be taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from burnish.core.types import Completion, Finish
from burnish.errors import RecipeError
from burnish.rollout.engine import Continuations, Request, Sampling
from burnish.text.render import Renderer

# What OpenAI's protocol and vLLM take as a bias of a logit.
BIAS = 100.0


def check_requests(requests: Sequence[Request], context: int, vocabulary: int, ends: frozenset[int]) -> None:
    """Raise RecipeError for a request that cannot be served: it names the request and the numbers.

    vocabulary: how many tokens the model has logits for. ends: the tokens that end a turn.
    """
    for i, request in enumerate(requests):
        sampling, length, forced = request.sampling, len(request.prompt_ids), len(request.forced)
        check_sampling(sampling)
        if not length:
            raise RecipeError(f"request {i}: the prompt has no tokens, so there is nothing to go on from.")
        if length + forced + sampling.max_tokens > context:
            begun = f", a forced beginning of {forced:,}" if forced else ""
            raise RecipeError(
                f"request {i}: a prompt of {length:,} tokens{begun} and max_tokens={sampling.max_tokens:,} need "
                f"{length + forced + sampling.max_tokens:,} positions, but the model's context is {context:,}.\n"
                f"  Set max_tokens to at most {max(context - length - forced, 0):,}, or drop prompts longer than "
                f"{max(context - forced - sampling.max_tokens, 0):,} tokens."
            )
        _check_ids(i, request, vocabulary, ends)


def _check_ids(i: int, request: Request, vocabulary: int, ends: frozenset[int]) -> None:
    sampling = request.sampling
    named = {
        "forced": request.forced, "stop_ids": sampling.stop_ids, "logit_bias": [t for t, _ in sampling.logit_bias]
    }  # fmt: skip
    for name, tokens in named.items():
        wrong = next((token for token in tokens if not 0 <= token < vocabulary), None)
        if wrong is not None:
            raise RecipeError(
                f"request {i}: {name} holds the token id {wrong}, but the model's tokens are 0 to {vocabulary - 1:,}."
            )
    if any(token in ends or token in sampling.stop_ids for token in request.forced):
        raise RecipeError(
            f"request {i}: the forced beginning holds a token that ends a reply, so nothing could follow it.\n"
            "  Leave that token out of forced."
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
    problems = (
        (
            sampling.temperature != 0.0 and not 1e-4 <= sampling.temperature < float("inf"),
            f"temperature={sampling.temperature}: it divides the logits. Use 0 for greedy, or at least 0.0001.",
        ),
        (
            not 0.0 < sampling.top_p <= 1.0,
            f"top_p={sampling.top_p}: it is a share of probability. Use 0.8 to 0.99, or 1 for no cut.",
        ),
        (sampling.top_k < 0, f"top_k={sampling.top_k}: it counts tokens. Use 0 for no cut."),
        (
            not 0.0 <= sampling.min_p <= 1.0,
            f"min_p={sampling.min_p}: it is a share of the likeliest token's probability. Use 0.02 to 0.2, or 0 for no cut.",
        ),
        (
            not 0.0 < sampling.repetition_penalty < float("inf"),
            f"repetition_penalty={sampling.repetition_penalty}: it divides logits. Use 1 for none, 1.05 to 1.3 against "
            "repetition.",
        ),
        (
            not all(-BIAS <= bias <= BIAS for _, bias in sampling.logit_bias),
            f"logit_bias={sampling.logit_bias}: what is added to a logit is between -{BIAS:g}, which all but forbids the token, "
            f"and {BIAS:g}.",
        ),
        (
            len(dict(sampling.logit_bias)) < len(sampling.logit_bias),
            f"logit_bias={sampling.logit_bias}: a token is named twice. Give each once.",
        ),
        (
            sampling.max_tokens < 1,
            f"max_tokens={sampling.max_tokens}: a reply has at least one token. Use 1 or more.",
        ),
        (
            not 0 <= sampling.min_tokens <= sampling.max_tokens,
            f"min_tokens={sampling.min_tokens}: no more can be asked for than max_tokens={sampling.max_tokens} allows, and no "
            "less than 0.",
        ),
        (
            any(not text for text in sampling.stop),
            "stop contains an empty string, which every reply starts with. Remove it.",
        ),
    )
    for wrong, said in problems:
        if wrong:
            raise RecipeError(f"sampling.{said}")


@dataclass(slots=True, eq=False)
class Reply:
    """One reply in the making."""

    request: Request
    renderer: Renderer
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Finish | None = None
    _text: str | None = None
    _seen: set[int] | None = None
    _begun: int = 0
    _told: int = 0

    def begin(self, logprobs: Sequence[float]) -> None:
        """Start with the request's forced tokens, whose log-probs these are."""
        self.token_ids += self.request.forced
        self.logprobs += logprobs
        if self.request.forced and self.request.sampling.stop:
            self._begun = len(self.renderer.decode(self.token_ids))

    def push(self, token: int, logprob: float) -> bool:
        """Add a drawn token; True when the reply ends with it."""
        self.token_ids.append(token)
        self.logprobs.append(logprob)
        if self._seen is not None:
            self._seen.add(token)
        sampling = self.request.sampling
        if sampling.stop and self._drawn == sampling.min_tokens - 1:
            self._begun = len(self.renderer.decode(self.token_ids))
        if (
            token in self.renderer.stop_ids
            or token in sampling.stop_ids
            or (sampling.stop and self._drawn >= sampling.min_tokens and self._stopped())
        ):
            self.finish = Finish.STOP
        elif self._drawn >= sampling.max_tokens:
            self.finish = Finish.LENGTH
        return self.finish is not None

    @property
    def seen(self) -> Collection[int]:
        """The tokens that a repetition penalty bears on: those of the prompt and of the reply so far."""
        if self._seen is None:
            self._seen = {*self.request.prompt_ids, *self.token_ids}
        return self._seen

    @property
    def barred(self) -> Collection[int]:
        """The tokens that must not be drawn next: those that would end the reply before min_tokens."""
        sampling = self.request.sampling
        return () if self._drawn >= sampling.min_tokens else self.renderer.stop_ids.union(sampling.stop_ids)

    @property
    def _drawn(self) -> int:
        return len(self.token_ids) - len(self.request.forced)

    def completion(self, version: str) -> Completion:
        """The finished reply. Raises ValueError while it still grows."""
        if self.finish is None:
            raise ValueError("the reply has not ended")
        forced = len(self.request.forced)
        sampled = (False,) * forced + (True,) * self._drawn if forced else ()
        return Completion(
            tuple(self.token_ids), tuple(self.logprobs), self.finish, self._final(), version, sampled=sampled
        )

    def news(self) -> str:
        """The text that has become sure since the last call: whole characters that no stop string can still swallow."""
        text = self._final() if self.finish else self.renderer.decode(self.token_ids).rstrip("\ufffd")
        end = len(text) if self.finish else len(text) - _held(text[self._told :], self.request.sampling.stop)
        piece = text[self._told : end]
        self._told = max(self._told, end)
        return piece

    def _final(self) -> str:
        return self.renderer.decode(self.token_ids) if self._text is None else self._text

    def _stopped(self) -> bool:
        stops = self.request.sampling.stop
        # A token holds at least one byte and a character at most four: the end of the reply is enough to look at.
        tail = 4 * max(map(len, stops)) + 8
        if len(self.token_ids) > tail:
            end = self.renderer.decode(self.token_ids[-tail:])
            if not any(stop in end for stop in stops):
                return False
        text = self.renderer.decode(self.token_ids)
        # A stop string that stood there before stop strings counted ends nothing.
        found = [text.find(stop, max(self._begun - len(stop) + 1, 0)) for stop in stops]
        if all(place < 0 for place in found):
            return False
        self._text = text[: min(place for place in found if place >= 0)]
        return True


def _held(text: str, stops: Sequence[str]) -> int:
    """How many characters at the end of a text may be the beginning of a stop string."""
    longest = max(map(len, stops), default=1) - 1
    return next(
        (n for n in range(min(longest, len(text)), 0, -1) if any(stop.startswith(text[-n:]) for stop in stops)), 0
    )
