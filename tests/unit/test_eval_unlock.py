"""The lock on unseen tasks: no look without a reason, every look in a chained log that outlives evaluations."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from burnish.cli.main import main
from burnish.errors import ArtifactError, RecipeError
from burnish.eval.models import Asking, evaluate_models
from burnish.eval.run import Evaluate
from burnish.eval.tables import table
from burnish.eval.task import EvalTask
from burnish.eval.tasks import arithmetic
from burnish.eval.unlock import LOG, START, TICKET, Look, check_unlocked, log_of, missing_from, read_log, record, times
from burnish.model.base import BaseModel
from burnish.pipeline.machine import exact
from burnish.pipeline.plan import check_all
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import folder_name, ordered
from burnish.report.eval_page import write_page
from burnish.report.looks import look_notes
from burnish.rollout.engine import Sampling

SEEN = replace(arithmetic.task(n=3), sampling=Sampling(temperature=0.0, max_tokens=4))
LOCKED = replace(SEEN, name="secret", unseen=True)
OTHER = replace(SEEN, name="other", unseen=True)


def look(tmp_path: Path, name: str, *tasks: EvalTask, reason: str = "final") -> Look:
    """One evaluation's look, in a folder of its own below `tmp_path`."""
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    found = record(
        tasks or (LOCKED,), {"secret": 3, "other": 5}, reason=reason, model="toy", folder=folder, log=tmp_path / LOG
    )
    assert found is not None
    return found


def test_seen_tasks_need_nothing_and_leave_no_trace(tmp_path: Path):
    check_unlocked([SEEN], "")
    assert record([SEEN], {"arithmetic": 3}, reason="", model="m", folder=tmp_path, log=tmp_path / LOG) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_an_unseen_task_needs_a_reason(reason: str, tmp_path: Path):
    with pytest.raises(RecipeError) as caught:
        check_unlocked([SEEN, OTHER, LOCKED], reason)
    assert str(caught.value) == (
        "tasks: other, secret belong to an unseen suite, and no reason to look is given. Looking while choices are "
        "still made fits them to the test that should judge them.\n"
        '  Develop on tulu3_dev. For a final look say why: --unlock "why", or Evaluate(..., unlock="why") in a recipe. '
        "The look is counted and logged."
    )
    check_unlocked([LOCKED], "the release is chosen")
    with pytest.raises(RecipeError, match="secret belongs to an unseen suite, asked never so far"):
        record([LOCKED], {}, reason=reason, model="m", folder=tmp_path, log=tmp_path / LOG)
    assert not (tmp_path / LOG).exists()
    look(tmp_path, "eval-1")
    with pytest.raises(RecipeError, match="asked once so far"):
        check_unlocked([LOCKED], reason, tmp_path / LOG)


def test_looks_are_counted_task_by_task(tmp_path: Path):
    first = look(tmp_path, "eval-1")
    second = look(tmp_path, "eval-2", LOCKED, OTHER, SEEN)
    third = look(tmp_path, "eval-3", OTHER, reason=" again ")
    assert (first.counts, second.counts, third.counts) == ({"secret": 1}, {"other": 1, "secret": 2}, {"other": 2})
    assert (second.asked, third.reason, third.model) == ({"other": 5, "secret": 3}, "again", "toy")
    log = read_log(tmp_path / LOG)
    assert (log.damage, len(log.looks), log.head) == ("", 3, third.hash)
    assert [log.times(name) for name in ("secret", "other", "arithmetic")] == [2, 2, 0]
    assert [times(n) for n in (0, 1, 2)] == ["never", "once", "2 times"]
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["before"] for line in lines] == [START, first.hash, second.hash]
    assert first.time <= second.time <= third.time


def test_an_interrupted_evaluation_is_one_look_and_a_deleted_one_counts_again(tmp_path: Path):
    first = look(tmp_path, "eval-1")
    assert look(tmp_path, "eval-1") == first
    assert len(read_log(tmp_path / LOG).looks) == 1
    (tmp_path / "eval-1" / TICKET).unlink()
    (tmp_path / "eval-1").rmdir()
    assert look(tmp_path, "eval-1").counts == {"secret": 2}
    assert look(tmp_path, "eval-1", LOCKED, OTHER).counts == {"other": 1, "secret": 3}


def test_a_copied_ticket_opens_nothing_in_another_log(tmp_path: Path):
    mine, yours = tmp_path / "a", tmp_path / "b"
    mine.mkdir()
    yours.mkdir()
    look(mine, "eval-1")
    (yours / "eval-1").mkdir()
    (yours / "eval-1" / TICKET).write_bytes((mine / "eval-1" / TICKET).read_bytes())
    assert look(yours, "eval-1").counts == {"secret": 1}
    assert len(read_log(yours / LOG).looks) == 1


