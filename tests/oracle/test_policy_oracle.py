"""The PPO family against other people's code: TRL's trainers, verl's core_algos and Liger's chunked loss.

The first two get the log-probs themselves, in float64; Liger computes them from hidden states, in float32. verl is not in the
extra `oracle`, because all of it wants a cluster's worth of packages: `pip install --no-deps verl tensordict codetiming
omegaconf antlr4-python3-runtime==4.9.3 pyvers` is enough for these tests.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.losses.advantage import group_relative, leave_one_out, whitened
from burnish.losses.batch import RolloutBatch, Sequences
from burnish.losses.kl import k1, k2, k3
from burnish.losses.policy import (
    GRPO,
    KL,
    Clip,
    Per,
    PolicyLoss,
    Reinforce,
    ReplyMean,
    ReplySum,
    SequenceRatio,
    TokenMean,
    Truncated,
    cispo,
    dapo,
    dr_grpo,
    gspo,
    ppo,
    rloo,
)

torch.set_num_threads(1)
pytestmark = pytest.mark.oracle
B, T = 6, 9


def rollouts(seed: int, *, weights: bool = False) -> tuple[Tensor, RolloutBatch]:
    """Six ragged replies. Position 0 of a row is the prompt, which nothing looks at."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    lengths_B = torch.randint(3, T + 1, (B,), generator=g)
    t_T = torch.arange(T)
    mask_BT = (t_T >= 1) & (t_T < lengths_B[:, None])
    logp_BT = -normal(B, T).abs()
    old_BT, ref_BT = logp_BT + 0.4 * normal(B, T), logp_BT + 0.4 * normal(B, T)
    weight_BT = torch.rand(B, T, generator=g, dtype=torch.float64) * 2 if weights else None
    sequences = Sequences(torch.zeros(B, T, dtype=torch.long), lengths_B, mask_BT)
    return logp_BT, RolloutBatch(sequences, old_BT, ref_BT, normal(B, 1).expand(B, T), weight_BT)


def ours(loss: PolicyLoss, logp_BT: Tensor, batch: RolloutBatch) -> tuple[Tensor, Tensor]:
    """(mean loss, gradient)."""
    leaf = logp_BT.clone().requires_grad_(True)
    value = loss.total(leaf, batch) / loss.count(batch)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def same(found: tuple[Tensor, Tensor], value: Tensor, gradient: Tensor, near: float = 1e-10) -> None:
    torch.testing.assert_close(found[0], value.detach().double(), rtol=near, atol=near)
    torch.testing.assert_close(found[1], gradient.double(), rtol=near, atol=near)


# TRL --------------------------------------------------------------------------------------------------------------------


