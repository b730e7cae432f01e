"""What a Machine asks of a model's layers: compute again instead of keeping, wait in the CPU's memory, compiled, other kernels.

None of it changes a number: computing again repeats the same operations, moving copies bits. Compiled layers and Liger's
kernels differ by rounding.

Source of recomputation: Chen et al. 2016 (arXiv:1604.06174); of attention alone: Korthikanti et al. 2022
(arXiv:2205.05198, section 5). Dropout is off in a policy, so no random state has to come back.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from burnish.errors import MissingExtra, ModelError
from burnish.model.attention import leave_graphs
from burnish.pipeline.machine import Machine

Recompute = Literal["none", "attention", "layers"]


def again(function: Callable[..., Any], x: Tensor, /, *rest: Any, **settings: Any) -> Any:
    """function(x, …), of which only the inputs are kept; the backward pass computes it again. Without gradients: a call."""
    from torch.utils.checkpoint import checkpoint

    return checkpoint(function, x, *rest, use_reentrant=False, preserve_rng_state=False, **settings)


def waiting(machine: Machine) -> AbstractContextManager[Any]:
    """Inside, what layers keep for the backward pass lies in the CPU's memory, where `machine.offload` says so."""
    if machine.offload not in ("activations", "both"):
        return nullcontext()
    return torch.autograd.graph.saved_tensors_hooks(_away, _back)


def _away(x: Tensor) -> tuple[torch.device, Tensor]:
    if x.is_leaf and x.requires_grad:
        return x.device, x  # a weight, which stays where it is
    # Page-locked memory is copied to without a detour.
    host = torch.empty_like(x, device="cpu", pin_memory=x.is_cuda)
    return x.device, host.copy_(x)


def _back(kept: tuple[torch.device, Tensor]) -> Tensor:
    device, x = kept
    return x.to(device, non_blocking=True)


def arrange(model: Any, machine: Machine) -> None:
    """Have the layers of a transformers model do what the machine says, whenever they run on packed documents.

    Raises ModelError for a model whose layers are not known to transformers, MissingExtra where Liger is not installed.
    """
    if machine.kernels == "liger":
        _liger(model)
    if machine.compile:
        leave_graphs()
    _, layers = decoder_layers(model)
    attentions = [layer.self_attn for layer in layers if hasattr(layer, "self_attn")]
    for module in (*layers, *attentions):
        module.__dict__.pop("forward", None)
    repeated: list[Any] = {"none": [], "attention": attentions, "layers": layers}[machine.recompute]
    if machine.recompute != "none" and not repeated:
        raise ModelError(
            f"{type(model).__name__} has no {machine.recompute} that transformers can compute again, so "
            f"recompute={machine.recompute!r} would save nothing.\n  Set recompute='none' on the Machine, and fewer micro_tokens."
        )
    for module in layers if machine.compile else ():
        module.forward = _Arranged(module, True, False)
    for module in repeated:
        module.forward = _Arranged(module, machine.compile and machine.recompute == "layers", True)


class _Arranged:
    """A module's forward pass on packed documents, compiled or computed again; other passes stay the module's own.

    An object, not a closure: a deep copy of a model then refers to the copied module.
    """

    def __init__(self, module: Any, compiled: bool, recomputed: bool) -> None:
        self._module, self._compiled, self._recomputed = module, compiled, recomputed

    def __call__(self, *args: Any, **settings: Any) -> Any:
        forward = type(self._module).forward
        if settings.get("documents") is None:
            return forward(self._module, *args, **settings)
        run = functools.partial(_compiled(forward) if self._compiled else forward, self._module)
        if not self._recomputed:
            return run(*args, **settings)
        if args:
            return again(run, *args, **settings)
        # transformers names the argument of attention modules; the tensor that carries the gradient goes by place.
        x = settings.pop("hidden_states")
        return again(lambda states: run(hidden_states=states, **settings), x)


@functools.cache
def _compiled(forward: Callable[..., Any]) -> Callable[..., Any]:
    """One compiled function for every layer of a class: weights are its arguments, so one compilation serves all."""
    compiled: Callable[..., Any] = torch.compile(forward)
    return compiled


def decoder_layers(model: Any) -> tuple[str, list[Any]]:
    """(the name of the list that a model keeps its decoder layers in, the layers); ("", []) for one without such a list."""
    config = getattr(model, "config", None)
    count = int(config.get_text_config().num_hidden_layers) if config is not None else 0
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return name, list(module)
    return "", []


def _liger(model: Any) -> None:
    """Liger's RMSNorm and SwiGLU in place of the module's own. Rotations stay: Liger changes them for the whole process."""
    try:
        patches = importlib.import_module("liger_kernel.transformers.monkey_patch")
    except ImportError:
        raise MissingExtra("Machine(kernels='liger')", "liger-kernel", "liger") from None
    if model.config.model_type not in patches.MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise ModelError(
            f"Liger has no kernels for {type(model).__name__}, so kernels='liger' would change nothing.\n"
            "  Set kernels='compiled' on the Machine for the same fusions, or 'torch'."
        )
    # Liger also replaces the classes that later models of this process would be made of; those are put back.
    source = vars(sys.modules[type(model).__module__])
    before = dict(source)
    patches._apply_liger_kernel_to_instance(
        model=model, rope=False, cross_entropy=False, fused_linear_cross_entropy=False, rms_norm=True, swiglu=True
    )
    source.update(before)
