"""Every loss and estimator against numbers worked out by hand, and GAE against its definition."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.advantage import gae, group_relative, leave_one_out, whiten
from burnish.losses.batch import PairBatch, RolloutBatch, ScoredPairBatch, Sequences, TokenBatch, ValueBatch
from burnish.losses.dpo import APO, DPO, IPO
from burnish.losses.kl import k1, k2, k3
from burnish.losses.policy import GRPO, PolicyLoss, clipped_objective, importance_ratio
from burnish.losses.reference_free import ORPO, SimPO
from burnish.losses.reward import BradleyTerry
from burnish.losses.sft import SFTLoss
from burnish.losses.value import ValueLoss

torch.set_num_threads(1)


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def masked(*mask: list[int]) -> Sequences:
    mask_BT = torch.tensor(mask, dtype=torch.bool)
    lengths_B = torch.where(mask_BT.any(1), torch.tensor(mask_BT.shape[1]), torch.tensor(0))
    return Sequences(torch.zeros(mask_BT.shape, dtype=torch.int64), lengths_B, mask_BT)


def near(value: Tensor | float, expected: float) -> None:
    found = value.item() if isinstance(value, Tensor) else value
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_sft_by_hand() -> None:
    """Trained log-probs -1, -2 | -4, one row untrained: total 7; 3 tokens give 7/3 a token, 2 sequences give 3.5 each."""
    batch = TokenBatch(masked([0, 1, 1], [0, 0, 1], [0, 0, 0]))
    logp_BT = rows([-9.0, -1.0, -2.0], [-9.0, -9.0, -4.0], [-9.0, -9.0, -9.0])
    near(SFTLoss().total(logp_BT, batch), 7)
    near(SFTLoss().count(batch), 3)
    near(SFTLoss("sum").total(logp_BT, batch), 7)
    near(SFTLoss("sum").count(batch), 2)
    assert {k: float(v) for k, v in SFTLoss().metrics(logp_BT, batch).items()} == {"nll": 7}
    assert {k: float(v) for k, v in SFTLoss("sum").metrics(logp_BT, batch).items()} == {"nll": 7, "length": 3}


def test_dpo_length_normalised_by_hand() -> None:
    """Chosen: sum -3 over 2 tokens, reference -4: log ratio 1, per token 1/2.
    Rejected: sum -6 over 3 tokens, reference -4.5: log ratio -1.5, per token -1/2.
    beta 5: margin 5 (1/2 + 1/2) = 5, loss log(1 + e^-5) = 0.006715348...
    """
    batch = PairBatch(masked([0, 1, 1, 0], [0, 1, 1, 1]), torch.tensor([-4.0, -4.5], dtype=torch.float64))
    logp_BT = rows([-9.0, -1.0, -2.0, -9.0], [-9.0, -1.0, -2.0, -3.0])
    near(DPO().total(logp_BT, batch), math.log1p(math.exp(-5)))
    found = {name: float(value) for name, value in DPO().metrics(logp_BT, batch).items()}
    assert found == {"accuracy": 1, "margin": 5, "chosen_logratio": 0.5, "rejected_logratio": -0.5}


def test_dpo_plain_by_hand() -> None:
    """The same pair, beta 0.1, not normalised: margin 0.1 (1 + 1.5) = 0.25, loss log(1 + e^-0.25) = 0.575939...
    With 20 % flipped labels: 0.8 log(1 + e^-0.25) + 0.2 log(1 + e^0.25) = 0.575939 + 0.2 x 0.25 = 0.625939...
    """
    batch = PairBatch(masked([0, 1, 1, 0], [0, 1, 1, 1]), torch.tensor([-4.0, -4.5], dtype=torch.float64))
    logp_BT = rows([-9.0, -1.0, -2.0, -9.0], [-9.0, -1.0, -2.0, -3.0])
    plain = DPO(beta=0.1, length_normalized=False)
    near(plain.total(logp_BT, batch), math.log1p(math.exp(-0.25)))
    assert float(plain.total(logp_BT, batch)) == pytest.approx(0.575939, abs=1e-6)
    smoothed = DPO(beta=0.1, length_normalized=False, label_smoothing=0.2)
    near(smoothed.total(logp_BT, batch), math.log1p(math.exp(-0.25)) + 0.2 * 0.25)


# The pair of the next tests. Chosen: sum -3 over 2 tokens, reference -4: log ratio 1, per token 1/2.
# Rejected: sum -6 over 3 tokens, reference -4.5: log ratio -1.5, per token -1/2. Mean log-probs -1.5 and -2.
PAIR = PairBatch(masked([0, 1, 1, 0], [0, 1, 1, 1]), torch.tensor([-4.0, -4.5], dtype=torch.float64))
PAIR_LOGP = rows([-9.0, -1.0, -2.0, -9.0], [-9.0, -1.0, -2.0, -3.0])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_robust_dpo_by_hand() -> None:
    """Margin 0.1 (1 + 1.5) = 0.25, one label in ten flipped: (0.9 L(0.25) - 0.1 L(-0.25)) / 0.8 with L(m) = log(1 + e^-m),
    which is L(0.25) - 0.1 x 0.25 / 0.8 = 0.575939 - 0.03125.
    """
    robust = DPO(beta=0.1, length_normalized=False, label_smoothing=0.1, unbiased=True)
    near(robust.total(PAIR_LOGP, PAIR), math.log1p(math.exp(-0.25)) - 0.03125)


def test_robust_dpo_is_unbiased() -> None:
    """Over labels flipped at rate 0.3, the mean of the robust loss is the loss of the true label."""
    swapped = PairBatch(PAIR.sequences.take(torch.tensor([1, 0])), PAIR.ref_2P[[1, 0]])
    robust = DPO(beta=0.1, length_normalized=False, label_smoothing=0.3, unbiased=True)
    mean = 0.7 * robust.total(PAIR_LOGP, PAIR) + 0.3 * robust.total(PAIR_LOGP[[1, 0]], swapped)
    near(mean, math.log1p(math.exp(-0.25)))


def test_ipo_by_hand() -> None:
    """Per token: 1/2 + 1/2 - 1/(2 x 0.1) = -4, squared 16. Summed: 2.5 - 5 = -2.5, squared 6.25."""
    near(IPO().total(PAIR_LOGP, PAIR), 16)
    near(IPO(length_normalized=False).total(PAIR_LOGP, PAIR), 6.25)


def test_apo_by_hand() -> None:
    """beta 0.1, summed ratios 1 and -1.5. Zero: 1 - s(0.1) + s(-0.15). Down: s(0.1) + 1 - s(0.25)."""
    near(APO().total(PAIR_LOGP, PAIR), 1 - sigmoid(0.1) + sigmoid(-0.15))
    near(APO(toward="down").total(PAIR_LOGP, PAIR), sigmoid(0.1) + 1 - sigmoid(0.25))


def test_simpo_by_hand() -> None:
    """Mean log-probs -1.5 and -2: margin 2 x 0.5 - 1 = 0, loss ln 2; with gamma 0.4 the margin is 0.6."""
    near(SimPO().total(PAIR_LOGP, PAIR), math.log(2))
    near(SimPO(gamma=0.4).total(PAIR_LOGP, PAIR), math.log1p(math.exp(-0.6)))
    assert {k: float(v) for k, v in SimPO().metrics(PAIR_LOGP, PAIR).items()} == {
        "accuracy": 1, "margin": 1, "chosen_logp": -1.5, "rejected_logp": -2.0,
    }  # fmt: skip


def test_orpo_by_hand() -> None:
    """p = e^-1.5 = 0.223130 and e^-2 = 0.135335: odds 0.287217 and 0.156518, ratio 0.544947 of the second to the first.
    1.5 + 0.1 log(1 + 0.544947) = 1.5 + 0.1 x 0.434989.
    """
    odds = [p / (1 - p) for p in (math.exp(-1.5), math.exp(-2))]
    near(ORPO().total(PAIR_LOGP, PAIR), 1.5 + 0.1 * math.log1p(odds[1] / odds[0]))
    assert float(ORPO().total(PAIR_LOGP, PAIR)) == pytest.approx(1.5434989, abs=1e-7)


def test_a_certain_reply_has_finite_odds() -> None:
    """Both replies at probability 1: the same odds, so ln 2 x 0.1, and a finite gradient."""
    logp_BT = torch.zeros_like(PAIR_LOGP).requires_grad_()
    total = ORPO().total(logp_BT, PAIR)
    total.backward()
    near(total, 0.1 * math.log(2))
    assert logp_BT.grad is not None
    assert bool(logp_BT.grad.isfinite().all())


@pytest.mark.parametrize(
    "make",
    [
        lambda: IPO(beta=0), lambda: APO(beta=-1), lambda: APO(toward="up"), lambda: SimPO(beta=0), lambda: SimPO(gamma=-1),
        lambda: ORPO(beta=0), lambda: DPO(unbiased=True),
    ],
)  # fmt: skip
def test_preference_losses_refuse_numbers_that_teach_nothing(make: Any) -> None:
    with pytest.raises(RecipeError):
        make()


def test_dpo_pairs_that_lost_a_reply_count_as_nothing() -> None:
    """Two pairs, the second without rejected tokens: count 1, and only the first pair's ln 2 in the total."""
    batch = PairBatch(
        masked([0, 1], [0, 1], [0, 1], [0, 0]), torch.tensor([-1.0, -1.0, -1.0, 0.0], dtype=torch.float64)
    )
    logp_BT = rows([0.0, -1.0], [0.0, -7.0], [0.0, -1.0], [0.0, 0.0])
    near(DPO().count(batch), 1)
    near(DPO().total(logp_BT, batch), math.log(2))
    near(DPO().metrics(logp_BT, batch)["chosen_logratio"], 0)


