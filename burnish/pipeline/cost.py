"""What a stage cost: wall time, CPU time and peak memory, added up over every session that worked on it.

The account lives in `cost.json` inside the stage's `.partial` folder and is rewritten every few seconds, so a
killed session is counted too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from burnish.core.files import disk_errors

FILE = "cost.json"
EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Cost:
    """wall_s and cpu_s summed over sessions, the highest peak_rss_bytes of them, and how many sessions there were."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_rss_bytes: int = 0
    sessions: int = 0

    def to_json(self) -> dict[str, Any]:
        """The form in cost.json and artifact.json."""
        return asdict(self)

    def beside(self, others: Sequence[Cost]) -> Cost:
        """With the processor time and the memory of processes that ran at the same time."""
        return replace(
            self,
            cpu_s=round(self.cpu_s + sum(other.cpu_s for other in others), 3),
            peak_rss_bytes=self.peak_rss_bytes + sum(other.peak_rss_bytes for other in others),
        )

    @staticmethod
    def from_json(data: Any) -> Cost:
        """The cost in such a form; what is missing counts as zero."""
        known = data if isinstance(data, dict) else {}
        return Cost(
            wall_s=float(known.get("wall_s", 0.0)),
            cpu_s=float(known.get("cpu_s", 0.0)),
            peak_rss_bytes=int(known.get("peak_rss_bytes", 0)),
            sessions=int(known.get("sessions", 0)),
        )

    @staticmethod
    def of_partial(folder: Path) -> Cost:
        """What unfinished work in this folder has cost until now; zero where nothing is recorded."""
        try:
            return Cost.from_json(json.loads((folder / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return Cost()


class Account:
    """Counts one session of this process into `folder`, as a context manager.

    parent: the process that must stay alive; when it is gone this one ends itself. 0 for none.
    """

    def __init__(self, folder: Path, parent: int = 0) -> None:
        self._folder, self._parent = folder, parent
        self._before = Cost.of_partial(folder)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="burnish-cost", daemon=True)
        self._start_wall = self._start_cpu = 0.0

    def __enter__(self) -> Account:
        _reset_peak()
        self._start_wall, self._start_cpu = time.monotonic(), _cpu_s()
        with disk_errors(self._folder):
            self._write()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        # The disk may be full, which is why we are here: the account is then a few seconds short.
        with contextlib.suppress(OSError):
            self._write()

    @property
    def total(self) -> Cost:
        """The cost of all sessions, this one until now included."""
        before = self._before
        return Cost(
            wall_s=round(before.wall_s + time.monotonic() - self._start_wall, 3),
            cpu_s=round(before.cpu_s + _cpu_s() - self._start_cpu, 3),
            peak_rss_bytes=max(before.peak_rss_bytes, _peak_rss()),
            sessions=before.sessions + 1,
        )

    def _write(self) -> None:
        # Not flushed to disk: the worst a power cut does is to lose the account, never the work.
        temporary = self._folder / f".{FILE}"
        temporary.write_text(json.dumps(self.total.to_json()) + "\n", encoding="utf-8")
        os.replace(temporary, self._folder / FILE)

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(min(EVERY_S, 0.5)):
            if self._parent and os.getppid() != self._parent:
                os.kill(os.getpid(), signal.SIGKILL)
            if time.monotonic() - last >= EVERY_S:
                last = time.monotonic()
                with contextlib.suppress(OSError):
                    self._write()


def _cpu_s() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _reset_peak() -> None:
    """Let the peak count from here: stages that share a process must not inherit each other's (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_rss() -> int:
    # ru_maxrss of a child starts at its parent's peak on Linux; VmHWM is the process's own.
    with contextlib.suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        if found:
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
