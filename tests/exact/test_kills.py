"""Killed at any moment, a training run ends with the bits of one that was not.

Twenty kills of each stage: in the middle of an accumulation, at an epoch's edge, between the two renames of a checkpoint, at any
time; with a checkpoint after every step, and with rarer ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kill_runs
import pytest
import torch
import training_runs
from safetensors.torch import load_file
from training_runs import EVERY_STEP, KILLED, context, demos, pairs, prepare, problems

TIMES = {"tokens_per_s", "wall_s", "rollout_s", "learn_s", "grade_s", "tflops", "mfu", "mfu_published"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, [*demos(), *pairs(), *problems()])
    return folder


def contents(out: Path) -> dict[str, Any]:
    """Everything in a stage's folder, without times; weights apart."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.name == "metrics.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{k: v for k, v in r.items() if k not in TIMES} for r in records]
        elif path.suffix == ".safetensors":
            found[name] = sorted(load_file(path))
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


@pytest.mark.parametrize("stage", KILLED)
def test_killed_anywhere_it_ends_with_the_same_bits(stage: str, root: Path) -> None:
    KILLED[stage].run(context(root, f"straight-{stage}", EVERY_STEP))
    for every_s, seed in ((0.0, 1), (0.15, 2)):
        out = f"killed-{stage}-{seed}"
        command = [sys.executable, kill_runs.__file__, str(root), stage, out, str(every_s), str(seed), "10"]
        paths = [str(Path(training_runs.__file__).parent), str(Path(training_runs.__file__).parents[1])]
        done = subprocess.run(
            command, env={"PATH": "", "PYTHONPATH": ":".join([*paths, *sys.path]), "TOKENIZERS_PARALLELISM": "false"},
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told = [json.loads(line) for line in done.stdout.splitlines()]
        assert sum(line["killed"] for line in told) == 10
        straight = root / f"straight-{stage}"
        for killed in sorted(root.glob(f"{out}-*")):
            assert contents(straight) == contents(killed), told
            for file in straight.rglob("*.safetensors"):
                weights, after = load_file(file), load_file(killed / file.relative_to(straight))
                assert all(torch.equal(weight, after[name]) for name, weight in weights.items()), told
