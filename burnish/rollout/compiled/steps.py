"""The compiled loops as the forward pass calls them.

Shapes: N rows, D width, H query heads, K key heads, E head width, F width of the feed-forward block, Y layers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from burnish.rollout.cache import Cache, Running
from burnish.rollout.compiled.pool import Region, starter


@cache
def compiles() -> bool:
    """Whether numba is installed and torch has threads that it can use."""
    return importlib.util.find_spec("numba") is not None and starter() is not None


class CompiledRows:
    """What a layer does to rows between its matrix products. In bfloat16; the residual stream is float32."""

    def __init__(self, heads: int, kv_heads: int, eps: float) -> None:
        """heads: H. kv_heads: K."""
        from burnish.rollout.compiled import kernels

        self._heads, self._kv_heads, self._rows = heads, kv_heads, kernels.ROWS
        self._added, self._rotated, self._gated = (
            Region(loop.address, kernels.WORDS) for loop in (kernels.added, kernels.rotated, kernels.gated)
        )
        self._added.real(kernels.EPS, eps)
        self._rotated.real(kernels.R_EPS, eps)

    def normed(self, x_ND: Tensor, weight_D: Tensor | None) -> Tensor:
        """[N, D] root-mean-square norm in bfloat16; without a weight x itself."""
        return x_ND if weight_D is None else self._add(x_ND, None, weight_D)

    def added(self, x_ND: Tensor, y_ND: Tensor, weight_D: Tensor | None) -> Tensor:
        """The norm of x + y, which x becomes; only for layers that have such a norm."""
        if weight_D is None:
            raise ValueError("the compiled loops are for layers that norm what goes into them")
        return self._add(x_ND, y_ND, weight_D)

    def _add(self, x_ND: Tensor, y_ND: Tensor | None, weight_D: Tensor) -> Tensor:
        out = torch.empty(x_ND.shape, dtype=torch.bfloat16)
        n, width = x_ND.shape
        y = 0 if y_ND is None else y_ND.data_ptr()
        self._added(-(-n // self._rows), x_ND.data_ptr(), y, weight_D.data_ptr(), out.data_ptr(), n, width)
        return out

    def rotated(
        self, fused_NX: Tensor, places_N: Tensor, angles: tuple[Tensor, Tensor], norms: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Turned queries [N, H, E] and keys [N, K, E], and values [N, K, E], from fused projections [N, (H+2K)*E].

        angles: cos and signed sin [positions, 1, E]. norms: weights [E] of queries and keys.
        """
        n, turning = len(fused_NX), self._heads + self._kv_heads
        width = angles[0].shape[-1]
        out = torch.empty(n, turning, width, dtype=torch.bfloat16)
        norm_q, norm_k = (0, 0) if norms is None else (norms[0].data_ptr(), norms[1].data_ptr())
        self._rotated(
            -(-n // self._rows), fused_NX.data_ptr(), out.data_ptr(), norm_q, norm_k, n, places_N.data_ptr(),
            angles[0].data_ptr(), angles[1].data_ptr(), self._heads, self._kv_heads, width,
        )  # fmt: skip
        return out[:, : self._heads], out[:, self._heads :], fused_NX.view(n, -1, width)[:, turning:]

    def gated(self, both_NX: Tensor) -> Tensor:
        """[N, F] silu(gate) * up from both side by side."""
        n, width = len(both_NX), both_NX.shape[1] // 2
        out = torch.empty(n, width, dtype=torch.bfloat16)
        self._gated(-(-n // self._rows), both_NX.data_ptr(), 0, 0, out.data_ptr(), n, width)
        return out


def draw(logits_NV: Tensor, inverses: Sequence[float], numbers: Sequence[float]) -> tuple[list[int], list[float]]:
    """(tokens, log-probs): one draw a row from softmax(bfloat16 logits * inverse temperature).

    inverses: 0 stands for the likeliest token, its log-prob at temperature 1. numbers: in [0, 1), where each distribution is
    cut. A row with a logit that is not a number gets that as its log-prob.
    """
    from burnish.rollout.compiled import kernels

    n, vocabulary = logits_NV.shape
    if not logits_NV.is_contiguous():
        raise ValueError("logits must be contiguous")
    size = -(-vocabulary // kernels.PART)
    given = np.array([inverses, numbers], dtype=np.float64)
    tokens, logps = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.float64)
    sums = np.empty(size * torch.get_num_threads(), dtype=np.float64)
    Region(kernels.drawn.address, kernels.WORDS)(
        n, logits_NV.data_ptr(), vocabulary, n, given[0].ctypes.data, given[1].ctypes.data, tokens.ctypes.data,
        logps.ctypes.data, sums.ctypes.data, size,
    )  # fmt: skip
    return tokens.tolist(), logps.astype(np.float32).tolist()


class CompiledStep:
    """One decode step over a cache: where new keys go and what each row reads, shared by all layers.

    A sequence's scores are one softmax over its positions in order, and its values are added one by one in that order: in how
    many pieces they lie in memory changes no bit.
    """

    def __init__(self, cache: Cache, heads: int, scaling: float) -> None:
        """heads: H."""
        from burnish.rollout.compiled import kernels

        running = cache.order
        self._pieces = [piece for r in running for piece in r.trunk]
        self._segments, self._first = _segments(running)
        self._tasks = _order(running, cache.shape.heads)
        self._kv_heads, self._width = cache.shape.heads, cache.shape.width
        group, longest = heads // self._kv_heads, max(r.length for r in running) + 1
        size = group * (2 * self._width + longest)
        self._scratch = np.empty(size * torch.get_num_threads(), dtype=np.float32)
        self._out = torch.zeros(len(running), heads * self._width, dtype=torch.bfloat16)
        self._region = Region(kernels.attended.address, kernels.WORDS)
        self._region.fill(kernels.ORDER, self._tasks.ctypes.data, self._first.ctypes.data, self._segments.ctypes.data)
        self._region.fill(kernels.A_G, group, self._kv_heads, self._width)
        self._region.real(kernels.SCALE, scaling)
        self._region.fill(kernels.SCRATCH, self._scratch.ctypes.data, size, longest)
        self._steps = kernels.Q_STEP

    def attend(self, layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
        """[N, H*E], rows in the cache's order; the new keys and values are written to the cache. The next call overwrites it."""
        self._region.fill(self._steps, q_NHE.stride(0), k_NKE.stride(0), v_NKE.stride(0))
        self._region(
            len(self._tasks), layer, q_NHE.data_ptr(), k_NKE.data_ptr(), v_NKE.data_ptr(), self._out.data_ptr()
        )
        return self._out


def _segments(running: Sequence[Running]) -> tuple[Any, Any]:
    """([segments, 5] the pieces of all rows, [N + 1] the first of each row), the new token's place included."""
    rows: list[tuple[int, int, int, int, int]] = []
    first = [0]
    for r in running:
        for piece in r.trunk:
            rows.append((piece.data_ptr(), piece.shape[3], piece.stride(0), piece.stride(1), piece.stride(2)))
        if r.shelf is None:
            raise ValueError(f"sequence {r.index} lies on no shelf")
        left = r.length + 1 - r.past
        for part in r.shelf.parts:
            count = min(left, part.shape[4])
            place = part.data_ptr() + 2 * r.row * part.stride(2)
            rows.append((place, count, part.stride(0), part.stride(1), part.stride(3)))
            left -= count
            if not left:
                break
        first.append(len(rows))
    return np.array(rows, dtype=np.int64), np.array(first, dtype=np.int64)


def _order(running: Sequence[Running], kv_heads: int) -> Any:
    """[N * K, 2] (row, key head): rows that share pieces side by side, head by head, so that these stay in the processor's
    cache.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, r in enumerate(running):
        groups.setdefault(tuple(map(id, r.trunk)), []).append(row)
    return np.array(
        [(row, head) for rows in groups.values() for head in range(kv_heads) for row in rows], dtype=np.int64
    )
