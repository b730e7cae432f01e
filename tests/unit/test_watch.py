"""`burnish watch`: a run that goes on, finishes, is interrupted or torn, on a terminal and on a pipe."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rl_folders import write
from terminals import terminal

from burnish.cli.main import main
from burnish.cli.watch import watch
from burnish.errors import ArtifactError
from burnish.pipeline.progress import Console
from burnish.pipeline.store import Store


def step(number: int, steps: int = 4) -> dict[str, Any]:
    return {
        "step": number, "steps": steps, "loss": 0.5 / number, "reward": number / 10, "reward/sums": number / 10, "lr": 1e-5,
        "tokens_per_s": 100.0, "rollout_s": 2.0, "grade_s": 0.5, "learn_s": 2.0, "wall_s": 4.0 * number,
    }  # fmt: skip


def run(tmp_path: Path, name: str, steps: int) -> Path:
    return write(tmp_path / "runs" / name, [], metrics=[step(i) for i in range(1, steps + 1)])


def test_a_finished_run_on_a_pipe_is_its_steps_and_a_view(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "rl-0123456789ab", 4)
    assert main(["watch", "rl", "--runs", str(tmp_path / "runs")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "  rl: 1/4 steps  loss 0.5000  reward 0.100  lr 1.0e-05  100 tokens/s"
    assert lines[3].startswith("  rl: 4/4 steps")
    assert lines[4] == f"  rl {'━' * 24} 4/4 steps  finished"
    assert "\x1b" not in "".join(lines)
    assert any("rollout 38%  grading 12%  learning 50%" in line for line in lines)


def test_once_is_the_view_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path, "rl-0123456789ab.partial", 3)
    (folder / "rollouts.running.jsonl").write_text("{}\n{}\n")
    assert main(["watch", "rl", "--runs", str(tmp_path / "runs"), "--once"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"  rl {'━' * 18}{'╌' * 6} 3/4 steps  4 s left, 2 replies on their way"
    assert shown[1].startswith("  reward   0.300")


def test_a_run_that_is_silent_says_for_how_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path, "rl-0123456789ab.partial", 2)
    then = time.time() - 7200
    os.utime(folder / "metrics.jsonl", (then, then))
    main(["watch", "rl", "--runs", str(tmp_path / "runs"), "--once"])
    assert "nothing new for 2 h 00 min" in capsys.readouterr().out


def test_a_run_is_followed_until_its_folder_is_finished(tmp_path: Path) -> None:
    """Another thread adds steps, goes back to a checkpoint as a resumed run does, and gives the folder its name."""
    partial = run(tmp_path, "rl-0123456789ab.partial", 1)

    def goes_on() -> None:
        time.sleep(0.3)
        lines = (partial / "metrics.jsonl").read_text()
        (partial / "metrics.jsonl").write_text(lines + json.dumps(step(2)) + "\n" + json.dumps(step(3))[:20])
        time.sleep(0.3)
        (partial / "metrics.jsonl").write_text("".join(json.dumps(step(i) | {"loss": 7.0}) + "\n" for i in range(1, 5)))
        time.sleep(0.3)
        partial.rename(partial.with_name("rl-0123456789ab"))

    other = threading.Thread(target=goes_on)
    said = io.StringIO()
    other.start()
    assert watch(partial, 0.05, False, Console(said)) == 0
    other.join()
    lines = said.getvalue().splitlines()
    assert [line.split()[1] for line in lines if " steps  loss" in line] == ["1/4", "2/4", "1/4", "2/4", "3/4", "4/4"]
    assert "  rl: going on from an earlier step" in lines
    assert any("finished" in line for line in lines)


def test_a_terminal_holds_one_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    folder = run(tmp_path, "rl-0123456789ab", 4)
    for columns in (60, 120):
        with terminal(columns) as screen:
            assert watch(folder, 0.05, False, Console(screen.stream)) == 0
            shown = screen.read().splitlines()
        assert shown[0].endswith("4/4 steps  finished")
        assert sum("tokens/s" in line for line in shown) == 1
        assert max(map(len, shown)) < columns


def test_what_does_not_train_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "eval-0123456789ab", 0)
    command = ["watch", "--runs", str(tmp_path / "runs")]
    assert main([*command, "eval"]) == 2
    assert "no training to watch" in capsys.readouterr().err
    assert main([*command, "evil"]) == 2
    assert "no artifact 'evil'" in capsys.readouterr().err
    assert main([*command, "eval", "--every", "0"]) == 2
    assert "--every 0" in capsys.readouterr().err


def test_folders_are_found_finished_or_not(tmp_path: Path) -> None:
    done, begun = run(tmp_path, "rl-0123456789ab", 1), run(tmp_path, "rl-aaaa56789abc.partial", 1)
    store = Store(tmp_path / "runs")
    assert store.folder_of("rl") == done
    assert store.folder_of("rl@aaaa") == begun
    assert store.folder_of("rl-aaaa56789abc.partial") == begun
    assert store.folder_of(str(begun)) == begun
    with pytest.raises(ArtifactError, match="no artifact"):
        store.folder_of("sft")


def test_watching_needs_no_torch() -> None:
    import subprocess

    code = "import sys, burnish.cli, burnish.cli.watch, burnish.train.panel, burnish.train.log, burnish.train.trackers; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


junk = (
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4) | st.lists(st.integers(), max_size=2)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(
    st.lists(st.dictionaries(st.sampled_from([*step(1), "probe/x"]), junk, max_size=5), max_size=4),
    st.binary(max_size=30),
)
def test_no_file_breaks_the_view(tmp_path: Path, broken: list[dict[str, Any]], torn: bytes) -> None:
    folder = tmp_path / "rl-0123456789ab"
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(step(1)), *(json.dumps(step(2) | each) for each in broken)]
    (folder / "metrics.jsonl").write_bytes("\n".join(lines).encode() + b"\n" + torn)
    assert watch(folder, 0.05, False, Console(io.StringIO())) == 0
    assert watch(folder, 0.05, True, Console(io.StringIO())) == 0
