"""What engines that a program serves have in common: a link to it, and weights that it takes from shared memory."""

from __future__ import annotations

from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.serving import Link, Serving
from burnish.rollout.shared_weights import SharedWeights


class ServedEngine:
    """Abstract: an engine outside the learner's process.

    weights: may be shared with other engines, which then take them when their owner says so.
    """

    def __init__(self, policy: Policy, machine: Machine, weights: SharedWeights, console: Console | None) -> None:
        self._policy, self._machine, self._weights = policy, machine, weights
        self._link = Link(self._started, self._hand, weights, console or Console())

    @property
    def policy_version(self) -> str:
        """Which weights it holds."""
        return self._weights.version

    @property
    def process_id(self) -> int | None:
        """The operating system's number of its process, while there is one on this computer."""
        return self._link.process_id

    def load_weights(self, policy: Policy, version: str) -> None:
        """Take the policy's weights through memory. Raises ModelError when the engine then holds others."""
        self._policy = policy
        self._weights.write(policy, version)
        self._link.take()

    def take(self) -> None:
        """Take what the shared memory holds now; a program that is not running takes it when it starts."""
        self._link.take()

    def close(self) -> None:
        """End the program, or the connection to it; the next call starts another."""
        self._link.close()

    def _started(self) -> Serving:
        """The program, ready."""
        raise NotImplementedError

    def _hand(self, serving: Serving) -> None:
        """Have it take the weights, and compare."""
        raise NotImplementedError
