"""Attention that keeps packed documents apart, as an attention implementation of transformers named "burnish".

A packed row holds many documents end to end, so that linear layers see no padding. A document may continue an earlier one,
and several may continue the same: a prompt and its replies, the prompt there once. Attention splits the row into documents,
puts before the keys of each those of what it continues, pads documents of like shape together on the right, and runs causal
attention: with right padding a causal mask alone keeps padding out, and no document sees another.
Outside packing the implementation is transformers' own scaled-dot-product attention, masks included.

Shapes: N packed tokens, H query heads, K key heads, D head width, M padded slots, n documents of a group, Q and L its most
queries and keys, G = H / K.
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

from burnish.model.gpu_attention import Gather, Layout, layout_attention

NAME = "burnish"
BLOCK = 128  # Queries of one block; keys after its last are not read, so half of a short document is skipped.
KEEP = 512  # Longest document whose probabilities are kept for the backward pass.
_packing: ContextVar[bool] = ContextVar("burnish_packing", default=False)


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Documents that are padded together: `queries` rows each, which read `keys` rows.

    before_n: how many keys lie before each document's first query: the tokens of what it continues.
    """

    queries: int
    keys: int
    before_n: tuple[int, ...]
    _masks: dict[Any, Tensor] = field(default_factory=dict, repr=False)

    @property
    def square(self) -> bool:
        """Whether no document continues another, so that queries and keys are the same rows."""
        return not any(self.before_n)

    def seen(self, rows: range, window: int | None) -> range:
        """The keys that any of these query rows reads."""
        first = 0 if window is None else max(0, min(self.before_n) + rows.start - window + 1)
        return range(first, min(self.keys, max(self.before_n) + rows.stop))

    def mask(self, rows: range, keys: range, window: int | None, like: Tensor) -> Tensor:
        """[n or 1, 1, rows, 1, keys]: 0 where a query sees a key, minus infinity elsewhere; kept for short documents."""
        name = rows, keys, window, like.dtype
        if name not in self._masks:
            made = self._hidden(rows, keys, window, like.device)
            made = torch.zeros(made.shape, dtype=like.dtype, device=like.device).masked_fill_(made, -torch.inf)
            made = made[:, None, :, None]
            if self.keys > KEEP:
                return made
            self._masks[name] = made
        return self._masks[name]

    def _hidden(self, rows: range, keys: range, window: int | None, device: torch.device) -> Tensor:
        before = (0,) if self.square else self.before_n
        query = torch.arange(rows.start, rows.stop, device=device) + torch.tensor(before, device=device)[:, None]
        # Padding behind a short document reads the last key, so that no row of the softmax is empty.
        query = query.clamp_(max=self.keys - 1)[:, :, None]
        key = torch.arange(keys.start, keys.stop, device=device)
        return key > query if window is None else (key > query) | (query - key >= window)


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Packed tokens in padded slots, group by group: rows of (document, slot).

    shapes:  (n, rows) of each group, in slot order.
    slot_M:  the packed token in each slot; padding points at token 0 and never reaches a real token.
    token_N: the slot in which each packed token belongs to its own document.
    real_M1: 1 for slots that hold a token, 0 for padding.
    copies:  (tokens, slots) of tokens that other documents continue; each token at most once in one of them.
    away:    tokens whose own document is not here.
    """

    shapes: tuple[tuple[int, int], ...]
    slot_M: Tensor
    token_N: Tensor
    real_M1: Tensor
    copies: tuple[tuple[Tensor, Tensor], ...] = ()
    away: Tensor | None = None
    _heads: dict[int, Any] = field(default_factory=dict, repr=False)

    def heads(self, count: int) -> tuple[Tensor, Tensor, Tensor, tuple[tuple[Tensor, Tensor], ...], Tensor | None]:
        """The padded order of rows (token, head), heads outside positions: [M*count] row in each slot, [N*count] slot of
        each row, [M*count, 1] whether a slot is real, copies, and rows that are away. Attention then takes every
        (document, head) as one matrix.
        """
        if count not in self._heads:
            head = torch.arange(count, device=self.slot_M.device)
            parts, start = [], 0
            for n, length in self.shapes:
                slots = torch.arange(start, start + n * length, device=head.device).view(n, 1, length)
                parts.append((slots * count + head[:, None]).flatten())
                start += n * length
            # Slot-major row of each place in the head-major order, and back.
            order = torch.cat(parts) if parts else self.slot_M
            place = torch.empty_like(order)
            place[order] = torch.arange(len(order), device=head.device)

            def spread(index: Tensor) -> Tensor:
                return (index[:, None] * count + head).flatten()

            there, real = spread(self.slot_M)[order], self.real_M1.expand(-1, count).flatten()[order]
            copies = tuple((spread(tokens), place[spread(slots)]) for tokens, slots in self.copies)
            away = None if self.away is None else spread(self.away)
            self._heads[count] = (there, place[spread(self.token_N)], real[:, None], copies, away)
        return self._heads[count]  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """Where documents lie in a packed row and how they are padded into groups. Queries and keys share their slots where no
    document continues another.

    gather: what makes of the keys and values here those of all ranks that share the row; None where there is one.
    """

    groups: tuple[Group, ...]
    queries: Slots
    keys: Slots
    gather: Gather | None = None

    @classmethod
    def of(
        cls, lengths: Sequence[int], device: torch.device | str = "cpu", parents: Sequence[int | None] = ()
    ) -> Documents:
        """The layout for documents of these lengths, packed in this order.

        parents: the earlier document that each document continues, if any: its tokens see that one whole, and what that
        one continues, then themselves causally.
        """
        return cls.seeing(_paths(lengths, parents), sum(lengths), device)

    @classmethod
    def seeing(
        cls, paths: Sequence[tuple[range, ...]], tokens: int, device: torch.device | str, *, first: int = 0,
        keys: int | None = None, gather: Gather | None = None,
    ) -> Documents:  # fmt: skip
        """The layout for documents of which each sees some spans of tokens, the last of them its own.

        Where several ranks share a row, the tokens here are those from `first` up to `first + tokens` of all `keys`, and
        every document's own span is among them.
        """
        batches = _alike(paths)
        groups = tuple(
            Group(max(len(paths[i][-1]) for i in batch), max(_total(paths[i]) for i in batch),
                  tuple(_total(paths[i][:-1]) for i in batch))
            for batch in batches
        )  # fmt: skip
        own = [[(range(paths[i][-1].start - first, paths[i][-1].stop - first),) for i in batch] for batch in batches]
        queries = _slots(own, [group.queries for group in groups], tokens, device)
        if keys is None and all(group.square for group in groups):
            return cls(groups, queries, queries)
        whole = [[paths[i] for i in batch] for batch in batches]
        seen = _slots(whole, [group.keys for group in groups], tokens if keys is None else keys, device)
        return cls(groups, queries, seen, gather)


def _paths(lengths: Sequence[int], parents: Sequence[int | None]) -> list[tuple[range, ...]]:
    """The packed tokens that each document's last token sees, in order: those of what it continues, then its own."""
    paths: list[tuple[range, ...]] = []
    start = 0
    for i, length in enumerate(lengths):
        own = range(start, start + length)
        parent = parents[i] if parents else None
        if parent is not None and parent >= i:
            raise ValueError(f"document {i} continues document {parent}, which must come before it")
        paths.append((own,) if parent is None else (*paths[parent], own))
        start += length
    return paths


