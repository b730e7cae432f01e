"""Attention of one new token a sequence over its cached positions.

Sequences behind one trunk read its keys and values together, once for all of them; their own positions lie on shelves.
The weights of a sequence's positions are one softmax, and values are summed in parts of PART positions counted from the
sequence's start: whether the first of them come from a trunk or from the shelf changes no bit.

Shapes: n sequences of a shelf or of a trunk, H query heads, K key heads, G = H/K, E head width, T positions of a trunk,
W of a shelf, C parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from burnish.rollout.cache import PART, Cache, Shelf
from burnish.rollout.span_attention import enough_rows, least_rows


class DecodeStep:
    """One decode step over a cache: where new keys go and which positions each row sees, shared by all layers."""

    def __init__(self, cache: Cache, heads: int, scaling: float) -> None:
        """heads: H."""
        by_trunk: dict[int, list[Shelf]] = {}
        for shelf in cache.shelves:
            by_trunk.setdefault(id(shelf.trunk), []).append(shelf)
        self._trunks = [_TrunkStep(shelves, heads, scaling) for shelves in by_trunk.values()]

    def attend(self, layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
        """[N, H*E], rows in the cache's order; the new keys and values are written to the cache."""
        start, outputs = 0, []
        for trunk in self._trunks:
            part = slice(start, start + trunk.n)
            outputs.append(trunk.attend(layer, q_NHE[part], k_NKE[part], v_NKE[part]))
            start += trunk.n
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)


class _TrunkStep:
    """The sequences behind one trunk, or those without one."""

    def __init__(self, shelves: Sequence[Shelf], heads: int, scaling: float) -> None:
        self._trunk, self._scaling = shelves[0].trunk, scaling
        self._shelves = [_ShelfStep(shelf, heads, scaling) for shelf in shelves]
        self.n = sum(len(shelf.rows) for shelf in shelves)

    def attend(self, layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
        n, heads, width = q_NHE.shape
        kv_heads = k_NKE.shape[1]
        q_NKGE = enough_rows(q_NHE.reshape(n, kv_heads, heads // kv_heads, width))
        far = self._far_scores(layer, q_NKGE)
        shares, near, start = [], [], 0
        for shelf in self._shelves:
            part = slice(start, start + shelf.n)
            scores = shelf.scores(layer, q_NKGE[part], k_NKE[part], v_NKE[part])
            if far is not None:
                scores = torch.cat([far[part], scores], -1)
            share = scores.softmax(-1)
            shares.append(share)
            near.append(shelf.mixed(layer, share[..., share.shape[-1] - shelf.width :]))
            start += shelf.n
        if far is not None:
            length = far.shape[-1]
            mixed = self._far_mixed(layer, torch.cat([share[..., :length] for share in shares]))
            rows = torch.split(mixed, [shelf.n for shelf in self._shelves])
            near = [torch.cat(both, 2) for both in zip(rows, near, strict=True)]
        sums = [parts[:, :, 0] if parts.shape[2] == 1 else parts.sum(2) for parts in near]
        out = sums[0] if len(sums) == 1 else torch.cat(sums)
        return out[:, :, : heads // kv_heads].reshape(n, -1)

    def _far_scores(self, layer: int, q_NKGE: Tensor) -> Tensor | None:
        """[n, K, G, T] scores against the trunk: one product a key head for all sequences."""
        if self._trunk is None:
            return None
        n, kv_heads, group, width = q_NKGE.shape
        q = q_NKGE.transpose(0, 1).reshape(kv_heads, n * group, width)
        k = self._trunk[layer, 0]
        scores = torch.baddbmm(q.new_zeros(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=self._scaling)
        return scores.view(kv_heads, n, group, -1).transpose(0, 1)

    def _far_mixed(self, layer: int, shares_NKGT: Tensor) -> Tensor:
        """[n, K, C, G, E] sums of the trunk's values, part by part."""
        n, kv_heads, group, length = shares_NKGT.shape
        v = self._trunk[layer, 1].reshape(-1, PART, self._trunk.shape[-1])  # type: ignore[index,union-attr]
        shares = shares_NKGT.view(n, kv_heads, group, -1, PART).permute(1, 3, 0, 2, 4).reshape(len(v), n * group, PART)
        return torch.bmm(shares, v).view(kv_heads, length // PART, n, group, -1).permute(2, 0, 1, 3, 4)


class _ShelfStep:
    """One shelf during one decode step."""

    def __init__(self, shelf: Shelf, heads: int, scaling: float) -> None:
        self.n, self.kv, self.scaling = len(shelf.rows), shelf.kv, scaling
        kv = shelf.kv
        self.kv_heads, self.width, self.head_width = kv.shape[3:]
        lengths = torch.tensor([r.length - r.past for r in shelf.rows], device=kv.device)
        rows = torch.arange(self.n * self.kv_heads, device=kv.device)
        self.place = rows * self.width + lengths.repeat_interleave(self.kv_heads)
        beyond = torch.arange(self.width, device=kv.device) > lengths[:, None]
        mask = torch.zeros(self.n, self.width, dtype=kv.dtype, device=kv.device).masked_fill_(beyond, -torch.inf)
        group = least_rows(heads // self.kv_heads, kv.dtype)
        self.mask = mask[:, None, None].expand(-1, self.kv_heads, group, -1).reshape(-1, group, self.width)

    def scores(self, layer: int, q_NKGE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
        """[n, K, G, W], minus infinity beyond each sequence's end; writes the new keys and values.

        Query heads that share a key head are the rows of one small matrix product: the cache is read once for all.
        """
        rows = self.n * self.kv_heads
        k, v = (self.kv[layer, i, : self.n].view(rows, self.width, self.head_width) for i in range(2))
        k.view(-1, self.head_width).index_copy_(0, self.place, k_NKE.reshape(rows, -1))
        v.view(-1, self.head_width).index_copy_(0, self.place, v_NKE.reshape(rows, -1))
        q = q_NKGE.reshape(rows, -1, self.head_width)
        scores = torch.baddbmm(self.mask, q, k.transpose(1, 2), alpha=self.scaling)
        return scores.view(self.n, self.kv_heads, -1, self.width)

    def mixed(self, layer: int, shares_NKGW: Tensor) -> Tensor:
        """[n, K, C, G, E] sums of values, part by part."""
        part = min(PART, self.width)
        v = self.kv[layer, 1, : self.n].view(-1, part, self.head_width)
        n, kv_heads, group, _ = shares_NKGW.shape
        shares = shares_NKGW.reshape(n * kv_heads, group, -1, part).transpose(1, 2).reshape(len(v), group, part)
        return torch.bmm(shares, v).view(n, kv_heads, -1, group, self.head_width)
