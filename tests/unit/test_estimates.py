"""What a plan says a training stage needs: from shapes, rows and rates, and never a guess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import DATA, STAGES, START, context, demos, pairs, prepare

from burnish.core.files import read_json, write_json
from burnish.core.types import Demo, Message, Row
from burnish.errors import RecipeError, TrainingError
from burnish.model.bundled import bundled_model
from burnish.model.flops import Shape, Work
from burnish.model.memory import Batch, activations, training_memory
from burnish.model.policy import Policy
from burnish.model.rates import TrainedRate, keep_trained_rate, matrix_rate
from burnish.model.toy import make_toy
from burnish.model.trains import All, Layers, LoRA, Trains
from burnish.pipeline.estimate import Estimate, Look, check_room, with_record
from burnish.pipeline.machine import Machine
from burnish.pipeline.memory import Memory
from burnish.pipeline.plan import plan
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Stage
from burnish.train.estimate import work_of
from burnish.train.learner import Learner
from burnish.train.optimizer import Adafactor, AdamW, Muon, Optimizer
from burnish.train.reward import RewardModeling
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)
MACHINE = Machine(micro_tokens=150, checkpoint_every_s=1e9)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, [*demos(), *pairs()])
    return folder


def look(root: Path, machine: Machine = MACHINE, **missing: bool) -> Look:
    def finished(stage: Stage) -> Path | None:
        return None if missing.get(stage.name) else root / stage.name

    return Look(machine, root / "cache", None, finished)


def config_of(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(root / "start" / "model" / "config.json")
    return found


def test_what_is_not_there_yet_is_named(root: Path, tmp_path: Path) -> None:
    stage: Any = STAGES["sft"]
    assert stage.estimate(look(root, start=True)).text() == "memory and time unknown until start is made"
    without_rows = stage.estimate(look(root, data=True))
    assert without_rows.peak > 0
    assert without_rows.notes == (
        "with full micro-batches of 200 tokens", "time unknown until data is made: its rows decide",
    )  # fmt: skip
    never_measured = stage.estimate(replace(look(root), cache=tmp_path))
    assert never_measured.seconds is None
    assert "time unknown until a first run has measured this machine" in never_measured.text()
    matrix_rate(tmp_path, MACHINE)
    assert (
        "time unknown until a first run of this kind; at least"
        in stage.estimate(replace(look(root), cache=tmp_path)).text()
    )


@pytest.mark.parametrize("name", ["sft", "dpo", "reward"])
def test_the_flops_of_a_plan_are_those_of_the_run(name: str, root: Path) -> None:
    """A rate of 1 FLOP/s makes the estimated seconds the FLOPs; the run's are its logged rate times its time."""
    made: dict[str, Any] = {**STAGES, "reward": RewardModeling(START, DATA, global_batch=2, max_tokens=200)}
    stage = made[name]
    ctx = context(root, f"run-{name}", MACHINE)
    stage.run(ctx)
    records = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    seconds = [b["wall_s"] - a["wall_s"] for a, b in zip([{"wall_s": 0.0}, *records], records, strict=False)]
    ran = sum(record["tflops"] * 1e12 * s for record, s in zip(records, seconds, strict=True))
    shape = Shape.of(config_of(root))
    assert shape is not None
    work = Work(shape, shape.width if name == "reward" else shape.head)
    keep_trained_rate(root / "cache", MACHINE, work.what(name), TrainedRate(1.0, 0.0, "2026-01-02", 9))
    found = stage.estimate(look(root)).seconds
    # DPO's reference pass is in the plan's time and not in the steps' records: 2 of 6, of one epoch in four.
    ran *= 1 + 1 / 3 / stage.epochs if name == "dpo" else 1.0
    assert found == pytest.approx(ran, rel=0.05)


def test_time_by_hand(root: Path) -> None:
    """Seven rows in batches of 3, 4 epochs: 12 updates of half a second on top of the FLOPs at their rate."""
    stage: Any = STAGES["sft"]
    shape = Shape.of(config_of(root))
    assert shape is not None
    what = Work.of_shape(shape).what("sft")
    keep_trained_rate(root / "cache", MACHINE, what, TrainedRate(1e9, 0.5, "2026-01-02", 9))
    slow = stage.estimate(look(root))
    keep_trained_rate(root / "cache", MACHINE, what, TrainedRate(1e9, 0.0, "2026-01-02", 9))
    assert slow.seconds == pytest.approx(stage.estimate(look(root)).seconds + 6.0)
    assert "TFLOP/s of 2026-01-02" in slow.text()


