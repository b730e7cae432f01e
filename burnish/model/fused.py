"""The pieces of a Llama layer as autograd functions with hand-written gradients.

The residual stream, norms and rotations are computed in the wide type (float32; float64 for float64 weights); matrix
products read and write the compute type (bf16 on CPUs that multiply it). Elementwise work goes over a few tokens at a
time, so that its temporaries stay in the processor's cache: on a CPU that is what it costs.

Shapes: N tokens, D width, E head width, I the feed-forward width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

ROWS = 128  # Tokens worked on at a time.


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """The type of sums and residuals beside weights or products of this type."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def _chunks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, ROWS):
        yield slice(start, min(start + ROWS, rows))


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_VD: Tensor, tokens_N: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(tokens_N)
        ctx.like = weight_VD.shape, weight_VD.dtype, padding
        return weight_VD.index_select(0, tokens_N).to(wide_type(weight_VD.dtype))

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, None, None]:
        (tokens_N,) = ctx.saved_tensors
        shape, dtype, padding = ctx.like
        grad_VD = grad_ND.new_zeros(shape, dtype=dtype).index_add_(0, tokens_N, grad_ND.to(dtype))
        if padding is not None:
            grad_VD[padding] = 0
        return grad_VD, None, None


class _Norm(torch.autograd.Function):
    """y = x * w / sqrt(mean(x^2) + eps)  (arXiv:1910.07467, eq. 4)."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_D: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        weight = weight_D.to(x_ND.dtype)
        out = torch.empty_like(x_ND, dtype=dtype)
        inverse_N1 = torch.linalg.vector_norm(x_ND, dim=-1, keepdim=True)
        inverse_N1.square_().div_(x_ND.shape[1]).add_(eps).rsqrt_()
        for part in _chunks(len(x_ND)):
            out[part] = torch.mul(x_ND[part], inverse_N1[part]).mul_(weight)
        ctx.save_for_backward(x_ND, weight_D, inverse_N1)
        return out

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, Tensor, None, None]:
        # With z = x r and g' = g w:  dx = r (g' - z mean(g' z)),  dw = sum over tokens of g z.
        x_ND, weight_D, inverse_N1 = ctx.saved_tensors
        weight = weight_D.to(x_ND.dtype)
        grad_x, grad_weight = torch.empty_like(x_ND), torch.zeros_like(weight)
        for part in _chunks(len(x_ND)):
            inverse = inverse_N1[part]
            z, g = x_ND[part] * inverse, grad_ND[part].to(x_ND.dtype)
            scaled = g * weight
            slope = torch.einsum("nd,nd->n", scaled, z)[:, None].div_(-z.shape[1])
            grad_weight += (g * z).sum(0)
            torch.addcmul(scaled, z, slope, out=grad_x[part]).mul_(inverse)
        return grad_x, grad_weight.to(weight_D.dtype), None, None


class _Rotate(torch.autograd.Function):
    """Rotary position embedding (arXiv:2104.09864, eq. 34, halves convention) of heads laid side by side in x [N, H*E]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
        ctx.save_for_backward(cos_NE, sin_NE)
        return _turn(x, cos_NE, sin_NE)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        # A rotation's transpose turns back.
        cos_NE, sin_NE = ctx.saved_tensors
        return _turn(grad, cos_NE, -sin_NE), None, None


def _turn(x: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    width, half = cos_NE.shape[1], cos_NE.shape[1] // 2
    for part in _chunks(len(x)):
        wide = x[part].to(cos_NE.dtype).view(-1, x.shape[1] // width, width)
        cos, sin = cos_NE[part, None, :half], sin_NE[part, None, :half]
        low, high = wide[..., :half], wide[..., half:]
        view = out[part].view(wide.shape)
        view[..., :half] = torch.addcmul(low * cos, high, sin, value=-1)
        view[..., half:] = torch.addcmul(high * cos, low, sin)
    return out


class _Linear(torch.autograd.Function):
    """x W^T + b for weights stacked along their rows, read from `narrow`, a copy of them in x's type.

    With a residual, the product is added to it in the residual's own type.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor | None, narrow: Tensor, bias: Tensor | None, *weights: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, narrow)
        ctx.rows = [len(weight) for weight in weights]
        ctx.types = weights[0].dtype, bias.dtype if bias is not None else None
        out = x @ narrow.T
        if bias is not None:
            out += bias.to(out.dtype)
        return out if residual is None else residual + out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, narrow = ctx.saved_tensors
        dtype, bias_dtype = ctx.types
        grad_residual = grad if ctx.needs_input_grad[1] else None
        slope = grad.to(x.dtype)
        grad_x = slope @ narrow if ctx.needs_input_grad[0] else None
        grad_bias = grad.sum(0, dtype=wide_type(x.dtype)).to(bias_dtype) if ctx.needs_input_grad[3] else None
        parts: Sequence[Tensor | None] = [None] * len(ctx.rows)
        if any(ctx.needs_input_grad[4:]):
            parts = (slope.T @ x).to(dtype).split(ctx.rows)
        return grad_x, grad_residual, None, grad_bias, *parts


class _SwiGLU(torch.autograd.Function):
    """silu(gate) * up, gate and up side by side in x [N, 2*I] (arXiv:2002.05202, eq. 5)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        width = x.shape[1] // 2
        out = torch.empty(len(x), width, dtype=x.dtype, device=x.device)
        for part in _chunks(len(x)):
            torch.mul(torch.nn.functional.silu(x[part, :width]), x[part, width:], out=out[part])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        width = x.shape[1] // 2
        out = torch.empty_like(x)
        for part in _chunks(len(x)):
            gate, up, g = x[part, :width], x[part, width:], grad[part]
            out[part, :width] = torch.ops.aten.silu_backward(g * up, gate)
            torch.mul(torch.nn.functional.silu(gate), g, out=out[part, width:])
        return out


def embed(weight_VD: Tensor, tokens_N: Tensor, padding: int | None = None) -> Tensor:
    """[N, D] rows of the embedding in the wide type; the padding token's row gets no gradient, as in torch's module."""
    apply: Any = _Embed.apply
    return apply(weight_VD, tokens_N, padding)  # type: ignore[no-any-return]


def norm(x_ND: Tensor, weight_D: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """RMSNorm of x over its last axis, rounded once, to `dtype`."""
    apply: Any = _Norm.apply
    return apply(x_ND, weight_D, eps, dtype)  # type: ignore[no-any-return]


def rotate(x: Tensor, cos_NE: Tensor, sin_NE: Tensor) -> Tensor:
    """[N, H*E] heads turned by their positions' angles; both halves of cos and sin are alike."""
    apply: Any = _Rotate.apply
    return apply(x, cos_NE, sin_NE)  # type: ignore[no-any-return]


def linear(
    x: Tensor, weights: Sequence[Tensor], narrow: Tensor, *, bias: Tensor | None = None, residual: Tensor | None = None
) -> Tensor:
    """X W^T + b (+ residual): W is `weights` stacked along their rows, `narrow` the same numbers in x's type.

    Gradients of the weights come in the weights' own type.
    """
    apply: Any = _Linear.apply
    return apply(x, residual, narrow, bias, *weights)  # type: ignore[no-any-return]


def swiglu(x: Tensor) -> Tensor:
    """[N, I] silu(gate) * up from [N, 2*I] gate and up."""
    apply: Any = _SwiGLU.apply
    return apply(x)  # type: ignore[no-any-return]
