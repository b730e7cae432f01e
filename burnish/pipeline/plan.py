"""What a recipe would do: each stage's artifact, whether it is there, why it would run, and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from burnish.core.fingerprint import fingerprint
from burnish.errors import DataError, Error, MissingData, RecipeError, nearest
from burnish.pipeline.changes import Change, changes_of, told
from burnish.pipeline.cost import Cost
from burnish.pipeline.estimate import MARGIN, Estimate, Look, too_little, with_record
from burnish.pipeline.field_types import check_types
from burnish.pipeline.machine import Machine
from burnish.pipeline.memory import memory
from burnish.pipeline.progress import duration
from burnish.pipeline.ranks import machine_of
from burnish.pipeline.stage import Stage, folder_name, inputs, ordered
from burnish.pipeline.store import Artifact, Store

State = Literal["cached", "partial", "run"]


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of a plan.

    state:    cached (finished), partial (an interrupted run left work; it goes on), run (from its beginning).
    changes:  against `before`, the finished artifact of the same name that is most like it; empty when there is none.
    cost:     recorded for a cached artifact or for the work in a partial one.
    headline: the stage's own numbers.
    estimate: what it would need of the machine; None for a finished stage, and where that is not said.
    """

    name: str
    fingerprint: str
    state: State
    changes: tuple[Change, ...]
    before: Artifact | None
    cost: Cost
    headline: dict[str, Any]
    inputs: tuple[str, ...]
    estimate: Estimate | None = None

    @property
    def why(self) -> str:
        """Why it would run, or what is there already, in a few words."""
        spent = f"{duration(self.cost.wall_s)} recorded"
        if self.state == "cached":
            return spent
        reason = told(list(self.changes)) if self.changes else "new"
        return f"{reason}; goes on ({spent})" if self.state == "partial" else reason

    def to_json(self) -> dict[str, Any]:
        """The step as `burnish plan --json` prints it."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "state": self.state,
            "why": self.why,
            "changes": [{"path": c.path, "old": c.old, "new": c.new} for c in self.changes],
            "compared_with": self.before.folder.name if self.before else None,
            "cost": self.cost.to_json() if self.state != "run" else None,
            "headline": self.headline,
            "inputs": list(self.inputs),
            "estimate": self.estimate.to_json() if self.estimate else None,
        }


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps of a recipe, inputs before what needs them.

    missing: the data that is not on this machine, a text each: what and where it was looked for, then the ways to get it.
    """

    steps: tuple[Step, ...]
    missing: tuple[str, ...] = ()

    @property
    def to_run(self) -> tuple[Step, ...]:
        """The steps that are not finished."""
        return tuple(step for step in self.steps if step.state != "cached")

    def to_json(self) -> dict[str, Any]:
        """The plan as `burnish plan --json` prints it."""
        steps = [step.to_json() for step in self.steps]
        return {"stages": steps, "to_run": len(self.to_run), "missing": list(self.missing)}

    def text(self) -> str:
        """The plan as a table; the numbers of each stage that would run stand below it."""
        rows = [(s.name, s.fingerprint, s.state, s.why) for s in self.steps]
        widths = [max(len(title), *(len(row[i]) for row in rows)) for i, title in enumerate(("stage", "artifact", ""))]
        lines = [f"{'stage':<{widths[0]}}  {'artifact':<{widths[1]}}  {'':<{widths[2]}}  why"]
        for step, row in zip(self.steps, rows, strict=True):
            lines.append(f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:<{widths[2]}}  {row[3]}")
            if step.headline and step.state != "cached":
                lines.append("    " + " · ".join(f"{key} {_number(value)}" for key, value in step.headline.items()))
            if step.estimate:
                lines.append(f"    {step.estimate.text()}")
        spent = sum(step.cost.wall_s for step in self.steps if step.state == "cached")
        cached = len(self.steps) - len(self.to_run)
        lines.append("")
        lines.append(
            f"{len(self.to_run)} of {len(self.steps)} stages would run"
            + (f"; {cached} finished ({duration(spent)} recorded)." if cached else ".")
        )
        if self.missing:
            lines += ["", "Not on this machine, so `burnish run` would stop at once and name the ways to get it:"]
            lines += [f"  {text.splitlines()[0]}" for text in self.missing]
        return "\n".join(lines)


