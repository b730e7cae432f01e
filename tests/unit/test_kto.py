"""KTO: by hand, one step in float64 however it is cut, and the stage from rated replies and pairs to a model."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_runs import DATA, EVERY_STEP, START, context, pairs, prepare

from burnish.core.types import Rated, Row, user
from burnish.errors import DataError, RecipeError
from burnish.losses.batch import RatedBatch, Sequences
from burnish.losses.kto import KTO
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.text.render import Rendered
from burnish.train.kto import ReferencePoint, RenderedReply, Unpaired, by_kind, mismatched, rated_batch, reference_point
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW
from burnish.train.rows import split
from burnish.train.schedule import Linear

torch.set_num_threads(1)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_by_hand() -> None:
    """Log ratios 2 (good), -1 (bad) and 0.5 (good), z0 0.5, beta 0.1, weights 1 and 2.

    Good: 1 - s(0.1 (2 - 0.5)) = 1 - s(0.15); bad: 2 (1 - s(0.1 (0.5 + 1))) = 2 (1 - s(0.15)); good: 1 - s(0) = 1/2.
    d/dr of the good one: -0.1 s'(0.15), of the bad one: +2 x 0.1 s'(0.15), with s' = s (1 - s).
    """
    mask = torch.tensor([[False, True, True]] * 3)
    sequences = Sequences(torch.zeros(3, 3, dtype=torch.int64), torch.tensor([3, 3, 3]), mask)
    kl = torch.full((3,), 0.5)
    batch = RatedBatch(sequences, torch.tensor([True, False, True]), torch.tensor([-5.0, -2.0, -1.5]), kl)
    logp = torch.tensor([[0, -1, -2], [0, -1, -2], [0, -0.5, -0.5]], dtype=torch.float64, requires_grad=True)
    loss = KTO(beta=0.1, undesirable=2.0)
    total = loss.total(logp, batch)
    (gradient,) = torch.autograd.grad(total, logp)
    s = sigmoid(0.15)
    assert float(total.detach()) == pytest.approx(3 * (1 - s) + 0.5, abs=1e-12)
    assert gradient[0].tolist() == pytest.approx([0, -0.1 * s * (1 - s), -0.1 * s * (1 - s)], abs=1e-12)
    assert gradient[1].tolist() == pytest.approx([0, 0.2 * s * (1 - s), 0.2 * s * (1 - s)], abs=1e-12)
    found = {name: float(value) / 3 for name, value in loss.metrics(logp, batch).items()}
    assert by_kind(found) == pytest.approx(
        {"desirable": 2 / 3, "accuracy": 2 / 3, "kl": 0.5, "desirable_reward": 0.125, "undesirable_reward": -0.1, "margin": 0.225}
    )  # fmt: skip


def test_a_kind_without_rows_has_no_reward() -> None:
    found = by_kind({"desirable": 1.0, "desirable_reward": 0.5, "undesirable_reward": 0.0, "kl": 0.0, "loss": 0.4})
    assert found == {"desirable": 1.0, "desirable_reward": 0.5, "kl": 0.0, "loss": 0.4}
    assert by_kind({"loss": 0.0, "count": 0.0}) == {"loss": 0.0, "count": 0.0}


def test_the_reference_point_is_a_mean_that_is_not_below_zero() -> None:
    assert reference_point([1.0, 2.0, -1.5]) == pytest.approx(0.5)
    assert reference_point([-1.0, 0.5]) == 0.0
    assert reference_point([]) == 0.0


def test_mismatched_rows_are_each_prompt_with_the_next_reply() -> None:
    rows = [Rendered((1, 2, 10, 11), (False, False, True, True)), Rendered((3, 20), (False, True)),
            Rendered((4, 5, 6, 30), (False, False, False, True))]  # fmt: skip
    found = mismatched(rows, 99)
    assert [row.token_ids for row in found] == [(1, 2, 20), (3, 30), (4, 5, 6, 10, 11)]
    assert [row.mask.index(True) for row in found] == [2, 1, 3]
    assert [row.token_ids for row in mismatched(rows, 3)] == [(1, 2, 20), (3, 30)]
    assert mismatched(rows[:1], 99) == []


def test_weights_and_beta_are_checked() -> None:
    for wrong in ({"beta": 0.0}, {"desirable": -1.0}, {"desirable": 0.0, "undesirable": 0.0}):
        with pytest.raises(RecipeError):
            KTO(**wrong)
    with pytest.raises(RecipeError, match="global_batch=1"):
        Unpaired(START, DATA, global_batch=1).check(None)
    Unpaired(START, DATA, global_batch=1, loss=KTO(estimate_kl=False)).check(None)


STAGE = Unpaired(START, DATA, epochs=3, global_batch=4, lr=Linear(3e-3, 0.0), max_tokens=200, loss=KTO(beta=0.3))


def rated(n: int = 4) -> list[Row]:
    return [
        Rated(user(f"What is {i} and {i}?"), f"It is {2 * i}." if i % 2 else "No" + " idea" * i, bool(i % 2)) for i in range(n)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model", hidden_size=32, intermediate_size=64)


def prepared(folder: Path, root: Path) -> tuple[Policy, list[RenderedReply], Any]:
    """A float64 policy a few steps away from its reference, six rows with reference log-probs, and what gives their z0."""
    policy = Policy.load(folder, Machine(), trainable=True).to(torch.float64)
    rows = [
        RenderedReply(f"row {i}", policy.renderer.reply(user("why " * (i + 1)), "because " * (7 - i)), i % 2 == 0) for i in range(6)
    ]  # fmt: skip
    stage = replace(STAGE, global_batch=6, epochs=1)
    # A reference that is sharper, and wrong: the policy then finds any reply likelier, and z0 is well above 0.
    for scale in (2.0, 0.5):
        with torch.no_grad():
            policy.model.get_output_embeddings().weight.mul_(scale)
        if scale == 2.0:
            point = ReferencePoint(stage, rows, policy, context(root, "exact", Machine(micro_tokens=1)))
    return policy, point.rows, point


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(6)), micro=st.sampled_from([1, 40, 60, 100, 10_000]))
def test_micro_batches_cannot_change_a_step(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, order: list[int], micro: int
) -> None:
    """z0 included: computed over the whole step, it is the same to 1e-10 whether rows are read one by one or together."""
    root = tmp_path_factory.mktemp("exact")

    def step(order: list[int], micro: int) -> tuple[dict[str, float], float, torch.Tensor]:
        policy, rows, point = prepared(folder, root)
        point._ctx = context(root, "exact", Machine(micro_tokens=micro))
        rows = point.of_step(0, [rows[i] for i in range(6)])
        assert rows[0].kl > 0.01, "the estimate is at its bound, where it tells nothing"
        learner = Learner(policy, Machine(), AdamW(eps=1e-3))
        chosen = [rows[i] for i in order]
        parts = split(chosen, [row.tokens for row in chosen], micro)
        found = learner.forward_backward([rated_batch(part) for part in parts], KTO(beta=0.3, undesirable=1.5))
        norm = learner.step(1e-2)
        return found, norm, torch.cat([w.detach().flatten() for w in policy.model.parameters()])

    whole, norm, weights = step(list(range(6)), 10_000)
    found, other_norm, other = step(order, micro)
    assert found == pytest.approx(whole, abs=1e-10)
    assert other_norm == pytest.approx(norm, abs=1e-10)
    assert (other - weights).abs().max() < 1e-10


def test_it_learns_which_replies_are_good(tmp_path: Path) -> None:
    """At the reference all log ratios are 0, so the first loss is 1/2 and z0 is 0; in the end good replies are rewarded."""
    prepare(tmp_path, [*rated(4), *pairs(4)])
    ctx = context(tmp_path, "out", EVERY_STEP)
    STAGE.run(ctx)
    logged = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert len(logged) == 9
    assert logged[0]["loss"] == pytest.approx(0.5, abs=1e-5)
    assert logged[0]["kl"] == pytest.approx(0.0, abs=1e-4)
    assert logged[-1]["loss"] < 0.4
    assert all(row["kl"] >= 0 for row in logged)
    last = [row for row in logged if "margin" in row][-1]
    assert last["margin"] == pytest.approx(last["desirable_reward"] - last["undesirable_reward"])
    assert last["margin"] > 0.3
    report = json.loads((ctx.out / "data_report.json").read_text())
    assert (report["kind"], report["rows"], report["used"]) == ("rated replies", 12, 12)
    assert {path.name for path in ctx.out.iterdir()} == {"model", "metrics.jsonl", "data_report.json"}


class PowerCut(BaseException):
    """Not an Error: nothing in the code expects it."""


@pytest.mark.parametrize("every_s", [0.0, 1e9])
def test_a_cut_run_goes_on_to_the_same_bits(every_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, [*rated(4), *pairs(4)])
    straight, ctx = (context(tmp_path, name, replace(EVERY_STEP, checkpoint_every_s=every_s)) for name in ("a", "b"))
    STAGE.run(straight)
    real, calls = Learner.step, [0]

    def step(self: Learner, lr: float) -> float:
        calls[0] += 1
        if calls[0] in (2, 5, 7):
            raise PowerCut
        return real(self, lr)

    monkeypatch.setattr(Learner, "step", step)
    for _ in range(3):
        with pytest.raises(PowerCut):
            STAGE.run(ctx)
    STAGE.run(ctx)
    assert (
        Policy.load(ctx.out / "model", Machine()).checksum()
        == Policy.load(straight.out / "model", Machine()).checksum()
    )
    timeless = [
        [{k: v for k, v in json.loads(line).items() if k not in ("wall_s", "tokens_per_s", "tflops", "mfu")} for line in (c.out / "metrics.jsonl").read_text().splitlines()]
        for c in (ctx, straight)
    ]  # fmt: skip
    assert timeless[0] == timeless[1]


def test_what_cannot_be_trained_is_refused(tmp_path: Path) -> None:
    prepare(tmp_path, [])
    with pytest.raises(DataError, match="the dataset holds no rated replies"):
        STAGE.run(context(tmp_path, "out", Machine()))
    with pytest.raises(RecipeError, match="max_tokens=9999"):
        replace(STAGE, max_tokens=9999).run(context(tmp_path, "out", Machine()))


def test_without_the_estimate_z0_is_nothing(tmp_path: Path) -> None:
    prepare(tmp_path, rated(4))
    ctx = context(tmp_path, "out", EVERY_STEP)
    replace(STAGE, loss=KTO(beta=0.3, estimate_kl=False)).run(ctx)
    logged = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert [row["kl"] for row in logged] == [0.0] * 3
