"""The files in which replies outlive a kill.

rollouts.jsonl           every reply of the steps that were learned, in the order of groups, with its step, group, reward,
                         advantage and what the monitors see in it
rollouts.running.jsonl   replies of steps that were not learned yet, each appended when it is graded; gone when the run ends

From the moment it is graded, a reply is in one of the two or in both.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from burnish.core.files import JsonlLog, write_atomic
from burnish.core.rows import trajectory_from_json, trajectory_to_json
from burnish.core.types import Trajectory

FILE, RUNNING = "rollouts.jsonl", "rollouts.running.jsonl"


class RolloutLog:
    """The replies of a run by step (from 1), group and number k. `add` and `kept` may be called from another thread than `write`.

    done: the steps of the checkpoint. What was sampled after it is given back by `kept` instead of being sampled again.
    """

    def __init__(self, folder: Path, *, done: int) -> None:
        self._log, self._running = JsonlLog(folder / FILE), JsonlLog(folder / RUNNING)
        self._lock = threading.Lock()
        self._kept: dict[int, dict[tuple[int, int], dict[str, Any]]] = {}
        self._lines: dict[int, int] = {}  # by step, of those that the file has beyond the checkpoint
        self._before = 0  # lines of steps that are done
        for record in self._log.records:
            step, group = record["step"], record["group"]
            if step <= done:
                self._before += 1
                continue
            self._lines[step] = self._lines.get(step, 0) + 1
            mine = self._kept.setdefault(step, {})
            mine[group, sum(other == group for other, _ in mine)] = record
        for record in self._running.records:
            if record["step"] > done:
                self._kept.setdefault(record["step"], {})[record["group"], record["k"]] = record
        # They are in the file; a long run would fill memory with them.
        self._log.records.clear()

    def kept(self, step: int) -> dict[tuple[int, int], Trajectory]:
        """The replies of step `step` by (group, k) that an interrupted run left; they are given once."""
        with self._lock:
            return {place: trajectory_from_json(record) for place, record in self._kept.pop(step, {}).items()}

    def add(self, step: int, group: int, k: int, trajectory: Trajectory) -> None:
        """Keep a reply of a step that was not learned yet; it is in the operating system's hands when this returns."""
        record = {"step": step, "group": group, "k": k, **trajectory_to_json(trajectory)}
        with self._lock:
            self._running.append(record)

    def write(
        self,
        step: int,
        groups: Sequence[Sequence[Trajectory]],
        advantages_PG: Sequence[Sequence[float]],
        flags_PG: Sequence[Sequence[Mapping[str, str]]],
        reward: Callable[[Trajectory], float | None],
    ) -> None:
        """Close a step: put its replies, each with its reward, its advantage and what the monitors see in it, behind those of the
        step before.
        """
        lines = sum(len(group) for group in groups)
        if self._lines.pop(step, 0) != lines:
            self._lines.clear()
            self._log.keep(self._before)
            for g, (group, row, seen) in enumerate(zip(groups, advantages_PG, flags_PG, strict=True)):
                for trajectory, advantage, flagged in zip(group, row, seen, strict=True):
                    worth = {"reward": reward(trajectory), "advantage": advantage}
                    record = {"step": step, "group": g, **worth, **trajectory_to_json(trajectory)}
                    self._log.append(record | {"flags": dict(flagged)} if flagged else record)
                    self._log.records.clear()
        self._before += lines
        self._forget(step)

    def _forget(self, step: int) -> None:
        """Take the replies of a step that is written, and of those before it, out of the running file."""
        with self._lock:
            later = [record for record in self._running.records if record["step"] > step]
            if not later:
                self._running.keep(0)
                return
            path = self._running.path
            self._running.close()
            write_atomic(path, "".join(json.dumps(record, ensure_ascii=True) + "\n" for record in later))
            self._running = JsonlLog(path)

    def finish(self) -> None:
        """Remove what only a run that goes on would need."""
        self._running.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files."""
        self._log.close()
        self._running.close()