def plan(
    root: Stage, *, runs: Path, data: Path | None = None, until: str | None = None, machine: Machine | None = None,
    cache: Path | None = None,
) -> Plan:  # fmt: skip
    """The plan of a recipe over the store `runs`. Nothing is computed or written.

    Every stage that would run checks itself; a finished one has no more need of its data. Data that is not on this machine
    stands in the plan. Raises one error that holds all the stages' other complaints.
    With a machine and a cache the plan says what each training stage would need there; RecipeError for more memory than there is.
    """
    store = Store(runs)
    stages = wanted(root, until)
    missing = check_all([stage for stage in stages if not store.complete(stage)], data, machine)
    ours = {folder_name(stage) for stage in stages}

    def finished(stage: Stage) -> Path | None:
        return store.folder(stage) if store.complete(stage) else None

    def look(stage: Stage) -> Look | None:
        return Look(machine_of(stage, machine), cache, data, finished) if machine and cache else None

    steps = tuple(_step(stage, store, ours, look(stage)) for stage in stages)
    if machine and machine.device == "cpu" and machine.name != "cluster":
        _check_memory(steps)
    return Plan(steps, missing)


def _check_memory(steps: Sequence[Step]) -> None:
    """Raise RecipeError for a stage that this computer could never hold."""
    there = memory()
    for step in steps:
        if there and step.estimate and step.estimate.peak * MARGIN > there.total:
            parts = {name: size * step.estimate.processes for name, size in step.estimate.memory.items()}
            raise RecipeError(too_little(step.name, step.estimate.peak, there.total, there.limit, parts))


def wanted(root: Stage, until: str | None = None) -> list[Stage]:
    """The stages to have, in order: all of them, or those named `until` and what they need.

    Raises RecipeError, with the nearest name, when no stage is named so.
    """
    stages = ordered(root)
    if until is None:
        return stages
    ends = [stage for stage in stages if stage.name == until]
    if not ends:
        raise RecipeError(f"--until {until}: no such stage. {nearest(until, {s.name for s in stages})}")
    needed = {folder_name(part) for end in ends for part in ordered(end)}
    return [stage for stage in stages if folder_name(stage) in needed]


def check_all(stages: list[Stage], data: Path | None, machine: Machine | None = None) -> tuple[str, ...]:
    """Let every stage check itself, on a machine where one is given; returns what MissingData says, each once. Raises one error with all else that is wrong."""
    found: list[tuple[str, Error]] = []
    missing: dict[str, None] = {}
    for stage in stages:
        try:
            check_types(stage)
            if machine is not None:
                stage.check_on(machine)
            stage.check(data)
        except MissingData as error:
            missing |= dict.fromkeys(error.texts)
        except Error as error:
            found.append((stage.name, error))
    if not found:
        return tuple(missing)
    kind = DataError if all(isinstance(error, DataError) for _, error in found) else RecipeError
    texts = [str(error) if str(error).startswith(name) else f"{name}: {error}" for name, error in found]
    # One missing file is often met by several stages; its text is enough once.
    distinct = list({str(error): text for (_, error), text in zip(found, texts, strict=True)}.values())
    if len(distinct) == 1:
        raise kind(distinct[0]) from found[0][1]
    raise kind(f"{len(distinct)} things in this recipe cannot work:\n" + "\n".join(f"- {text}" for text in distinct))


def _step(stage: Stage, store: Store, ours: set[str], look: Look | None) -> Step:
    folder, partial = store.folder(stage), store.partial(stage)
    state: State = "cached" if store.complete(stage) else "partial" if partial.is_dir() else "run"
    before, found = None, list[Change]()
    spent = Cost()
    if state == "cached":
        spent = Artifact.open(folder).cost
    else:
        before, found = most_like(stage, store, ours)
        spent = Cost.of_partial(partial)
    return Step(
        name=stage.name,
        fingerprint=fingerprint(stage),
        state=state,
        changes=tuple(found),
        before=before,
        cost=spent,
        headline=stage.headline(),
        inputs=tuple(folder_name(part) for part in inputs(stage)),
        estimate=with_record(stage.estimate(look), partial) if look and state != "cached" else None,
    )


def most_like(stage: Stage, store: Store, ours: set[str]) -> tuple[Artifact | None, list[Change]]:
    """The finished artifact of the same name with the fewest changes, the newest of equals, and those changes.

    Artifacts of the same recipe (`ours`) are other stages, not earlier versions of this one.
    """
    best: Artifact | None = None
    fewest: list[Change] = []
    for made in store.artifacts(stage.name):
        if made.folder.name in ours:
            continue
        found = changes_of(stage, made.stage, made.inputs)
        if best is None or len(found) < len(fewest):
            best, fewest = made, found
    return best, fewest


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
