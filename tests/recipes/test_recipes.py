"""Recipes through the command line: run, run again, run elsewhere, and be killed at random moments."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = Path(__file__).with_name("small_recipe.py")
# What a run writes about itself (times, memory, process ids) differs from run to run; everything else may not.
ABOUT_THE_RUN = {"artifact.json", "timings.json", "report.html", "report.json", "summary.txt"}
TIMES = {"wall_s", "tokens_per_s", "rollout_s", "learn_s", "grade_s", "seconds", "tflops", "mfu"}


def burnish(*args: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "burnish.cli", *args], capture_output=True, text=True, timeout=timeout, check=False
    )


def contents(runs: Path) -> dict[str, str]:
    """The hash of every file that decides or records a result, without the times in it."""
    found: dict[str, str] = {}
    for path in sorted(runs.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(runs).parts)
        if hidden or not path.is_file() or path.name in ABOUT_THE_RUN:
            continue
        data = path.read_bytes()
        if path.name == "metrics.jsonl":
            rows = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in data.splitlines()]
            data = json.dumps(rows).encode()
        found[str(path.relative_to(runs))] = hashlib.sha256(data).hexdigest()
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of the small recipe."""
    runs = tmp_path_factory.mktemp("small") / "runs"
    done = burnish("run", str(SMALL), "--runs", str(runs), "--machine", "exact")
    assert done.returncode == 0, done.stderr
    return runs


@pytest.mark.slow
def test_a_run_leaves_only_whole_artifacts_and_a_report(finished: Path) -> None:
    names = sorted(path.name.rpartition("-")[0] for path in finished.glob("[a-z]*"))
    assert names == [
        "base",
        "compare",
        "demos",
        "dpo",
        "eval-base",
        "eval-rl",
        "eval-sft",
        "orders",
        "prefer",
        "report",
        "rl",
        "sft",
    ]
    assert not list(finished.glob("*.partial"))
    page = next(finished.glob("report-*")) / "report.html"
    assert "RLVR" in page.read_text()


@pytest.mark.slow
def test_running_again_does_nothing_and_says_so(finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    done = burnish("run", str(SMALL), "--runs", str(finished), "--machine", "exact")
    assert done.returncode == 0
    assert "report.html" in done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


@pytest.mark.slow
def test_the_same_seed_gives_the_same_contents(finished: Path, tmp_path: Path) -> None:
    done = burnish("run", str(SMALL), "--runs", str(tmp_path / "runs"), "--machine", "exact")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "runs") == contents(finished)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_twenty_random_moments_it_ends_the_same(finished: Path, tmp_path: Path) -> None:
    """SIGKILL to the whole process group, again and again; then one run to the end."""
    runs, chance = tmp_path / "runs", random.Random(0)
    command = [sys.executable, "-m", "burnish.cli", "run", str(SMALL), "--runs", str(runs), "--machine", "exact"]
    killed = 0
    while killed < 20:
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + chance.uniform(2.0, 12.0)
        while run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if run.poll() is not None:
            break  # it finished between kills: nothing is left to interrupt
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        killed += 1
        whole = [path for path in runs.glob("*-????????????") if path.is_dir()]
        assert all((path / "artifact.json").exists() for path in whole)
    done = burnish("run", str(SMALL), "--runs", str(runs), "--machine", "exact")
    assert done.returncode == 0, done.stderr
    assert killed >= 5
    assert contents(runs) == contents(finished)


@pytest.mark.slow
def test_the_demo_recipe_runs_on_the_toy_model(tmp_path: Path) -> None:
    done = burnish(
        "run", str(ROOT / "recipes" / "tulu3_tiny.py"), "--base", "toy", "--scale", "0.01", "--runs", str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    summary = (next(tmp_path.glob("report-*")) / "summary.txt").read_text()
    assert "arithmetic" in summary
    assert "instructions" in summary
