"""Losses against other people's code: transformers' causal LM loss, and Liger-Kernel's chunked ones (pure torch)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.losses.batch import PairBatch, RatedBatch, Sequences, TokenBatch
from burnish.losses.dpo import DPO
from burnish.losses.kto import KTO
from burnish.losses.reference_free import ORPO, SimPO
from burnish.losses.sft import SFTLoss

torch.set_num_threads(1)
pytestmark = pytest.mark.oracle
B, T, D, V = 6, 9, 8, 23


def hidden(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden states [B, T, D], a head [V, D], tokens [B, T], and a mask [B, T] that is False at position 0."""
    g = torch.Generator().manual_seed(seed)
    states_BTD = torch.randn(B, T, D, generator=g, dtype=torch.float64)
    head_VD = torch.randn(V, D, generator=g, dtype=torch.float64)
    tokens_BT = torch.randint(0, V, (B, T), generator=g)
    lengths_B = torch.randint(3, T + 1, (B,), generator=g)
    t_T = torch.arange(T)
    return states_BTD, head_VD, tokens_BT, (t_T >= 2) & (t_T < lengths_B[:, None])


def logprobs(states_BTD: Tensor, head_VD: Tensor, tokens_BT: Tensor) -> Tensor:
    """Position t holds log p(token t) from the state at t - 1; position 0 holds 0."""
    logp_BTV = torch.log_softmax(states_BTD[:, :-1] @ head_VD.T, -1)
    return torch.nn.functional.pad(logp_BTV.gather(-1, tokens_BT[:, 1:, None])[..., 0], (1, 0))


def sequences(tokens_BT: Tensor, mask_BT: Tensor) -> Sequences:
    return Sequences(tokens_BT, torch.full((len(tokens_BT),), T), mask_BT)


