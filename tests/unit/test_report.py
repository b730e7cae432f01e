"""The report prints what the artifacts' files say, escaped, and nothing else."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.pipeline.machine import machine
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context, Stage
from burnish.report import collect, page, plots


def write(folder: Path, name: str, fingerprint: str, **files: Any) -> Path:
    """An artifact folder as stages write it."""
    out = folder / f"{name}-{fingerprint}"
    out.mkdir(parents=True)
    stage = {"class": f"m:{name.title()}", "version": 1, "fields": {"seed": 0, "rate": {"float": (0.5).hex()}}}
    cost = {"wall_s": 61.0, "cpu_s": 100.0, "peak_rss_bytes": 2**31, "sessions": 2}
    record = {
        "name": name,
        "fingerprint": fingerprint,
        "stage": stage,
        "inputs": {},
        "provenance": {"python": "3.11"},
        "cost": cost,
    }
    (out / "artifact.json").write_text(json.dumps(record))
    for file, value in files.items():
        if file.endswith("_jsonl"):
            (out / file.replace("_jsonl", ".jsonl")).write_text("".join(json.dumps(v) + "\n" for v in value))
        else:
            (out / f"{file}.json").write_text(json.dumps(value))
    return out


def evaluation(folder: Path, label: str, score: float, replies: list[tuple[str, str, float | None]]) -> Path:
    task = {
        "task": "sums", "metric": "accuracy", "n": len(replies), "score": score, "standard_error": 0.1, "interval": [max(score - 0.2, 0), min(score + 0.2, 1)],
        "ungraded": sum(r[2] is None for r in replies), "cut_share": 0.25, "by_category": {"level 1": {"n": len(replies), "score": score, "interval": None, "ungraded": 0}}, "settings": {}, "published": [],
    }  # fmt: skip
    samples = [
        {
            "task": "sums",
            "id": id,
            "prompt": [{"role": "user", "content": f"ask {id}"}],
            "response": text,
            "score": s,
            "why": "because",
        }
        for id, text, s in replies
    ]
    return write(folder, "evaluate", label * 4, scores={"label": label, "tasks": [task]}, samples_jsonl=samples)


CHANGE = {
    "task": "sums",
    "before": "start",
    "after": "end",
    "n": 3,
    "difference": 0.3333,
    "standard_error": 0.1,
    "interval": [0.1, 0.55],
    "p": 0.02,
}


GROUP = {
    "rows": 8, "size": 4321, "lengths": {"p50": 40}, "turns": {"mean": 2.5, "max": 4}, "kinds": {"demo": 8},
    "licences": {"MIT": 8}, "languages": {"en": 7, "": 1}, "sampled": 8,
}  # fmt: skip


def values(tmp_path: Path) -> dict[str, Any]:
    first = evaluation(
        tmp_path, "start", 0.3333, [("a", "<script>alert(1)</script>", 0.0), ("b", "two", 1.0), ("c", "x", None)]
    )
    last = evaluation(tmp_path, "end", 0.6667, [("a", "four", 1.0), ("b", "two & a half", 0.0), ("c", "y", 1.0)])
    steps = [{"step": i, "loss": 2.0 / i, "lr": 1e-5, "tokens": 100, "grad_norm": 1.0} for i in range(1, 21)]
    sft = write(tmp_path, "sft", "abc", metrics_jsonl=steps)
    row = {
        "row_id": "r1",
        "test_id": "t1",
        "score": 0.8,
        "span": "the shared words",
        "row_span": "the shared words",
        "row_text": "x the shared words y",
        "test_text": "the shared words z",
    }
    seen = {
        "source": "web",
        "test": "sums",
        "items": 3,
        "overlapping": 1,
        "rate": 0.3333,
        "flagged": True,
        "rows_removed": 1,
        "criteria": {"tulu3": 1, "any-8-gram": 29},
        "touched": True,
        "evidence": [row],
    }
    source = {"source": "web", "licence": "MIT", "url": "", "revision": "r", "rows_in": 10, "rows_kept": 8}
    card = {
        "rows": 8,
        "by_source": [source],
        "dropped": {"empty": 2},
        "contamination": [seen, {**seen, "test": "quietest", "evidence": [], "touched": False, "flagged": False}],
        "diversity": {"distinct_1": 0.5},
        "steps": [
            {"step": "read", "rows_in": 10, "rows_out": 10},
            {
                "step": "NotEmpty()",
                "rows_in": 10,
                "rows_out": 8,
                "profile": {"unit": "words", "by_source": {}, "all": GROUP},
            },
        ],
        "broken": {"not JSON": 7},
        "mended": {"SpecialTokens": 5},
        "near_duplicates": {"lost": 3, "clusters": 2, "alarms": [{}]},
    }
    data = write(tmp_path, "demos", "def", card=card)
    files = [collect.load(p) for p in (data, sft, first, last)]
    return page.page_values("A title", files, files[2:], [CHANGE])


def test_page_is_one_file_with_every_part(tmp_path: Path) -> None:
    text = page.render(values(tmp_path))
    for part in (
        "A title",
        "33.3",
        "66.7",
        "+33.3 [+10.0, +55.0]",
        "1 ungraded",
        "25.0 % cut",
        "MIT",
        "empty <b>2</b>",
        "over the limit",
        "not JSON <b>7</b>",
        "SpecialTokens <b>5</b>",
        "<b>3</b> rows in 2 clusters",
        "1 giant cluster<",
        "4,321",
        "any-8-gram",
        '<td class="n">29</td>',
        "1 source × test pair shares no window",
        "en 7, ? 1",
    ):
        assert part in text, part
    assert "<mark>the shared words</mark>" in text
    assert "quietest" not in text
    assert "1 min 01 s" in text
    assert "2.0 GiB" in text
    assert text.count("<svg") >= 4
    assert "http" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "https://matplotlib.org", ""
    )


def test_replies_are_escaped(tmp_path: Path) -> None:
    text = page.render(values(tmp_path))
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "two &amp; a half" in text


def test_conversations_show_gains_then_losses(tmp_path: Path) -> None:
    talks = values(tmp_path)["conversations"]
    assert [talk["id"] for talk in talks] == ["a", "b", "c"]


def test_summary_by_hand(tmp_path: Path) -> None:
    """Halves of the intervals [0.1333, 0.5333] and [0.4667, 0.8667] are 20.0 points; 4 artifacts of 61 s are 4 min 04 s."""
    text = page.summary(values(tmp_path))
    assert "sums  33.3 ± 20.0  66.7 ± 20.0  +33.3 [+10.0, +55.0]" in text
    assert "sums n=3; 4 min 04 s in all" in text


def test_sentence_says_when_a_change_could_be_chance() -> None:
    cells = [{"score": 0.5}, {"score": 0.55}]
    change = {"difference": 0.05, "interval": [-0.02, 0.12]}
    assert page.sentence([{"task": "sums", "cells": cells, "change": change}]) == (
        "sums went from 50.0 % to 55.0 % (+5.0 [-2.0, +12.0], which could be chance)."
    )


def test_figures_use_the_pages_colours() -> None:
    svg = plots.curve([{"step": i, "loss": 1.0 / i} for i in range(1, 30)], "loss")
    assert "var(--c0)" in svg
    assert "var(--ink)" in svg
    assert plots.INK not in svg


def test_cost_counts_tokens_of_metrics(tmp_path: Path) -> None:
    costs = values(tmp_path)["costs"]
    assert [c["tokens"] for c in costs] == [0, 2000, 0, 0]


@dataclass(frozen=True)
class Made(Stage):
    """A stage whose artifact is there already."""

    title: str
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return self.title


def test_the_report_links_to_pages_with_all_replies(tmp_path: Path) -> None:
    change = {**CHANGE, "test": "mcnemar exact", "detectable": 0.3}
    made = {
        "start": evaluation(tmp_path, "start", 0.0, [("a", "three", 0.0)]),
        "end": evaluation(tmp_path, "end", 1.0, [("a", "four", 1.0)]),
        "compare": write(tmp_path, "compare", "cmp", comparisons={"comparisons": [change], "averages": []}),
    }
    report = page.Report(scores=(Made("start"), Made("end")), comparison=Made("compare"))
    out = tmp_path / "report"
    report.run(Context(out, machine("laptop"), lambda stage: made[stage.name], None, tmp_path, Console(quiet=True)))
    links = re.findall(r'<a href="([^"#]*\.html)">([^<]*)</a>', (out / "report.html").read_text())
    assert [text for _, text in links] == ["start", "end", "start and end side by side"]
    assert {path.name for path in out.glob("*.html")} == {"report.html", *(file for file, _ in links)}
    assert "+33.3" in (out / links[2][0]).read_text()
