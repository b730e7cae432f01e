"""An engine of this house in a process of its own, its weights in shared memory.

The learner writes its weights once into memory that both processes map, and the engine proves by their checksum that it took
those. A process that dies is started again with the same weights, once a call, and asked again for what it had not finished:
a reply depends on its seed and the weights alone, so it comes out the same.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from burnish.core.fingerprint import encode
from burnish.core.rows import completion_from_json
from burnish.core.types import Completion
from burnish.errors import ModelError
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Continuations, OnFinish, OnText, Request, Scored
from burnish.rollout.reply import check_continuations, check_requests
from burnish.rollout.served_engine import ServedEngine
from burnish.rollout.serving import Serving, started
from burnish.rollout.shared_weights import SharedWeights

WORKER = "burnish.rollout.engine_worker"


class EngineProcess(ServedEngine):
    """Generates and scores as the machine's engine does inside the learner's process: the same bits for the same seeds.

    weights: shared with other engines, which then take them when their owner says so; its own by default.
    number:  which of several it is, from 0.
    """

    def __init__(
        self, policy: Policy, machine: Machine, *, version: str = "0", console: Console | None = None,
        weights: SharedWeights | None = None, number: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(policy, machine, weights or SharedWeights(policy, version), console)
        self._number = number

    def generate(
        self, requests: Sequence[Request], on_finish: OnFinish | None = None, on_text: OnText | None = None
    ) -> list[Completion]:
        """One completion per request, in order. Raises ModelError, with its last words, when the process dies twice."""
        policy = self._policy
        check_requests(requests, policy.context, policy.vocabulary, policy.renderer.stop_ids)
        asked = plain_requests(requests)
        done: dict[int, Completion] = {}
        told = Told(on_text) if on_text else None

        def ask() -> None:
            left = [index for index in range(len(asked)) if index not in done]
            if told:
                told.begin()
            for found in self._link.ask(op="generate", requests=[asked[i] for i in left], texts=told is not None):
                index = left[found["id"]]
                if told and "text" in found:
                    told.tell(index, found["text"])
                if "completion" in found:
                    done[index] = self._checked(completion_from_json(found["completion"]))
                    if on_finish:
                        on_finish(index, done[index])

        if asked:
            self._link.again(ask)
        return [done[index] for index in range(len(asked))]

    def score(
        self, requests: Sequence[Continuations], on_scored: Callable[[int, Scored], None] | None = None
    ) -> list[Scored]:
        """One Scored per request, in order. Raises ModelError, with its last words, when the process dies twice."""
        check_continuations(requests, self._policy.context)
        asked = [[request.prompt_ids, request.continuations] for request in requests]
        done: dict[int, Scored] = {}

        def ask() -> None:
            left = [index for index in range(len(asked)) if index not in done]
            for found in self._link.ask(op="score", requests=[asked[i] for i in left]):
                index = left[found["id"]]
                done[index] = Scored(tuple(tuple(row) for row in found["logprobs"]), tuple(found["greedy"]))
                if on_scored:
                    on_scored(index, done[index])

        if asked:
            self._link.again(ask)
        return [done[index] for index in range(len(asked))]

    def _started(self) -> Serving:
        from burnish.rollout.engine_worker import described

        place, weights = self._machine.place, self._weights
        with tempfile.TemporaryDirectory(prefix="burnish-engine-") as folder:
            settings = described(self._policy, place.machine(self._machine), Path(folder))
            serving = started(
                f"The engine ({self._machine.engine}) in a process of its own", [sys.executable, "-P", "-m", WORKER],
                environment=dict(os.environ) | place.environment(self._machine, self._number), files=(weights.file,),
            )  # fmt: skip
            return serving.ready({"folder": folder, "weights": weights.described, **settings})

    def _hand(self, serving: Serving) -> None:
        for _ in serving.ask(op="take", version=self._weights.version, checksum=self._weights.checksum):
            pass

    def _checked(self, completion: Completion) -> Completion:
        if completion.policy_version != self._weights.version:
            raise ModelError(
                f"The engine replied with the weights {completion.policy_version!r}, but was given {self._weights.version!r}.\n"
                "  Nothing was trained on that reply; this is a fault of Burnish, please report it."
            )
        return completion


class Told:
    """Pieces of text handed on once: a reply that is asked for again begins with what was told before."""

    def __init__(self, on_text: OnText) -> None:
        self._on_text = on_text
        self._told: dict[int, int] = {}
        self._heard: dict[int, int] = {}

    def begin(self) -> None:
        """Replies begin again."""
        self._heard.clear()

    def tell(self, index: int, piece: str) -> None:
        """A further piece of a reply."""
        heard = self._heard[index] = self._heard.get(index, 0) + len(piece)
        new = heard - self._told.get(index, 0)
        if new > 0:
            self._told[index] = heard
            self._on_text(index, piece[-new:])


def plain_requests(requests: Sequence[Request]) -> list[dict[str, Any]]:
    """Requests as JSON objects."""
    samplings = {sampling: encode(sampling) for sampling in {request.sampling for request in requests}}
    return [
        {"prompt": r.prompt_ids, "sampling": samplings[r.sampling], "seed": r.seed, "forced": r.forced}
        for r in requests
    ]
