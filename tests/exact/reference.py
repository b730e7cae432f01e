"""One optimizer step, written as plainly as it can be: the numbers that Burnish's learner has to reach.

One right-padded batch goes through transformers' own model, logits are kept whole, every loss is the formula of its paper and
the optimizer is torch's own. Nothing of Burnish is imported, nothing is packed, chunked, fused or cut into micro-batches.
`data` is a dictionary of tensors. Shapes: B rows, T positions, P = B / 2 pairs (the chosen rows, then the rejected ones):
tokens [B, T], lengths [B], mask [B, T] (the tokens that count), and what a loss needs besides: reference [B, T], old [B, T]
(log-probs of other policies), advantages [B, T], returns [B, T], old_values [B, T], margin [P], good [B] (bool), z0 [B].
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, pad

Data = dict[str, Tensor]
PairLoss = Callable[[Tensor, Tensor], Tensor]


def load(folder: Path, dtype: torch.dtype = torch.float64) -> Any:
    """transformers' own model with the attention below."""
    from transformers import AttentionInterface, AutoModelForCausalLM
    from transformers.masking_utils import AttentionMaskInterface, eager_mask

    AttentionInterface.register("plain", attention)
    AttentionMaskInterface.register("plain", eager_mask)
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="plain").to(dtype).eval()


def attention(layer: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scaling: float, **more: Any) -> Any:
    """softmax(q k^T) v, with Gemma 2's soft cap of the scores."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.transpose(2, 3) * scaling
    if more.get("softcap"):
        scores = (scores / more["softcap"]).tanh() * more["softcap"]
    return ((scores + mask[..., : k.shape[2]]).softmax(-1) @ v).transpose(1, 2), None


def inside(data: Data) -> Tensor:
    """1 at the tokens of each row, 0 at its padding: what transformers calls the attention mask."""
    return (torch.arange(data["tokens"].shape[1]) < data["lengths"][:, None]).long()


def logprobs(model: Any, data: Data, temperature: float = 1.0) -> Tensor:
    """log p(token t | tokens before t) [B, T]; the first position has none and holds 0."""
    logits = model(input_ids=data["tokens"], attention_mask=inside(data), use_cache=False).logits / temperature
    return pad(log_softmax(logits[:, :-1], -1).gather(2, data["tokens"][:, 1:, None])[:, :, 0], (1, 0))


def states(model: Any, data: Data) -> Tensor:
    """The last hidden states [B, T, D]."""
    found = model.base_model(input_ids=data["tokens"], attention_mask=inside(data), use_cache=False)
    return found.last_hidden_state  # type: ignore[no-any-return]


def imitation(logp: Tensor, data: Data, per: str) -> Tensor:
    """Negative log-likelihood, a mean over tokens or over the rows that have any."""
    mask = data["mask"]
    return -(logp * mask).sum() / (mask.sum() if per == "token" else mask.any(1).sum())


def pairs(logp: Tensor, data: Data, loss: PairLoss, *, mean: bool, reference: bool) -> Tensor:
    """The mean of loss(chosen, rejected) over whole pairs, of log pi(y|x), minus the reference's, or its mean a token."""
    mask = data["mask"]
    x = ((logp - data["reference"] if reference else logp) * mask).sum(1)
    if mean:
        x = x / mask.sum(1).clamp(min=1)
    chosen, rejected = x.chunk(2)
    both = mask.any(1).view(2, -1).all(0)
    return loss(chosen[both], rejected[both]).mean()


def dpo(beta: float, flipped: float = 0.0, robust: bool = False) -> PairLoss:
    """arXiv:2305.18290 eq. 7; `flipped` smooths labels as in Mitchell's note; robust: arXiv:2403.00409 eq. 12."""
    sign, scale = (-1, 1 - 2 * flipped) if robust else (1, 1)
    return lambda c, r: (
        -((1 - flipped) * logsigmoid(beta * (c - r)) + sign * flipped * logsigmoid(beta * (r - c))) / scale
    )


def ipo(tau: float) -> PairLoss:
    """arXiv:2310.12036 eq. 17."""
    return lambda c, r: (c - r - 1 / (2 * tau)) ** 2


def apo(beta: float, toward: str) -> PairLoss:
    """arXiv:2408.06266 eq. 7 and 8."""
    if toward == "zero":
        return lambda c, r: 1 - (beta * c).sigmoid() + (beta * r).sigmoid()
    return lambda c, r: (beta * c).sigmoid() + 1 - (beta * (c - r)).sigmoid()


def simpo(beta: float, gamma: float) -> PairLoss:
    """arXiv:2405.14734 eq. 6."""
    return lambda c, r: -logsigmoid(beta * c - beta * r - gamma)


def orpo(weight: float) -> PairLoss:
    """arXiv:2403.07691 eq. 6 and 7; the odds of x = log p are p / (1 - p)."""

    def odds(x: Tensor) -> Tensor:
        return x.exp() / (1 - x.exp())

    return lambda c, r: -c - weight * (odds(c) / odds(r)).log().sigmoid().log()


