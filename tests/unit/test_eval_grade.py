"""Grading replies that exist: how lines find their problems, what is reported, which lines are refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.core.types import Check, Message, Problem, Row, Verdict, user
from burnish.errors import DataError
from burnish.eval.grade import grade
from burnish.eval.task import EvalTask


@dataclass(frozen=True, slots=True)
class Sums:
    """Six problems "i + i?" with keys 100.. or without; the last two ask one thing with two targets."""

    keys: bool = False
    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "sums"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for i in range(6):
            prompt = (Message("system", "Add."), *user(f"{min(i, 4)} + {min(i, 4)}?"))
            annotations = {"key": 100 + i} if self.keys else {}
            yield Problem(
                prompt, Check("same", str(2 * i)), category="low" if i < 3 else "high", annotations=annotations
            )


@dataclass(frozen=True, slots=True)
class Same:
    """Right when the reply is the target; "raise" breaks it."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        if text == "raise":
            raise ValueError("on purpose")
        return Verdict(float(text == problem.check.target), "compared")


PLAIN = EvalTask("sums", Sums(), Same())
KEYED = EvalTask("sums", Sums(keys=True), Same())


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "replies.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_every_way_of_naming_a_problem(tmp_path: Path):
    problems = PLAIN.problems(None)
    turns = [{"role": "system", "content": "Add."}, {"role": "user", "content": "3 + 3?"}]
    path = write(
        tmp_path,
        {"id": problems[0].id, "response": "0"},
        {"id": 1, "response": "2"},
        {"id": "2", "response": "5"},
        {"prompt": turns, "response": "6"},
        {"prompt": "0 + 0?", "response": "0"},
        {"prompt": "7 + 7?", "response": "14"},
        {"id": "nobody", "prompt": "1 + 1?", "response": "2"},
    )
    result = grade(PLAIN, path, out=tmp_path / "graded")
    assert (result["n"], result["score"], result["responses"]) == (4, 0.75, 6)
    assert result["missing"] == {"count": 2, "first": [problems[4].id, problems[5].id]}
    assert result["unknown"] == {"count": 1, "first": ["7 + 7?"]}
    assert result["repeated_lines"] == 2
    assert result["score_missing_as_0"] == 0.5
    # Of the low ones 1, 1 and 0 (a problem's two replies are one mean): sample deviation sqrt(1/3), over sqrt(3).
    low, high = (result["by_category"][name] for name in ("low", "high"))
    assert (low["n"], low["score"], low["standard_error"]) == (3, pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert low["interval"][0] < 2 / 3 < low["interval"][1]
    assert (high["n"], high["score"], high["standard_error"], high["ungraded"]) == (1, 1.0, 0.0, 0)
    lines = [json.loads(line) for line in (tmp_path / "graded" / "verdicts.jsonl").read_text().splitlines()]
    assert [(v["line"], v["score"]) for v in lines] == [(1, 1), (2, 1), (3, 0), (4, 1), (5, 1), (7, 1)]
    assert json.loads((tmp_path / "graded" / "summary.json").read_text()) == result


def test_a_benchmarks_own_keys_replace_places(tmp_path: Path):
    result = grade(
        KEYED, write(tmp_path, {"id": 100, "response": "0"}, {"id": "103", "response": "6"}, {"id": 2, "response": "4"})
    )
    assert (result["n"], result["score"], result["unknown"]["first"]) == (2, 1.0, ["2"])
    assert result["missing"]["first"][0].endswith("(key 101)")


def test_several_replies_give_pass_at_k(tmp_path: Path):
    """Problem 0: 1 of 3 right, problem 1: 3 of 3. Mean (1/3 + 1)/2; pass@2 = (1 - C(2,2)/C(3,2) + 1)/2 = 5/6."""
    rows = [{"id": 0, "response": r} for r in ("0", "x", "y")] + [{"id": 1, "response": "2"}] * 3
    result = grade(PLAIN, write(tmp_path, *rows))
    assert result["score"] == pytest.approx(2 / 3)
    assert [p["k"] for p in result["pass_at_k"]] == [1, 2, 3]
    assert [p["score"] for p in result["pass_at_k"]] == pytest.approx([2 / 3, 5 / 6, 1.0])
    assert result["repeated_lines"] == 2


def test_ungraded_is_counted_and_left_out(tmp_path: Path):
    result = grade(PLAIN, write(tmp_path, {"id": 0, "response": "raise"}, {"id": 1, "response": "2"}))
    assert (result["n"], result["score"], result["ungraded"], result["missing"]["count"]) == (1, 1.0, 1, 4)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1]", r"line 2: expected an object"),
        ("[" * 100_000, "line 2: not valid JSON"),
        ({"id": 1}, "line 2, field response: expected the reply's text, found only 'id'"),
        ({"id": 1, "response": None}, "line 2, field response: .* got None"),
        ({"response": "x"}, "line 2: neither an id nor a prompt"),
        ({"id": 1.5, "response": "x"}, "line 2, field id: .* got 1.5"),
        ({"id": True, "response": "x"}, "line 2, field id"),
        ({"prompt": 5, "response": "x"}, r"line 2, field prompt: expected a list"),
        ({"prompt": "4 + 4?", "response": "x"}, "line 2, field prompt: 2 problems have this prompt"),
        ({"id": 1, "prompt": "2 + 2?", "response": "x"}, "line 2: id '1' and the prompt belong to different problems"),
    ],
)
def test_bad_lines_are_refused_by_name(tmp_path: Path, row: Any, message: str):
    with pytest.raises(DataError, match=message):
        grade(PLAIN, write(tmp_path, {"id": 0, "response": "0"}, row))


def test_a_known_id_settles_an_ambiguous_prompt(tmp_path: Path):
    assert grade(PLAIN, write(tmp_path, {"id": 5, "prompt": "4 + 4?", "response": "10"}))["score"] == 1.0


def test_nothing_matches_and_no_file(tmp_path: Path):
    with pytest.raises(DataError, match="none of its 1 lines matches a problem of task sums"):
        grade(PLAIN, write(tmp_path, {"id": "elsewhere", "response": "x"}))
    with pytest.raises(DataError, match="does not exist"):
        grade(PLAIN, tmp_path / "no.jsonl")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([0, 1, "2", "4 + 4?", "0 + 0?", "nobody", "\ud800"]) | VALUES
LINES = st.fixed_dictionaries({}, optional={"id": NAMES, "prompt": NAMES, "response": st.text(max_size=5) | VALUES})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES.map(json.dumps) | st.text(st.characters(codec="utf-8"), max_size=20), max_size=4))
def test_any_file_is_graded_or_refused(tmp_path: Path, rows: list[str]):
    path = tmp_path / "replies.jsonl"
    path.write_bytes("\n".join(rows).encode())
    refused = ""
    try:
        result = grade(PLAIN, path)
    except DataError as error:
        refused = str(error)
    if refused:
        assert "replies.jsonl" in refused
        refused.encode()
        return
    json.dumps(result, ensure_ascii=False).encode()
    assert result["responses"] + result["unknown"]["count"] <= len(path.read_bytes().split(b"\n"))
    assert result["n"] + result["missing"]["count"] <= 6


def test_grading_loads_no_torch():
    code = "import sys, burnish.eval.grade, burnish.eval.tasks.catalogue; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip() == "[]"
    )
