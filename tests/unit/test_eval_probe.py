"""A probe during training: its scores are those of an evaluation of the same weights, and it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from training_runs import DATA, START, Given, context, demos, prepare, problems

from burnish.core.fingerprint import fingerprint
from burnish.core.types import Check, Problem, Row, Verdict, user
from burnish.errors import RecipeError
from burnish.eval.probe import Probe
from burnish.eval.run import Evaluate
from burnish.eval.task import EvalTask
from burnish.pipeline.machine import exact
from burnish.report import plots
from burnish.rollout.engine import Sampling
from burnish.train.grpo import RL
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)
MACHINE = replace(exact(), processes=1)


@dataclass(frozen=True, slots=True)
class Talk:
    """Six questions."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "talk"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for i in range(6):
            yield Problem(user(f"Say {i}."), Check("letters", str(i)))


@dataclass(frozen=True, slots=True)
class Letters:
    """A score that any change of the reply moves."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(sum(map(ord, text)) % 97 / 96, "letters")


TASK = EvalTask("talk", Talk(), Letters(), Sampling(temperature=0.0, max_tokens=8), limit=4)
PROBE = Probe((TASK,), every=2, limit=5)


def sft(probe: Probe | None) -> SFT:
    return SFT(START, DATA, epochs=3, global_batch=4, lr=Constant(1e-3), max_tokens=512, probe=probe)


def rl(probe: Probe | None) -> RL:
    sampling = Sampling(max_tokens=6)
    return RL(
        START, DATA, {"letters": Letters()}, steps=3, problems_per_step=2, group_size=3, sampling=sampling,
        lr=Constant(1e-3), probe=probe,
    )  # fmt: skip


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("kind", "rows", "looks"), [(sft, demos(12), [2, 4, 6, 8, 9]), (rl, problems(6), [2, 3])])
def test_a_probe_tells_what_an_evaluation_would_and_changes_nothing(
    kind: Callable[[Probe | None], SFT | RL], rows: list[Row], looks: list[int], tmp_path: Path
) -> None:
    """A look every 2 steps and after the last: of 9 steps of 4 conversations in 3 epochs of 12, and of 3 steps of RL."""
    prepare(tmp_path, rows)
    for name, probe in (("plain", None), ("probed", PROBE)):
        kind(probe).run(context(tmp_path, name, MACHINE))
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("plain", "probed")]
    assert weights[0] == weights[1]
    found = metrics(tmp_path / "probed")
    assert [row["step"] for row in found if "probe/talk" in row] == looks
    assert len({row["probe/talk"] for row in found if "probe/talk" in row}) > 1
    Evaluate(Given("probed"), (TASK,)).run(context(tmp_path, "eval", MACHINE))
    scores = json.loads((tmp_path / "eval" / "scores.json").read_text())["tasks"][0]
    assert found[-1]["probe/talk"] == pytest.approx(scores["score"], rel=1e-6)

    def untimed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        clock = ("probe", "wall_s", "tokens_per_s", "rollout_s", "learn_s", "grade_s", "tflops", "mfu")
        return [{name: value for name, value in row.items() if not name.startswith(clock)} for row in rows]

    assert untimed(found) == untimed(metrics(tmp_path / "plain"))


def test_a_probe_is_no_part_of_a_stage_s_identity_and_is_checked():
    assert fingerprint(sft(None)) == fingerprint(sft(PROBE))
    sft(PROBE).check(None)
    with pytest.raises(RecipeError, match=r"Probe\(every=0, limit=5\) asks nothing"):
        sft(replace(PROBE, every=0)).check(None)
    with pytest.raises(RecipeError, match="talk belongs to an unseen suite"):
        sft(Probe((replace(TASK, unseen=True),))).check(None)


def test_a_probe_s_scores_get_curves():
    rows = [{"step": step, "loss": 1.0 / step, "probe/talk": step / 10} for step in (1, 2, 3)]
    drawn = plots.curves(rows)
    assert len(drawn) == 2
    assert "talk by step" in drawn[1]
