"""Log-probabilities of given tokens without keeping logits: memory is bounded by a chunk of positions.

Shapes: K positions, D width, V vocabulary. Log-probs in nats.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK = 1024


def _logits(hidden_CD: Tensor, weight_VD: Tensor, target_C: Tensor, inverse: float, wide: torch.dtype) -> Tensor:
    """[C, V] logits over temperature in the wide type.

    The product runs in the type of `hidden`; the target's own logit is computed in the wide type, so that rounding
    of a bf16 product never reaches the numerator and no probability exceeds 1.
    """
    logits_CV = (hidden_CD @ weight_VD.T).to(wide)
    if hidden_CD.dtype != wide:
        own_C = (hidden_CD.to(wide) * weight_VD[target_C].to(wide)).sum(-1)
        logits_CV.scatter_(1, target_C[:, None], own_C[:, None])
    return logits_CV.mul_(inverse)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden_KD: Tensor,
        weight_VD: Tensor,
        target_K: Tensor,
        inverse: float,
        compute: torch.dtype,
        chunk: int,
    ) -> Tensor:
        wide = torch.float64 if hidden_KD.dtype == torch.float64 else torch.float32
        weight = weight_VD.to(compute)
        logp = torch.empty(len(target_K), dtype=wide, device=hidden_KD.device)
        lse = torch.empty_like(logp)
        for start in range(0, len(target_K), chunk):
            part = slice(start, start + chunk)
            logits_CV = _logits(hidden_KD[part].to(compute), weight, target_K[part], inverse, wide)
            lse[part] = logits_CV.logsumexp(-1)
            logp[part] = logits_CV.gather(1, target_K[part, None])[:, 0] - lse[part]
        ctx.save_for_backward(hidden_KD, weight_VD, target_K, lse)
        ctx.settings = (inverse, compute, chunk)
        return logp

    @staticmethod
    def backward(ctx: Any, grad_K: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        # d logp_i / d logits_iv = (1[v = target] - p_iv) / temperature; the logits are computed again, chunk by chunk.
        hidden_KD, weight_VD, target_K, lse = ctx.saved_tensors
        inverse, compute, chunk = ctx.settings
        wide = lse.dtype
        weight = weight_VD.to(compute)
        grad_hidden = torch.empty_like(hidden_KD) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        for start in range(0, len(target_K), chunk):
            part = slice(start, start + chunk)
            hidden = hidden_KD[part].to(compute)
            slope = _logits(hidden, weight, target_K[part], inverse, wide)
            slope.sub_(lse[part, None]).exp_().neg_()
            rows = torch.arange(len(slope), device=slope.device)
            slope[rows, target_K[part]] += 1.0
            slope = slope.mul_((grad_K[part] * inverse)[:, None]).to(compute)
            if grad_hidden is not None:
                grad_hidden[part] = (slope @ weight).to(grad_hidden.dtype)
            if grad_weight is not None:
                grad_weight += slope.T @ hidden
        return grad_hidden, grad_weight, None, None, None, None


def token_logprobs(
    hidden_KD: Tensor,
    weight_VD: Tensor,
    target_K: Tensor,
    *,
    temperature: float = 1.0,
    compute: torch.dtype | None = None,
    chunk: int = CHUNK,
) -> Tensor:
    """The log of softmax(hidden @ weight.T / temperature)[target]: [K] float32 (float64 for float64 hidden states), in nats.

    Differentiable in hidden and weight. `compute` is the type of the matrix products (default: hidden's own).
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0 for log-probabilities, got {temperature}")
    apply: Any = _TokenLogprobs.apply
    return apply(hidden_KD, weight_VD, target_K, 1.0 / temperature, compute or hidden_KD.dtype, chunk)  # type: ignore[no-any-return]
