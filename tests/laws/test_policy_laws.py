"""The PPO family: every combination keeps the laws of a loss; on-policy it is REINFORCE; KL terms teach what they say."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Literal, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.losses.batch import RolloutBatch, Sequences
from burnish.losses.policy import (
    KL,
    Clip,
    ConstantLength,
    Per,
    PolicyLoss,
    Ratio,
    Reinforce,
    ReplyMean,
    ReplySum,
    SequenceRatio,
    Surrogate,
    TokenMean,
    TokenRatio,
    Truncated,
    cispo,
    dapo,
    dr_grpo,
    gspo,
    ppo,
    reinforce_pp,
    rloo,
)
from burnish.testing.laws import check_loss

torch.set_num_threads(1)
B, T = 5, 7
WIDE = Clip(0.9, 3.0, dual=9.0)
RATIOS: list[Ratio] = [
    TokenRatio(), SequenceRatio(), SequenceRatio(per_token=True), SequenceRatio(length_normalized=False),
]  # fmt: skip
SURROGATES: list[Surrogate] = [Clip(), Clip(0.1, 0.3, dual=3.0), Truncated(), Truncated(0.5, 1.0), Reinforce()]
PERS: list[Per] = [TokenMean(), ReplyMean(), ReplySum(), ConstantLength(32)]


def make_rollouts(seed: int, *, weights: bool = False, own: bool = False) -> tuple[Tensor, RolloutBatch]:
    """Five ragged rows with holes in their masks; weights of tokens, and advantages of each token's own, where asked for."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    lengths_B = torch.randint(3, T + 1, (B,), generator=g)
    lengths_B[0] = T
    t_T = torch.arange(T)
    mask_BT = (t_T >= 1) & (t_T < lengths_B[:, None]) & (torch.rand(B, T, generator=g) < 0.8)
    mask_BT[torch.arange(B), lengths_B - 1] = True
    logp_BT = -normal(B, T).abs()
    old_BT, ref_BT = logp_BT + 0.3 * normal(B, T), logp_BT + 0.3 * normal(B, T)
    adv_BT = normal(B, T) if own else normal(B, 1).expand(B, T)
    weight_BT = torch.rand(B, T, generator=g, dtype=torch.float64) * 2 if weights else None
    sequences = Sequences(torch.zeros(B, T, dtype=torch.long), lengths_B, mask_BT)
    return logp_BT, RolloutBatch(sequences, old_BT, ref_BT, adv_BT.clone(), weight_BT)


def gradient(loss: Any, logp_BT: Tensor, batch: RolloutBatch) -> Tensor:
    leaf = logp_BT.detach().clone().requires_grad_(True)
    return torch.autograd.grad(loss.total(leaf, batch), leaf)[0]


LOSSES = [
    *[PolicyLoss(ratio, surrogate, ReplyMean()) for ratio, surrogate in itertools.product(RATIOS, SURROGATES[:4])],
    *[PolicyLoss(surrogate=surrogate, per=per) for surrogate, per in itertools.product(SURROGATES[1::2], PERS)],
    *[
        PolicyLoss(kl=KL(0.3, cast("Literal['k1']", estimate), cast("Literal['own']", taught)))
        for estimate in ("k1", "k2", "k3")
        for taught in ("own", "k2", "weighted")
    ],
    dr_grpo(16), dapo(), gspo(), gspo(per_token=True), cispo(), rloo(), reinforce_pp(0.1), ppo(),
]  # fmt: skip


def detached(loss: PolicyLoss) -> bool:
    """Whether a factor is kept from being differentiated."""
    per_token = isinstance(loss.ratio, SequenceRatio) and loss.ratio.per_token
    straight = loss.kl is not None and loss.kl.gradient == "k2" != loss.kl.estimate
    return per_token or straight or isinstance(loss.surrogate, Truncated)


