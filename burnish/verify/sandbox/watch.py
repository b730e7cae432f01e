"""Watching one program from start to end: output, time, memory, and the end of all its processes. Runs inside.

The watcher is the first process of the program's own process namespace, so the program can neither see past it nor kill
it, and whatever the program leaves running ends with it.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import time
from dataclasses import dataclass, field
from typing import Any

TICK_S = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_WAITED = 0.05  # of the wall time spent waiting for a core: above this the machine is to blame, not the program


@dataclass(slots=True)
class Process:
    """One live process: seconds of processor time with its reaped children, and resident bytes."""

    pid: str
    parent: str
    cpu_s: float
    rss: int


@dataclass(slots=True)
class Watch:
    """What is known about the running program. `streams` maps a pipe to what came out of it."""

    child: int
    limits: dict[str, Any]
    setup: dict[str, Any]
    streams: dict[int, bytearray]
    folder: str
    start: float = field(default_factory=time.monotonic)
    periods: int = 1  # of wall_s that it may take where the machine keeps it waiting
    wall_s: float = 0.0
    verdict: dict[str, Any] = field(default_factory=dict)

    def until_end(self, link: int) -> int | None:
        """The program's exit code, negative for a signal; None when it was stopped, with the reason in `verdict`."""
        self.wall_s = self.limits["wall_s"]
        ended = os.pidfd_open(self.child)
        poll = select.poll()
        for pipe in (*self.streams, ended):
            poll.register(pipe, select.POLLIN)
        poll.register(link, 0)  # nobody speaks on it while a program runs; its end is the end of our master
        code = None
        tick = time.monotonic() + TICK_S
        while not self.verdict and code is None:
            now = time.monotonic()
            for descriptor, event in poll.poll(max(0.0, min(tick, self.start + self.wall_s) - now) * 1000 + 1):
                if descriptor in self.streams:
                    if not self._read(descriptor):
                        poll.unregister(descriptor)
                elif descriptor == ended:
                    code = self._reap()
                elif event & (select.POLLHUP | select.POLLERR):
                    self.verdict = {"status": "lost", "why": "the host went away"}
            now = time.monotonic()
            if code is None and now >= min(tick, self.start + self.wall_s):
                tick = now + TICK_S
                self._measure()
        os.close(ended)
        return code

    def _reap(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])

    def _read(self, pipe: int) -> bool:
        """Take what is in the pipe; False at its end."""
        try:
            part = os.read(pipe, 1 << 16)
        except BlockingIOError:
            return True
        most = self.limits["output_kb"] << 10
        kept = self.streams[pipe]
        if len(kept) + len(part) > most:
            self.verdict = {"status": "output", "why": f"printed more than {self.limits['output_kb']} KiB"}
        kept += part[: most - len(kept)]
        return bool(part)

    def drain(self) -> None:
        """Read what is still in the pipes; nobody writes any more."""
        for pipe in self.streams:
            while not self.verdict.get("why", "").startswith("printed") and self._read_now(pipe):
                pass
            os.close(pipe)

    def _read_now(self, pipe: int) -> bool:
        ready, _, _ = select.select([pipe], [], [], 0)
        return bool(ready) and self._read(pipe)

    def _measure(self) -> None:
        """Compare time and memory with the limits."""
        wall = time.monotonic() - self.start
        family = self.family()
        cpu = sum(p.cpu_s for p in family) + reaped_s()
        memory = sum(p.rss for p in family) - len(family) * self.setup["base_rss"]
        if cpu > self.limits["cpu_s"]:
            self.verdict = too_slow(self.limits)
        elif memory > self.limits["memory_mb"] << 20:
            why = f"used more than {self.limits['memory_mb']} MiB of memory in {len(family)} processes"
            self.verdict = {"status": "memory", "why": why}
        elif wall > self.wall_s:
            starved = self._starved(family, wall)
            self.periods -= 1
            if starved and self.periods:
                self.wall_s += self.limits["wall_s"]
                return
            why = f"not done after {self.wall_s:g} s on the clock, with {cpu:.2f} s of processor time"
            self.verdict = {"status": "timeout", "why": why, "starved": starved}
        elif not self.setup["namespaces"]:
            self._measure_files()

    def _measure_files(self) -> None:
        """Without a file system of its own the folder is measured; with one the kernel keeps the limit."""
        count = size = 0
        for place, folders, names in os.walk(self.folder):
            count += len(folders) + len(names)
            for name in names:
                try:
                    size += os.lstat(os.path.join(place, name)).st_blocks * 512
                except OSError:
                    continue
        if size > self.limits["disk_mb"] << 20:
            self.verdict = {"status": "error", "why": f"wrote more than {self.limits['disk_mb']} MiB of files"}
        elif count > self.limits["files"]:
            self.verdict = {"status": "error", "why": f"made more than {self.limits['files']} files"}

    def family(self) -> list[Process]:
        """All live processes that descend from this one."""
        listed = os.open(".", os.O_RDONLY, dir_fd=self.setup["proc"])
        everyone = [self._process(name) for name in os.listdir(listed) if name.isdigit()]
        os.close(listed)
        children: dict[str, list[Process]] = {}
        for process in everyone:
            if process:
                children.setdefault(process.parent, []).append(process)
        found: list[Process] = []
        todo = [os.readlink("self", dir_fd=self.setup["proc"])]
        while todo:
            below = children.pop(todo.pop(), [])
            found += below
            todo += [p.pid for p in below]
        return found

    def _process(self, pid: str) -> Process | None:
        text = self._text(f"{pid}/stat")
        if text is None:
            return None
        parts = text[text.rindex(")") + 2 :].split()
        return Process(pid, parts[1], sum(map(int, parts[11:15])) / _TICKS, int(parts[21]) * _PAGE)

    def _text(self, path: str) -> str | None:
        try:
            descriptor = os.open(path, os.O_RDONLY, dir_fd=self.setup["proc"])
        except OSError:
            return None
        try:
            return os.read(descriptor, 4096).decode("utf-8", "replace")
        except OSError:  # it ended between the two calls
            return None
        finally:
            os.close(descriptor)

    def _starved(self, family: list[Process], wall: float) -> bool:
        """Whether the program waited for a core, rather than for itself; True where the kernel does not say."""
        waits = [self._text(f"{p.pid}/schedstat") for p in family]
        known = [int(text.split()[1]) / 1e9 for text in waits if text and len(text.split()) == 3]
        return not known or max(known) > _WAITED * wall

    def end_all(self) -> None:
        """Kill what is left, and wait until it is gone."""
        while True:
            if self.setup["namespaces"]:
                _kill(-1)
            else:
                _kill(-self.child)
                for process in self.family():
                    _kill(int(process.pid))
            try:
                while os.waitpid(-1, 0 if self.setup["namespaces"] else os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            time.sleep(0.001)

    def result(self, code: int | None) -> dict[str, Any]:
        """The report: every limit is checked once more with the exact times."""
        cpu = reaped_s()
        wall = time.monotonic() - self.start
        if not self.verdict and (cpu > self.limits["cpu_s"] or (code == -signal.SIGXCPU and cpu > 1)):
            self.verdict = too_slow(self.limits)
        verdict = self.verdict or judged(code, bytes(list(self.streams.values())[-1]), wall)
        ended = code if verdict["status"] in ("ok", "error", "memory") else None
        return {"exit_code": ended, "seconds": cpu, "wall_s": wall, **verdict}


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def reaped_s() -> float:
    """Processor seconds of the children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def too_slow(limits: dict[str, Any]) -> dict[str, Any]:
    """The verdict on a program that computes for too long."""
    return {"status": "timeout", "why": f"used more than {limits['cpu_s']:g} s of processor time"}


def judged(code: int | None, stderr: bytes, wall: float) -> dict[str, Any]:
    """The verdict on a program that ended by itself."""
    last = stderr.rstrip().rsplit(b"\n", 1)[-1].decode("utf-8", "replace")[:200]
    if code == 0:
        return {"status": "ok", "why": f"ended with exit code 0 after {wall:.2f} s"}
    if code is not None and code < 0:
        return {"status": "error", "why": f"ended by signal {-code} ({signal.strsignal(-code)})"}
    if last.startswith(("MemoryError", "terminate called after throwing an instance of 'std::bad_alloc")):
        return {"status": "memory", "why": "was refused memory beyond its limit (MemoryError)"}
    return {"status": "error", "why": f"ended with exit code {code}" + (f": {last}" if last else "")}
