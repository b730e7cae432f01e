"""Causal attention of packed runs of tokens, each behind keys and values computed before: a prompt's shared beginning,
or the prompt of a continuation.

Runs behind the same past and of like length are padded on the right and attend together. What a token sees decides its
numbers, not how it was cut into past and run: rows of matrix products do not mix, and padding adds exact zeros at the
end of every sum (measured for float32 and bfloat16 on x86).

Shapes: N packed tokens, Y layers, H query heads, K key heads, G = H/K, E head width, T past positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from burnish.rollout.families import Look

# Queries of one block read no key after the block's last.
BLOCK = 128
# Keys are padded to a multiple of this.
KEYS = 16
# float32 products sum up to 192 terms at once, fewer than 384 in two halves, and more in parts of 192: with none of the
# second kind a sum is cut at the same places however much padding follows.
HALVES = range(193, 384)
# float32 products of fewer rows take another kernel, with other last bits.
LEAST_ROWS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Span:
    """Tokens to compute, and the keys and values [Y, 2, K, length, E] of what stands before them, in pieces in order."""

    tokens: Sequence[int]
    past: tuple[Tensor, ...] = ()

    @property
    def start(self) -> int:
        """The position of its first token."""
        return sum(piece.shape[3] for piece in self.past)


def least_rows(rows: int, dtype: torch.dtype) -> int:
    """How many rows a product of `rows` is given, so that its kernel does not depend on their number."""
    return rows if dtype == torch.bfloat16 else max(rows, LEAST_ROWS)


def enough_rows(x: Tensor) -> Tensor:
    """X [..., rows, E], with rows of zeros added up to `least_rows`."""
    short = least_rows(x.shape[-2], x.dtype) - x.shape[-2]
    return functional.pad(x, (0, 0, 0, short)) if short else x


def key_width(count: int, dtype: torch.dtype) -> int:
    """How many keys a product over `count` of them is given."""
    padded = -(-count // KEYS) * KEYS
    return HALVES.stop if dtype != torch.bfloat16 and padded in HALVES else padded


class Spans:
    """The layout of one pack: `attend` serves every layer."""

    def __init__(self, spans: Sequence[Span], heads: tuple[int, int], look: Look, like: Tensor) -> None:
        """heads: (H, K). like: a tensor of the compute type on the device."""
        starts = [0]
        for span in spans:
            starts.append(starts[-1] + len(span.tokens))
        self._groups = [
            _Group([spans[i] for i in part], [starts[i] for i in part], heads, look, like) for part in _grouped(spans)
        ]
        slots = torch.cat([group.real for group in self._groups])
        self._back = torch.empty_like(slots)
        self._back[slots] = torch.arange(len(slots), device=like.device)

    def attend(self, layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
        """[N, H*E] from rotated queries and keys, and values."""
        return torch.cat([group.attend(layer, q_NHE, k_NKE, v_NKE) for group in self._groups])[self._back]


def _grouped(spans: Sequence[Span]) -> list[list[int]]:
    """Indices of spans behind the same past whose lengths are alike: less than a fifth of a row is padding."""
    by_past: dict[tuple[int, ...], list[int]] = {}
    for i, span in enumerate(spans):
        by_past.setdefault(tuple(map(id, span.past)), []).append(i)
    groups: list[list[int]] = []
    for members in by_past.values():
        members.sort(key=lambda i: -len(spans[i].tokens))
        longest = 0
        for i in members:
            if longest == 0 or len(spans[i].tokens) * 5 < longest * 4:
                groups.append([])
                longest = len(spans[i].tokens)
            groups[-1].append(i)
    return groups


class _Group:
    """Runs of like length behind one past; g of them, the longest of n tokens."""

    def __init__(
        self, spans: Sequence[Span], starts: Sequence[int], heads: tuple[int, int], look: Look, like: Tensor
    ) -> None:
        self._past, self._length, self._look = spans[0].past, spans[0].start, look
        self._g, self._n = len(spans), max(len(span.tokens) for span in spans)
        self._kv_heads, self._group = heads[1], heads[0] // heads[1]
        column = torch.arange(self._n)
        lengths = torch.tensor([len(span.tokens) for span in spans])
        inside = column < lengths[:, None]
        packed = torch.where(inside, column + torch.tensor(starts)[:, None], 0)
        # The packed token in each slot, the slots that hold one, and the packed token of each of those.
        self._token = packed.flatten().to(like.device)
        self._slot = inside.flatten().nonzero()[:, 0].to(like.device)
        self.real = packed[inside].to(like.device)
        width = key_width(self._length + self._n, like.dtype)
        # Zeros, not empty: masked keys get weight 0, and 0 times whatever memory held could be NaN.
        self._kv = torch.zeros(2, self._g, self._kv_heads, width, like.shape[-1], dtype=like.dtype, device=like.device)
        self._blocks = {
            window: [self._block(start, window, like) for start in range(0, self._n, BLOCK)]
            for window in dict.fromkeys(look.windows)
        }

    def attend(self, layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
        """[the group's tokens, H*E], in the order of `real`."""
        g, n, width = self._g, self._n, self._kv.shape[3]
        for i, new in enumerate((k_NKE, v_NKE)):
            done = 0
            for piece in self._past:
                self._kv[i, :, :, done : done + piece.shape[3]] = piece[layer, i]
                done += piece.shape[3]
            self._kv[i, :, :, done : done + n] = new[self._token].view(g, n, self._kv_heads, -1).transpose(1, 2)
        k, v = self._kv.view(2, g * self._kv_heads, width, -1)
        q = q_NHE[self._token].view(g, n, self._kv_heads, self._group, -1).transpose(1, 2)
        q = (q * self._look.scaling).reshape(g * self._kv_heads, n * self._group, -1)
        outputs = []
        for rows, keys, mask in self._blocks[self._look.windows[layer]]:
            part = q[:, rows]
            count = part.shape[1]
            scores = self._look.capped(torch.bmm(enough_rows(part), k[:, :keys].transpose(1, 2)))
            scores[:, :count, keys - mask.shape[1] :] += mask
            outputs.append(torch.bmm(scores.softmax(-1), v[:, :keys])[:, :count])
        out = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 1)
        out = out.view(g, self._kv_heads, n, self._group, -1).transpose(1, 2).reshape(g * n, -1)
        return out[self._slot]

    def _block(self, start: int, window: int | None, like: Tensor) -> tuple[slice, int, Tensor]:
        """(rows of the queries, how many keys they read, mask [rows, the last of these keys]) of one block.

        Without a window the mask is for the keys after the past alone: all of those before are seen.
        """
        end = min(start + BLOCK, self._n)
        keys = key_width(self._length + end, like.dtype)
        first = self._length if window is None else 0
        query = torch.arange(self._length + start, self._length + end, device=like.device)[:, None]
        key = torch.arange(first, keys, device=like.device)
        hidden = key > query if window is None else (key > query) | (key <= query - window)
        mask = torch.zeros(hidden.shape, dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)
        return slice(start * self._group, end * self._group), keys, mask.repeat_interleave(self._group, 0)
