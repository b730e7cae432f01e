"""RL's choices by hand: advantages, KL in the reward, the correction for the engine's gap, and a reference that moves."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_runs import DATA, START, Letters

from burnish.core.types import Check, Completion, Finish, Problem, Trajectory, Verdict, user
from burnish.errors import RecipeError, TrainingError
from burnish.losses.batch import RolloutBatch
from burnish.losses.policy import GRPO, PolicyLoss, Reinforce, TokenMean
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Sampling
from burnish.train.advantages import Advantage, GroupRelative, KLInReward, LeaveOneOut, PassAtK, Whitened, judge
from burnish.train.correction import Correction, Refuse, Truncate
from burnish.train.grpo import RL, FirstPass
from burnish.train.moving_reference import RefreshEvery
from burnish.train.replay import Replayed
from burnish.train.rollouts import Reward
from burnish.train.samples import Sample, graded_samples, rollout_batch, with_logprobs

torch.set_num_threads(1)


def reply(score: float | None, logprobs: tuple[float, ...] = (-1.0,), finish: Finish = Finish.STOP) -> Trajectory:
    completion = Completion(tuple(range(5, 5 + len(logprobs))), logprobs, finish, "text")
    return Trajectory(Problem(user("?"), Check("v", "")), (1, 4), completion, Verdict(score, ""))


def advantages(choice: Advantage, *scores: list[float | None]) -> list[list[float]]:
    groups = [[reply(score) for score in row] for row in scores]
    return judge(
        groups, graded_samples(groups, Reward()), reward=Reward(), advantage=choice, kl=None
    ).advantages_PG  # fmt: skip


def test_advantages_by_hand() -> None:
    """Group (1, 0, 0): mean 1/3, deviation sqrt((4/9 + 1/9 + 1/9) / 2) = 0.57735; the others' means are 0, 1/2, 1/2."""
    one: list[float | None] = [1.0, 0.0, 0.0]
    assert advantages(GroupRelative(), one)[0] == pytest.approx([1.1547, -0.57735, -0.57735], abs=1e-4)
    assert advantages(GroupRelative(std=False), one)[0] == pytest.approx([2 / 3, -1 / 3, -1 / 3])
    assert advantages(LeaveOneOut(), one)[0] == pytest.approx([1.0, -0.5, -0.5])
    # Over the step (1, 0, 0), (1, 1, 1): mean 2/3, deviation sqrt((4 (1/3)^2 + 2 (2/3)^2) / 5) = 0.5164.
    found = advantages(Whitened(per="reply"), one, [1.0, 1.0, 1.0])
    assert found[0] == pytest.approx([0.6455, -1.2910, -1.2910], abs=1e-4)
    assert found[1] == pytest.approx([0.6455] * 3, abs=1e-4)
    # One pass in three, sets of two: p = 2/3; with the pass (1 - 2/3) / sqrt(2/9), without it a half of sets have it.
    assert advantages(PassAtK(2), one)[0] == pytest.approx([0.7071, -0.3536, -0.3536], abs=1e-4)


@pytest.mark.parametrize("choice", [GroupRelative(), LeaveOneOut(), Whitened("group")])
def test_groups_of_equal_replies_are_left_out(choice: Advantage) -> None:
    """0.1 + 0.1 + 0.1 is not 0.3 in floating point, and still nothing is learned from it; nor from an ungraded reply."""
    groups = [[reply(0.1), reply(0.1), reply(0.1)], [reply(1.0), reply(0.0), reply(None)]]
    judged = judge(groups, graded_samples(groups, Reward()), reward=Reward(), advantage=choice, kl=None)
    assert judged.advantages_PG[0] == [0.0, 0.0, 0.0]
    assert judged.advantages_PG[1][2] == 0.0
    assert [(sample.group, sample.k) for sample in judged.samples] == [(1, 0), (1, 1)]
    assert judged.informative == 1


def test_whitened_has_something_to_say_of_groups_of_equal_replies() -> None:
    groups = [[reply(1.0), reply(1.0)], [reply(0.0), reply(0.0)]]
    judged = judge(groups, graded_samples(groups, Reward()), reward=Reward(), advantage=Whitened(), kl=None)
    assert (judged.informative, len(judged.samples)) == (2, 4)


def kl_samples() -> tuple[list[list[Trajectory]], list[Sample]]:
    """One group: both replies are right; the second strays from the reference by 0.5 and 0.25 nats."""
    groups = [[reply(1.0, (-1.0, -2.0)), reply(1.0, (-1.0, -2.0))]]
    one, two = graded_samples(groups, Reward())
    own = (-1.0, -2.0)
    return groups, [dataclasses.replace(one, old=own, ref=own), dataclasses.replace(two, old=own, ref=(-1.5, -2.25))]


