"""The slow oracle: one sequence at a time, the whole sequence computed again for every token, no cache, no batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch

from burnish.core.types import Completion
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Request
from burnish.rollout.reply import Reply, check_requests
from burnish.rollout.sampler import sample


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
        self,
        requests: Sequence[Request],
        on_finish: Callable[[int, Completion], None] | None = None,
        on_token: Callable[[int, int], None] | None = None,
    ) -> list[Completion]:
        """One completion per request, in order. Raises RecipeError when a request does not fit the context."""
        check_requests(requests, self._policy.context)
        done: list[Completion] = []
        for index, request in enumerate(requests):
            reply = Reply(request, self._policy.renderer)
            while reply.finish is None:
                token, logprob = self._next(request, reply.token_ids)
                reply.push(token, logprob)
                if on_token:
                    on_token(index, token)
            done.append(reply.completion(self._version))
            if on_finish:
                on_finish(index, done[-1])
        return done

    def _next(self, request: Request, sampled: list[int]) -> tuple[int, float]:
        model = self._policy.model
        narrow = torch.autocast(model.device.type, dtype=torch.bfloat16) if self._narrow else nullcontext()
        tokens = torch.tensor([[*request.prompt_ids, *sampled]], device=model.device)
        with narrow:
            logits_1V = model(input_ids=tokens, use_cache=False).logits[:, -1]
        (token,), (logprob,) = sample(logits_1V, [request.sampling], [request.seed], [len(sampled)])
        return token, logprob
