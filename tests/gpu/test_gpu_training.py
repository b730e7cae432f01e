"""Training on a CUDA device: one step equals the CPU's, machines agree bit for bit, runs go on where they stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu_rows import batch, gradients, on, rows, worst
from torch import Tensor, distributed

from burnish.losses.dpo import DPO
from burnish.losses.policy import GRPO
from burnish.losses.reward import BradleyTerry
from burnish.losses.sft import SFTLoss
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.pipeline.machine import Machine
from burnish.train.learner import Learner
from burnish.train.optimizer import Adafactor, AdamW, Muon

# A large eps makes Adam's first step smooth in the gradient: a sign that rounding flips must not decide the test.
SMOOTH = AdamW(eps=1e-2, weight_decay=0.1)
LOSSES: dict[str, tuple[Any, str]] = {
    "sft": (SFTLoss(), "tokens"),
    "sft sum": (SFTLoss(reduction="sum"), "tokens"),
    "dpo": (DPO(beta=0.1), "pairs"),
    "dpo per token": (DPO(beta=5.0, length_normalized=True), "pairs"),
    "grpo": (GRPO(kl_coef=0.05), "rollouts"),
}


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Leaves torch as it was: determinism is a setting of the process."""
    before = torch.get_deterministic_debug_mode()
    yield
    torch.set_deterministic_debug_mode(before)


def trained(
    folder: Path, machine: Machine, name: str = "sft", steps: int = 1, optimizer: Any = SMOOTH
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """(the last step's numbers, the weights) after some steps of two micro-batches each."""
    loss, kind = LOSSES[name]
    learner = Learner(Policy.load(folder, machine, trainable=True), machine, optimizer)
    found: dict[str, float] = {}
    for step in range(steps):
        found = learner.forward_backward([batch(kind, 2 * step), batch(kind, 2 * step + 1)], loss)
        found["grad_norm"] = learner.step(1e-3)
    return found, weights(learner)


def weights(learner: Learner) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().clone() for name, weight in learner.policy.model.named_parameters()}


@pytest.mark.parametrize("name", LOSSES)
def test_one_step_equals_the_cpu(toy: Path, device: str, name: str) -> None:
    found, moved = trained(toy, on(device), name)
    expected, there = trained(toy, on("cpu"), name)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
    assert worst(moved, there) < 1e-5


@pytest.mark.parametrize("optimizer", [SMOOTH, Adafactor(), Muon()], ids=lambda o: type(o).__name__)
def test_every_optimizer_steps(toy: Path, device: str, optimizer: Any) -> None:
    _, moved = trained(toy, on(device), steps=2, optimizer=optimizer)
    _, there = trained(toy, on("cpu"), steps=2, optimizer=optimizer)
    assert worst(moved, there) < 2e-3


def test_a_reward_model_steps(toy: Path, device: str) -> None:
    def outcome(where: str) -> dict[str, Tensor]:
        from burnish.losses.batch import ScoredPairBatch

        machine = on(where)
        model = RewardModel.start(Policy.load(toy, machine, trainable=True), seed=0)
        learner = Learner(model, machine, SMOOTH)
        pairs = batch("pairs")
        learner.forward_backward([ScoredPairBatch(pairs.sequences, torch.zeros(2))], BradleyTerry())
        learner.step(1e-3)
        return weights(learner)

    assert worst(outcome(device), outcome("cpu")) < 1e-5


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(
    "settings",
    [
        {"recompute": "attention"},
        {"recompute": "layers"},
        {"recompute": "layers", "offload": "activations"},
        {"offload": "optimizer"},
        {"recompute": "layers", "offload": "both"},
    ],
    ids=str,
)
@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_memory_settings_change_no_bit(toy: Path, device: str, settings: dict[str, Any], compute: str) -> None:
    plain = trained(toy, on(device, compute=compute, deterministic=True), steps=3)
    found = trained(toy, on(device, compute=compute, deterministic=True, **settings), steps=3)
    assert found[0] == plain[0]
    for name, weight in plain[1].items():
        assert torch.equal(found[1][name], weight), name


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("compute", ["fp32", "bf16"])
def test_equal_seeds_give_equal_bits(toy: Path, device: str, compute: str) -> None:
    machine = on(device, compute=compute, deterministic=True)
    first, second = trained(toy, machine, steps=3)[1], trained(toy, machine, steps=3)[1]
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("offload", ["none", "optimizer"])
def test_a_run_goes_on_bit_for_bit(toy: Path, device: str, offload: str, tmp_path: Path) -> None:
    """Four steps, and two steps, a checkpoint, a new process's worth of objects, and two more."""
    machine = on(device, compute="bf16", deterministic=True, offload=offload)

    def learner() -> Learner:
        return Learner(Policy.load(toy, machine, trainable=True), machine)

    def steps(one: Learner, numbers: range) -> None:
        for step in numbers:
            one.forward_backward([batch("tokens", step)], SFTLoss())
            one.step(1e-3)

    whole = learner()
    steps(whole, range(4))
    first = learner()
    steps(first, range(2))
    first.save(tmp_path / "checkpoint")
    second = learner()
    assert second.load(tmp_path / "checkpoint") is not None
    steps(second, range(2, 4))
    expected, found = weights(whole), weights(second)
    assert all(torch.equal(weight, found[name]) for name, weight in expected.items())


def test_optimizer_state_waits_on_the_cpu(toy: Path, cuda: str) -> None:
    machine = on(cuda, offload="optimizer")
    learner = Learner(Policy.load(toy, machine, trainable=True), machine)
    learner.forward_backward([batch("tokens")], SFTLoss())
    learner.step(1e-3)
    held = [value for fields in learner._states().values() for value in fields.values()]
    assert held
    assert all(value.device.type == "cpu" for value in held)


def test_one_rank_with_shards_equals_the_whole(toy: Path, device: str, tmp_path: Path) -> None:
    """FSDP2 over a group of one: the numbers of the module's own forward pass."""
    expected = gradients(Policy.load(toy, on(device), trainable=True), rows())
    distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    try:
        policy = Policy.load(toy, on(device, sharding="full"), trainable=True)
        policy.shard()
        logp_BT = policy.logprobs(rows())
        weight = torch.linspace(0.5, 1.5, logp_BT.shape[1], device=logp_BT.device)
        (logp_BT * weight).sum().backward()  # type: ignore[no-untyped-call]
        found = {"logprobs": logp_BT.detach().cpu()}
        for name, part in policy.model.named_parameters():
            assert part.grad is not None, name
            found[name] = part.grad.full_tensor().cpu()
        assert worst(found, expected) < 1e-4
    finally:
        distributed.destroy_process_group()
