"""Tables of scores beside the paper's columns: every form, averages over common parts, what is missing, warnings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from burnish.cli.main import main
from burnish.errors import ArtifactError, RecipeError
from burnish.eval import paper
from burnish.eval.suites import SUITES
from burnish.eval.tables import gather, settings_of, table
from burnish.eval.tasks import arithmetic
from burnish.eval.unlock import LOG, record

DEV = SUITES["tulu3_dev"]
TULU = paper.TABLE_6[-1]


def row(task: str, score: float | None, **more: Any) -> dict[str, Any]:
    bounds = None if score is None else [score - 0.02, score + 0.02]
    return {
        "task": task, "metric": "accuracy", "n": 1000, "score": score, "standard_error": 0.01, "interval": bounds, "ungraded": 0,
        "by_category": {}, "cut_share": 0.0, "settings": {"limit": None}, "published": [], **more,
    }  # fmt: skip


def folder(
    path: Path, rows: Iterable[Mapping[str, Any]], label: str = "toy", missing: Iterable[Mapping[str, str]] = ()
) -> Path:
    path.mkdir(parents=True)
    (path / "scores.json").write_text(json.dumps({"label": label, "model": "m", "seed": 0, "tasks": list(rows)}))
    (path / "missing.json").write_text(json.dumps(list(missing)))
    return path


def as_the_paper(skip: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Rows with the published scores of Tülu 3 8B."""
    return [
        row(task, TULU.scores[part.row] / 100) for part in DEV.parts if part.name not in skip for task in part.tasks
    ]


def test_the_paper_beside_itself(tmp_path: Path):
    """The average of the published scores is the published average, 65.1, on both sides."""
    (section,) = gather([folder(tmp_path / "a", as_the_paper())])
    assert section.columns[-1] == "Tülu 3 8B (table 6)"
    for line in section.lines:
        if line.level == 0:
            assert line.cells[0].score is not None
            assert round(line.cells[0].score * 100, 1) == line.published[-1]
    assert section.average is not None
    assert section.average.name == "Average"
    assert section.average.cells[0].score == pytest.approx(0.6506, abs=1e-4)
    assert section.average.published[-1] == pytest.approx(65.06, abs=0.01)
    assert section.missing == {}
    safety = [line.name for line in section.lines if line.level == 1]
    assert tuple(safety) == DEV.parts[-1].tasks
    assert [line.published[-1] for line in section.lines if line.level == 1] == [94.7, 93.3, 98.5, 85.5, 62.0, 78.8]


def test_averages_are_over_what_all_models_have(tmp_path: Path):
    """b has no PopQA: (12 * 65.058 - 29.1) / 11 = 68.33 for both models and for the paper's column."""
    why = "popqa is not on this machine.\n  1. --data DIR"
    a = folder(tmp_path / "a", as_the_paper(), "a")
    b = folder(tmp_path / "b", as_the_paper(["PopQA"]), "b", [{"task": "popqa", "why": why}])
    (section,) = gather([a, b])
    assert section.average is not None
    assert section.average.name == "Average of 11 of 12 (missing: PopQA)"
    assert [cell.score for cell in section.average.cells] == [pytest.approx(0.68327, abs=1e-4)] * 2
    assert section.average.published[-1] == pytest.approx(68.327, abs=1e-2)
    assert section.missing == {"PopQA": f"b: popqa not measured. {why}"}
    popqa = next(line for line in section.lines if line.name == "PopQA")
    assert (popqa.cells[0].score, popqa.cells[1].score) == (pytest.approx(0.291), None)
    text = table([a, b])
    assert "| PopQA | 29.1 (27.1–31.1) | – |" in text
    assert "- Missing: PopQA: b: popqa not measured. popqa is not on this machine." in text


def test_one_part_is_no_average(tmp_path: Path):
    (section,) = gather([folder(tmp_path / "a", [row("gsm8k", 0.5)])])
    assert section.average is None
    assert set(section.missing) == set(paper.DEVELOPMENT) - {"GSM8K"}
    assert [line.name for line in section.lines] == ["GSM8K"]


