"""How many processors there are to use."""

from __future__ import annotations

import os


def cores() -> int:
    """The processors this process may use; all of the machine's where the system cannot say."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
