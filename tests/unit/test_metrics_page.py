"""docs/reference/metrics.md describes every name that training writes into metrics.jsonl, each from a run of a real stage."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import EVERY_STEP, KILLED, context, demos, pairs, prepare, problems

from burnish.losses.policy import GRPO
from burnish.pipeline.stage import Stage
from burnish.train.advantages import KLInReward
from burnish.train.correction import Truncate
from burnish.train.groups import Refill
from burnish.train.online_dpo import OnlineDPO

torch.set_num_threads(1)
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
RL: Any = KILLED["rl"]
STAGES: dict[str, Stage] = {
    **{name: replace(stage, **{"steps": 2} if hasattr(stage, "steps") else {"epochs": 1}) for name, stage in KILLED.items()},
    "rl with all it has": replace(
        RL, steps=2, updates_per_step=1, loss=GRPO(), kl_in_reward=KLInReward(0.05), refill=Refill(1), correction=Truncate()
    ),
    "online dpo": OnlineDPO(RL.start, RL.problems, RL.verifiers, steps=2, problems_per_step=2, group_size=4, lr=RL.lr, sampling=RL.sampling),
}  # fmt: skip


def described() -> set[str]:
    """Every name in the first column of the table; <…> stands for any name."""
    cells = [line.split(" | ")[0] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def is_described(name: str, known: set[str]) -> bool:
    return name in known or any(re.fullmatch(re.sub(r"<[^>]*>", ".*", entry), name) for entry in known if "<" in entry)


@pytest.mark.parametrize("name", STAGES)
def test_every_metric_is_described(name: str, tmp_path: Path) -> None:
    prepare(tmp_path, [*demos(), *pairs(), *problems()])
    STAGES[name].run(context(tmp_path, "run", EVERY_STEP))
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert lines
    written = {key for line in lines for key in json.loads(line)}
    known = described()
    assert sorted(key for key in written if not is_described(key, known)) == []


def test_the_page_is_read_as_meant() -> None:
    known = described()
    assert {"loss", "reward", "reward/<source>", "grade_s"} <= known
    assert is_described("reward/any source", known)
    assert not is_described("rewards", known)
