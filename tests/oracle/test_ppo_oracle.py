"""PPO's numbers against verl's core_algos: rewards of tokens, GAE and whitening, the policy's loss, the value model's loss."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.losses.advantage import gae, whiten
from burnish.losses.batch import RolloutBatch, Sequences, ValueBatch
from burnish.losses.kl import ESTIMATORS
from burnish.losses.policy import PolicyLoss, ReplyMean, ppo
from burnish.losses.value import ValueLoss
from burnish.text.render import Rendered
from burnish.train.values import GAE, Observed, credit, token_rewards

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def core() -> Any:
    return pytest.importorskip("verl.trainer.ppo.core_algos")


def drawn(seed: int, *, holes: bool) -> tuple[Tensor, ...]:
    """mask [B, T] and six tensors of numbers, 0 off it; with holes, a tool speaks between sampled tokens."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(2, 12, (7,), generator=g)
    mask = (torch.arange(12) < lengths[:, None]) & (torch.arange(12) > 0)
    if holes:
        mask &= torch.rand(mask.shape, generator=g) < 0.7
    mask[torch.arange(7), lengths - 1] = True
    numbers = [torch.randn(mask.shape, generator=g, dtype=torch.float64) * mask for _ in range(6)]
    return mask, *numbers


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("holes", [False, True], ids=["plain", "with tools"])
def test_advantages_and_returns_are_verls(core: Any, seed: int, holes: bool) -> None:
    mask, rewards, values, *_ = drawn(seed, holes=holes)
    theirs, their_returns = core.compute_gae_advantage_return(rewards, values, mask.double(), 0.97, 0.95)
    raw = gae(rewards, values, mask, gamma=0.97, lam=0.95)
    # verl adds its epsilon to the variance, we to the deviation.
    assert (whiten(raw, mask) - theirs)[mask].abs().max() < 1e-6
    assert ((raw + values) - their_returns)[mask].abs().max() < 1e-12


@pytest.mark.parametrize("seed", range(5))
def test_a_whole_step_is_verls(core: Any, seed: int) -> None:
    """From scores and log-probs to whitened advantages and returns."""
    mask, old, ref, values, *_ = drawn(seed, holes=False)
    mask = mask.roll(-1, 1)  # sampled tokens from the first column on
    old, ref, values = (x.roll(-1, 1) for x in (old, ref, values))
    last = mask & (mask.flip(1).cumsum(1).flip(1) == 1)
    score_B = torch.linspace(-10, 10, len(mask), dtype=torch.float64)
    rewards = core.compute_rewards(last * score_B[:, None], old, ref, 0.05)
    theirs, their_returns = core.compute_gae_advantage_return(rewards, values, mask.double(), 1.0, 0.95)
    rendered = [Rendered((1,) * (n + 1), (False, *(True,) * n)) for n in mask.sum(1).tolist()]
    found = credit(
        Observed(rendered, mask, old, ref, values, torch.zeros(len(mask)).double()), score_B, GAE(), kl_coef=0.05
    )
    assert (found.rewards_BK - rewards).abs().max() < 1e-12
    assert (found.returns_BK - their_returns)[mask].abs().max() < 1e-11
    assert (found.advantages_BK - theirs)[mask].abs().max() < 1e-6


@pytest.mark.parametrize("name", ESTIMATORS)
def test_kl_in_the_reward_is_verls(core: Any, name: str) -> None:
    mask, old, ref, *_ = drawn(0, holes=True)
    found = token_rewards(torch.zeros(len(mask)), old, ref, mask, kl_coef=1.0, estimator=name)  # type: ignore[arg-type]
    assert (found + core.kl_penalty(old, ref, name))[mask].abs().max() < 1e-12


@pytest.mark.parametrize(("per", "mode"), [(ppo(), "token-mean"), (PolicyLoss(per=ReplyMean()), "seq-mean-token-mean")])
def test_the_policys_loss_and_gradient_are_verls(core: Any, per: PolicyLoss, mode: str) -> None:
    """verl adds 1e-8 to each count that it divides by."""
    config = pytest.importorskip("verl.workers.config").ActorConfig(
        strategy="fsdp", rollout_n=1, clip_ratio=0.2, clip_ratio_low=0.2, clip_ratio_high=0.2, clip_ratio_c=1e9,
        ppo_micro_batch_size_per_gpu=1,
    )  # fmt: skip
    for seed in range(5):
        mask, old, logp, adv, *_ = drawn(seed, holes=True)
        logp = (old + 0.2 * logp).requires_grad_()
        theirs, _ = core.compute_policy_loss_vanilla(old, logp, adv, mask.double(), mode, config)
        sequences = Sequences(torch.zeros(mask.shape).long(), torch.full((len(mask),), mask.shape[1]), mask)
        batch = RolloutBatch(sequences, old, None, adv)
        ours = per.total(logp, batch) / per.count(batch)
        assert float((ours - theirs).detach().abs()) < 1e-8
        first, second = (torch.autograd.grad(loss, logp)[0] for loss in (ours, theirs))
        assert (first - second).abs().max() < 1e-8


@pytest.mark.parametrize(("unit", "mode"), [("token", "token-mean"), ("sequence", "seq-mean-token-mean")])
def test_the_value_models_loss_gradient_and_clips_are_verls(core: Any, unit: Any, mode: str) -> None:
    for seed in range(5):
        mask, values, old, returns, *_ = drawn(seed, holes=True)
        values = values.requires_grad_()
        theirs, clipped = core.compute_value_loss(values, returns, old, mask.double(), 0.2, mode)
        sequences = Sequences(torch.zeros(mask.shape).long(), torch.full((len(mask),), mask.shape[1]), mask)
        batch, loss = ValueBatch(sequences, old, returns), ValueLoss(0.2, unit=unit)
        ours = loss.total(values, batch) / loss.count(batch)
        assert float((ours - theirs).detach().abs()) < 1e-8
        first, second = (torch.autograd.grad(x, values)[0] for x in (ours, theirs))
        assert (first - second).abs().max() < 1e-8
        if unit == "token":
            share = loss.metrics(values, batch)["value_clip_fraction"] / loss.count(batch)
            assert float(share) == pytest.approx(float(clipped))
