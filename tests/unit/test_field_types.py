"""A field's value of a wrong type is one message at plan time, with the field and what to write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import training_runs

from burnish.cli.main import main
from burnish.core.fingerprint import fingerprint
from burnish.errors import RecipeError
from burnish.losses.dpo import DPO
from burnish.losses.policy import GRPO, PolicyLoss
from burnish.pipeline.field_types import check_types
from burnish.pipeline.plan import check_all
from burnish.rollout.engine import Sampling
from burnish.rollout.tools.calculator import Calculator
from burnish.rollout.tools.toolbox import Tools
from burnish.train.advantages import GroupRelative, PassAtK, Whitened
from burnish.train.correction import Truncate
from burnish.train.grpo import RL
from burnish.train.online_dpo import OnlineDPO
from burnish.train.ppo import PPO
from burnish.train.schedule import Linear
from burnish.train.sft import SFT

GIVEN: dict[str, Any] = {
    "start": training_runs.START, "problems": training_runs.DATA, "verifiers": {"letters": training_runs.Letters()}
}  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lr": 1e-5}, r"rl: lr=1e-05 is not what the field takes: Schedule.\n  Write .*Constant\(…\), Cosine\(…\), Linear\(…\)"),
        ({"advantage": "group"}, r"advantage='group' .*\n  Write GroupRelative\(…\), LeaveOneOut\(…\), PassAtK\(…\), Whitened\(…\)\.$"),
        ({"advantage": Whitened(baseline="x")}, r"advantage\.baseline='x' .*'none' or 'group'.\n  Known: group, none"),  # type: ignore[arg-type]
        ({"kl_in_reward": 0.1}, r"kl_in_reward=0.1 .*: KLInReward or None.\n  Write KLInReward\(…\) or None\."),
        ({"correction": 2.0}, r"correction=2.0 .*\n  Write Refuse\(…\), Truncate\(…\) or None\."),
        ({"weights": [1]}, r"weights=\[1\] .*: a dict"),
        ({"weights": {"a": "much"}}, r"weights\['a'\]='much' .*: a number"),
        ({"staleness": "one"}, "staleness='one' .*: a whole number"),
        ({"staleness": True}, "staleness=True .*: a whole number"),
        ({"mask_cut": 1}, "mask_cut=1 .*: True or False"),
        ({"loss": DPO()}, r"loss=DPO\(.*\n  Write PolicyLoss\(…\)"),
        ({"loss": PolicyLoss(kl=0.1)}, r"loss\.kl=0.1 .*\n  Write KL\(…\) or None"),  # type: ignore[arg-type]
        ({"environments": {"letters": Calculator()}}, r"environments\['letters'\]=Calculator\(\) .*\n  Give what burnish.rollout.environment.Environment"),
        ({"start": "base"}, "start='base' .*\n  Give a stage of the recipe"),
        ({"verifiers": {}}, r"rl: verifiers=\{\} grades nothing"),
        ({"sampling": Sampling(max_tokens=0)}, "rl: sampling.max_tokens=0: a reply has at least one token"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_its_fix(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        check_all([RL(**GIVEN | fields)], None)


def test_other_stages_are_looked_at_too() -> None:
    with pytest.raises(RecipeError, match=r"sft: lr=1e-05 is not .*Schedule"):
        check_all([SFT(training_runs.START, training_runs.DATA, lr=1e-5)], None)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"online-dpo: loss=PolicyLoss\(.*PairLoss"):
        check_all([OnlineDPO(**GIVEN, loss=GRPO())], None)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"ppo: value='rm' .*: Stage or None"):
        check_all([PPO(**GIVEN, value="rm")], None)  # type: ignore[arg-type]


def test_what_fits_is_let_through() -> None:
    """Whole numbers are numbers, lists stand in for tuples, classes of one's own for what a protocol asks."""

    class Mine(GroupRelative):
        pass

    rl = RL(
        **GIVEN, weights={"a": 1}, environments={"letters": Tools((Calculator(),))}, correction=Truncate(2), lr=Linear(1),
        monitors=[],  # type: ignore[arg-type]
    )  # fmt: skip
    for stage in (rl, replace(rl, advantage=Mine()), replace(rl, advantage=PassAtK(2))):
        check_types(stage)


def test_a_class_or_function_in_place_of_its_value_is_told_to_be_called() -> None:
    with pytest.raises(
        RecipeError, match=r"GroupRelative is a type, not a value made by it.*\n  Call it: GroupRelative\(…\)\."
    ):
        fingerprint(RL(**GIVEN, advantage=GroupRelative))  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"\.loss: GRPO is a function.*\n  Call it: GRPO\(…\)\."):
        fingerprint(RL(**GIVEN, loss=GRPO))  # type: ignore[arg-type]


def test_a_field_that_is_not_there_names_line_and_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.py"
    lines = ["from burnish.rollout.engine import Sampling", "def recipe():", "    return Sampling(temprature=1.0)"]
    file.write_text("\n".join(lines) + "\n")
    assert main(["plan", str(file), "--runs", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert "mine.py, line 3: Sampling has no field 'temprature'. Did you mean 'temperature'?" in said
