"""Ranks: the processes that train one model together. Each holds the whole model or a shard of every weight, takes its share
of a step's batches, and gradients are SUMMED over ranks, since losses are divided by the count of the whole step.

Alone in its process a program has one rank, of which everything here is a plain no-op.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed

from burnish.losses.batch import Sequences
from burnish.model.layers import decoder_layers
from burnish.pipeline.machine import Machine

Value = TypeVar("Value")
PACKED = "packed"  # The method of a layer that runs it on packed documents.
BUCKET = 32 << 20  # Bytes of gradients summed over ranks at a time.


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among its peers: `rank` of `size`, counted from 0. Every method must be called by all of them.

    team: how many neighbouring ranks compute a micro-batch together; they take the same ones and find the same numbers.
    """

    rank: int = 0
    size: int = 1
    team: int = 1

    @classmethod
    def current(cls, machine: Machine | None = None) -> Ranks:
        """Those of torch's default process group; the only rank where there is none. machine: what forms their teams."""
        if not distributed.is_available() or not distributed.is_initialized():
            return cls()
        team = machine.team if machine and distributed.get_world_size() > 1 else 1
        return cls(distributed.get_rank(), distributed.get_world_size(), team)

    @property
    def teams(self) -> int:
        """How many micro-batches are computed at a time."""
        return self.size // self.team

    @property
    def own_team(self) -> int:
        """The number of this rank's team, from 0."""
        return self.rank // self.team

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes files and talks to the user."""
        return self.rank == 0

    def gather(self, value: Value) -> list[Value]:
        """Every rank's value, in the order of ranks; values must be picklable and small."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        return found

    def agree(self, value: Value) -> Value:
        """The first rank's value."""
        if self.size == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def total(self, value: float) -> float:
        """The sum over ranks, in float64; the same bits on each."""
        return value if self.size == 1 else sum(self.gather(value))

    def merged(self, values_N: Tensor) -> Tensor:
        """[N] float32 on the CPU: what any rank knows of it, NaN where none does."""
        if self.size == 1:
            return values_N
        found = [torch.empty_like(values_N) for _ in range(self.size)]
        distributed.all_gather(found, values_N)
        return functools.reduce(either, found)


def either(values_N: Tensor, others_N: Tensor) -> Tensor:
    """[N] the values, with the others where they are NaN."""
    return torch.where(values_N.isnan(), others_N, values_N)


def deal(sizes: Sequence[int], ranks: Ranks) -> list[int | None]:
    """The numbers of the batches that this rank's team takes, heaviest first; a single team takes all in their order.

    sizes: tokens of each batch. They are dealt in rounds, heaviest first: in each, the heaviest goes to the team that has the
    least. So all teams work on batches of like size at the same time. A None is a round in which this team has nothing to do.
    """
    if ranks.teams == 1:
        return list(range(len(sizes)))
    order = sorted(range(len(sizes)), key=lambda i: (-sizes[i], i))
    loads = [0] * ranks.teams
    own: list[int | None] = []
    for start in range(0, len(order), ranks.teams):
        batches = order[start : start + ranks.teams]
        takers = sorted(range(ranks.teams), key=lambda team: (loads[team], team))
        taken = dict(zip(takers, batches, strict=False))
        for team, batch in taken.items():
            loads[team] += sizes[batch]
        own.append(taken.get(ranks.own_team))
    return own


def mesh_of(device: str, **sizes: int) -> Any:
    """All ranks as a mesh of torch's with these sides by name, neighbours along the last. All ranks call it."""
    return _mesh(device, tuple(sizes.items()), distributed.group.WORLD)


@functools.cache
def _mesh(device: str, sizes: tuple[tuple[str, int], ...], world: Any) -> Any:
    """Process groups are made once for each world."""
    from torch.distributed.device_mesh import init_device_mesh

    names, shape = zip(*sizes, strict=True)
    return init_device_mesh(device, shape, mesh_dim_names=names)


def padding() -> Sequences:
    """A row that counts for nothing, for a rank that must keep pace with the others."""
    return Sequences(torch.zeros(1, 2, dtype=torch.long), torch.tensor([2]), torch.tensor([[False, True]]))


def same_start(weights: Iterable[Tensor], ranks: Ranks) -> None:
    """Give every rank the first one's weights: replicas that start apart never meet again."""
    if ranks.size > 1:
        for weight in weights:
            distributed.broadcast(weight.detach(), src=0)