@pytest.mark.parametrize(
    ("ratio", "adv", "objective", "slope"),
    [
        (1.5, 2.0, 2.4, 0.0),  # above the band, gain: held at 1.2 x 2
        (1.1, 2.0, 2.2, 2.0),  # inside: 1.1 x 2
        (0.5, 2.0, 1.0, 2.0),  # below, and it should rise: 0.5 x 2
        (1.5, -2.0, -3.0, -2.0),  # above, and it should fall: 1.5 x -2
        (0.9, -2.0, -1.8, -2.0),  # inside
        (0.5, -2.0, -1.6, 0.0),  # below the band, gain: held at 0.8 x -2
    ],
)
def test_clipped_objective_by_hand(ratio: float, adv: float, objective: float, slope: float) -> None:
    """min(r A, clip(r, 0.8, 1.2) A) and its slope in r."""
    r = torch.tensor([[ratio]], dtype=torch.float64, requires_grad=True)
    value = clipped_objective(r, torch.tensor([[adv]], dtype=torch.float64), 0.2, 0.2)
    near(value.sum(), objective)
    (gradient,) = torch.autograd.grad(value.sum(), r)
    near(gradient.sum(), slope)


def rollouts() -> tuple[Tensor, RolloutBatch]:
    """Reply 1: ratios 1.5 and 1, A = 2; reply 2: ratio 0.5, A = -1; reply 3 is empty. The reference is the policy except at
    the token of reply 2, where log pi/pi_ref = 1.
    """
    old_BT = rows([0.0, -1.0, -2.0], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0])
    logp_BT = old_BT + rows([0.0, math.log(1.5), 0.0], [0.0, math.log(0.5), 0.0], [0.0, 0.0, 0.0])
    ref_BT = logp_BT - rows([0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0])
    adv_BT = rows([0.0, 2.0, 2.0], [0.0, -1.0, 0.0], [0.0, 0.0, 0.0])
    return logp_BT, RolloutBatch(masked([0, 1, 1], [0, 1, 0], [0, 0, 0]), old_BT, ref_BT, adv_BT)