@pytest.mark.parametrize(
    "trains",
    [All(), LoRA(rank=4), LoRA(rank=2, targets=("q_proj", "v_proj")), Layers(last=1), Layers(these=(0,), norms=False),
     Layers(last=1, embeddings=True, head=True)],
    ids=repr,
)  # fmt: skip
def test_the_work_of_a_plan_is_that_of_the_model(trains: Trains, root: Path) -> None:
    """What shapes say of adapters and frozen layers is what the model, so prepared, holds."""
    policy = Policy.load(root / "start" / "model", Machine(), trainable=True, trains=trains)
    shape = Shape.of(config_of(root))
    assert shape is not None
    live, told = Work.of_model(policy.model), work_of(trains, shape, shape.head)
    assert live is not None
    for labels in (0, 5):
        assert live.training([30, 7], labels) == told.training([30, 7], labels)


@pytest.mark.parametrize(("optimizer", "within"), [(AdamW(), 0.01), (Muon(), 0.01), (Adafactor(), 1.0)], ids=repr)
def test_optimizers_say_what_they_keep(optimizer: Optimizer, within: float, root: Path) -> None:
    """Against the tensors they hold after a step. Adafactor's rows and columns are small; on a tiny model less so."""
    policy = Policy.load(root / "start" / "model", Machine(), trainable=True)
    learner = Learner(policy, Machine(), optimizer)
    for weight in policy.model.parameters():
        weight.grad = torch.ones_like(weight)
    learner.step(1e-3)
    held = sum(t.nbytes for state in learner._states().values() for t in state.values() if t.numel() > 1)
    shape = Shape.of(config_of(root))
    assert shape is not None
    inner = shape.layers * shape.layer_matrices
    said = optimizer.state_bytes(inner, shape.parameters - inner)
    assert said == pytest.approx(held, rel=within, abs=4 * shape.parameters * 0.06)


def test_less_is_kept_where_the_machine_computes_again() -> None:
    """By hand, float32, one document of 2 tokens, width 4, 2 query heads and 1 key head of 2, inner 6, two layers.

    Outside attention: 8 x 4 + 4 x (8 + 4 + 18) = 152 a token. Attention, a tenth of padding: 1.1 x 4 x ((4 + 2 x 2) x 2 + 2 heads x 4)
    = 105.6. Nothing again: 2 x (304 + 105.6). Attention again: its inputs, 4 x 8 a token, in each layer, and one attention.
    Layers again: the stream, 16 a token, and one layer.
    """
    shape = Shape(2, 4, 2, 1, 2, 6, 10, tied=True, windows=(0, 0))
    batch = Batch((2,), (0,), 1, several=False)
    assert activations(shape, Machine(), batch) == 2 * (304 + 105)
    assert activations(shape, Machine(recompute="attention"), batch) == 2 * (304 + 64) + 105
    assert activations(shape, Machine(recompute="layers"), batch) == 2 * 32 + 304 + 105
    long = Batch((513,), (0,), 1, several=False)
    assert activations(shape, Machine(), long) == 2 * (152 * 513 + int(1.1 * 4 * 8 * 513))


def test_shards_divide_what_every_process_holds() -> None:
    shape = Shape(2, 64, 4, 2, 16, 128, 500, tied=True, windows=(0, 0))
    work, batch = Work.of_shape(shape), Batch((64,), (0,), 64, several=True)
    whole = training_memory(work, Machine(), batch, 8 * shape.parameters)
    part = training_memory(work, Machine(), batch, 8 * shape.parameters, ranks=4)
    assert whole["weights"] == 4 * shape.parameters
    for name in ("weights", "gradients", "optimizer"):
        assert part[name] == whole[name] // 4
    assert part["activations"] == whole["activations"]


def test_teams_divide_activations_and_matrices() -> None:
    """By hand as above, 2 tokens on two ranks. A share of the row: 1 token of 152, its queries and all keys and values
    (4 + 2 x 2 x 2), and half of the probabilities: 1.1 x 4 x (12 + 2 x 4 / 2) = 70. Divided matrices: 32 + 4 x (8 + 22 / 2) = 108 a
    token, and half of the attention, 52.
    """
    shape = Shape(2, 4, 2, 1, 2, 6, 10, tied=True, windows=(0, 0))
    batch = Batch((2,), (0,), 2, several=False)
    assert activations(shape, Machine(processes=2, context=2), batch) == 2 * (152 + 70)
    assert activations(shape, Machine(processes=2, tensor=2), batch) == 2 * (2 * 108 + 52)
    work = Work.of_shape(shape)
    whole = training_memory(work, Machine(), batch, 8 * shape.parameters)
    part = training_memory(work, Machine(processes=2, tensor=2), batch, 8 * shape.parameters)
    away = shape.layers * shape.layer_matrices // 2
    for name, each in (("weights", 4), ("gradients", 2), ("optimizer", 8)):
        assert part[name] == whole[name] - each * away
    cut = training_memory(work, Machine(processes=2, context=2), batch, 8 * shape.parameters)
    logits = 2 * 10 * 4
    assert cut["head"] == whole["head"] - logits // 2
    assert cut["weights"] == whole["weights"]


