"""The PPO family by hand: ratios, surrogates, aggregation, KL terms, importance weights, metrics, presets, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.batch import RolloutBatch, Sequences
from burnish.losses.policy import (
    GRPO,
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

LN2 = math.log(2)


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def near(found: Tensor, expected: float) -> None:
    assert float(found.detach()) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def rollouts() -> tuple[Tensor, RolloutBatch]:
    """Reply 1: ratios 2 and 1, A = 1. Reply 2: ratio 1/4, A = -2. Reply 3 is empty. log-probs -1 + ln 2, -2, -1 - 2 ln 2; the
    reference has log-probs 1 below the policy's everywhere.
    """
    old_BT = rows([0.0, -1.0, -2.0], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0])
    logp_BT = old_BT + rows([0.0, LN2, 0.0], [0.0, -2 * LN2, 0.0], [0.0, 0.0, 0.0])
    mask_BT = torch.tensor([[0, 1, 1], [0, 1, 0], [0, 0, 0]]).bool()
    tokens_BT = torch.zeros(3, 3, dtype=torch.long)
    adv_BT = rows([0.0, 1.0, 1.0], [0.0, -2.0, 0.0], [0.0, 0.0, 0.0])
    return logp_BT, RolloutBatch(Sequences(tokens_BT, torch.tensor([3, 2, 0]), mask_BT), old_BT, logp_BT - 1, adv_BT)


def gradient(loss: PolicyLoss, logp_BT: Tensor, batch: RolloutBatch) -> list[float]:
    """Of the total in the three log-probs."""
    leaf = logp_BT.clone().requires_grad_(True)
    (found,) = torch.autograd.grad(loss.total(leaf, batch), leaf)
    return [float(found[0, 1]), float(found[0, 2]), float(found[1, 1])]


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (TokenRatio(), [2.0, 1.0, 0.25]),
        # (2 x 1) ^ (1/2) = 1.4142 for both tokens of reply 1
        (SequenceRatio(), [math.sqrt(2), math.sqrt(2), 0.25]),
        (SequenceRatio(per_token=True), [math.sqrt(2), math.sqrt(2), 0.25]),
        # without the exponent 2 x 1 = 2
        (SequenceRatio(length_normalized=False), [2.0, 2.0, 0.25]),
    ],
    ids=str,
)
def test_ratios(ratio: Ratio, expected: list[float]) -> None:
    """Reply 1 has token ratios 2 and 1, reply 2 has 1/4."""
    logp_BT, batch = rollouts()
    found = ratio.of(logp_BT, batch.old_BT, batch.sequences.mask_BT)
    assert found[batch.sequences.mask_BT].tolist() == pytest.approx(expected, rel=1e-12)


def test_a_product_of_ratios_stays_finite() -> None:
    """Thirty tokens, each e^2 likelier: e^60 stops at e^20, without gradient."""
    old_BT, mask_BT = torch.zeros(1, 30, dtype=torch.float64), torch.ones(1, 30, dtype=torch.bool)
    leaf = torch.full((1, 30), 2.0, dtype=torch.float64, requires_grad=True)
    found = SequenceRatio(length_normalized=False).of(leaf, old_BT, mask_BT)
    near(found[0, 7], math.exp(20))
    (slope,) = torch.autograd.grad(found.sum(), leaf)
    assert (slope == 0).all()


@pytest.mark.parametrize(
    ("loss", "total", "slopes"),
    [
        # GSPO with a wide band: s = 1.4142 inside [0.8, 1.6]; reply 2 held at 0.8 x -2: -(1.4142 - 1.6). ds/dlogp = s / 2.
        (PolicyLoss(SequenceRatio(), Clip(0.2, 0.6)), 1.6 - math.sqrt(2), [-math.sqrt(2) / 2, -math.sqrt(2) / 2, 0.0]),
        (
            PolicyLoss(SequenceRatio(per_token=True), Clip(0.2, 0.6)),
            1.6 - math.sqrt(2),
            [-math.sqrt(2) / 2, -math.sqrt(2) / 2, 0.0],
        ),
        # GSPO's own band: 1.0004 x 1 and 0.9997 x -2, both held
        (gspo(), -(1.0004 - 1.9994), [0.0, 0.0, 0.0]),
        # whole replies, not normalised: 2 > 1.2, held at 1.2
        (PolicyLoss(SequenceRatio(length_normalized=False), Clip(0.2, 0.2)), -(1.2 - 1.6), [0.0, 0.0, 0.0]),
        (PolicyLoss(SequenceRatio(length_normalized=False), Clip(0.9, 2.0)), -(2.0 - 0.5), [-2.0, -2.0, 0.5]),
        # CISPO with weights of at most 1.5: -(1.5 (ln 2 - 1) + 1 (-2) + 0.25 (-2) (-1 - 2 ln 2)); every token keeps its gradient
        (cispo(0.5), -(1.5 * (LN2 - 1) - 2 - 0.5 * (-1 - 2 * LN2)), [-1.5, -1.0, 0.5]),
        # a lower bound of 0.8 too: 0.8 x -2 = -1.6 on reply 2
        (PolicyLoss(TokenRatio(), Truncated(0.2, 0.5), TokenMean()), None, [-1.5, -1.0, 1.6]),
        # REINFORCE: -A log p, summed a reply
        (rloo(), -((LN2 - 1) - 2 - 2 * (-1 - 2 * LN2)), [-1.0, -1.0, 2.0]),
        (PolicyLoss(surrogate=Reinforce()), None, [-0.5, -0.5, 2.0]),
        # PPO: 1.2, 1 and 0.8 x -2 over tokens
        (ppo(), -(1.2 + 1 - 1.6), [0.0, -1.0, 0.0]),
    ],
    ids=str,
)  # fmt: skip
def test_total_and_gradient(loss: PolicyLoss, total: float | None, slopes: list[float]) -> None:
    """Ratios 2, 1 with A = 1 and 1/4 with A = -2."""
    logp_BT, batch = rollouts()
    if total is not None:
        near(loss.total(logp_BT, batch), total)
    assert gradient(loss, logp_BT, batch) == pytest.approx(slopes, rel=1e-12, abs=1e-12)


def test_tokens_with_advantages_of_their_own_keep_them_only_in_gspo_token() -> None:
    """A = 3 and -1 in reply 1, s = 1.4142 inside the band. GSPO: mean of s A = s (3 - 1) / 2, whose slope is s / 2 x 1 for both
    tokens. GSPO-token: each token has -s A / 2: -1.5 s and 0.5 s.
    """
    logp_BT, batch = rollouts()
    batch = replace(batch, adv_BT=rows([0.0, 3.0, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]))
    s = math.sqrt(2)
    whole, apart = (PolicyLoss(SequenceRatio(per_token=each), Clip(0.9, 0.9)) for each in (False, True))
    near(whole.total(logp_BT, batch), -s)
    near(apart.total(logp_BT, batch), -s)
    assert gradient(whole, logp_BT, batch) == pytest.approx([-s / 2, -s / 2, 0])
    assert gradient(apart, logp_BT, batch) == pytest.approx([-1.5 * s, 0.5 * s, 0])


@pytest.mark.parametrize(
    ("ratio", "adv", "loss", "slope"),
    [
        (5.0, -2.0, 6.0, 0.0),  # min(-10, -2.4) = -10, but at least 3 x -2 = -6
        (2.5, -2.0, 5.0, 2.0),  # min(-5, -2.4) = -5, above -6
        (0.5, -2.0, 1.6, 0.0),  # held at 0.8 x -2
        (5.0, 2.0, -2.4, 0.0),  # the dual clip looks at A < 0 only
        (1.0, 2.0, -2.0, -2.0),
    ],
)
def test_dual_clip(ratio: float, adv: float, loss: float, slope: float) -> None:
    """Clip(0.2, 0.2, dual=3): loss, and slope in the ratio."""
    r = torch.tensor([[ratio]], dtype=torch.float64, requires_grad=True)
    adv_BT = rows([adv])
    found = Clip(dual=3.0).loss(torch.zeros(1, 1), r, adv_BT).sum()
    near(found, loss)
    (gradient,) = torch.autograd.grad(found, r)
    near(gradient.sum(), slope)
    high_BT, low_BT = Clip(dual=3.0).clipped(r, adv_BT)
    assert bool(high_BT | low_BT) == (slope == 0)


@pytest.mark.parametrize(
    ("per", "total", "count"),
    [
        (TokenMean(), 6.0, 3),  # 1 + 2 + 3, three tokens
        (ReplyMean(), 4.5, 2),  # 1.5 + 3, two replies
        (ReplySum(), 6.0, 2),  # 3 + 3
        (ConstantLength(4), 1.5, 2),  # 3/4 + 3/4
    ],
    ids=str,
)
def test_aggregation(per: Per, total: float, count: int) -> None:
    """Losses of tokens 1, 2 in reply 1 and 3 in reply 2; reply 3 is empty."""
    _, batch = rollouts()
    near(per.total(rows([0, 1, 2], [0, 3, 0], [0, 0, 0]), batch.sequences.mask_BT), total)
    near(PolicyLoss(per=per).count(batch), count)


@pytest.mark.parametrize(
    ("kl", "value", "slope"),
    [
        # log pi/pi_ref = 1 at every token. k1 = 1, slope 1. k2 = 1/2, slope 1. k3 = e^-1, slope 1 - e^-1.
        (KL(0.5, "k1"), 1.0, 1.0),
        (KL(0.5, "k2"), 0.5, 1.0),
        (KL(0.5, "k3"), math.exp(-1), 1 - math.exp(-1)),
        # the value of the one, the slope of k2
        (KL(0.5, "k1", "k2"), 1.0, 1.0),
        (KL(0.5, "k3", "k2"), math.exp(-1), 1.0),
    ],
    ids=str,
)
def test_kl_terms(kl: KL, value: float, slope: float) -> None:
    """A = 0, so that nothing else is left: 0.5 x value over three tokens, 0.5 x slope at each."""
    logp_BT, batch = rollouts()
    batch = replace(batch, adv_BT=torch.zeros(3, 3, dtype=torch.float64))
    loss = PolicyLoss(per=TokenMean(), kl=kl)
    near(loss.total(logp_BT, batch), 1.5 * value)
    assert gradient(loss, logp_BT, batch) == pytest.approx([0.5 * slope] * 3)


def test_weighted_kl() -> None:
    """Ratios 2, 1, 1/4, k1 = 1 at each: 0.5 x 3.25; the slope of r k1 is r k1 + r = 2r, times 0.5."""
    logp_BT, batch = rollouts()
    batch = replace(batch, adv_BT=torch.zeros(3, 3, dtype=torch.float64))
    loss = PolicyLoss(per=TokenMean(), kl=KL(0.5, "k1", "weighted"))
    near(loss.total(logp_BT, batch), 0.5 * 3.25)
    assert gradient(loss, logp_BT, batch) == pytest.approx([2.0, 1.0, 0.25])


def test_importance_weights_multiply_the_surrogate_and_not_the_kl_term() -> None:
    """Weights 0.5, 2, 3 on REINFORCE's slopes -1, -1, 2, and k2's slope 0.1 added as it is. The weights get no gradient."""
    logp_BT, batch = rollouts()
    weight_BT = rows([7.0, 0.5, 2.0], [math.nan, 3.0, math.inf], [0.0, 0.0, 0.0]).requires_grad_(True)
    loss = PolicyLoss(surrogate=Reinforce(), per=TokenMean(), kl=KL(0.1, "k2"))
    weighted = replace(batch, weight_BT=weight_BT)
    assert gradient(loss, logp_BT, weighted) == pytest.approx([-0.5 + 0.1, -2 + 0.1, 6 + 0.1])
    value = loss.total(logp_BT.clone().requires_grad_(True), weighted)
    found = torch.autograd.grad(value, weight_BT, allow_unused=True)[0]
    assert not isinstance(found, Tensor)
    near(loss.total(logp_BT, replace(batch, weight_BT=torch.ones(3, 3))), float(loss.total(logp_BT, batch)))


def test_metrics() -> None:
    """Over tokens: ratios 2 + 1 + 1/4; the 2 (A > 0) is clipped above, the 1/4 (A < 0) below; entropy 1 - ln 2 + 2 + 1 + 2 ln 2;
    kl 3 e^-1, kl_k1 3; old_kl r - 1 - ln r: 1 - ln 2, 0, 2 ln 2 - 3/4.
    """
    logp_BT, batch = rollouts()
    found = ppo().metrics(logp_BT, batch)
    expected = {
        "ratio": 3.25, "clip_fraction": 2, "clip_fraction_high": 1, "clip_fraction_low": 1, "entropy": 4 + LN2,
        "old_kl": 0.25 + LN2, "kl": 3 / math.e, "kl_k1": 3,
    }  # fmt: skip
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)
    # By replies: means of the first two tokens, and the third.
    assert float(GRPO().metrics(logp_BT, batch)["ratio"]) == pytest.approx(1.5 + 0.25)
    assert float(GRPO().metrics(logp_BT, batch)["clip_fraction_high"]) == pytest.approx(0.5)


def test_what_a_clip_costs_is_counted_by_its_surrogate() -> None:
    """Ratios 2, 1 (A = 1) and 1/4 (A = -2): CISPO up to 1.5 brings one weight down; without an advantage none; REINFORCE none."""
    logp_BT, batch = rollouts()
    found = cispo(0.5).metrics(logp_BT, batch)
    assert (float(found["clip_fraction_high"]), float(found["clip_fraction_low"])) == (1, 0)
    found = PolicyLoss(surrogate=Truncated(0.2, 0.5), per=TokenMean()).metrics(logp_BT, batch)
    assert (float(found["clip_fraction_high"]), float(found["clip_fraction_low"])) == (1, 1)
    none = replace(batch, adv_BT=torch.zeros(3, 3, dtype=torch.float64))
    assert float(cispo(0.5).metrics(logp_BT, none)["clip_fraction"]) == 0
    assert float(rloo().metrics(logp_BT, batch)["clip_fraction"]) == 0


def test_without_a_reference_there_is_no_kl() -> None:
    logp_BT, batch = rollouts()
    alone = replace(batch, ref_BT=None)
    assert not {"kl", "kl_k1"} & set(dapo().metrics(logp_BT, alone))
    near(dapo().total(logp_BT, alone), float(dapo().total(logp_BT, batch)))
    assert alone.take(torch.tensor([1])).ref_BT is None
    with pytest.raises(RecipeError, match="needs the reference's log-probs"):
        GRPO().total(logp_BT, alone)


@pytest.mark.parametrize(
    ("found", "ratio", "surrogate", "per", "kl"),
    [
        (GRPO(), TokenRatio(), Clip(0.2, 0.2), ReplyMean(), KL(0.04, "k3")),
        (GRPO(0.1, 0.3, 0.0, "token"), TokenRatio(), Clip(0.1, 0.3), TokenMean(), None),
        (GRPO(kl_coef=0.0, constant_length=9), TokenRatio(), Clip(0.2, 0.2), ConstantLength(9), None),
        (dr_grpo(3000), TokenRatio(), Clip(0.2, 0.2), ConstantLength(3000), None),
        (dapo(), TokenRatio(), Clip(0.2, 0.28), TokenMean(), None),
        (gspo(), SequenceRatio(), Clip(3e-4, 4e-4), ReplyMean(), None),
        (gspo(per_token=True), SequenceRatio(per_token=True), Clip(3e-4, 4e-4), ReplyMean(), None),
        (cispo(), TokenRatio(), Truncated(1.0, 4.0), TokenMean(), None),
        (rloo(), TokenRatio(), Reinforce(), ReplySum(), None),
        (reinforce_pp(), TokenRatio(), Clip(0.2, 0.2), TokenMean(), None),
        (reinforce_pp(0.01), TokenRatio(), Clip(0.2, 0.2), TokenMean(), KL(0.01, "k2")),
        (ppo(), TokenRatio(), Clip(0.2, 0.2), TokenMean(), None),
    ],
)
def test_presets(found: PolicyLoss, ratio: Ratio, surrogate: Surrogate, per: Per, kl: KL | None) -> None:
    assert found == PolicyLoss(ratio, surrogate, per, kl)
    assert found.kl_coef == (kl.coef if kl else 0)
    assert found.unit == ("token" if per == TokenMean() else "sequence")


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Clip(0.0, 0.2), r"Clip\(low=0.0, high=0.2\): low must be in"),
        (lambda: Clip(0.2, -0.2), "high above 0"),
        (lambda: Clip(0.2, 0.2, dual=1.1), "above 1 \\+ high = 1.2"),
        (lambda: Clip(math.nan, 0.2), "low must be in"),
        (lambda: Truncated(1.5, 1.0), "low must be in"),
        (lambda: Truncated(1.0, -0.1), "high not below 0"),
        (lambda: ConstantLength(0), "at least 1"),
        (lambda: KL(0.0), "kl=None leaves the term out"),
        (lambda: KL(0.1, "k4"), 'write "k1", "k2" or "k3"'),  # type: ignore[arg-type]
        (lambda: KL(0.1, "k3", "k1"), 'write "own", "k2" or "weighted"'),  # type: ignore[arg-type]
        (lambda: GRPO(clip_low=0.0), r"GRPO\(clip_low=0.0, clip_high=0.2\): clip_low must be"),
        (lambda: PolicyLoss(SequenceRatio(), Reinforce()), "reads no ratio"),
    ],
)
def test_values_that_cannot_work_are_refused(build: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        build()
