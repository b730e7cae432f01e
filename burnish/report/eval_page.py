"""The page of an evaluation, or of two side by side: one HTML file that opens offline, with every reply in it.

What models wrote is untrusted. It is in the file as compressed data only and the page's script puts it on the screen as
text; the page's content security policy allows its own script and style by their hashes, and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import math
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from burnish.core.files import write_atomic
from burnish.errors import ArtifactError
from burnish.report.eval_folder import EvalFolder, load
from burnish.report.eval_pack import Collected, Side, dumps, packed, printable
from burnish.report.page import percent

PAGE = "page.html"
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_USEFUL = "\n\t\u200c\u200d"  # the joiners belong to some scripts and to emoji
_FIELDS = (
    ("task", "Task"),
    ("outcome", "Outcome"),
    ("verdict", "Verdict"),
    ("rule", "Reason"),
    ("flag", "Flag"),
    ("category", "Category"),
)
_SCRIPTS = ("data.js", "sift.js", "detail.js", "list.js")


def write_page(folder: Path, out: Path | None = None) -> Path:
    """Write the page of the evaluation or grading in `folder`, by default as `<folder>/page.html`; returns its path.

    Raises ArtifactError when the folder holds neither, or files of another version.
    """
    evaluation = load(folder)
    rows = [_run_row(row) for row in evaluation.rows]
    head = _head(evaluation.label, [evaluation], rows)
    return write_sides(out or folder / PAGE, [evaluation], rows, head)


def write_comparison(a: Path, b: Path, out: Path, found: Mapping[str, Any] | None = None) -> Path:
    """Write the page of two evaluations side by side to the file `out`; returns it.

    found: what burnish.eval.compare says of the two: "comparisons" (an entry a task) and "averages". The page shows these
    numbers and calculates no others. Raises ArtifactError when the two have no task in common.
    """
    sides = _apart(load(a), load(b))
    rows = [{row["task"]: row for row in side.rows} for side in sides]
    common = [task for task in rows[0] if task in rows[1]]
    if not common:
        raise ArtifactError(
            f"{a} has replies to {', '.join(rows[0])} and {b} to {', '.join(rows[1])}: no task in common, so nothing stands side by side.\n"
            "  Evaluate both on the same tasks."
        )
    entries, averages = ((found or {}).get(kind, []) for kind in ("comparisons", "averages"))
    by_task = {str(entry["task"]): entry for entry in entries}
    pairs = [
        {"task": task, "cells": [_run_row(side[task]) for side in rows], "entry": by_task.get(task)} for task in common
    ]
    head = _head(f"{sides[0].label} and {sides[1].label}", sides, pairs) | {
        "averages": averages, "left_out": sorted(rows[0].keys() ^ rows[1].keys()), "reach": _reach([*entries, *averages]),
    }  # fmt: skip
    return write_sides(out, sides, [rows[0][task] for task in common], head)


def _head(title: str, sides: Sequence[EvalFolder], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    fields = [field for field in _FIELDS if field[0] != "outcome" or len(sides) > 1]
    return {"title": title, "kind": "evaluation", "fields": fields, "sides": sides, "rows": rows}


def _apart(a: EvalFolder, b: EvalFolder) -> list[EvalFolder]:
    """The two, with their folders' names beside labels that are the same."""
    if a.label != b.label:
        return [a, b]
    return [replace(each, label=f"{each.label} ({each.replies.parent.name})") for each in (a, b)]


def _reach(entries: Sequence[Mapping[str, Any]]) -> int:
    """How far the bars of differences go, in points: the next ten beyond every interval."""
    ends = [abs(100 * end) for entry in entries for end in entry["interval"]]
    return 10 * max(1, math.ceil(max(ends, default=0) / 10))


def _run_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"contamination": None, **row, "asked": _asked(row.get("settings") or {})}


