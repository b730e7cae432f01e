"""What the report says of uncertainty: corrected p-values, what tests could see, averages, problems in the training data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from burnish.report import collect, page
from tests.unit.test_report import CHANGE, evaluation, write


@pytest.fixture
def evaluations(tmp_path: Path) -> list[collect.StageFiles]:
    folders = [
        evaluation(tmp_path, label, score, [("a", "x", score)]) for label, score in (("start", 0.0), ("end", 1.0))
    ]
    side = {"n": 900, "score": 0.42, "standard_error": 0.01, "interval": [0.4, 0.44], "clusters": 900}
    found = {
        "from": ["train"], "clean": side, "contaminated": {**side, "n": 12, "score": 0.9, "interval": [0.7, 0.95]}, "unknown": 7,
        "difference": {"difference": -0.48, "standard_error": 0.1, "interval": [-0.6, -0.2]},
    }  # fmt: skip
    scores = json.loads((folders[1] / "scores.json").read_text())
    scores["tasks"][0]["contamination"] = found
    (folders[1] / "scores.json").write_text(json.dumps(scores))
    return [collect.load(folder) for folder in folders]


def cells(html: str, summary: str) -> list[list[str]]:
    """The table under a summary: the texts of its rows' cells."""
    table = html.partition(f"<summary>{summary}</summary>")[2].partition("</table>")[0]
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in table.split("<tr>")[1:]
    ]


def test_comparisons_and_averages(evaluations: list[collect.StageFiles]):
    entry = {**CHANGE, "p_holm": 0.04, "detectable": 0.21}
    overall = {**{k: v for k, v in entry.items() if k not in ("task", "p_holm")}, "name": "average of 2 tasks"}
    html = page.render(page.page_values("t", evaluations, evaluations, [entry], [overall]))
    head, one, mean = cells(html, "Each stage's own change")
    assert head[4:] == ["p", "p, Holm", "Could see", "n"]
    assert one == ["sums", "start", "end", "+33.3 [+10.0, +55.0]", "0.02", "0.04", "21.0", "3"]
    assert mean == ["average of 2 tasks", "start", "end", "+33.3 [+10.0, +55.0]", "0.02", "–", "21.0", "3"]


def test_clean_and_contaminated_columns(evaluations: list[collect.StageFiles]):
    html = page.render(page.page_values("t", evaluations, evaluations, [], []))
    assert cells(html, "Problems in the training data")[1:] == [
        ["sums", "end", "100.0 n 1", "42.0 [40.0, 44.0] n 900", "90.0 [70.0, 95.0] n 12", "-48.0 [-60.0, -20.0]", "7"]
    ]
    nothing = page.render(page.page_values("t", evaluations[:1], evaluations[:1], [], []))
    assert "Problems in the training data" not in nothing


def test_comparisons_json_is_read_whole(tmp_path: Path):
    made = write(tmp_path, "compare", "c" * 4, comparisons={"comparisons": [CHANGE], "averages": [{"name": "average"}]})
    found = collect.load(made)
    assert (found.comparisons, found.averages) == ([CHANGE], [{"name": "average"}])