@pytest.mark.parametrize("loss", dict.fromkeys(LOSSES), ids=str)
def test_laws(loss: PolicyLoss) -> None:
    """Splits, padding, masks, huge log-probs, gradients: whole sequences' ratios included, with and without weights."""
    check_loss(
        loss, lambda seed: make_rollouts(seed, weights=seed % 2 == 1, own=seed == 2), detached=detached(loss), seeds=2
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(RATIOS), st.sampled_from(SURROGATES), st.sampled_from(PERS))
def test_on_policy_every_surrogate_is_reinforce(seed: int, ratio: Ratio, surrogate: Surrogate, per: Per) -> None:
    """At old = policy all ratios are 1, nothing is clipped, and the gradient is that of - A log p put together by `per`; without
    length normalisation each reply counts as often as it has tokens.
    """
    if not surrogate.RATIO:
        ratio = TokenRatio()
    logp_BT, batch = make_rollouts(seed, weights=seed % 2 == 0)
    mask_BT = batch.sequences.mask_BT
    batch = replace(batch, old_BT=logp_BT.clone())
    expected = gradient(PolicyLoss(surrogate=Reinforce(), per=per), logp_BT, batch)
    whole = isinstance(ratio, SequenceRatio) and not ratio.length_normalized and isinstance(surrogate, Clip)
    if whole and batch.weight_BT is None:
        expected = expected * mask_BT.sum(1, keepdim=True)
    if batch.weight_BT is not None and isinstance(ratio, SequenceRatio):
        # A ratio of the whole reply spreads the tokens' weights over it; weights of whole replies stay theirs.
        weight_BT = batch.weight_BT[:, :1].expand(B, T)
        batch = replace(batch, weight_BT=weight_BT)
        expected = gradient(PolicyLoss(surrogate=Reinforce(), per=per), logp_BT, batch)
        expected = expected * mask_BT.sum(1, keepdim=True) if whole else expected
    loss = PolicyLoss(ratio, surrogate, per)
    torch.testing.assert_close(gradient(loss, logp_BT, batch), expected, rtol=1e-12, atol=1e-12)
    found, count = loss.metrics(logp_BT, batch), float(loss.count(batch))
    assert float(found["ratio"]) == pytest.approx(count)
    assert float(found["clip_fraction"]) == 0
    assert float(found["old_kl"]) == 0


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(PERS))
def test_gspo_and_gspo_token_are_one_where_tokens_share_an_advantage(seed: int, per: Per) -> None:
    """arXiv:2507.18071 §4.3; with advantages of their own, GSPO-token's tokens get s A each and GSPO's their reply's mean of it."""
    whole, apart = (PolicyLoss(SequenceRatio(per_token=each), WIDE, per) for each in (False, True))
    logp_BT, batch = make_rollouts(seed)
    torch.testing.assert_close(whole.total(logp_BT, batch), apart.total(logp_BT, batch))
    torch.testing.assert_close(gradient(whole, logp_BT, batch), gradient(apart, logp_BT, batch))
    logp_BT, batch = make_rollouts(seed, own=True)
    mask_BT = batch.sequences.mask_BT
    mean_BT = (batch.adv_BT * mask_BT).sum(1, keepdim=True) / mask_BT.sum(1, keepdim=True)
    wide = PolicyLoss(SequenceRatio(per_token=True), Truncated(1.0, 1e9), per)
    averaged = replace(batch, adv_BT=mean_BT.expand(B, T))
    s_BT = SequenceRatio().of(logp_BT * mask_BT, batch.old_BT * mask_BT, mask_BT)
    expected = gradient(PolicyLoss(surrogate=Reinforce(), per=per), logp_BT, replace(averaged, weight_BT=s_BT))
    torch.testing.assert_close(gradient(wide, logp_BT, averaged), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 3), st.sampled_from(PERS))
def test_the_gradient_of_cispo_is_its_weight_times_reinforce(seed: int, low: float, high: float, per: Per) -> None:
    """sg[clip(r, 1 - low, 1 + high)] A at every token, clipped or not."""
    logp_BT, batch = make_rollouts(seed, own=True)
    weight_BT = (logp_BT - batch.old_BT).exp().clamp(1 - low, 1 + high)
    expected = gradient(PolicyLoss(surrogate=Reinforce(), per=per), logp_BT, replace(batch, weight_BT=weight_BT))
    found = gradient(PolicyLoss(surrogate=Truncated(low, high), per=per), logp_BT, batch)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(RATIOS), st.sampled_from(PERS))
def test_what_is_counted_as_clipped_has_no_gradient(seed: int, ratio: Ratio, per: Per) -> None:
    """Clip takes the gradient of exactly the tokens it counts, and the two sides add up."""
    logp_BT, batch = make_rollouts(seed)
    clip = Clip(0.05, 0.1, dual=1.2)
    loss = PolicyLoss(ratio, clip, per)
    mask_BT = batch.sequences.mask_BT
    high_BT, low_BT = clip.clipped(ratio.of(logp_BT * mask_BT, batch.old_BT * mask_BT, mask_BT), batch.adv_BT)
    assert ((gradient(loss, logp_BT, batch) == 0) == (high_BT | low_BT | ~mask_BT)).all()
    found = loss.metrics(logp_BT, batch)
    assert float(found["clip_fraction"]) == pytest.approx(
        float(found["clip_fraction_high"] + found["clip_fraction_low"])
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(PERS), st.floats(0.1, 5))
def test_a_weight_for_all_scales_the_surrogate_alone(seed: int, per: Per, weight: float) -> None:
    logp_BT, batch = make_rollouts(seed)
    with_kl, without = (PolicyLoss(TokenRatio(), Clip(), per, kl) for kl in (KL(0.2), None))
    surrogate, kl = without.total(logp_BT, batch), with_kl.total(logp_BT, batch) - without.total(logp_BT, batch)
    weighted = with_kl.total(logp_BT, replace(batch, weight_BT=torch.full((B, T), weight, dtype=torch.float64)))
    torch.testing.assert_close(weighted, weight * surrogate + kl)


