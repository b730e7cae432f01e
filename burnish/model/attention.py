"""Attention that keeps packed documents apart, as an attention implementation of transformers named "burnish".

A packed row holds many documents end to end, so that linear layers see no padding. Attention splits the row into its
documents, pads those of like length together on the right, and runs causal attention: with right padding a causal mask
alone keeps padding out, so no mask is ever built and no document sees another.
Outside packing the implementation is transformers' own scaled-dot-product attention, masks included.

Shapes: N packed tokens, H heads, D head width, M padded slots, n documents of a group, L its longest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

NAME = "burnish"
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
    """Rows of x_NE taken into padded slots. The map is one to one on real slots, so its gradient is a gather too."""

    @staticmethod
    def forward(ctx: Any, x_NE: Tensor, documents: Documents) -> Tensor:
        ctx.documents = documents
        return x_NE.index_select(0, documents.slot_M)

    @staticmethod
    def backward(ctx: Any, grad_ME: Tensor) -> tuple[Tensor, None]:
        # Padded slots get no gradient: no real query sees them and their own outputs are thrown away.
        return grad_ME.index_select(0, ctx.documents.token_N), None


class _Unpad(torch.autograd.Function):
    """The inverse of _Pad: real slots of x_ME back in packed order."""

    @staticmethod
    def forward(ctx: Any, x_ME: Tensor, documents: Documents) -> Tensor:
        ctx.documents = documents
        return x_ME.index_select(0, documents.token_N)

    @staticmethod
    def backward(ctx: Any, grad_NE: Tensor) -> tuple[Tensor, None]:
        return grad_NE.index_select(0, ctx.documents.slot_M) * ctx.documents.real_M1, None


def _padded(x_1HND: Tensor, documents: Documents) -> Tensor:
    _, heads, tokens, width = x_1HND.shape
    x_NE = x_1HND[0].transpose(0, 1).reshape(tokens, heads * width)
    pad: Any = _Pad.apply
    return pad(x_NE, documents).view(-1, heads, width)  # type: ignore[no-any-return]


def packed_attention(
    query_1HND: Tensor,
    key_1HND: Tensor,
    value_1HND: Tensor,
    documents: Documents,
    scaling: float | None = None,
    window: int | None = None,
) -> Tensor:
    """Causal attention inside each document: [1, N, H, D] from [1, H, N, D] (fewer key heads share queries' heads).

    window: at most this many tokens back, the token itself included (sliding-window layers).
    """
    query, key, value = (_padded(x, documents) for x in (query_1HND, key_1HND, value_1HND))
    outputs: list[Tensor] = []
    start = 0
    for n, length in documents.groups:
        part = slice(start, start + n * length)
        q, k, v = (x[part].view(n, length, *x.shape[1:]).transpose(1, 2) for x in (query, key, value))
        band = None
        if window is not None and length > window:
            back = torch.arange(length, device=q.device)
            distance = back[:, None] - back[None, :]
            band = (distance >= 0) & (distance < window)
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=band, is_causal=band is None, scale=scaling, enable_gqa=q.shape[1] != k.shape[1]
        )
        outputs.append(out.transpose(1, 2).reshape(n * length, -1))
        start += n * length
    unpad: Any = _Unpad.apply
    flat = unpad(torch.cat(outputs), documents)
    return flat.view(1, flat.shape[0], query_1HND.shape[1], value_1HND.shape[3])  # type: ignore[no-any-return]


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
