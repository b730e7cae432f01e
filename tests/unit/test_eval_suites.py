"""Suites: the paper's averages from its own rows, what names stand for, what is missing, and fixed samples."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from burnish.cli.main import main
from burnish.core.types import Check, Problem, Row, user
from burnish.errors import DataError, MissingData, RecipeError
from burnish.eval import paper
from burnish.eval.listing import listing, protocol, text
from burnish.eval.paper import (
    BREAKDOWN,
    DEVELOPMENT,
    MISPRINTS,
    SAFETY,
    TABLE_2,
    TABLE_4,
    TABLE_5,
    TABLE_6,
    TABLE_31,
    TABLE_33,
    UNSEEN,
)
from burnish.eval.sampled import Sampled
from burnish.eval.suites import (
    QUICK,
    SUITES,
    Part,
    Suite,
    average,
    average_lines,
    choose,
    expand,
    find,
    half_width,
    members,
    names,
    score_of,
)
from burnish.eval.tasks import catalogue

TABLES = (*TABLE_6, *TABLE_5, *TABLE_2, *TABLE_4, *TABLE_33, *TABLE_31, *BREAKDOWN)


def row(
    task: str, score: float | None, error: float = 0.01, n: int = 100, ungraded: int = 0, cut: float = 0.0
) -> dict[str, Any]:
    bounds = None if score is None else [score - 2 * error, score + 2 * error]
    return {
        "task": task, "metric": "accuracy", "n": n, "score": score, "standard_error": None if score is None else error,
        "interval": bounds, "ungraded": ungraded, "cut_share": cut, "settings": {"limit": None}, "published": [],
    }  # fmt: skip


def rows_of(suite: Suite, column: paper.Column) -> list[dict[str, Any]]:
    """What a model with exactly the paper's scores would have measured."""
    six = paper.breakdown(column)
    return [
        row(task, (six.get(SAFETY[place], column.scores["Safety"]) if part.row == "Safety" else column.scores[part.row]) / 100)
        for part in suite.parts for place, task in enumerate(part.tasks)
    ]  # fmt: skip


@pytest.mark.parametrize("column", TABLES, ids=lambda column: f"{column.table} {column.model}")
def test_a_printed_average_is_the_plain_mean_of_its_rows(column: paper.Column):
    """Table 6, last column: (68.2 + 29.1 + 55.0 + 69.0 + 62.6 + 43.7 + 87.6 + 83.9 + 79.2 + 82.4 + 34.5 + 85.5) / 12 = 65.06."""
    mean = sum(column.scores.values()) / len(column.scores)
    printed = MISPRINTS.get((column.table, column.model), column.average)
    assert abs(mean - printed) <= 0.05 + 1e-9
    if (column.table, column.model) in MISPRINTS:
        assert abs(mean - column.average) > 0.5


def test_the_405b_column_without_safety():
    """The other average that table 4 prints: nine rows, safety left out."""
    printed = (78.1, 74.4, 79.0, 80.5, 76.3, 79.0, 80.0)
    rows = [name for name in TABLE_4[0].scores if name != "Safety"]
    for column, value in zip(TABLE_4, printed, strict=True):
        assert abs(sum(column.scores[name] for name in rows) / 9 - value) <= 0.05 + 1e-9


@pytest.mark.parametrize(("model", "printed"), [("Tülu 3 8B SFT", 0.606), ("Tülu 3 8B DPO", 0.647), ("Tülu 3 8B", 0.651), ("Tülu 3 70B", 0.762)])  # fmt: skip
def test_our_average_of_the_papers_scores_is_the_papers(model: str, printed: float):
    """Safety enters as the mean of its six sets, and counts once."""
    suite = SUITES["tulu3_dev"]
    column = next(column for column in (*TABLE_6, *TABLE_5) if column.model == model)
    found = average(rows_of(suite, column), suite)
    assert (found.whole, found.title, found.over) == (True, "Average", DEVELOPMENT)
    assert found.score == pytest.approx(printed, abs=0.00051)