def _total(spans: Sequence[range]) -> int:
    return sum(map(len, spans))


def _alike(paths: Sequence[tuple[range, ...]]) -> list[list[int]]:
    """Documents of like shape, which are padded together: of each, less than a fifth of the rows is padding."""
    shapes = {i: (_total(path), len(path[-1])) for i, path in enumerate(paths) if path[-1]}
    groups: list[list[int]] = []
    open_groups: list[list[int]] = []
    longest = 0
    for i in sorted(shapes, key=lambda i: shapes[i], reverse=True):
        keys, queries = shapes[i]
        if keys * 5 < longest * 4 or not groups:
            longest, open_groups = keys, []
        for group in open_groups:
            most = shapes[group[0]][1]
            if queries * 5 >= most * 4 and queries * 4 <= most * 5:
                group.append(i)
                break
        else:
            open_groups.append([i])
            groups.append(open_groups[-1])
    return groups


def _slots(
    groups: Sequence[Sequence[Sequence[range]]], rows: Sequence[int], tokens: int, device: torch.device | str
) -> Slots:
    """Slots for documents that are given as spans of packed tokens, the last of them their own."""
    slots: list[Tensor] = []
    real: list[Tensor] = []
    token_N = torch.full((tokens,), -1)
    copies: list[tuple[list[Tensor], list[Tensor]]] = []
    times: dict[range, int] = {}
    used = 0
    for group, length in zip(groups, rows, strict=True):
        for spans in group:
            row = torch.cat([torch.arange(span.start, span.stop) for span in spans])
            slots.append(functional.pad(row, (0, length - len(row))))
            real.append(torch.arange(length) < len(row))
            at = used
            for span in spans[:-1]:
                # The n-th copy of a span goes with the n-th copies of others: no token twice.
                turn = times[span] = times.get(span, -1) + 1
                if turn == len(copies):
                    copies.append(([], []))
                copies[turn][0].append(torch.arange(span.start, span.stop))
                copies[turn][1].append(torch.arange(at, at + len(span)))
                at += len(span)
            token_N[spans[-1].start : spans[-1].stop] = torch.arange(at, at + len(spans[-1]))
            used += length
    empty = torch.zeros(0, dtype=torch.long)
    slot_M = torch.cat([*slots, empty]).to(device)
    real_M1 = torch.cat([*real, empty.bool()])[:, None].to(device)
    shapes = tuple((len(group), length) for group, length in zip(groups, rows, strict=True))
    joined = tuple((torch.cat(a).to(device), torch.cat(b).to(device)) for a, b in copies)
    away = (token_N < 0).nonzero()[:, 0].to(device)
    return Slots(shapes, slot_M, token_N.clamp_(min=0).to(device), real_M1, joined, away if len(away) else None)


