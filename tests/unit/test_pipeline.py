"""The store, plan, run and worker, driven by real processes over the toy stages of counting.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from recipe_runs import (
    QUIET,
    RECIPE,
    Base,
    Count,
    Page,
    Rate,
    counting,
    make,
)

from burnish.core.files import read_json, write_json
from burnish.core.fingerprint import encode, fingerprint
from burnish.errors import ArtifactError, DataError, RecipeError
from burnish.pipeline import lock as lock_module
from burnish.pipeline.changes import changes_of, spelled
from burnish.pipeline.compare import compare, described
from burnish.pipeline.lock import Owner, lock
from burnish.pipeline.machine import exact, laptop, machine
from burnish.pipeline.plan import plan
from burnish.pipeline.progress import duration
from burnish.pipeline.stage import folder_name, inputs, ordered
from burnish.pipeline.store import Artifact, Store
from burnish.pipeline.worker import execute

# ---- stages as values


def test_stages_come_in_order_and_once() -> None:
    base = Base(1)
    first = Count(base)
    assert [s.name for s in ordered(Page((first, Count(first, 2), base, Base(1))))] == [
        "base",
        "count",
        "count",
        "page",
    ]
    assert list(inputs(Page((base, Base(1), first)))) == [base, first]


def test_stages_that_python_calls_equal_are_two() -> None:
    whole, real = Count(Base(), rate=Rate(1)), Count(Base(), rate=Rate(1.0))
    assert whole == real
    assert len(ordered(Page((whole, real)))) == 4


def test_a_name_that_cannot_be_a_folder_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"stage name '\.\./x' cannot name a folder"):
        folder_name(Count(Base(), label="../x"))
    with pytest.raises(RecipeError, match=r"count\.rate: a builtin_function_or_method"):
        folder_name(Count(Base(), rate=len))


def test_machines() -> None:
    assert laptop().threads >= 1
    assert exact().environment()["OMP_NUM_THREADS"] == "1"
    with pytest.raises(RecipeError, match=r"--machine labtop: no such machine\. Did you mean 'laptop'"):
        machine("labtop")


# ---- the store


def test_an_artifact_records_what_made_it(tmp_path: Path) -> None:
    root = counting.recipe(seed=3)
    folder = make(root, tmp_path / "runs", own_process=True)
    assert read_json(folder / "numbers.json") == [3, 8, 13]
    second = Store(tmp_path / "runs").find("second")
    stage = root.parts[2]
    assert (second.name, second.fingerprint) == ("second", fingerprint(stage))
    assert second.stage == encode(stage)
    assert second.inputs == {"first": fingerprint(root.parts[1])}
    assert second.input_folders() == {"first": Store(tmp_path / "runs").folder(root.parts[1])}
    assert {"burnish", "python", "platform", "machine", "finished_utc"} <= set(second.provenance)
    assert second.cost.sessions == 1
    assert 1 << 20 < second.cost.peak_rss_bytes < 1 << 31
    assert sorted(f.name for f in second.folder.iterdir()) == ["artifact.json", "log.jsonl", "number.txt"]


def test_two_inputs_of_one_name_keep_both_fingerprints(tmp_path: Path) -> None:
    a, b = Count(Base(), 2), Count(Base(), 3)
    page = Artifact.open(make(Page((a, b)), tmp_path / "runs"))
    assert page.inputs == {folder_name(a): fingerprint(a), folder_name(b): fingerprint(b)}
    assert all(folder.is_dir() for folder in page.input_folders().values())


def test_find_understands_every_spelling(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    make(counting.recipe(), runs)
    store, first = Store(runs), Store(runs).find("first")
    mark = first.fingerprint
    for spelling in (f"first@{mark[:4]}", f"first-{mark}", f"first-{mark[:3]}", "fir", mark[:6], str(first.folder)):
        assert store.find(spelling).folder == first.folder
    make(counting.recipe(peak=2e-5), runs)
    with pytest.raises(ArtifactError, match=r"'first' could mean 2 artifacts.*\n  first-.*finished 20"):
        store.find("first")
    with pytest.raises(ArtifactError, match=r"no artifact 'secnd'.*Did you mean 'second'"):
        store.find("secnd")
    (runs / "third-0123456789ab.partial").mkdir()
    with pytest.raises(ArtifactError, match=r"third' is unfinished.*\n.*goes on from there"):
        store.find("third")
    (runs / "alien-0123456789ab").mkdir()
    with pytest.raises(ArtifactError, match="is not a burnish artifact"):
        Artifact.open(runs / "alien-0123456789ab")
    with pytest.raises(ArtifactError, match="has not been made"):
        store.path_of(Base(77))
    assert len(store.artifacts()) == 7


READ_ONLY = """
import os, sys
from pathlib import Path
from burnish.cli import main
import burnish.pipeline.run, burnish.pipeline.machine, burnish.pipeline.recipe
burnish.pipeline.recipe.load_module(Path(sys.argv[1]))
main(["plan", *sys.argv[1:2], "--runs", sys.argv[2]])
os.chmod(sys.argv[2], 0o555)
if os.getuid() == 0: os.setuid(65534)
sys.exit(main(["run", *sys.argv[1:2], "--runs", sys.argv[2]]))
"""


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    # Folders above may be closed to the user that the test becomes; then the message names the same remedy.
    runs = tmp_path / "runs"
    runs.mkdir()
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", READ_ONLY, str(RECIPE), str(runs)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written (Permission denied)" in done.stderr
    assert "--runs DIR" in done.stderr
    assert "Traceback" not in done.stderr


# ---- locks


def test_a_live_owner_is_named_with_its_age(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock(path, "sft-12"), pytest.raises(ArtifactError) as caught, lock(path, "sft-12"):
        pass
    text = str(caught.value)
    assert f"sft-12 is being made by another run: process {os.getpid()} on " in text
    assert "since 0 s" in text
    assert f"kill {os.getpid()}" in text
    assert "--runs DIR" in text
    with lock(path, "sft-12"):
        pass


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = f"import time; from pathlib import Path; from burnish.pipeline.lock import lock\nwith lock(Path({str(path)!r}), 'x'): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert holder.stdout
    holder.stdout.readline()
    with pytest.raises(ArtifactError, match=f"process {holder.pid}"), lock(path, "x"):
        pass
    holder.kill()
    holder.communicate()
    assert json.loads(path.read_text())["pid"] == holder.pid
    with lock(path, "x"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert path.read_text() == ""


def test_the_lock_of_another_computer_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": time.time() - 7200}))
    with (
        pytest.raises(ArtifactError, match=r"process 1 on elsewhere, since 2 h 00 min.*\n.*delete .*lock"),
        lock(path, "x"),
    ):
        pass
    path.write_text("{half")
    with lock(path, "x"):
        pass


def test_an_orphan_that_still_writes_keeps_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lock"
    monkeypatch.setattr(lock_module, "WAIT_S", 0.3)
    with lock(path, "x") as handle:
        child = subprocess.Popen(["sleep", "30"], pass_fds=(handle,))
    with pytest.raises(ArtifactError, match="being made by another run"), lock(path, "x"):
        pass
    child.kill()
    child.wait()
    with lock(path, "x"):
        pass


def test_owners_that_live_or_not() -> None:
    host = Owner(0, "", 0.0)
    assert host.alive()  # another computer: nobody can tell
    dead = subprocess.Popen(["true"])
    dead.wait()
    import socket

    assert not Owner(dead.pid, socket.gethostname(), 0.0).alive()
    assert Owner(1, socket.gethostname(), 0.0).alive()


# ---- plan


def test_plan_reasons(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    assert [s.why for s in plan(counting.recipe(), runs=runs).steps] == ["new"] * 4
    make(counting.recipe(), runs)
    assert {s.state for s in plan(counting.recipe(), runs=runs).steps} == {"cached"}
    steps = {s.name: s for s in plan(counting.recipe(peak=2e-5, steps=6), runs=runs).steps}
    assert steps["base"].state == "cached"
    assert steps["first"].why == "rate.peak 1e-05 → 2e-05, steps 5 → 6"
    assert steps["second"].why == "steps 5 → 6, input first changed"
    assert steps["page"].why == "input first changed, input second changed"
    assert steps["first"].headline == {"steps": 6, "peak": 2e-5}


def test_plan_sees_versions_and_not_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    make(Count(Base(1, where="here")), runs)
    assert plan(Count(Base(1, where="there")), runs=runs).to_run == ()
    made = Store(runs).find("base")
    assert [str(c) for c in changes_of(Base(2, where="there"), made.stage, made.inputs)] == ["value 1 → 2"]
    monkeypatch.setattr(Count, "VERSION", 2)
    assert [s.why for s in plan(Count(Base(1)), runs=runs).to_run] == ["version 1 → 2"]


def test_plan_compares_with_the_artifact_most_like_it_and_never_with_its_own_recipe(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for steps, nap_s in ((2, 0.0), (3, 0.001), (4, 0.002)):
        make(Count(Base(), steps, nap_s=nap_s), runs)
    assert plan(Count(Base(), 2, nap_s=0.001), runs=runs).steps[-1].why in ("nap_s 0.0 → 0.001", "steps 3 → 2")
    assert plan(Count(Base(), 2, Rate(2.0)), runs=runs).steps[-1].why == "rate.peak 1e-05 → 2.0"
    both = Page((Count(Base(), 2), Count(Base(), 9)))
    assert next(s.why for s in plan(both, runs=runs).to_run).startswith("nap_s")
    make(Page((Count(Base(), 2),)), tmp_path / "other")
    assert next(s.why for s in plan(both, runs=tmp_path / "other").to_run) == "new"


def test_plan_collects_all_complaints(tmp_path: Path) -> None:
    root = Page((Base(-1), Count(Base(-2), fail="data"), Count(Base(-1), 9, fail="data")))
    with pytest.raises(RecipeError) as caught:
        plan(root, runs=tmp_path)
    assert str(caught.value) == (
        "3 things in this recipe cannot work:\n"
        "- base.value=-1 is negative.\n  Use 0 or more.\n"
        "- base.value=-2 is negative.\n  Use 0 or more.\n"
        "- count: numbers/train.jsonl is not there.\n  Give its folder with --data DIR."
    )
    with pytest.raises(DataError, match=r"^count: numbers"):
        plan(Count(Base(), fail="data"), runs=tmp_path)
    with pytest.raises(DataError):
        make(Count(Base(), fail="data"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_finished_stage_needs_its_data_no_more(tmp_path: Path) -> None:
    make(Count(Base(), fail="data"), tmp_path / "runs", data=tmp_path)
    assert plan(Count(Base(), fail="data"), runs=tmp_path / "runs").to_run == ()


def test_plan_as_text_and_json(tmp_path: Path) -> None:
    make(Base(), tmp_path)
    found = plan(Count(Base(), 1200, nap_s=0.5), runs=tmp_path)
    base, count = (s.fingerprint for s in found.steps)
    assert found.text() == (
        "stage  artifact              why\n"
        f"base   {base}  cached  0 s recorded\n"
        f"count  {count}  run     new\n"
        "    steps 1,200 · peak 1e-05\n"
        "\n"
        "1 of 2 stages would run; 1 finished (0 s recorded)."
    )
    data = json.loads(json.dumps(found.to_json()))
    assert data["to_run"] == 1
    assert data["stages"][1]["inputs"] == [f"base-{base}"]
    assert data["stages"][1]["cost"] is None


# ---- two artifacts side by side


def test_compare_and_describe(tmp_path: Path) -> None:
    make(Count(Base(1), 2, label="eval"), tmp_path)
    make(Count(Base(2), 3, label="eval"), tmp_path)
    b, a = Store(tmp_path).artifacts("eval")
    for artifact, rows, score in ((a, 10, 0.5), (b, 12, 0.75)):
        card = {"rows": rows, "by_source": [{"source": "s", "rows_kept": rows}], "dropped": {"too long": 3}}
        write_json(artifact.folder / "card.json", card)
        task = {"task": "gsm8k", "score": score, "standard_error": 0.05, "n": 100}
        write_json(artifact.folder / "scores.json", {"tasks": [task]})
    found = compare(a, b)
    assert found.text().splitlines() == [
        f"{a.folder.name} → {b.folder.name}", "",
        "fields", "  start.value 1 → 2", "  steps 2 → 3", "",
        "inputs", f"  base {fingerprint(Base(1))} → {fingerprint(Base(2))}", "",
        "rows", "  rows 10 → 12", "  rows from s 10 → 12", "",
        "scores", "  gsm8k 0.500 ± 0.050 (n 100) → 0.750 ± 0.050 (n 100)",
    ]  # fmt: skip
    assert found.to_json()["fields"][0] == {"path": "start.value", "a": "1", "b": "2"}
    assert compare(a, a).text().endswith("No difference.")
    text = described(a)
    assert "steps = 2" in text
    assert "too long  3" in text
    assert "gsm8k  0.500 ± 0.050 (n 100)" in text


def test_values_are_spelled_as_in_the_recipe() -> None:
    value = ((1.5, None, True), {"a": Rate(1e-5)}, "x")
    assert spelled(encode(value)) == "((1.5, None, True), {'a': Rate(peak=1e-05, warmup=0.03)}, 'x')"
    assert spelled(encode(("a" * 200,)), 10) == "('aaaaaaa…"
    assert spelled(encode((1,))) == "(1,)"


def test_durations() -> None:
    assert [duration(s) for s in (7.6, 200, 33120)] == ["8 s", "3 min 20 s", "9 h 12 min"]


def test_execute_alone_leaves_a_partial_folder(tmp_path: Path) -> None:
    from burnish.pipeline.worker import Place, done

    store = Store(tmp_path)
    execute(Base(5), Place(tmp_path, exact(), None, tmp_path, QUIET))
    assert done(store.partial(Base(5)))
    assert not store.complete(Base(5))
