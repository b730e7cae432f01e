"""How much memory is free, so that caches take a share of it and no more."""

from __future__ import annotations

from pathlib import Path

import torch

_UNKNOWN = 4 << 30


def free_bytes(device: torch.device, root: Path = Path("/")) -> int:
    """Bytes that this process may still take on a device: on CPUs the smaller of the system's and the container's.

    4 GiB where the system does not say. root: where /proc and /sys lie.
    """
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    found = [n for n in (_available(root), _container(root)) if n is not None]
    return max(0, min(found, default=_UNKNOWN))


def _available(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    return None


def _container(root: Path) -> int | None:
    """What a control group leaves (version 2); None without a limit."""
    try:
        limit, used = ((root / "sys/fs/cgroup" / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None
