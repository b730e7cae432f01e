"""The report: one self-contained HTML file that opens offline, and the same headline table as plain text."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from burnish.core.files import read_json, write_atomic, write_json
from burnish.pipeline.progress import duration
from burnish.pipeline.stage import Context, Stage, ordered
from burnish.report import collect, plots, training
from burnish.report.looks import look_notes


@dataclass(frozen=True)
class Report(Stage):
    """The page of a recipe. `scores` are its evaluations in order; `comparison` holds their paired differences.

    data: datasets that no evaluated model was made from, shown too; with them alone the page is about data only.
    """

    scores: tuple[Stage, ...] = ()
    comparison: Stage | None = None
    title: str = "Report"
    data: tuple[Stage, ...] = ()
    VERSION: ClassVar[int] = 3

    @property
    def name(self) -> str:
        """The artifact's first name."""
        return "report"

    def headline(self) -> dict[str, Any]:
        """What the plan prints."""
        return {"title": self.title, "stages": len(self.scores)}

    def run(self, ctx: Context) -> None:
        """Write report.html, summary.txt and report.json, and the pages with all replies that report.html links to."""
        files = [collect.load(ctx.path_of(stage)) for stage in ordered(self) if stage != self]
        by_print = {f.fingerprint: f for f in files}
        evaluations = [by_print[ctx.path_of(stage).name.rpartition("-")[2]] for stage in self.scores]
        compared = collect.load(ctx.path_of(self.comparison)) if self.comparison is not None else None
        comparisons, averages = (compared.comparisons, compared.averages) if compared else ([], [])
        page = page_values(self.title, files, evaluations, comparisons, averages)
        page["pages"] = self._replies(ctx)
        write_atomic(ctx.out / "report.html", render(page))
        write_atomic(ctx.out / "summary.txt", summary(page))
        write_json(
            ctx.out / "report.json",
            {k: page[k] for k in ("title", "labels", "table", "comparisons", "costs", "total_time")},
        )

    def _replies(self, ctx: Context) -> list[tuple[str, str]]:
        """Write the pages of the evaluations and of each with the next; (file, what it shows) of each."""
        from burnish.report.eval_folder import load
        from burnish.report.eval_page import write_comparison, write_page

        folders = [ctx.path_of(stage) for stage in self.scores]
        labels = [load(folder).label for folder in folders]
        pages = [
            (write_page(folder, ctx.out / f"{folder.name}.html").name, label)
            for folder, label in zip(folders, labels, strict=True)
        ]
        if self.comparison is None:
            return pages
        found = read_json(ctx.path_of(self.comparison) / "comparisons.json")
        for place, (a, b) in enumerate(itertools.pairwise(folders)):
            before, after = labels[place : place + 2]
            own = {
                kind: [entry for entry in found[kind] if (entry["before"], entry["after"]) == (before, after)]
                for kind in ("comparisons", "averages")
            }
            if own["comparisons"]:
                path = write_comparison(a, b, ctx.out / f"{a.name}-{b.name}.html", own)
                pages.append((path.name, f"{before} and {after} side by side"))
        return pages


def page_values(
    title: str,
    files: list[collect.StageFiles],
    evaluations: list[collect.StageFiles],
    comparisons: list[dict[str, Any]],
    averages: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    """Everything the template prints, as plain values."""
    labels = [str(e.scores["label"]) for e in evaluations if e.scores]
    steps = set(itertools.pairwise(labels))
    table = collect.score_table(evaluations, comparisons)
    costs = collect.cost_table(files)
    trained = [f for f in files if f.metrics]
    classes = {str(f.record["stage"]["class"]).partition(":")[2] for f in files}
    return {
        "title": title,
        "labels": labels,
        "table": table,
        "looks": [f"{e.scores['label']}: {note}" for e in evaluations if e.scores for note in look_notes(e.folder)],
        "comparisons": [c for c in comparisons if (c["before"], c["after"]) in steps],
        "averages": [c for c in averages if (c["before"], c["after"]) in steps],
        "contaminated": [
            (str(e.scores["label"]), row)
            for e in evaluations
            if e.scores
            for row in e.scores["tasks"]
            if row.get("contamination")
        ],
        "stages_plot": plots.stages(table, labels) if len(labels) > 1 else "",
        "curves": [(f, plots.curves(f.metrics), training.facts(f.folder, f.metrics)) for f in trained],
        "pages": [],
        "conversations": collect.conversations(evaluations),
        "cards": [(f, f.card) for f in files if f.card],
        "costs": costs,
        "total_time": duration(sum(c["seconds"] for c in costs)),
        "settings": [(f, collect.stage_settings(f, classes)) for f in files],
        "provenance": files[-1].record.get("provenance", {}) if files else {},
    }


def render(page: dict[str, Any]) -> str:
    """The page as HTML. All text is escaped; figures are the only raw markup."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("burnish.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"pct": percent, "points": points, "count": count, "marked": marked, "sentence": sentence}
    return environment.get_template("page.html").render(page)


def summary(page: dict[str, Any]) -> str:
    """The headline table as plain text: score ± half of the 95 % interval, and the paired change; else the datasets' sizes."""
    if not page["table"]:
        sets = [f"{stage.name}: {count(card['rows'])} rows" for stage, card in page["cards"]]
        return "\n".join([page["title"], "", *sets, "", f"{page['total_time']} in all", ""])
    head = ["task", *page["labels"], "change (95 % interval)"]
    lines = [head]
    for row in page["table"]:
        cells = [f"{percent(c['score'])} ± {percent(_half(c))}" if c else "–" for c in row["cells"]]
        lines.append([row["task"], *cells, points(row["change"])])
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    counts = ", ".join(f"{row['task']} n={next(c for c in row['cells'] if c)['n']}" for row in page["table"])
    return f"{page['title']}\n\n{text}\n\n{counts}; {page['total_time']} in all\n"


def sentence(page_table: Iterable[dict[str, Any]]) -> str:
    """One sentence on what changed from the first stage to the last."""
    parts = []
    for row in page_table:
        change = row["change"]
        if change:
            first, last = (next(c for c in cells if c) for cells in (row["cells"], row["cells"][::-1]))
            sure = "" if change["interval"][0] > 0 or change["interval"][1] < 0 else ", which could be chance"
            parts.append(
                f"{row['task']} went from {percent(first['score'])} % to {percent(last['score'])} % ({points(change)}{sure})"
            )
    return "; ".join(parts) + "." if parts else ""


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return "–" if value is None else f"{100 * value:.1f}"


def points(change: dict[str, Any] | None) -> str:
    """A paired change in points with its interval."""
    if not change:
        return "–"
    low, high = change["interval"]
    return f"{100 * change['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def count(value: float | int) -> str:
    """A whole number with thousands separators."""
    return f"{value:,.0f}"


def marked(text: str, span: str) -> Any:
    """Text with one span highlighted, escaped."""
    from markupsafe import Markup

    at = text.find(span) if span else -1
    if at < 0:
        return Markup(html.escape(text))
    before, after = html.escape(text[:at]), html.escape(text[at + len(span) :])
    return Markup(f"{before}<mark>{html.escape(span)}</mark>{after}")


def _half(cell: dict[str, Any]) -> float:
    return float(cell["interval"][1] - cell["interval"][0]) / 2


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
