"""The page of failures: the replies without the full score, to look through. One HTML file that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from burnish.core.types import Problem

MOST = 1_000  # replies on a page; verdicts.jsonl has all
LONGEST = 6_000  # characters shown of one text

KINDS = {
    "wrong": "score 0",
    "partly": "between 0 and 1",
    "ungraded": "could not be graded",
    "flagged": "full score, but a monitor saw something",
}


def page(result: dict[str, Any], rows: Sequence[dict[str, Any]], cases: Sequence[tuple[Problem, str]]) -> str:
    """The page as HTML; all text is escaped. rows: those of verdicts.jsonl; cases: problem and reply of each.

    Of more than MOST failures every so many-th is shown, so that they come from the whole file.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    failed = [(row, case, kind) for row, case in zip(rows, cases, strict=True) if (kind := kind_of(row))]
    shown = [failed[i * len(failed) // MOST] for i in range(MOST)] if len(failed) > MOST else failed
    environment = Environment(
        loader=PackageLoader("burnish.eval", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"pct": _percent, "count": lambda value: f"{value:,.0f}"}
    kinds = {name: sum(kind == name for _, _, kind in failed) for name in KINDS}
    return environment.get_template("failures.html").render(
        result=_printable(result),
        failed=len(failed),
        kinds=[(name, KINDS[name], number) for name, number in kinds.items() if number],
        categories=sorted({row["category"] for row, _, _ in shown} - {""}),
        shown=[_printable(_entry(row, *case, kind)) for row, case, kind in shown],
    )


def kind_of(row: dict[str, Any]) -> str:
    """Which kind of failure a row of verdicts.jsonl is; "" for a reply that is right and of which no monitor says anything."""
    if row["score"] is None:
        return "ungraded"
    if row["score"] == 1.0:
        return "flagged" if row["flags"] else ""
    return "partly" if row["score"] > 0.0 else "wrong"


def _entry(row: dict[str, Any], problem: Problem, text: str, kind: str) -> dict[str, Any]:
    before = [{"role": turn.role, "content": _cut(turn.content)} for turn in problem.prompt[:-1]]
    return {
        **row, "kind": kind, "before": before, "asked": _cut(problem.prompt[-1].content), "target": _cut(problem.check.target),
        "reply": _cut(text), "solution": _cut(problem.solution),
    }  # fmt: skip


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters in all)"


def _printable(value: Any) -> Any:
    """The same with every text such that a browser shows it: lone surrogates as escapes, NUL as its symbol."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode().replace("\x00", "␀")
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return value


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