# Expectations by summing over all tokens of a small categorical ---------------------------------------------------------


def one_token(seed: int, tokens: int = 5) -> tuple[Tensor, Tensor, Tensor, RolloutBatch]:
    """(logits, sampler's and reference's log-probs, the batch of all `tokens` replies of one token each)."""
    g = torch.Generator().manual_seed(seed)
    logits, sampler, ref = (torch.randn(tokens, generator=g, dtype=torch.float64) for _ in range(3))
    old, ref = sampler.log_softmax(0), ref.log_softmax(0)
    rows = Sequences(
        torch.arange(tokens)[:, None], torch.ones(tokens).long(), torch.ones(tokens, 1, dtype=torch.bool)
    )  # fmt: skip
    zero = torch.zeros(tokens, 1, dtype=torch.float64)
    return logits.requires_grad_(True), old, ref, RolloutBatch(rows, old[:, None], ref[:, None], zero)


def expected_gradient(loss: PolicyLoss, logits: Tensor, by: Tensor, batch: RolloutBatch) -> Tensor:
    """Sum over tokens of by(token) x the loss's gradient at that token: its expectation under the log-probs `by`."""
    logp = logits.log_softmax(0)
    total = sum(
        by[i].exp().detach() * loss.total(logp[i].view(1, 1), batch.take(torch.tensor([i]))) for i in range(len(by))
    )
    return torch.autograd.grad(cast("Tensor", total), logits)[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_what_kl_terms_teach_on_policy(seed: int) -> None:
    """Under the policy's own tokens: k1 nothing, k2 the gradient of KL(pi || ref), k3 that of KL(ref || pi); with gradient="k2"
    or "weighted" all of them that of KL(pi || ref), except k2 weighted, whose value is not KL.
    """
    logits, _, ref, batch = one_token(seed)
    logp = logits.log_softmax(0)
    batch = replace(batch, old_BT=logp.detach()[:, None])
    (forward,) = torch.autograd.grad((logp.exp() * (logp - ref)).sum(), logits, retain_graph=True)
    (backward,) = torch.autograd.grad((ref.exp() * (ref - logp)).sum(), logits)
    truths = {
        ("k1", "own"): torch.zeros_like(forward), ("k2", "own"): forward, ("k3", "own"): backward, ("k1", "k2"): forward,
        ("k3", "k2"): forward, ("k1", "weighted"): forward, ("k3", "weighted"): forward,
    }  # fmt: skip
    for (estimate, taught), truth in truths.items():
        loss = PolicyLoss(kl=KL(1.0, cast("Literal['k1']", estimate), cast("Literal['own']", taught)))
        found = expected_gradient(loss, logits, logits.log_softmax(0), batch)
        torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_weighted_kl_is_right_for_tokens_of_another_policy(seed: int) -> None:
    """Under an older policy's tokens r k1 and r k3 still have the value and the gradient of KL(pi || ref); k2 has not."""
    logits, old, ref, batch = one_token(seed)
    logp = logits.log_softmax(0)
    exact = (logp.exp() * (logp - ref)).sum()
    (truth,) = torch.autograd.grad(exact, logits)
    for estimate in ("k1", "k3"):
        loss = PolicyLoss(kl=KL(1.0, cast("Literal['k1']", estimate), "weighted"))
        torch.testing.assert_close(expected_gradient(loss, logits, old, batch), truth, rtol=1e-9, atol=1e-12)
        value = sum(
            float(old[i].exp() * loss.total(logp[i].detach().view(1, 1), batch.take(torch.tensor([i]))))
            for i in range(len(old))
        )
        assert value == pytest.approx(float(exact.detach()))
    off = expected_gradient(PolicyLoss(kl=KL(1.0, "k2")), logits, old, batch)
    assert not torch.allclose(off, truth, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_importance_weights_make_the_engines_tokens_the_policys(seed: int) -> None:
    """The engine samples from q, the learner's log-probs are p: with weight p / q REINFORCE has the gradient of the expected
    reward under p, without it another one.
    """
    logits, engine, _, batch = one_token(seed)
    g = torch.Generator().manual_seed(seed + 1)
    reward = torch.randn(len(engine), generator=g, dtype=torch.float64)
    logp = logits.log_softmax(0)
    (truth,) = torch.autograd.grad(-(logp.exp() * reward).sum(), logits)
    ratio = (logp.detach() - engine).exp()
    batch = replace(batch, adv_BT=reward[:, None])
    weighted = replace(batch, weight_BT=ratio[:, None])
    found = expected_gradient(rloo(), logits, engine, weighted)
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-12)
    assert not torch.allclose(expected_gradient(rloo(), logits, engine, batch), truth, atol=1e-3)
