"""What an RL run left of its replies, read in one way: from a finished artifact, from one that is running, and from what a kill
left of one. Lines that are torn, and fields that other versions did not write, are passed over or left empty.

rollouts.jsonl          the replies of steps that were learned
rollouts.running.jsonl  replies that were graded since, without an advantage yet
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from burnish.core.follow import number, objects
from burnish.errors import ArtifactError, DataError, nearest

LEARNED, RUNNING = "rollouts.jsonl", "rollouts.running.jsonl"
FINISHES = ("stop", "length", "abort")


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of a run.

    step:      from 1. group, number: which problem of the step, and which reply to it, from 0.
    prompt:    the turns as asked: role and text of each.
    score:     the verifier's, None where it could not grade. reward: what became of it; the score where that is not on file.
    advantage: how much better than expected; None for a step that was not learned yet.
    flags:     what monitors saw, with the text they saw it in.
    tokens:    that the model sampled. version: which weights wrote it.
    """

    step: int
    group: int
    number: int
    problem: str
    source: str
    verifier: str
    target: str
    prompt: tuple[tuple[str, str], ...]
    text: str
    score: float | None
    reward: float | None
    advantage: float | None
    why: str
    finish: str
    tokens: int
    flags: dict[str, str] = field(default_factory=dict)
    version: str = ""

    def to_json(self) -> dict[str, Any]:
        """The reply as `burnish show --rollouts --json` prints it."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return found | {"prompt": [{"role": role, "content": text} for role, text in self.prompt]}


def reply_of(record: Mapping[str, Any], place: int) -> Reply | None:
    """The reply in a record; None where it has neither a step nor a text. place: its number in its group, where it has none."""
    step, completion, problem = number(record.get("step")), _mapping(record, "completion"), _mapping(record, "problem")
    if step is None or "text" not in completion:
        return None
    check, flags = _mapping(problem, "check"), record.get("flags")
    score = number(record.get("score"))
    sampled, tokens = completion.get("sampled"), completion.get("token_ids")
    return Reply(
        step=int(step),
        group=int(number(record.get("group")) or 0),
        number=int(found) if (found := number(record.get("k"))) is not None else place,
        problem=str(problem.get("id", "")),
        source=str(problem.get("source", "")),
        verifier=str(check.get("verifier", "")),
        target=str(check.get("target", "")),
        prompt=tuple(_turns(problem.get("prompt"))),
        text=_text(completion),
        score=score,
        reward=number(record["reward"]) if "reward" in record else score,
        advantage=number(record.get("advantage")),
        why=str(record.get("why", "")),
        finish=str(completion.get("finish", "")),
        tokens=sampled.count("1") if isinstance(sampled, str) and sampled else len(tokens) if isinstance(tokens, list) else 0,
        flags={str(k): str(v) for k, v in flags.items()} if isinstance(flags, dict) else {},
        version=str(completion.get("policy_version", "")),
    )  # fmt: skip


def _mapping(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _turns(turns: Any, content: str = "content") -> Iterator[tuple[str, str]]:
    for turn in turns if isinstance(turns, list) else ():
        if isinstance(turn, dict):
            yield str(turn.get("role", "")), str(turn.get(content, ""))


def _text(completion: Mapping[str, Any]) -> str:
    """What the model wrote; of a conversation with an environment every turn, each under its role."""
    turns = list(_turns(completion.get("turns"), "text"))
    return "\n\n".join(f"[{role}]\n{text}" for role, text in turns) if turns else str(completion["text"])


class Rollouts:
    """The replies in a folder, read anew each time they are gone through.

    unread: lines that hold no reply, counted by the last reading.
    """

    def __init__(self, folder: Path) -> None:
        if not any((folder / name).is_file() for name in (LEARNED, RUNNING)):
            raise ArtifactError(
                f"{folder} has no {LEARNED}, so it holds no rollouts.\n"
                "  Name a stage that learns from its own replies, such as rl or ppo; burnish show tells what this one holds."
            )
        self.folder = folder
        self.unread = 0

    def __iter__(self) -> Iterator[Reply]:
        """Replies in the order of steps, those of steps that were not learned yet last."""
        self.unread = 0
        learned = 0
        for _, _, reply in self.learned():
            learned = max(learned, reply.step)
            yield reply
        for _, _, record in objects(self.folder / RUNNING):
            found = reply_of(record, 0) if record is not None else None
            if found is None:
                self.unread += 1
            elif found.step > learned:
                yield found

    def learned(self) -> Iterator[tuple[int, int, Reply]]:
        """(byte offset, bytes, reply) of each reply of a step that was learned."""
        place: dict[int, int] = {}
        step = -1
        for at, size, record in objects(self.folder / LEARNED):
            reply = reply_of(record, 0) if record is not None else None
            if reply is None or record is None:
                self.unread += 1
                continue
            if reply.step != step:
                step, place = reply.step, {}
            number_ = place.get(reply.group, 0)
            place[reply.group] = number_ + 1
            yield at, size, reply if "k" in record else replace(reply, number=number_)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which replies are meant; "" and None mean all. steps: first and last, both included."""

    source: str | None = None
    verifier: str = ""
    steps: tuple[float, float] = (-float("inf"), float("inf"))
    min_reward: float | None = None
    max_reward: float | None = None
    flag: str = ""
    finish: str = ""

    def __contains__(self, reply: Reply) -> bool:
        """Whether the reply is meant; one without a reward is not where a least or greatest reward is asked for."""
        return (
            (self.source is None or reply.source == self.source)
            and (not self.verifier or reply.verifier == self.verifier)
            and self.steps[0] <= reply.step <= self.steps[1]
            and (not self.finish or reply.finish == self.finish)
            and (not self.flag or self.flag in reply.flags)
            and self._worth(reply.reward)
        )

    def _worth(self, reward: float | None) -> bool:
        least, most = self.min_reward, self.max_reward
        if least is None and most is None:
            return True
        return reward is not None and (least is None or reward >= least) and (most is None or reward <= most)