def _asked(settings: Mapping[str, Any]) -> list[str]:
    """A task's settings in a few words; settings that are not known are left out."""
    sampling = settings.get("sampling") or {}
    shots, samples, hot = settings.get("shots"), settings.get("samples", 1), sampling.get("temperature")
    found = [
        "" if shots is None else f"{shots} shot" + ("" if shots == 1 else "s"),
        {True: "in the chat template", False: "as plain text", None: ""}[settings.get("chat")],
        "" if hot is None else "greedy" if hot == 0 else f"temperature {hot:g}, top-p {sampling.get('top_p', 1):g}",
        f"{samples} samples, pass@{settings.get('pass_at', 1)}" if samples > 1 else "",
        f"at most {sampling['max_tokens']:,} tokens" if sampling.get("max_tokens") else "",
        f"stops at {', '.join(map(repr, sampling['stop']))}" if sampling.get("stop") else "",
        f"reply begun with {settings['prefill']!r}" if settings.get("prefill") else "",
        f"first {settings['limit']:,} problems" if settings.get("limit") else "",
        f"{settings['source']} {settings.get('revision') or ''}".strip() if settings.get("source") else "",
    ]
    return [part for part in found if part]


def write_sides(path: Path, sides: Sequence[Side], tasks: Sequence[Mapping[str, Any]], head: Mapping[str, Any]) -> Path:
    """Write a page of one or two files of replies; returns its path.

    tasks: a row for each task that the page shows, with its name as `task`, and `metric` and `settings` where there are such.
    head:  what viewer/page.html prints: title, kind, sides, fields (the filters, each with its name) and the kind's own values.
    """
    collected = Collected(sides, [str(row["task"]) for row in tasks])
    index = collected.index() | {
        "tasks": [_task(row) for row in tasks],
        "sides": [{"label": side.label, "model": side.model} for side in sides],
    }
    write_atomic(path, _pieces(collected, index, head))
    return path


def _task(row: Mapping[str, Any]) -> dict[str, Any]:
    settings = row.get("settings") or {}
    return {
        "name": row["task"], "metric": row.get("metric", ""), "prefill": settings.get("prefill", ""),
        "pass_at": settings.get("pass_at", 1),
    }  # fmt: skip


def _pieces(collected: Collected, index: Mapping[str, Any], head: Mapping[str, Any]) -> Iterator[bytes]:
    """The file, piece by piece: the page with its tables, the index and the script, and then the texts."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, UndefinedError

    loader = PackageLoader("burnish.report", "viewer")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_plainly,
    )
    environment.filters |= {"pct": percent, "count": lambda value: f"{value:,.0f}", "web": _web}
    style = loader.get_source(environment, "style.css")[0]
    scripts = "".join(loader.get_source(environment, name)[0] for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{scripts}}})();\n'
    try:
        page = environment.get_template("page.html").render(
            **head, style=style, script=script, style_hash=_hash(style), script_hash=_hash(script), index=packed(dumps(index)),
            repeats=collected.repeats,
        )  # fmt: skip
    except UndefinedError as error:
        folders = " or ".join(str(side.replies.parent) for side in head["sides"])
        raise ArtifactError(
            f"{folders} lacks a number that the page shows ({error}); another version of burnish wrote it.\n"
            "  Evaluate again: burnish eval writes a new folder. Or make the page with the version that wrote this one."
        ) from error
    yield printable(page).encode()
    for number, text in enumerate(collected.parts()):
        yield f'<script type="text/plain" id="part{number}">{packed(text)}</script>\n'.encode()
    yield b"</body>\n</html>\n"


def _plainly(value: Any) -> Any:
    """What the template prints; in a name, characters that cannot be seen or turn others round stand by number."""
    if type(value) is not str or value.isprintable():
        return value
    return "".join(f"[U+{ord(c):04X}]" if unicodedata.category(c) in _HIDDEN and c not in _USEFUL else c for c in value)


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _web(url: Any) -> str:
    """The address when it is one of the web, else "": nothing else may become a link."""
    return url if isinstance(url, str) and url.startswith(("https://", "http://")) else ""
