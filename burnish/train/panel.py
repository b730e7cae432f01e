"""A training run at a glance, from the records of its metrics.jsonl: a few lines of text for any width.

What a run did not log is not shown, so one panel serves RL, SFT and preference training, and files of other versions.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.core.follow import number
from burnish.pipeline.progress import cells, cut, duration
from burnish.pipeline.spent import spent_by

Record = Mapping[str, Any]

SPAN = 240  # steps that a trend reaches back
WIDEST = 24  # marks of a trend
_MARKS = "▁▂▃▄▅▆▇█"
_NAMES = 11  # columns of the first word of a line
_DIM, _BOLD, _WARN, _END = "\x1b[2m", "\x1b[1m", "\x1b[33m", "\x1b[0m"
_SOURCES = 6  # sources of rewards that are shown


def series(records: Sequence[Record], name: str) -> list[float]:
    """The finite values of one number, step by step; steps without it are passed over."""
    return [value for record in records if (value := number(record.get(name))) is not None]


def trend(values: Sequence[float], marks: int) -> str:
    """Values as at most so many marks from ▁ (the least) to █ (the most); each mark is the mean of as many values."""
    if len(values) < 2 or marks < 2:
        return ""
    marks = min(marks, len(values))
    ends = [len(values) * i // marks for i in range(marks + 1)]
    # Halves first: a sum of two large finite numbers need not be finite.
    means = [sum(v / (b - a) for v in values[a:b]) for a, b in itertools.pairwise(ends)]
    low, high = min(means), max(means)
    if high / 2 - low / 2 <= 1e-12 * max(abs(low), abs(high)):
        return _MARKS[3] * marks
    return "".join(_MARKS[round((m / 2 - low / 2) / (high / 2 - low / 2) * (len(_MARKS) - 1))] for m in means)


def panel(records: Sequence[Record], columns: int) -> list[str]:
    """The lines of a run's panel, each at most `columns` wide; none before the first step."""
    recent = records[-SPAN:]
    if not recent:
        return []
    marks = max(6, min(WIDEST, columns // 5))
    parts = [
        ("reward", _rewards(recent, marks)),
        ("loss", _losses(recent, marks)),
        ("replies", _replies(recent[-1])),
        ("policy", _policy(recent[-1])),
        ("held out", _looks(recent, "dev/", marks)),
        ("probe", _looks(recent, "probe/", marks)),
        ("time", _times(recent)),
    ]
    return [line for name, fields in parts if fields for line in _flow(name, fields, columns)]


def headline(records: Sequence[Record], title: str, state: str) -> str:
    """A run's first line: how far it is, and how much is left or what became of it."""
    last = records[-1] if records else {}
    step, steps = number(last.get("step")), number(last.get("steps"))
    if step is None or not steps or steps < 1:
        return f"  {title}  {state}"
    share = min(max(step / steps, 0.0), 1.0)
    filled = int(share * 24)
    return f"  {title} {'━' * filled}{'╌' * (24 - filled)} {step:,.0f}/{steps:,.0f} steps  {state}"


def pace(records: Sequence[Record]) -> float | None:
    """Seconds a step, over the last twenty; None where that cannot be known."""
    timed = [
        (step, wall)
        for record in records[-21:]
        if (step := number(record.get("step"))) is not None and (wall := number(record.get("wall_s"))) is not None
    ]
    if not timed:
        return None
    step, wall = timed[-1]
    before, began = timed[0] if len(timed) > 1 else (0.0, 0.0)
    return (wall - began) / (step - before) if step > before and wall >= began else None


def time_left(records: Sequence[Record]) -> float | None:
    """Seconds that the remaining steps will take at that pace; None where that cannot be known."""
    last = records[-1] if records else {}
    step, steps, a_step = number(last.get("step")), number(last.get("steps")), pace(records)
    return None if step is None or steps is None or a_step is None else max(steps - step, 0.0) * a_step


def _flow(name: str, fields: Sequence[str], columns: int) -> list[str]:
    """Fields after a first word, in as many lines as they need."""
    head, lines = f"  {name:<{_NAMES - 2}}", list[str]()
    line = f"{_DIM}{head}{_END}"
    for field in fields:
        if cells(line) > _NAMES and cells(line) + 2 + cells(field) > columns:
            lines.append(line)
            line = " " * _NAMES
        line += ("  " if cells(line) > _NAMES else "") + field
    return [cut(each, columns) for each in (*lines, line)]


def _named(name: str, text: str, *, warn: bool = False) -> str:
    return f"{_DIM}{name}{_END} {_WARN if warn else ''}{text}{_END if warn else ''}"


def _rewards(recent: Sequence[Record], marks: int) -> list[str]:
    found = _with_trend(recent, "reward", "", ".3f", marks)
    sources = sorted({name for record in recent for name in record if name.startswith("reward/")})
    for name in sources[:_SOURCES]:
        found += _with_trend(recent, name, _shown(name.removeprefix("reward/")) or "(no source)", ".3f", marks // 2)
    if len(sources) > _SOURCES:
        found.append(f"{_DIM}and {len(sources) - _SOURCES} more{_END}")
    return found


def _losses(recent: Sequence[Record], marks: int) -> list[str]:
    found = _with_trend(recent, "loss", "", ".4f", marks)
    for name in ("nll", "accuracy", "margin", "value_loss", "explained_variance"):
        found += _with_trend(recent, name, name.replace("_", " "), ".3f", marks // 2)
    return found


def _replies(last: Record) -> list[str]:
    found = _percents(last, (("pass_rate", "passed"), ("cut_share", "cut")))
    informative, groups = number(last.get("informative")), number(last.get("groups"))
    if informative is not None and groups is not None:
        found.append(_named("informative", f"{informative:,.0f} of {groups:,.0f} groups", warn=not informative))
    if (length := number(last.get("length"))) is not None:
        found.append(_named("length", f"{length:,.0f}"))
    if ungraded := number(last.get("ungraded")):
        found.append(_named("ungraded", f"{ungraded:,.0f}", warn=True))
    if flagged := number(last.get("flagged_passes")):
        found.append(_named("flagged passes", f"{flagged:.1%}", warn=True))
    return found


def _policy(last: Record) -> list[str]:
    found = []
    for name, label, form in (("kl", "kl", ".4g"), ("kl_penalty", "kl penalty", ".3g"), ("entropy", "entropy", ".3g")):
        if (value := number(last.get(name))) is not None:
            found.append(_named(label, f"{value:{form}}"))
    found += _percents(last, (("clip_fraction", "clipped"),))
    for name, label, form in (
        ("grad_norm", "gradient", ".3g"),
        ("engine_gap", "engine gap", ".1e"),
        ("lr", "lr", ".1e"),
    ):
        if (value := number(last.get(name))) is not None:
            found.append(_named(label, f"{value:{form}}"))
    return found


def _looks(recent: Sequence[Record], begin: str, marks: int) -> list[str]:
    """The last values of what is asked between steps, with the step of the last look."""
    names = sorted({name for record in recent for name in record if name.startswith(begin)})
    found = [
        part
        for name in names
        for part in _with_trend(recent, name, _shown(name.removeprefix(begin)), ".3f", marks // 2)
    ]
    steps = [record.get("step") for record in recent if any(name in record for name in names)]
    at = number(steps[-1]) if steps else None
    return [*found, f"{_DIM}at step {at:,.0f}{_END}"] if found and at is not None else found


def _times(recent: Sequence[Record]) -> list[str]:
    last, found = recent[-1], []
    if (rate := number(last.get("tokens_per_s"))) is not None:
        found.append(f"{_BOLD}{rate:,.0f}{_END} tokens/s")
    if (mfu := number(last.get("mfu"))) is not None:
        found.append(_named("MFU", f"{mfu:.0%}"))
    split = spent_by(recent[-20:])
    found += [_named(part, f"{seconds / sum(split.values()):.0%}") for part, seconds in split.items()]
    if (age := number(last.get("staleness"))) is not None:
        found.append(_named("staleness", f"{age:.2g}"))
    if (wall := number(last.get("wall_s"))) is not None:
        found.append(_named("in all", duration(wall)))
    return found


def _percents(last: Record, names: Sequence[tuple[str, str]]) -> list[str]:
    return [_named(label, f"{value:.1%}") for name, label in names if (value := number(last.get(name))) is not None]


def _with_trend(recent: Sequence[Record], name: str, label: str, form: str, marks: int) -> list[str]:
    """The last value of one number, and its trend; [] where no step has it."""
    values = series(recent, name)
    if not values:
        return []
    text = f"{_BOLD}{values[-1]:{form}}{_END}" if abs(values[-1]) < 1e7 else f"{_BOLD}{values[-1]:.3g}{_END}"
    drawn = trend(values, marks)
    return [" ".join(part for part in (f"{_DIM}{label}{_END}" if label else "", text, drawn) if part)]


def _shown(name: str) -> str:
    """A name from a file as part of a line: at most 24 columns, and nothing that a terminal acts on."""
    return cut("".join(c if c.isprintable() else "?" for c in name), 24)