@pytest.mark.parametrize(
    ("loss", "total", "count"),
    [
        # sequence: reply 1 mean of (1.2 x 2, 1 x 2) = 2.2; reply 2: clipped at 0.8 x -1 = -0.8. total -(2.2 - 0.8) = -1.4
        (GRPO(kl_coef=0.0), -1.4, 2),
        # token: -(2.4 + 2 - 0.8) = -3.6
        (GRPO(kl_coef=0.0, unit="token"), -3.6, 3),
        # Dr. GRPO with length 4: -3.6 / 4 = -0.9
        (GRPO(kl_coef=0.0, constant_length=4), -0.9, 2),
        # clip-higher 0.6: reply 1 mean of (1.5 x 2, 2) = 2.5. total -(2.5 - 0.8) = -1.7
        (GRPO(kl_coef=0.0, clip_high=0.6), -1.7, 2),
        # k3 at log-ratio 1 is e^-1 - 1 + 1 = e^-1 on reply 2's only token
        (GRPO(kl_coef=0.5), -1.4 + 0.5 * math.exp(-1), 2),
    ],
)
def test_grpo_by_hand(loss: PolicyLoss, total: float, count: int) -> None:
    logp_BT, batch = rollouts()
    near(loss.total(logp_BT, batch), total)
    near(loss.count(batch), count)


