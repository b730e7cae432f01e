"""What PPO learns of each token: rewards, advantages and returns, by hand and by laws."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.errors import RecipeError
from burnish.losses.batch import Sequences, ValueBatch
from burnish.losses.value import ValueLoss
from burnish.text.render import Rendered
from burnish.train.values import GAE, Credit, Estimator, Observed, credit, explained_variance, token_rewards

MEAN = GAE(lam=1.0, whiten=False)


def rows(*values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def made(seed: int, lengths: list[int], *, cut: bool = False) -> Observed:
    """Replies of these lengths behind prompts of two tokens, with a foreign token before every third one."""
    g = torch.Generator().manual_seed(seed)
    rendered = []
    for n in lengths:
        mask = [False, False]
        for i in range(n):
            mask += [False, True] if i % 3 == 1 else [True]
        rendered.append(Rendered(tuple(range(len(mask))), tuple(mask)))
    mask_BK = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    old, ref, values = (
        torch.randn(mask_BK.shape, generator=g, dtype=torch.float64).masked_fill(~mask_BK, 0.0) for _ in range(3)
    )
    after = torch.randn(len(lengths), generator=g, dtype=torch.float64) if cut else torch.zeros(len(lengths)).double()
    return Observed(rendered, mask_BK, old, ref, values, after)


def test_rewards_by_hand() -> None:
    """beta 0.1. Reply 1: log pi - log pi_ref = 0.5, -1, 0, so -0.05, 0.1, and 0 + its score 10. Reply 2 has one token: 2 nats, -10
    - 0.2. Off the mask there is nothing, whatever lies there.
    """
    mask = torch.tensor([[True, True, True], [True, False, False]])
    old, ref = rows([-1.0, -2.0, -0.5], [-1.0, 7.0, math.inf]), rows([-1.5, -1.0, -0.5], [-3.0, 9.0, 1.0])
    found = token_rewards(torch.tensor([10.0, -10.0]).double(), old, ref, mask, kl_coef=0.1)
    torch.testing.assert_close(found, rows([-0.05, 0.1, 10.0], [-10.2, 0.0, 0.0]))
    alone = token_rewards(torch.tensor([10.0, -10.0]).double(), old, None, mask, kl_coef=0.1)
    torch.testing.assert_close(alone, rows([0.0, 0.0, 10.0], [-10.0, 0.0, 0.0]))


@pytest.mark.parametrize(("estimator", "expected"), [("k1", -0.5), ("k2", -0.125), ("k3", -(math.exp(-0.5) - 0.5))])
def test_estimators_by_hand(estimator: Estimator, expected: float) -> None:
    """0.5 nats: k1 = 0.5; k2 = 0.125; k3 = e^-0.5 - 1 + 0.5."""
    one = torch.ones(1, 2, dtype=torch.bool)
    found = token_rewards(rows([0.0])[0], rows([-1.0, -1.0]), rows([-1.5, -1.5]), one, kl_coef=1.0, estimator=estimator)
    assert found.tolist() == [pytest.approx([expected, expected])]


def test_a_step_by_hand() -> None:
    """One reply of two tokens, no KL, score 1, values 0.5 and 0.25, gamma 1, lambda 0.5.
    delta: 0.25 - 0.5 = -0.25; 1 - 0.25 = 0.75. A = -0.25 + 0.5 x 0.75 = 0.125 and 0.75; returns 0.625 and 1.
    Whitened: mean 0.4375, deviation 0.3125 sqrt(2), so -+ 0.7071. Bootstrapped with 2 and without a score: delta2 = 1.75.
    """
    same = rows([-1.0, -2.0])
    row = Rendered((5, 6, 7), (False, True, True))
    sampled = Observed([row], torch.ones(1, 2, dtype=torch.bool), same, same, rows([0.5, 0.25]), rows([0.0])[0])
    found = credit(sampled, rows([1.0])[0], GAE(lam=0.5), kl_coef=0.05)
    torch.testing.assert_close(found.raw_BK, rows([0.125, 0.75]))
    torch.testing.assert_close(found.returns_BK, rows([0.625, 1.0]))
    torch.testing.assert_close(found.advantages_BK, rows([-math.sqrt(0.5), math.sqrt(0.5)]), atol=1e-7, rtol=0)
    cut = credit(replace(sampled, bootstrap_B=rows([2.0])[0]), rows([0.0])[0], GAE(lam=0.5), kl_coef=0.05)
    torch.testing.assert_close(cut.raw_BK[0, 1], torch.tensor(1.75, dtype=torch.float64))
    metrics = found.metrics()
    assert (metrics["score"], metrics["rlhf_reward"], metrics["kl_penalty"]) == (1.0, 1.0, 0.0)
    assert (metrics["value"], metrics["return"]) == (0.375, 0.8125)
    assert found.advantage_of(0) == pytest.approx(0.0, abs=1e-12)
    assert metrics["advantage"] == pytest.approx(0.4375)
    assert metrics["advantage_sd"] == pytest.approx(0.3125 * math.sqrt(2))


def test_explained_variance_by_hand() -> None:
    """Returns 0, 2 (variance 1). Exact values: 1. A constant: 0. Values 2, 0: errors -2, 2, variance 4: -3."""
    returns = torch.tensor([0.0, 2.0])
    for values, expected in (([0.0, 2.0], 1.0), ([7.0, 7.0], 0.0), ([2.0, 0.0], -3.0)):
        assert float(explained_variance(torch.tensor(values), returns)) == expected
    assert float(explained_variance(returns, torch.ones(2))) == 0.0


LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), LENGTHS, st.floats(0, 1))
def test_rewards_add_up_to_the_score_less_the_kl(seed: int, lengths: list[int], beta: float) -> None:
    sampled = made(seed, lengths)
    score_B = torch.linspace(-1, 1, len(lengths), dtype=torch.float64)
    found = credit(sampled, score_B, GAE(), kl_coef=beta)
    assert sampled.ref_BK is not None
    kl_B = (sampled.old_BK - sampled.ref_BK).sum(1)
    torch.testing.assert_close(found.rewards_BK.sum(1), score_B - beta * kl_B)
    assert found.metrics()["rlhf_reward"] == pytest.approx(float((score_B - beta * kl_B).mean()), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), LENGTHS, st.booleans())
def test_without_discount_a_return_is_what_is_still_to_come(seed: int, lengths: list[int], cut: bool) -> None:
    """gamma = lambda = 1: the return of a token is the sum of the rewards from it on, and the value after a cut, whatever V."""
    sampled = made(seed, lengths, cut=cut)
    found = credit(sampled, torch.ones(len(lengths)), MEAN, kl_coef=0.3)
    to_come_BK = found.rewards_BK.flip(1).cumsum(1).flip(1) + sampled.bootstrap_B[:, None]
    torch.testing.assert_close(found.returns_BK, to_come_BK.masked_fill(~sampled.mask_BK, 0.0))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), LENGTHS, st.data())
def test_the_order_of_replies_does_not_matter(seed: int, lengths: list[int], data: st.DataObject) -> None:
    """Whitening is over the whole step, so a permutation of its replies permutes what is learned of them; the step's mean is 0
    and its deviation 1.
    """
    sampled, score_B = made(seed, lengths), torch.arange(len(lengths)).double()
    order = data.draw(st.permutations(range(len(lengths))))
    names = ("mask_BK", "old_BK", "ref_BK", "values_BK", "bootstrap_B")
    moved = Observed([sampled.rows[i] for i in order], **{name: getattr(sampled, name)[order] for name in names})
    found = credit(sampled, score_B, GAE(), kl_coef=0.1)
    torch.testing.assert_close(
        credit(moved, score_B[order], GAE(), kl_coef=0.1).advantages_BK, found.advantages_BK[order]
    )
    every = found.advantages_BK[sampled.mask_BK]
    assert float(every.mean()) == pytest.approx(0, abs=1e-9)
    if len(every) > 1:
        assert float(every.std()) == pytest.approx(1, abs=1e-6)


def taken(step: Credit, index: list[int]) -> list[tuple[list[float], ...]]:
    """Of each reply: old log-probs, advantages, values and returns at its own tokens."""
    policy, value = step.policy_batch(index), step.value_batch(index)
    mask_BT = policy.sequences.mask_BT
    parts = (policy.old_BT, policy.ref_BT, policy.adv_BT, value.old_BT, value.returns_BT)
    for part in parts:
        assert part is not None
        assert bool((part[~mask_BT] == 0).all())
    return [tuple(part[b, mask_BT[b]].tolist() for part in parts if part is not None) for b in range(len(index))]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), LENGTHS)
def test_a_micro_batch_takes_its_part_of_the_step(seed: int, lengths: list[int]) -> None:
    """However replies are put together, each brings its own numbers, at its own tokens, in order; no token of a tool has any."""
    found = credit(made(seed, lengths), torch.ones(len(lengths)), GAE(), kl_coef=0.1)
    known = found.observed
    whole = taken(found, list(range(len(lengths))))
    for b, n in enumerate(lengths):
        assert known.ref_BK is not None
        parts = (known.old_BK, known.ref_BK, found.advantages_BK, known.values_BK, found.returns_BK)
        assert whole[b] == tuple(part[b, :n].tolist() for part in parts)
        assert taken(found, [b]) == [whole[b]]
    assert taken(found, list(reversed(range(len(lengths))))) == whole[::-1]


@pytest.mark.parametrize(("gamma", "lam"), [(1.1, 0.95), (1.0, -0.1), (math.nan, 0.95)])
def test_values_that_cannot_work_are_refused(gamma: float, lam: float) -> None:
    with pytest.raises(RecipeError, match=r"in \[0, 1\]"):
        GAE(gamma=gamma, lam=lam)


def test_the_value_loss_by_reply_and_its_clips_by_hand() -> None:
    """Reply 1: V 1, 0.1, old 0, returns 2, 0, clip 0.2: 3.24 / 2 and 0.01 / 2, mean 0.8125. Reply 2: V 0.5, old 0.4, return 1:
    0.25 / 2. Half of their sum with coef 0.5; the first token alone has lost its gradient: shares 1/2 and 0.
    """
    mask = torch.tensor([[False, True, True], [False, True, False]])
    sequences = Sequences(torch.zeros(2, 3, dtype=torch.long), torch.tensor([3, 2]), mask)
    batch = ValueBatch(sequences, rows([0, 0, 0], [0, 0.4, 9]), rows([0, 2, 0], [0, 1, 9]))
    values, loss = rows([7, 1, 0.1], [7, 0.5, 7]), ValueLoss(0.2, coef=0.5, unit="sequence")
    assert float(loss.count(batch)) == 2
    assert float(loss.total(values, batch)) == pytest.approx(0.5 * (0.8125 + 0.125))
    found = loss.metrics(values, batch)
    assert float(found["value_clip_fraction"]) == pytest.approx(0.5)
    assert float(found["value"]) == pytest.approx(0.55 + 0.5)
    for bad in ({"coef": 0.0}, {"unit": "reply"}):
        with pytest.raises(RecipeError):
            ValueLoss(**bad)
