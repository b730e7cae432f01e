"""Comparing evaluation folders: entries by hand, what is refused, averages, the command, the stage."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.compare import evaluation
from burnish.cli.main import main
from burnish.core.files import read_json
from burnish.errors import ArtifactError, RecipeError
from burnish.eval.compare import Compare, against, averages, chain, compare, read
from burnish.eval.run import Evaluate
from burnish.eval.suites import SUITES
from burnish.eval.task import EvalTask
from burnish.eval.tasks.catalogue import find
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context, Stage
from tests.eval_folders import SETTINGS, record, write
from tests.unit.test_report import evaluation as artifact


def folder(path: Path, scores: Sequence[float | None], task: str = "sums", label: str = "", **fields: Any) -> Path:
    """An evaluation of one task with these scores; settings=… goes to the task."""
    settings = fields.pop("settings", None)
    lines = [record(task, i, score=score, **fields) for i, score in enumerate(scores)]
    return write(path, lines, label=label or path.name, settings=settings)


def test_by_hand(tmp_path: Path):
    """Before: 0 right of 12. After: four: difference 1/3, 4 gained 0 lost: p = 2/16."""
    a = folder(tmp_path / "before", [0.0] * 12)
    b = folder(tmp_path / "after", [1.0, 0.0, 0.0] * 4)
    (entry,) = compare(a, b)
    assert (entry["task"], entry["before"], entry["after"], entry["n"]) == ("sums", "before", "after", 12)
    assert (entry["score_before"], entry["score_after"]) == (0.0, pytest.approx(1 / 3))
    assert entry["difference"] == pytest.approx(1 / 3)
    assert (entry["p"], entry["test"]) == (pytest.approx(0.125), "mcnemar exact")
    assert entry["interval"][0] < 1 / 3 < entry["interval"][1]
    assert entry["gained"] == [record("sums", i)["id"] for i in (0, 3, 6, 9)]
    assert entry["lost"] == []
    (back,) = compare(b, a)
    assert back["difference"] == pytest.approx(-1 / 3)
    assert back["interval"] == pytest.approx([-entry["interval"][1], -entry["interval"][0]])
    assert (back["gained"], back["lost"]) == ([], entry["gained"])


def test_clusters_categories_and_repeats(tmp_path: Path):
    """Two passages of three questions, all gained: by passage 2 signs, p = 1/2. By category: 1 and 1/3, difference 2/3."""
    lines = [record("drop", i, cluster=f"passage {i // 3}", category="x" if i < 3 else "y") for i in range(6)]
    worse = [{**line, "score": 0.0} for line in lines]
    (entry,) = compare(write(tmp_path / "a", worse), write(tmp_path / "b", lines))
    assert (entry["p"], entry["clusters"], entry["n"]) == (0.5, 2, 6)
    part = [{**line, "score": float(i < 4)} for i, line in enumerate(lines)]
    settings = {"average": "categories"}
    (entry,) = compare(write(tmp_path / "c", worse, settings=settings), write(tmp_path / "d", part, settings=settings))
    assert entry["difference"] == pytest.approx(2 / 3)
    # A problem that stands twice counts twice and is one cluster.
    (twice,) = compare(
        write(tmp_path / "e", [*worse[:2], worse[0]]), write(tmp_path / "f", [lines[0], worse[1], lines[0]])
    )
    assert (twice["n"], twice["difference"], twice["clusters"]) == (3, pytest.approx(2 / 3), 1)


def test_samples_and_pass_at_k(tmp_path: Path):
    """Four samples, two right: mean 1/2 and pass@2 1 - C(2,2)/C(4,2) = 5/6. An ungraded sample is left out of both."""

    def lines(scores: Sequence[float | None]) -> list[dict[str, Any]]:
        return [record("code", 0, score=score, sample=i) for i, score in enumerate(scores)]

    for k, wanted in ((1, 0.5), (2, 5 / 6)):
        settings = {"samples": 4, "pass_at": k}
        a = write(tmp_path / f"a{k}", lines([0, 0, 0, None]), settings=settings)
        b = write(tmp_path / f"b{k}", lines([1, 0, 1, 0]), settings=settings)
        (entry,) = compare(a, b)
        assert (entry["n"], entry["difference"]) == (1, pytest.approx(wanted))
    none = write(tmp_path / "none", lines([1, None, None, None]), settings={"samples": 4, "pass_at": 2})
    assert compare(none, b) == []


def test_what_only_one_graded_is_left_out(tmp_path: Path):
    a = folder(tmp_path / "a", [None, *[1.0] * 11])
    b = folder(tmp_path / "b", [1.0] * 6, settings={"limit": 6})
    (entry,) = compare(a, b)
    assert (entry["n"], entry["left_out"], entry["differing"]) == (5, 7, [])
    assert compare(folder(tmp_path / "c", [None]), b) == []


def test_different_questions_are_refused(tmp_path: Path):
    a = folder(tmp_path / "a", [1.0] * 3)
    changed = SETTINGS["sampling"] | {"max_tokens": 9, "temperature": 0.5}
    b = folder(tmp_path / "b", [1.0] * 3, settings={"sampling": changed})
    with pytest.raises(ArtifactError) as told:
        compare(a, b)
    assert str(told.value) == (
        "task sums: a asked it with sampling.max_tokens 64 and b with 9 (1 more differ), so a difference could come from that and "
        "not from the model.\n  Evaluate both with the same task, or compare on purpose with --force."
    )
    (entry,) = compare(a, b, force=True)
    assert entry["differing"] == ["sampling.max_tokens", "sampling.temperature"]
    with pytest.raises(ArtifactError, match="no task in common"):
        compare(a, folder(tmp_path / "c", [1.0], task="other"))


def test_folders_that_are_none(tmp_path: Path):
    a = folder(tmp_path / "a", [1.0] * 3)
    with pytest.raises(ArtifactError, match=r"holds no scores.json, so it is not an evaluation"):
        read(tmp_path)
    (a / "scores.json").rename(a / "kept")
    with pytest.raises(ArtifactError, match=r"not a finished evaluation.\n  Run its command again"):
        read(a)
    (a / "kept").rename(a / "scores.json")
    (a / "samples.jsonl").write_text('{"task": "sums"}\n')
    with pytest.raises(ArtifactError, match="cannot be read together"):
        read(a)
    scores = read_json(a / "scores.json")
    (a / "scores.json").write_text(json.dumps({**scores, "format": 1}))
    with pytest.raises(ArtifactError, match="written by another version"):
        read(a)


def test_holm_over_a_suite_and_words(tmp_path: Path):
    """p 2/512 for one task and 1 for the other: Holm doubles the first. Nine changes of nine are enough to say so."""

    def both(name: str, score: float) -> Path:
        lines = [record("sums", i, score=score) for i in range(9)] + [record("words", i) for i in range(9)]
        return write(tmp_path / name, lines, label=name)

    found = against(both("old", 0.0), [both("new", 1.0)])
    first, second = found["comparisons"]
    assert (first["p"], first["p_holm"], second["p_holm"]) == (pytest.approx(2 / 512), pytest.approx(4 / 512), 1.0)
    assert first["words"].startswith("new is better than old by 100.0 points (p 0.0078); this test could see ")
    assert second["words"].startswith("no difference shown (p 1); this test could see 25.")
    (overall,) = found["averages"]
    assert (overall["name"], overall["tasks"], overall["n"]) == ("average of 2 tasks", ["sums", "words"], 18)
    assert overall["difference"] == pytest.approx(0.5)


def test_average_of_a_suite_is_the_mean_of_its_parts(tmp_path: Path):
    """Safety's six tasks count as one of twelve: gaining one of the six gains 1/72 of the average."""
    suite = SUITES["tulu3_dev"]

    def lines(score: float) -> list[dict[str, Any]]:
        return [record(task, i, score=score if task == "xstest" else 0.0) for task in suite.tasks for i in range(3)]

    a, b = read(write(tmp_path / "a", lines(0.0))), read(write(tmp_path / "b", lines(1.0)))
    found = {each["name"]: each for each in averages(a, b)}
    assert found["average of tulu3_dev"]["difference"] == pytest.approx(1 / 12 / 6)
    assert found[f"average of {len(suite.tasks)} tasks"]["difference"] == pytest.approx(1 / len(suite.tasks))


