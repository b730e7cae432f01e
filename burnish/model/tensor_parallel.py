"""Tensor parallel: one model held by several ranks, each of which has a part of every layer's matrices and computes that part.

Which matrices are divided, and along which side, is transformers' own plan for the model (`base_model_tp_plan` of its
configuration). Queries, keys, values, gate and up are divided by their rows, so that a rank has some heads and some inner
features; the output projections by their columns, and what they give is summed over ranks (Shoeybi et al. 2019,
arXiv:1909.08053 §3). Embeddings, head and norms are whole on every rank, and so is the stream between layers.

Divided weights are DTensors: checkpoints, files and norms put them together as they do shards.

Shapes: N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, distributed

from burnish.errors import ModelError
from burnish.model.parallel import Ranks, is_shard, mesh_of, sum_gradients, whole
from burnish.pipeline.machine import Machine

# transformers' words for how a module is divided. A norm of heads is whole, but a rank sees only its own heads.
ROWS, COLUMNS, OWN_HEADS = "colwise", "rowwise", "replicated_with_grad_allreduce"
_SIZES = ("num_attention_heads", "num_key_value_heads", "intermediate_size")


@dataclass(frozen=True, slots=True, eq=False)
class Divided:
    """A model of which each rank holds a part. Ranks of a team have the parts of one model.

    peers:   the process group of the ranks that hold the same part.
    partial: weights that are whole, but of whose gradient a rank has only what its own heads give.
    """

    size: int
    group: Any
    peers: Any
    partial: tuple[Tensor, ...]

    def spread(self, x_ND: Tensor) -> Tensor:
        """The same numbers for the rank's own rows of a matrix; their gradients are summed over the team."""
        apply: Any = _Spread.apply
        return apply(x_ND, self.group)  # type: ignore[no-any-return]

    def summed(self, x_ND: Tensor) -> Tensor:
        """The sum over the team, of which every rank's gradient is the gradient."""
        apply: Any = _Summed.apply
        return apply(x_ND, self.group)  # type: ignore[no-any-return]

    def sum_gradients(self, weights: Iterable[Any], ranks: Ranks) -> None:
        """Gradients of parts summed over peers, those of whole weights over all ranks, each of a team having the same one.

        That one is divided by the team's size first, which costs no bit where the size is a power of two; every rank then
        has the same bits.
        """
        held = list(weights)
        alike = [w for w in held if not is_shard(w)]
        some = {id(weight) for weight in self.partial}
        for weight in alike:
            if weight.grad is not None and id(weight) not in some:
                weight.grad.div_(self.size)
        sum_gradients(alike, ranks)
        sum_gradients([w for w in held if is_shard(w)], ranks, self.peers)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return x_ND.view_as(x_ND)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _total(grad, ctx.group).to(grad.dtype), None


class _Summed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, group: Any) -> Tensor:
        return _total(x_ND, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def _total(x: Tensor, group: Any) -> Tensor:
    """The sum over ranks, in float32 or wider."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32), copy=True).contiguous()
    distributed.all_reduce(wide, group=group)
    return wide


def divide(model: Any, machine: Machine) -> Divided:
    """Leave this rank its part of each layer's matrices; every rank gives the same model.

    Raises ModelError for a model without a plan, with a plan of other kinds of parts, or of sizes that cannot be divided.
    """
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    plan = _plan(model, machine)
    across = mesh_of(machine.device, peers=distributed.get_world_size() // machine.tensor, tensor=machine.tensor)
    styles = {ROWS: ColwiseParallel, COLUMNS: RowwiseParallel}
    divided = {name: styles[kind]() for name, kind in plan.items() if kind in styles}
    parallelize_module(model.base_model, across["tensor"], divided)
    heads = [name for name, kind in plan.items() if kind == OWN_HEADS]
    partial = tuple(
        weight
        for name, module in model.base_model.named_modules()
        if any(fnmatch(name, pattern) for pattern in heads)
        for weight in module.parameters(recurse=False)
    )
    return Divided(machine.tensor, across["tensor"].get_group(), across["peers"].get_group(), partial)


def _plan(model: Any, machine: Machine) -> dict[str, str]:
    """How each module of the body is divided, by patterns of its name."""
    config, size, kind = model.config.get_text_config(), machine.tensor, type(model).__name__
    plan: dict[str, str] = dict(getattr(config, "base_model_tp_plan", None) or {})
    fix = "Set tensor=1 on the Machine; sharding='full' divides every model."
    if not plan:
        raise ModelError(
            f"transformers has no plan for dividing a {kind} among processes, which Machine(tensor={size}) asks for.\n  {fix}"
        )
    other = {name: how for name, how in plan.items() if how not in (ROWS, COLUMNS, OWN_HEADS)}
    if other:
        name, how = next(iter(other.items()))
        raise ModelError(
            f"transformers' plan for dividing a {kind} has {name} as {how!r}, and Machine(tensor={size}) knows only {ROWS}, "
            f"{COLUMNS} and {OWN_HEADS}.\n  {fix}"
        )
    for name in _SIZES:
        count = int(getattr(config, name, None) or config.num_attention_heads)
        if count % size:
            raise ModelError(
                f"{kind}: {name}={count} cannot be divided among the {size} processes of Machine(tensor={size}).\n"
                f"  Set tensor to a divisor of {count}, or 1; sharding='full' divides every model."
            )
    return plan


def alike(tensors: Iterable[Any]) -> list[list[Any]]:
    """Tensors in groups that torch's operations on many tensors at once take together: parts of one kind, and whole ones."""
    found: dict[Any, list[Any]] = {}
    for tensor in tensors:
        found.setdefault(tensor.device_mesh if is_shard(tensor) else None, []).append(tensor)
    return list(found.values())


def total_norm(gradients: Iterable[Any]) -> Tensor:
    """The norm of all gradients together, parts counted with those of other ranks; the same on every rank."""
    norms = [whole(torch.nn.utils.get_total_norm(group)) for group in alike(gradients)]
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
