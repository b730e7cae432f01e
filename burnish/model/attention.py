"""Attention that keeps packed documents apart, as an attention implementation of transformers named "burnish".

A packed row holds many documents end to end, so that linear layers see no padding. Attention splits the row into its
documents, pads those of like length together on the right, and runs causal attention: with right padding a causal mask
alone keeps padding out, and no document sees another.
Outside packing the implementation is transformers' own scaled-dot-product attention, masks included.

Shapes: N packed tokens, H query heads, K key heads, D head width, M padded slots, n documents of a group, L its longest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

NAME = "burnish"
BLOCK = 256  # Queries of one block: short documents are one block.
KEEP = 512  # Longest document whose probabilities are kept for the backward pass.
_packing: ContextVar[bool] = ContextVar("burnish_packing", default=False)


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """Where documents lie in a packed row and how they are padded into groups.

    groups:  (n, L) of each group, in slot order.
    slot_M:  the packed token in each padded slot; padding points at token 0 and never reaches a real token.
    token_N: the slot of each packed token: the inverse of slot_M.
    real_M1: 1 for slots that hold a token, 0 for padding.
    """

    groups: tuple[tuple[int, int], ...]
    slot_M: Tensor
    token_N: Tensor
    real_M1: Tensor
    _heads: dict[int, tuple[Tensor, Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def heads(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """The padded order of rows (token, head), heads outside positions: [M*count] row in each slot, [N*count] slot of
        each row, and [M*count, 1] whether a slot is real. Attention then takes every (document, head) as one matrix.
        """
        if count not in self._heads:
            head = torch.arange(count, device=self.slot_M.device)
            parts, start = [], 0
            for n, length in self.groups:
                slots = torch.arange(start, start + n * length, device=head.device).view(n, 1, length)
                parts.append((slots * count + head[:, None]).flatten())
                start += n * length
            # Slot-major row of each place in the head-major order, and back.
            order = torch.cat(parts) if parts else self.slot_M
            place = torch.empty_like(order)
            place[order] = torch.arange(len(order), device=head.device)
            there = (self.slot_M[:, None] * count + head).flatten()[order]
            back = place[(self.token_N[:, None] * count + head).flatten()]
            real = self.real_M1.expand(-1, count).flatten()[order]
            self._heads[count] = (there, back, real[:, None])
        return self._heads[count]

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device | str = "cpu") -> Documents:
        """The layout for documents of these lengths, packed in this order."""
        offsets = [0]
        for length in lengths:
            offsets.append(offsets[-1] + length)
        order = sorted((i for i in range(len(lengths)) if lengths[i]), key=lambda i: -lengths[i])
        groups: list[tuple[int, int]] = []
        slots: list[Tensor] = []
        token = torch.zeros(offsets[-1], dtype=torch.long)
        real: list[Tensor] = []
        used = start = 0
        while start < len(order):
            longest = lengths[order[start]]
            end = start
            # Like lengths share a group: less than a fifth of any row is padding.
            while end < len(order) and lengths[order[end]] * 5 >= longest * 4:
                end += 1
            for i in order[start:end]:
                row = torch.arange(longest)
                inside = row < lengths[i]
                slots.append(torch.where(inside, row + offsets[i], 0))
                real.append(inside)
                token[offsets[i] : offsets[i + 1]] = torch.arange(used, used + lengths[i])
                used += longest
            groups.append((end - start, longest))
            start = end
        empty = torch.zeros(0, dtype=torch.long)
        slot = torch.cat(slots) if slots else empty
        mask = torch.cat(real) if real else empty
        return cls(tuple(groups), slot.to(device), token.to(device), mask[:, None].to(device))


class _Pad(torch.autograd.Function):
    """Rows of x_NE taken to padded slots, head by head: [N, K*W] to [M*K, W] in the order of `Documents.heads`."""

    @staticmethod
    def forward(ctx: Any, x_NE: Tensor, documents: Documents, heads: int) -> Tensor:
        ctx.documents, ctx.heads = documents, heads
        return x_NE.reshape(x_NE.shape[0] * heads, -1).index_select(0, documents.heads(heads)[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # One to one on real slots, so the gradient is a gather too. Padded slots get none: no real query sees them and
        # their own outputs are thrown away.
        inverse = ctx.documents.heads(ctx.heads)[1]
        return grad.index_select(0, inverse).view(len(ctx.documents.token_N), -1), None, None


class _Unpad(torch.autograd.Function):
    """The inverse of _Pad: [M*K, W] to [N, K*W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, documents: Documents, heads: int) -> Tensor:
        ctx.documents, ctx.heads = documents, heads
        return x.index_select(0, documents.heads(heads)[1]).view(len(documents.token_N), -1)

    @staticmethod
    def backward(ctx: Any, grad_NE: Tensor) -> tuple[Tensor, None, None]:
        there, _, real = ctx.documents.heads(ctx.heads)
        rows = grad_NE.reshape(grad_NE.shape[0] * ctx.heads, -1).index_select(0, there)
        return rows.mul_(real), None, None


