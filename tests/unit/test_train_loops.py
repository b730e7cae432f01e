"""The three training stages on the toy model: what they leave behind, and that a kill changes nothing."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import DATA, EVERY_STEP, STAGES, START, Always, Letters, context, demos, pairs, prepare, problems

from burnish.core.files import read_json
from burnish.core.types import Demo, Message, Pair
from burnish.errors import DataError, RecipeError, TrainingError
from burnish.losses.dpo import DPO
from burnish.losses.policy import GRPO, PolicyLoss
from burnish.losses.sft import SFTLoss
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Sampling
from burnish.train.dpo import Preference
from burnish.train.grpo import RL
from burnish.train.learner import Learner
from burnish.train.rollouts import Reward
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)
TIMES = {"tokens_per_s", "wall_s", "rollout_s", "learn_s", "grade_s", "tflops", "mfu"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, [*demos(), *pairs(), *problems()])
    return folder


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in metrics(folder)]


@pytest.fixture(scope="module")
def straight(root: Path) -> dict[str, Path]:
    """Each stage run without interruption."""
    for name, stage in STAGES.items():
        stage.run(context(root, f"straight-{name}", EVERY_STEP))
    return {name: root / f"straight-{name}" for name in STAGES}


def same_result(a: Path, b: Path) -> None:
    first, second = (load_file(path / "model" / "model.safetensors") for path in (a, b))
    assert first.keys() == second.keys()
    for name, weight in first.items():
        assert torch.equal(weight, second[name]), name
    assert timeless(a) == timeless(b)
    if (a / "rollouts.jsonl").exists():
        assert (a / "rollouts.jsonl").read_bytes() == (b / "rollouts.jsonl").read_bytes()


class PowerCut(BaseException):
    """Not an Error: nothing in the code expects it."""


_left = 0


def _count_down() -> None:
    global _left
    _left -= 1
    if _left == 0:
        raise PowerCut


@dataclasses.dataclass(frozen=True)
class CutSFT(SFTLoss):
    """The loss during whose n-th evaluation the power fails."""

    def total(self, logp_BT: torch.Tensor, batch: Any) -> torch.Tensor:
        _count_down()
        return SFTLoss.total(self, logp_BT, batch)


@dataclasses.dataclass(frozen=True)
class CutDPO(DPO):
    def total(self, logp_BT: torch.Tensor, batch: Any) -> torch.Tensor:
        _count_down()
        return DPO.total(self, logp_BT, batch)


@dataclasses.dataclass(frozen=True)
class CutGRPO(PolicyLoss):
    def total(self, logp_BT: torch.Tensor, batch: Any) -> torch.Tensor:
        _count_down()
        return PolicyLoss.total(self, logp_BT, batch)


@pytest.mark.parametrize("name", STAGES)
def test_ctrl_c_keeps_every_finished_step(
    name: str, root: Path, tmp_path: Path, straight: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checkpoint is due, and still each sitting goes on where the one before was stopped, to the same result."""
    seldom = context(root, f"{tmp_path.name}-{name}", dataclasses.replace(EVERY_STEP, checkpoint_every_s=1e9))
    steps: list[int] = []
    learn = Learner.forward_backward

    def stopped(learner: Learner, *args: Any, **kwargs: Any) -> dict[str, float]:
        found = learn(learner, *args, **kwargs)
        if (seldom.out / "metrics.jsonl").read_text().count("\n") == len(steps) + 1:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "forward_backward", stopped)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                STAGES[name].run(seldom)
            steps.append(read_json(seldom.out / "checkpoint" / "state.json")["counters"]["step"])
    assert steps == [1, 2]
    STAGES[name].run(seldom)
    same_result(straight[name], seldom.out)