class _Pad(torch.autograd.Function):
    """Rows of x_NE taken to padded slots, head by head: [N, K*W] to [M*K, W] in the order of `Slots.heads`."""

    @staticmethod
    def forward(ctx: Any, x_NE: Tensor, slots: Slots, heads: int) -> Tensor:
        ctx.slots, ctx.heads = slots, heads
        return x_NE.reshape(x_NE.shape[0] * heads, -1).index_select(0, slots.heads(heads)[0])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # One to one on real slots, so the gradient is a gather too. Padded slots get none: no real query sees them and
        # their own outputs are thrown away.
        _, inverse, _, copies, away = ctx.slots.heads(ctx.heads)
        found = grad.index_select(0, inverse)
        if away is not None:
            found.index_fill_(0, away, 0.0)
        if copies:
            wide = found.to(torch.promote_types(found.dtype, torch.float32))
            for tokens, slots in copies:
                wide.index_add_(0, tokens, grad.index_select(0, slots).to(wide.dtype))
            found = wide.to(found.dtype)
        return found.view(len(ctx.slots.token_N), -1), None, None


class _Unpad(torch.autograd.Function):
    """The inverse of _Pad where there are no copies: [M*K, W] to [N, K*W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slots: Slots, heads: int) -> Tensor:
        ctx.slots, ctx.heads = slots, heads
        return x.index_select(0, slots.heads(heads)[1]).view(len(slots.token_N), -1)

    @staticmethod
    def backward(ctx: Any, grad_NE: Tensor) -> tuple[Tensor, None, None]:
        there, _, real, _, _ = ctx.slots.heads(ctx.heads)
        rows = grad_NE.reshape(grad_NE.shape[0] * ctx.heads, -1).index_select(0, there)
        return rows.mul_(real), None, None


class _Causal(torch.autograd.Function):
    """Causal attention of a group in plain matrix products, queries in blocks that read no key after their last.

    query [n*K, Q*G, E] (the G query heads of a key head lie beside each other), key and value [n*K, L, E].
    On CPUs it takes a third of the time of torch's fused kernel, backward included. Probabilities are kept for the
    backward pass up to KEEP positions and computed again beyond, so memory grows with L, not with its square.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, group: Group, scaling: float, window: int | None
    ) -> Tensor:
        query = query * scaling
        ctx.settings = (group, scaling, window)
        out = torch.empty(*query.shape[:2], value.shape[2], dtype=query.dtype, device=query.device)
        keep = group.keys <= KEEP and any(ctx.needs_input_grad)
        kept: list[Tensor] = []
        for part, keys, shares in _blocks(query, key, group, window):
            out[:, part] = torch.bmm(shares, value[:, keys])
            if keep:
                kept.append(shares)
        ctx.save_for_backward(query, key, value, *kept)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        query, key, value, *kept = ctx.saved_tensors
        group, scaling, window = ctx.settings
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        for part, keys, shares in _blocks(query, key, group, window, kept):
            grad_out = grad[:, part]
            grad_value[:, keys] += torch.bmm(shares.transpose(1, 2), grad_out)
            slope = torch.bmm(grad_out, value[:, keys].transpose(1, 2))
            slope = torch._softmax_backward_data(slope, shares, -1, slope.dtype)
            grad_query[:, part] = torch.bmm(slope, key[:, keys])
            grad_key[:, keys] += torch.bmm(slope.transpose(1, 2), query[:, part])
        return grad_query.mul_(scaling), grad_key, grad_value, None, None, None