def trl_trainer(kind: str, logp_BT: Tensor, **settings: Any) -> Any:
    """TRL's trainer with nothing but what its loss reads; its model gives these log-probs."""
    pytest.importorskip("trl", exc_type=ImportError)
    trainers: Any = importlib.import_module("trl")
    accelerate: Any = importlib.import_module("accelerate")
    base: Any = {"grpo": trainers.GRPOTrainer, "rloo": trainers.RLOOTrainer}[kind]

    class Trainer(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self.accelerator = accelerate.Accelerator(cpu=True)
            self._metrics: Any = {"train": defaultdict(list)}
            self.model = SimpleNamespace(training=True)
            self.aux_loss_enabled = self._entropy_bonus_enabled = False
            self.top_entropy_quantile, self.off_policy_mask_threshold = 1.0, None
            self.current_gradient_accumulation_steps = 1
            self.vllm_importance_sampling_correction = True
            self.args = SimpleNamespace(
                delta=settings.pop("delta", None), use_bias_correction_kl=settings.pop("use_bias_correction_kl", False),
                steps_per_generation=1,
            )  # fmt: skip
            for name, value in settings.items():
                setattr(self, name, value)

        def _get_per_token_logps_and_entropies(self, *given: Any, **more: Any) -> Any:
            return logp_BT, torch.zeros_like(logp_BT), None

    return Trainer()


def trl_loss(logp_BT: Tensor, batch: RolloutBatch, **settings: Any) -> tuple[Tensor, Tensor]:
    leaf = logp_BT.clone().requires_grad_(True)
    mask_BT = batch.sequences.mask_BT[:, 1:].long()
    defaults = {"beta": 0.0, "epsilon_low": 0.2, "epsilon_high": 0.2, "importance_sampling_level": "token"}
    trainer = trl_trainer("grpo", leaf[:, 1:], use_vllm=batch.weight_BT is not None, **(defaults | settings))
    inputs = {
        "prompt_ids": torch.zeros(B, 1), "prompt_mask": torch.ones(B, 1), "completion_ids": torch.zeros(B, T - 1),
        "completion_mask": mask_BT, "advantages": batch.adv_BT[:, 0], "old_per_token_logps": batch.old_BT[:, 1:],
        "ref_per_token_logps": None if batch.ref_BT is None else batch.ref_BT[:, 1:], "num_items_in_batch": mask_BT.sum(),
        "importance_sampling_ratio": None if batch.weight_BT is None else batch.weight_BT[:, 1:],
    }  # fmt: skip
    value = trainer._compute_loss(trainer.model, inputs)
    return value, torch.autograd.grad(value, leaf)[0]


SEQUENCE = {"importance_sampling_level": "sequence"}


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        (GRPO(), {"loss_type": "grpo", "beta": 0.04}),
        (GRPO(0.1, 0.3, 0.0), {"loss_type": "grpo", "epsilon_low": 0.1, "epsilon_high": 0.3}),
        (GRPO(unit="token", kl_coef=0.0), {"loss_type": "bnpo"}),
        (dapo(), {"loss_type": "dapo", "epsilon_high": 0.28}),
        (dr_grpo(20), {"loss_type": "dr_grpo", "max_completion_length": 20}),
        (gspo(), {"loss_type": "grpo", "epsilon_low": 3e-4, "epsilon_high": 4e-4, **SEQUENCE}),
        (PolicyLoss(SequenceRatio(), Clip(0.1, 0.1)), {"loss_type": "grpo", "epsilon_low": 0.1, "epsilon_high": 0.1, **SEQUENCE}),
        (PolicyLoss(SequenceRatio(), kl=KL(0.1)), {"loss_type": "grpo", "beta": 0.1, **SEQUENCE}),
        # LUSPO: a reply's ratio as often as it has tokens
        (PolicyLoss(SequenceRatio(), per=ReplySum()), {"loss_type": "luspo", **SEQUENCE}),
        # Their epsilon_high is the bound itself.
        (cispo(), {"loss_type": "cispo", "epsilon_high": 5.0}),
        (cispo(0.3), {"loss_type": "cispo", "epsilon_high": 1.3}),
        (PolicyLoss(surrogate=Clip(dual=1.4)), {"loss_type": "grpo", "delta": 1.4}),
        # DeepSeek V3.2's KL
        (PolicyLoss(kl=KL(0.1, "k3", "weighted")), {"loss_type": "grpo", "beta": 0.1, "use_bias_correction_kl": True}),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("weights", [False, True], ids=["", "importance weights"])
def test_losses_against_trl(loss: PolicyLoss, settings: dict[str, Any], weights: bool) -> None:
    for seed in range(3):
        logp_BT, batch = rollouts(seed, weights=weights)
        if weights and isinstance(loss.ratio, SequenceRatio) and isinstance(loss.per, ReplySum):
            continue  # TRL broadcasts this sum another way once anything has a column a token
        same(ours(loss, logp_BT, batch), *trl_loss(logp_BT, batch, **settings))


def test_rloo_against_trl() -> None:
    """TRL clips the ratio of whole replies; on policy that is REINFORCE, the paper's loss, gradient for gradient."""
    for seed in range(3):
        logp_BT, batch = rollouts(seed)
        on_policy = RolloutBatch(batch.sequences, logp_BT, batch.ref_BT, batch.adv_BT)
        for case in (batch, on_policy):
            leaf = logp_BT.clone().requires_grad_(True)
            mask_BT = case.sequences.mask_BT
            trainer = trl_trainer("rloo", leaf[:, 1:], epsilon_low=0.2, epsilon_high=0.2)
            inputs = {
                "prompt_ids": torch.zeros(B, 1), "prompt_mask": torch.ones(B, 1), "completion_ids": torch.zeros(B, T - 1),
                "completion_mask": mask_BT[:, 1:].long(), "advantages": case.adv_BT[:, 0],
                "old_logps": (case.old_BT * mask_BT).sum(1),
            }  # fmt: skip
            value = trainer._compute_loss(trainer.model, inputs)
            (gradient,) = torch.autograd.grad(value, leaf)
            same(ours(PolicyLoss(SequenceRatio(length_normalized=False), Clip()), logp_BT, case), value, gradient)
        torch.testing.assert_close(ours(rloo(), logp_BT, on_policy)[1], gradient, rtol=1e-10, atol=1e-10)


# verl -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def verl() -> Any:
    return pytest.importorskip("verl.trainer.ppo.core_algos", exc_type=ImportError)


PERS: dict[Per, str] = {TokenMean(): "token-mean", ReplyMean(): "seq-mean-token-mean", ReplySum(): "seq-mean-token-sum"}


def actor(**settings: Any) -> Any:
    """verl's settings of a loss; the rest only has to be there."""
    workers: Any = importlib.import_module("verl.workers.config")
    return workers.ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, use_dynamic_bsz=True, **settings
    )


