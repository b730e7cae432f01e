"""Attention of one new token a sequence over its cached positions, by torch's operations: any type, any device.

Sequences behind one trunk read its keys and values together, once for all of them; their own positions lie on shelves.
The weights of a sequence's positions are one softmax, and values are summed in parts of PART positions counted from the
sequence's start: whether the first parts come from a trunk or from the shelf changes no bit.

Shapes: n sequences of a shelf or of a trunk, H query heads, K key heads, G = H/K, E head width, T positions of a trunk,
W of a shelf, C parts.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from burnish.rollout.cache import PART, Cache, Shelf
from burnish.rollout.families import Look
from burnish.rollout.span_attention import enough_rows, least_rows


class DecodeStep:
    """One decode step over a cache: where new keys go and which positions each row sees, shared by all layers."""

    def __init__(self, cache: Cache, heads: int, look: Look) -> None:
        """heads: H."""
        by_trunk: dict[tuple[int, ...], list[Shelf]] = {}
        for shelf in cache.shelves:
            by_trunk.setdefault(tuple(map(id, shelf.trunk)), []).append(shelf)
        self._trunks = [_TrunkStep(shelves, heads, look) for shelves in by_trunk.values()]

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

    def __init__(self, shelves: Sequence[Shelf], heads: int, look: Look) -> None:
        # At most one piece, of whole parts (`Prompts`).
        self._trunk, self._look = next(iter(shelves[0].trunk), None), look
        self._shelves = [_ShelfStep(shelf, heads, look) for shelf in shelves]
        self.n = sum(len(shelf.rows) for shelf in shelves)
        self._hidden: dict[int, Tensor] = {}
        if self._trunk is not None:
            ends = torch.tensor([r.length for shelf in shelves for r in shelf.rows], device=self._trunk.device)
            nothing = self._trunk.new_zeros(self.n, self._trunk.shape[3])
            places = torch.arange(self._trunk.shape[3], device=self._trunk.device)
            for window in filter(None, dict.fromkeys(look.windows)):
                outside = places <= ends[:, None] - window
                self._hidden[window] = nothing.masked_fill(outside, -torch.inf)[:, None, None]

    def attend(self, layer: int, q_NHE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
        n, heads, width = q_NHE.shape
        kv_heads = k_NKE.shape[1]
        q_NKGE = enough_rows(q_NHE.reshape(n, kv_heads, heads // kv_heads, width))
        far = self._far_scores(layer, q_NKGE)
        shares, near, start = [], [], 0
        for shelf in self._shelves:
            part = slice(start, start + shelf.n)
            scores = shelf.scores(layer, q_NKGE[part], k_NKE[part], v_NKE[part])
            share = torch.cat(scores if far is None else [far[part], *scores], -1).softmax(-1)
            shares.append(share)
            near.append(shelf.mixed(layer, share[..., share.shape[-1] - shelf.width :]))
            start += shelf.n
        if far is not None:
            mixed = self._far_mixed(layer, torch.cat([share[..., : far.shape[-1]] for share in shares]))
            rows = torch.split(mixed, [shelf.n for shelf in self._shelves])
            near = [[*row.unbind(2), *own] for row, own in zip(rows, near, strict=True)]
        sums = [parts[0] if len(parts) == 1 else torch.stack(parts, 2).sum(2) for parts in near]
        out = sums[0] if len(sums) == 1 else torch.cat(sums)
        return out[:, :, : heads // kv_heads].reshape(n, -1)

    def _far_scores(self, layer: int, q_NKGE: Tensor) -> Tensor | None:
        """[n, K, G, T] scores against the trunk: one product a key head for all sequences."""
        if self._trunk is None:
            return None
        n, kv_heads, group, width = q_NKGE.shape
        q = q_NKGE.transpose(0, 1).reshape(kv_heads, n * group, width)
        k = self._trunk[layer, 0]
        scores = torch.baddbmm(q.new_zeros(1, 1, 1), q, k.transpose(1, 2), beta=0, alpha=self._look.scaling)
        scores = self._look.capped(scores).view(kv_heads, n, group, -1).transpose(0, 1)
        window = self._look.windows[layer]
        return scores if window is None else scores + self._hidden[window]

    def _far_mixed(self, layer: int, shares_NKGT: Tensor) -> Tensor:
        """[n, K, C, G, E] sums of the trunk's values, part by part."""
        n, kv_heads, group, length = shares_NKGT.shape
        v = self._trunk[layer, 1].reshape(-1, PART, self._trunk.shape[-1])  # type: ignore[index,union-attr]
        shares = shares_NKGT.view(n, kv_heads, group, -1, PART).permute(1, 3, 0, 2, 4).reshape(len(v), n * group, PART)
        return torch.bmm(shares, v).view(kv_heads, length // PART, n, group, -1).permute(2, 0, 1, 3, 4)


class _ShelfStep:
    """One shelf during one decode step."""

    def __init__(self, shelf: Shelf, heads: int, look: Look) -> None:
        self.n, self.width = len(shelf.rows), shelf.width
        group = least_rows(heads // shelf.parts[0].shape[3], shelf.parts[0].dtype)
        lengths = torch.tensor([r.length - r.past for r in shelf.rows], device=shelf.parts[0].device)
        starts = range(0, shelf.width, PART)
        self._parts = [
            _PartStep(part, lengths - start, group, look) for part, start in zip(shelf.parts, starts, strict=True)
        ]

    def scores(self, layer: int, q_NKGE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> list[Tensor]:
        """[n, K, G, width of the part] for each part, minus infinity beyond each sequence's end; writes the new keys and
        values.
        """
        return [part.scores(layer, q_NKGE, k_NKE, v_NKE) for part in self._parts]

    def mixed(self, layer: int, shares_NKGW: Tensor) -> list[Tensor]:
        """[n, K, G, E] sums of the values of each part."""
        shares = torch.split(shares_NKGW, PART, -1)
        return [part.mixed(layer, share) for part, share in zip(self._parts, shares, strict=True)]


class _PartStep:
    """Positions of one part of a shelf; `places` [n] is where each row's new token goes, outside for most parts."""

    def __init__(self, kv: Tensor, places: Tensor, group: int, look: Look) -> None:
        self._n, self._kv, self._look = len(places), kv, look
        self._heads, self._width, self._head_width = kv.shape[3:]
        inside = ((places >= 0) & (places < self._width)).nonzero()[:, 0]
        self._new = None if not len(inside) else inside
        rows = (inside[:, None] * self._heads + torch.arange(self._heads, device=kv.device)).flatten()
        self._at = rows * self._width + places[inside].repeat_interleave(self._heads)
        self._masks = {window: self._mask(places, window, group) for window in dict.fromkeys(look.windows)}

    def _mask(self, places: Tensor, window: int | None, group: int) -> Tensor | None:
        """[n*K, G, width]: minus infinity for what a row does not see; None where all see all."""
        column = torch.arange(self._width, device=places.device)
        hidden = column > places[:, None]
        if window is not None:
            hidden |= column <= places[:, None] - window
        if not bool(hidden.any()):
            return None
        mask = torch.zeros(hidden.shape, dtype=self._kv.dtype, device=places.device).masked_fill_(hidden, -torch.inf)
        return mask[:, None, None].expand(-1, self._heads, group, -1).reshape(-1, group, self._width)

    def scores(self, layer: int, q_NKGE: Tensor, k_NKE: Tensor, v_NKE: Tensor) -> Tensor:
        """Query heads that share a key head are the rows of one small product: the cache is read once for all."""
        if self._new is not None:
            for i, new in enumerate((k_NKE, v_NKE)):
                mine = new if len(self._new) == self._n else new[self._new]
                self._rows(layer, i).view(-1, self._head_width).index_copy_(
                    0, self._at, mine.reshape(len(self._at), -1)
                )
        q, k = q_NKGE.reshape(self._n * self._heads, -1, self._head_width), self._rows(layer, 0).transpose(1, 2)
        mask, scaling = self._masks[self._look.windows[layer]], self._look.scaling
        if mask is not None and self._look.cap is None:
            scores = torch.baddbmm(mask, q, k, alpha=scaling)
        else:
            scores = self._look.capped(torch.baddbmm(q.new_zeros(1, 1, 1), q, k, beta=0, alpha=scaling))
            scores = scores if mask is None else scores + mask
        return scores.view(self._n, self._heads, -1, self._width)

    def mixed(self, layer: int, shares_NKGW: Tensor) -> Tensor:
        shares = shares_NKGW.reshape(self._n * self._heads, -1, self._width)
        return torch.bmm(shares, self._rows(layer, 1)).view(self._n, self._heads, -1, self._head_width)

    def _rows(self, layer: int, which: int) -> Tensor:
        """[n*K, width, E] keys (0) or values (1)."""
        return self._kv[layer, which, : self._n].view(-1, self._width, self._head_width)