@pytest.mark.parametrize(("model", "printed"), [("Tülu 3 8B", 0.342), ("Hermes 3 8B", 0.307), ("Tülu 3 70B", 0.472)])
def test_our_unseen_average_is_the_papers(model: str, printed: float):
    """8B: (35.7 + 44.3 + 59.3 + 35.4 + 7.4 + 24.3 + 32.7) / 7 = 34.16."""
    suite = SUITES["tulu3_unseen"]
    column = next(column for column in TABLE_33 if column.model == model)
    found = average(rows_of(suite, column), suite)
    assert (found.whole, found.over) == (True, UNSEEN)
    assert found.score == pytest.approx(printed, abs=0.00051)


def test_suites_stand_beside_the_papers_rows():
    assert tuple(part.row for part in SUITES["tulu3_dev"].parts) == DEVELOPMENT
    assert tuple(part.row for part in SUITES["tulu3_unseen"].parts) == UNSEEN
    assert tuple(part.row for part in SUITES["safety"].parts) == SAFETY
    assert [len(part.tasks) for part in SUITES["tulu3_dev"].parts] == [1] * 11 + [6]
    assert [len(SUITES[name].tasks) for name in ("tulu3_dev_olmes", "tulu3_unseen_olmes")] == [11, 5]


def test_every_task_of_a_suite_exists_under_its_own_name():
    known = names()
    for suite in SUITES.values():
        assert set(suite.tasks) <= known, suite.name
        assert len({part.name for part in suite.parts}) == len(suite.parts)
    for name in QUICK:
        assert find(name).name == name
    for name in (*SUITES["tulu3_unseen"].tasks, *SUITES["tulu3_unseen_olmes"].tasks):
        if name in catalogue.TASKS:
            assert find(name).unseen, f"{name} would be asked without an unlock"


def test_an_average_over_parts_is_never_called_the_average():
    """(0.4 + 0.6) / 2 = 0.5, error sqrt(0.03² + 0.04²) / 2 = 0.025."""
    suite = Suite("s", "S", (Part("A", ("a",)), Part("B", ("b",)), Part("C", ("c", "d"))))
    found = average([row("a", 0.4, 0.03), row("b", 0.6, 0.04), row("c", 0.9)], suite)
    assert found.title == "Average of 2 of 3 (missing: C)"
    assert not found.whole
    assert found.score == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(0.025)
    assert found.missing == {"C": "1 of 2 (d) not measured"}


def test_what_could_not_be_graded_is_missing_and_no_zero():
    suite = Suite("s", "S", (Part("A", ("a",)), Part("B", ("b",))))
    found = average([row("a", 0.4), row("b", None, n=0, ungraded=30)], suite)
    assert found.score == pytest.approx(0.4)
    assert found.missing == {"B": "b: none of 30 problems could be graded"}
    nothing = average([], suite)
    assert (nothing.score, nothing.standard_error, nothing.interval, nothing.over) == (None, None, None, ())


def test_a_limit_is_not_the_average_either():
    suite = Suite("s", "S", (Part("A", ("a",)), Part("B", ("b",))))
    found = average([row("a", 0.4), {**row("b", 0.6), "settings": {"limit": 5}}], suite)
    assert (found.title, found.whole, found.limited) == ("Average, first problems only", False, ("B",))


def test_everything_right_does_not_make_an_average_certain():
    """Both parts all right, Wilson's intervals from 0.6 and 0.8 to 1: sqrt(0.2² + 0.1²) / 2 = 0.112 below and above."""
    suite = Suite("s", "S", (Part("A", ("a",)), Part("B", ("b",))))
    rows = [{**row("a", 1.0, 0.0), "interval": [0.6, 1.0]}, {**row("b", 1.0, 0.0), "interval": [0.8, 1.0]}]
    found = average(rows, suite)
    assert (found.score, found.standard_error) == (1.0, 0.0)
    assert found.interval == (pytest.approx(1 - math.hypot(0.2, 0.1) / 2), 1.0)


def test_an_averages_line():
    """Three of 0.4 and three of 0.6 with errors of 0.01 each: 1.96 * sqrt(6) * 0.01 / 6 = 0.8 points."""
    rows = [row(task, 0.4 if i % 2 else 0.6, 0.01) for i, task in enumerate(SUITES["safety_rules"].tasks)]
    (line,) = average_lines(["arithmetic", "safety_rules", "safety_rules", "quick"], rows)
    assert line == "safety_rules: Average 50.0  95 % 49.2 to 50.8"


