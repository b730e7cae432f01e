"""Packed attention by the kernels of accelerators: FlashAttention over documents of any length, and torch's flex attention.

A layout says once for a packed row which tokens see which; its `attend` serves every layer. A document may continue an
earlier one (a reply after its prompt): its tokens see that document whole, what that one continues, themselves causally, and
nothing else, at the positions that follow.

Layouts are arithmetic on lengths and run anywhere; the kernels that are imported here run on CUDA only.

Shapes: N packed tokens, M keys, n documents, H query heads, K key heads, E head width, Q blocks of BLOCK tokens.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from burnish.errors import MissingExtra

BLOCK = 128  # Tokens of a block of flex attention's mask.
# The keys and values here, one row a token, to those of all ranks that share a packed row.
Gather = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Kernel(Protocol):
    """Causal attention over documents of any length, queries aligned with the last keys."""

    def __call__(
        self, query_NHE: Tensor, key_MKE: Tensor, value_MKE: Tensor, spans: Spans, scaling: float, window: int | None
    ) -> Tensor:
        """[N, H, E]. window: the most keys a query sees, its own included."""


@dataclass(frozen=True, slots=True, eq=False)
class Spans:
    """Where each document's queries and keys lie: those of document i are starts[i] up to starts[i + 1].

    query_starts, key_starts: [n + 1] int32. longest_query, longest_key: tokens.
    """

    query_starts: Tensor
    key_starts: Tensor
    longest_query: int
    longest_key: int


@dataclass(frozen=True, slots=True, eq=False)
class Ragged:
    """The layout for kernels that take documents of any length. Keys of a continued document are copied for each that
    continues it.

    keys_M: the packed token of each key, or None where keys are the packed tokens themselves.
    gather: as in `burnish.model.attention.Documents`.
    """

    spans: Spans
    keys_M: Tensor | None
    kernel: Kernel
    gather: Gather | None = None

    @classmethod
    def of(
        cls, lengths: Sequence[int], device: torch.device | str, kernel: Kernel, parents: Sequence[int | None] = ()
    ) -> Ragged:
        """The layout for documents packed in this order; parents[i] is the earlier document that document i continues."""
        starts = _starts(lengths)
        rows = [_rows(starts, i, parents) for i in range(len(lengths)) if lengths[i]]
        return cls.seeing(rows, device, kernel)

    @classmethod
    def seeing(
        cls, rows: Sequence[tuple[range, ...]], device: torch.device | str, kernel: Kernel, gather: Gather | None = None
    ) -> Ragged:
        """The layout for documents of which each sees some spans of tokens, the last of them its own; own spans lie in order.

        With `gather`, spans are of the tokens of all ranks, and own spans are those of a share of them.
        """
        copied = gather is not None or any(len(row) > 1 for row in rows)
        keys = [sum(len(part) for part in row) for row in rows]
        index = [torch.arange(part.start, part.stop) for row in rows for part in row] if copied else []
        sizes = [len(row[-1]) for row in rows]

        def bounds(counts: Sequence[int]) -> Tensor:
            return torch.tensor(_starts(counts), dtype=torch.int32, device=device)

        spans = Spans(bounds(sizes), bounds(keys), max(sizes, default=0), max(keys, default=0))
        return cls(spans, torch.cat(index).to(device) if copied else None, kernel, gather)

    def attend(
        self, query_NHE: Tensor, key_NKE: Tensor, value_NKE: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        """[N, H, E] in the values' type."""
        query, key = query_NHE.to(value_NKE.dtype), key_NKE.to(value_NKE.dtype)
        if self.gather is not None:
            key, value_NKE = self.gather(key, value_NKE)
        if self.keys_M is not None:
            key, value_NKE = key.index_select(0, self.keys_M), value_NKE.index_select(0, self.keys_M)
        return self.kernel(query, key, value_NKE, self.spans, scaling, window)


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The layout for flex attention: which blocks of keys each block of queries reads.

    document_N: int32, the document of each token.
    above: int32 [N] each, the document that it continues (-1 for none), the one that this one continues, and so on.
    position_N: int32, how many tokens of its document and of those continued come before it.
    parts: of each document, the packed tokens that its last token sees: those of the documents it continues, then its own.
    """

    document_N: Tensor
    above: tuple[Tensor, ...]
    position_N: Tensor
    parts: tuple[tuple[range, ...], ...]
    _masks: dict[int | None, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device | str, parents: Sequence[int | None] = ()) -> Blocks:
        """The layout for documents packed in this order; parents[i] is the earlier document that document i continues."""
        starts = _starts(lengths)
        parts = tuple(_rows(starts, i, parents) for i in range(len(lengths)))
        ahead = [sum(map(len, row[:-1])) for row in parts]
        chains: list[list[int]] = []
        for i in range(len(lengths)):
            parent = parents[i] if parents else None
            chains.append([] if parent is None else [parent, *chains[parent]])
        levels = range(max(map(len, chains), default=0))

        def spread(values: Sequence[Any]) -> Tensor:
            return torch.tensor(values, dtype=torch.int32).repeat_interleave(torch.tensor(list(lengths))).to(device)

        position = torch.arange(starts[-1], dtype=torch.int32, device=device)
        shift = spread([a - start for a, start in zip(ahead, starts, strict=False)])
        above = tuple(spread([chain[n] if n < len(chain) else -1 for chain in chains]) for n in levels)
        return cls(spread(range(len(lengths))), above, position + shift, parts)

    def sees(self, window: int | None) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
        """Flex attention's rule: whether a query's token sees a key's."""
        document, above, position = self.document_N, self.above, self.position_N

        def rule(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            seen = (document[query] == document[key]) & (query >= key)
            for parent in above:
                seen = seen | (parent[query] == document[key])
            return seen if window is None else seen & (position[query] - position[key] < window)

        return rule

    def mask(self, window: int | None = None) -> Any:
        """The BlockMask: made from where documents begin and end, never from N times N numbers."""
        if window not in self._masks:
            self._masks[window] = self._mask(window)
        return self._masks[window]

    def _mask(self, window: int | None) -> Any:
        from torch.nn.attention.flex_attention import BlockMask

        tokens = len(self.document_N)
        some, full = (torch.zeros(-(-tokens // BLOCK), -(-tokens // BLOCK), dtype=torch.bool) for _ in range(2))
        for row in self.parts:
            _mark(row, some, full, window)
        device = self.document_N.device
        # A block that is read whole needs no rule; the others ask it for every pair.
        (asked, asked_indices), (whole, whole_indices) = _listed(some & ~full, device), _listed(full, device)
        return BlockMask.from_kv_blocks(
            asked, asked_indices, whole, whole_indices,
            BLOCK_SIZE=BLOCK, mask_mod=self.sees(window), seq_lengths=(tokens, tokens),
        )  # fmt: skip

    def attend(
        self, query_NHE: Tensor, key_NKE: Tensor, value_NKE: Tensor, scaling: float, window: int | None
    ) -> Tensor:
        """[N, H, E] in the values' type."""
        query, key, value = (x.to(value_NKE.dtype).transpose(0, 1)[None] for x in (query_NHE, key_NKE, value_NKE))
        out = _flex(value.device.type)(
            query, key, value, block_mask=self.mask(window), scale=scaling, enable_gqa=query.shape[1] != key.shape[1]
        )
        return out[0].transpose(0, 1)  # type: ignore[no-any-return]


Layout = Ragged | Blocks


def layout(
    kind: Literal["varlen", "flex", "flash"], lengths: Sequence[int], device: torch.device,
    parents: Sequence[int | None] = (),
) -> Layout:  # fmt: skip
    """The layout of a packed row for one of `Machine.packed_attention`'s kernels. Raises MissingExtra for absent "flash"."""
    if kind == "flex":
        return Blocks.of(lengths, device, parents)
    return Ragged.of(lengths, device, kernel_of(kind), parents)


def kernel_of(kind: Literal["varlen", "flash"]) -> Kernel:
    """The kernel of that name. Raises MissingExtra where "flash" is not installed."""
    return flash_kernel() if kind == "flash" else varlen_kernel


def layout_attention(
    query_1HNE: Tensor, key_1KNE: Tensor, value_1KNE: Tensor, layout: Layout, scaling: float | None, window: int | None
) -> Tensor:
    """[1, N, H, E] in the shapes of transformers; scaling defaults to E ** -0.5."""
    scale = query_1HNE.shape[3] ** -0.5 if scaling is None else scaling
    query, key, value = (x[0].transpose(0, 1) for x in (query_1HNE, key_1KNE, value_1KNE))
    return layout.attend(query, key, value, scale, window)[None]


def varlen_kernel(
    query_NHE: Tensor, key_MKE: Tensor, value_MKE: Tensor, spans: Spans, scaling: float, window: int | None
) -> Tensor:
    """Torch's own build of FlashAttention 2; float16 and bfloat16 on CUDA. [N, H, E]."""
    from torch.nn.attention.varlen import varlen_attn

    found: Any = varlen_attn(
        query_NHE, key_MKE, value_MKE, spans.query_starts, spans.key_starts, spans.longest_query, spans.longest_key,
        scale=scaling, window_size=(-1 if window is None else window - 1, 0), enable_gqa=query_NHE.shape[1] != key_MKE.shape[1],
    )  # fmt: skip
    out: Tensor = found
    return out


@functools.cache
def flash_kernel() -> Kernel:
    """FlashAttention's own package: version 3 (Hopper) where it is installed, else 2. Raises MissingExtra."""
    name = next((n for n in ("flash_attn_interface", "flash_attn") if importlib.util.find_spec(n)), None)
    if name is None:
        raise MissingExtra("Machine(attention='flash')", "flash-attn", "flash")
    function = importlib.import_module(name).flash_attn_varlen_func

    def run(
        query_NHE: Tensor, key_MKE: Tensor, value_MKE: Tensor, spans: Spans, scaling: float, window: int | None
    ) -> Tensor:
        out = function(
            query_NHE, key_MKE, value_MKE, spans.query_starts, spans.key_starts, spans.longest_query, spans.longest_key,
            softmax_scale=scaling, causal=True, window_size=(-1 if window is None else window - 1, 0),
            deterministic=torch.are_deterministic_algorithms_enabled(),
        )  # fmt: skip
        # Version 3 gives the sums of exponentials too.
        return out[0] if isinstance(out, tuple) else out  # type: ignore[no-any-return]

    return run


@functools.cache
def _flex(device: str) -> Callable[..., Any]:
    """Flex attention, compiled for accelerators: without a compiler it would write N times N scores."""
    from torch.nn.attention.flex_attention import flex_attention

    function: Any = flex_attention
    return torch.compile(function, dynamic=True) if device == "cuda" else function


def _starts(lengths: Sequence[int]) -> list[int]:
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    return starts


def _rows(starts: Sequence[int], i: int, parents: Sequence[int | None]) -> tuple[range, ...]:
    """The packed tokens that document i's last token sees, in order: those of what it continues, then its own."""
    own = range(starts[i], starts[i + 1])
    parent = parents[i] if parents else None
    if parent is None:
        return (own,)
    if parent >= i:
        raise ValueError(f"document {i} continues document {parent}, which must come before it")
    return (*_rows(starts, parent, parents), own)


def _mark(row: tuple[range, ...], some: Tensor, full: Tensor, window: int | None) -> None:
    """Mark the blocks [Q, Q] in which a document's queries see any key, and those in which every query sees every key."""
    own = row[-1]
    if not own:
        return
    first, last = own.start // BLOCK, (own.stop - 1) // BLOCK
    for block in range(first, last + 1):
        some[block, first : block + 1] = True
    for ahead in (part for part in row[:-1] if part):
        some[first : last + 1, ahead.start // BLOCK : (ahead.stop - 1) // BLOCK + 1] = True
    if window is not None:
        return
    # Blocks that lie inside the document, and inside what it sees.
    inner = range(-(-own.start // BLOCK), own.stop // BLOCK)
    for block in inner:
        full[block, inner.start : block] = True
    for ahead in row[:-1]:
        if len(inner):
            full[
                inner.start : inner.stop, -(-ahead.start // BLOCK) : max(ahead.stop // BLOCK, -(-ahead.start // BLOCK))
            ] = True


def _listed(blocks: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """([1, 1, Q] int32 how many blocks of keys each block of queries reads, [1, 1, Q, Q] int32 those first, in order)."""
    order = blocks.int().argsort(dim=1, descending=True, stable=True).int()
    return blocks.sum(1).int()[None, None].to(device), order[None, None].to(device)
