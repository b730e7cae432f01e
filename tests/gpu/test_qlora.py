"""Adapters on a CUDA device: beside plain weights and beside 4-bit ones, with 8-bit moments."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from gpu_rows import on, rows

from burnish.losses.batch import TokenBatch
from burnish.losses.sft import SFTLoss
from burnish.model.lora import adapters
from burnish.model.policy import Policy
from burnish.model.trains import LoRA
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW, AdamW8bit, Optimizer

QUANTIZED = LoRA(8, quantize="nf4")
needs = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the qlora extra")


def trained(folder: Path, device: str, settings: LoRA, optimizer: Optimizer, steps: int, **more: str) -> list[float]:
    """The loss before each step."""
    policy = Policy.load(folder, on(device, **more), trainable=True, trains=settings, seed=1)
    learner = Learner(policy, policy.machine, optimizer)
    losses = []
    for step in range(steps):
        losses.append(learner.forward_backward([TokenBatch(rows(seed=step % 2))], SFTLoss())["loss"])
        learner.step(1e-2)
    return losses


@pytest.mark.parametrize("settings", [LoRA(8), LoRA(8, dora=True)], ids=["lora", "dora"])
def test_the_same_steps_as_on_the_cpu(toy: Path, device: str, settings: LoRA) -> None:
    losses, expected = (trained(toy, d, settings, AdamW(eps=1e-4), 4) for d in (device, "cpu"))
    assert losses == pytest.approx(expected, rel=1e-3)
    assert losses[-1] < losses[0]


@needs
@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_quantized_weights_compute_what_their_unpacked_ones_do(
    toy: Path, device: str, tmp_path: Path, compute: str
) -> None:
    policy = Policy.load(toy, on(device, compute=compute), trainable=True, trains=QUANTIZED, seed=1)
    with torch.no_grad():
        for module in adapters(policy.model).values():
            module.lora_B.normal_(std=0.05)
    assert policy.packs
    policy.save(tmp_path / "merged")
    merged = Policy.load(tmp_path / "merged", on(device, compute=compute), trainable=True)
    difference = (policy.logprobs(rows()) - merged.logprobs(rows())).abs().max()
    assert difference < (1e-3 if compute == "fp32" else 0.2)


@needs
def test_quantized_training_learns_with_eight_bit_moments(toy: Path, device: str) -> None:
    losses = trained(toy, device, QUANTIZED, AdamW8bit(smallest=1), 12, compute="bf16")
    assert losses[-1] < 0.9 * losses[0]


@needs
def test_a_checkpoint_goes_on_with_the_same_bits(toy: Path, device: str, tmp_path: Path) -> None:
    """Weights and 8-bit moments come back as they were."""
    learners = []
    for _ in range(2):
        policy = Policy.load(toy, on(device), trainable=True, trains=QUANTIZED, seed=1)
        learners.append(Learner(policy, policy.machine, AdamW8bit(smallest=1)))
    first, second = learners
    first.forward_backward([TokenBatch(rows())], SFTLoss())
    first.step(1e-2)
    first.save(tmp_path / "checkpoint")
    second.load(tmp_path / "checkpoint")
    gradients = torch.Generator().manual_seed(0)
    moves = {
        n: torch.randn(w.shape, generator=gradients)
        for n, w in first.policy.model.named_parameters()
        if w.requires_grad
    }
    for learner in learners:
        for name, weight in learner.policy.model.named_parameters():
            if weight.requires_grad:
                weight.grad = moves[name].to(weight.device)
        learner.step(1e-2)
    for (name, a), (_, b) in zip(*(x.policy.model.named_parameters() for x in learners), strict=True):
        assert torch.equal(a, b), name


@needs
def test_memory_of_a_quantized_model(toy: Path, cuda: str) -> None:
    """Frozen layers take about half a byte a weight on the device."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    policy = Policy.load(toy, on(cuda), trainable=True, trains=QUANTIZED)
    layers = sum(m.in_features * m.out_features for m in adapters(policy.model).values())
    rest = sum(w.numel() * w.element_size() for w in policy.model.parameters())
    assert torch.cuda.memory_allocated() - before - rest < 0.8 * layers
