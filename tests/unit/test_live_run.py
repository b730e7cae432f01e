"""`burnish run` on a terminal: the panel that a stage's own process draws, and what it leaves for the other views."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from terminals import terminal

RECIPE = Path(__file__).parents[1] / "rl_recipe.py"


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "colour"), [(60, True), (110, False)])
def test_a_run_shows_its_panel_and_can_be_looked_at(tmp_path: Path, columns: int, colour: bool) -> None:
    words = [
        sys.executable,
        "-m",
        "burnish.cli",
        "run",
        str(RECIPE),
        "--runs",
        str(tmp_path / "runs"),
        "--machine",
        "exact",
    ]
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm-256color", "XDG_CACHE_HOME": str(tmp_path)}
    usual = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | (
        {} if colour else {"NO_COLOR": "1"}
    )
    with terminal(columns) as screen:
        done = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=screen.stream, env=usual | own, text=True)
        began = time.monotonic()
        while done.poll() is None and time.monotonic() - began < 200:
            time.sleep(0.1)
            screen.read()
        said, _ = done.communicate()
        shown = screen.read().splitlines()
    assert done.returncode == 0, "\n".join(shown)
    assert said.startswith("Result: ")
    (bar,) = [i for i, line in enumerate(shown) if "6/6 steps" in line]
    lines = list(itertools.takewhile(lambda line: not line.startswith("  rl:"), shown[bar:]))
    panel = "\n".join(lines[1:])
    for part in (
        "reward   ",
        "s0 ",
        "s1 ",
        "passed ",
        "informative ",
        "length ",
        "kl ",
        "entropy ",
        "clipped ",
        "tokens/s",
        "rollout ",
        "grading ",
        "learning ",
    ):
        assert part in panel, panel
    assert max(map(len, lines)) < columns
    assert ("\x1b[1m" in screen.written) is colour
    command = [sys.executable, "-m", "burnish.cli"]
    for more, part in (
        (["watch", "rl"], "6/6 steps  finished"),
        (["show", "rl", "--rollouts", "--verifier", "letters", "--sort", "best", "--limit", "2"], "rl-"),
        (["show", "rl", "--page", str(tmp_path / "p.html")], "p.html"),
    ):
        found = subprocess.run(
            [*command, *more, "--runs", str(tmp_path / "runs")], capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr
        assert part in found.stdout