@dataclass(slots=True)
class Counts:
    """What many replies are like together. Means are over what is counted in them: rewards over graded replies."""

    n: int = 0
    ungraded: int = 0
    cut: int = 0
    aborted: int = 0
    flagged: int = 0
    passed: int = 0
    reward: float = 0.0
    tokens: int = 0

    def add(self, reply: Reply) -> None:
        """Count a reply."""
        self.n += 1
        self.cut += reply.finish == "length"
        self.aborted += reply.finish == "abort"
        self.flagged += bool(reply.flags)
        self.passed += reply.score == 1.0
        self.tokens += reply.tokens
        if reply.reward is None:
            self.ungraded += 1
        else:
            self.reward += reply.reward

    def join(self, other: Counts) -> None:
        """Count what the other has counted."""
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    @property
    def graded(self) -> int:
        """Replies that have a reward."""
        return self.n - self.ungraded

    @property
    def mean_reward(self) -> float | None:
        """Of the graded replies."""
        return self.reward / self.graded if self.graded else None

    @property
    def pass_rate(self) -> float | None:
        """The share of graded replies with the full score."""
        return self.passed / self.graded if self.graded else None

    def to_json(self) -> dict[str, Any]:
        """The counts and means by name."""
        return {
            "n": self.n, "ungraded": self.ungraded, "cut": self.cut, "aborted": self.aborted, "flagged": self.flagged,
            "passed": self.passed, "mean_reward": self.mean_reward, "mean_tokens": self.tokens / self.n if self.n else None,
        }  # fmt: skip


def check_names(wanted: Wanted, replies: Iterable[Reply]) -> None:
    """Raise DataError for a source, verifier, flag or finish that no reply has, with the nearest that some have."""
    seen: dict[str, set[str]] = {"source": set(), "verifier": set(), "flag": set()}
    for reply in replies:
        seen["source"].add(reply.source)
        seen["verifier"].add(reply.verifier)
        seen["flag"].update(reply.flags)
    for name, known in seen.items():
        value = getattr(wanted, name)
        if value and value not in known:
            raise DataError(f"--{name} {value}: no reply of this run has it. {nearest(value, known)}")


def is_rl(folder: Path) -> bool:
    """Whether a folder holds replies of an RL run."""
    return any((folder / name).is_file() for name in (LEARNED, RUNNING))


def at(file: Any, offset: int) -> Reply:
    """The reply whose line begins at a byte offset of a file of learned replies."""
    file.seek(offset)
    reply = reply_of(json.loads(file.readline()), 0)
    assert reply is not None, "the offset is that of a reply that was read before"
    return reply