def grpo(logp: Tensor, data: Data, low: float, high: float, kl: float, per: str, length: int | None = None) -> Tensor:
    """arXiv:2402.03300 eq. 3 and 4; per token: arXiv:2503.14476 eq. 8; constant length: arXiv:2503.20783."""
    mask, advantage = data["mask"], data["advantages"]
    ratio = (logp - data["old"]).exp()
    gain = torch.min(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)
    away = (data["reference"] - logp).exp() - (data["reference"] - logp) - 1
    loss = (kl * away - gain) * mask
    if per == "token":
        return loss.sum() / mask.sum()
    rows = loss.sum(1) / (length or mask.sum(1).clamp(min=1))
    return rows[mask.any(1)].mean()


def policy_gradient(
    logp: Tensor, data: Data, *, per: str, ratio: str = "token", low: float = 0.2, high: float = 0.2, dual: float | None = None,
    factor: str = "clipped", length: int = 1, weighted: bool = False,
) -> Tensor:  # fmt: skip
    """GSPO (arXiv:2507.18071 eq. 5, 7; "gspo-token": eq. 13, 14), CISPO (arXiv:2506.13585 eq. 4, 5), dual clip
    (arXiv:1912.09729 eq. 5), REINFORCE of whole replies (arXiv:2402.14740 eq. 6), by loops over replies and their tokens.

    factor: of the advantage: the "clipped" ratio, a "truncated" number beside log p, or "none" beside log p.
    per:    "token" mean, mean of the replies' "mean" or "sum", or their sum / length ("constant").
    """
    losses: list[list[Tensor]] = []
    for b, row in enumerate(data["mask"]):
        places = row.nonzero()[:, 0].tolist()
        if not places:
            continue
        log_ratios = [logp[b, t] - data["old"][b, t] for t in places]
        geometric = torch.stack(log_ratios).mean().exp()
        losses.append([])
        for t, log_ratio in zip(places, log_ratios, strict=True):
            advantage, own = data["advantages"][b, t], logp[b, t]
            r = {"token": log_ratio.exp(), "gspo": geometric,
                 "gspo-token": geometric.detach() * (own - own.detach()).exp()}[ratio]  # fmt: skip
            if factor == "none":
                gain = advantage * own
            elif factor == "truncated":
                gain = r.detach().clamp(1 - low, 1 + high) * advantage * own
            else:
                gain = torch.min(r * advantage, r.clamp(1 - low, 1 + high) * advantage)
                if dual is not None and advantage < 0:
                    gain = torch.max(gain, dual * advantage)
            losses[-1].append(-gain * (data["weight"][b, t] if weighted else 1.0))
    rows = [torch.stack(row) for row in losses]
    if per == "token":
        return torch.cat(rows).mean()
    return torch.stack([row.mean() if per == "mean" else row.sum() / length for row in rows]).mean()


def with_kl(logp: Tensor, data: Data, loss: Tensor, coef: float, kind: str) -> Tensor:
    """A loss that is a mean over tokens, with a KL term: k1 and k2 of joschu.net/blog/kl-approx.html, "k3 with k2's gradient"
    (its value is k3's), and pi / pi_old times k1, differentiated as a whole ("weighted k1").
    """
    mask = data["mask"]
    x = (logp - data["reference"])[mask]
    k2 = x**2 / 2
    term = {
        "k1": x, "k2": k2, "k3 with k2's gradient": ((-x).exp() - 1 + x).detach() + k2 - k2.detach(),
        "weighted k1": (logp - data["old"])[mask].exp() * x,
    }[kind]  # fmt: skip
    return loss + coef * term.mean()


def bradley_terry(scores: Tensor, data: Data, margin: bool = False, center: float = 0.0) -> Tensor:
    """arXiv:2203.02155 eq. 1; margin: arXiv:2307.09288 eq. 2; centred: arXiv:2312.09244 §2."""
    chosen, rejected = scores.chunk(2)
    ahead = chosen - rejected - (data["margin"] if margin else 0)
    return (-logsigmoid(ahead) + center * (chosen + rejected) ** 2).mean()


def kto(logp: Tensor, data: Data, beta: float, desirable: float, undesirable: float) -> Tensor:
    """arXiv:2402.01306 eq. 8, the reference point z0 being given."""
    ahead = beta * (((logp - data["reference"]) * data["mask"]).sum(1) - data["z0"])
    loss = torch.where(data["good"], desirable * (1 - ahead.sigmoid()), undesirable * (1 - (-ahead).sigmoid()))
    return loss[data["mask"].any(1)].mean()


def value(values: Tensor, data: Data, clip: float | None) -> Tensor:
    """Half the squared error of returns, clipped around the old value, a mean over tokens (arXiv:2005.12729 §3)."""
    old, returns, mask = data["old_values"], data["returns"], data["mask"]
    error = (values - returns) ** 2
    if clip is not None:
        error = torch.max(error, (old + (values - old).clamp(-clip, clip) - returns) ** 2)
    return (error[mask] / 2).mean()


def step(
    weights: dict[str, Tensor], loss: Tensor, *, lr: float, clip: float, decay: float, eps: float
) -> tuple[float, dict[str, Tensor]]:
    """The gradient of the loss, clipped by its norm, one step of AdamW: (norm before clipping, gradients before clipping)."""
    for weight in weights.values():
        weight.grad = None
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: w.grad.clone() for name, w in weights.items() if w.grad is not None}
    norm = torch.nn.utils.clip_grad_norm_(weights.values(), clip)
    matrices, others = ([w for w in weights.values() if (w.ndim > 1) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]
    torch.optim.AdamW(groups, lr=lr, eps=eps, foreach=False).step()
    return float(norm), gradients
