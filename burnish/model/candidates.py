"""Log-probabilities of several candidates of each position, without keeping logits over the vocabulary.

Shapes: K positions, C positions of a chunk, D width, V vocabulary, n candidates, M temperatures. Logits and log-probs in nats.

What is returned is the logits of the candidates and, for each temperature, the log of the sum of exponentials over all other
tokens. Both are what a partition of the vocabulary into n tokens and "the rest" needs, and the rest keeps its relative
precision however small it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from burnish.model.head import CHUNK, KEEP

ROWS = 8  # Positions whose logits are worked on at a time on a CPU: wide logits of these stay in its cache.
GATHERED = 64  # Positions whose candidates' weights are copied at a time.


def _parts(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _own(hidden_CD: Tensor, weight_VD: Tensor, ids_Cn: Tensor, wide: torch.dtype) -> Tensor:
    """[C, n] logits of the candidates, in the wide type whatever the type of the matrix products."""
    own_Cn = torch.empty(ids_Cn.shape, dtype=wide, device=hidden_CD.device)
    for part in _parts(len(ids_Cn), GATHERED):
        weights_CnD = weight_VD[ids_Cn[part]].to(wide)
        own_Cn[part] = torch.bmm(weights_CnD, hidden_CD[part].to(wide)[:, :, None])[:, :, 0]
    return own_Cn


def _blocks(logits_CV: Tensor, ids_Cn: Tensor, wide: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
    """Some rows of the logits at a time in the wide type, -inf at the candidates."""
    for part in _parts(len(ids_Cn), ROWS if logits_CV.device.type == "cpu" else len(ids_Cn)):
        yield part, logits_CV[part].to(wide).scatter(1, ids_Cn[part], -math.inf)


def _rest(logits_CV: Tensor, ids_Cn: Tensor, inverses: Sequence[float], wide: torch.dtype) -> Tensor:
    """[C, M] log of the sum of exponentials over the tokens that are no candidates; -inf where there are none."""
    rest_CM = torch.empty(len(ids_Cn), len(inverses), dtype=wide, device=logits_CV.device)
    for part, block in _blocks(logits_CV, ids_Cn, wide):
        for m, inverse in enumerate(inverses):
            rest_CM[part, m] = (block * inverse if inverse != 1.0 else block).logsumexp(1)
    return rest_CM


class _CandidateLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_KD: Tensor, weight_VD: Tensor, narrow_VD: Tensor, ids_Kn: Tensor, inverses: Sequence[float], chunk: int
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        wide = torch.float64 if hidden_KD.dtype == torch.float64 else torch.float32
        compute, count, vocabulary = narrow_VD.dtype, len(ids_Kn), len(narrow_VD)
        keep = any(ctx.needs_input_grad[:2]) and count * vocabulary * compute.itemsize <= KEEP
        own_Kn = _own(hidden_KD, weight_VD, ids_Kn, wide)
        rest_KM = torch.empty(count, len(inverses), dtype=wide, device=hidden_KD.device)
        kept = []
        for part in _parts(count, chunk):
            logits = hidden_KD[part].to(compute) @ narrow_VD.T
            rest_KM[part] = _rest(logits, ids_Kn[part], inverses, wide)
            kept += [logits] if keep else []
        ctx.save_for_backward(hidden_KD, weight_VD, narrow_VD, ids_Kn, rest_KM, *kept)
        ctx.settings = (inverses, chunk)
        return own_Kn, rest_KM

    @staticmethod
    def backward(
        ctx: Any, grad_Kn: Tensor, grad_KM: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, None, None]:
        # d rest_m / d logit_v = inverse_m * (v's share of the rest) for v that is no candidate, 0 for the candidates.
        hidden_KD, weight_VD, narrow_VD, ids_Kn, rest_KM, *kept = ctx.saved_tensors
        inverses, chunk = ctx.settings
        wide, compute = rest_KM.dtype, narrow_VD.dtype
        grad_hidden = torch.empty_like(hidden_KD) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight_VD) if ctx.needs_input_grad[1] else None
        for i, part in enumerate(_parts(len(ids_Kn), chunk)):
            hidden, ids = hidden_KD[part], ids_Kn[part]
            logits = kept[i] if kept else hidden.to(compute) @ narrow_VD.T
            slope_CV = _slopes(logits, ids, rest_KM[part], grad_KM[part], inverses).to(compute)
            if grad_hidden is not None:
                grad_hidden[part] = (slope_CV @ narrow_VD).to(wide) + _towards(weight_VD, ids, grad_Kn[part])
            if grad_weight is not None:
                grad_weight += (slope_CV.T @ hidden.to(compute)).to(grad_weight.dtype)
                _spread(grad_weight, hidden, ids, grad_Kn[part])
        return grad_hidden, grad_weight, None, None, None, None


def _slopes(logits_CV: Tensor, ids_Cn: Tensor, rest_CM: Tensor, grad_CM: Tensor, inverses: Sequence[float]) -> Tensor:
    """[C, V] gradient at the logits of the tokens that are no candidates; in the logits' type."""
    slope_CV = torch.empty_like(logits_CV)
    # Without any such token the rest is -inf, and there is nothing to share out.
    finite_CM = rest_CM.masked_fill(rest_CM == -math.inf, 0.0)
    for part, block in _blocks(logits_CV, ids_Cn, rest_CM.dtype):
        total = torch.zeros_like(block)
        for m, inverse in enumerate(inverses):
            total += (block * inverse - finite_CM[part, m, None]).exp_() * (grad_CM[part, m, None] * inverse)
        slope_CV[part] = total
    return slope_CV


