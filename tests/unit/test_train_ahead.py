"""Replies sampled ahead of training: what is learned from what, the same bits in every way of working, and kills."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from training_runs import DATA, EVERY_STEP, START, Letters, context, prepare, problems

from burnish.core.fingerprint import canonical
from burnish.core.types import Problem, Trajectory, Verdict
from burnish.errors import ArtifactError, RecipeError
from burnish.losses.policy import GRPO, PolicyLoss
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Sampling
from burnish.train.grpo import RL
from burnish.train.replay import Replayed, RolloutFile
from burnish.train.rollout_log import RolloutLog
from burnish.train.schedule import Constant

torch.set_num_threads(1)
TIMES = {"tokens_per_s", "wall_s", "rollout_s", "learn_s", "grade_s", "sampled_s", "tflops", "mfu"}
ONE_BEHIND = RL(
    START, DATA, {"letters": Letters()}, steps=6, problems_per_step=2, group_size=4, lr=Constant(1e-2),
    sampling=Sampling(max_tokens=12), loss=GRPO(kl_coef=0.05), staleness=1,
)  # fmt: skip
APART = dataclasses.replace(EVERY_STEP, engine_place="process")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, problems())
    return folder


@pytest.fixture(scope="module")
def one_after_the_other(root: Path) -> Path:
    """The run with its engine inside: it samples, then it learns."""
    ONE_BEHIND.run(context(root, "sequential", EVERY_STEP))
    return root / "sequential"


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def replies(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]


def same_result(a: Path, b: Path) -> None:
    first, second = (load_file(path / "model" / "model.safetensors") for path in (a, b))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    timeless = [[{k: v for k, v in r.items() if k not in TIMES} for r in records(path)] for path in (a, b)]
    assert timeless[0] == timeless[1]
    assert (a / "rollouts.jsonl").read_bytes() == (b / "rollouts.jsonl").read_bytes()
    assert not (b / "rollouts.running.jsonl").exists()


def test_a_step_learns_from_the_weights_before_the_last_update(one_after_the_other: Path) -> None:
    """Staleness 1 over 6 steps: the replies of steps 1 to 6 come from the weights after 0, 0, 1, 2, 3, 4 steps."""
    versions = {line["step"]: line["completion"]["policy_version"] for line in replies(one_after_the_other)}
    assert versions == {1: "step 0", 2: "step 0", 3: "step 1", 4: "step 2", 5: "step 3", 6: "step 4"}
    assert [record["staleness"] for record in records(one_after_the_other)] == [0, 1, 1, 1, 1, 1]
    ratios = [record["ratio"] for record in records(one_after_the_other)]
    assert ratios[0] == pytest.approx(1.0, abs=1e-4)
    assert all(abs(ratio - 1) > 1e-4 for ratio in ratios[1:])


class PowerCut(BaseException):
    """Not an Error: nothing in the code expects it."""


_left = {"grade": 0, "learn": 0}


def _count_down(what: str) -> None:
    _left[what] -= 1
    if _left[what] == 0:
        raise PowerCut


@dataclasses.dataclass(frozen=True)
class CutLetters(Letters):
    """The verifier during whose n-th grading the power fails."""

    def __call__(self, problem: Problem, text: str) -> Verdict:
        _count_down("grade")
        return Letters.__call__(self, problem, text)


@dataclasses.dataclass(frozen=True)
class CutLoss(PolicyLoss):
    """The loss during whose n-th evaluation the power fails."""

    def total(self, logp_BT: torch.Tensor, batch: Any) -> torch.Tensor:
        _count_down("learn")
        return PolicyLoss.total(self, logp_BT, batch)


CUT_LOSS = CutLoss(**{f.name: getattr(ONE_BEHIND.loss, f.name) for f in dataclasses.fields(PolicyLoss)})
CUT = dataclasses.replace(ONE_BEHIND, verifiers={"letters": CutLetters()}, loss=CUT_LOSS)


@pytest.mark.parametrize("every_s", [0.0, 1e9])
@pytest.mark.parametrize(
    "machine", [EVERY_STEP, pytest.param(APART, marks=pytest.mark.slow)], ids=["sequential", "at once"]
)
def test_cut_while_sampling_and_while_learning(
    machine: Machine, every_s: float, root: Path, one_after_the_other: Path
) -> None:
    """The power fails in the middle of a step, in the learner's thread or in the sampler's, several times over."""
    machine = dataclasses.replace(machine, checkpoint_every_s=every_s)
    ctx = context(root, f"cut-{machine.engine_place}-{every_s}", machine)
    for grade, learn in ((0, 2), (7, 0), (0, 1), (3, 0), (0, 3)):
        _left.update(grade=grade, learn=learn)
        with pytest.raises(PowerCut):
            CUT.run(ctx)
    _left.update(grade=0, learn=0)
    CUT.run(ctx)
    same_result(one_after_the_other, ctx.out)


def test_no_reply_is_sampled_twice(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was graded before a cut is asked of no engine again: 10 groups of 4 replies are sampled in all, whatever happens."""
    sampled: list[str] = []
    add = RolloutLog.add

    def counted(self: RolloutLog, step: int, group: int, k: int, trajectory: Trajectory) -> None:
        sampled.append(f"{step} {group} {k}")
        add(self, step, group, k, trajectory)

    monkeypatch.setattr(RolloutLog, "add", counted)
    ctx = context(root, "twice", EVERY_STEP)
    for grade, learn in ((0, 2), (7, 0), (0, 1), (3, 0)):
        _left.update(grade=grade, learn=learn)
        with pytest.raises(PowerCut):
            CUT.run(ctx)
    _left.update(grade=0, learn=0)
    CUT.run(ctx)
    assert len(sampled) == len(set(sampled)) == 40