def test_several_models_against_one(tmp_path: Path):
    folders = [
        folder(tmp_path / name, [1.0] * right + [0.0] * (12 - right), label="m")
        for name, right in zip("abc", (0, 3, 8), strict=True)
    ]
    found = against(folders[0], folders[1:])
    assert [each["name"] for each in found["evaluations"]] == ["m (a)", "m (b)", "m (c)"]
    assert [(e["before"], e["after"]) for e in found["comparisons"]] == [("m (a)", "m (b)"), ("m (a)", "m (c)")]
    rounds = chain(folders)["comparisons"]
    assert [round(e["difference"] * 12) for e in rounds] == [3, 5, 8]
    assert rounds[2]["p_holm"] == pytest.approx(3 * rounds[2]["p"])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder(Path("runs/evals/eval-aaa1"), [0.0] * 12, label="old")
    folder(Path("runs/evals/eval-bbb2"), [1.0, 0.0] * 6, label="new")
    assert main(["eval", "compare", "eval-a", "runs/evals/eval-bbb2", "--page", "page.html"]) == 0
    said = capsys.readouterr().out
    assert "baseline  old  runs/evals/eval-aaa1" in said
    assert "sums  0.0  50.0  +50.0 [+" in said
    assert "sums: new is better than old by 50.0 points" in said
    assert Path("page.html").stat().st_size > 1000
    assert main(["eval", "compare", "eval-a", "eval-b", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"][0]["gained"] == [
        record("sums", i)["id"] for i in range(0, 12, 2)
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "names 0 evaluations"),
        (["eval-a"], "names 1 evaluations"),
        (["eval-a", "runs/evals/eval-a1"], "is named twice"),
        (["eval-", "eval-a"], "could mean 2 evaluations"),
        (["eval-a", "nowhere/at/all"], "there is no such folder"),
        (["eval-a", "runs"], "Evaluations near it" ),
        (["eval-a", "sft"], "no artifact 'sft' in runs"),
        (["eval-a", "eval-b", "--pages"], "'--pages' is not a flag here"),
        (["eval-a", "eval-b", "eval-c", "--page", "x.html"], "a page shows two evaluations"),
    ],
)  # fmt: skip
def test_command_refuses(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    folder(Path("runs/evals/eval-a1"), [0.0] * 3)
    folder(Path("runs/evals/eval-b1"), [1.0] * 3)
    if "eval-c" in words:
        shutil.copytree("runs/evals/eval-b1", "runs/evals/eval-c1")
    if words[-1:] == ["runs"]:
        shutil.copytree("runs/evals/eval-b1", "runs/eval-b1")
    assert main(["eval", "compare", *words]) == 2
    assert said in capsys.readouterr().err


def test_artifacts_are_spelled_as_for_show(tmp_path: Path):
    made = artifact(tmp_path, "end", 1.0, [("a", "x", 1.0)])
    assert evaluation("evaluate", tmp_path) == evaluation(str(made), tmp_path) == evaluation("eval", tmp_path) == made
    (made / "scores.json").unlink()
    with pytest.raises(ArtifactError, match=r"holds no scores.json, .*\n  It is unfinished"):
        evaluation("evaluate", tmp_path)


@dataclass(frozen=True)
class Given(Stage):
    """A stage that stands for a finished folder."""

    label: str

    @property
    def name(self) -> str:
        return self.label


def test_stage_pairs_successive_and_first_with_last(tmp_path: Path):
    stages = tuple(Given(name) for name in "abc")
    for name, right in zip("abc", (0, 3, 8), strict=True):
        folder(tmp_path / name, [1.0] * right + [0.0] * (12 - right))
    stage = Compare(stages)
    stage.check(None)
    (tmp_path / "out").mkdir()
    stage.run(
        Context(
            tmp_path / "out", exact(), lambda s: tmp_path / s.name, None, tmp_path, Console(io.StringIO(), quiet=True)
        )
    )
    entries = read_json(tmp_path / "out" / "comparisons.json")["comparisons"]
    assert [(e["before"], e["after"]) for e in entries] == [("a", "b"), ("b", "c"), ("a", "c")]
    with pytest.raises(RecipeError, match="has 1 evaluations"):
        Compare(stages[:1]).check(None)


def test_stage_needs_labels_that_differ():
    task: EvalTask = find("arithmetic")
    stages = (Evaluate(Given("sft"), (task,)), Evaluate(Given("sft"), (task,), seed=1))
    with pytest.raises(RecipeError, match="two evaluations are labelled 'sft'"):
        Compare(stages).check(None)
    Compare((stages[0], Evaluate(Given("sft"), (task,), label="again"))).check(None)
