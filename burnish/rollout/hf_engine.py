"""The slow oracle: one sequence at a time, the whole sequence computed again for every token, no cache, no batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from burnish.core.types import Completion
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Continuations, OnFinish, OnText, Request, Scored
from burnish.rollout.replies import Replies
from burnish.rollout.reply import check_continuations, check_requests


class HFEngine:
    """What every other engine must agree with. It draws with the same sampler, so seeds give the same tokens."""

    def __init__(self, policy: Policy, machine: Machine, *, version: str = "0") -> None:
        self._policy, self._version = policy, version
        self._narrow = machine.compute == "bf16" and policy.dtype == torch.float32

    @property
    def policy_version(self) -> str:
        """Which weights it holds."""
        return self._version

    def load_weights(self, policy: Policy, version: str) -> None:
        """Use the policy's module itself: nothing is copied."""
        self._policy, self._version = policy, version

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[Request], on_finish: OnFinish | None = None, on_text: OnText | None = None
    ) -> list[Completion]:
        """One completion per request, in order. Raises RecipeError when a request does not fit the context."""
        policy = self._policy
        check_requests(requests, policy.context, policy.vocabulary, policy.renderer.stop_ids)
        replies = Replies(requests, policy.renderer, self._version, on_finish, on_text)
        replies.begin(self.score)
        for index, request in enumerate(requests):
            tokens, ended = list(request.begun), False
            while not ended:
                ((token, ended),) = replies.draw([index], self._logits(tokens))
                tokens.append(token)
        return replies.completions()

    @torch.inference_mode()
    def score(
        self, requests: Sequence[Continuations], on_scored: Callable[[int, Scored], None] | None = None
    ) -> list[Scored]:
        """One Scored per request, in order: each continuation by one forward pass over the prompt and all of it.

        Raises RecipeError when a prompt and a continuation do not fit the context.
        """
        check_continuations(requests, self._policy.context)
        done: list[Scored] = []
        for index, request in enumerate(requests):
            found = [self._logprobs(request.prompt_ids, tokens) for tokens in request.continuations]
            done.append(Scored(tuple(logprobs for logprobs, _ in found), tuple(greedy for _, greedy in found)))
            if on_scored:
                on_scored(index, done[-1])
        return done

    def _logprobs(self, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> tuple[tuple[float, ...], bool]:
        row = torch.tensor([[*prompt, *tokens]], device=self._policy.device)
        with self._autocast():
            logits_TV = self._policy.model(input_ids=row, use_cache=False).logits[0, len(prompt) - 1 : -1]
        wide = torch.float64 if logits_TV.dtype == torch.float64 else torch.float32
        logp_TV = logits_TV.to(wide).log_softmax(-1)
        own_T = logp_TV.gather(1, row[0, len(prompt) :, None])[:, 0]
        return tuple(own_T.tolist()), bool((own_T >= logp_TV.amax(1)).all())

    def _autocast(self) -> Any:
        return torch.autocast(self._policy.device.type, dtype=torch.bfloat16) if self._narrow else nullcontext()

    def _logits(self, tokens: list[int]) -> Tensor:
        """[1, V] after the last of the tokens."""
        row = torch.tensor([tokens], device=self._policy.device)
        with self._autocast():
            logits_1V: Tensor = self._policy.model(input_ids=row, use_cache=False).logits[:, -1]
        return logits_1V
