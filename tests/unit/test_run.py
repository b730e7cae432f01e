"""Running recipes: real processes, killed, crashed, raced, over the toy stages of counting.py."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from recipe_runs import (
    Base,
    Count,
    counting,
    lines_in,
    make,
    pretend_hours,
    start_run,
    until,
)

from burnish.core.files import read_json, write_json
from burnish.core.fingerprint import fingerprint
from burnish.errors import ArtifactError, MissingExtra, RecipeError, TrainingError
from burnish.pipeline.cost import Account, Cost
from burnish.pipeline.plan import plan
from burnish.pipeline.stage import folder_name
from burnish.pipeline.store import Artifact, Store
from burnish.pipeline.worker import report


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    make(counting.recipe(), runs, own_process=True)
    before = {f: f.stat().st_mtime_ns for f in runs.rglob("*")}
    make(counting.recipe(), runs, own_process=True)
    assert {f: f.stat().st_mtime_ns for f in runs.rglob("*")} == before


def test_until_makes_only_what_is_needed(tmp_path: Path) -> None:
    assert make(counting.recipe(), tmp_path, until="first").name.startswith("first-")
    assert sorted(a.name for a in Store(tmp_path).artifacts()) == ["base", "first"]
    with pytest.raises(RecipeError, match=r"--until frist: no such stage\. Did you mean 'first'"):
        make(counting.recipe(), tmp_path, until="frist")
    with pytest.raises(RecipeError, match=r"--rebuild secnd: no such stage\. Did you mean 'second'"):
        make(counting.recipe(), tmp_path, rebuild=("secnd",))


def test_recorded_hours_are_guarded(tmp_path: Path) -> None:
    make(counting.recipe(), tmp_path)
    old = Store(tmp_path).find("first")
    pretend_hours(old.folder, 9 * 3600 + 12 * 60)
    new = counting.recipe(peak=2e-5)
    mark = fingerprint(new.parts[1])
    with pytest.raises(ArtifactError) as caught:
        make(new, tmp_path)
    assert str(caught.value) == (
        f"'first' would be rebuilt: 9 h 12 min of recorded compute (first-{old.fingerprint} → first-{mark}).\n"
        "  Changed: rate.peak 1e-05 → 2e-05.\n"
        "  Go ahead with the same command and  --rebuild first  (or --yes for all), or put the old values back to use what is there."
    )
    with pytest.raises(ArtifactError):
        make(new, tmp_path, rebuild=("second",))
    make(new, tmp_path, rebuild=("first",))
    make(counting.recipe(peak=3e-5), tmp_path, yes=True)
    # What is in a .partial folder was agreed to when it began.
    begun = counting.recipe(peak=4e-5)
    Store(tmp_path).begin(begun.parts[1])
    make(begun, tmp_path)
    pretend_hours(old.folder, 500.0)
    make(counting.recipe(peak=5e-5), tmp_path)


def test_errors_of_a_stage_in_its_own_process_come_back_as_their_text(tmp_path: Path, capfd: Any) -> None:
    with pytest.raises(TrainingError) as caught:
        make(counting.recipe(fail="error"), tmp_path, own_process=True)
    assert str(caught.value) == "step 5: the loss is not finite.\n  Lower rate.peak."
    assert "Traceback" not in capfd.readouterr().err
    with pytest.raises(
        TrainingError, match=r"stage 'second' stopped with an unexpected exception \(its traceback is above\)"
    ):
        make(counting.recipe(fail="bug"), tmp_path, own_process=True)
    assert "ZeroDivisionError: a bug in a stage" in capfd.readouterr().err


def test_a_full_disk_is_named_whoever_met_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path("/dev/full").exists():
        with pytest.raises(ArtifactError, match=r"count-\w+\.partial is full; nothing finished was lost"):
            make(Count(Base(), fail="full"), tmp_path)
    # A library's own exception while the disk has less than this many bytes left.
    monkeypatch.setattr("burnish.pipeline.run._FULL_BYTES", 1 << 62)
    with pytest.raises(ArtifactError, match="is full; nothing finished was lost"):
        make(Count(Base(), fail="bug"), tmp_path, own_process=True)


def test_an_error_with_a_constructor_of_its_own_comes_back(tmp_path: Path) -> None:
    from burnish.pipeline.run import _error

    reading, writing = os.pipe()
    missing = MissingExtra("the report", "matplotlib", "report")
    assert report(writing, "MissingExtra", str(missing)) == 2
    back = _error(json.loads(os.read(reading, 1 << 16)))
    assert (type(back), str(back)) == (MissingExtra, str(missing))
    os.close(reading)
    os.close(writing)


def test_a_crash_names_the_stage_the_signal_and_the_way_on(tmp_path: Path) -> None:
    root = counting.recipe(fail="kill")
    with pytest.raises(TrainingError) as caught:
        make(root, tmp_path, own_process=True)
    text = str(caught.value)
    assert "stage 'second' was ended by SIGKILL; its memory peaked at 0.0 GiB" in text
    assert "running out of memory" in text
    assert "run the same command again and it goes on from there" in text
    partial = Store(tmp_path).partial(root.parts[2])
    assert partial.is_dir()
    assert not Store(tmp_path).complete(root.parts[2])
    with pytest.raises(TrainingError):
        make(root, tmp_path, own_process=True)
    assert Cost.of_partial(partial).sessions == 2


def test_work_that_only_lacks_its_renaming_is_not_done_again(tmp_path: Path) -> None:
    stage = Count(Base(), fail="error")
    make(Base(), tmp_path)
    store = Store(tmp_path)
    partial = store.begin(stage)
    write_json(partial / "artifact.json", {"name": "count"})
    assert make(stage, tmp_path) == store.folder(stage)


def test_costs_of_sessions_add_up(tmp_path: Path) -> None:
    write_json(tmp_path / "cost.json", {"wall_s": 100.0, "cpu_s": 50.0, "peak_rss_bytes": 1 << 50, "sessions": 2})
    with Account(tmp_path) as account:
        assert Cost.of_partial(tmp_path).sessions == 3
        sum(i * i for i in range(300_000))
    total = account.total
    assert total.sessions == 3
    assert 100.0 < total.wall_s < 110.0
    assert 50.0 < total.cpu_s < 60.0
    assert total.peak_rss_bytes == 1 << 50
    (tmp_path / "cost.json").write_text("")
    assert Cost.of_partial(tmp_path) == Cost()


def test_killed_at_random_moments_it_resumes_to_the_same_end(tmp_path: Path) -> None:
    runs, moments = tmp_path / "runs", random.Random(3)
    flags = ("--steps", "60", "--nap-s", "0.004")
    partial = runs / f"{folder_name(counting.recipe(steps=60, nap_s=0.004).parts[1])}.partial"
    for _ in range(6):
        one = start_run(runs, *flags)
        # First over its start-up, then a random moment of the work: two stages of a quarter of a second each.
        until(partial.exists if not Store(runs).artifacts("first") else lambda: True)
        time.sleep(moments.random() * 0.6)
        one.kill()
        one.communicate()
        for folder in runs.iterdir():
            if not folder.name.endswith(".partial") and not folder.name.startswith("."):
                assert Artifact.open(folder).name in folder.name
    last = start_run(runs, *flags)
    _, err = last.communicate()
    assert last.returncode == 0, err
    assert read_json(next(runs.glob("page-*")) / "numbers.json") == [1, 61, 121]
    for label in ("first", "second"):
        log = [json.loads(line) for line in (Store(runs).find(label).folder / "log.jsonl").read_text().splitlines()]
        assert [r["step"] for r in log] == list(range(1, 61))
    assert not list(runs.glob("*.partial"))


def test_two_runs_over_one_store_do_no_harm(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    flags = ("--steps", "100", "--nap-s", "0.02")
    first = start_run(runs, *flags)
    until(lambda: lines_in(runs, "first") > 2)
    second = start_run(runs, *flags)
    _, err = second.communicate()
    assert second.returncode == 2, err
    assert f"is being made by another run: process {first.pid} on " in err
    _, err = first.communicate()
    assert first.returncode == 0, err
    assert read_json(next(runs.glob("page-*")) / "numbers.json") == [1, 101, 201]


def test_runs_at_once_leave_one_whole_store(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    many = [start_run(runs, "--steps", "3") for _ in range(4)]
    ends = [(*one.communicate(), one.returncode) for one in many]
    assert {code for _, _, code in ends} <= {0, 2}
    assert all("being made by another run" in err for _, err, code in ends if code == 2)
    last = start_run(runs, "--steps", "3")
    assert (last.communicate(), last.returncode)[1] == 0
    assert sorted(a.name for a in Store(runs).artifacts()) == ["base", "first", "page", "second"]
    assert read_json(next(runs.glob("page-*")) / "numbers.json") == [1, 4, 7]


def child_of(pid: int) -> int:
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == pid:
            return int(status.parent.name)
    return 0


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_no_child_outlives_its_run(tmp_path: Path, number: signal.Signals, code: int) -> None:
    runs = tmp_path / "runs"
    one = start_run(runs, "--steps", "3000", "--nap-s", "0.01")
    until(lambda: lines_in(runs, "first") > 2)
    child = child_of(one.pid)
    assert child
    one.send_signal(number)
    _, err = one.communicate()
    assert one.returncode == code
    until(lambda: gone(child), 5.0)
    if number != signal.SIGKILL:
        assert "Traceback" not in err
        assert "Stopped. What is finished is kept; go on with:  burnish run " in err
        assert "--steps 3000" in err
    again = plan(counting.recipe(steps=3000, nap_s=0.01), runs=runs).steps[1]
    assert again.state == "partial"
    assert again.cost.sessions == 1
    assert again.why.startswith("new; goes on (")