def test_grpo_metrics_by_hand() -> None:
    """Per sequence: clip 1/2 + 1; ratio (1.5 + 1)/2 + 0.5 = 1.75; kl 0 + e^-1. Per token: clip 2; ratio 3; kl e^-1.
    old_kl is k3(old, new) = r - 1 - log r: 0.5 - ln 1.5 on one of reply 1's two tokens, -0.5 + ln 2 on reply 2's.
    """
    logp_BT, batch = rollouts()
    found = GRPO().metrics(logp_BT, batch)
    near(found["clip_fraction"], 1.5)
    near(found["ratio"], 1.75)
    near(found["kl"], math.exp(-1))
    near(found["old_kl"], (0.5 - math.log(1.5)) / 2 + math.log(2) - 0.5)
    found = GRPO(unit="token").metrics(logp_BT, batch)
    near(found["clip_fraction"], 2)
    near(found["ratio"], 3)


def test_gradient_per_token_does_not_depend_on_length_only_with_unit_token() -> None:
    """Two replies of 1 and 3 tokens, A = 1: per-token gradients -1 and -1/3 by sequence, -1 and -1 by token, -1/4 by constant 4."""
    batch = RolloutBatch(masked([0, 1, 0, 0], [0, 1, 1, 1]), *(torch.zeros(2, 4, dtype=torch.float64) for _ in range(2)), torch.ones(2, 4))  # fmt: skip
    expected = {GRPO(kl_coef=0.0): (-1, -1 / 3), GRPO(kl_coef=0.0, unit="token"): (-1, -1), GRPO(kl_coef=0.0, constant_length=4): (-0.25, -0.25)}  # fmt: skip
    for loss, (short, long) in expected.items():
        leaf = torch.zeros(2, 4, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss.total(leaf, batch), leaf)
        near(gradient[0, 1], short)
        near(gradient[1, 2], long)


def test_importance_ratio_is_bounded() -> None:
    """e^20 at most, and no gradient beyond."""
    logp = torch.tensor([[0.0]], dtype=torch.float64, requires_grad=True)
    ratio = importance_ratio(logp, torch.tensor([[-1e4]], dtype=torch.float64))
    near(ratio.sum(), math.exp(20))
    (gradient,) = torch.autograd.grad(ratio.sum(), logp)
    assert float(gradient) == 0


@pytest.mark.parametrize(
    ("log_ratio", "first", "second", "third"),
    [
        (1.0, 1.0, 0.5, 0.36787944117144233),
        (0.0, 0.0, 0.0, 0.0),
        (-1.0, -1.0, 0.5, math.e - 2),
        (2.0, 2.0, 2.0, math.exp(-2) + 1),
    ],
)
def test_kl_estimators_by_hand(log_ratio: float, first: float, second: float, third: float) -> None:
    """With x = log pi/pi_ref: k1 = x, k2 = x^2/2, k3 = e^-x - 1 + x."""
    logp, ref = torch.tensor(log_ratio - 3.0, dtype=torch.float64), torch.tensor(-3.0, dtype=torch.float64)
    near(k1(logp, ref), first)
    near(k2(logp, ref), second)
    near(k3(logp, ref), third)


