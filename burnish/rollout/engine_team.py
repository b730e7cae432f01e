"""Several engines that share the requests of a call, and one copy of the weights.

Replies depend on their seeds and the weights alone, so it does not matter which engine gives which. The requests of an engine
that is lost go to the others; where all are lost, all are started once more.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from burnish.core.types import Completion
from burnish.model.policy import Policy
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Continuations, OnFinish, OnText, Request, Scored
from burnish.rollout.serving import Died, Weights

Asked = TypeVar("Asked", Request, Continuations)
Answer = TypeVar("Answer", Completion, Scored)


class Member(Protocol):
    """One engine of a team. What it raises when it is lost is Died; it may be asked again later."""

    def take(self) -> None:
        """Take the weights that the team wrote last."""

    def generate(
        self, requests: Sequence[Request], on_finish: OnFinish | None = None, on_text: OnText | None = None
    ) -> list[Completion]:
        """As an Engine."""

    def score(
        self, requests: Sequence[Continuations], on_scored: Callable[[int, Scored], None] | None = None
    ) -> list[Scored]:
        """As a Scorer."""

    def close(self) -> None:
        """End it; the next call starts it again."""


class Written(Weights, Protocol):
    """Weights that the learner can change."""

    def write(self, policy: Policy, version: str) -> None:
        """Put the policy's current weights there. No engine may be reading."""


class EngineTeam:
    """An engine made of several. Callbacks run in the caller's thread, whichever engine has replied."""

    def __init__(self, members: Sequence[Member], weights: Written, console: Console | None = None) -> None:
        self._members, self._weights = list(members), weights
        self._closings = 0
        self._console = console or Console()

    @property
    def policy_version(self) -> str:
        """Which weights they hold."""
        return self._weights.version

    def load_weights(self, policy: Policy, version: str) -> None:
        """Write the policy's current weights once, for all; each engine takes them before it replies."""
        self._weights.write(policy, version)
        with ThreadPoolExecutor(len(self._members)) as pool:
            for taken in [pool.submit(member.take) for member in self._members]:
                if died := _lost(taken):
                    self._console.line(f"  {died}\n  It is started again, with these weights, when it is needed.")

    def generate(
        self, requests: Sequence[Request], on_finish: OnFinish | None = None, on_text: OnText | None = None
    ) -> list[Completion]:
        """One completion per request, in order. Raises ModelError when every engine is lost."""

        def ask(member: Member, part: list[Request], tell: Callable[[int, Any], None]) -> None:
            member.generate(part, tell, (lambda index, piece: tell(index, piece)) if on_text else None)

        def heard(index: int, answer: Completion | str) -> bool:
            if isinstance(answer, str):
                if on_text:
                    on_text(index, answer)
                return False
            if on_finish:
                on_finish(index, answer)
            return True

        return self._shared(requests, ask, heard)

    def score(
        self, requests: Sequence[Continuations], on_scored: Callable[[int, Scored], None] | None = None
    ) -> list[Scored]:
        """One Scored per request, in order. Raises ModelError when every engine is lost."""

        def ask(member: Member, part: list[Continuations], tell: Callable[[int, Any], None]) -> None:
            member.score(part, tell)

        def heard(index: int, answer: Scored) -> bool:
            if on_scored:
                on_scored(index, answer)
            return True

        return self._shared(requests, ask, heard)

    def close(self) -> None:
        """End all engines, and a call that another thread is in; the next call starts them again."""
        self._closings += 1
        for member in self._members:
            member.close()

    def _shared(
        self,
        requests: Sequence[Asked],
        ask: Callable[[Member, list[Asked], Callable[[int, Any], None]], None],
        heard: Callable[[int, Any], bool],
    ) -> list[Any]:
        """Deal the requests to all engines, and those that a lost engine left to the others, until all are answered."""
        done: dict[int, Any] = {}
        able, again, closings = list(self._members), 1, self._closings
        while left := [index for index in range(len(requests)) if index not in done]:
            parts = dealt([requests[index].prompt_ids for index in left], len(able))
            work = [(member, [left[i] for i in part]) for member, part in zip(able, parts, strict=True) if part]
            answers: queue.SimpleQueue[tuple[int, Any] | None] = queue.SimpleQueue()
            with ThreadPoolExecutor(len(work)) as pool:
                asked = [pool.submit(_ask, ask, member, requests, part, answers) for member, part in work]
                try:
                    self._hear(answers, len(work), heard, done)
                except BaseException:
                    # Nobody will read what the engines still say.
                    self.close()
                    raise
            for (member, part), future in zip(work, asked, strict=True):
                if died := _lost(future):
                    able.remove(member)
                    if closings != self._closings or not (able or again):
                        raise died
                    count = sum(index not in done for index in part)
                    there = f"the {len(able)} that are left" if able else "all engines, started once more"
                    self._console.line(f"  {died}\n  Its {count} unfinished requests go to {there}.")
            if not able:
                able, again = list(self._members), again - 1
        return [done[index] for index in range(len(requests))]

    @staticmethod
    def _hear(
        answers: queue.SimpleQueue[tuple[int, Any] | None], working: int, heard: Callable[[int, Any], bool], done: dict[int, Any]
    ) -> None:  # fmt: skip
        while working:
            answer = answers.get()
            if answer is None:
                working -= 1
            elif heard(*answer):
                done[answer[0]] = answer[1]


def _ask(
    ask: Callable[[Member, list[Any], Callable[[int, Any], None]], None],
    member: Member,
    requests: Sequence[Any],
    part: list[int],
    answers: queue.SimpleQueue[tuple[int, Any] | None],
) -> None:
    """In a thread of its own: hand on what an engine answers, with the requests' own numbers, then None."""
    try:
        ask(member, [requests[i] for i in part], lambda index, answer: answers.put((part[index], answer)))
    finally:
        answers.put(None)


def _lost(asked: Future[None]) -> Died | None:
    """How the engine was lost, if it was. Raises whatever else went wrong."""
    try:
        asked.result()
    except Died as died:
        return died
    return None


def dealt(prompts: Sequence[tuple[int, ...]], parts: int) -> list[list[int]]:
    """The numbers of the prompts in `parts` parts of about equal size: neighbours with one prompt stay together, as long as
    there are groups enough, because an engine computes a prompt once.
    """
    groups: list[list[int]] = []
    for i, prompt in enumerate(prompts):
        if groups and prompts[groups[-1][0]] == prompt:
            groups[-1].append(i)
        else:
            groups.append([i])
    if len(groups) < parts:
        groups = [[i] for i in range(len(prompts))]
    found: list[list[int]] = [[] for _ in range(parts)]
    for group in sorted(groups, key=len, reverse=True):
        min(found, key=len).extend(group)
    return [sorted(part) for part in found]