def _towards(weight_VD: Tensor, ids_Cn: Tensor, grad_Cn: Tensor) -> Tensor:
    """[C, D] sum over candidates of gradient x weight."""
    found_CD = torch.empty(len(ids_Cn), weight_VD.shape[1], dtype=grad_Cn.dtype, device=weight_VD.device)
    for part in _parts(len(ids_Cn), GATHERED):
        weights_CnD = weight_VD[ids_Cn[part]].to(grad_Cn.dtype)
        found_CD[part] = torch.bmm(grad_Cn[part][:, None, :], weights_CnD)[:, 0]
    return found_CD


def _spread(grad_VD: Tensor, hidden_CD: Tensor, ids_Cn: Tensor, grad_Cn: Tensor) -> None:
    """Add gradient x hidden state to the rows of the candidates."""
    for part in _parts(len(ids_Cn), GATHERED):
        outer_CnD = grad_Cn[part][:, :, None] * hidden_CD[part].to(grad_Cn.dtype)[:, None, :]
        grad_VD.index_add_(0, ids_Cn[part].reshape(-1), outer_CnD.reshape(-1, grad_VD.shape[1]).to(grad_VD.dtype))


def candidate_logits(
    hidden_KD: Tensor, weight_VD: Tensor, ids_Kn: Tensor, *, inverses: Sequence[float] = (1.0,), narrow_VD: Tensor | None = None,
    chunk: int = CHUNK,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(logits of the candidates [K, n], log of the sum of exp(logit * inverse) over all other tokens [K, M]); float32 or float64.

    Differentiable in hidden and weight. ids_Kn: different ids in each row. inverses: 1 / temperature, M of them.
    narrow_VD: the weight in the type of the matrix products (default: the weight).
    """
    narrow = weight_VD.detach() if narrow_VD is None else narrow_VD
    apply: Any = _CandidateLogits.apply
    return apply(hidden_KD, weight_VD, narrow, ids_Kn, tuple(inverses), chunk)  # type: ignore[no-any-return]


def split_logits(logits_KV: Tensor, ids_Kn: Tensor, *, inverses: Sequence[float] = (1.0,)) -> tuple[Tensor, Tensor]:
    """What candidate_logits returns, from logits over the whole vocabulary. Differentiable."""
    if ids_Kn.shape[1] == logits_KV.shape[1]:
        # The gradient of a sum over nothing would be NaN.
        return logits_KV.gather(1, ids_Kn), logits_KV.new_full((len(logits_KV), len(inverses)), -math.inf)
    others_KV = logits_KV.scatter(1, ids_Kn, -math.inf)
    return logits_KV.gather(1, ids_Kn), torch.stack([(others_KV * inverse).logsumexp(1) for inverse in inverses], 1)


def partition_logprobs(own_Kn: Tensor, rest_K: Tensor, inverse: float) -> Tensor:
    """[K, n + 1] log-probs of the candidates and, last, of all other tokens together, at one temperature."""
    return torch.cat([own_Kn * inverse, rest_K[:, None]], 1).log_softmax(1)


def likeliest(logits_CV: Tensor, target_C: Tensor, n: int, tokens: int) -> Tensor:
    """[C, n] ids: the target first, then the n - 1 likeliest other tokens, likeliest first, among the first `tokens` ids."""
    others = logits_CV[:, :tokens].scatter(1, target_C[:, None], -math.inf)
    return torch.cat([target_C[:, None], others.topk(n - 1, dim=1).indices], 1)


@torch.no_grad()
def likeliest_of(
    hidden_KD: Tensor, weight_VD: Tensor, narrow_VD: Tensor, target_K: Tensor, n: int, tokens: int, inverse: float
) -> tuple[Tensor, Tensor]:
    """(ids [K, n] as in `likeliest`, log-probs [K, n + 1] as in `partition_logprobs`), a chunk of logits at a time."""
    wide = torch.float64 if hidden_KD.dtype == torch.float64 else torch.float32
    found: list[tuple[Tensor, Tensor]] = []
    for part in _parts(len(target_K), CHUNK):
        logits = hidden_KD[part].to(narrow_VD.dtype) @ narrow_VD.T
        ids = likeliest(logits, target_K[part], n, tokens)
        own, rest = _own(hidden_KD[part], weight_VD, ids, wide), _rest(logits, ids, (inverse,), wide)
        found.append((ids, partition_logprobs(own, rest[:, 0], inverse)))
    return torch.cat([ids for ids, _ in found]), torch.cat([logp for _, logp in found])
