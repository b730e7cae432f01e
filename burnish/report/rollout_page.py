"""The page of an RL run's replies: one HTML file that opens offline, with tables by source and by stretch of training.

It is the page of evaluations (eval_page) over another kind of file: a problem of a step is a problem, its group of replies are
the samples.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from burnish.errors import ArtifactError
from burnish.pipeline.store import PARTIAL
from burnish.report.eval_page import write_sides
from burnish.report.rollouts import LEARNED, Counts, Reply, Rollouts, Wanted, at

PAGE = "rollouts.html"
STRETCHES = 12  # parts of a run that the table has at most
_FIELDS = (
    ("task", "Verifier"),
    ("category", "Source"),
    ("step", "Steps"),
    ("verdict", "Verdict"),
    ("rule", "Reason"),
    ("flag", "Flag"),
)


def write_rollouts(folder: Path, out: Path | None = None, wanted: Wanted | None = None) -> Path:
    """Write the page of the replies in `folder`, those that are `wanted`, by default as `<folder>/rollouts.html`; returns its path.

    Raises ArtifactError when no step has been learned yet, or no reply is wanted.
    """
    side = Learned(folder, wanted or Wanted())
    everything, sources = Counts(), dict[str, Counts]()
    steps: dict[int, Counts] = {}
    verifiers: dict[str, None] = {}
    for _, _, reply in side.chosen():
        verifiers[reply.verifier or UNNAMED] = None
        for counts in (everything, sources.setdefault(reply.source, Counts()), steps.setdefault(reply.step, Counts())):
            counts.add(reply)
    if not everything.n:
        raise ArtifactError(
            f"{folder} has no replies to show: {'none fits the filters' if wanted else 'no step has been learned yet'}.\n"
            f"  {'Ask for others.' if wanted else 'Wait for the first step, or read them with burnish show --rollouts.'}"
        )
    side.width = stretch(min(steps), max(steps))
    head = {
        "title": side.label, "kind": "rollouts", "fields": _FIELDS, "sides": [side], "rows": [], "everything": _row("", everything),
        "by_source": [_row(name, counts) for name, counts in sorted(sources.items())],
        "by_steps": _by_steps(steps, side), "unread": side.unread, "steps": (min(steps), max(steps)),
    }  # fmt: skip
    return write_sides(out or folder / PAGE, [side], [{"task": name} for name in verifiers], head)


UNNAMED = "unnamed"  # a verifier that the record does not name


def stretch(first: int, last: int) -> int:
    """How many steps a stretch has: 1, 2, 5, 10, … so that at most STRETCHES of them hold all steps."""
    wanted = max((last - first + 1) / (STRETCHES - 1), 1)
    power = 10 ** math.floor(math.log10(wanted))
    return next(int(power * mark) for mark in (1, 2, 5, 10) if power * mark >= wanted)


def _by_steps(steps: Mapping[int, Counts], side: Learned) -> list[dict[str, Any]]:
    rows: dict[str, Counts] = {}
    for step in sorted(steps):
        rows.setdefault(side.stretch_of(step), Counts()).join(steps[step])
    return [_row(name, counts) for name, counts in rows.items()]


def _row(name: str, counts: Counts) -> dict[str, Any]:
    return {
        **counts.to_json(), "name": name, "score": counts.pass_rate, "interval": None,
        "cut_share": counts.cut / counts.n if counts.n else None, "flag_share": counts.flagged / counts.n if counts.n else None,
    }  # fmt: skip


@dataclass(slots=True)
class Learned:
    """The replies of learned steps as the page reads them (eval_pack.Side). width: steps a stretch."""

    folder: Path
    wanted: Wanted
    model: str = ""
    graded_only: bool = False
    width: int = 1
    unread: int = field(default=0)

    @property
    def label(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name.removesuffix(PARTIAL)

    @property
    def replies(self) -> Path:
        """The file."""
        return self.folder / LEARNED

    def chosen(self) -> Iterator[tuple[int, int, Reply]]:
        """(byte offset, bytes, reply) of each that is wanted."""
        rollouts = Rollouts(self.folder)
        yield from ((start, size, reply) for start, size, reply in rollouts.learned() if reply in self.wanted)
        self.unread = rollouts.unread

    def records(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """The same as records of the page."""
        for start, size, reply in self.chosen():
            yield start, size, self._record(reply)

    def at(self, file: IO[bytes], offset: int) -> dict[str, Any]:
        """The record that begins at an offset."""
        return self._record(at(file, offset))

    def stretch_of(self, step: int) -> str:
        """The stretch of training that a step is in."""
        if self.width == 1:
            return str(step)
        first = (step - 1) // self.width * self.width + 1
        return f"{first:,} to {first + self.width - 1:,}"

    def _record(self, reply: Reply) -> dict[str, Any]:
        worth = [
            f"step {reply.step:,}",
            "" if reply.reward is None or reply.reward == reply.score else f"reward {reply.reward:.4g}",
            "" if reply.advantage is None else f"advantage {reply.advantage:+.3f}",
        ]
        return {
            "task": reply.verifier or UNNAMED,
            "id": f"{reply.problem}@{reply.step}.{reply.group}",
            "category": reply.source,
            "steps": self.stretch_of(reply.step),
            "sample": reply.number,
            "prompt": [{"role": role, "content": text} for role, text in reply.prompt],
            "response": reply.text,
            "score": reply.score,
            "why": reply.why,
            "finish": reply.finish,
            "tokens": reply.tokens,
            "target": reply.target,
            "flags": reply.flags,
            "note": " · ".join(filter(None, worth)),
        }