def test_every_kind_of_tampering_is_seen(tmp_path: Path):
    for number in range(4):
        look(tmp_path, f"eval-{number}")
    log = tmp_path / LOG
    lines = log.read_text().splitlines(keepends=True)

    def damage(*changed: str) -> str:
        log.write_text("".join(changed))
        return read_log(log).damage

    assert damage(*lines) == ""
    assert damage(lines[0].replace("final", "finaL"), *lines[1:]).startswith("line 1 does not follow")
    assert damage(lines[0], *lines[2:]).startswith("line 2 does not follow")
    assert damage(lines[0], lines[2], lines[1], lines[3]).startswith("line 2 does not follow")
    assert damage(*lines[:2], lines[1], *lines[2:]).startswith("line 3 does not follow")
    assert damage(lines[0], "no JSON\n", *lines[1:]) == "line 2 cannot be read."
    assert damage(lines[0], "[]\n", *lines[1:]) == "line 2 cannot be read."
    assert damage("\n", *lines) == "line 1 cannot be read."


def test_lines_cut_from_the_end_are_missed_by_the_evaluations_that_made_them(tmp_path: Path):
    look(tmp_path, "eval-1")
    look(tmp_path, "eval-2")
    log = tmp_path / LOG
    assert missing_from(read_log(log), tmp_path / "eval-2") == ""
    log.write_text(log.read_text().splitlines(keepends=True)[0])
    assert read_log(log).damage == ""
    assert "lines were taken from it" in missing_from(read_log(log), tmp_path / "eval-2")
    assert missing_from(read_log(log), tmp_path / "eval-1") == ""
    assert missing_from(read_log(log), tmp_path) == ""


def test_a_rewritten_chain_is_seen_by_the_evaluations(tmp_path: Path):
    """Somebody who computes all hashes anew cannot reach the evaluations' own copies as well."""
    look(tmp_path, "eval-1")
    old = read_log(tmp_path / LOG).head
    (tmp_path / LOG).unlink()
    (tmp_path / "forged").mkdir()
    record([LOCKED], {"secret": 3}, reason="nicer", model="toy", folder=tmp_path / "forged", log=tmp_path / LOG)
    assert read_log(tmp_path / LOG).head != old
    assert "lines were taken" in missing_from(read_log(tmp_path / LOG), tmp_path / "eval-1")


def test_a_damaged_log_takes_no_more_looks(tmp_path: Path):
    look(tmp_path, "eval-1")
    log = tmp_path / LOG
    log.write_text(log.read_text().replace("toy", "boy"))
    before = log.read_bytes()
    with pytest.raises(
        ArtifactError, match=r"unseen.jsonl: line 1 .*\n  Restore the file .* move it to unseen.jsonl.damaged"
    ):
        look(tmp_path, "eval-2")
    assert log.read_bytes() == before
    assert not (tmp_path / "eval-2" / TICKET).exists()


def test_a_line_that_a_kill_cut_short_is_no_look(tmp_path: Path):
    look(tmp_path, "eval-1")
    log = tmp_path / LOG
    whole = log.read_bytes()
    log.write_bytes(whole + b'{"number": 2, "ti')
    assert read_log(log).damage == ""
    assert look(tmp_path, "eval-2").number == 2
    assert log.read_bytes().startswith(whole)
    assert read_log(log).damage == ""


def test_a_look_without_a_folder_always_counts(tmp_path: Path):
    for count in (1, 2):
        found = record([LOCKED], {"secret": 3}, reason="r", model="replies", folder=None, log=tmp_path / LOG)
        assert found is not None
        assert (found.counts, found.evaluation) == ({"secret": count}, "")
    assert [path.name for path in tmp_path.iterdir()] == [LOG]


def test_other_replies_in_the_same_folder_are_another_look(tmp_path: Path):
    look(tmp_path, "eval-1")
    again = record([LOCKED], {"secret": 3}, reason="r", model="other", folder=tmp_path / "eval-1", log=tmp_path / LOG)
    assert again is not None
    assert again.counts == {"secret": 2}