def sum_gradients(weights: Iterable[Any], ranks: Ranks, group: Any = None) -> None:
    """Replace the gradients by their sums over ranks, some megabytes at a time; the same bits on every rank.

    A weight without a gradient on any rank has none afterwards either. group: the ranks to sum over; None: all of them.
    """
    if ranks.size == 1:
        return
    held = list(weights)
    known = torch.tensor([w.grad is not None for w in held], dtype=torch.int32)
    distributed.all_reduce(known, distributed.ReduceOp.MAX, group)
    moved = [w for w, some in zip(held, known.tolist(), strict=True) if some]
    for weight in moved:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    for bucket in _buckets([held_here(w.grad) for w in moved]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        distributed.all_reduce(flat, group=group)
        for gradient, part in zip(bucket, torch.split(flat, [g.numel() for g in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _buckets(gradients: Sequence[Tensor]) -> Iterable[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        full = sum(g.nbytes for g in bucket) + gradient.nbytes > BUCKET
        if bucket and (full or gradient.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


class Sharded(torch.nn.Module):
    """A model of which every rank holds a part of each weight (FSDP2). Its weights are whole only inside a call.

    Decoder layers are put together one at a time as they run; embeddings, head and last norm for the whole call.
    """

    def __init__(
        self, model: Any, machine: Machine, narrow: torch.dtype | None, forward: Callable[[Any], Any] | None = None
    ) -> None:
        """narrow:  the type in which layers are put together; None: the one their weights have.
        forward: a layer to what runs it, where that is not the layer's own forward method.
        """
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import (
            FSDPModule,
            MixedPrecisionPolicy,
            fully_shard,
            register_fsdp_forward_method,
        )  # fmt: skip

        super().__init__()
        self.model = model
        self.inside = False
        size = distributed.get_world_size()
        if machine.sharding == "hybrid":
            shape, names = (size // machine.processes, machine.processes), ("replicas", "shards")
            mesh = init_device_mesh(machine.device, shape, mesh_dim_names=names)
        else:
            mesh = init_device_mesh(machine.device, (size,))
        # The residual stream, embeddings, head and the sums of gradients stay wide.
        wide = next(model.parameters()).dtype
        policy = MixedPrecisionPolicy(param_dtype=narrow, reduce_dtype=wide, cast_forward_inputs=False)
        for layer in decoder_layers(model)[1]:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
            if forward is not None:
                setattr(layer, PACKED, forward(layer))
                register_fsdp_forward_method(layer, PACKED)
        fully_shard(self, mesh=mesh, mp_policy=MixedPrecisionPolicy(cast_forward_inputs=False))
        for module in self.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)

    def run(self, work: Callable[..., Value], *given: Any) -> Value:
        """What `work(*given)` returns with the weights at hand; all ranks call it together, each on its own share."""
        found: Value = self(work, *given)
        if not torch.is_grad_enabled():
            # A backward pass would have taken the weights apart again.
            root: Any = self
            root.reshard()
        return found

    def forward(self, work: Callable[..., Value], *given: Any) -> Value:
        """The body of `run`."""
        self.inside = True
        try:
            return work(*given)
        finally:
            self.inside = False


def is_shard(tensor: Tensor) -> bool:
    """Whether this is a rank's part of a tensor."""
    return hasattr(tensor, "full_tensor")


def held_here(tensor: Any) -> Tensor:
    """The tensor itself, or this rank's part of it; gradients flow through."""
    found: Tensor = tensor.to_local() if is_shard(tensor) else tensor
    return found


def whole(tensor: Any) -> Tensor:
    """The tensor itself, put together from all ranks where it is a shard; all ranks must ask for the same one."""
    found: Tensor = tensor.full_tensor() if is_shard(tensor) else tensor
    return found


def whole_weights(model: Any) -> dict[str, Tensor] | None:
    """On the first rank, every weight of a sharded model by its name, on the CPU; None for a model that is not sharded.

    All ranks call it; weights are put together one at a time, and the others keep none (an empty dict).
    """
    held = model.state_dict(keep_vars=True)
    if not any(is_shard(weight) for weight in held.values()):
        return None
    first, found, known = Ranks.current().first, {}, dict[int, Tensor]()
    for name, weight in held.items():
        if id(weight) not in known:
            full = whole(weight.detach())
            known[id(weight)] = full.cpu() if first else full.new_empty(0)
        if first:
            # Weights under two names stay one tensor, which is how writers know that they are tied.
            found[name] = known[id(weight)]
    return found


def placed(full: Tensor, like: Any) -> Tensor:
    """A whole tensor as `like` is held: this rank's part of it where that is a shard. Every rank gives the same one."""
    if not is_shard(like):
        return full
    from torch.distributed.tensor import distribute_tensor

    moved = full.to(like.device)
    return distribute_tensor(moved, like.device_mesh, like.placements, src_data_rank=None)
