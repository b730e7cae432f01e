"""Laws of suites: propagated errors by simulation, samples that stay, escapes that lose nothing, chains that show every change."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.eval.stats import Z95, standard_error
from burnish.eval.suites import Part, Suite, average
from burnish.eval.tables_text import latex_text, markdown_text
from burnish.eval.tasks import arithmetic
from burnish.eval.unlock import LOG, read_log, record

LOCKED = replace(arithmetic.task(n=2), name="secret", unseen=True)


def measured(task: str, scores: np.ndarray) -> dict[str, object]:
    values = [float(score) for score in scores]
    error = float(scores.std(ddof=1)) / len(values) ** 0.5
    assert len(values) > 100 or error == pytest.approx(standard_error(values))
    centre = float(scores.mean())
    return {
        "task": task, "score": centre, "standard_error": error, "interval": [centre - 2 * error, centre + 2 * error],
        "n": len(values), "ungraded": 0, "cut_share": 0.0,
    }  # fmt: skip


def test_the_average_is_covered_by_its_interval():
    """600 evaluations of five parts, one of them the mean of three tasks: the true average lies inside about 95 % of the time.

    Of 600, 95 % ± 3 standard errors are 92.3 % to 97.7 %. The error must also be the spread of the averages themselves.
    """
    rng = np.random.default_rng(0)
    sizes = {"a": 400, "b": 150, "c": 80, "d": 300, "e1": 100, "e2": 60, "e3": 200}
    truth = dict(zip(sizes, (0.2, 0.5, 0.65, 0.9, 0.4, 0.7, 0.3), strict=True))
    suite = Suite("s", "S", (*(Part(name, (name,)) for name in "abcd"), Part("e", ("e1", "e2", "e3"))))
    whole = (0.2 + 0.5 + 0.65 + 0.9 + (0.4 + 0.7 + 0.3) / 3) / 5
    found = [
        average([measured(name, rng.random(size) < truth[name]) for name, size in sizes.items()], suite)
        for _ in range(600)
    ]
    centres = np.array([one.score for one in found])
    errors = np.array([one.standard_error for one in found])
    inside = np.abs(centres - whole) <= Z95 * errors
    assert 0.923 <= inside.mean() <= 0.977
    assert errors.mean() == pytest.approx(centres.std(ddof=1), rel=0.1)


def test_parts_that_share_replies_are_covered_only_together():
    """Two parts that grade the same 200 replies, the second more strictly, as HumanEval and HumanEval+ do, beside a third.

    Taken as independent their average's error is too small; taken together it covers.
    """
    rng = np.random.default_rng(1)
    parts = tuple(Part(name, (name,)) for name in "abc")
    together, apart = Suite("s", "S", parts, (("a", "b"),)), Suite("s", "S", parts)
    whole = (0.5 + 0.45 + 0.7) / 3
    covered = {"together": 0, "apart": 0}
    for _ in range(600):
        right = rng.random(200) < 0.5
        strictly = right & (rng.random(200) < 0.9)
        rows = [measured("a", right), measured("b", strictly), measured("c", rng.random(2000) < 0.7)]
        for name, suite in (("together", together), ("apart", apart)):
            one = average(rows, suite)
            assert one.score is not None
            assert one.standard_error is not None
            covered[name] += abs(one.score - whole) <= Z95 * one.standard_error
    assert covered["together"] / 600 >= 0.923
    assert covered["apart"] / 600 < 0.90


def unlatex(text: str) -> str:
    """What LaTeX shows of escaped text."""
    names = {
        r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textless{}": "<",
        r"\textgreater{}": ">", r"\textbar{}": "|", r"\textquotedbl{}": '"', r"\dots{}": "…",
        **{f"\\{c}": c for c in "&%$#_{}"},
    }  # fmt: skip
    shown, at = "", 0
    while at < len(text):
        name = next((name for name in names if text.startswith(name, at)), None)
        shown += names[name] if name else text[at]
        assert name or text[at] not in "\\&%$#_{}~^", f"{text[at]!r} has a meaning of its own"
        at += len(name or text[at])
    return shown


@given(st.text(st.characters(codec="utf-8", exclude_characters="–\n")))
def test_latex_shows_every_character(text: str):
    assert unlatex(latex_text(text)) == text


@given(st.text(st.characters(codec="utf-8")))
def test_markdown_stays_in_its_cell(text: str):
    """No cell ends early and no line breaks; without the backslashes it is the text, its white space as single spaces."""
    shown = markdown_text(text)
    assert len(shown.splitlines()) <= 1
    bare = [c for i, c in enumerate(shown) if not _escaped(shown, i)]
    assert not set(bare) & set("|*_`[]<>#~$")
    plain = "".join(c for i, c in enumerate(shown) if c != "\\" or _escaped(shown, i))
    assert plain == " ".join(text.split())


def _escaped(text: str, at: int) -> bool:
    """Whether an odd number of backslashes stands before the character."""
    before = text[:at]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The lines of a log of six looks."""
    runs = tmp_path_factory.mktemp("runs")
    for number in range(6):
        (runs / f"eval-{number}").mkdir()
        record(
            [LOCKED], {"secret": 2}, reason=f"why {number}", model="toy", folder=runs / f"eval-{number}", log=runs / LOG
        )
    return (runs / LOG).read_text().splitlines(keepends=True)


@given(st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_no_change_of_a_log_stays_hidden(chain: list[str], tmp_path: Path, data: st.DataObject):
    """Any character of any line changed, any line moved, doubled or dropped before the last: the chain is broken, and at or
    before the place of the change. Everything before it still counts."""
    lines, kind = list(chain), data.draw(st.sampled_from(["change", "drop", "double", "swap"]))
    at = data.draw(st.integers(0, len(lines) - 2))
    if kind == "change":
        place = data.draw(st.integers(0, len(lines[at]) - 2))
        other = data.draw(st.characters(codec="ascii", exclude_characters=lines[at][place] + "\n\r"))
        lines[at] = lines[at][:place] + other + lines[at][place + 1 :]
        if _says_the_same(lines[at], chain[at]):
            return
    elif kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
        at += 1
    else:
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    log = tmp_path / LOG
    log.write_text("".join(lines))
    found = read_log(log)
    assert found.damage.startswith(f"line {at + 1} ")
    assert found.times("secret") == len(found.looks) == at


def _says_the_same(changed: str, line: str) -> bool:
    """Whether two lines are the same JSON: white space and the case of escapes say nothing."""
    try:
        return bool(json.loads(changed) == json.loads(line))
    except ValueError:
        return False