@pytest.mark.parametrize("seed", range(3))
def test_sft_against_transformers(seed: int) -> None:
    """A cut into two micro-batches, each divided by the items of both."""
    from transformers.loss.loss_utils import ForCausalLMLoss

    states_BTD, head_VD, tokens_BT, mask_BT = hidden(seed)
    labels_BT = tokens_BT.masked_fill(~mask_BT, -100)
    logits_BTV = states_BTD @ head_VD.T
    items = mask_BT.sum()
    expected = sum(
        ForCausalLMLoss(logits_BTV[part], labels_BT[part], V, num_items_in_batch=items)
        for part in (slice(0, 2), slice(2, B))
    )
    batch = TokenBatch(sequences(tokens_BT, mask_BT))
    found = SFTLoss().total(logprobs(states_BTD, head_VD, tokens_BT), batch) / SFTLoss().count(batch)
    # transformers computes the cross-entropy in float32.
    assert found.item() == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_dpo_against_liger(seed: int, normalized: bool) -> None:
    """Value and gradient; Liger's states are those that predict the target, so it takes states 0..T-2 and tokens 1..T-1."""
    liger = pytest.importorskip("liger_kernel.chunked_loss")
    states_BTD, head_VD, tokens_BT, mask_BT = hidden(seed)
    ref_BTD = states_BTD + 0.3 * hidden(seed + 100)[0]
    target_BT = tokens_BT.masked_fill(~mask_BT, -100)[:, 1:]
    theirs = liger.LigerFusedLinearDPOLoss(beta=0.7, average_log_prob=normalized, compiled=False, use_ref_model=True)
    leaf = states_BTD.clone().requires_grad_(True)
    expected = theirs(head_VD, leaf[:, :-1], target_BT, None, ref_BTD[:, :-1], head_VD)
    expected = expected[0] if isinstance(expected, tuple) else expected
    (their_gradient,) = torch.autograd.grad(expected, leaf)

    ref_2P = logprobs(ref_BTD, head_VD, tokens_BT).masked_fill(~mask_BT, 0).sum(1)
    batch = PairBatch(sequences(tokens_BT, mask_BT), ref_2P)
    loss = DPO(beta=0.7, length_normalized=normalized)
    mine = states_BTD.clone().requires_grad_(True)
    found = loss.total(logprobs(mine, head_VD, tokens_BT), batch) / loss.count(batch)
    (gradient,) = torch.autograd.grad(found, mine)
    # Liger sums in float32.
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient, their_gradient.double(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["simpo", "orpo", "kto"])
@pytest.mark.parametrize("seed", range(3))
def test_other_preference_losses_against_liger(seed: int, kind: str) -> None:
    """Value and gradient. Liger's ORPO takes the mean log-likelihood over all tokens, ours over each reply, so only its other
    term is compared.
    """
    liger = pytest.importorskip("liger_kernel.chunked_loss")
    states_BTD, head_VD, tokens_BT, mask_BT = hidden(seed)
    target_BT = tokens_BT.masked_fill(~mask_BT, -100)[:, 1:]
    ref_BTD = states_BTD + 0.3 * hidden(seed + 100)[0]
    ref_B = logprobs(ref_BTD, head_VD, tokens_BT).masked_fill(~mask_BT, 0).sum(1)
    theirs, mine = (states_BTD.clone().requires_grad_(True) for _ in range(2))
    logp_BT = logprobs(mine, head_VD, tokens_BT)
    pairs = PairBatch(sequences(tokens_BT, mask_BT), ref_B)
    loss: Any
    if kind == "kto":
        good_B, kl_B = torch.arange(B) % 2 == 0, torch.full((B,), 0.3, dtype=torch.float64)
        unpaired = liger.LigerFusedLinearKTOLoss(beta=0.2, compiled=False, use_ref_model=True)
        expected = unpaired(
            theirs[:, :-1], head_VD, target_BT, None, good_B, ref_BTD[:, :-1], head_VD, None, kl_B[0]
        )  # fmt: skip
        loss, batch = KTO(beta=0.2), RatedBatch(pairs.sequences, good_B, ref_B, kl_B)
        found = loss.total(logp_BT, batch) / loss.count(batch)
    elif kind == "simpo":
        made = liger.LigerFusedLinearSimPOLoss(beta=2.0, gamma=0.8, compute_nll_loss=False, compiled=False)
        expected = made(head_VD, theirs[:, :-1], target_BT)
        loss = SimPO(2.0, 0.8)
        found = loss.total(logp_BT, pairs) / loss.count(pairs)
    else:
        made = liger.LigerFusedLinearORPOLoss(beta=0.3, compute_nll_loss=False, compiled=False)
        expected = made(head_VD, theirs[:, :-1], target_BT)
        loss = ORPO(0.3)
        nll = -(logp_BT.masked_fill(~mask_BT, 0).sum(1) / mask_BT.sum(1)).chunk(2)[0].sum()
        found = (loss.total(logp_BT, pairs) - nll) / loss.count(pairs)
    expected = expected[0] if isinstance(expected, tuple) else expected
    (their_gradient,) = torch.autograd.grad(expected, theirs)
    (gradient,) = torch.autograd.grad(found, mine)
    # Liger sums in float32.
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient, their_gradient.double(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_losses_without_a_reference_against_trl(seed: int) -> None:
    """SimPO and the odds-ratio part of ORPO from the mean log-probs, through the functions of TRL's trainers."""
    cpo = pytest.importorskip("trl.experimental.cpo", exc_type=ImportError)
    orpo = pytest.importorskip("trl.experimental.orpo", exc_type=ImportError)
    states_BTD, head_VD, tokens_BT, mask_BT = hidden(seed)
    logp_BT = logprobs(states_BTD, head_VD, tokens_BT)
    batch = PairBatch(sequences(tokens_BT, mask_BT), torch.full((B,), torch.nan, dtype=torch.float64))
    mean_B = logp_BT.masked_fill(~mask_BT, 0).sum(1) / mask_BT.sum(1)
    here = SimpleNamespace(device=torch.device("cpu"))
    settings = {"beta": 2.0, "simpo_gamma": 0.8, "label_smoothing": 0.0, "alpha": 0.0, "loss_type": "simpo"}
    theirs = cpo.CPOTrainer.cpo_loss(SimpleNamespace(accelerator=here, **settings), *mean_B.chunk(2))[0]
    assert SimPO(2.0, 0.8).total(logp_BT, batch).item() == pytest.approx(theirs.sum().item(), rel=1e-6)
    part = orpo.ORPOTrainer.odds_ratio_loss(SimpleNamespace(accelerator=here, beta=0.1), *mean_B.chunk(2))[0]
    expected = -mean_B.chunk(2)[0].sum() - part.double().sum()
    assert ORPO(0.1).total(logp_BT, batch).item() == pytest.approx(expected.item(), rel=1e-6)