def _mask_of(rows: range, keys: range, window: int | None, like: Tensor) -> Tensor:
    """[rows, keys]: 0 where a query sees a key, minus infinity elsewhere."""
    query = torch.arange(rows.start, rows.stop, device=like.device)[:, None]
    key = torch.arange(keys.start, keys.stop, device=like.device)
    hidden = key > query if window is None else (key > query) | (query - key >= window)
    return torch.zeros(len(rows), len(keys), dtype=like.dtype, device=like.device).masked_fill_(hidden, -torch.inf)


class _Causal(torch.autograd.Function):
    """Causal attention in plain matrix products, queries in blocks that read no key after their last.

    query [n*K, L*G, E] (the G query heads of a key head lie beside each other), key and value [n*K, L, E].
    On CPUs it takes a third of the time of torch's fused kernel, backward included. Probabilities are kept for the
    backward pass up to KEEP positions and computed again beyond, so memory grows with L, not with its square.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None) -> Tensor:
        query = query * scaling
        ctx.settings = (scaling, window)
        out = torch.empty(*query.shape[:2], value.shape[2], dtype=query.dtype, device=query.device)
        keep = key.shape[1] <= KEEP and any(ctx.needs_input_grad)
        kept: list[Tensor] = []
        for part, keys, shares in _blocks(query, key, window):
            out[:, part] = torch.bmm(shares, value[:, keys])
            if keep:
                kept.append(shares)
        ctx.save_for_backward(query, key, value, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, *kept = ctx.saved_tensors
        scaling, window = ctx.settings
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for part, keys, shares in _blocks(query, key, window, kept):
            grad_out = grad[:, part]
            grad_value[:, keys] += torch.bmm(shares.transpose(1, 2), grad_out)
            slope = torch.bmm(grad_out, value[:, keys].transpose(1, 2))
            slope = torch._softmax_backward_data(slope, shares, -1, slope.dtype)
            grad_query[:, part] = torch.bmm(slope, key[:, keys])
            grad_key[:, keys] += torch.bmm(slope.transpose(1, 2), query[:, part])
        return grad_query.mul_(scaling), grad_key, grad_value, None, None


def _blocks(
    query: Tensor, key: Tensor, window: int | None, kept: Sequence[Tensor] = ()
) -> Iterator[tuple[slice, slice, Tensor]]:
    """(query rows, keys, probabilities [n*K, rows, keys]) of each block; `query` carries the scaling already."""
    length = key.shape[1]
    group = query.shape[1] // length
    for i, start in enumerate(range(0, length, BLOCK)):
        end = min(start + BLOCK, length)
        first = 0 if window is None else max(0, start - window + 1)
        part, keys = slice(start * group, end * group), slice(first, end)
        if kept:
            yield part, keys, kept[i]
            continue
        mask = _mask_of(range(start, end), range(first, end), window, query).repeat_interleave(group, 0)
        scores = torch.bmm(query[:, part], key[:, keys].transpose(1, 2)).add_(mask)
        yield part, keys, torch.softmax(scores, -1)


def attend(
    query_NE: Tensor, key_NE: Tensor, value_NE: Tensor, heads: tuple[int, int], documents: Documents,
    scaling: float, window: int | None = None,
) -> Tensor:  # fmt: skip
    """Causal attention inside each document: [N, H*D] from [N, H*D] queries and [N, K*D] keys and values.

    heads: (H, K); each key head serves H / K query heads that lie beside each other.
    window: at most this many tokens back, the token itself included (sliding-window layers).
    """
    shared = heads[1]
    pad: Any = _Pad.apply
    query, key, value = (pad(x, documents, shared) for x in (query_NE, key_NE, value_NE))
    causal: Any = _Causal.apply
    outputs: list[Tensor] = []
    start = 0
    for n, length in documents.groups:
        part = slice(start, start + n * length * shared)
        start = part.stop
        narrow = window if window is not None and length > window else None
        group = heads[0] // shared
        q = query[part].view(n * shared, length * group, -1)
        k, v = (x[part].view(n * shared, length, -1) for x in (key, value))
        run = causal if q.device.type == "cpu" else _fused
        outputs.append(run(q, k, v, scaling, narrow).view(n * length * shared, -1))
    unpad: Any = _Unpad.apply
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return unpad(joined, documents, shared)  # type: ignore[no-any-return]


def _fused(query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None) -> Tensor:
    """The same by torch's fused kernels, for accelerators."""
    length = key.shape[1]
    q = query.view(len(query), length, -1, query.shape[2]).transpose(1, 2)
    band = None
    if window is not None:
        band = _mask_of(range(length), range(length), window, query) == 0
    out = functional.scaled_dot_product_attention(
        q, key[:, None], value[:, None], attn_mask=band, is_causal=band is None, scale=scaling, enable_gqa=True
    )
    return out.transpose(1, 2).reshape(len(query), query.shape[1], -1)


