"""The engine of a laptop and of one small GPU: batched decoding over a key-value cache with slot refill.

Up to `machine.slots` sequences run at once. A decode step is one token of each, without padding; when a sequence ends,
the next request takes its slot before the next step. Prompts are packed and computed once however many requests share
them, and so is what many prompts begin with. Slots stay free where the keys and values of long sequences would not fit
into memory. Models outside the Llama family go through transformers' own forward pass (`generic_forward`), slower.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

import torch

from burnish.core.types import Completion
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.cache import Cache, Running, width_for
from burnish.rollout.engine import Continuations, OnFinish, OnText, Request, Scored
from burnish.rollout.families import NAMES, supports
from burnish.rollout.generic_forward import Draw, generate_generic, score_generic
from burnish.rollout.llama_forward import LlamaForward
from burnish.rollout.memory import free_bytes
from burnish.rollout.prompts import Prompts
from burnish.rollout.replies import Replies
from burnish.rollout.reply import check_continuations, check_requests
from burnish.rollout.scoring import score_llama

# How the room is divided: running sequences, whose shelves may be half empty, and computed prompts.
CACHE_SHARE, PROMPTS_SHARE = 0.6, 0.4

OnScored = Callable[[int, Scored], None]


class TorchEngine:
    """Generates and scores with its own copy of a policy's weights, in the machine's compute type.

    A reply and a score depend on their request and the weights, not on the other requests: sequences meet only in matrix
    products, whose rows do not mix.
    """

    def __init__(
        self,
        policy: Policy,
        machine: Machine,
        *,
        version: str = "0",
        console: Console | None = None,
        room: int | None = None,
    ) -> None:
        """room: bytes for keys and values (default: half of the memory that is free when a call begins)."""
        self._slots, self._room = machine.slots, room
        self._compute = torch.bfloat16 if machine.compute == "bf16" and policy.dtype != torch.float64 else policy.dtype
        self._forward = LlamaForward(policy.model, self._compute) if supports(policy.model) else None
        self._policy, self._version = policy, version
        if self._forward is None:
            (console or Console()).line(
                f"  {type(policy.model).__name__} generates and scores with transformers' own forward pass, several "
                f"times slower than {NAMES}."
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
        self, requests: Sequence[Request], on_finish: OnFinish | None = None, on_text: OnText | None = None
    ) -> list[Completion]:
        """One completion per request, in order. `on_finish(index, completion)` is called as each ends, in any order;
        `on_text(index, piece)` with text as it becomes sure.

        Raises RecipeError when a prompt and its max_tokens do not fit the context.
        """
        policy = self._policy
        check_requests(requests, policy.context, policy.vocabulary, policy.renderer.stop_ids)
        replies = Replies(requests, policy.renderer, self._version, on_finish, on_text)
        replies.begin(self.score)
        if self._forward is None:
            generate_generic(policy.model, self._compute, requests, self._slots, replies.draw)
        else:
            _Run(self._forward, requests, self._slots, self._free(), replies.draw).finish()
        return replies.completions()

    @torch.inference_mode()
    def score(self, requests: Sequence[Continuations], on_scored: OnScored | None = None) -> list[Scored]:
        """One Scored per request, in order; `on_scored(index, scored)` is called as each is done, in any order.

        A prompt, and what several prompts begin with, is computed once. In bf16 the logit of a wanted token is taken from
        the stored weights in float32; only the sum over the vocabulary carries the rounding of bf16 logits.
        Raises RecipeError when a prompt and a continuation do not fit the context.
        """
        check_continuations(requests, self._policy.context)
        done: dict[int, Scored] = {}

        def finish(index: int, scored: Scored) -> None:
            done[index] = scored
            if on_scored:
                on_scored(index, scored)

        if self._forward is None:
            score_generic(self._policy.model, self._compute, requests, finish)
        else:
            score_llama(self._forward, requests, int(self._free() * PROMPTS_SHARE), finish)
        return [done[index] for index in range(len(requests))]

    def _free(self) -> int:
        """Bytes that keys and values may take."""
        return free_bytes(self._policy.device) // 2 if self._room is None else self._room


class _Run:
    """One call of generate: a queue, a cache, and the loop between them."""

    def __init__(
        self,
        forward: LlamaForward,
        requests: Sequence[Request],
        slots: int,
        room: int,
        draw: Draw,
    ) -> None:
        self._forward, self._requests, self._slots, self._draw = forward, requests, slots, draw
        self._queue = deque(range(len(requests)))
        self._cache = Cache(forward.shape, slots, apart=not forward.compiled)
        prompts = (request.begun for request in requests)
        self._prompts = Prompts(forward, prompts, slots, int(room * PROMPTS_SHARE))
        # Positions that running sequences may take in the end; a shelf may be half empty.
        self._room = int(room * CACHE_SHARE) // (2 * forward.shape.position_bytes)
        self._reserved: dict[int, int] = {}

    def finish(self) -> None:
        """Run until every request has ended."""
        while self._queue or self._cache.size:
            self._admit()
            if self._cache.size:
                self._step()

    def _admit(self) -> None:
        """Fill free slots from the queue; a reply of one token never takes a slot."""
        while self._queue and self._cache.size < self._slots and self._fits(self._queue[0]):
            index = self._queue.popleft()
            request = self._requests[index]
            ahead = (self._requests[i].begun for i in islice(self._queue, self._slots))
            found = self._prompts.take(request.begun, ahead)
            token, ended = self._draw([index], found.logits_V[None])[0]
            if not ended:
                self._reserved[index] = _positions(request)
                self._cache.add(Running(index, len(request.begun), token, found.trunk), found.pieces)

    def _fits(self, index: int) -> bool:
        """Whether one more sequence has room however long it gets; one always runs."""
        needed = sum(self._reserved.values()) + _positions(self._requests[index])
        return not self._reserved or needed <= self._room

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
                del self._reserved[running.index]
            else:
                self._cache.grow(running)


def _positions(request: Request) -> int:
    """The most positions a sequence takes in the cache."""
    return width_for(len(request.begun) + request.sampling.max_tokens)
