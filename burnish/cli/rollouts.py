"""`burnish show RUN --rollouts`: what an RL run wrote, reply by reply, from a finished run or one that is going on."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from burnish.cli.flags import out
from burnish.errors import RecipeError

if TYPE_CHECKING:
    from burnish.report.rollouts import Counts, Reply, Wanted

Sort = Literal["oldest", "newest", "best", "worst", "longest", "shortest", "surprising"]
_WIDE = 1200  # characters of a text that are shown


@dataclass(frozen=True)
class Asked:
    """Which replies, how many and in which order."""

    wanted: Wanted
    limit: int
    sort: Sort
    json: bool
    page: Path | None


def steps_of(step: int | None, steps: str) -> tuple[float, float]:
    """First and last step that --step and --steps name. Raises RecipeError for what names none."""
    if step is not None and steps:
        raise RecipeError(f"--step {step} and --steps {steps}: give one of the two.")
    if step is not None:
        return step, step
    first, colon, last = steps.partition(":")
    try:
        ends = (float(int(first)) if first else -math.inf, float(int(last)) if last else math.inf)
    except ValueError:
        ends = (math.inf, -math.inf)
    if steps and (not colon or ends[0] > ends[1]):
        raise RecipeError(
            f"--steps {steps}: these are no steps.\n  Write the first and the last, 10:20; 10: and :20 are open."
        )
    return ends


def show_rollouts(folder: Path, asked: Asked) -> int:
    """Print the replies with a summary first, or write their page."""
    from burnish.report.rollout_page import write_rollouts
    from burnish.report.rollouts import Rollouts, check_names

    if asked.limit < 0:
        raise RecipeError(f"--limit {asked.limit}: give a number from 0 up; 0 shows all.")
    if asked.page is not None:
        out(f"Page: {write_rollouts(folder, asked.page, asked.wanted)}")
        return 0
    rollouts = Rollouts(folder)
    counts, chosen = _chosen(rollouts, asked)
    if not counts.n:
        check_names(asked.wanted, rollouts)
    if asked.json:
        replies = [reply.to_json() for reply in chosen]
        out({"folder": str(folder), **counts.to_json(), "unread": rollouts.unread, "replies": replies})
        return 0
    out("\n".join(_text(folder, counts, chosen, rollouts.unread)))
    return 0


def _chosen(replies: Iterable[Reply], asked: Asked) -> tuple[Counts, list[Reply]]:
    """What all wanted replies are like, and those to show; no more than these are held in memory."""
    from burnish.report.rollouts import Counts

    counts = Counts()

    def counted() -> Iterator[Reply]:
        for reply in replies:
            if reply in asked.wanted:
                counts.add(reply)
                yield reply

    key, most = _order(asked.sort), asked.limit or None
    if key is None:
        stream = counted()
        chosen = list(itertools.islice(stream, most))
        for _ in stream:  # the rest is counted too
            pass
    else:
        chosen = sorted(counted(), key=key) if most is None else heapq.nsmallest(most, counted(), key=key)
    return counts, chosen


def _order(sort: Sort) -> Callable[[Reply], Any] | None:
    """What replies are sorted by, the least first; those without that number last. None: as they are in the file."""

    def by(value: Callable[[Reply], float | None], sign: int) -> Callable[[Reply], Any]:
        def key(reply: Reply) -> tuple[bool, float, int, int, int]:
            found = value(reply)
            return (found is None, sign * (found or 0.0), reply.step, reply.group, reply.number)

        return key

    orders: dict[str, Callable[[Reply], Any] | None] = {
        "oldest": None,
        "newest": by(lambda reply: reply.step, -1),
        "best": by(lambda reply: reply.reward, -1),
        "worst": by(lambda reply: reply.reward, 1),
        "longest": by(lambda reply: reply.tokens, -1),
        "shortest": by(lambda reply: reply.tokens, 1),
        "surprising": by(lambda reply: None if reply.advantage is None else abs(reply.advantage), -1),
    }
    return orders[sort]


def summary(counts: Counts) -> str:
    """Counts and means in a line."""
    if not counts.n:
        return "no reply, or none that fits the flags"
    share = f" ({counts.cut / counts.n:.1%})" if counts.cut else ""
    parts = [
        f"{counts.n:,} {'reply' if counts.n == 1 else 'replies'}",
        f"{counts.ungraded:,} ungraded",
        f"{counts.cut:,} cut{share}",
        f"{counts.flagged:,} flagged",
        "" if counts.mean_reward is None else f"mean reward {counts.mean_reward:.3f}",
        "" if counts.pass_rate is None else f"{counts.pass_rate:.1%} passed",
        f"{counts.tokens / counts.n:,.0f} tokens",
        f"{counts.aborted:,} given up by the engine" if counts.aborted else "",
    ]
    return " · ".join(filter(None, parts))


def _text(folder: Path, counts: Counts, chosen: list[Reply], unread: int) -> Iterator[str]:
    yield f"{folder.name}: {summary(counts)}"
    if unread:
        yield f"{unread:,} {'line' if unread == 1 else 'lines'} could not be read as replies."
    if len(chosen) < counts.n:
        yield f"Shown: {len(chosen):,} of them; --limit N shows more, --page FILE.html all."
    for reply in chosen:
        yield from ("", *block(reply))


def block(reply: Reply) -> Iterator[str]:
    """A reply for the terminal: where it is and what it is worth, then its texts, indented below their names."""
    from burnish.data.shown import one_line, visible

    worth = [
        "ungraded" if reply.reward is None else f"reward {reply.reward:.4g}",
        "not learned yet" if reply.advantage is None else f"advantage {reply.advantage:+.3f}",
        f"score {reply.score:.4g}" if reply.score is not None and reply.score != reply.reward else "",
    ]
    where = [
        f"step {reply.step}", f"group {reply.group}", f"reply {reply.number}", one_line(reply.source, 60) or "no source",
        f"verifier {one_line(reply.verifier, 60)}", *worth, visible(reply.finish), f"{reply.tokens:,} tokens",
    ]  # fmt: skip
    yield " · ".join(filter(None, where))
    for role, text in reply.prompt:
        yield from _part(visible(role), text, end=True)
    yield from _part("reply", reply.text)
    yield from _part("target", reply.target)
    yield from _part("why", reply.why)
    for name, text in reply.flags.items():
        yield from _part("flag", f"{name}: {text}" if text else name)


def _part(name: str, text: str, *, end: bool = False) -> Iterator[str]:
    from burnish.data.shown import short, visible

    if not text:
        return
    # What is asked stands at the end of a prompt; worked examples come before it.
    kept = (
        f"… {len(text) - _WIDE:,} characters …\n{text[-_WIDE:]}"
        if end and len(text) > 2 * _WIDE
        else short(text, _WIDE)
    )
    first, *rest = visible(kept).split("\n")
    yield f"  {name:<9} {first}".rstrip()
    yield from (f"            {line}".rstrip() for line in rest)
