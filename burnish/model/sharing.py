"""Rows of tokens laid end to end, equal beginnings once: a prompt with several replies is computed one time.

What a causal model computes at a token depends on the tokens up to it alone. Rows that begin alike therefore have the same
states there, and one copy of them serves all; its gradient is the sum of theirs. Beginnings are found by comparing tokens, so
a system prompt that all rows share, a prompt that two replies share and a beginning that two replies share are one case.

Shapes: B rows, T positions, N packed tokens, K wanted states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

LEAST = 24  # Tokens that sharing must save; below, another piece of attention costs more than they do.


@dataclass(frozen=True, slots=True, eq=False)
class PackedRows:
    """Segments of rows end to end. A segment continues an earlier one, its parent, or starts a row.

    lengths, parents: of each segment, in packed order; a parent comes before all that continue it.
    tokens_N, positions_N: the tokens and where they stand in their rows.
    places_K: the packed token of each wanted state, in the order of the rows; states that rows share are there several times.
    """

    lengths: list[int]
    parents: list[int | None]
    tokens_N: Tensor
    positions_N: Tensor
    places_K: Tensor


@dataclass(frozen=True, slots=True)
class _Segment:
    """Positions `start` up to `stop` of these rows, which agree there and before."""

    rows: Sequence[int]
    start: int
    stop: int
    parent: int | None


def pack_rows(tokens_BT: Tensor, at_BT: Tensor) -> PackedRows:
    """The rows up to their last wanted state (what comes later changes nothing before it), at_BT saying which are wanted."""
    device, width = tokens_BT.device, tokens_BT.shape[1]
    tokens_BT, at_BT = tokens_BT.cpu(), at_BT.cpu()
    lengths = (at_BT * torch.arange(1, width + 1)).amax(1).tolist()
    segments = _segments([row[:n] for row, n in zip(tokens_BT.tolist(), lengths, strict=True)])
    place_BT = torch.zeros(tokens_BT.shape, dtype=torch.long)
    flat = [torch.zeros(0, dtype=torch.long)]
    start = 0
    for part in segments:
        size = part.stop - part.start
        place_BT[list(part.rows), part.start : part.stop] = torch.arange(start, start + size)
        flat.append(torch.arange(part.start, part.stop) + part.rows[0] * width)
        start += size
    flat_N = torch.cat(flat)
    return PackedRows(
        [part.stop - part.start for part in segments],
        [part.parent for part in segments],
        tokens_BT.flatten()[flat_N].to(device),
        (flat_N % width).to(device),
        place_BT[at_BT].to(device),
    )


def computed_spans(rows: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """(start, stop) of the stretches that are computed for these rows of tokens together, equal beginnings once."""
    return [(part.start, part.stop) for part in _segments(rows)]


def computed_tokens(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens are computed for these rows of tokens together, equal beginnings once."""
    return sum(part.stop - part.start for part in _segments(rows))


def _segments(rows: Sequence[Sequence[int]]) -> list[_Segment]:
    """The rows cut where they part, parents first."""
    order = sorted((i for i in range(len(rows)) if rows[i]), key=lambda i: tuple(rows[i]))
    if not order:
        return []
    same = [_common(rows[a], rows[b]) for a, b in pairwise(order)]
    found: list[_Segment] = []
    waiting: list[tuple[int, int, int, int | None]] = [(0, len(order), 0, None)]
    while waiting:
        first, stop, depth, parent = waiting.pop()
        if stop - first == 1:
            length = len(rows[order[first]])
            if length > depth:
                found.append(_Segment(order[first:stop], depth, length, parent))
            continue
        common = min(same[first : stop - 1])
        if (stop - first - 1) * (common - depth) >= LEAST:
            found.append(_Segment(order[first:stop], depth, common, parent))
            depth, parent = common, len(found) - 1
        # Rows that agree beyond this point stay together.
        edges = [first, *(i + 1 for i in range(first, stop - 1) if same[i] == common), stop]
        waiting.extend((a, b, depth, parent) for a, b in reversed(list(pairwise(edges))))
    return found


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    """How many tokens two rows have in common from their start."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))
