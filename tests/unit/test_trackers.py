"""Trackers for real: event files, W&B's offline files and trackio's store are read back after a run that was interrupted."""

from __future__ import annotations

import importlib.util
import json
import os
import struct
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from training_runs import EVERY_STEP, STAGES, context, demos, prepare

from burnish.cli.main import main
from burnish.core.fingerprint import fingerprint
from burnish.errors import MissingExtra, RecipeError
from burnish.train.trackers import numbers_of, trackers

RECORDS: list[dict[str, Any]] = [
    {"step": step, "steps": 4, "loss": 1.0 / step, "mfu": None, "reward/gsm8k": 0.5 * step} for step in (1, 2, 3, 4)
]


def test_trackers_are_where_and_not_what() -> None:
    assert trackers("") == ()
    assert "track" not in json.dumps(fingerprint(STAGES["sft"]))
    with pytest.raises(RecipeError, match=r"'tensorbord' is no tracker. Did you mean 'tensorboard'\?"):
        trackers("tensorbord")


def test_names_stand_between_commas_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    assert trackers("tensorboard, wandb,wandb") == ("tensorboard", "wandb")


def test_a_tracker_that_is_not_installed_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'burnish\[wandb\]'"):
        trackers("wandb")


def test_the_command_line_refuses_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "tulu3_tiny", "--track", "wand"]) == 2
    assert "'wand' is no tracker" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_only_numbers_leave_the_run() -> None:
    record = {
        "step": 3,
        "steps": 9,
        "loss": 1,
        "lr": 0.5,
        "text": "a secret",
        "bad": float("nan"),
        "none": None,
        "yes": True,
    }
    assert numbers_of(record) == {"loss": 1.0, "lr": 0.5}


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """(name, step, value) of every scalar in a folder's event files, read from their bytes; a purge forgets what came before.

    An event file is a row of records: length, its checksum, an Event message, its checksum.
    """
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    found: list[tuple[str, int, float]] = []
    for path in sorted(folder.glob("events.*"), key=lambda path: path.stat().st_mtime_ns):
        raw, at = path.read_bytes(), 0
        while at < len(raw):
            (size,) = struct.unpack("<Q", raw[at : at + 8])
            event = Event.FromString(raw[at + 12 : at + 12 + size])
            at += 12 + size + 4
            if event.session_log.status == SessionLog.START:
                found = [one for one in found if one[1] < event.step]
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
    return found


def test_an_interrupted_run_has_one_curve_in_tensorboard(tmp_path: Path) -> None:
    """Steps 3 and 4 were shown before the kill and are taken again: each step stands once, with its second value."""
    pytest.importorskip("tensorboardX")
    from burnish.train.trackers import TensorBoard

    folder = tmp_path / "sft-1"
    first = TensorBoard(folder, [])
    for record in RECORDS:
        first.log(record["step"], {"loss": 9.0})
    first.close()
    second = TensorBoard(folder, RECORDS[:2])
    for record in RECORDS[2:]:
        second.log(record["step"], numbers_of(record))
    second.close()
    shown = {step: value for name, step, value in scalars(folder) if name == "loss"}
    assert shown == {step: pytest.approx(1 / step) for step in (1, 2, 3, 4)}
    assert sum(name == "loss" for name, _, _ in scalars(folder)) == 4
    assert {name for name, _, _ in scalars(folder)} == {"loss", "reward/gsm8k"}


def test_tensorboard_itself_reads_the_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    from burnish.train.trackers import TensorBoard

    for upto in (4, 2):
        writer = TensorBoard(tmp_path, RECORDS[:2] if upto == 2 else [])
        for record in RECORDS[4 - upto :]:
            writer.log(record["step"], numbers_of(record))
        writer.close()
    events = reader.EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.step for event in events.Scalars("loss")] == [1, 2, 3, 4]


def test_a_training_stage_shows_every_number_of_its_metrics(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    prepare(tmp_path, demos())
    stage = replace(STAGES["sft"], epochs=1)
    stage.run(replace(context(tmp_path, "sft-abc.partial", EVERY_STEP), track=("tensorboard",)))
    written = [json.loads(line) for line in (tmp_path / "sft-abc.partial" / "metrics.jsonl").read_text().splitlines()]
    want = {(name, record["step"]): value for record in written for name, value in numbers_of(record).items()}
    got = {(name, step): value for name, step, value in scalars(tmp_path / ".trackers" / "tensorboard" / "sft-abc")}
    assert got == {key: pytest.approx(value, rel=1e-6) for key, value in want.items()}
    assert len(written) > 1


def program(code: str, folder: Path, **environment: str) -> str:
    """What a program prints that runs in `folder` without any network: a socket to anywhere but this machine is an error."""
    guard = """
        import socket
        real = socket.socket.connect
        def connect(self, address):
            assert self.family == socket.AF_UNIX or str(address[0]).startswith("127.") or address[0] in ("localhost", "::1"), address
            return real(self, address)
        socket.socket.connect = connect
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(guard) + textwrap.dedent(code)], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(folder), "WANDB_API_KEY": "k" * 40, **environment},
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


TWO_SITTINGS = """
    from pathlib import Path
    from burnish.train.trackers import Trackio, WeightsAndBiases
    for steps in ((1, 2, 3), (3, 4)):
        run = {opened}
        for step in steps:
            run.log(step, {{"loss": 1 / step, "reward/gsm8k": 0.25}})
        run.close()
"""


@pytest.mark.slow
def test_weights_and_biases_runs_offline_and_holds_no_secret(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    assert program(TWO_SITTINGS.format(opened='WeightsAndBiases(Path("t"), "rl-abc")'), tmp_path) == ""
    runs = sorted((tmp_path / "t" / "wandb").glob("offline-run-*-rl-abc*"))
    files = [path for run in runs for path in run.rglob("*") if path.is_file()]
    stored = b"".join(path.read_bytes() for path in files if path.suffix == ".wandb")
    for word in (b"reward/gsm8k", b"loss", b"rl-abc"):
        assert word in stored
    everything = b"".join(path.read_bytes() for path in (tmp_path / "t").rglob("*") if path.is_file())
    assert b"kkkkkkkk" not in everything
    assert not any(path.name in ("requirements.txt", "wandb-metadata.json") for path in files)


@pytest.mark.slow
def test_trackio_goes_on_in_the_same_run(tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    store = {"TRACKIO_DIR": str(tmp_path / "store")}
    assert program(TWO_SITTINGS.format(opened='Trackio("rl-abc")'), tmp_path, **store) == ""
    read = """
        import json
        from trackio.sqlite_storage import SQLiteStorage
        runs = SQLiteStorage.get_run_records("burnish")
        logs = SQLiteStorage.get_logs("burnish", "rl-abc")
        print(json.dumps([[run["name"] for run in runs], [[row["step"], row["loss"]] for row in logs]]))
    """
    names, rows = json.loads(program(read, tmp_path, **store).splitlines()[-1])
    assert names == ["rl-abc"]
    assert [step for step, _ in rows] == [1, 2, 3, 3, 4]
    assert rows[-1][1] == pytest.approx(0.25)


def test_a_tracker_that_cannot_begin_says_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    code = """
        import os
        from pathlib import Path
        from burnish.errors import RecipeError
        from burnish.train.trackers import WeightsAndBiases
        try:
            WeightsAndBiases(Path("t"), "a/b:c")
        except RecipeError as error:
            print(error)
    """
    said = program(code, tmp_path)
    assert said.startswith("the tracker 'wandb' did not begin")
    assert "WANDB_MODE=offline" in said
