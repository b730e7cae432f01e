"""Context parallel: one packed row computed by several ranks, each of which holds a share of its tokens.

A packed row is cut into twice as many chunks of equal length as there are ranks; rank r takes chunk r and, from the end, chunk r
again. A token at the end of a long row sees more keys than one at its beginning, so every rank has about as much attention to do.
A document that a cut runs through becomes pieces, each of which continues the one before: packed attention knows documents that
continue others, so masks and positions need nothing else, and beginnings that rows share stay shared.

Every layer gathers the keys and values of all ranks; their gradients are summed over ranks and each keeps those of its tokens.
All else in a layer happens to each token alone. A state is read (by the head, by a reward model's score) where it is, and what
was read is given to all ranks, so that a loss sees what it sees on one. Each rank then sends back the gradient of what it has
read itself: gradients of the weights are sums over ranks, as they are over micro-batches.

Shapes: N packed tokens, S tokens of a share, K wanted states, R those of them in this share, C tokens of a chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional

from burnish.model.attention import Documents
from burnish.model.gpu_attention import Kernel, Ragged
from burnish.model.parallel import Ranks, mesh_of
from burnish.model.sharing import PackedRows
from burnish.pipeline.machine import Machine

Span = range  # Tokens in the order in which the ranks' shares lie behind each other.
Seen = tuple[Span, ...]  # What a piece's last token sees, in order; the last span is the piece itself.


@dataclass(frozen=True, slots=True)
class Team:
    """The ranks that compute one packed row together: this one's number among them, how many, and their process group."""

    rank: int
    size: int
    group: Any

    @classmethod
    def of(cls, machine: Machine) -> Team | None:
        """The team that this process is in; None where rows are not cut."""
        if machine.context == 1 or Ranks.current().size == 1:
            return None
        teams = distributed.get_world_size() // machine.team
        across = mesh_of(machine.device, data=teams, context=machine.context, tensor=machine.tensor)
        group = across["context"].get_group()
        return cls(distributed.get_rank(group), machine.context, group)

    def gathered(self, x_S: Tensor) -> Tensor:
        """[size * S, …] the tensors of all ranks behind each other. Differentiable: gradients are summed over ranks."""
        apply: Any = _Gathered.apply
        return apply(x_S, self)  # type: ignore[no-any-return]

    def keys_and_values(self, key_S: Tensor, value_S: Tensor) -> tuple[Tensor, Tensor]:
        """Those of all ranks' tokens, [size * S, …] each; they travel together."""
        width = key_S.shape[1:].numel()
        both = self.gathered(torch.cat([key_S.flatten(1), value_S.flatten(1)], 1))
        key, value = both[:, :width], both[:, width:]
        return key.view(-1, *key_S.shape[1:]), value.view(-1, *value_S.shape[1:])


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_S: Tensor, team: Team) -> Tensor:
        ctx.team = team
        out = x_S.new_empty(team.size * len(x_S), *x_S.shape[1:])
        distributed.all_gather_single(out, x_S.contiguous(), team.group)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        wide = grad.to(torch.promote_types(grad.dtype, torch.float32)).contiguous()
        own = wide.new_empty(len(wide) // ctx.team.size, *wide.shape[1:])
        distributed.reduce_scatter_single(own, wide, group=ctx.team.group)
        return own.to(grad.dtype), None


class _Joined(torch.autograd.Function):
    """[K, …] on every rank from [R, …] on each. Every rank's loss is the same one, so a rank's own gradient is the whole."""

    @staticmethod
    def forward(ctx: Any, x_R: Tensor, share: Share) -> Tensor:
        ctx.share = share
        room = x_R.new_zeros(share.most - len(x_R), *x_R.shape[1:])
        padded = torch.cat([x_R, room])
        out = padded.new_empty(share.team.size * share.most, *x_R.shape[1:])
        distributed.all_gather_single(out, padded, share.team.group)
        return out.index_select(0, share.order_K)

    @staticmethod
    def backward(ctx: Any, grad_K: Tensor) -> tuple[Tensor, None]:
        return grad_K.index_select(0, ctx.share.index_R), None


@dataclass(frozen=True, slots=True, eq=False)
class Share:
    """This rank's part of a packed row. What follows its tokens is padding that no other token sees.

    places_R: where in the share each of its wanted states is; index_R: which of all K wanted states they are.
    order_K:  where each wanted state is when those of all ranks lie behind each other, `most` of each.
    pieces:   what each of its pieces sees, in the order of the share.
    """

    team: Team
    tokens_S: Tensor
    positions_S: Tensor
    places_R: Tensor
    index_R: Tensor
    order_K: Tensor
    most: int
    pieces: tuple[Seen, ...]

    def joined(self, values_R: Tensor) -> Tensor:
        """[K, …] what all ranks read of their states, in the order of all wanted states; the same on every rank."""
        apply: Any = _Joined.apply
        return apply(values_R, self)  # type: ignore[no-any-return]

    def layout(self, kernel: Kernel | None) -> Documents | Ragged:
        """Where its documents lie, for a kernel of accelerators or, with None, for attention in padded groups."""
        tokens, device, gather = len(self.tokens_S), self.tokens_S.device, self.team.keys_and_values
        if kernel is not None:
            return Ragged.seeing(self.pieces, device, kernel, gather)
        first, keys = self.team.rank * tokens, self.team.size * tokens
        return Documents.seeing(self.pieces, tokens, device, first=first, keys=keys, gather=gather)


def cut(rows: PackedRows, team: Team, multiple: int = 1) -> Share:
    """This rank's share of a packed row; shares are equally long, in multiples of 2 * `multiple` tokens."""
    count = len(rows.tokens_N)
    chunk = -(-count // (2 * team.size * multiple)) * multiple
    own = [team.rank, 2 * team.size - 1 - team.rank]

    def chosen(x_N: Tensor) -> Tensor:
        return functional.pad(x_N, (0, 2 * team.size * chunk - count)).view(-1, chunk)[own].flatten()

    owner_K, place_K = _placed(rows.places_K, chunk, team.size)
    index_R = (owner_K == team.rank).nonzero()[:, 0]
    counts = torch.bincount(owner_K, minlength=team.size)
    most = int(counts.max())
    # The number of a state among those of its rank, which have their order among all.
    by_owner_K = owner_K.argsort(stable=True)
    nth_K = torch.empty_like(owner_K)
    nth_K[by_owner_K] = (
        torch.arange(len(owner_K), device=owner_K.device) - (counts.cumsum(0) - counts)[owner_K[by_owner_K]]
    )
    pieces = _pieces(rows.lengths, rows.parents, chunk, team.size)
    first = team.rank * 2 * chunk
    held = [seen for seen in pieces if first <= seen[-1].start < first + 2 * chunk]
    return Share(
        team, chosen(rows.tokens_N), chosen(rows.positions_N), place_K[index_R], index_R, owner_K * most + nth_K, most,
        tuple(sorted([*held, *_padding(count, chunk, own, first)], key=lambda seen: seen[-1].start)),
    )  # fmt: skip


def _placed(places: Tensor, chunk: int, size: int) -> tuple[Tensor, Tensor]:
    """(the rank that has each packed token, where the token is in that rank's share)."""
    number = places // chunk
    owner = torch.minimum(number, 2 * size - 1 - number)
    return owner, places % chunk + chunk * (number >= size)


def _pieces(lengths: Sequence[int], parents: Sequence[int | None], chunk: int, size: int) -> list[Seen]:
    """What each piece of each document sees, all ranks' pieces in packed order."""
    found: list[Seen] = []
    whole: list[Seen] = []  # what sees a document's end
    start = 0
    for length, parent in zip(lengths, parents, strict=True):
        seen: Seen = () if parent is None else whole[parent]
        at = start
        while at < start + length:
            stop = min(start + length, (at // chunk + 1) * chunk)
            number = at // chunk
            late = number >= size
            owner = 2 * size - 1 - number if late else number
            begin = owner * 2 * chunk + chunk * late + at % chunk
            seen = (*seen, range(begin, begin + stop - at))
            found.append(seen)
            at = stop
        whole.append(seen)
        start += length
    return found


def _padding(count: int, chunk: int, own: Sequence[int], first: int) -> list[Seen]:
    """The end of a rank's chunks behind the last token of the row: documents of their own."""
    filled = [min(max(count - number * chunk, 0), chunk) for number in own]
    return [
        (range(first + i * chunk + used, first + (i + 1) * chunk),) for i, used in enumerate(filled) if used < chunk
    ]
