"""The resolved plan of every shipped recipe: rows by source, batches, rates, steps. The diff of the golden file is the review."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent


def planned(name: str, runs: Path, *more: str) -> dict[str, Any]:
    """The plan as JSON, made without a network, a cache or anything else in the home folder."""
    command = [sys.executable, "-m", "burnish.cli", "plan", f"recipes/{name}.py", "--runs", str(runs), "--json", *more]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HOME": str(runs)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def check(name: str, plan: dict[str, Any], update: bool) -> None:
    shown = [{key: step[key] for key in ("name", "fingerprint", "headline")} for step in plan["stages"]]
    text = json.dumps(shown, indent=1, ensure_ascii=False) + "\n"
    golden = GOLDEN / f"plan_{name}.json"
    if update:
        golden.write_text(text)
    assert text == golden.read_text(), "the plan changed: pytest --update-golden rewrites it; the diff is the review"


@pytest.mark.parametrize("name", ["tulu3_tiny", pytest.param("tulu3_135m", marks=pytest.mark.slow)])
def test_the_plan_is_the_reviewed_one(name: str, data_dir: Path, tmp_path: Path, update_golden: bool) -> None:
    plan = planned(name, tmp_path, "--data", str(data_dir))
    assert plan["missing"] == []
    check(name, plan, update_golden)


def test_the_study_of_algorithms_gives_each_as_many_replies(tmp_path: Path, update_golden: bool) -> None:
    """15 steps of 8 problems with 8 replies, 960 for each; rejection sampling asks the same 120 problems 8 times."""
    plan = planned("rl_study", tmp_path, "--study", "algorithm")
    check("rl_study", plan, update_golden)
    asked = {}
    for step in plan["stages"]:
        head = step["headline"]
        if "problems_per_step" in head:
            asked[step["fingerprint"]] = head["steps"] * head["problems_per_step"] * head["group_size"]
    assert list(asked.values()) == [15 * 64] * 4
    problems, k = (
        [step["headline"][key] for step in plan["stages"] if key in step["headline"]]
        for key in ("arithmetic/train", "k")
    )
    assert problems[-1] * k[-1] == 15 * 64


def test_the_full_recipe_plans_without_any_data(tmp_path: Path, update_golden: bool) -> None:
    """Table 7's 939,344 demonstrations and table 15's 271,409 pairs, by source; every data set is named as missing."""
    plan = planned("tulu3_8b", tmp_path)
    check("tulu3_8b", plan, update_golden)
    rows = {step["name"]: [n for n in step["headline"].values() if isinstance(n, int)] for step in plan["stages"]}
    assert (len(rows["demos"]), sum(rows["demos"])) == (19, 939_344)
    assert (len(rows["pairs"]), sum(rows["pairs"])) == (7, 271_409)
    assert rows["problems"] == [7473, 14_973]
    hub = [text.splitlines()[0] for text in plan["missing"] if text.startswith("allenai/")]
    assert len(hub) == 9
    assert all("is not on this machine: no " in line for line in hub)