@pytest.mark.parametrize("per", PERS, ids=str)
@pytest.mark.parametrize(
    ("kind", "surrogate", "ratio", "settings"),
    [
        ("vanilla", Clip(0.2, 0.28, dual=3.0), None, {"clip_ratio_low": 0.2, "clip_ratio_high": 0.28}),
        ("vanilla", Clip(0.1, 0.1, dual=1.3), None, {"clip_ratio": 0.1, "clip_ratio_low": None, "clip_ratio_high": None, "clip_ratio_c": 1.3}),
        ("gspo", Clip(0.1, 0.2), SequenceRatio(per_token=True), {"clip_ratio_low": 0.1, "clip_ratio_high": 0.2}),
        ("cispo", Truncated(0.2, 0.3), None, {"clip_ratio_low": 0.2, "clip_ratio_high": 0.3}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("weights", [False, True], ids=["", "importance weights"])
def test_losses_against_verl(
    verl: Any, kind: str, surrogate: Any, ratio: Any, settings: dict[str, Any], per: Any, weights: bool
) -> None:
    config = actor(**settings)
    loss = PolicyLoss(ratio or PolicyLoss().ratio, surrogate, per)
    for seed in range(3):
        logp_BT, batch = rollouts(seed, weights=weights)
        leaf = logp_BT.clone().requires_grad_(True)
        value = verl.get_policy_loss_fn(kind)(
            batch.old_BT, leaf, batch.adv_BT, batch.sequences.mask_BT.double(), PERS[per], config, batch.weight_BT
        )[0]
        # Their mean over a reply divides by its length + 1e-8.
        near = 1e-7 if per == ReplyMean() else 1e-10
        same(ours(loss, logp_BT, batch), value, torch.autograd.grad(value, leaf)[0], near)


@pytest.mark.parametrize("weights", [False, True], ids=["", "importance weights"])
def test_reinforce_against_verl(verl: Any, weights: bool) -> None:
    config = actor()
    logp_BT, batch = rollouts(0, weights=weights)
    for per, name in PERS.items():
        leaf = logp_BT.clone().requires_grad_(True)
        value = verl.compute_policy_loss_reinforce(
            batch.old_BT, leaf, batch.adv_BT, batch.sequences.mask_BT.double(), name, config, batch.weight_BT
        )[0]
        found = ours(PolicyLoss(surrogate=Reinforce(), per=per), logp_BT, batch)
        same(found, value, torch.autograd.grad(value, leaf)[0], 1e-7 if per == ReplyMean() else 1e-10)


@pytest.mark.parametrize(
    ("kl", "name"),
    [
        (KL(0.3, "k1"), "k1"), (KL(0.3, "k2"), "k2"), (KL(0.3, "k3"), "k3"), (KL(0.3, "k1", "k2"), "k1+"),
        (KL(0.3, "k3", "k2"), "k3+"),
    ],
    ids=str,
)  # fmt: skip
def test_kl_terms_against_verl(verl: Any, kl: KL, name: str) -> None:
    logp_BT, batch = rollouts(1)
    assert batch.ref_BT is not None
    leaf = logp_BT.clone().requires_grad_(True)
    penalty_BT = verl.kl_penalty(leaf, batch.ref_BT, name)
    value = kl.coef * (penalty_BT * batch.sequences.mask_BT).sum() / batch.sequences.mask_BT.sum()
    nothing = RolloutBatch(batch.sequences, batch.old_BT, batch.ref_BT, torch.zeros_like(batch.adv_BT))
    found = ours(PolicyLoss(per=TokenMean(), kl=kl), logp_BT, nothing)
    same(found, value, torch.autograd.grad(value, leaf)[0])
    for estimate, theirs in ((k1, "k1"), (k2, "k2"), (k3, "k3")):
        torch.testing.assert_close(estimate(logp_BT, batch.ref_BT), verl.kl_penalty(logp_BT, batch.ref_BT, theirs))


def test_advantages_against_verl(verl: Any) -> None:
    """Three groups of four replies of unequal lengths, one of them without differences.

    GRPO agrees up to the two epsilons; whitening up to verl's epsilon inside the root.
    """
    g = torch.Generator().manual_seed(0)
    rewards_PG = torch.rand(3, 4, generator=g, dtype=torch.float64)
    rewards_PG[2] = 0.25
    lengths_PG = torch.randint(1, 9, (3, 4), generator=g)
    mask_BT = (torch.arange(9) < lengths_PG.view(-1, 1)).double()
    last_BT = (torch.arange(9) == lengths_PG.view(-1, 1) - 1).double()
    scores_BT = last_BT * rewards_PG.view(-1, 1)
    index = torch.arange(3).repeat_interleave(4)

    def theirs(name: str, **more: Any) -> Tensor:
        """What their estimator gives to each reply's first token."""
        found: Tensor = verl.get_adv_estimator_fn(name)(
            token_level_rewards=scores_BT.clone(), response_mask=mask_BT, index=index.numpy(), **more
        )[0]
        return found[:, 0].view(3, 4)

    def near(found: Tensor, expected: Tensor, tolerance: float) -> None:
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)

    near(group_relative(rewards_PG), theirs("grpo"), 1e-9)
    near(group_relative(rewards_PG, std=False), theirs("grpo", norm_adv_by_std_in_grpo=False), 1e-12)
    near(leave_one_out(rewards_PG), theirs("rloo"), 1e-12)
    near(
        whitened(rewards_PG, lengths_PG=lengths_PG),
        theirs("reinforce_plus_plus", config=SimpleNamespace(gamma=1.0)),
        1e-6,
    )
    near(whitened(rewards_PG, baseline="group", lengths_PG=lengths_PG), theirs("reinforce_plus_plus_baseline"), 1e-6)


# Liger ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "settings"),
    [
        (GRPO(kl_coef=0.1), {"loss_type": "grpo", "beta": 0.1}),
        (GRPO(kl_coef=0.0, clip_low=0.1, clip_high=0.3), {"loss_type": "grpo", "epsilon_low": 0.1, "epsilon_high": 0.3}),
        (GRPO(kl_coef=0.1, unit="token", clip_high=0.28), {"loss_type": "dapo", "beta": 0.1, "epsilon_high": 0.28}),
        (dr_grpo(T), {"loss_type": "dr_grpo", "max_completion_length": T}),
        (PolicyLoss(SequenceRatio(), Clip(0.1, 0.1)), {"loss_type": "grpo", "epsilon_low": 0.1, "epsilon_high": 0.1, **SEQUENCE}),
        (cispo(0.3), {"loss_type": "cispo", "epsilon_high": 1.3}),
        (PolicyLoss(surrogate=Clip(dual=1.4)), {"loss_type": "grpo", "delta": 1.4}),
        (PolicyLoss(per=TokenMean(), kl=KL(0.1, "k3", "weighted")), {"loss_type": "bnpo", "beta": 0.1, "use_bias_correction_kl": True}),
        (ppo(), {"loss_type": "bnpo"}),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("weights", [False, True], ids=["", "importance weights"])
def test_losses_against_liger(loss: PolicyLoss, settings: dict[str, Any], weights: bool) -> None:
    liger = pytest.importorskip("liger_kernel.chunked_loss")
    for seed in range(2):
        g = torch.Generator().manual_seed(seed)
        states_BTD, head_VD = (torch.randn(*s, generator=g, dtype=torch.float64) for s in ((B, T, 8), (23, 8)))
        tokens_BT = torch.randint(0, 23, (B, T), generator=g)

        def logprobs(states_BTD: Tensor, head_VD: Tensor = head_VD, tokens_BT: Tensor = tokens_BT) -> Tensor:
            logp_BTV = torch.log_softmax(states_BTD[:, :-1] @ head_VD.T, -1)
            return torch.nn.functional.pad(logp_BTV.gather(-1, tokens_BT[:, 1:, None])[..., 0], (1, 0))

        shift_BT, batch = rollouts(seed, weights=weights)
        assert batch.ref_BT is not None
        logp_BT = logprobs(states_BTD)
        old_BT, ref_BT = (logp_BT + x - shift_BT for x in (batch.old_BT, batch.ref_BT))
        batch = RolloutBatch(batch.sequences, old_BT, ref_BT, batch.adv_BT, batch.weight_BT)
        kl = settings.get("beta", 0.0) > 0
        theirs = liger.LigerFusedLinearGRPOLoss(
            **({"beta": 0.0, "compiled": False, "use_ref_model": kl} | settings)
        )  # fmt: skip
        leaf = states_BTD.clone().requires_grad_(True)
        expected = theirs(
            leaf[:, :-1], head_VD, tokens_BT[:, 1:], batch.sequences.mask_BT[:, 1:].long(), batch.adv_BT[:, 0],
            ref_per_token_logps=ref_BT[:, 1:] if kl else None, old_per_token_logps=old_BT[:, 1:],
            vllm_is_ratio=None if batch.weight_BT is None else batch.weight_BT[:, 1:],
        )[0]  # fmt: skip
        (their_gradient,) = torch.autograd.grad(expected, leaf)
        mine = states_BTD.clone().requires_grad_(True)
        found = loss.total(logprobs(mine), batch) / loss.count(batch)
        (gradient,) = torch.autograd.grad(found, mine)
        torch.testing.assert_close(found.detach(), expected.detach().double(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient, their_gradient.double(), rtol=1e-4, atol=1e-6)
