"""Sections of scores as text: Markdown, LaTeX, an HTML fragment, JSON. Scores in per cent with 95 % intervals."""

from __future__ import annotations

import dataclasses
import html
import json
from collections.abc import Callable, Mapping, Sequence

from burnish.eval.tables import Cell, Line, Measured, Section

HOW = ("task", "model", "metric", "n", "ungraded", "cut", "settings", "looks")
DASH = "–"
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\textquotedbl{}", "–": "--", "…": r"\dots{}", "\n": " ",
}  # fmt: skip
_MARKDOWN = frozenset("\\|*_`[]<>#~$")


def markdown(sections: Sequence[Section]) -> str:
    """Tables of GitHub's Markdown, one a section, each with how its tasks were measured."""
    return "\n\n".join(_markdown(section) for section in sections)


def latex(sections: Sequence[Section]) -> str:
    """Tabulars of booktabs; the names of rows are escaped, and nothing but booktabs and T1 fonts is needed."""
    head = "% \\usepackage{booktabs} \\usepackage[T1]{fontenc}"
    return "\n\n".join([head, *(_latex(section) for section in sections)])


def fragment(sections: Sequence[Section]) -> str:
    """HTML tables without styles, for a page of one's own: classes `scores` and `measured`."""
    return "\n".join(_html(section) for section in sections)


def as_json(sections: Sequence[Section]) -> str:
    """The sections as they are: shares in [0, 1] for ours, per cent as printed for published ones."""
    return json.dumps(
        [dataclasses.asdict(section) for section in sections], indent=2, ensure_ascii=False, allow_nan=False
    )


WRITERS: Mapping[str, Callable[[Sequence[Section]], str]] = {
    "md": markdown, "latex": latex, "html": fragment, "json": as_json,
}  # fmt: skip


def markdown_text(text: str) -> str:
    """Text as Markdown shows it letter by letter, on one line."""
    return "".join(f"\\{c}" if c in _MARKDOWN else c for c in " ".join(text.split()))


def latex_text(text: str) -> str:
    """Text as LaTeX sets it letter by letter."""
    return "".join(_LATEX.get(c, c) for c in text)


def _ours(cell: Cell) -> str:
    """E.g. "65.9 (63.1–68.7)"."""
    if cell.score is None:
        return DASH
    inside = f" ({cell.interval[0] * 100:.1f}{DASH}{cell.interval[1] * 100:.1f})" if cell.interval else ""
    return f"{cell.score * 100:.1f}{inside}"


def _theirs(value: float | None) -> str:
    return DASH if value is None else f"{value:.1f}"


def _row(line: Line) -> list[str]:
    return [line.name, *map(_ours, line.cells), *map(_theirs, line.published)]


def _head(section: Section) -> list[str]:
    return ["", *section.models, *section.columns]


def _how(measured: Measured) -> list[str]:
    looks = "" if measured.asked is None else str(measured.asked)
    n = f"{measured.n:,}" + (f" (first {measured.limit:,})" if measured.limit else "")
    cut = f"{measured.cut_share * 100:.1f} %"
    return [measured.task, measured.model, measured.metric, n, f"{measured.ungraded:,}", cut, measured.settings, looks]


def _missing(section: Section) -> list[str]:
    """Sentences on the parts outside the average; none for tasks of no suite."""
    return [f"Missing: {name}: {why}" for name, why in section.missing.items()]


def _markdown(section: Section) -> str:
    def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
        rule = [":--" if i < left else "--:" for i in range(len(head))]
        shown = [head, rule, *rows]
        return ["| " + " | ".join(row) + " |" for row in shown]

    rows = [[markdown_text(cell) for cell in _row(line)] for line in section.lines]
    for line, row in zip(section.lines, rows, strict=True):
        row[0] = "&nbsp;&nbsp;" * line.level + row[0]
    if section.average is not None:
        rows.append([f"**{markdown_text(cell)}**" for cell in _row(section.average)])
    parts = [f"### {markdown_text(section.title)}", ""]
    parts += [*table([markdown_text(name) for name in _head(section)], rows, 1), ""]
    notes = [*_missing(section), *section.notes]
    parts += [f"- {markdown_text(note)}" for note in notes] + ([""] if notes else [])
    parts += table(HOW, [[markdown_text(cell) for cell in _how(each)] for each in section.measured], 3)
    return "\n".join(parts)


def _latex(section: Section) -> str:
    def tabular(shape: str, head: Sequence[str], blocks: Sequence[Sequence[Sequence[str]]]) -> list[str]:
        lines = [rf"\begin{{tabular}}{{{shape}}}", r"\toprule", " & ".join(map(latex_text, head)) + r" \\"]
        for block in blocks:
            lines += [r"\midrule", *(" & ".join(row) + r" \\" for row in block)]
        return [*lines, r"\bottomrule", r"\end{tabular}"]

    rows = [[latex_text(cell) for cell in _row(line)] for line in section.lines]
    for line, row in zip(section.lines, rows, strict=True):
        row[0] = r"\quad " * line.level + row[0]
    blocks = [rows]
    if section.average is not None:
        blocks.append([[latex_text(cell) for cell in _row(section.average)]])
    head = _head(section)
    parts = [f"% {' '.join(section.title.split())}", *tabular("l" + "r" * (len(head) - 1), head, blocks), ""]
    parts += [rf"\par {latex_text(note)}" for note in (*_missing(section), *section.notes)]
    how = [[latex_text(cell) for cell in _how(each)] for each in section.measured]
    return "\n".join([*parts, "", *tabular("lllrrrlr", HOW, [how])])


def _html(section: Section) -> str:
    def row(cells: Sequence[str], tag: str = "td", level: int = 0) -> str:
        first = (
            f'<th scope="row" class="level{level}">{html.escape(cells[0])}</th>'
            if tag == "td"
            else f"<th>{html.escape(cells[0])}</th>"
        )
        rest = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells[1:])
        return f"<tr>{first}{rest}</tr>"

    parts = ['<table class="scores">', f"<caption>{html.escape(section.title)}</caption>"]
    parts += [f"<thead>{row(_head(section), 'th')}</thead>", "<tbody>"]
    parts += [row(_row(line), level=line.level) for line in section.lines]
    parts += ["</tbody>"]
    if section.average is not None:
        parts.append(f"<tfoot>{row(_row(section.average))}</tfoot>")
    parts += ["</table>", "<ul>"]
    parts += [f"<li>{html.escape(note)}</li>" for note in (*_missing(section), *section.notes)]
    parts += ["</ul>", '<table class="measured">', f"<thead>{row(HOW, 'th')}</thead>", "<tbody>"]
    return "\n".join([*parts, *(row(_how(each)) for each in section.measured), "</tbody>", "</table>"])