def packed_attention(
    query_1HND: Tensor,
    key_1HND: Tensor,
    value_1HND: Tensor,
    documents: Documents,
    scaling: float | None = None,
    window: int | None = None,
) -> Tensor:
    """`attend` in the shapes of transformers: [1, N, H, D] from [1, H, N, D]; scaling defaults to D ** -0.5."""
    tokens, heads = query_1HND.shape[2], (query_1HND.shape[1], key_1HND.shape[1])
    query, key, value = (x[0].transpose(0, 1).reshape(tokens, -1) for x in (query_1HND, key_1HND, value_1HND))
    scale = query_1HND.shape[3] ** -0.5 if scaling is None else scaling
    return attend(query, key, value, heads, documents, scale, window).view(1, tokens, heads[0], -1)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    documents: Documents | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """What transformers calls in every attention layer."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if documents is None:
        # A model that does not hand its keyword arguments to its layers would attend across documents.
        if _packing.get():
            raise ValueError("the model did not pass the document layout to its attention layers")
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if unknown:
        raise ValueError(f"packed attention does not know {', '.join(unknown)}")
    return packed_attention(query, key, value, documents, kwargs.get("scaling"), kwargs.get("sliding_window")), None


def _mask(*args: Any, **kwargs: Any) -> Any:
    """The mask for one forward pass: none while packing, transformers' own otherwise."""
    from transformers.masking_utils import sdpa_mask

    return None if _packing.get() else sdpa_mask(*args, **kwargs)


@contextmanager
def packing() -> Iterator[None]:
    """Inside, models loaded with this implementation build no masks and expect the documents' layout."""
    token = _packing.set(True)
    try:
        yield
    finally:
        _packing.reset(token)


def register() -> str:
    """Make the implementation known to transformers (again and again is harmless); returns its name."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, _mask)
    return NAME