def test_replies_that_are_gone_are_said(root: Path) -> None:
    """Without the replies sampled ahead of the checkpoint, newer weights would have to stand in for older ones."""
    ctx = context(root, "gone", EVERY_STEP)
    _left.update(grade=0, learn=4)
    with pytest.raises(PowerCut):
        CUT.run(ctx)
    (ctx.out / "rollouts.running.jsonl").unlink()
    _left.update(grade=0, learn=0)
    with pytest.raises(ArtifactError, match=r"are gone from rollouts\.running\.jsonl"):
        CUT.run(ctx)


@pytest.mark.slow
def test_an_engine_that_is_killed_changes_nothing(root: Path, one_after_the_other: Path) -> None:
    """Its process is killed twice, each time in the middle of a step's replies; the run goes on by itself."""
    machine = dataclasses.replace(APART, engine_place="process(engines=2)")
    ctx = context(root, "killed", machine)
    Killing.graded = 0
    dataclasses.replace(ONE_BEHIND, verifiers={"letters": Killing()}).run(ctx)
    assert Killing.graded == 40
    same_result(one_after_the_other, ctx.out)


@dataclasses.dataclass(frozen=True)
class Killing(Letters):
    """A verifier that kills an engine's process at the 9th and the 21st grading."""

    graded: ClassVar[int] = 0

    def __call__(self, problem: Problem, text: str) -> Verdict:
        Killing.graded += 1
        if Killing.graded in (9, 21):
            os.kill(engine_processes()[0], signal.SIGKILL)
        return Letters.__call__(self, problem, text)


def engine_processes() -> list[int]:
    """This process's children that are engines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == os.getpid() and b"burnish.rollout.engine_worker" in words:
            found.append(int(folder.name))
    return sorted(found)


def test_engines_end_with_the_run(root: Path, one_after_the_other: Path) -> None:
    """Whatever the runs before this test did, none of their engines is left."""
    assert engine_processes() == []


def test_a_replay_of_the_trajectories_gives_the_same_weights(root: Path, one_after_the_other: Path) -> None:
    """Old log-probs are those in the file, so learning again from it needs no engine and no weights of then."""
    recorded = Replayed(RolloutFile(one_after_the_other / "rollouts.jsonl"))
    dataclasses.replace(ONE_BEHIND, staleness=0, replay=recorded).run(context(root, "replay", EVERY_STEP))
    first, second = (load_file(root / name / "model" / "model.safetensors") for name in ("sequential", "replay"))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())


def test_staleness_below_0_is_refused() -> None:
    with pytest.raises(RecipeError, match="staleness=-1"):
        dataclasses.replace(ONE_BEHIND, staleness=-1).check(None)


def test_staleness_0_is_no_part_of_the_identity() -> None:
    """A field that means what happened before it was there: old artifacts keep their names."""
    none, one = (dataclasses.replace(ONE_BEHIND, staleness=staleness) for staleness in (0, 1))
    assert "staleness" not in canonical(none)
    assert "staleness" in canonical(one)


@pytest.mark.parametrize("staleness", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_both_at_once_and_one_after_the_other_are_the_same_run(
    staleness: int, root: Path, one_after_the_other: Path
) -> None:
    stage = dataclasses.replace(ONE_BEHIND, staleness=staleness)
    straight = one_after_the_other
    if staleness != 1:
        straight = root / f"sequential-{staleness}"
        stage.run(context(root, straight.name, EVERY_STEP))
    stage.run(context(root, f"apart-{staleness}", APART))
    same_result(straight, root / f"apart-{staleness}")