def test_kl_comes_off_the_reward_by_hand() -> None:
    """k1 of the second reply: 0.5 + 0.25. At coef 2 its reward is 1 - 1.5 = -0.5, so alone against the other 1 - (-0.5) = 1.5.

    k2: (0.25 + 0.0625) / 2 = 0.15625, times 2. Both replies pass, so the group is no informative one, and yet is learned from.
    """
    groups, seen = kl_samples()
    for estimate, apart in (("k1", 1.5), ("k2", 0.3125)):
        kl = KLInReward(2.0, estimate)  # type: ignore[arg-type]
        judged = judge(groups, seen, reward=Reward(), advantage=LeaveOneOut(), kl=kl)
        assert judged.advantages_PG[0] == pytest.approx([apart, -apart])
        assert (judged.informative, len(judged.samples)) == (0, 2)


def test_kl_by_token_by_hand() -> None:
    """Rewards to come at coef 2: 1, 1 and 1 - 2 * 0.75 = -0.5, 1 - 2 * 0.25 = 0.5; their mean is 0.5, their deviation
    sqrt((0.25 + 0.25 + 1 + 0) / 3) = 0.70711.
    """
    groups, seen = kl_samples()
    kl = KLInReward(2.0, per="token")
    judged = judge(groups, seen, reward=Reward(), advantage=Whitened(), kl=kl)
    assert judged.samples[0].by_token == pytest.approx((0.70711, 0.70711), abs=1e-5)
    assert judged.samples[1].by_token == pytest.approx((-1.41421, 0.0), abs=1e-5)
    assert judged.advantages_PG[0] == pytest.approx([0.70711, -0.70711], abs=1e-5)
    batch = rollout_batch(judged.samples)
    assert batch.adv_BT[1].tolist() == pytest.approx([0.0, 0.0, -1.41421, 0.0], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), vocabulary=st.integers(2, 7))
def test_only_k1_in_the_reward_has_the_gradient_of_kl(seed: int, vocabulary: int) -> None:
    """Over all tokens of one distribution, exactly: - sum p(x) est(x) grad log p(x) against - grad KL(p || q)."""
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(vocabulary, generator=g, dtype=torch.float64).requires_grad_()
    ref = torch.randn(vocabulary, generator=g, dtype=torch.float64).log_softmax(0)
    logp = logits.log_softmax(0)
    (exact,) = torch.autograd.grad((logp.exp() * (logp - ref)).sum(), logits, retain_graph=True)
    gaps = {}
    for estimate in ("k1", "k2", "k3"):
        worth = torch.stack([
            KLInReward(1.0, estimate).of(
                Sample(reply(1.0), 0, ref=(float(ref[x]),), old=(float(logp[x].detach()),))
            )[0]
            for x in range(vocabulary)
        ])  # fmt: skip
        (found,) = torch.autograd.grad((logp.detach().exp() * worth * logp).sum(), logits, retain_graph=True)
        gaps[estimate] = float((found - exact).abs().max())
    assert gaps["k1"] < 1e-12
    assert min(gaps["k2"], gaps["k3"]) > 1e-6


def batch(own: list[list[float]], engine: list[list[float]]) -> RolloutBatch:
    """Rows of one prompt token and these tokens."""
    rows = [
        dataclasses.replace(Sample(reply(1.0, tuple(e)), g, advantage=1.0), old=tuple(o))
        for g, (o, e) in enumerate(zip(own, engine, strict=True))
    ]
    return rollout_batch(rows, own=True)


@pytest.mark.parametrize(
    ("correction", "expected"),
    [
        # ln 3 above the engine's is a ratio of 3, cut to 2; ln 2 below it is a half.
        (Truncate(2.0), [[2.0, 0.5], [1.0, 1.0]]),
        (Truncate(4.0), [[3.0, 0.5], [1.0, 1.0]]),
        # The whole reply: 3 / 2.
        (Truncate(2.0, "sequence"), [[1.5, 1.5], [1.0, 1.0]]),
        (Truncate(1.0, "sequence"), [[1.0, 1.0], [1.0, 1.0]]),
    ],
)
def test_weights_by_hand(correction: Correction, expected: list[list[float]]) -> None:
    engine = [[-2.0, -2.0], [-1.0, -1.0]]
    own = [[-2.0 + math.log(3), -2.0 - math.log(2)], [-1.0, -1.0]]
    rows = [dataclasses.replace(s, old=tuple(o)) for s, o in zip(_samples(engine), own, strict=True)]
    found = rollout_batch(rows, own=True, correction=correction).weight_BT
    assert found is not None
    assert torch.allclose(found[:, 2:], torch.tensor(expected))


def _samples(engine: list[list[float]]) -> list[Sample]:
    return [Sample(reply(1.0, tuple(e)), g, advantage=1.0) for g, e in enumerate(engine)]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.sampled_from(["token", "sequence"]))