def test_kl_estimators_against_the_exact_kl() -> None:
    """On a 5-token policy, expectations by summing over all tokens: k1 and k3 are unbiased in value; as losses (only log p of
    the sampled token is differentiated) k1 has expected gradient 0, k2 the exact gradient of KL, k3 another one.
    """
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(5, generator=g, dtype=torch.float64, requires_grad=True)
    ref = torch.log_softmax(torch.randn(5, generator=g, dtype=torch.float64), 0)
    logp = torch.log_softmax(logits, 0)
    exact = (logp.exp() * (logp - ref)).sum()
    weights = logp.exp().detach()
    near((weights * k1(logp, ref)).sum().detach(), float(exact.detach()))
    near((weights * k3(logp, ref)).sum().detach(), float(exact.detach()))
    (truth,) = torch.autograd.grad(exact, logits, retain_graph=True)
    gradients = [
        torch.autograd.grad((weights * k(logp, ref)).sum(), logits, retain_graph=True)[0] for k in (k1, k2, k3)
    ]
    torch.testing.assert_close(gradients[0], torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradients[1], truth)
    assert not torch.allclose(gradients[2], truth, atol=1e-2)


def test_group_relative_by_hand() -> None:
    """[1, 0]: mean 1/2, deviation (n - 1) sqrt(1/2), so 0.5/0.7071 = 0.7071. [3, 1, 1, 1]: mean 1.5, deviation 1, so 1.5, -0.5."""
    found = group_relative(rows([1.0, 0.0]), eps=0.0)
    torch.testing.assert_close(found, rows([math.sqrt(0.5), -math.sqrt(0.5)]))
    torch.testing.assert_close(group_relative(rows([3.0, 1.0, 1.0, 1.0]), eps=0.0), rows([1.5, -0.5, -0.5, -0.5]))
    torch.testing.assert_close(group_relative(rows([3.0, 1.0, 1.0, 1.0]), std=False), rows([1.5, -0.5, -0.5, -0.5]))
    torch.testing.assert_close(group_relative(rows([1.0, 0.0]), std=False), rows([0.5, -0.5]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 10.0])
def test_equal_rewards_give_exactly_zero(value: float, dtype: torch.dtype) -> None:
    """0.1 three times has a mean that is not 0.1 in floating point; the advantage is 0 all the same."""
    for std in (True, False):
        assert (group_relative(torch.full((2, 3), value, dtype=dtype), std=std) == 0).all()
    assert (leave_one_out(torch.full((2, 3), value, dtype=dtype)) == 0).all()


def test_rewards_that_differ_by_rounding_stay_small() -> None:
    """{1, 1 - 1e-7}: the deviation is 7e-8, far below eps, so nothing is blown up to 0.7."""
    assert float(group_relative(torch.tensor([[1.0, 1.0 - 1e-7]])).abs().max()) < 0.1


def test_ungraded_replies_are_left_out() -> None:
    """[1, 0, ungraded] = [1, 0] and 0 for the third, whatever it holds; a single graded reply says nothing."""
    graded_PG = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    rewards_PG = rows([1.0, 0.0, math.nan], [1.0, math.nan, math.nan], [math.nan] * 3)
    half = math.sqrt(0.5)
    torch.testing.assert_close(group_relative(rewards_PG, graded_PG, eps=0.0)[0], rows([half, -half, 0.0])[0])
    assert (group_relative(rewards_PG, graded_PG)[1:] == 0).all()
    torch.testing.assert_close(leave_one_out(rewards_PG, graded_PG), rows([1.0, -1.0, 0.0], [0.0] * 3, [0.0] * 3))


