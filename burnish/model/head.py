"""Log-probabilities of given tokens without keeping logits: memory is bounded by a chunk of positions.

Shapes: K positions, C positions of a chunk, D width, V vocabulary. Log-probs in nats.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = 512  # Positions of one matrix product.
WIDE = (
    1 << 30
)  # Bytes of wide logits of one product on accelerators, where more positions at once keep the device busy.
ROWS = 8  # Positions whose logits are worked on at a time: wide logits of these stay in the processor's cache.
KEEP = 512 << 20  # Bytes of probabilities kept for the backward pass; beyond, they are computed again.


def _chunks(count: int, chunk: int) -> Iterator[slice]:
    for start in range(0, count, chunk):
        yield slice(start, min(start + chunk, count))


def _shares(logits_CV: Tensor, own_C: Tensor, target_C: Tensor, inverse: float, keep: bool) -> Tensor:
    """[C] log of the sum of exponentials over temperature; with `keep`, logits become probabilities, the target's 0.

    own_C: the target's logit in the wide type. It replaces the target's rounded one, so that rounding of a bf16 product
    never reaches the numerator and no probability exceeds 1.
    """
    lse_C = torch.empty_like(own_C)
    for part in _chunks(len(own_C), ROWS if logits_CV.device.type == "cpu" else len(own_C)):
        wide = logits_CV[part].to(own_C.dtype)
        at = target_C[part, None]
        wide.scatter_(1, at, own_C[part, None])
        if inverse != 1.0:
            wide.mul_(inverse)
        top = wide.amax(1, keepdim=True)
        wide.sub_(top).exp_()
        total = wide.sum(1, keepdim=True)
        lse_C[part] = total.log().add_(top)[:, 0]
        if keep:
            logits_CV[part] = wide.div_(total).scatter_(1, at, 0.0)
    return lse_C


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_KD: Tensor, weight_VD: Tensor, narrow_VD: Tensor, target_K: Tensor, inverse: float, chunk: int
    ) -> Tensor:
        wide = torch.float64 if hidden_KD.dtype == torch.float64 else torch.float32
        compute, count, vocabulary = narrow_VD.dtype, len(target_K), len(narrow_VD)
        keep = any(ctx.needs_input_grad[:2]) and count * vocabulary * compute.itemsize <= KEEP
        logits_KV = torch.empty(
            count if keep else min(chunk, count), vocabulary, dtype=compute, device=hidden_KD.device
        )
        logp_K = torch.empty(count, dtype=wide, device=hidden_KD.device)
        for part in _chunks(count, chunk):
            logits = logits_KV[part] if keep else logits_KV[: part.stop - part.start]
            own = _own(hidden_KD[part], weight_VD, target_K[part], wide)
            torch.mm(hidden_KD[part].to(compute), narrow_VD.T, out=logits)
            logp_K[part] = own * inverse - _shares(logits, own, target_K[part], inverse, keep)
        ctx.save_for_backward(hidden_KD, weight_VD, narrow_VD, target_K, logp_K, *([logits_KV] if keep else []))
        ctx.settings = (inverse, chunk)
        return logp_K

    @staticmethod
    def backward(ctx: Any, grad_K: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        # d logp_i / d logits_iv = (1[v = target] - p_iv) / temperature. The target's share 1 - p is taken from the
        # wide log-prob and the others' from the rounded probabilities, so that a token that is almost certain keeps
        # its small gradient.
        hidden_KD, weight_VD, narrow_VD, target_K, logp_K, *kept = ctx.saved_tensors
        inverse, chunk = ctx.settings
        wide, compute = logp_K.dtype, narrow_VD.dtype
        slope_K1 = (grad_K * inverse)[:, None]
        own_K1 = slope_K1 * torch.expm1(logp_K).neg_()[:, None]
        grad_hidden = torch.empty_like(hidden_KD) if ctx.needs_input_grad[0] else None
        grad_weight: Tensor | None = None
        for part in [slice(0, len(target_K))] if kept else _chunks(len(target_K), chunk):
            hidden, target = hidden_KD[part], target_K[part]
            if kept:
                shares = kept[0]
            else:
                shares = hidden.to(compute) @ narrow_VD.T
                _shares(shares, _own(hidden, weight_VD, target, wide), target, inverse, True)
            if grad_hidden is not None:
                towards = weight_VD[target].to(wide).mul_(own_K1[part])
                grad_hidden[part] = towards.addcmul_((shares @ narrow_VD).to(wide), slope_K1[part], value=-1)
            if ctx.needs_input_grad[1]:
                away = (shares.T @ (hidden * -slope_K1[part]).to(compute)).to(weight_VD.dtype)
                grad_weight = away if grad_weight is None else grad_weight.add_(away)
                grad_weight.index_add_(0, target, (hidden * own_K1[part]).to(weight_VD.dtype))
        return grad_hidden, grad_weight, None, None, None, None


def _own(hidden_CD: Tensor, weight_VD: Tensor, target_C: Tensor, wide: torch.dtype) -> Tensor:
    return (hidden_CD.to(wide) * weight_VD[target_C].to(wide)).sum(-1)


def token_logprobs(
    hidden_KD: Tensor,
    weight_VD: Tensor,
    target_K: Tensor,
    *,
    temperature: float = 1.0,
    narrow_VD: Tensor | None = None,
    chunk: int | None = None,
) -> Tensor:
    """The log of softmax(hidden @ weight.T / temperature)[target]: [K] float32 (float64 for float64 hidden states), in nats.

    Differentiable in hidden and weight. narrow_VD: the weight in the type of the matrix products (default: the weight).
    chunk: positions of one matrix product (default: what suits the device).
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0 for log-probabilities, got {temperature}")
    apply: Any = _TokenLogprobs.apply
    narrow = weight_VD.detach() if narrow_VD is None else narrow_VD
    if chunk is None:
        chunk = CHUNK if hidden_KD.device.type == "cpu" else max(CHUNK, WIDE // (4 * len(weight_VD)))
    return apply(hidden_KD, weight_VD, narrow, target_K, 1.0 / temperature, chunk)  # type: ignore[no-any-return]
