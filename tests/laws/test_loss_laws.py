"""Every loss keeps the public laws, and laws of its own; broken losses are caught."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from burnish.losses.batch import (
    CandidateSequences,
    PairBatch,
    RatedBatch,
    RolloutBatch,
    ScoredPairBatch,
    Sequences,
    TeacherBatch,
    TokenBatch,
    ValueBatch,
)
from burnish.losses.distill import Distillation
from burnish.losses.dpo import APO, DPO, IPO
from burnish.losses.kto import KTO
from burnish.losses.policy import GRPO
from burnish.losses.reference_free import ORPO, SimPO
from burnish.losses.reward import BradleyTerry
from burnish.losses.sft import SFTLoss
from burnish.losses.value import ValueLoss
from burnish.testing.laws import check_loss

torch.set_num_threads(1)


def sequences(g: torch.Generator, rows: int, width: int = 7) -> Sequences:
    lengths_B = torch.randint(2, width + 1, (rows,), generator=g)
    lengths_B[0] = width
    start_B = 1 + torch.randint(0, 100, (rows,), generator=g) % (lengths_B - 1)
    t_T = torch.arange(width)
    mask_BT = (t_T >= start_B[:, None]) & (t_T < lengths_B[:, None])
    return Sequences(torch.zeros(rows, width, dtype=torch.int64), lengths_B, mask_BT)


def normal(g: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def make_tokens(seed: int) -> tuple[Tensor, TokenBatch]:
    g = torch.Generator().manual_seed(seed)
    s = sequences(g, 5)
    return -normal(g, 5, 7).abs(), TokenBatch(s)


def make_weighted(seed: int) -> tuple[Tensor, TokenBatch]:
    logp_BT, batch = make_tokens(seed)
    weight_B = torch.rand(5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3
    return logp_BT, TokenBatch(batch.sequences, weight_B)


def make_teacher(seed: int) -> tuple[Tensor, TeacherBatch]:
    """Three candidates; the weights of rows are unequal every other time."""
    g = torch.Generator().manual_seed(seed)
    s = sequences(g, 5)
    asked = CandidateSequences(s.tokens_BT, s.lengths_B, s.mask_BT, torch.arange(3).expand(5, 7, 3).contiguous(), 1.5)
    teacher_BTk1 = normal(g, 5, 7, 4).log_softmax(-1)
    weight_B = torch.rand(5, generator=g, dtype=torch.float64) if seed % 2 else None
    student = normal(g, 5, 7, 4).log_softmax(-1)
    return torch.cat([-normal(g, 5, 7, 1).abs(), student], -1), TeacherBatch(asked, teacher_BTk1, weight_B)


def make_pairs(seed: int) -> tuple[Tensor, PairBatch]:
    g = torch.Generator().manual_seed(seed)
    s = sequences(g, 8)
    logp_BT = -normal(g, 8, 7).abs()
    ref_2P = logp_BT.masked_fill(~s.mask_BT, 0).sum(1) + 0.1 * normal(g, 8)
    return logp_BT, PairBatch(s, ref_2P)


def make_rated(seed: int) -> tuple[Tensor, RatedBatch]:
    g = torch.Generator().manual_seed(seed)
    s = sequences(g, 5)
    logp_BT = -normal(g, 5, 7).abs()
    ref_B = logp_BT.masked_fill(~s.mask_BT, 0).sum(1) + normal(g, 5)
    return logp_BT, RatedBatch(s, torch.arange(5) % 2 == seed % 2, ref_B, torch.full((5,), 0.3, dtype=torch.float64))


def make_rollouts(seed: int) -> tuple[Tensor, RolloutBatch]:
    g = torch.Generator().manual_seed(seed)
    s = sequences(g, 5)
    logp_BT = -normal(g, 5, 7).abs()
    old_BT, ref_BT = logp_BT + 0.3 * normal(g, 5, 7), logp_BT + 0.3 * normal(g, 5, 7)
    adv_BT = normal(g, 5, 1).expand(5, 7)
    return logp_BT, RolloutBatch(s, old_BT * s.mask_BT, ref_BT * s.mask_BT, adv_BT * s.mask_BT)


def make_values(seed: int) -> tuple[Tensor, ValueBatch]:
    g = torch.Generator().manual_seed(seed)
    s = sequences(g, 5)
    values_BT = normal(g, 5, 7)
    old_BT = values_BT + 0.3 * normal(g, 5, 7)
    return values_BT, ValueBatch(s, old_BT * s.mask_BT, normal(g, 5, 7) * s.mask_BT)


def make_scores(seed: int) -> tuple[Tensor, ScoredPairBatch]:
    g = torch.Generator().manual_seed(seed)
    return normal(g, 8), ScoredPairBatch(sequences(g, 8), normal(g, 4).abs())


@pytest.mark.parametrize(
    ("loss", "make"),
    [
        (SFTLoss(), make_tokens),
        (SFTLoss("sum"), make_tokens),
        (SFTLoss(), make_weighted),
        (SFTLoss("sum"), make_weighted),
        (Distillation(), make_teacher),
        (Distillation("renormalized", nll=0.3), make_teacher),
        (DPO(), make_pairs),
        (DPO(beta=0.1, length_normalized=False), make_pairs),
        (DPO(label_smoothing=0.2), make_pairs),
        (DPO(label_smoothing=0.2, unbiased=True), make_pairs),
        (IPO(), make_pairs),
        (IPO(beta=0.5, length_normalized=False), make_pairs),
        (APO(), make_pairs),
        (APO(beta=2.0, toward="down", length_normalized=True), make_pairs),
        (SimPO(), make_pairs),
        (ORPO(), make_pairs),
        (KTO(), make_rated),
        (KTO(beta=1.0, desirable=1.5, undesirable=0.5), make_rated),
        (GRPO(), make_rollouts),
        (GRPO(unit="token", clip_high=0.28, kl_coef=0.0), make_rollouts),
        (GRPO(constant_length=32), make_rollouts),
        (ValueLoss(), make_values),
        (ValueLoss(clip=None), make_values),
        (BradleyTerry(), make_scores),
        (BradleyTerry(use_margin=True), make_scores),
        (BradleyTerry(center=0.01), make_scores),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_laws(loss: Any, make: Any) -> None:
    check_loss(loss, make)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@settings(max_examples=30, deadline=None)
@given(weights=st.lists(st.integers(0, 4), min_size=5, max_size=5), seed=st.integers(0, 99))
def test_a_weight_is_so_many_copies_of_the_row(reduction: Any, weights: list[int], seed: int) -> None:
    """A row of weight 2 is the row twice, one of weight 0 is absent: total, count and gradient."""
    logp_BT, batch = make_tokens(seed)
    loss = SFTLoss(reduction)
    weighted = TokenBatch(batch.sequences, torch.tensor(weights, dtype=torch.float64))
    copies = torch.tensor([row for row, weight in enumerate(weights) for _ in range(weight)], dtype=torch.long)
    leaf, other = logp_BT.clone().requires_grad_(True), logp_BT.clone().requires_grad_(True)
    total, plain = loss.total(leaf, weighted), loss.total(other[copies], batch.take(copies))
    torch.testing.assert_close(total, plain, rtol=1e-12, atol=1e-12)
    assert float(loss.count(weighted)) == float(loss.count(batch.take(copies)))
    total.backward()
    plain.backward()
    assert leaf.grad is not None
    assert other.grad is not None
    torch.testing.assert_close(leaf.grad, other.grad, rtol=0, atol=1e-12)


@dataclass(frozen=True)
class Broken:
    """SFT with one mistake each."""

    kind: str

    def count(self, batch: TokenBatch) -> Tensor:
        mask_BT = batch.sequences.mask_BT
        return torch.tensor(len(mask_BT)) if self.kind == "counts padding rows" else mask_BT.sum()

    def total(self, logp_BT: Tensor, batch: TokenBatch) -> Tensor:
        mask_BT = batch.sequences.mask_BT
        match self.kind:
            case "mean inside":
                return -logp_BT.masked_fill(~mask_BT, 0).sum() / mask_BT.sum().clamp(min=1)
            case "times mask":
                return -(logp_BT * mask_BT).sum()
            case "unmasked":
                return -logp_BT.sum()
            case "wrong gradient":
                return -(logp_BT.masked_fill(~mask_BT, 0) + logp_BT.detach().masked_fill(~mask_BT, 0)).sum()
            case "overflows":
                return (-logp_BT.masked_fill(~mask_BT, 0)).expm1().sum()
        return -logp_BT.masked_fill(~mask_BT, 0).sum()

    def metrics(self, logp_BT: Tensor, batch: TokenBatch) -> dict[str, Tensor]:
        value = self.total(logp_BT, batch)
        return {"nll": value if self.kind == "metric with gradient" else value.detach()}


@pytest.mark.parametrize(
    ("kind", "law"),
    [
        ("mean inside", "split: total"),
        ("times mask", "padding"),
        ("unmasked", "padding|mask"),
        ("wrong gradient", "gradcheck"),
        ("overflows", "finite"),
        ("counts padding rows", "padding|mask"),
        ("metric with gradient", "carries a gradient"),
    ],
)
def test_broken_losses_are_caught(kind: str, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_loss(Broken(kind), make_tokens)


def test_split_needs_three_units() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        check_loss(SFTLoss(), lambda seed: (make_tokens(seed)[0][:2], make_tokens(seed)[1].take(torch.arange(2))))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_on_policy_gradient_is_reinforce(seed: int) -> None:
    """At logp = old the ratio is 1 and its gradient is that of log p: d(-r A)/d logp = -A on each token."""
    logp_BT, batch = make_rollouts(seed)
    batch = replace(batch, old_BT=logp_BT * batch.sequences.mask_BT)
    leaf = logp_BT.requires_grad_(True)
    (gradient,) = torch.autograd.grad(GRPO(kl_coef=0.0, unit="token").total(leaf, batch), leaf)
    torch.testing.assert_close(gradient, -batch.adv_BT, rtol=0, atol=1e-12)
    metrics = GRPO(unit="token").metrics(logp_BT, batch)
    assert float(metrics["clip_fraction"]) == 0
    assert float(metrics["old_kl"]) == 0
    assert float(metrics["ratio"]) == float(batch.sequences.mask_BT.sum())


@settings(max_examples=60, deadline=None)
@given(st.floats(-0.15, 0.25), st.sampled_from([-1.5, 0.0, 2.0]))
def test_no_gradient_past_the_clip(log_ratio: float, advantage: float) -> None:
    """Past the band the gradient is 0 exactly when the objective could only gain by going on: A > 0 above, A < 0 below."""
    low, high = 0.1, 0.2
    old = -1.0
    one = torch.tensor([[False, True]])
    values = torch.tensor([[0.0, old]], dtype=torch.float64)
    adv_BT = torch.tensor([[0.0, advantage]], dtype=torch.float64)
    batch = RolloutBatch(
        Sequences(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([2]), one), values, values, adv_BT
    )
    logp_BT = torch.tensor([[0.0, old + log_ratio]], dtype=torch.float64, requires_grad=True)
    loss = GRPO(clip_low=low, clip_high=high, kl_coef=0.0)
    (gradient,) = torch.autograd.grad(loss.total(logp_BT, batch), logp_BT)
    ratio = math.exp(log_ratio)
    clipped = (advantage > 0 and ratio > 1 + high) or (advantage < 0 and ratio < 1 - low)
    expected = 0.0 if clipped else -advantage * ratio
    assert gradient[0, 1].item() == pytest.approx(expected, abs=1e-12)
    assert float(loss.metrics(logp_BT, batch)["clip_fraction"]) == float(clipped)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_dpo_at_the_reference_is_ln_2_and_swapping_flips_the_margin(seed: int, normalized: bool) -> None:
    logp_BT, batch = make_pairs(seed)
    loss = DPO(length_normalized=normalized)
    same = replace(batch, ref_2P=logp_BT.masked_fill(~batch.sequences.mask_BT, 0).sum(1))
    assert float(loss.total(logp_BT, same) / loss.count(same)) == pytest.approx(math.log(2))
    swap = torch.cat([torch.arange(4, 8), torch.arange(4)])
    swapped = PairBatch(batch.sequences.take(swap), batch.ref_2P[swap])
    there, back = loss.metrics(logp_BT, batch), loss.metrics(logp_BT[swap], swapped)
    assert float(there["margin"]) == pytest.approx(-float(back["margin"]))
    assert float(there["chosen_logratio"]) == pytest.approx(float(back["rejected_logratio"]))
    assert float(there["accuracy"] + back["accuracy"]) == 4


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_dpo_raises_chosen_and_lowers_rejected(seed: int) -> None:
    logp_BT, batch = make_pairs(seed)
    leaf = logp_BT.requires_grad_(True)
    (gradient,) = torch.autograd.grad(DPO().total(leaf, batch), leaf)
    mask_BT = batch.sequences.mask_BT
    assert bool((gradient[:4][mask_BT[:4]] < 0).all())
    assert bool((gradient[4:][mask_BT[4:]] > 0).all())


def test_laws_module_names_what_it_has_not() -> None:
    from burnish.testing import laws

    with pytest.raises(AttributeError, match="no attribute 'check_nothing'"):
        _ = laws.check_nothing
