"""Figures as inline SVG that follow the page's colours, so they read in light and dark alike.

matplotlib draws with stand-in colours; each is then replaced by a CSS variable of the page.
"""

from __future__ import annotations

import io
import re
from typing import Any

from burnish.core.follow import number
from burnish.errors import MissingExtra
from burnish.pipeline.spent import spent

INK, GRID = "#010203", "#040506"  # stand-ins for the page's text and rule colours
SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06")  # stand-ins for --c0 … --c5

CURVES = {  # metric: (title, unit); shown when a stage logged it
    "loss": ("Loss", "nats"),
    "reward": ("Reward", "mean over sampled replies"),
    "pass_rate": ("Pass rate", "share of sampled replies"),
    "flagged_passes": ("Right replies with a flag", "share"),
    "accuracy": ("Preference accuracy", "share of pairs"),
    "margin": ("Reward margin", "β × log-ratio difference"),
    "kl": ("KL to the reference", "nats per token"),
    "entropy": ("Entropy", "nats per token"),
    "clip_fraction": ("Clipped", "share of tokens"),
    "length": ("Reply length", "tokens"),
    "cut_share": ("Cut at the token limit", "share of replies"),
    "ungraded": ("Ungraded replies", "a step"),
    "value_loss": ("Value loss", ""),
    "explained_variance": ("Variance that values explain", "share"),
    "grad_norm": ("Gradient norm", ""),
    "lr": ("Learning rate", ""),
    "engine_gap": ("Engine–learner gap", "mean |Δ log-prob|, nats"),
}

PROBE = "probe/"  # metrics that a probe during training logged begin so


FAMILIES = {  # begin of the names of metrics that share a figure: (title, unit)
    "reward/": ("Reward by source", "mean over sampled replies"),
    "flag/": ("Flags of monitors", "share of sampled replies"),
}


def curves(rows: list[dict[str, Any]]) -> list[str]:
    """Every metric of CURVES that was logged, every family of metrics, every probe's score and where time went, as SVGs."""
    rows = [row for row in rows if number(row.get("step")) is not None]
    logged = {name for row in rows for name, value in row.items() if number(value) is not None}
    alone = [curve(rows, name) for name in CURVES if name in logged]
    several = [family(rows, begin) for begin in FAMILIES if sum(name.startswith(begin) for name in logged) > 1]
    probes = [curve(rows, name) for name in sorted(logged) if name.startswith(PROBE)]
    return [*alone, *several, *probes, *([times(rows)] if any(map(spent, rows)) else [])]