def test_leave_one_out_by_hand() -> None:
    """[1, 0, 0.5]: 1 - 0.25, 0 - 0.75, 0.5 - 0.5."""
    torch.testing.assert_close(leave_one_out(rows([1.0, 0.0, 0.5])), rows([0.75, -0.75, 0.0]))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=8), st.randoms())
def test_group_laws(rewards: list[float], random: Any) -> None:
    """Advantages of a group sum to 0, move with their replies, and stay below sqrt(G)."""
    order = list(range(len(rewards)))
    random.shuffle(order)
    for advantage in (group_relative, leave_one_out):
        found = advantage(rows(rewards))
        assert float(found.sum()) == pytest.approx(0, abs=1e-9)
        torch.testing.assert_close(advantage(rows([rewards[i] for i in order])), found[:, order])
    assert float(group_relative(rows(rewards)).abs().max()) <= math.sqrt(len(rewards))


def test_gae_by_hand() -> None:
    """gamma 0.9, lambda 0.5, rewards 0, 0, 1, values 0.5, 0.4, 0.2.
    delta: 0 + 0.36 - 0.5 = -0.14; 0 + 0.18 - 0.4 = -0.22; 1 - 0.2 = 0.8. A3 = 0.8; A2 = -0.22 + 0.45 x 0.8 = 0.14;
    A1 = -0.14 + 0.45 x 0.14 = -0.077. With V = 1 after the end, delta3 = 1.7.
    """
    rewards, values, mask = rows([0.0, 0.0, 1.0]), rows([0.5, 0.4, 0.2]), torch.ones(1, 3, dtype=torch.bool)
    torch.testing.assert_close(gae(rewards, values, mask, gamma=0.9, lam=0.5), rows([-0.077, 0.14, 0.8]))
    after = gae(rewards, values, mask, gamma=0.9, lam=0.5, bootstrap_B=torch.ones(1, dtype=torch.float64))
    near(after[0, 2], 1.7)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.booleans())
def test_gae_is_its_definition(seed: int, gamma: float, lam: float, cut: bool) -> None:
    """A_t = sum over k of (gamma lambda)^k delta_{t+k}, over the sampled tokens only, whatever lies between them (eq. 16)."""
    g = torch.Generator().manual_seed(seed)
    mask_BT = torch.rand(3, 9, generator=g) < 0.6
    rewards_BT, values_BT = (torch.randn(3, 9, generator=g, dtype=torch.float64) for _ in range(2))
    bootstrap_B = torch.randn(3, generator=g, dtype=torch.float64) if cut else torch.zeros(3, dtype=torch.float64)
    junk = torch.full((3, 9), math.nan, dtype=torch.float64)
    found = gae(
        torch.where(mask_BT, rewards_BT, junk), torch.where(mask_BT, values_BT, junk), mask_BT, gamma=gamma, lam=lam, bootstrap_B=bootstrap_B if cut else None
    )  # fmt: skip
    assert (found[~mask_BT] == 0).all()
    for b in range(3):
        r, v = rewards_BT[b][mask_BT[b]].tolist(), [*values_BT[b][mask_BT[b]].tolist(), float(bootstrap_B[b])]
        deltas = [r[t] + gamma * v[t + 1] - v[t] for t in range(len(r))]
        expected = [sum((gamma * lam) ** k * deltas[t + k] for k in range(len(r) - t)) for t in range(len(r))]
        assert found[b][mask_BT[b]].tolist() == pytest.approx(expected, abs=1e-9)


def test_whiten_by_hand() -> None:
    """1, 2, 3 under the mask: mean 2, deviation 1, so -1, 0, 1; junk off the mask is 0. A constant becomes 0."""
    mask = torch.tensor([[True, True, False, True]])
    torch.testing.assert_close(whiten(rows([1.0, 2.0, math.inf, 3.0]), mask), rows([-1.0, 0.0, 0.0, 1.0]))
    assert (whiten(rows([5.0, 5.0, 1.0, 5.0]), mask) == 0).all()
    assert (whiten(rows([5.0, 5.0, 1.0, 5.0]), torch.zeros(1, 4, dtype=torch.bool)) == 0).all()