def _blocks(
    query: Tensor, key: Tensor, group: Group, window: int | None, kept: Sequence[Tensor] = ()
) -> Iterator[tuple[slice, slice, Tensor]]:
    """(query rows, keys, probabilities [n*K, rows, keys]) of each block; `query` carries the scaling already."""
    n, each = len(group.before_n), query.shape[1] // group.queries
    for i, start in enumerate(range(0, group.queries, BLOCK)):
        rows = range(start, min(start + BLOCK, group.queries))
        seen = group.seen(rows, window)
        part, keys = slice(rows.start * each, rows.stop * each), slice(seen.start, seen.stop)
        if kept:
            yield part, keys, kept[i]
            continue
        scores = torch.bmm(query[:, part], key[:, keys].transpose(1, 2))
        scores.view(n, -1, len(rows), each, len(seen)).add_(group.mask(rows, seen, window, query))
        yield part, keys, torch.softmax(scores, -1)


def attend(
    query_NE: Tensor, key_NE: Tensor, value_NE: Tensor, heads: tuple[int, int], documents: Documents,
    scaling: float, window: int | None = None,
) -> Tensor:  # fmt: skip
    """Causal attention inside each document and what it continues: [N, H*D] from [N, H*D] queries and [N, K*D] keys and values.

    heads: (H, K); each key head serves H / K query heads that lie beside each other.
    window: at most this many tokens back, the token itself included (sliding-window layers).
    """
    shared = heads[1]
    if documents.gather is not None:
        key_NE, value_NE = documents.gather(key_NE, value_NE)
    pad: Any = _Pad.apply
    query = pad(query_NE, documents.queries, shared)
    key, value = (pad(x, documents.keys, shared) for x in (key_NE, value_NE))
    causal: Any = _Causal.apply
    run = causal if query.device.type == "cpu" else _fused
    each = heads[0] // shared
    outputs: list[Tensor] = []
    start = first = 0
    for group in documents.groups:
        n = len(group.before_n) * shared
        part, keys = slice(start, start + n * group.queries), slice(first, first + n * group.keys)
        start, first = part.stop, keys.stop
        narrow = window if window is not None and group.keys > window else None
        q = query[part].view(n, group.queries * each, -1)
        k, v = (x[keys].view(n, group.keys, -1) for x in (key, value))
        outputs.append(run(q, k, v, group, scaling, narrow).view(n * group.queries, -1))
    unpad: Any = _Unpad.apply
    joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return unpad(joined, documents.queries, shared)  # type: ignore[no-any-return]


def _fused(query: Tensor, key: Tensor, value: Tensor, group: Group, scaling: float, window: int | None) -> Tensor:
    """The same by torch's fused kernels, for accelerators."""
    q = query.view(len(query), group.queries, -1, query.shape[2]).transpose(1, 2)
    seen = None
    if window is not None or not group.square:
        rows, keys = range(group.queries), range(group.keys)
        mask_nQL = group.mask(rows, keys, window, query)[:, 0, :, 0] == 0
        seen = mask_nQL.repeat_interleave(len(query) // len(mask_nQL), 0)[:, None]
    out = functional.scaled_dot_product_attention(
        q, key[:, None], value[:, None], attn_mask=seen, is_causal=seen is None, scale=scaling, enable_gqa=True
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
    documents: Documents | Layout | None = None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """What transformers calls in every attention layer."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if documents is None:
        # A model that does not hand its keyword arguments to its layers would attend across documents.
        if _packing.get():
            raise ValueError("the model did not pass the document layout to its attention layers")
        if kwargs.get("softcap") is not None:
            return _capped(query, key, value, attention_mask, kwargs["scaling"], kwargs["softcap"]), None
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
    unknown = [name for name in ("softcap", "s_aux", "position_bias") if kwargs.get(name) is not None]
    if unknown:
        raise ValueError(f"packed attention does not know {', '.join(unknown)}")
    scaling, window = kwargs.get("scaling"), kwargs.get("sliding_window")
    if not isinstance(documents, Documents):
        return layout_attention(query, key, value, documents, scaling, window), None
    return packed_attention(query, key, value, documents, scaling, window), None


def _capped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, scaling: float, cap: float) -> Tensor:
    """Attention whose scores are squeezed into (-cap, cap) (Gemma 2, arXiv:2408.00118 §2.1), which fused kernels lack."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = torch.tanh(q @ k.transpose(2, 3) * (scaling / cap)) * cap
    if mask is None:
        # transformers leaves a mask out where it is plainly causal.
        rows, keys = scores.shape[-2:]
        mask = torch.ones(rows, keys, dtype=torch.bool, device=q.device).tril(keys - rows)
    wide = torch.promote_types(q.dtype, torch.float32)
    shares = scores.to(wide).masked_fill(~mask, torch.finfo(wide).min).softmax(-1)
    return (shares.to(q.dtype) @ v).transpose(1, 2)


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


def leave_graphs() -> None:
    """Keep the implementation out of compiled layers: where documents lie differs in every row, and a graph made for one
    layout would be made again for the next. Its kernels are fused ones already.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, torch.compiler.disable(_attention))  # type: ignore[no-untyped-call]
