"""The command line: help, flags, errors without tracebacks, output for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from recipe_runs import RECIPE, lines_in, start_run, until

from burnish.cli import HELP, main
from burnish.core.types import Check, Demo, Message, Problem, user

BROKEN = {
    "none.py": ("x = 1\n", "has no function `recipe`"),
    "syntax.py": ("def recipe(:\n", "syntax.py, line 1: invalid syntax"),
    "imports.py": ("import no_such_library\n", "cannot be loaded: No module named 'no_such_library'"),
    "number.py": ("def recipe(*, seed: int = 0): return seed\n", "returned a int, not a stage"),
    "stars.py": ("def recipe(**kwargs): ...\n", r"recipe(**kwargs) cannot be given as a flag"),
    "taken.py": ("def recipe(*, runs: int = 0): ...\n", "'runs' has the name of a flag of burnish itself"),
}


def call(capsys: Any, *words: str) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(RECIPE)]) == 0
    return tmp_path / "runs"


def test_help_is_short_and_names_every_command(capsys: Any) -> None:
    for words in ((), ("--help",), ("-h",)):
        assert call(capsys, *words) == (0, HELP + "\n", "")
    assert len(HELP.splitlines()) < 24
    assert max(map(len, HELP.splitlines())) <= 80
    for command in ("plan", "run", "report", "show", "diff", "trace", "eval", "grade", "generate", "chat"):
        assert f"burnish {command} " in HELP
        with pytest.raises(SystemExit) as end:
            main([command, "--help"])
        assert end.value.code == 0
        assert "usage: burnish " + command in capsys.readouterr().out
    assert call(capsys, "--version")[0] == 0


def test_a_recipe_shows_its_own_flags(capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(["run", str(RECIPE), "--help"])
    text = capsys.readouterr().out
    assert "the first number. (default: 1)" in text
    assert "Counting as a recipe." in text
    assert "--rebuild" in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("rnu",), "burnish rnu: no such command. Did you mean 'run'? Known: chat, data, decontaminate, diff, eval"),
        (("run",), "burnish run needs a recipe first:  burnish run RECIPE.py [flags]"),
        (("run", "--seed", "1", str(RECIPE)), "needs a recipe first"),
        (("run", str(RECIPE), "--sed", "1"), "'--sed' is not a flag here. Did you mean '--seed'? Known: --cache, --data"),
        (("run", str(RECIPE), "--naps=1"), "'--naps' is not a flag here. Did you mean '--nap-s'?"),
        (("plan", str(RECIPE), "4"), "'4' is not a flag here. Flags begin with --"),
        (("plan", str(RECIPE), "--rebuild", "x"), "'--rebuild' is not a flag here"),
        (("plan", "countin"), "countin: no such recipe file. Did you mean 'counting'? Known: counting, other."),
        (("plan", "far/countin.py"), "far/countin.py: no such recipe file"),
        (("run", str(RECIPE), "--machine", "latop"), "no such machine. Did you mean 'laptop'?"),
        (("run", str(RECIPE), "--data", "nowhere"), "DataError: --data nowhere: no such folder."),
        (("run", str(RECIPE), "--until", "frist"), "Did you mean 'first'?"),
        (("run", str(RECIPE), "--seed", "-1"), "RecipeError: base.value=-1 is negative.\n  Use 0 or more."),
        (("show", "sft@12"), "ArtifactError: no artifact 'sft@12' in runs. Known: none."),
        (("diff", "a", "b"), "no artifact 'a' in runs"),
        (("trace", "0123456789abcdef"), "row '0123456789abcdef' is in no artifact under runs."),
        (("report", str(RECIPE)), "the report needs 3 stages that are not finished: base (new), first (new), second (new)."),
        (("eval", "toy", "--tasks", "gsm9k"), "Did you mean 'gsm8k'"),
        (("grade", "gsm9k", "x.jsonl"), "Did you mean 'gsm8k'"),
    ],
)  # fmt: skip
def test_mistakes_are_one_message_on_stderr(
    words: tuple[str, ...], text: str, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("burnish.pipeline.recipe.SHIPPED", tmp_path / "shipped")
    (tmp_path / "recipes").mkdir()
    (tmp_path / "shipped").mkdir()
    (tmp_path / "recipes" / "counting.py").write_text("")
    (tmp_path / "shipped" / "other.py").write_text("")
    code, out, err = call(capsys, *words)
    assert (code, out) == (2, "")
    assert text in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", BROKEN)
def test_recipe_files_that_cannot_be_used(name: str, capsys: Any, tmp_path: Path) -> None:
    source, text = BROKEN[name]
    (tmp_path / name).write_text(source)
    code, _, err = call(capsys, "plan", tmp_path / name)
    assert code == 2
    assert text in err


def test_a_recipe_is_found_by_name_and_may_import_its_neighbours(
    capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "counting_neighbour.py").write_text(RECIPE.read_text())
    (tmp_path / "recipes" / "mine.py").write_text("from counting_neighbour import recipe\n")
    for spelling in ("mine", "mine.py", "recipes/mine.py"):
        code, out, _ = call(capsys, "plan", spelling, "--json")
        assert code == 0
        assert [s["name"] for s in json.loads(out)["stages"]] == ["base", "first", "second", "page"]
    # The stage's own process finds the neighbour too.
    assert call(capsys, "run", "mine")[0] == 0


def test_run_ends_with_the_report_and_the_second_time_says_so(store: Path, capsys: Any) -> None:
    capsys.readouterr()
    code, out, err = call(capsys, "run", RECIPE)
    page = next(Path("runs").glob("page-*")) / "report.html"
    assert (code, err) == (0, "Nothing to run: all 4 stages are finished (0 s recorded).\n")
    assert out.splitlines()[-1].endswith(str(page))
    code, out, _ = call(capsys, "run", RECIPE, "--json")
    assert json.loads(out)["report"].endswith("report.html")
    assert call(capsys, "run", RECIPE, "--until", "base")[1].startswith("Result: ")


def test_plan_show_diff_and_report(store: Path, capsys: Any) -> None:
    capsys.readouterr()
    code, out, _ = call(capsys, "plan", RECIPE, "--peak", "3e-5")
    assert code == 0
    assert "rate.peak 1e-05 → 3e-05" in out
    data = json.loads(call(capsys, "plan", RECIPE, "--peak", "3e-5", "--json")[1])
    assert [s["state"] for s in data["stages"]] == ["cached", "run", "run", "run"]
    assert data["stages"][1]["changes"] == [{"path": "rate.peak", "old": "1e-05", "new": "3e-05"}]
    assert "rate = Rate(peak=1e-05, warmup=0.03)" in call(capsys, "show", "first")[1]
    assert json.loads(call(capsys, "show", "first", "--json")[1])["name"] == "first"
    assert "label 'first' → 'second'" in call(capsys, "diff", "first", "second")[1]
    assert json.loads(call(capsys, "diff", "first", "second", "--json")[1])["fields"]
    page = next(store.glob("page-*"))
    for file in page.iterdir():
        file.unlink()
    page.rmdir()
    code, out, _ = call(capsys, "report", RECIPE)
    assert code == 0
    assert (page / "report.html").exists()
    assert call(capsys, "report", RECIPE, "--steps", "9")[0] == 2


def test_a_cached_run_is_quick_and_loads_nothing_heavy(store: Path) -> None:
    code = (
        "import sys; from burnish.cli import main\n"
        f"assert main(['run', {str(RECIPE)!r}, '--runs', {str(store)!r}]) == 0\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert time.monotonic() - start < 10.0


def test_ctrl_c_in_this_process_says_how_to_go_on(tmp_path: Path) -> None:
    import signal

    one = start_run(tmp_path / "runs", "--steps", "3000", "--nap-s", "0.01")
    until(lambda: lines_in(tmp_path / "runs", "first") > 2)
    one.send_signal(signal.SIGINT)
    out, err = one.communicate()
    assert (one.returncode, out) == (130, "")
    assert err.splitlines()[-1].startswith("Stopped. What is finished is kept; go on with:  burnish run ")


def test_a_reader_that_has_enough_is_no_error(store: Path) -> None:
    words = [sys.executable, "-m", "burnish.cli", "show", "first", "--runs", str(store)]
    done = subprocess.run(
        f"{' '.join(words)} | true; echo ${{PIPESTATUS[0]}}", shell=True, executable="/bin/bash", capture_output=True, text=True, check=True
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.stdout.strip() in ("0", "141")


def test_trace_finds_a_row_wherever_it_went(tmp_path: Path, capsys: Any) -> None:
    from burnish.core.files import JsonlLog, write_json
    from burnish.data.dataset import Dropped, write_dataset

    problem = Problem(user("2 + 2?"), Check("gsm8k", "4"), source="sums", licence="CC0-1.0")
    demo = Demo((*user("2 + 2?"), Message("assistant", "4")), source="sums", lineage=(f"problem:{problem.id}",))
    gone = Demo((*user("say"), Message("assistant", "no")), source="web")

    def artifact(name: str, inputs: dict[str, str], finished: str) -> Path:
        folder = tmp_path / f"{name}-0123456789ab"
        record = {"name": name, "fingerprint": "0123456789ab", "inputs": inputs, "cost": {}}
        record |= {"stage": {"class": "a:B", "version": 1, "fields": {}}, "provenance": {"finished_utc": finished}}
        write_json(folder / "artifact.json", record)
        return folder

    data = artifact("data", {}, "2026-01-01T00:00:00Z")
    dropped = Dropped(gone, "NotEmpty", "too short", span="no")
    write_dataset(data, [problem, demo], card={}, dropped=[dropped])
    rl = artifact("rl", {"data": "0123456789ab"}, "2026-01-02T00:00:00Z")
    log = JsonlLog(rl / "rollouts.jsonl")
    log.append({"step": 7, "problem": {"id": problem.id}, "completion": {"text": "four"}, "score": 0.0})
    log.append({"step": 8, "problem": {"id": demo.id}, "completion": {"text": problem.id}, "score": 0.0})
    log.close()

    code, out, err = call(capsys, "trace", problem.id, "--runs", tmp_path)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"row {problem.id}",
        "  kept    data-0123456789ab",
        "          problem from sums, licence CC0-1.0",
        "          went into rl-0123456789ab",
        "  child   data-0123456789ab",
        f"          1 row made from it, first {demo.id}",
        "          went into rl-0123456789ab",
        "  log     rl-0123456789ab",
        "          rollouts.jsonl: 1 line",
        '          line 1: step 7, score 0.0, "four"',
    ]
    out = call(capsys, "trace", gone.id, "--runs", tmp_path)[1]
    assert "dropped by NotEmpty: too short, span 'no'" in out
    found = json.loads(call(capsys, "trace", demo.id, "--runs", tmp_path, "--json")[1])
    assert [one["kind"] for one in found] == ["kept", "log"]
    assert found[0]["facts"][1] == f"made from problem:{problem.id}"