def test_columns_can_be_chosen(tmp_path: Path):
    rows = as_the_paper(["TruthfulQA", "DROP"])
    place = folder(tmp_path / "a", rows)
    (section,) = gather([place], columns="405b,closed")
    assert section.columns == (
        *(f"{c.model} (table 4)" for c in paper.TABLE_4),
        *(f"{c.model} (table 2)" for c in paper.TABLE_2),
    )
    assert section.average is not None
    assert section.average.published[:7] == (None,) * 7  # its PopQA and BBH were asked in another way
    # (70.2 + 45.0 + 66.6 + 41.2 + 74.3 + 87.1 + 84.0 + 66.9 + 38.7 + 69.1) / 10
    assert section.average.published[7] == pytest.approx(64.31)
    assert "table 4 asked PopQA 3-shot: shown, and in no average here." in section.notes
    assert gather([place], columns="none")[0].columns == ()
    with pytest.raises(RecipeError, match="--columns 8B: the paper has no such columns"):
        gather([place], columns="8B")


def test_tasks_of_no_suite_have_a_section_with_their_published_scores(tmp_path: Path):
    known = [{"score": 0.299, "model": "SmolLM2", "url": "u", "settings": "strict"}]
    sections = gather([folder(tmp_path / "a", [row("gsm8k", 0.5), row("ifeval_strict", 0.2, published=known)])])
    assert [section.title for section in sections] == ["Tülu 3 development suite", "Other tasks"]
    assert [line.name for line in sections[1].lines] == ["ifeval_strict"]
    assert "ifeval_strict, published: 29.9 SmolLM2 (strict)." in sections[1].notes
    assert (sections[1].average, sections[1].missing) == (None, {})


def test_what_a_reader_must_know_is_noted(tmp_path: Path):
    """Ungraded and cut replies, a limit, and settings that differ between two models of one table."""
    a = folder(
        tmp_path / "a", [row("gsm8k", 0.5, ungraded=7, cut_share=0.034, settings={"limit": 50, "prefill": "x"})], "a"
    )
    b = folder(tmp_path / "b", [row("gsm8k", 0.5, settings={"limit": None, "prefill": "y"})], "b")
    (section,) = gather([a, b])
    how = section.measured[0]
    assert (how.n, how.ungraded, how.cut_share, how.limit) == (1000, 7, 0.034, 50)
    assert "gsm8k: only the first 50 problems were asked." in section.notes
    assert (
        "gsm8k was measured with different settings, so its scores cannot be compared with each other." in section.notes
    )
    text = table([a, b])
    assert f"| gsm8k | a | accuracy | 1,000 (first 50) | 7 | 3.4 % | {how.settings} |  |" in text
    alike = row("t", 0.5, settings={"limit": 3, "prefill": "x"})
    assert settings_of(alike) == how.settings, "a limit is no other way of asking"


def test_looks_are_shown_and_a_changed_log_is_warned_of(tmp_path: Path):
    locked = replace(arithmetic.task(n=3), name="gpqa", unseen=True)
    runs = tmp_path / "runs"
    for name in ("eval-1", "eval-2"):
        place = folder(runs / "evals" / name, [row("gpqa", 0.3, settings={"unseen": True}), row("gsm8k", 0.3)], name)
        record([locked], {"gpqa": 448}, reason="final", model=name, folder=place, log=runs / LOG)
    sections = gather([place])
    unseen = next(section for section in sections if section.suite == "tulu3_unseen")
    assert unseen.measured[0].asked == 2
    assert "gpqa is unseen: asked 2 times." in unseen.notes
    assert next(s for s in sections if s.suite == "tulu3_dev").measured[0].asked is None
    assert not any("Warning" in note for note in unseen.notes)
    lines = (runs / LOG).read_text().splitlines(keepends=True)
    (runs / LOG).write_text(lines[0])
    assert any("lines were taken from it" in note for note in gather([place])[0].notes)
    (runs / LOG).write_text(lines[0].replace("final", "first"))
    assert any("line 1 does not follow" in note for note in gather([place])[0].notes)
    (runs / LOG).unlink()
    alone = next(section for section in gather([place]) if section.suite == "tulu3_unseen")
    assert alone.measured[0].asked == 2, "the evaluation knows its own number"
    assert any("is gone from beside" in note for note in alone.notes)