def test_parts_that_grade_the_same_replies_err_together():
    """Errors 0.03 and 0.04 of one group and 0.12 alone: sqrt(0.07² + 0.12²) / 3 = 0.0463, not sqrt(0.03² + 0.04² + 0.12²) / 3."""
    parts = (Part("A", ("a",)), Part("B", ("b",)), Part("C", ("c",)))
    rows = [row("a", 0.5, 0.03), row("b", 0.5, 0.04), row("c", 0.5, 0.12)]
    together = average(rows, Suite("s", "S", parts, (("A", "B"),)))
    assert together.standard_error == pytest.approx(math.hypot(0.07, 0.12) / 3)
    apart = average(rows, Suite("s", "S", parts))
    assert apart.standard_error == pytest.approx(0.13 / 3)


def test_a_part_of_several_tasks_is_their_plain_mean():
    """(0.2 + 0.8) / 2, error sqrt(0.01² + 0.01²) / 2; 30 of 300 and 10 of 100 replies cut are 40 of 400."""
    found = score_of(
        Part("P", ("a", "b")),
        {"a": row("a", 0.2, n=290, ungraded=10, cut=0.1), "b": row("b", 0.8, n=100, cut=0.1)},
    )
    assert not isinstance(found, str)
    assert (found.score, found.n, found.ungraded) == (pytest.approx(0.5), 390, 10)
    assert found.standard_error == pytest.approx(math.sqrt(2) * 0.01 / 2)
    assert found.cut_share == pytest.approx(0.1)


def test_names_expand_in_order_and_once():
    listed = list(SUITES["quick"].tasks)
    assert [task.name for task in expand(["gsm8k", "quick", "gsm8k", "ifeval_quick"])] == ["gsm8k", *listed]
    assert members(["quick", "ifeval_quick"])["ifeval_quick"] == "ifeval_quick"


def test_an_unknown_name_is_told_the_nearest():
    with pytest.raises(RecipeError, match=r"'tulu_dev' is neither a task nor a suite\. Did you mean 'tulu3_dev'"):
        expand(["tulu_dev"])
    with pytest.raises(RecipeError, match="Did you mean 'gsm8k'"):
        expand(["gms8k"])
    with pytest.raises(RecipeError, match="names nothing to ask"):
        choose([], None)


@pytest.fixture
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("no_cache")
def test_a_suite_goes_on_without_what_cannot_be_had_and_says_so(data_dir: Path, tmp_path: Path):
    """Only GSM8K's file is there: the other tasks are missing, with the way to get them; judged ones want a judge."""
    (tmp_path / "gsm8k").mkdir()
    (tmp_path / "gsm8k" / "test.jsonl.gz").write_bytes((data_dir / "gsm8k" / "test.jsonl.gz").read_bytes())
    found = choose(["tulu3_dev"], tmp_path)
    assert [task.name for task in found.tasks] == ["gsm8k"]
    told = {each.task: each.why for each in found.missing}
    assert set(told) == set(SUITES["tulu3_dev"].tasks) - {"gsm8k"}
    assert "--data DIR with the file at DIR/popqa" in told["popqa"]
    assert "--judge" in told["harmbench"]


@pytest.mark.usefixtures("no_cache")
def test_a_task_asked_by_its_own_name_must_be_there(tmp_path: Path):
    with pytest.raises(MissingData, match="popqa"):
        choose(["arithmetic", "popqa"], tmp_path)
    with pytest.raises(MissingData, match="popqa_quick: popqa"):
        choose(["quick"], tmp_path)
    with pytest.raises(RecipeError, match="judge"):
        choose(["harmbench"], tmp_path)


@dataclass(frozen=True, slots=True)
class Numbers:
    """Problems 0 to n - 1, number i in category i modulo 3."""

    n: int = 30
    broken: bool = False
    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "numbers"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        from burnish.core.types import Demo

        if self.broken:
            yield Demo(user("not a problem"))
        for i in range(self.n):
            yield Problem(user(f"What is {i}?"), Check("gsm8k", str(i)), category=str(i % 3))


def chosen(source: Sampled) -> list[int]:
    return [int(problem.check.target) for problem in source.rows(None)]


