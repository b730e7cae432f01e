"""Linear layers with an adapter of low rank (LoRA, arXiv:2106.09685; DoRA, arXiv:2402.09353), and plain weights from them.

The frozen weight W takes no gradient: a step computes neither dW nor its optimizer state.

Shapes: N tokens, O outputs and I inputs of a layer, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from burnish.core.rng import seed_of
from burnish.errors import RecipeError, nearest
from burnish.model.fused import wide_type
from burnish.model.parallel import whole
from burnish.model.quantized import QuantizedLinear
from burnish.model.trains import LoRA
from burnish.pipeline.machine import Machine


class AdaptedLinear(torch.nn.Module):
    """y = x W^T + s (x A^T) B^T + b; with DoRA, row o of W + s B A is stretched to the length magnitude_o.

    base:     the frozen layer, plain or quantized.
    settings: rank and scaling s.
    enabled:  False computes the base alone.
    """

    def __init__(self, base: torch.nn.Linear | QuantizedLinear, settings: LoRA, seed: int) -> None:
        super().__init__()
        self.base, self.settings, self.enabled = base, settings, True
        self.in_features, self.out_features = base.in_features, base.out_features
        bound = 1 / math.sqrt(base.in_features)
        g = torch.Generator().manual_seed(seed)
        start_RI = torch.rand(settings.rank, base.in_features, generator=g) * 2 * bound - bound
        self.lora_A = torch.nn.Parameter(start_RI)
        self.lora_B = torch.nn.Parameter(torch.zeros(base.out_features, settings.rank))
        # What it starts from is the length of each row of W; `attach_adapters` may narrow W without changing a number.
        start_O = torch.linalg.vector_norm(base.weight.detach().float(), dim=1).cpu() if settings.dora else None
        self.lora_magnitude = None if start_O is None else torch.nn.Parameter(start_O)

    @property
    def weight(self) -> Tensor:
        """[O, I] the base's."""
        weight: Tensor = self.base.weight
        return weight

    @property
    def bias(self) -> Tensor | None:
        """[O] the base's."""
        bias: Tensor | None = self.base.bias
        return bias

    def merged(self) -> Tensor:
        """[O, I] the plain weight that computes the same, in the adapter's type; put together from all ranks where it is sharded."""
        magnitude = None if self.lora_magnitude is None else whole(self.lora_magnitude)
        return merged(whole(self.weight), whole(self.lora_A), whole(self.lora_B), self.settings.scaling, magnitude)

    def ratio(self) -> Tensor | None:
        """[O] what DoRA multiplies the rows of W + s B A by; None for plain LoRA. Differentiable in the magnitude."""
        if self.lora_magnitude is None:
            return None
        with torch.no_grad():
            lengths_O = torch.linalg.vector_norm(self._sum(), dim=1)
        stretch_O: Tensor = self.lora_magnitude / lengths_O
        return stretch_O

    def forward(self, x: Tensor) -> Tensor:
        """[…, O] from […, I], under autocast too."""
        plain: Tensor = self.base(x)
        if not self.enabled:
            return plain
        low = functional.linear(functional.linear(x, self.lora_A), self.lora_B) * self.settings.scaling
        ratio_O = self.ratio()
        if ratio_O is None:
            return plain + low
        if self.bias is None:
            return (plain + low) * ratio_O.to(low.dtype)
        return (plain - self.bias.to(low.dtype) + low) * ratio_O.to(low.dtype) + self.bias.to(low.dtype)

    def _sum(self) -> Tensor:
        return torch.addmm(self.weight.to(self.lora_B.dtype), self.lora_B, self.lora_A, alpha=self.settings.scaling)


@torch.no_grad()
def merged(weight_OI: Tensor, a_RI: Tensor, b_OR: Tensor, scaling: float, magnitude_O: Tensor | None) -> Tensor:
    """[O, I] W + s B A in the type of B; with a magnitude, its rows stretched to that length (arXiv:2402.09353, eq. 5)."""
    sum_OI = torch.addmm(weight_OI.to(b_OR.dtype), b_OR, a_RI, alpha=scaling)
    if magnitude_O is None:
        return sum_OI
    ratio_O = magnitude_O / torch.linalg.vector_norm(sum_OI, dim=1)
    return sum_OI.mul_(ratio_O[:, None])