def test_grading_replies_to_an_unseen_task_is_a_look(
    tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]
):
    """Whoever made the replies: a score is what the lock keeps back. MMLU-Pro's answers are missing here, so nothing is seen."""
    (tmp_path / "r.jsonl").write_text('{"id": "1", "response": "B"}\n')
    words = ["grade", "mmlu_pro", str(tmp_path / "r.jsonl"), "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
    assert main(words) == 2
    assert "mmlu_pro belongs to an unseen suite, asked never so far" in capsys.readouterr().err
    assert main([*words, "--unlock", "the release is chosen"]) == 2
    assert "mmlu_pro" in capsys.readouterr().err
    assert not (tmp_path / "runs" / LOG).exists()


def test_a_recipe_without_an_unlock_fails_at_plan_time(tmp_path: Path):
    """Evaluate's own check; with a reason, the stage is the same stage: a reason decides no result."""
    stage = Evaluate(BaseModel("toy"), (SEEN, LOCKED))
    with pytest.raises(RecipeError, match="secret belongs to an unseen suite"):
        check_all(ordered(stage), None)
    reason = replace(stage, unlock="the recipe is final")
    check_all(ordered(reason), None)
    assert folder_name(reason) == folder_name(stage)


def test_asking_an_unseen_task_of_a_model(tmp_path: Path):
    """Refused without a reason before anything is loaded; counted with one; answered from the folder without a new look; the
    ceiling shows no model's score and needs none."""
    asking = Asking(exact(), tmp_path / "evals", log=tmp_path / LOG)
    console = Console(io.StringIO())
    with pytest.raises(RecipeError, match="secret belongs to an unseen suite, asked never so far"):
        evaluate_models(["toy"], [LOCKED], asking, console)
    assert not (tmp_path / "evals").exists()
    evaluate_models([], [LOCKED], replace(asking, engine="gold"), console)
    assert read_log(tmp_path / LOG).looks == ()
    open_now = replace(asking, unlock="the release is chosen")
    (scores,) = evaluate_models(["toy"], [LOCKED], open_now, console)
    evaluate_models(["toy"], [LOCKED], open_now, console)
    (first,) = read_log(tmp_path / LOG).looks
    assert (first.asked, first.reason) == ({"secret": 3}, "the release is chosen")
    assert log_of(Path(scores["folder"])) == tmp_path / LOG
    assert "secret is unseen: asked once." in table([Path(scores["folder"])]).replace("\\", "")
    (again,) = evaluate_models(["toy"], [LOCKED], replace(open_now, seed=1), console)
    assert read_log(tmp_path / LOG).times("secret") == 2
    day = read_log(tmp_path / LOG).looks[1].time[:10]
    note = f"secret is an unseen test, asked here for the 2nd time ({day}: the release is chosen)."
    assert look_notes(Path(again["folder"])) == [note]
    assert note in write_page(Path(again["folder"])).read_text()


def test_reports_count_in_words(tmp_path: Path):
    spoken = []
    for number in (1, 2, 3, 4, 11, 12, 13, 21, 102, 111):
        tasks = {"secret": {"problems": 3, "count": number}}
        (tmp_path / TICKET).write_text(json.dumps({"time": "2026-01-01T00:00:00+00:00", "reason": "r", "tasks": tasks}))
        (note,) = look_notes(tmp_path)
        spoken.append(note.split("for the ")[1].split(" time")[0])
    assert spoken == ["1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"]
    assert look_notes(tmp_path / "elsewhere") == []


def test_the_log_is_found_beside_the_runs(tmp_path: Path):
    recipe, command = tmp_path / "runs" / "eval-sft-1", tmp_path / "runs" / "evals" / "eval-2"
    recipe.mkdir(parents=True)
    command.mkdir(parents=True)
    assert log_of(recipe) is None
    record([LOCKED], {"secret": 1}, reason="r", model="m", folder=recipe, log=tmp_path / "runs" / LOG)
    assert log_of(recipe) == log_of(command) == tmp_path / "runs" / LOG


def test_many_processes_write_one_chain(tmp_path: Path):
    """Four processes, five looks each: twenty lines, in one chain."""
    code = (
        "import sys; from dataclasses import replace; from pathlib import Path\n"
        "from burnish.eval.tasks import arithmetic; from burnish.eval.unlock import LOG, record\n"
        "task, runs = replace(arithmetic.task(n=3), name='secret', unseen=True), Path(sys.argv[1])\n"
        "for i in range(5): record([task], {}, reason='r', model='m', folder=None, log=runs / LOG)\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0, 0]
    log = read_log(tmp_path / LOG)
    assert (log.damage, len(log.looks), log.times("secret")) == ("", 20, 20)
    assert [each.counts["secret"] for each in log.looks] == list(range(1, 21))
