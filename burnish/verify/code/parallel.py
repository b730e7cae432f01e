"""Many programs graded side by side, one thread a core: the threads only wait for contained processes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from burnish.core.cores import cores
from burnish.core.types import Problem, Verdict
from burnish.verify.base import Verifier, graded


def side_by_side(verifier: Verifier, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
    """The verdict on each (problem, reply), in order: the same as one after another."""
    if min(cores(), len(items)) < 2:
        return [graded(verifier, problem, text) for problem, text in items]
    with ThreadPoolExecutor(min(cores(), len(items)), thread_name_prefix="code") as threads:
        return list(threads.map(lambda item: graded(verifier, *item), items))