def test_equal_labels_are_told_apart(tmp_path: Path):
    places = [folder(tmp_path / name, [row("gsm8k", 0.5)]) for name in ("x", "y")]
    assert gather(places)[0].models == ("toy (x)", "toy (y)")


class Cells(HTMLParser):
    """Rows of text cells, and the tags that stay open."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_html_is_a_fragment_that_shows_any_name(tmp_path: Path):
    place = folder(tmp_path / "a", as_the_paper(), "<b>&\"'</b>")
    cells = Cells()
    cells.feed(table([place], "html"))
    assert cells.open == []
    assert cells.rows[0][:2] == ["", "<b>&\"'</b>"]
    assert cells.rows[1][:2] == ["MMLU", "68.2 (66.2–70.2)"]
    assert next(row for row in cells.rows if row[0] == "Average")[1].startswith("65.1 (")


def test_latex_is_booktabs_with_escaped_names(tmp_path: Path):
    text = table([folder(tmp_path / "a", as_the_paper(), r"my_model 50% \$#&{}~^")], "latex")
    head = next(line for line in text.splitlines() if line.startswith(" & "))
    assert head.startswith(r" & my\_model 50\% \textbackslash{}\$\#\&\{\}\textasciitilde{}\textasciicircum{} & Llama")
    for tabular in text.split(r"\begin{tabular}")[1:]:
        shape, body = tabular.split("}\n", 1)
        body = body.split(r"\end{tabular}")[0]
        lines = [line for line in body.splitlines() if line.endswith(r" \\")]
        assert lines
        assert {line.replace(r"\&", "").count("&") for line in lines} == {len(shape.strip("{")) - 1}


def test_markdown_rows_have_equal_widths(tmp_path: Path):
    text = table([folder(tmp_path / "a", as_the_paper(), "a|b`c")])
    assert r"a\|b\`c" in text
    blocks = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 2
    for block in blocks:
        assert len({line.replace(r"\|", "").count("|") for line in block.splitlines()}) == 1


def test_json_holds_the_numbers(tmp_path: Path):
    (section,) = json.loads(table([folder(tmp_path / "a", as_the_paper())], "json"))
    assert section["lines"][0] == {
        "name": "MMLU", "cells": [{"score": 0.682, "interval": [pytest.approx(0.662), pytest.approx(0.702)]}],
        "published": [71.2, 76.6, 62.0, 74.6, 68.5, 65.9, 68.7, 68.2], "level": 0,
    }  # fmt: skip


def test_what_cannot_be_shown_is_told(tmp_path: Path):
    place = folder(tmp_path / "a", [row("gsm8k", 0.5)])
    with pytest.raises(RecipeError, match="no evaluation to show"):
        table([])
    with pytest.raises(RecipeError, match="--table markdown: no such form"):
        table([place], "markdown")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="--suite tulu3: no such suite"):
        table([place], suite="tulu3")
    with pytest.raises(ArtifactError, match="is not an evaluation that this version can read"):
        table([tmp_path])
    (place / "scores.json").write_text('{"tasks": [{"task": "gsm8k", "score": 0.5}]}')
    with pytest.raises(ArtifactError, match=r"its scores\.json lacks 'standard_error'"):
        table([place])
    (place / "scores.json").write_text("[1]")
    with pytest.raises(ArtifactError, match="is not an evaluation that this version can read"):
        table([place])


def test_the_command_prints_a_suites_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    place = folder(tmp_path / "a", as_the_paper())
    assert main(["eval", "table", str(place), "--suite", "tulu3_dev", "--columns", "none"]) == 0
    assert "| **Average** | **65.1" in capsys.readouterr().out
    assert main(["eval", "table", str(tmp_path / "none"), "--runs", str(tmp_path / "runs")]) == 2
    assert "no such folder" in capsys.readouterr().err
