"""The engine of a laptop and of one small GPU: batched decoding over a key-value cache with slot refill.

Up to `machine.slots` sequences run at once. A decode step is one token of each, without padding; when a sequence ends,
the next request takes its slot before the next step. Prompts are packed and computed once however many requests share
them. Models outside the Llama family go through transformers' own cached forward pass (`generic_forward`), slower.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from itertools import islice

import torch
from torch import Tensor

from burnish.core.types import Completion
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.cache import Cache, Running
from burnish.rollout.engine import Request
from burnish.rollout.generic_forward import generate_generic
from burnish.rollout.llama_forward import LlamaForward, supports
from burnish.rollout.reply import Reply, check_requests
from burnish.rollout.sampler import sample

# Prompts waiting in the queue are computed together up to this many tokens, which fills the matrix products.
PREFILL_TOKENS = 512

OnFinish = Callable[[int, Completion], None]
OnToken = Callable[[int, int], None]


class TorchEngine:
    """Generates with its own copy of a policy's weights, in the machine's compute type.

    A reply depends on its request and the weights, not on the other requests: sequences meet only in matrix products,
    whose rows do not mix.
    """

    def __init__(self, policy: Policy, machine: Machine, *, version: str = "0", console: Console | None = None) -> None:
        self._slots = machine.slots
        self._compute = torch.bfloat16 if machine.compute == "bf16" and policy.dtype != torch.float64 else policy.dtype
        self._forward = LlamaForward(policy.model, self._compute) if supports(policy.model) else None
        self._policy, self._version = policy, version
        if self._forward is None:
            (console or Console()).line(
                f"  {type(policy.model).__name__} is generated with transformers' own forward pass, several times slower "
                "than Llama, Mistral, Qwen2 and Qwen3."
            )

    @property
    def policy_version(self) -> str:
        """Which weights it holds."""
        return self._version

    def load_weights(self, policy: Policy, version: str) -> None:
        """Take the policy's current weights, in memory."""
        if self._forward is not None:
            self._forward.load(policy.model)
        self._policy, self._version = policy, version

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[Request], on_finish: OnFinish | None = None, on_token: OnToken | None = None
    ) -> list[Completion]:
        """One completion per request, in order. `on_finish(index, completion)` is called as each ends, in any order;
        `on_token(index, token_id)` after every token.

        Raises RecipeError when a prompt and its max_tokens do not fit the context.
        """
        check_requests(requests, self._policy.context)
        replies = [Reply(request, self._policy.renderer) for request in requests]
        done: dict[int, Completion] = {}

        def push(index: int, token: int, logprob: float) -> bool:
            ended = replies[index].push(token, logprob)
            if on_token:
                on_token(index, token)
            if ended:
                done[index] = replies[index].completion(self._version)
                if on_finish:
                    on_finish(index, done[index])
            return ended

        if self._forward is None:
            generate_generic(self._policy.model, self._compute, requests, self._slots, push)
        else:
            _Run(self._forward, requests, self._slots, push).finish()
        return [done[index] for index in range(len(requests))]


class _Prompts:
    """Keys, values and first logits of prompts that requests still wait for; each is computed once."""

    def __init__(self, forward: LlamaForward, requests: Sequence[Request]) -> None:
        self._forward = forward
        self._wanted = Counter(request.prompt_ids for request in requests)
        self._ready: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def take(self, prompt: tuple[int, ...], queue: Sequence[Request]) -> tuple[Tensor, Tensor]:
        """(keys and values, logits [V]) of a prompt; what `queue` asks for next is computed along with it."""
        if prompt not in self._ready:
            self._compute(prompt, queue)
        found = self._ready[prompt]
        self._wanted[prompt] -= 1
        if not self._wanted[prompt]:
            del self._ready[prompt]
        return found

    def _compute(self, prompt: tuple[int, ...], queue: Sequence[Request]) -> None:
        batch, tokens = {prompt: None}, len(prompt)
        for request in queue:
            more = request.prompt_ids
            if more in batch or more in self._ready:
                continue
            if tokens + len(more) > PREFILL_TOKENS:
                break
            batch[more] = None
            tokens += len(more)
        kvs, logits_PV = self._forward.prefill(list(batch))
        self._ready.update({key: (kv, logits_PV[i]) for i, (key, kv) in enumerate(zip(batch, kvs, strict=True))})


class _Run:
    """One call of generate: a queue, a cache, and the loop between them."""

    def __init__(
        self,
        forward: LlamaForward,
        requests: Sequence[Request],
        slots: int,
        push: Callable[[int, int, float], bool],
    ) -> None:
        self._forward, self._requests, self._slots, self._push = forward, requests, slots, push
        self._queue = deque(range(len(requests)))
        self._cache = Cache(forward.shape, slots)
        self._prompts = _Prompts(forward, requests)
        self._steps = [0] * len(requests)

    def finish(self) -> None:
        """Run until every request has ended."""
        while self._queue or self._cache.size:
            self._admit()
            if self._cache.size:
                self._step()

    def _admit(self) -> None:
        """Fill free slots from the queue; a reply of one token never takes a slot."""
        while self._queue and self._cache.size < self._slots:
            index = self._queue.popleft()
            request = self._requests[index]
            ahead = [self._requests[i] for i in islice(self._queue, self._slots)]
            kv, logits_V = self._prompts.take(request.prompt_ids, ahead)
            token, ended = self._draw([index], logits_V[None])[0]
            if not ended:
                self._cache.add(Running(index, len(request.prompt_ids), token), kv)

    def _step(self) -> None:
        """One token for every running sequence."""
        logits_NV = self._forward.decode(self._cache)
        order = self._cache.order
        drawn = self._draw([running.index for running in order], logits_NV)
        # All lengths first: rows move below, and a row moves with as much as its length says.
        for running, (token, _) in zip(order, drawn, strict=True):
            running.length += 1
            running.last = token
        for running, (_, ended) in zip(order, drawn, strict=True):
            if ended:
                self._cache.remove(running)
            else:
                self._cache.grow(running)

    def _draw(self, indices: list[int], logits_NV: Tensor) -> list[tuple[int, bool]]:
        """(token, whether the reply ended with it) for each row."""
        asked = [self._requests[i] for i in indices]
        steps = [self._steps[i] for i in indices]
        tokens, logprobs = sample(logits_NV, [r.sampling for r in asked], [r.seed for r in asked], steps)
        drawn: list[tuple[int, bool]] = []
        for index, token, logprob in zip(indices, tokens, logprobs, strict=True):
            self._steps[index] += 1
            drawn.append((token, self._push(index, token, logprob)))
        return drawn