def large(root: Path, folder: Path) -> Path:
    """A copy of the toy whose config.json says that it has 400 billion parameters."""
    make_toy(folder / "start" / "model")
    told = config_of(root)
    write_json(folder / "start" / "model" / "config.json", told | {"hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126})  # fmt: skip
    prepare(folder, demos())
    return folder


def test_what_this_computer_cannot_hold_is_refused_by_the_plan(root: Path, tmp_path: Path) -> None:
    from burnish.model.base import BaseModel

    folder = large(root, tmp_path)
    stage = SFT(BaseModel(str(folder / "start" / "model")), DATA, max_tokens=200)
    with pytest.raises(
        RecipeError,
        match=r"sft: training needs about [\d.]+ GiB .*would be killed(.|\n)*optimizer [\d.]+ GiB(.|\n)*micro_tokens",
    ):
        plan(stage, runs=tmp_path / "runs", machine=MACHINE, cache=tmp_path)
    planned = plan(stage, runs=tmp_path / "runs", machine=Machine(name="one_gpu", device="cuda"), cache=tmp_path)
    assert "without activations" in planned.text()


def test_what_does_not_fit_now_is_refused_before_the_first_step() -> None:
    """Two processes of 8 GiB that hold 3 each need 10 more. With 8.6 GiB free that may be (10 x 0.85 = 8.5), with 8.4 not."""
    gib = 1 << 30
    parts = {"weights": 3 * gib, "activations": 5 * gib}
    check_room("sft", parts, 3 * gib, Memory(32 * gib, int(8.6 * gib), "the machine"), 2)
    tight = Memory(32 * gib, int(8.4 * gib), "the limit of the control group /job")
    with pytest.raises(
        TrainingError,
        match=r"sft: .*about 16.0 GiB.* 14.4 GiB \(the limit of the control group /job\)(.|\n)*activations 5.0",
    ):
        check_room("sft", parts, 3 * gib, tight, 2)


def test_a_plan_shows_estimates_and_json_has_them(root: Path, tmp_path: Path) -> None:
    stage: Any = replace(STAGES["sft"], start=START)
    found = plan(stage, runs=tmp_path, machine=MACHINE, cache=tmp_path)
    assert "memory and time unknown until start is made" in found.text()
    assert found.to_json()["stages"][-1]["estimate"]["memory_bytes"] is None
    assert plan(stage, runs=tmp_path).steps[-1].estimate is None


def test_an_interrupted_stage_is_timed_by_its_own_steps(tmp_path: Path) -> None:
    """4 of 10 steps in 20 s: 30 s are left."""
    line = json.dumps({"step": 4, "steps": 10, "wall_s": 20.0})
    (tmp_path / "metrics.jsonl").write_text(f'{{"step": 3}}\n{line}\n')
    found = with_record(Estimate({"weights": 4}, notes=("time unknown until x", "y")), tmp_path)
    assert found is not None
    assert (found.seconds, found.notes) == (30.0, ("left after 4 of 10 steps, at their rate", "y"))
    assert with_record(None, tmp_path / "none") is None


WATCHED = """
import re, sys
from pathlib import Path
from training_runs import DATA, START, context
from burnish.pipeline.machine import laptop
from burnish.train.schedule import Constant
from burnish.train.sft import SFT
from dataclasses import replace
machine = replace(laptop(), threads=1, micro_tokens=int(sys.argv[2]))
machine.prepare()
SFT(START, DATA, epochs=2, global_batch=int(sys.argv[3]), max_tokens=400, lr=Constant(1e-6)).run(context(Path(sys.argv[1]), "out", machine))
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024)
"""


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize(("micro_tokens", "batch"), [(512, 2), (512, 6), (1536, 6)])
def test_memory_of_the_bundled_model_within_15_percent(micro_tokens: int, batch: int, tmp_path: Path) -> None:
    """Two optimizer steps in a process of their own, against its peak as Linux counts it."""
    from burnish.pipeline.machine import laptop

    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "model").symlink_to(bundled_model(tmp_path, Console(quiet=True)))
    words = [f"{'seven' if i % 2 else 'eight'} {i}" for i in range(batch)]
    rows: list[Row] = [
        Demo((Message("user", f"{word}? " * 10), Message("assistant", f"{word} is a number. " * 25))) for word in words
    ]
    prepare(tmp_path, rows)
    machine = replace(laptop(), threads=1, micro_tokens=micro_tokens)
    stage = SFT(START, DATA, epochs=2, global_batch=batch, max_tokens=400, lr=Constant(1e-6))
    said = stage.estimate(look(tmp_path, machine)).peak
    command = [sys.executable, "-c", WATCHED, str(tmp_path), str(micro_tokens), str(batch)]
    here = Path(__file__).parents[1]
    environment = os.environ | machine.environment() | {"PYTHONPATH": f"{here}:{here.parent}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert said == pytest.approx(int(done.stdout), rel=0.15), f"{said / int(done.stdout) - 1:+.1%}"