def family(rows: list[dict[str, Any]], begin: str) -> str:
    """All metrics whose names begin alike over optimizer steps, each a line: running means, six at most, those with most in them."""
    title, unit = FAMILIES[begin]
    lines = {
        name: found for name in sorted({n for row in rows for n in row if n.startswith(begin)}) if (found := _points(rows, name))
    }  # fmt: skip
    largest = sorted(lines, key=lambda name: -sum(value for _, value in lines[name]))[: len(SERIES)]
    figure, axes = _axes(3.4, 2.1)
    for colour, name in zip(SERIES, sorted(largest), strict=False):
        steps, values = zip(*lines[name], strict=True)
        smooth = _running_mean(list(values), max(len(values) // 12, 1))
        axes.plot(steps, smooth, color=colour, linewidth=1.4, label=_plain(name.removeprefix(begin)) or "no source")
    left_out = f", {len(largest)} of {len(lines)}" if len(lines) > len(largest) else ""
    axes.set_title(f"{title} ({unit}{left_out})", fontsize=8, loc="left", color=INK)
    axes.set_xlabel("step", fontsize=7, color=INK)
    axes.legend(fontsize=6.5, frameon=False, labelcolor=INK, loc="best")
    return _svg(figure, f"{title} by step")


def times(rows: list[dict[str, Any]]) -> str:
    """Where each step's seconds went, one part above the other."""
    split = [(int(number(row["step"]) or 0), found) for row in rows if (found := spent(row))]
    width = max(len(split) // 40, 1)
    figure, axes = _axes(3.4, 2.1)
    names = [name for name in split[0][1] if any(parts[name] for _, parts in split)]
    heights = [_running_mean([parts[name] for _, parts in split], width) for name in names]
    axes.stackplot([step for step, _ in split], heights, colors=SERIES[: len(names)], labels=names, linewidth=0)
    axes.set_title("Where the time went (seconds a step)", fontsize=8, loc="left", color=INK)
    axes.set_xlabel("step", fontsize=7, color=INK)
    axes.set_ylim(bottom=0)
    figure.legend(fontsize=6.5, frameon=False, labelcolor=INK, loc="outside lower center", ncols=len(names))
    return _svg(figure, "Where the time of each step went")


def _points(rows: list[dict[str, Any]], metric: str) -> list[tuple[int, float]]:
    return [(int(row["step"]), value) for row in rows if (value := number(row.get(metric))) is not None]


def _plain(text: str) -> str:
    """A name as a figure can draw it: at most 28 characters, none that matplotlib reads as mathematics or cannot see."""
    shown = "".join(c if c.isprintable() else "?" for c in text).replace("$", "\\$")
    return shown if len(shown) <= 28 else shown[:27] + "…"


def curve(rows: list[dict[str, Any]], metric: str) -> str:
    """One metric over optimizer steps as SVG: the raw values, and a running mean where there are many."""
    points = _points(rows, metric)
    title, unit = CURVES.get(metric) or (metric.removeprefix(PROBE), "probe: score of a few problems")
    figure, axes = _axes(3.4, 2.1)
    steps, values = [p[0] for p in points], [p[1] for p in points]
    noisy = len(values) > 12 and metric != "lr"
    smooth = _running_mean(values, max(len(values) // 12, 1) if noisy else 1)
    if noisy:
        axes.plot(steps, values, color=SERIES[0], alpha=0.3, linewidth=0.8)
    axes.plot(steps, smooth, color=SERIES[0], linewidth=1.6, marker="o" if len(values) <= 12 else None, markersize=3)
    axes.set_title(f"{title}{f' ({unit})' if unit else ''}", fontsize=8, loc="left", color=INK)
    axes.set_xlabel("step", fontsize=7, color=INK)
    return _svg(figure, f"{title} by step")


def stages(table: list[dict[str, Any]], labels: list[str]) -> str:
    """Every task's score after each stage with its 95 % interval: an SVG for wide windows and one for narrow ones.

    The page shows one of the two, so that labels stay readable at both widths.
    """
    wide, narrow = (_stages(table, labels, *size) for size in ((6.6, 2.8), (3.4, 2.6)))
    return f'<div class="if-wide">{wide}</div><div class="if-narrow">{narrow}</div>'


def _stages(table: list[dict[str, Any]], labels: list[str], width: float, height: float) -> str:
    figure, axes = _axes(width, height)
    for i, row in enumerate(table):
        offset = (i - (len(table) - 1) / 2) * 0.06
        shown = [(x + offset, cell) for x, cell in enumerate(row["cells"]) if cell]
        xs, ys = [x for x, _ in shown], [100 * cell["score"] for _, cell in shown]
        low = [100 * (cell["score"] - cell["interval"][0]) for _, cell in shown]
        high = [100 * (cell["interval"][1] - cell["score"]) for _, cell in shown]
        colour = SERIES[i % len(SERIES)]
        axes.errorbar(
            xs,
            ys,
            yerr=[low, high],
            color=colour,
            marker="o",
            markersize=4,
            linewidth=1.4,
            capsize=3,
            label=row["task"],
        )
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.4, len(labels) - 0.6)
    axes.set_ylim(0, 100)
    axes.set_title("Score after each stage (%, bars: 95 % intervals)", fontsize=8, loc="left", color=INK)
    axes.legend(fontsize=7, frameon=False, labelcolor=INK, loc="best")
    return _svg(figure, "Score of every task after each stage")


def _axes(width: float, height: float) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("The report's figures", "matplotlib", "report") from None
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(visible=True, axis="y", color=GRID, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("bottom", "left"):
        axes.spines[side].set_color(GRID)
    axes.tick_params(colors=INK, labelsize=7, length=2, color=GRID)
    axes.locator_params(axis="x", integer=True)
    axes.yaxis.get_offset_text().set(fontsize=7, color=INK)
    return figure, axes


def _svg(figure: Any, label: str) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": label}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', rf'\1 role="img" aria-label="{label}"', svg, count=1)
    svg = svg.replace(INK, "var(--ink)").replace(GRID, "var(--rule)")
    for i, colour in enumerate(SERIES):
        svg = svg.replace(colour, f"var(--c{i})")
    return re.sub(r"font: ([\d.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", svg)


def _running_mean(values: list[float], width: int) -> list[float]:
    means = []
    for i in range(len(values)):
        window = values[max(0, i - width + 1) : i + 1]
        means.append(sum(window) / len(window))
    return means