def test_the_first_pass_weighs_as_log_probs_known_before_do(seed: int, level: Any) -> None:
    """One pass that finds the learner's log-probs, or two: the same loss, gradient and metrics."""
    g = torch.Generator().manual_seed(seed)
    engine = (-3 * torch.rand(3, 4, generator=g)).tolist()
    rows, correction = _samples(engine), Truncate(1.5, level)
    plain = rollout_batch(rows)
    own_BT = plain.old_BT + 0.5 * torch.randn(plain.old_BT.shape, generator=g) * plain.sequences.mask_BT
    known = [dataclasses.replace(s, old=tuple(own_BT[i, 2:].tolist())) for i, s in enumerate(rows)]
    loss = PolicyLoss(surrogate=Reinforce(), per=TokenMean())
    one, two = own_BT.clone().requires_grad_(), own_BT.clone().requires_grad_()
    first = FirstPass(loss, correction).total(one, plain)
    second = loss.total(two, rollout_batch(known, own=True, correction=correction))
    first.backward()  # type: ignore[no-untyped-call]
    second.backward()  # type: ignore[no-untyped-call]
    assert torch.allclose(first, second)
    assert one.grad is not None and two.grad is not None  # noqa: PT018 - for mypy
    assert torch.allclose(one.grad, two.grad)
    gap = FirstPass(loss, correction).metrics(own_BT, plain)["engine_gap"]
    assert float(gap) == pytest.approx(float((own_BT - plain.old_BT).abs().sum()), rel=1e-5)


def test_a_recorded_batch_keeps_its_own_ratio() -> None:
    """The recorded log-prob is ln 2 below: ratio 2, clipped at 1.2; fresh it would be 1."""
    found = rollout_batch(_samples([[-1.0 - math.log(2)]]))
    logp_BT = torch.tensor([[0.0, 0.0, -1.0]])
    loss = GRPO(kl_coef=0.0)
    assert float(FirstPass(loss, recorded=True).total(logp_BT, found)) == pytest.approx(-1.2)
    assert float(FirstPass(loss).total(logp_BT, found)) == pytest.approx(-1.0)


def test_a_gap_can_be_refused() -> None:
    Refuse(0.1).check(0.1, 0)
    with pytest.raises(
        TrainingError, match=r"Step 3: .*0\.25 nats a token.*Refuse\(gap=0\.1\).*\n.*correction=Truncate\(\)"
    ):
        Refuse(0.1).check(0.25, 2)
    Truncate().check(99.0, 0)


def test_a_learner_whose_logprobs_are_no_numbers_is_stopped(tmp_path: Path) -> None:
    make_toy(tmp_path)
    policy = Policy.load(tmp_path, Machine())
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.fill_(float("nan"))
    rows = _samples([[-1.0, -1.0]])
    with pytest.raises(TrainingError, match=rf"the reference's log-prob .* {rows[0].trajectory.problem.id} .* nan"):
        with_logprobs(rows, policy, "ref", 100, 1.0)


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        ({"kl_in_reward": KLInReward(0.1, per="token")}, r"compares whole replies.*\n.*Whitened\(\)"),
        ({"loss": GRPO(kl_coef=0.0), "refresh_reference": RefreshEvery(3)}, "nothing here looks at a reference"),
        ({"updates_per_step": 0}, "updates_per_step=0"),
        (
            {"advantage": PassAtK(2), "kl_in_reward": KLInReward(0.1)},
            r"a reply passes by its reward.*\n.*GRPO\(kl_coef",
        ),
        ({"advantage": PassAtK(9), "group_size": 8}, "PassAtK.k=9.*group_size=8"),
        ({"weights": {"a": -1.0}}, "asks nothing"),
        ({"weights": {"a": 0.0}}, "asks nothing"),
        ({"replay": Replayed(START), "weights": {"a": 1.0}}, "nothing is"),
        ({"replay": Replayed(START), "staleness": 1}, "staleness=1 decides what is sampled"),
        ({"sampling": Sampling(temperature=0.0)}, "temperature=0.0 gives the likeliest reply 8 times over"),
        ({"sampling": Sampling(min_p=0.1)}, "min_p=0.1 bends the distribution"),
    ],
)
def test_what_cannot_work_together_is_refused_at_plan_time(settings_: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        RL(START, DATA, {"letters": Letters()}, **settings_).check(None)
    RL(START, DATA, {"letters": Letters()}).check(None)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: KLInReward(0.0),
        lambda: KLInReward(0.1, "k4"),  # type: ignore[arg-type]
        lambda: Truncate(0.5),
        lambda: Truncate(2.0, "word"),  # type: ignore[arg-type]
        lambda: Refuse(0.0),
        lambda: RefreshEvery(0),
        lambda: RefreshEvery(1, mix=0.0),
        lambda: PassAtK(0),
        lambda: Replayed(START, order="backwards"),  # type: ignore[arg-type]
    ],
)
def test_values_without_meaning_are_refused(wrong: Any) -> None:
    with pytest.raises(RecipeError, match=r"\w+\("):
        wrong()