def test_value_loss_by_hand() -> None:
    """Token 1: V 1, old 0, return 2, clip 0.2: max((1-2)^2, (0.2-2)^2)/2 = 3.24/2. Token 2: V 0.1, old 0, return 0: 0.01/2.
    Without clipping token 1 gives 1/2.
    """
    batch = ValueBatch(masked([0, 1, 1]), rows([0.0, 0.0, 0.0]), rows([0.0, 2.0, 0.0]))
    values_BT = rows([9.0, 1.0, 0.1])
    near(ValueLoss().total(values_BT, batch), (3.24 + 0.01) / 2)
    near(ValueLoss(clip=None).total(values_BT, batch), (1 + 0.01) / 2)
    near(ValueLoss().count(batch), 2)
    found = ValueLoss().metrics(values_BT, batch)
    near(found["value"], 1.1)
    near(found["return"], 2)
    near(found["value_error"], 1.1)


def test_bradley_terry_by_hand() -> None:
    """Scores 2 and 1: log(1 + e^-1) = 0.313262; with margin 3: log(1 + e^2) = 2.126928. The second pair is padding."""
    batch = ScoredPairBatch(masked([0, 1], [0, 0], [0, 1], [0, 0]), torch.tensor([3.0, 9.0], dtype=torch.float64))
    scores_2P = torch.tensor([2.0, 7.0, 1.0, 5.0], dtype=torch.float64)
    near(BradleyTerry().count(batch), 1)
    near(BradleyTerry().total(scores_2P, batch), math.log1p(math.exp(-1)))
    near(BradleyTerry(use_margin=True).total(scores_2P, batch), math.log1p(math.exp(2)))
    found = {name: float(value) for name, value in BradleyTerry().metrics(scores_2P, batch).items()}
    assert found == {"accuracy": 1, "margin": 1, "chosen_score": 2, "rejected_score": 1}


def test_sequences_size_and_take() -> None:
    batch = TokenBatch(
        Sequences(torch.arange(6).reshape(2, 3), torch.tensor([3, 2]), torch.ones(2, 3, dtype=torch.bool))
    )
    assert batch.sequences.size == 5
    assert batch.take(torch.tensor([1])).sequences.tokens_BT.tolist() == [[3, 4, 5]]
    pairs = PairBatch(
        Sequences(torch.arange(4)[:, None], torch.ones(4), torch.ones(4, 1, dtype=torch.bool)), torch.arange(4.0)
    )
    assert pairs.take(torch.tensor([1])).sequences.tokens_BT.flatten().tolist() == [1, 3]
    assert pairs.take(torch.tensor([1])).ref_2P.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: SFTLoss("tokens"), r"SFTLoss\(reduction='tokens'\): write \"mean\" or \"sum\""),  # type: ignore[arg-type]
        (lambda: DPO(beta=0), "above 0"),
        (lambda: DPO(label_smoothing=0.5), r"\[0, 0.5\)"),
        (lambda: GRPO(unit="reply"), 'write "sequence" or "token"'),  # type: ignore[arg-type]
        (lambda: GRPO(clip_low=1.5), "clip_low must be in"),
        (lambda: GRPO(kl_coef=-0.1), "must not be below 0"),
        (lambda: GRPO(kl_coef=math.nan), "must not be below 0"),
        (lambda: GRPO(unit="token", constant_length=8), 'unit="sequence"'),
        (lambda: ValueLoss(clip=0.0), "above 0"),
    ],
)
def test_values_that_cannot_work_are_refused(build: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        build()


def test_centred_reward_loss_by_hand() -> None:
    """Scores 2 and 1: -log sigmoid(1) = 0.313262, and 0.01 x 3^2 = 0.09."""
    batch = ScoredPairBatch(masked([0, 1], [0, 1]), torch.zeros(1, dtype=torch.float64))
    scores = torch.tensor([2.0, 1.0], dtype=torch.float64)
    near(BradleyTerry(center=0.01).total(scores, batch), math.log1p(math.exp(-1)) + 0.09)
    with pytest.raises(RecipeError, match="center"):
        BradleyTerry(center=-1)
