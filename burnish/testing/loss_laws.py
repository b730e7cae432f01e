"""The laws of a loss. Shapes: B sequences, T positions, U units (rows or pairs)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.gradcheck import GradcheckError

from burnish.losses.batch import Sequences

# make_batch(seed) -> (what the loss takes first: log-probs, values or scores; the batch)
MakeBatch = Callable[[int], tuple[Tensor, Any]]


def check_loss(loss: Any, make_batch: MakeBatch, *, seeds: int = 3, detached: bool = False) -> None:
    """Raise AssertionError, naming the law and the numbers, unless the loss keeps all of these, in float64:

    - split: any cut into micro-batches, in any order, gives the same count, total, gradient and metrics;
    - padding: more columns, more empty units, and inf or NaN wherever the mask is False change nothing;
    - mask: tokens off the mask get a gradient of exactly 0;
    - finite: total and gradient are finite with all log-probs at -1e4, or half of them there and half at 0;
    - gradcheck: the gradient is that of the total; count does not depend on the log-probs; metrics carry no gradient.

    make_batch(seed) gives log-probs [B, T] (or several a token [B, T, …], or values, or one score a row) and a batch with at least 3 units of different
    lengths, as the classes in burnish.losses.batch. The values should lie away from a loss's kinks. detached=True is for losses
    that keep a factor from being differentiated on purpose (CISPO's weight): their gradient is not that of the total, so that
    part of the last law is left out, and needs a test of its own.
    """
    for seed in range(seeds):
        inputs, batch = make_batch(seed)
        inputs, batch = inputs.detach().double(), _map(batch, lambda x: x.double() if x.is_floating_point() else x)
        if batch.units < 3:
            raise ValueError(f"make_batch({seed}) gave {batch.units} units; the split law needs at least 3")
        _check_split(loss, inputs, batch, seed)
        _check_padding(loss, inputs, batch, seed)
        _check_mask(loss, inputs, batch, seed)
        _check_finite(loss, inputs, batch)
        _check_gradient(loss, inputs, batch, detached)


def _check_split(loss: Any, inputs: Tensor, batch: Any, seed: int) -> None:
    whole = _measure(loss, inputs, batch)
    order_U = torch.randperm(batch.units, generator=torch.Generator().manual_seed(seed))
    for size in (1, 2, batch.units):
        count = total = torch.zeros((), dtype=torch.float64)
        gradient = torch.zeros_like(inputs)
        metrics: dict[str, Tensor] = {}
        for index_U in torch.split(order_U, size):
            rows = batch.rows(index_U)
            part = _measure(loss, inputs[rows], batch.take(index_U))
            count, total = count + part.count, total + part.total
            gradient[rows] = part.gradient
            metrics = {name: value + metrics.get(name, 0.0) for name, value in part.metrics.items()}
        where = f"cut into micro-batches of {size}"
        _same("split: count", whole.count, count, where)
        _same("split: total", whole.total, total, where)
        _same("split: gradient", whole.gradient, gradient, where)
        _law(
            metrics.keys() == whole.metrics.keys(),
            f"split: metrics {sorted(metrics)} differ from {sorted(whole.metrics)}",
        )
        for name, value in whole.metrics.items():
            _same(f"split: metric {name!r}", value, metrics[name], where)


def _check_padding(loss: Any, inputs: Tensor, batch: Any, seed: int) -> None:
    whole = _measure(loss, inputs, batch)
    rows = len(batch.sequences.lengths_B)
    for junk in (0.0, float("inf"), float("-inf"), float("nan"), 1e30):
        wide_inputs, wide = _widen(inputs, batch, junk)
        _same_measure(
            f"padding: two more columns, {junk} off the mask", whole, _measure(loss, wide_inputs, wide), inputs
        )
        index_U = torch.tensor([*range(batch.units), seed % batch.units])
        more_inputs, more = inputs[batch.rows(index_U)], batch.take(index_U)
        empty = more.rows(torch.tensor([batch.units]))
        more_inputs, more = _blank(more_inputs, more, empty, junk)
        kept = more.rows(torch.arange(batch.units))
        if len(kept) != rows:
            raise ValueError(f"rows() of all units gave {len(kept)} rows, but the batch has {rows}")
        measured = _measure(loss, more_inputs, more)
        measured = dataclasses.replace(measured, gradient=measured.gradient[kept])
        _same_measure(f"padding: an empty unit holding {junk}", whole, measured, inputs)


def _check_mask(loss: Any, inputs: Tensor, batch: Any, seed: int) -> None:
    mask_BT = batch.sequences.mask_BT
    if inputs.shape[:2] != mask_BT.shape:
        return
    gradient = _measure(loss, inputs, batch).gradient
    _law(bool((gradient[~mask_BT] == 0).all()), f"mask: a token off the mask has a gradient (seed {seed})")
    hidden = dataclasses.replace(batch.sequences, mask_BT=torch.zeros_like(mask_BT))
    blind = _measure(loss, inputs, dataclasses.replace(batch, sequences=hidden))
    _law(float(blind.count) == 0, f"mask: nothing is trained, but count is {float(blind.count)}")
    _law(float(blind.total) == 0, f"mask: nothing is trained, but total is {float(blind.total)}")
    _law(bool((blind.gradient == 0).all()), "mask: nothing is trained, but there is a gradient")


def _check_finite(loss: Any, inputs: Tensor, batch: Any) -> None:
    low = torch.full_like(inputs, -1e4)
    mixed = torch.where(torch.arange(inputs.numel()).reshape(inputs.shape) % 2 == 0, low, torch.zeros_like(low))
    for name, values in (("all at -1e4", low), ("half at -1e4, half at 0", mixed), ("all at 0", torch.zeros_like(low))):
        measured = _measure(loss, values, batch)
        _law(bool(torch.isfinite(measured.total)), f"finite: total is {float(measured.total)} with log-probs {name}")
        _law(bool(torch.isfinite(measured.gradient).all()), f"finite: the gradient is not with log-probs {name}")
        for metric, value in measured.metrics.items():
            _law(bool(torch.isfinite(value)), f"finite: metric {metric!r} is {float(value)} with log-probs {name}")


def _check_gradient(loss: Any, inputs: Tensor, batch: Any, detached: bool) -> None:
    _law(
        loss.total(inputs, batch).ndim == 0 and loss.count(batch).ndim == 0,
        "gradcheck: total and count must be scalars",
    )
    if not detached:
        try:
            torch.autograd.gradcheck(lambda x: loss.total(x, batch), inputs.clone().requires_grad_(True))
        except GradcheckError as error:
            raise AssertionError(f"gradcheck: {error}") from error
    for name, value in loss.metrics(inputs.clone().requires_grad_(True), batch).items():
        _law(not value.requires_grad, f"gradcheck: metric {name!r} carries a gradient")


@dataclasses.dataclass(frozen=True, slots=True)
class _Measured:
    count: Tensor
    total: Tensor
    gradient: Tensor
    metrics: dict[str, Tensor]


def _measure(loss: Any, inputs: Tensor, batch: Any) -> _Measured:
    leaf = inputs.clone().requires_grad_(True)
    total = loss.total(leaf, batch)
    (gradient,) = torch.autograd.grad(total, leaf)
    metrics = {name: value.double() for name, value in loss.metrics(inputs, batch).items()}
    return _Measured(loss.count(batch).double(), total.detach(), gradient, metrics)


def _same_measure(law: str, whole: _Measured, other: _Measured, inputs: Tensor) -> None:
    gradient = other.gradient
    extra = gradient[:, inputs.shape[1] :] if inputs.ndim > 1 else gradient[:0]
    _law(bool((extra == 0).all()), f"{law}: the padding has a gradient")
    _same(law, whole.count, other.count, "count")
    _same(law, whole.total, other.total, "total")
    _same(law, whole.gradient, gradient[:, : inputs.shape[1]] if inputs.ndim > 1 else gradient, "gradient")
    for name, value in whole.metrics.items():
        _same(law, value, other.metrics[name], f"metric {name!r}")


def _widen(inputs: Tensor, batch: Any, junk: float) -> tuple[Tensor, Any]:
    """Two more columns, and junk at every float off the mask."""
    shape = batch.sequences.mask_BT.shape
    wide_mask_BT = torch.cat([batch.sequences.mask_BT, torch.zeros(shape[0], 2, dtype=torch.bool)], 1)

    def widen(x: Tensor) -> Tensor:
        if x.shape[:2] != shape:
            return x
        wide = torch.cat([x, torch.zeros(shape[0], 2, *x.shape[2:], dtype=x.dtype)], 1)
        off = (~wide_mask_BT).reshape(*wide_mask_BT.shape, *[1] * (x.ndim - 2))
        return wide.masked_fill(off, junk) if x.is_floating_point() else wide

    return widen(inputs), _map(batch, widen)


def _blank(inputs: Tensor, batch: Any, rows: Tensor, junk: float) -> tuple[Tensor, Any]:
    """The units that own these rows made empty: no length, no mask, junk for every float that belongs to a row."""

    def blank(x: Tensor) -> Tensor:
        if len(x) != len(batch.sequences.lengths_B):
            return x
        return x.clone().index_fill_(0, rows, junk if x.is_floating_point() else 0)

    return blank(inputs), _map(batch, blank)


def _map(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The batch with every tensor in it changed, those of its sequences too."""
    fields = {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}
    changed = {
        name: change(value)
        if isinstance(value, Tensor)
        else _map(value, change)
        if isinstance(value, Sequences)
        else value
        for name, value in fields.items()
    }
    return dataclasses.replace(batch, **changed)


def _same(law: str, expected: Tensor, found: Tensor, where: str) -> None:
    if not torch.allclose(expected, found, rtol=1e-9, atol=1e-9):
        shown = (float(expected), float(found)) if expected.ndim == 0 else (expected.tolist(), found.tolist())
        raise AssertionError(f"{law} changes, {where}: {shown[0]} became {shown[1]}")


def _law(kept: bool, broken: str) -> None:
    if not kept:
        raise AssertionError(broken)