class _Adapted(torch.autograd.Function):
    """Several adapted or plain frozen layers of one input as one product with `narrow`, their weights in x's type.

    adapters: A and B of each layer in turn, None for those that have none. ratio_O: of all layers' outputs, or None.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, narrow: Tensor, bias: Tensor | None, ratio_O: Tensor | None,
        scaling: float, sizes: Sequence[int], *adapters: Tensor | None,
    ) -> Tensor:  # fmt: skip
        out = x @ narrow.T
        lows: list[Tensor | None] = []
        for part, (a, b) in _parts(sizes, adapters):
            low_NR = None if a is None or b is None else x @ a.to(x.dtype).T
            if low_NR is not None and b is not None:
                out[:, part].addmm_(low_NR, b.to(x.dtype).T, alpha=scaling)
            lows.append(low_NR)
        ctx.save_for_backward(x, narrow, ratio_O, out if ratio_O is not None else None, *adapters, *lows)
        ctx.settings = scaling, sizes
        if ratio_O is not None:
            out = out * ratio_O.to(out.dtype)
        if bias is not None:
            out += bias.to(out.dtype)
        return out if residual is None else residual + out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, narrow, ratio_O, unscaled, *rest = ctx.saved_tensors
        scaling, sizes = ctx.settings
        adapters, lows = rest[: 2 * len(sizes)], rest[2 * len(sizes) :]
        slope, grad_ratio = grad.to(x.dtype), None
        if ratio_O is not None:
            grad_ratio = (grad * unscaled).sum(0, dtype=wide_type(x.dtype)).to(ratio_O.dtype)
            slope = slope * ratio_O.to(x.dtype)
        grad_x = slope @ narrow if ctx.needs_input_grad[0] else None
        grads: list[Tensor | None] = []
        for (part, (a, b)), low_NR in zip(_parts(sizes, adapters), lows, strict=True):
            if a is None or b is None:
                grads += [None, None]
                continue
            slope_NR = (slope[:, part] @ b.to(x.dtype)).mul_(scaling)
            grads += [(slope_NR.T @ x).to(a.dtype), (slope[:, part].T @ low_NR).to(b.dtype).mul_(scaling)]
            if grad_x is not None:
                grad_x.addmm_(slope_NR, a.to(x.dtype))
        return grad_x, grad if ctx.needs_input_grad[1] else None, None, None, grad_ratio, None, None, *grads


def _parts(
    sizes: Sequence[int], adapters: Sequence[Tensor | None]
) -> Iterator[tuple[slice, tuple[Tensor | None, Tensor | None]]]:
    """(columns of the product, A and B) of each layer."""
    start = 0
    for i, size in enumerate(sizes):
        yield slice(start, start + size), (adapters[2 * i], adapters[2 * i + 1])
        start += size


def adapted_linear(
    x: Tensor, layers: Sequence[Any], narrow: Tensor, *, bias: Tensor | None, residual: Tensor | None
) -> Tensor:
    """What `burnish.model.fused.linear` computes, for layers some of which are adapted and all of which are frozen."""
    adapters: list[Tensor | None] = []
    ratios: list[Tensor] = []
    scaling, stretched = 1.0, False
    for layer in layers:
        active = isinstance(layer, AdaptedLinear) and layer.enabled
        adapters += [layer.lora_A, layer.lora_B] if active else [None, None]
        ratio_O = layer.ratio() if active else None
        stretched |= ratio_O is not None
        ratios.append(torch.ones(layer.out_features, device=x.device) if ratio_O is None else ratio_O)
        scaling = layer.settings.scaling if active else scaling
    apply: Any = _Adapted.apply
    sizes = [layer.out_features for layer in layers]
    return apply(x, residual, narrow, bias, torch.cat(ratios) if stretched else None, scaling, sizes, *adapters)  # type: ignore[no-any-return]


def attach_adapters(model: Any, settings: LoRA, *, seed: int, machine: Machine) -> None:
    """Freeze the model; put an adapter at every target, and hold frozen linear layers in as few bytes as the settings allow.

    Weights that are bf16 numbers are stored as such where products are computed in bf16: nothing but memory changes.
    Raises RecipeError for targets that name no linear layer.
    """
    model.requires_grad_(False)
    layers = {
        n: m for n, m in model.named_modules() if type(m) is torch.nn.Linear and m is not model.get_output_embeddings()
    }
    chosen = _chosen(layers, settings, type(model).__name__)
    for name, layer in layers.items():
        base: torch.nn.Linear | QuantizedLinear = layer
        if settings.quantize:
            base = QuantizedLinear(layer, machine.device)
        elif machine.compute == "bf16" and bool((layer.weight == layer.weight.bfloat16()).all()):
            layer.weight.data = layer.weight.data.bfloat16()
        if name in chosen:
            model.set_submodule(name, AdaptedLinear(base, settings, seed_of(seed, "lora", name)))
        elif base is not layer:
            model.set_submodule(name, base)


def _chosen(layers: dict[str, Any], settings: LoRA, model: str) -> set[str]:
    if not layers:
        raise RecipeError(
            f"LoRA: {model} has no linear layers, so there is nothing to adapt.\n  Use All() or Layers(…)."
        )
    if not settings.targets:
        return set(layers)
    chosen: set[str] = set()
    for target in settings.targets:
        found = {name for name in layers if name == target or name.endswith(f".{target}")}
        if not found:
            known = {name.rpartition(".")[2] for name in layers}
            raise RecipeError(
                f"LoRA(targets={settings.targets}): {target!r} names no linear layer of {model} (its head takes no adapter). "
                f"{nearest(target, known)}"
            )
        chosen |= found
    return chosen


def adapters(model: Any) -> dict[str, AdaptedLinear]:
    """The adapted layers of a model by their names; empty for a plain one."""
    return {name: module for name, module in model.named_modules() if isinstance(module, AdaptedLinear)}


@contextmanager
def adapters_off(model: Any) -> Iterator[None]:
    """Inside, the model is the one that training started from; a model without adapters stays as it is."""
    held = adapters(model).values()
    for module in held:
        module.enabled = False
    try:
        yield
    finally:
        for module in held:
            module.enabled = True


def plain_weight(layer: Any) -> Tensor:
    """[O, I] the weight of a linear layer, its adapter merged in and its quantization undone."""
    weight: Tensor = layer.merged() if isinstance(layer, AdaptedLinear) else layer.weight
    return weight


def plain_weights(model: Any) -> Iterator[tuple[str, Tensor]]:
    """(name, weight) as `named_parameters` of the plain model gives them: adapters merged in, quantization undone."""
    seen: set[int] = set()
    for prefix, module in _outer_modules(model):
        if isinstance(module, AdaptedLinear | QuantizedLinear):
            yield f"{prefix}.weight", plain_weight(module)
            if module.bias is not None:
                yield f"{prefix}.bias", module.bias
            continue
        for name, weight in module.named_parameters(recurse=False):
            if id(weight) not in seen:
                seen.add(id(weight))
                yield f"{prefix}.{name}" if prefix else name, weight


def plain_state(model: Any, held: dict[str, Tensor] | None = None) -> dict[str, Tensor] | None:
    """The plain model's state dict, from the model's own or from `held`, its whole weights by name; `held` itself for a plain model."""
    layers = {n: m for n, m in _outer_modules(model) if isinstance(m, AdaptedLinear | QuantizedLinear)}
    if not layers:
        return held
    held = model.state_dict() if held is None else held
    inside = tuple(f"{name}." for name in layers)
    # Frozen weights that are stored narrow go back to the type of the others.
    wide = next(iter(held.values())).dtype
    outer = ((name, tensor) for name, tensor in held.items() if not name.startswith(inside))
    state = {name: tensor.to(wide) if tensor.is_floating_point() else tensor for name, tensor in outer}
    for name, layer in layers.items():
        base = f"{name}.base" if isinstance(layer, AdaptedLinear) else name
        # Quantized weights are no tensors of the state dict, and are never sharded.
        weight = held.get(f"{base}.weight", layer.weight)
        if isinstance(layer, AdaptedLinear):
            a_RI, b_OR = held[f"{name}.lora_A"], held[f"{name}.lora_B"]
            weight = merged(weight, a_RI, b_OR, layer.settings.scaling, held.get(f"{name}.lora_magnitude"))
        state[f"{name}.weight"] = weight
        if f"{base}.bias" in held:
            state[f"{name}.bias"] = held[f"{base}.bias"]
    return state


def _outer_modules(model: Any) -> Iterator[tuple[str, Any]]:
    """All modules but those inside adapted layers, in the order of `named_modules`."""
    inside: tuple[str, ...] = ()
    for name, module in model.named_modules():
        if inside and name.startswith(inside):
            continue
        if isinstance(module, AdaptedLinear):
            inside = (*inside, f"{name}.")
        yield name, module
