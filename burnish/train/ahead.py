"""Replies sampled ahead of training: step t learns from what the weights after step t - 1 - staleness said.

While the learner is busy with a step, the engine samples and grades a later one. What is sampled with which weights is
decided by the step's number alone, so a run gives the same bits whether both work at once or one after the other, and
whether or not it was killed in between.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from burnish.core.types import Trajectory
from burnish.errors import ArtifactError
from burnish.rollout.engine import Engine
from burnish.train.groups import Rollouts, Taken


class Ahead:
    """Groups of `source`, each asked for `staleness` steps before it is learned.

    The order in both ways of working: at the beginning of step t the engine has the weights after t steps and samples for
    step t + staleness; it is done before it gets new weights and before a checkpoint may be written. So a checkpoint after t
    steps finds the replies of the next `staleness` steps in the log, whole.

    source:    samples a step's groups with the weights that its engine holds.
    steps:     of the whole run; nothing is sampled beyond.
    first:     the step that is learned next.
    at_once:   whether the engine can generate while the learner trains: it is in another process.
    """

    def __init__(self, source: Rollouts, *, staleness: int, steps: int, first: int, at_once: bool) -> None:
        self._source, self._staleness, self._steps = source, staleness, steps
        self._next = first
        self._asked: dict[int, Future[Taken] | Taken] = {}
        self._pool = ThreadPoolExecutor(1, "ahead") if at_once else None

    @property
    def engine(self) -> Engine | None:
        """The source's, idle whenever a step is done."""
        return self._source.engine

    def groups(self, step: int) -> Taken:
        """The groups of step `step`. Their old log-probs are those of the weights that sampled them, as the engine gave them.

        Raises ArtifactError where replies that were sampled ahead of a checkpoint are no longer in the log.
        """
        for later in range(self._next, min(step + self._staleness + 1, self._steps)):
            self._ask(later, after=step)
        self._next = max(self._next, min(step + self._staleness + 1, self._steps))
        taken = self._asked.pop(step)
        taken = taken.result() if isinstance(taken, Future) else taken
        ages = [self._age(step, trajectory) for group in taken.groups for trajectory in group]
        return replace(taken, recorded=True, found={**taken.found, "staleness": sum(ages) / max(len(ages), 1)})

    def learned(self, step: int, updated: bool) -> None:
        """Wait for what is being sampled, then hand the engine the learner's weights where they changed."""
        self._wait()
        self._source.learned(step, updated)

    def close(self) -> None:
        """End what is being sampled; the replies that are graded are in the log."""
        self._source.close()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _ask(self, step: int, *, after: int) -> None:
        """Sample the groups of a step; at once only what this step does not wait for."""
        if self._pool is None or step == after:
            self._wait()
            self._asked[step] = self._timed(step)
        else:
            self._asked[step] = self._pool.submit(self._timed, step)

    def _timed(self, step: int) -> Taken:
        began = time.monotonic()
        taken = self._source.groups(step)
        return replace(taken, found={**taken.found, "sampled_s": time.monotonic() - began})

    def _wait(self) -> None:
        waiting: Iterable[Future[Taken] | Taken] = self._asked.values()
        for asked in waiting:
            if isinstance(asked, Future):
                asked.result()

    def _age(self, step: int, trajectory: Trajectory) -> int:
        """How many steps before this one the weights were made that gave a reply. Raises ArtifactError where they are too new."""
        made = int(trajectory.completion.policy_version.removeprefix("step "))
        if made > max(step - self._staleness, 0):
            raise ArtifactError(
                f"Step {step + 1} learns from replies of the weights after step {max(step - self._staleness, 0)} "
                f"(staleness={self._staleness}), but those that were sampled before the run was interrupted are gone from "
                "rollouts.running.jsonl, and the checkpoint's weights are newer.\n"
                "  Delete the stage's folder and run again: this stage starts over."
            )
        return step - made