def test_a_sample_is_fixed_ordered_and_not_the_first_n():
    first = chosen(Sampled(Numbers(), 10))
    assert first == chosen(Sampled(Numbers(), 10)) == sorted(first)
    assert len(set(first)) == 10
    assert first != list(range(10))
    assert first != chosen(Sampled(Numbers(), 10, seed=1))
    assert set(first) <= set(chosen(Sampled(Numbers(), 20)))
    assert chosen(Sampled(Numbers(), 99)) == list(range(30))
    assert (Sampled(Numbers(), 10).name, Sampled(Numbers(), 10, seed=2).name) == (
        "numbers/sample10",
        "numbers/sample10.2",
    )


def test_a_sample_by_category_is_even():
    """11 of three categories: 4, 4 and 3."""
    found = chosen(Sampled(Numbers(), 11, by_category=True))
    assert sorted(sum(i % 3 == category for i in found) for category in range(3)) == [3, 4, 4]
    assert found == sorted(found)


def test_a_sample_of_other_rows_is_refused():
    with pytest.raises(DataError, match="wanted Problems"):
        chosen(Sampled(Numbers(broken=True), 3))


def test_the_stated_precision():
    """Wilson's interval at one half with n = 100: z sqrt(n/4 + z²/4) / (n + z²) / ... = 9.62 points; four times n, about half."""
    assert half_width(100) == pytest.approx(0.0962, abs=5e-5)
    assert half_width(400) == pytest.approx(0.0488, abs=5e-5)
    for name, quick in QUICK.items():
        assert half_width(quick.n) < 0.13, name


def test_quick_tasks_are_the_papers_on_fewer_problems():
    for name, quick in QUICK.items():
        task, whole = find(name), find(quick.task)
        assert (task.n, task.published, task.samples) == (quick.n, (), 1)
        assert (task.sampling, task.prefill, task.verifier, task.average) == (
            whole.sampling, whole.prefill, whole.verifier, whole.average,
        )  # fmt: skip
        assert isinstance(task.source, Sampled)
        assert task.source.problems == whole.source


LONG = {"mmlu_mc_quick", "popqa_quick", "bbh_quick", "drop_dev_shots_quick"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in QUICK]
)
def test_a_quick_sample_has_two_of_each_category(name: str, data_dir: Path):
    """A mean of categories needs two problems of each, or nothing could be said of its spread."""
    task = find(name)
    problems = task.problems(data_dir)
    assert len(problems) == task.n
    if task.average == "categories":
        counts = [sum(p.category == category for p in problems) for category in {p.category for p in problems}]
        assert min(counts) >= 2


def test_the_listing_tells_size_protocol_and_what_is_missing(data_dir: Path):
    found = listing(["gsm8k", "quick"], data_dir)
    assert [suite["name"] for suite in found["suites"]] == ["quick"]
    task = found["tasks"][0]
    assert (task["name"], task["n"], task["missing"], task["unseen"]) == ("gsm8k", 1319, "", False)
    assert "greedy, 512 tokens, reply begun with 'Answer:', mean of problems" in task["protocol"]
    shown = text(found)
    assert "quick: Quick look" in shown
    assert "gsm8k_quick" in shown
    assert f"to ±{half_width(100) * 100:.1f} points" in shown
    assert "log-probabilities of given answers" in protocol(find("truthfulqa"))


def test_the_listing_of_everything(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["eval", "tasks", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {task["name"] for task in found["tasks"]} == names()
    assert {suite["name"] for suite in found["suites"]} == set(SUITES)
    assert main(["eval", "tasks", "gpqa", "popqa"]) == 0
    shown = capsys.readouterr().out
    assert "unseen: needs --unlock" in shown
    assert "Data of 2 are not here:" in shown
    assert main(["eval", "tasks", "gqpa"]) == 2
    assert "Did you mean 'gpqa'" in capsys.readouterr().err


def test_the_page_on_suites_is_current():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "suites.md").read_text()
    for name in SUITES:
        assert f"| `{name}` |" in page
    for name, quick in QUICK.items():
        assert f"| `{name}` | {quick.n} | {half_width(quick.n) * 100:.1f} |" in page
    assert f"all {len(TABLES) - len(BREAKDOWN)} published averages" in page