def test_ctrl_c_while_weights_change_goes_back_to_the_last_checkpoint(
    root: Path, tmp_path: Path, straight: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an update is no state that any step leaves: it is not kept."""
    seldom = context(root, f"{tmp_path.name}-torn", dataclasses.replace(EVERY_STEP, checkpoint_every_s=1e9))
    update: Any = torch.optim.AdamW.step
    calls: list[int] = []

    def halfway(optimizer: torch.optim.AdamW) -> None:
        update(optimizer)
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", halfway)
        with pytest.raises(KeyboardInterrupt):
            STAGES["sft"].run(seldom)
    assert not (seldom.out / "checkpoint").exists()
    STAGES["sft"].run(seldom)
    same_result(straight["sft"], seldom.out)


@pytest.mark.parametrize("every_s", [0.0, 1e9])
@pytest.mark.parametrize("name", STAGES)
def test_cut_inside_steps_again_and_again(
    name: str, every_s: float, root: Path, tmp_path: Path, straight: dict[str, Path]
) -> None:
    """The power fails in the middle of a step, several times over, with checkpoints after every step or never."""
    global _left
    stage: Any = STAGES[name]
    loss = {"sft": CutSFT, "dpo": CutDPO, "rl": CutGRPO}[name]
    cut = dataclasses.replace(
        stage, loss=loss(**{f.name: getattr(stage.loss, f.name) for f in dataclasses.fields(stage.loss)})
    )
    ctx = context(root, f"{tmp_path.name}-{name}", dataclasses.replace(EVERY_STEP, checkpoint_every_s=every_s))
    for after in (3, 1, 5, 2):
        _left = after
        with pytest.raises(PowerCut):
            cut.run(ctx)
    _left = 0
    cut.run(ctx)
    same_result(ctx.out, straight[name])
    assert not (ctx.out / "checkpoint").exists()


@pytest.mark.parametrize("name", STAGES)
def test_what_a_finished_stage_leaves(name: str, root: Path, straight: dict[str, Path]) -> None:
    folder = straight[name]
    expected = {"model", "metrics.jsonl", "data_report.json"} | ({"rollouts.jsonl"} if name == "rl" else set())
    assert {path.name for path in folder.iterdir()} == expected
    records = metrics(folder)
    assert [record["step"] for record in records] == list(range(1, records[-1]["steps"] + 1))
    for key in ("lr", "loss", "grad_norm", "tokens", "tokens_per_s", "wall_s"):
        assert all(math.isfinite(record[key]) for record in records), key
    trained, start = (Policy.load(path / "model", Machine()) for path in (folder, root / "start"))
    assert trained.checksum() != start.checksum()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    STAGES[name].run(context(root, folder.name, EVERY_STEP))
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_sft_learns_and_counts(root: Path, straight: dict[str, Path]) -> None:
    """7 conversations in batches of 3: 3 steps an epoch, the last with 1; 4 epochs."""
    records = metrics(straight["sft"])
    assert len(records) == 12
    assert records[-1]["loss"] < records[0]["loss"] / 2
    report = json.loads((straight["sft"] / "data_report.json").read_text())
    assert (report["rows"], report["used"], report["too_long"]) == (7, 7, 0)
    assert sum(record["tokens"] for record in records) == 4 * report["tokens"]
    assert sum(record["count"] for record in records) == 4 * report["trained_tokens"]


def test_micro_batch_size_changes_rounding_only(root: Path, straight: dict[str, Path]) -> None:
    ctx = context(root, "sft-whole", Machine(micro_tokens=100_000, checkpoint_every_s=1e9))
    STAGES["sft"].run(ctx)
    for a, b in zip(metrics(ctx.out), metrics(straight["sft"]), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-3)


def test_dpo_starts_at_ln_2_and_separates(straight: dict[str, Path]) -> None:
    records = metrics(straight["dpo"])
    assert records[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert records[0]["margin"] == pytest.approx(0, abs=1e-4)
    assert records[-1]["accuracy"] == 1.0
    assert records[-1]["chosen_logratio"] > records[-1]["rejected_logratio"]


def test_reference_logprobs_are_kept_by_content(root: Path, tmp_path: Path) -> None:
    from burnish.train.dpo import render_pair
    from burnish.train.reference import reference_logprobs

    policy = Policy.load(root / "start" / "model", Machine())
    rows = [render_pair(policy.renderer, pair).chosen for pair in pairs() if isinstance(pair, Pair)]
    ctx = context(tmp_path, "out", EVERY_STEP)
    found = reference_logprobs(policy, rows, ctx)
    written = (ctx.out / "reference.safetensors").stat().st_mtime_ns
    assert torch.equal(reference_logprobs(policy, rows, ctx), found)
    assert (ctx.out / "reference.safetensors").stat().st_mtime_ns == written
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(1.1)
    assert not torch.equal(reference_logprobs(policy, rows, ctx), found)
    (ctx.out / "reference.safetensors").write_bytes(b"damaged")
    assert len(reference_logprobs(policy, rows[:2], ctx)) == 2


def test_rl_records(straight: dict[str, Path]) -> None:
    records = metrics(straight["rl"])
    lines = [json.loads(line) for line in (straight["rl"] / "rollouts.jsonl").read_text().splitlines()]
    # 5 problems, 2 a step: an epoch is 3 steps of 2, 2 and 1 groups of 4 replies.
    assert [record["groups"] for record in records] == [2, 2, 1, 2, 2, 1]
    assert len(lines) == 4 * 10
    for record in records:
        mine = [line for line in lines if line["step"] == record["step"]]
        graded = [line["score"] for line in mine if line["score"] is not None]
        assert record["ungraded"] == len(mine) - len(graded)
        assert record["reward"] == pytest.approx(sum(graded) / len(graded), abs=1e-7)
        assert record["tokens"] == sum(len(line["completion"]["token_ids"]) for line in mine)
        assert record["engine_gap"] < 1e-4
        for group in {line["group"] for line in mine}:
            assert abs(sum(line["advantage"] for line in mine if line["group"] == group)) < 1e-6
    assert {line["completion"]["policy_version"] for line in lines} == {f"step {step}" for step in range(6)}
    assert any(name.startswith("reward/s") for name in records[0])
    for record in records:
        mine = [line for line in lines if line["step"] == record["step"]]
        for name in ("answer_list", "repetition", "degenerate_length"):
            assert record[f"flag/{name}"] == sum(name in line.get("flags", {}) for line in mine) / len(mine)
        assert 0.0 <= record["flagged_passes"] <= 1.0


def test_rl_on_policy_ratio_is_one_and_reward_rises(root: Path) -> None:
    stage = RL(
        START, DATA, {"letters": Letters()}, steps=25, problems_per_step=5, group_size=8, lr=Constant(5e-3),
        sampling=Sampling(max_tokens=12), loss=GRPO(kl_coef=0.0),
    )  # fmt: skip
    ctx = context(root, "rl-rises", Machine(slots=64))
    stage.run(ctx)
    records = metrics(ctx.out)
    assert all(record["ratio"] == pytest.approx(1.0, abs=1e-6) for record in records if record["informative"])
    assert all(record["clip_fraction"] == 0.0 for record in records)
    early, late = (sum(r["reward"] for r in part) / 5 for part in (records[:5], records[-5:]))
    assert late > early + 0.15


def test_rl_gives_up_when_nothing_can_be_learned(root: Path) -> None:
    stage = RL(
        START, DATA, {"letters": Always(0.0)}, steps=9, problems_per_step=2, group_size=2, patience=3,
        sampling=Sampling(max_tokens=4),
    )  # fmt: skip
    ctx = context(root, "rl-idle", EVERY_STEP)
    with pytest.raises(TrainingError, match=r"3 steps in a row.*mean 0\.00"):
        stage.run(ctx)
    assert [(r["informative"], r["loss"], r["grad_norm"]) for r in metrics(ctx.out)] == [(0, 0.0, 0.0)] * 3


def test_rl_cut_replies_can_be_worth_nothing(root: Path) -> None:
    """With one new token no reply can end, so with missing_end=0 all are 0 although the verifier says 1."""
    stage = RL(
        START, DATA, {"letters": Always(1.0)}, steps=1, problems_per_step=2, group_size=2, reward=Reward(missing_end=0.0),
        sampling=Sampling(max_tokens=1),
    )  # fmt: skip
    ctx = context(root, "rl-cut", EVERY_STEP)
    stage.run(ctx)
    assert (metrics(ctx.out)[0]["reward"], metrics(ctx.out)[0]["cut_share"]) == (0.0, 1.0)


def test_long_rows_are_dropped_counted_and_said(root: Path) -> None:
    lines = io.StringIO()
    ctx = context(root, "sft-short", EVERY_STEP, Console(lines))
    SFT(START, DATA, epochs=1, global_batch=3, max_tokens=30, lr=Constant(1e-3)).run(ctx)
    report = json.loads((ctx.out / "data_report.json").read_text())
    assert 0 < report["too_long"] == len(report["too_long_ids"]) == report["rows"] - report["used"]
    assert f"{report['too_long']} of 7 demonstrations are longer than 30 tokens" in lines.getvalue()


def test_nothing_left_is_an_error_that_says_why(root: Path, tmp_path: Path) -> None:
    for stage in (SFT(START, DATA, max_tokens=2), Preference(START, DATA, max_tokens=2)):
        with pytest.raises(DataError, match="longer than max_tokens=2"):
            stage.run(context(root, "none-left", EVERY_STEP))
    prepare(tmp_path, [])
    for empty, said in (
        (SFT(START, DATA, max_tokens=99), "demonstrations"),
        (Preference(START, DATA, max_tokens=99), "preference pairs"),
        (RL(START, DATA, {"letters": Letters()}), "problems"),
    ):
        with pytest.raises(DataError, match=f"the dataset holds no {said}"):
            empty.run(context(tmp_path, "out", EVERY_STEP))


def test_rows_that_teach_nothing_are_refused_by_name(tmp_path: Path) -> None:
    row = Demo((Message("user", "hello"),), source="mine")
    prepare(tmp_path, [row])
    with pytest.raises(DataError, match=rf"row {row.id} \(source mine\)"):
        SFT(START, DATA, max_tokens=99).run(context(tmp_path, "out", EVERY_STEP))


def test_values_that_cannot_work_are_refused_at_plan_time(root: Path) -> None:
    with pytest.raises(RecipeError, match="global_batch=0"):
        SFT(START, DATA, global_batch=0).check(None)
    with pytest.raises(RecipeError, match="epochs=0"):
        Preference(START, DATA, epochs=0).check(None)
    with pytest.raises(RecipeError, match="group_size=1"):
        RL(START, DATA, {"letters": Letters()}, group_size=1).check(None)
    for sampling in (Sampling(temperature=0.0), Sampling(top_p=0.9), Sampling(top_k=5)):
        with pytest.raises(RecipeError, match="top_p=1"):
            RL(START, DATA, {"letters": Letters()}, sampling=sampling).check(None)
    with pytest.raises(RecipeError, match=r"max_tokens=9999.*2048"):
        SFT(START, DATA, max_tokens=9999).run(context(root, "too-long", EVERY_STEP))
    with pytest.raises(RecipeError, match=r"verifier 'letters'.*Did you mean 'leters'"):
        RL(START, DATA, {"leters": Letters()}).run(context(root, "no-verifier", EVERY_STEP))


def test_a_run_that_diverges_stops_and_keeps_its_checkpoint(root: Path) -> None:
    stage = SFT(START, DATA, epochs=9, global_batch=3, lr=Constant(1e30), max_tokens=200, clip_norm=1e30)
    ctx = context(root, "diverges", EVERY_STEP)
    with pytest.raises(TrainingError, match=r"Optimizer step \d+: .*\n.*checkpoint is kept"):
        stage.run(ctx)
    assert (ctx.out / "checkpoint").exists()
    assert not (ctx.out / "model").exists()
