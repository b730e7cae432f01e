"""What `burnish grade` leaves behind: equal verdicts in parallel, nothing paid twice after a kill, a page to look through."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from burnish.cli.main import main
from burnish.core.types import Check, Message, Problem, Row, Verdict, user
from burnish.errors import DataError, RecipeError
from burnish.eval.grade import grade
from burnish.eval.task import EvalTask
from burnish.report.eval_page import write_page
from burnish.verify.apart import grade_all

SIZE = 120


@dataclass(frozen=True, slots=True)
class Numbers:
    """SIZE problems "i?", in two categories; the first with turns before and a hostile text."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "numbers"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for i in range(SIZE):
            prompt = (Message("system", "<b>Count</b>"), *user(f"{i}?")) if i == 0 else user(f"{i}?")
            yield Problem(prompt, Check("paid", str(i)), category="<even>" if i % 2 == 0 else "odd")


@dataclass(frozen=True, slots=True)
class Paid:
    """Right when the reply is the target, half right when it begins with it. Each call adds a letter to the file `paid`."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    paid: str = ""
    seconds: float = 0.0

    def __call__(self, problem: Problem, text: str) -> Verdict:
        if text and self.paid:
            with Path(self.paid).open("a") as file:
                file.write("x")
            time.sleep(self.seconds)
        if text == "raise":
            raise ValueError("on purpose")
        if text == "die":
            os._exit(1)
        right = text == problem.check.target
        part = text.startswith(problem.check.target)
        return Verdict(1.0 if right else 0.5 if part else 0.0, f"said {text[:30]!r}, wanted {problem.check.target}")


TASK = EvalTask("numbers", Numbers(), Paid())


def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    path = folder / "replies.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def some() -> list[dict[str, Any]]:
    kinds = ("{}", "{} or so", "none of {}", "{}")
    return [{"id": i, "response": kinds[i % 4].format(i)} for i in range(SIZE)]


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "graded.jsonl"}


def test_in_parallel_the_files_are_those_of_one_after_another(tmp_path: Path) -> None:
    path = write(tmp_path, [*some(), {"id": 5, "response": "raise"}])
    serial = grade(TASK, path, out=tmp_path / "serial")
    parallel = grade(TASK, path, out=tmp_path / "parallel", jobs=3)
    assert serial == parallel
    assert files(tmp_path / "serial") == files(tmp_path / "parallel")
    assert set(files(tmp_path / "serial")) == {"verdicts.jsonl", "summary.json"}
    assert serial["ungraded"] == 1


def test_a_reply_that_ends_the_worker_costs_that_reply_only() -> None:
    cases = [(Problem(user("?"), Check("paid", "7")), text) for text in ("7", "die", "7 it is", "raise", "8")]
    found: dict[int, Verdict] = {}
    grade_all(Paid(), cases, found.__setitem__, jobs=2)
    assert [found[i].score for i in range(5)] == [1.0, None, 0.5, None, 0.0]
    assert "exit code 1" in found[1].why
    assert "raised ValueError: on purpose" in found[3].why


def test_a_reply_that_hangs_the_worker_costs_that_reply_only(tmp_path: Path) -> None:
    cases = [(Problem(user("?"), Check("paid", "7")), text) for text in ("7", "")]
    found: dict[int, Verdict] = {}
    grade_all(Paid(str(tmp_path / "paid"), 30), cases, found.__setitem__, jobs=2, timeout_s=0.5)
    assert (found[0].score, found[0].why) == (None, "verifier Paid: no verdict within 0.5 s")
    assert found[1].score == 0.0


def test_what_was_graded_is_not_graded_again(tmp_path: Path) -> None:
    """Five calls the first time (equal lines are one); then only for the new text, the ungraded one and another verifier."""
    paid = tmp_path / "paid"
    first, second = (EvalTask("numbers", Numbers(), Paid(str(paid), seconds)) for seconds in (0.0, 1e-6))
    rows = [{"id": i, "response": str(i)} for i in range(4)] + [
        {"id": 0, "response": "0"},
        {"id": 1, "response": "raise"},
    ]
    calls = []
    for task, more in ((first, []), (first, [{"id": 9, "response": "8"}]), (second, [])):
        rows += more
        grade(task, write(tmp_path, rows), out=tmp_path / "out")
        calls.append(len(paid.read_text()))
    assert calls == [5, 5 + 2, 7 + 6]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["responses"] == 7


KILLED = """
import sys
from pathlib import Path
from test_grade_files import Numbers, Paid
from burnish.eval.grade import grade
from burnish.eval.task import EvalTask
from burnish.report.eval_page import write_page
task = EvalTask("numbers", Numbers(), Paid(sys.argv[4], 0.01))
grade(task, Path(sys.argv[1]), out=Path(sys.argv[2]), jobs=int(sys.argv[3]))
"""


@pytest.mark.parametrize(("jobs", "lost"), [pytest.param(1, 1, marks=pytest.mark.slow), (2, 2 * 15)])
def test_a_killed_grading_pays_nothing_twice(tmp_path: Path, jobs: int, lost: int) -> None:
    """Killed in the middle, with its last line torn: only what was under way is paid again. A worker hands its verdicts
    over when its part is done: here at most 15 replies (120 over 4 * 2) each.
    """
    paid, path, out = tmp_path / "paid", write(tmp_path, some()), tmp_path / "out"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", KILLED, str(path), str(out), str(jobs), str(paid)]
    child = subprocess.Popen(command, env=environment)
    log = out / "graded.jsonl"
    while not log.exists() or log.read_bytes().count(b"\n") < 20:
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    before = log.read_bytes()
    assert 20 <= before.count(b"\n") < SIZE
    log.write_bytes(before + b'{"key": "torn')
    subprocess.run(command, env=environment, check=True)
    assert SIZE <= paid.stat().st_size <= SIZE + lost
    assert log.read_bytes().startswith(before)
    # The torn line stays and is passed over; the file's first line is about its format.
    kept = [json.loads(line) for line in log.read_text().splitlines() if not line.endswith('"torn')]
    assert len({record["key"] for record in kept} - {"format"}) == SIZE
    grade(EvalTask("numbers", Numbers(), Paid(str(paid), 0.01)), path, out=tmp_path / "straight", jobs=2)
    assert files(out) == files(tmp_path / "straight")


def test_a_line_may_hold_several_replies(tmp_path: Path) -> None:
    """Problem 0: one of three right, problem 1 both: mean (1/3 + 1) / 2; pass@2 = (1 - C(2,2)/C(3,2) + 1) / 2 = 5/6."""
    path = write(tmp_path, [{"id": 0, "responses": ["0", "x", "y"]}, {"id": 1, "responses": ["1", "1"]}])
    result = grade(TASK, path, out=tmp_path / "out")
    assert result["score"] == pytest.approx(2 / 3)
    assert [(row["k"], row["score"]) for row in result["pass_at_k"]] == [
        (1, pytest.approx(2 / 3)),
        (2, pytest.approx(5 / 6)),
    ]
    lines = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
    assert [(row["line"], row["sample"]) for row in lines] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1)]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": 0, "responses": []}, r"line 1, field responses: expected a list of the replies' texts, got \[\]"),
        ({"id": 0, "responses": "0"}, "field responses"),
        ({"id": 0, "responses": ["0", None]}, "field responses"),
        ({"id": 0, "response": "0", "responses": ["0"]}, "line 1: has both response and responses"),
    ],
)
def test_lists_that_are_none_are_refused(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        grade(TASK, write(tmp_path, [row]))


def test_an_out_that_is_a_file_and_no_jobs_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, some())
    with pytest.raises(RecipeError, match=r"replies\.jsonl is a file.*\n  Name a folder, e\.g\. --out .*/replies\."):
        grade(TASK, path, out=path)
    with pytest.raises(RecipeError, match="--jobs 0"):
        grade(TASK, path, jobs=0)


def test_verdicts_have_all_that_a_page_shows(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": 0, "response": "<script>alert(1)</script>\ud800\x00"},
        {"id": 1, "responses": ["1 & more", "1"]},
        {"id": 3, "response": "raise"},
        {"id": 5, "response": "#### 6\n#### 7\n#### 8"},
        {"id": 1, "response": ""},
    ]
    result = grade(TASK, write(tmp_path, rows), out=tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "verdicts.jsonl").read_text().splitlines()]
    assert [line["response"] for line in lines][:2] == ["<script>alert(1)</script>\ud800\x00", "1 & more"]
    assert lines[0]["prompt"][0] == {"role": "system", "content": "<b>Count</b>"}
    assert lines[4]["flags"] == {"answer_list": "3 different answers: 6, 7, 8"}
    assert (lines[1]["task"], lines[1]["target"], lines[1]["category"]) == ("numbers", "1", "odd")
    assert result["flags"]["answer_list"] == pytest.approx(1 / 6)
    page = write_page(tmp_path / "out").read_text()
    packed = re.findall(r'<script type="text/plain" id="(\w+)">([^<]*)</script>', page)
    texts = {name: zlib.decompress(base64.b64decode(text)).decode() for name, text in packed}
    index = json.loads(texts["index"])
    # Problem 1 has three replies, of two lines: samples 0, 1 and 2.
    assert index["problems"]["replies"] == [1, 3, 1, 1]
    assert index["replies"]["sample"] == [0, 0, 1, 2, 0, 0]
    assert index["replies"]["score"] == [0.0, 0.5, 1.0, 0.0, None, 0.0]
    assert "3 different answers: 6, 7, 8" in texts["part0"]
    assert '<th scope="row"><bdi>&lt;even&gt;</bdi></th>' in page


def test_the_command_prints_a_table_and_where_the_files_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, [{"id": i, "response": "#### 1"} for i in range(5)])
    assert main(["grade", "arithmetic", str(path), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^arithmetic +accuracy 0\.\d{3}  95 % .* \(n 5\)", said)
    assert re.search(r"^standard error 0\.\d{4}, 5 replies$", said, re.MULTILINE)
    assert re.search(r"^145 problems without a reply: \w{16}", said, re.MULTILINE)
    assert f"Replies to look through: {tmp_path / 'out' / 'page.html'}" in said
    assert (tmp_path / "out" / "page.html").stat().st_size > 10_000
    assert main(["grade", "arithmetic", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"]["count"] == 145
