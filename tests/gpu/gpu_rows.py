"""Rows, batches and machines for tests on a device and the same on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from burnish.losses.batch import PairBatch, RolloutBatch, Sequences, TokenBatch
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine

LENGTHS = (40, 7, 25, 1, 90, 33, 210, 64)


def on(device: str, **settings: Any) -> Machine:
    """A machine of that device: float32, eager and grouped attention where nothing else is asked for."""
    return Machine(device=device, **settings)  # type: ignore[arg-type]


def rows(lengths: tuple[int, ...] = LENGTHS, seed: int = 0, shared: int = 0) -> Sequences:
    """Random rows whose first `shared` tokens are alike."""
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 300, (len(lengths), max(lengths)), generator=g)
    tokens[:, :shared] = tokens[:1, :shared]
    inside = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    mask = inside & (torch.rand(tokens.shape, generator=g) < 0.7)
    mask[:, 0] = False
    return Sequences(tokens * inside, torch.tensor(lengths), mask)


def batch(kind: str, seed: int = 0) -> Any:
    """A batch of that kind: tokens, pairs with one prompt each, or rollouts."""
    g = torch.Generator().manual_seed(seed + 100)
    sequences = rows(seed=seed)
    if kind == "tokens":
        return TokenBatch(sequences)
    if kind == "pairs":
        sequences = rows((90, 60, 80, 70), seed, shared=40)
        sequences.mask_BT[:, :40] = False
        return PairBatch(sequences, torch.randn(4, generator=g) - 100)
    shape = sequences.mask_BT.shape
    old, ref = (-4 * torch.rand(shape, generator=g) * sequences.mask_BT for _ in range(2))
    return RolloutBatch(
        sequences, old, ref, torch.randn(len(LENGTHS), 1, generator=g).expand(shape) * sequences.mask_BT
    )


def gradients(policy: Policy, sequences: Sequences) -> dict[str, Tensor]:
    """Log-probs, and the gradient of a weighted sum of them for every weight, on the CPU."""
    logp_BT = policy.logprobs(sequences)
    weight = torch.linspace(0.5, 1.5, logp_BT.shape[1], dtype=logp_BT.dtype, device=logp_BT.device)
    (logp_BT * weight).sum().backward()  # type: ignore[no-untyped-call]
    found = {name: w.grad.cpu() for name, w in policy.model.named_parameters() if w.grad is not None}
    policy.model.zero_grad()
    return {"logprobs": logp_BT.detach().cpu(), **found}


def worst(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest distance of any tensor from what is expected, relative to that tensor's size."""
    assert list(found) == list(expected)
    return max(float((found[n] - expected[n]).norm() / expected[n].norm().clamp_min(1e-6)) for n in expected)
