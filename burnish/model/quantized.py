"""Frozen linear layers in 4 bits (QLoRA, arXiv:2305.14314 §3), by bitsandbytes: stored packed, unpacked for each product.

Shapes: O outputs, I inputs of a layer.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from burnish.errors import MissingExtra

BLOCK = 64  # Weights that share a scale, as in the paper.


def bitsandbytes(what: str) -> Any:
    """The library. Raises MissingExtra, naming what needs it, where it is not installed."""
    try:
        with _unasked_advice():
            return importlib.import_module("bitsandbytes")
    except ImportError:
        raise MissingExtra(what, "bitsandbytes", "qlora") from None


class QuantizedLinear(torch.nn.Module):
    """A frozen linear layer in NF4 with double quantization: half a byte a weight and about an eighth of a bit of scales.

    Products are computed with the unpacked weight in the type of the input, or of autocast. Differentiable in the input.
    """

    def __init__(self, base: torch.nn.Linear, device: str) -> None:
        super().__init__()
        self._functional = bitsandbytes("LoRA(quantize='nf4')").functional
        self.in_features, self.out_features = base.in_features, base.out_features
        packed, self._state = self._functional.quantize_4bit(
            base.weight.detach().to(device).contiguous(), blocksize=BLOCK, compress_statistics=True, quant_type="nf4"
        )
        self.register_buffer("packed", packed)
        self.packed: Tensor
        self.bias = base.bias

    @property
    def weight(self) -> Tensor:
        """[O, I] the weights that products are computed with, in float32."""
        return self.unpacked(torch.float32)

    def unpacked(self, dtype: torch.dtype) -> Tensor:
        """[O, I] the weights in a type."""
        found: Tensor = self._functional.dequantize_4bit(self.packed, self._state)
        return found.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """X W^T + b."""
        kind = x.device.type
        compute = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        apply: Any = _Product.apply
        out: Tensor = apply(x.to(compute), self)
        return out if self.bias is None else out + self.bias.to(out.dtype)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> QuantizedLinear:
        # The scales are not the model's numbers: they move with it and keep their own types.
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._state.to(self.packed.device)
        return self


class _Product(torch.autograd.Function):
    """Keeps nothing for the backward pass: the weight is unpacked again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return x @ layer.unpacked(x.dtype).T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad @ ctx.layer.unpacked(grad.dtype), None


@contextmanager
def _unasked_advice() -> Iterator[None]:
    """Inside, bitsandbytes does not advise other packages: its kernels for inference are not used here."""
    log = logging.getLogger("bitsandbytes")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
