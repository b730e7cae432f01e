"""How fast training was: rates kept with a date, model FLOPs in every step's record, and checkpoints that are refused."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import DATA, EVERY_STEP, STAGES, START, Always, context, demos, pairs, prepare, problems

from burnish.core.types import Pair
from burnish.errors import ArtifactError, TrainingError
from burnish.losses.sft import SFTLoss
from burnish.model.flops import Work
from burnish.model.policy import Policy
from burnish.model.rates import (
    MatrixRate,
    TrainedRate,
    keep_trained_rate,
    kept_matrix_rate,
    kept_trained_rate,
    matrix_rate,
    today,
)
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.train.log import FORMULA, Speed, note
from burnish.train.reward import RewardModeling
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, [*demos(), *pairs(), *problems()])
    return folder


def test_the_highest_rate_is_kept(tmp_path: Path) -> None:
    machine = Machine()
    assert kept_matrix_rate(tmp_path, machine) is None
    first = matrix_rate(tmp_path, machine)
    assert first.flops > 1e8
    assert (first.measured, first.published) == (today(), 0.0)
    assert kept_matrix_rate(tmp_path, machine) == first
    # Each number of threads and type has its own entry, and a busy moment lowers no rate.
    told = json.loads((tmp_path / "rates.json").read_text())
    (name,) = told["matrix"]
    assert "1 threads · fp32 · torch" in name
    for kept, wanted in ((1e15, 1e15), (1e3, first.flops)):
        told["matrix"][name]["flops"] = kept
        (tmp_path / "rates.json").write_text(json.dumps(told))
        assert matrix_rate(tmp_path, machine).flops == wanted
    assert kept_matrix_rate(tmp_path, dataclasses.replace(machine, compute="bf16")) is None


def test_a_damaged_file_of_rates_is_measured_again(tmp_path: Path) -> None:
    (tmp_path / "rates.json").write_text("{")
    assert matrix_rate(tmp_path, Machine()).flops > 1e8


def test_rates_of_training_lie_beside_those_of_products(tmp_path: Path) -> None:
    machine, rate = Machine(), TrainedRate(2e11, 0.3, today(), 40)
    matrix = matrix_rate(tmp_path, machine)
    keep_trained_rate(tmp_path, machine, "sft: 2x64", rate)
    assert kept_trained_rate(tmp_path, machine, "sft: 2x64") == rate
    assert kept_trained_rate(tmp_path, machine, "dpo: 2x64") is None
    assert kept_matrix_rate(tmp_path, machine) == matrix


def test_mfu_by_hand() -> None:
    """600 GFLOP in 2 s on two processes of 500 GFLOP/s each are 0.3 TFLOP/s of 1 TFLOP/s: 30 %. The update took 0.5 s."""
    speed = Speed(MatrixRate(5e11, "2026-01-02"), devices=2)
    assert speed.told("sft") == ""
    assert speed.step(6e11, 2.0, 0.5) == {"tflops": 0.3, "mfu": 0.3}
    assert speed.passes == 4e11
    assert "0.3 TFLOP/s, 30.0% MFU" in speed.told("sft")
    assert FORMULA in speed.told("sft")
    assert "measured 2026-01-02" in speed.told("sft")
    published = Speed(MatrixRate(8e14, "2026-01-02", 1e15), 1)
    assert published.step(4e14, 1.0, 0.0) == {"tflops": 400.0, "mfu": 0.5, "mfu_published": 0.4}
    assert note({"tokens_per_s": 10.0, "mfu": 0.412}) == "10 tokens/s  41% MFU"


@pytest.mark.parametrize("name", [*STAGES, "reward"])
def test_every_training_run_logs_its_flops(name: str, root: Path) -> None:
    stage = {**STAGES, "reward": RewardModeling(START, DATA, global_batch=2, max_tokens=200)}[name]
    lines = io.StringIO()
    ctx = context(root, f"logged-{name}", EVERY_STEP, Console(lines))
    stage.run(ctx)
    records = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert all(record["tflops"] > 0 and 0 < record["mfu"] < 2 for record in records)
    assert f"  {name}: " in lines.getvalue()
    assert lines.getvalue().count("MFU: model FLOPs a second") == 1


def test_the_flops_of_a_step_are_those_of_its_rows(root: Path) -> None:
    """SFT of the seven rows in one step: the seconds of the step times its TFLOP/s are the FLOPs of rows that share a beginning."""
    ctx = context(root, "flops", Machine(micro_tokens=100_000))
    SFT(START, DATA, epochs=1, global_batch=7, max_tokens=200, lr=Constant(1e-3)).run(ctx)
    (record,) = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    policy = Policy.load(root / "start" / "model", Machine(), trainable=True)
    work = Work.of_model(policy.model)
    assert work is not None
    rows = [policy.renderer.render(demo.messages) for demo in demos() if not isinstance(demo, Pair)]
    apart = work.training([len(row.token_ids) for row in rows], sum(sum(row.mask) for row in rows))
    found = record["tflops"] * 1e12 * record["wall_s"]
    assert 0.5 * apart < found <= apart * 1.0001


def test_more_or_fewer_rows_refuse_the_checkpoint(root: Path, tmp_path: Path) -> None:
    stage: Any = STAGES["sft"]
    prepare(tmp_path, demos(7))
    ctx = context(tmp_path, "out", EVERY_STEP)
    with pytest.raises(KeyboardInterrupt):
        dataclasses.replace(stage, loss=Stops()).run(ctx)
    prepare(tmp_path, demos(8))
    with pytest.raises(
        ArtifactError, match=r"checkpoint .*\(rows [0-9a-f]{16} there, [0-9a-f]{16} here\)(.|\n)*delete that folder"
    ):
        stage.run(ctx)
    prepare(tmp_path, demos(7))
    with pytest.raises(ArtifactError, match=r"\(global_batch 3 there, 2 here\)"):
        dataclasses.replace(stage, global_batch=2).run(ctx)
    with pytest.raises(ArtifactError, match=r"\(lr Linear\(.*there, Linear\(.*here; seed 0 there, 1 here\)"):
        dataclasses.replace(stage, lr=dataclasses.replace(stage.lr, peak=3e-4), seed=1).run(ctx)
    stage.run(ctx)
    assert (ctx.out / "model").exists()


_steps = 0


@dataclasses.dataclass(frozen=True)
class Stops(SFTLoss):
    """Ctrl-C in the third micro-batch that this process trains."""

    def total(self, logp_BT: torch.Tensor, batch: Any) -> torch.Tensor:
        global _steps
        _steps += 1
        if _steps == 3:
            raise KeyboardInterrupt
        return SFTLoss.total(self, logp_BT, batch)


def test_other_problems_refuse_the_checkpoint_of_rl(tmp_path: Path) -> None:
    stage: Any = STAGES["rl"]
    prepare(tmp_path, problems(5))
    ctx = context(tmp_path, "out", EVERY_STEP)
    with pytest.raises(TrainingError, match="in a row"):
        dataclasses.replace(stage, patience=1, verifiers={"letters": Always(0.0)}).run(ctx)
    assert (ctx.out / "checkpoint").exists()
    prepare(tmp_path, problems(6))
    with pytest.raises(ArtifactError, match=r"rows \w+ there, \w+ here"):
        stage.run(ctx)
