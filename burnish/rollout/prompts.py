"""Keys and values of prompts that a queue asks for: each prompt, and what several prompts begin with, computed once.

What is kept is bounded in bytes. Beyond, the prompt that was computed longest ago is forgotten and computed again when it
is asked for: that costs time and changes no number.

Shapes: Y layers, K key-value heads, E head width, V vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from burnish.rollout.cache import PART
from burnish.rollout.llama_forward import LlamaForward
from burnish.rollout.prefix import Prefix, beginnings, chain
from burnish.rollout.span_attention import Span

# Prompts waiting in the queue are computed together up to this many tokens, which fills the matrix products.
PREFILL_TOKENS = 512
# Sequences times positions that a shared trunk must save a decode step to be worth products of its own.
TRUNK_POSITIONS = 2048

Prompt = tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Computed:
    """A prompt ready to go on from.

    trunk:    keys and values of its beginning that its sequences are to share while they are decoded: pieces
              [Y, 2, K, T, E] in order.
    pieces:   those of the rest, which each sequence copies, in order.
    logits_V: after its last token.
    """

    trunk: tuple[Tensor, ...]
    pieces: tuple[Tensor, ...]
    logits_V: Tensor

    @property
    def bytes(self) -> int:
        """What it alone holds: its last piece."""
        return (self.trunk + self.pieces)[-1].nbytes + self.logits_V.nbytes


class Trunks:
    """Keys and values of shared beginnings, while prompts still need them and memory lasts."""

    def __init__(self, forward: LlamaForward, room: int, needed: Iterable[Prefix | None]) -> None:
        """room: bytes. needed: the beginning of every prompt to come."""
        self._forward, self._room = forward, room
        self._ready: dict[Prefix, tuple[Tensor, ...]] = {}
        self._bytes = 0
        self.users = Counter(prefix for longest in needed for prefix in chain(longest))
        self._left = self.users.copy()

    def pieces(self, prefix: Prefix | None) -> tuple[Tensor, ...]:
        """Keys and values of a beginning: whole parts of PART positions in one tensor, then the rest; () for None."""
        if prefix is None:
            return ()
        found = self._ready.pop(prefix, None)
        if found is None:
            found = self._compute(prefix)
            self._bytes += sum(piece.nbytes for piece in found)
        # The one used last is forgotten last.
        self._ready[prefix] = found
        while self._bytes > self._room and len(self._ready) > 1:
            self._forget(next(iter(self._ready)))
        return found

    def done(self, longest: Prefix | None) -> None:
        """One prompt with this beginning needs it no more; the memory goes with the last."""
        for prefix in chain(longest):
            self._left[prefix] -= 1
            if not self._left[prefix]:
                self._forget(prefix)

    def _forget(self, prefix: Prefix) -> None:
        for piece in self._ready.pop(prefix, ()):
            self._bytes -= piece.nbytes

    def _compute(self, prefix: Prefix) -> tuple[Tensor, ...]:
        past = self.pieces(prefix.parent)
        done = 0 if prefix.parent is None else prefix.parent.length
        span = Span(prefix.tokens[done:], past)
        (kv,), _ = self._forward.run([span], [len(span.tokens) - 1])
        joined = join((*past, kv))
        whole = prefix.length // PART * PART
        parts = (joined[..., :whole, :], joined[..., whole:, :])
        return tuple(part.contiguous() for part in parts if part.shape[3])


def join(pieces: Sequence[Tensor]) -> Tensor:
    """One tensor [Y, 2, K, all positions, E]."""
    return pieces[0] if len(pieces) == 1 else torch.cat(list(pieces), 3)


class Prompts:
    """The prompts of one queue. Each is taken as often as the queue names it."""

    def __init__(self, forward: LlamaForward, queue: Iterable[Prompt], slots: int, room: int) -> None:
        """room: bytes for what is kept between prompts."""
        self._forward, self._slots, self._room = forward, slots, room // 2
        self._wanted = Counter(queue)
        distinct = list(self._wanted)
        self._prefix = dict(zip(distinct, beginnings(distinct).prefix, strict=True))
        needed = (self._prefix[prompt] for prompt, count in self._wanted.items() for _ in range(count))
        self._trunks = Trunks(forward, room // 2, needed)
        self._ready: dict[Prompt, Computed] = {}
        self._bytes = 0

    @property
    def held(self) -> int:
        """Bytes of prompts that wait to be taken, without shared beginnings."""
        return self._bytes

    def take(self, prompt: Prompt, ahead: Iterable[Prompt]) -> Computed:
        """A prompt's keys, values and logits; what `ahead` names next is computed along with it."""
        if prompt not in self._ready:
            self._compute(prompt, ahead)
        found = self._ready[prompt]
        self._wanted[prompt] -= 1
        if not self._wanted[prompt]:
            self._drop(prompt)
        self._trunks.done(self._prefix[prompt])
        return found

    def _compute(self, prompt: Prompt, ahead: Iterable[Prompt]) -> None:
        batch, tokens = {prompt: self._span(prompt)}, len(prompt) - _length(self._prefix[prompt])
        for more in ahead:
            if more in batch or more in self._ready:
                continue
            tokens += len(more) - _length(self._prefix[more])
            if tokens > PREFILL_TOKENS:
                break
            batch[more] = self._span(more)
        kvs, logits_PV = self._forward.prefill(list(batch.values()))
        for i, (key, kv) in enumerate(zip(batch, kvs, strict=True)):
            self._ready[key] = self._computed(key, (*batch[key].past, kv), logits_PV[i])
            self._bytes += self._ready[key].bytes
        for key in list(self._ready):
            if self._bytes <= self._room:
                break
            if key not in batch:
                self._drop(key)

    def _span(self, prompt: Prompt) -> Span:
        prefix = self._prefix[prompt]
        return Span(prompt[_length(prefix) :], self._trunks.pieces(prefix))

    def _computed(self, prompt: Prompt, pieces: tuple[Tensor, ...], logits_V: Tensor) -> Computed:
        """Compiled loops read pieces of any length where they lie. Torch's operations take one trunk of whole parts: the
        longest that enough sequences will read at the same time.
        """
        if self._forward.compiled:
            return Computed(pieces, (), logits_V)
        for prefix in chain(self._prefix[prompt]):
            whole = prefix.length // PART * PART
            if whole and min(self._trunks.users[prefix], self._slots) * whole >= TRUNK_POSITIONS:
                trunk = self._trunks.pieces(prefix)[0]
                return Computed((trunk,), tuple(_after(pieces, whole)), logits_V)
        return Computed((), pieces, logits_V)

    def _drop(self, prompt: Prompt) -> None:
        self._bytes -= self._ready.pop(prompt).bytes


def _length(prefix: Prefix | None) -> int:
    return 0 if prefix is None else prefix.length


def _after(pieces: Sequence[Tensor], positions: int) -> Iterable[Tensor]:
    """What is left of pieces behind their first positions."""
    for piece in pieces:
        length = piece.shape[3]
        if positions < length:
            yield piece[..., positions:, :]
        positions = max(0, positions - length)
