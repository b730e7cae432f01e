"""What a stage would need, said before it runs: the peak memory of a node and the time, or what must be there first to know."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.core.files import read_json
from burnish.errors import DataError, TrainingError
from burnish.pipeline.machine import Machine
from burnish.pipeline.memory import Memory, gib
from burnish.pipeline.progress import duration

if TYPE_CHECKING:
    from burnish.pipeline.stage import Stage

# Estimates are within 15 % of what runs; what is refused for want of memory must be short of it by more than that.
MARGIN = 0.85


@dataclass(frozen=True, slots=True)
class Look:
    """Where an estimate may look. finished: the folder of a stage's artifact, or None where it is not finished."""

    machine: Machine
    cache: Path
    data: Path | None
    finished: Callable[[Stage], Path | None]

    def model_like(self, stage: Stage) -> Path | None:
        """A folder with the sizes and the tokenizer of a stage's model: its own once it is finished, or one like it before."""
        folder = self.finished(stage)
        return folder / "model" if folder else stage.model_like(self)

    def config(self, stage: Stage) -> dict[str, Any] | None:
        """The config.json of the model that a stage makes; None where it is not known yet."""
        folder = self.model_like(stage)
        try:
            found = read_json(folder / "config.json") if folder else None
        except DataError:
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a stage needs.

    memory:    bytes of one process at its peak, by part ("weights", "activations" …); empty where it is not known.
    processes: how many of them share a node.
    seconds:   of work, from the stage's beginning; None where it is not known.
    notes:     what is not known and until when, and which measurement a number rests on.
    """

    memory: Mapping[str, int] = field(default_factory=dict)
    processes: int = 1
    seconds: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def peak(self) -> int:
        """Bytes of a node at the peak; 0 where that is not known."""
        return sum(self.memory.values()) * self.processes

    def text(self) -> str:
        """One line of a plan."""
        known = [f"memory {gib(self.peak)}"] if self.memory else []
        known += [f"time {duration(self.seconds)}"] if self.seconds is not None else []
        return " · ".join([*known, *self.notes])

    def to_json(self) -> dict[str, Any]:
        """The estimate as `burnish plan --json` prints it."""
        return {
            "memory_bytes": self.peak or None, "memory_parts": dict(self.memory), "processes": self.processes,
            "seconds": None if self.seconds is None else round(self.seconds, 1), "notes": list(self.notes),
        }  # fmt: skip


def with_record(estimate: Estimate | None, partial: Path) -> Estimate | None:
    """The estimate of a stage that was interrupted: the time left at the rate of its own steps, where it has logged any."""
    try:
        last = json.loads((partial / "metrics.jsonl").read_bytes().rstrip().rpartition(b"\n")[2])
        step, steps, wall_s = last["step"], last["steps"], last["wall_s"]
    except (OSError, ValueError, KeyError, TypeError):
        return estimate
    seconds = wall_s / step * (steps - step)
    notes = tuple(note for note in (estimate.notes if estimate else ()) if not note.startswith("time unknown"))
    told = f"left after {step:,} of {steps:,} steps, at their rate"
    return replace(estimate or Estimate(), seconds=seconds, notes=(told, *notes))


def check_room(stage: str, parts: Mapping[str, int], resident: int, there: Memory, processes: int) -> None:
    """Raise TrainingError when this node's processes, each of which holds `resident` bytes of its `parts`, lack room for the rest."""
    needed = sum(parts.values())
    if (needed - resident) * processes * MARGIN > there.free:
        room = there.free + resident * processes
        raise TrainingError(too_little(stage, needed * processes, room, there.limit, parts))


def too_little(stage: str, needed: int, there: int, limit: str, parts: Mapping[str, int]) -> str:
    """The message for memory that cannot be enough: how much, for what, and what to change."""
    told = ", ".join(f"{name} {gib(size)}" for name, size in sorted(parts.items(), key=lambda part: -part[1]))
    return (
        f"{stage}: training needs about {gib(needed)} of memory and there are {gib(there)} ({limit}), so it would be killed on "
        f"the way.\n  It needs: {told}.\n"
        "  Fewer activations: --machine \"laptop(micro_tokens=1024)\" or recompute='layers', which change no result. Smaller "
        "optimizer state: Adafactor() or Muon(). Fewer trained weights: trains=LoRA(). Fewer processes on this node help too."
    )
