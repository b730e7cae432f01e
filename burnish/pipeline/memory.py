"""How much memory this process may use: of the machine, and of the control groups (containers, Slurm jobs) it runs in."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """total: bytes that there are or that the group may use. free: bytes left of them. limit: what sets them, in words."""

    total: int
    free: int
    limit: str


def memory(root: Path = Path("/")) -> Memory | None:
    """The tightest of the machine's memory and the limits of the process's control groups, version 1 or 2; None off Linux.

    root: where proc and sys are mounted.
    """
    found = list(_limits(root))
    if not found:
        return None
    total = min(found, key=lambda one: one.total)
    free = min(found, key=lambda one: one.free)
    return Memory(total.total, max(free.free, 0), free.limit)


def resident_bytes() -> int:
    """What this process holds in memory; 0 off Linux."""
    with contextlib.suppress(OSError, LookupError):
        return int(_found(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())) * 1024
    return 0


def _limits(root: Path) -> Iterator[Memory]:
    with contextlib.suppress(OSError, LookupError):
        told = (root / "proc/meminfo").read_text()
        values = [int(_found(rf"^{name}:\s+(\d+) kB", told)) * 1024 for name in ("MemTotal", "MemAvailable")]
        yield Memory(values[0], values[1], "the machine")
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                yield from _groups(root / "sys/fs/cgroup", path, ("memory.max", "memory.current", "inactive_file"))
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                yield from _groups(root / "sys/fs/cgroup/memory", path, names)


def _groups(mount: Path, path: str, names: tuple[str, str, str]) -> Iterator[Memory]:
    """The limits of a group and of those above it. Inside a container the path is often that of the host, and only the top exists."""
    limit_file, used_file, reclaimable = names
    parts = [part for part in path.split("/") if part and part != ".."]
    for depth in range(len(parts), -1, -1):
        folder = mount.joinpath(*parts[:depth])
        with contextlib.suppress(OSError, ValueError):
            limit, used = (int((folder / name).read_text()) for name in (limit_file, used_file))
            # Pages of files that were read once go before anything else does.
            with contextlib.suppress(OSError, LookupError):
                used -= int(_found(rf"^{reclaimable} (\d+)", (folder / "memory.stat").read_text()))
            yield Memory(limit, limit - used, f"the limit of the control group /{'/'.join(parts[:depth])}")


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    if match is None:
        raise LookupError(pattern)
    return match[1]


def gib(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**30:.1f} GiB"
