"""What a run leaves: averaged weights by hand and through kills, the best models and their list."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_runs import DATA, EVERY_STEP, START, Given, Letters, context, demos, pairs, prepare, problems

from burnish.core.fingerprint import fingerprint
from burnish.core.types import Row
from burnish.errors import ArtifactError, RecipeError
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Engine, Sampling
from burnish.train.ema import WeightAverage
from burnish.train.grpo import RL
from burnish.train.keep import Best, Keeper, Last
from burnish.train.learner import Learner
from burnish.train.reward import RewardModeling
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)
ROWS: list[Row] = [*demos(4), *pairs(4), *problems(3)]
STAGE = SFT(START, DATA, epochs=4, global_batch=2, lr=Constant(1e-2), max_tokens=200)


class PowerCut(BaseException):
    """Not an Error: nothing in the code expects it."""


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, set[int]], None]:
    """Makes a method fail at some of its calls, counted from 1 and on over sessions."""

    def patch(owner: Any, name: str, at: set[int]) -> None:
        real, calls = getattr(owner, name), [0]

        def failing(*given: Any, **named: Any) -> Any:
            calls[0] += 1
            if calls[0] in at:
                raise PowerCut
            return real(*given, **named)

        monkeypatch.setattr(owner, name, failing)

    return patch  # type: ignore[return-value]


def again(stage: Any, ctx: Any, times: int) -> None:
    """Run until it ends, through so many power cuts."""
    for _ in range(times):
        with pytest.raises(PowerCut):
            stage.run(ctx)
    stage.run(ctx)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_an_average_by_hand() -> None:
    """Decay 1/2 over 8, 4, 2: after one step 8; after two (8/2 + 4) / (3/2) = 16/3; after three (8/4 + 4/2 + 2) / (7/4) = 24/7."""
    weight = torch.nn.Parameter(torch.tensor([100.0], dtype=torch.float64))
    average = WeightAverage(0.5, {"w": weight})
    for step, (value, expected) in enumerate([(8.0, 8.0), (4.0, 16 / 3), (2.0, 24 / 7)], 1):
        with torch.no_grad():
            weight.fill_(value)
        average.update(step)
        assert float(average.state()["w"]) == pytest.approx(expected, abs=1e-14)
    with average.shown():
        assert float(weight.detach()) == pytest.approx(24 / 7)
    assert float(weight.detach()) == 2.0


@settings(max_examples=40, deadline=None)
@given(decay=st.floats(0.01, 0.999), values=st.lists(st.floats(-10, 10), min_size=1, max_size=30))
def test_an_average_is_the_weighted_mean_of_all_steps(decay: float, values: list[float]) -> None:
    weight = torch.zeros(1, dtype=torch.float64)
    average = WeightAverage(decay, {"w": weight})
    for step, value in enumerate(values, 1):
        weight.fill_(value)
        average.update(step)
    shares = [decay ** (len(values) - k) for k in range(1, len(values) + 1)]
    expected = sum(s * v for s, v in zip(shares, values, strict=True)) / sum(shares)
    assert float(average.state()["w"]) == pytest.approx(expected, abs=1e-9)


def test_narrow_weights_are_averaged_in_float32() -> None:
    """In bfloat16 a step of 1/1000 of a weight is lost: 1 + 1/1000 is 1."""
    weight = torch.ones(1, dtype=torch.bfloat16)
    average = WeightAverage(0.999, {"w": weight})
    average.update(1)
    weight.fill_(2.0)
    average.update(2)
    assert average.state()["w"].dtype == torch.float32
    assert float(average.state()["w"]) == pytest.approx((0.999 * 1 + 2) / 1.999, rel=1e-6)


def test_the_stages_model_is_the_average_of_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, ROWS)
    seen: list[dict[str, torch.Tensor]] = []
    real = Learner.step

    def step(self: Learner, lr: float) -> float:
        norm = real(self, lr)
        seen.append({n: w.detach().double().clone() for n, w in self.policy.model.named_parameters()})
        return norm

    monkeypatch.setattr(Learner, "step", step)
    ctx = context(tmp_path, "out", EVERY_STEP)
    replace(STAGE, keep=Last(ema=0.8)).run(ctx)
    shares = torch.tensor([0.8 ** (len(seen) - k) for k in range(1, len(seen) + 1)], dtype=torch.float64)
    found = dict(Policy.load(ctx.out / "model", Machine()).model.named_parameters())
    for name, weight in found.items():
        every = torch.stack([step[name] for step in seen])
        expected = (every * (shares / shares.sum()).view(-1, *[1] * weight.ndim)).sum(0)
        assert (weight.double() - expected).abs().max() < 1e-6, name


@pytest.mark.parametrize("every_s", [0.0, 1e9])
def test_averages_survive_kills_bit_for_bit(every_s: float, tmp_path: Path, cut: Any) -> None:
    prepare(tmp_path, ROWS)
    stage = replace(STAGE, keep=Last(ema=0.9))
    straight, ctx = (context(tmp_path, name, replace(EVERY_STEP, checkpoint_every_s=every_s)) for name in "ab")
    stage.run(straight)
    cut(Learner, "step", {2, 5, 9})
    again(stage, ctx, 3)
    for name, weight in weights(straight.out / "model").items():
        assert torch.equal(weight, weights(ctx.out / "model")[name]), name


def test_no_average_is_no_other_result() -> None:
    assert fingerprint(STAGE) == fingerprint(replace(STAGE, keep=Last())) == fingerprint(replace(STAGE, keep=Last(0.0)))
    found = {fingerprint(replace(STAGE, keep=keep)) for keep in (Last(), Last(0.9), Best("loss"), Best("loss", n=2))}
    assert len(found) == 4
    for ema in (-0.1, 1.0):
        with pytest.raises(RecipeError, match=f"ema={ema}"):
            replace(STAGE, keep=Last(ema)).check(None)


@dataclass(frozen=True)
class Told:
    """A probe whose numbers are given by how often it was asked of one run's weights: those of the step."""

    values: tuple[float, ...]
    every: int = 1
    VERSION: ClassVar[int] = 1

    def check(self, data: Path | None) -> None:
        """Nothing."""

    def scores(self, engine: Engine, policy: Policy, data: Path | None) -> dict[str, float]:
        return {"probe/told": self.values[int(engine.policy_version.removeprefix("step ")) // self.every - 1]}


def kept(folder: Path) -> list[tuple[int, float]]:
    return [(one["step"], one["value"]) for one in json.loads((folder / "best.json").read_text())["kept"]]


BEST = Best("probe/told", n=2, probe=Told((0.1, 0.5, 0.3, 0.5, 0.2, 0.4, 0.0, 0.1)))


def test_the_best_are_kept_and_the_best_one_is_the_model(tmp_path: Path) -> None:
    """Of 0.1 0.5 0.3 0.5 0.2 0.4 0.0 0.1 the best two are steps 2 and 4, equal: the earlier one is the model."""
    prepare(tmp_path, ROWS)
    ctx, plain = context(tmp_path, "out", EVERY_STEP), context(tmp_path, "plain", EVERY_STEP)
    replace(STAGE, keep=BEST).run(ctx)
    assert kept(ctx.out) == [(2, 0.5), (4, 0.5)]
    assert sorted(path.name for path in (ctx.out / "best").iterdir()) == ["step-000002", "step-000004"]
    best = weights(ctx.out / "best" / "step-000002" / "model")
    assert all(torch.equal(weight, best[name]) for name, weight in weights(ctx.out / "model").items())
    two_steps = context(tmp_path, "two", EVERY_STEP)
    replace(STAGE, epochs=1).run(two_steps)
    assert all(torch.equal(weight, best[name]) for name, weight in weights(two_steps.out / "model").items())
    replace(STAGE, keep=replace(BEST, model="last", higher=False)).run(plain)
    assert kept(plain.out) == [(7, 0.0), (1, 0.1)]
    last = context(tmp_path, "last", EVERY_STEP)
    STAGE.run(last)
    whole = weights(last.out / "model")
    assert all(torch.equal(weight, whole[name]) for name, weight in weights(plain.out / "model").items())


@pytest.mark.parametrize("every_s", [0.0, 1e9])
@pytest.mark.parametrize("where", [(Learner, "step"), (Policy, "save"), (Learner, "save"), (Keeper, "prune")])
def test_kills_anywhere_leave_the_same_models(where: Any, every_s: float, tmp_path: Path, cut: Any) -> None:
    """The power fails in steps, before a kept model or a checkpoint is written, and before what is given up is removed."""
    prepare(tmp_path, ROWS)
    stage = replace(STAGE, keep=replace(BEST, n=1, ema=0.5, probe=Told((0.1, 0.2, 0.0, 0.3, 0.2, 0.4, 0.0, 0.1))))
    straight, ctx = (context(tmp_path, name, replace(EVERY_STEP, checkpoint_every_s=every_s)) for name in "ab")
    stage.run(straight)
    assert kept(straight.out) == [(6, 0.4)]
    cut(*where, {2, 4})
    again(stage, ctx, 2)
    assert (ctx.out / "best.json").read_bytes() == (straight.out / "best.json").read_bytes()
    assert [path.name for path in (ctx.out / "best").iterdir()] == ["step-000006"]
    assert (ctx.out / "model" / "model.safetensors").read_bytes() == (
        straight.out / "model" / "model.safetensors"
    ).read_bytes()
    assert not (ctx.out / "checkpoint").exists()


def test_a_damaged_best_model_is_not_passed_on(tmp_path: Path, cut: Any) -> None:
    prepare(tmp_path, ROWS)
    ctx = context(tmp_path, "out", EVERY_STEP)
    cut(Keeper, "finish", {1})
    with pytest.raises(PowerCut):
        replace(STAGE, keep=BEST).run(ctx)
    file = ctx.out / "best" / "step-000002" / "model" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-3] ^= 0xFF
    file.write_bytes(raw)
    with pytest.raises(ArtifactError, match="not what was written"):
        replace(STAGE, keep=BEST).run(ctx)


def test_a_number_that_no_step_has_stops_the_first_one(tmp_path: Path) -> None:
    prepare(tmp_path, ROWS)
    with pytest.raises(RecipeError, match=r"Best\('accuracy'\).*\n.*Known:.*nll"):
        replace(STAGE, keep=Best("accuracy")).run(context(tmp_path, "out", EVERY_STEP))
    for wrong, said in (
        (Best("probe/gsm8k"), "probe=Probe"),
        (Best("loss", n=0), "n=0"),
        (Best("loss", ema=2.0), "ema=2.0"),
    ):
        with pytest.raises(RecipeError, match=said):
            replace(STAGE, keep=wrong).check(None)


def test_rl_and_reward_models_leave_theirs_too(tmp_path: Path) -> None:
    prepare(tmp_path, ROWS)
    rl = RL(
        START, DATA, {"letters": Letters()}, steps=3, problems_per_step=2, group_size=4, lr=Constant(1e-2),
        sampling=Sampling(max_tokens=8), keep=Best("reward", n=1, ema=0.5),
    )  # fmt: skip
    ctx = context(tmp_path, "rl", EVERY_STEP)
    rl.run(ctx)
    logged = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    top = max(row["reward"] for row in logged)
    assert kept(ctx.out)[0][0] == next(row["step"] for row in logged if row["reward"] == top)
    assert kept(ctx.out)[0][1] == pytest.approx(top)
    reward = RewardModeling(
        START, DATA, global_batch=2, lr=Constant(1e-3), max_tokens=200, keep=Best("loss", higher=False)
    )
    ctx = context(tmp_path, "reward", EVERY_STEP)
    reward.run(ctx)
    assert len(kept(ctx.out)) == 1
    RewardModel.load(ctx.out / "model", Machine())


def test_a_reward_model_is_chosen_by_its_dev_set(tmp_path: Path) -> None:
    """Looks at steps 2 and 4 of 5 and at the last; the report is on the model that is left, which one of them describes."""
    prepare(tmp_path, ROWS)
    shutil.copytree(tmp_path / "data", tmp_path / "dev")
    reward = RewardModeling(
        START, DATA, dev=Given("dev"), epochs=5, global_batch=4, lr=Constant(3e-2), max_tokens=200, dev_every=2,
        keep=Best("dev/nll", higher=False, ema=0.5),
    )  # fmt: skip
    ctx = context(tmp_path, "out", EVERY_STEP)
    reward.run(ctx)
    logged = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    looks = {row["step"]: row["dev/nll"] for row in logged if "dev/nll" in row}
    assert list(looks) == [2, 4, 5]
    assert all(
        {"dev/accuracy", "dev/margin", "dev/calibration_error", "dev_s"} <= row.keys()
        for row in logged
        if "dev/nll" in row
    )
    least = min(looks, key=lambda step: (looks[step], step))
    assert kept(ctx.out)[0][0] == least
    assert kept(ctx.out)[0][1] == pytest.approx(looks[least], rel=1e-6)
    report = json.loads((ctx.out / "reward_report.json").read_text())
    assert report["nll"] == pytest.approx(looks[least], rel=1e-4)
    with pytest.raises(RecipeError, match="no dev set"):
        replace(reward, dev=None).check(None)
