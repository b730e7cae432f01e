"""The values that flow through a recipe: text in, token ids and verdicts out. Standard library only.

A row's `id` is the hash of its content, so equal content has one id wherever it came from.
`source`, `licence` and `lineage` say where a row came from; `annotations` hold what stages learned about it.
None of those four enter the id.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from burnish.core.fingerprint import content_id

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Messages = tuple[Message, ...]


def user(text: str) -> Messages:
    """A conversation of one user turn."""
    return (Message("user", text),)


def plain(messages: Messages) -> list[dict[str, str]]:
    """Messages in the form chat templates and JSON files use."""
    return [{"role": m.role, "content": m.content} for m in messages]


@dataclass(frozen=True, slots=True)
class Demo:
    """A conversation to imitate. The last turn is an assistant turn."""

    messages: Messages
    source: str = ""
    licence: str = ""
    lineage: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)

    @property
    def id(self) -> str:
        """Content id: 16 hex digits."""
        return content_id("demo", plain(self.messages))

    @property
    def prompt(self) -> Messages:
        """Everything before the last assistant turn."""
        return self.messages[:-1]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two replies to one prompt, the first preferred."""

    prompt: Messages
    chosen: str
    rejected: str
    source: str = ""
    licence: str = ""
    lineage: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)

    @property
    def id(self) -> str:
        """Content id: 16 hex digits."""
        return content_id("pair", [plain(self.prompt), self.chosen, self.rejected])


@dataclass(frozen=True, slots=True)
class Check:
    """How a reply is graded: the verifier's name and what it compares with (a string; JSON where it is structured)."""

    verifier: str
    target: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A prompt whose replies can be verified. What RL trains on and what evaluation asks.

    `solution` is a worked reply that the verifier accepts, or "" where none is known.
    """

    prompt: Messages
    check: Check
    solution: str = ""
    category: str = ""
    source: str = ""
    licence: str = ""
    lineage: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)

    @property
    def id(self) -> str:
        """Content id: 16 hex digits; the worked solution is not part of it."""
        return content_id("problem", [plain(self.prompt), self.check.verifier, self.check.target])


@dataclass(frozen=True, slots=True)
class Rated:
    """A reply to a prompt that people found good or not: a row of unpaired preference data (KTO, arXiv:2402.01306)."""

    prompt: Messages
    reply: str
    good: bool
    source: str = ""
    licence: str = ""
    lineage: tuple[str, ...] = ()
    annotations: Mapping[str, Any] = field(default_factory=dict, compare=False, hash=False)

    @property
    def id(self) -> str:
        """Content id: 16 hex digits."""
        return content_id("rated", [plain(self.prompt), self.reply, self.good])


Row = Demo | Pair | Rated | Problem


class Finish(Enum):
    """Why a completion ended: its own end-of-turn or stop string, the token limit, or the engine."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation with an environment: the model's ("assistant") or the environment's ("user").

    token_ids: the model's as sampled; the environment's with the marks of the chat template around its text.
    note:      what the environment noted for a person, at its own turn or at the model's turn that ended the conversation.
    """

    role: Role
    text: str
    token_ids: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Completion:
    """One sampled reply. Token ids go to the learner exactly as sampled: never decode and encode again.

    token_ids: the sampled tokens, the end-of-turn token included when `finish` is STOP by that token. In a conversation
               with an environment, everything behind the prompt; the last token is the model's.
    logprobs:  natural log of the probability of each token under the distribution it was sampled from (nats); 0 for a
               token of the environment, and the policy's at temperature 1 for one of a forced beginning.
    text:      the decoded reply without special tokens; of a conversation, the model's last turn: that is what is graded.
    policy_version: which weights made it; of a conversation, its first turn.
    sampled:   for each token, whether the model sampled it; empty: every one.
    turns:     the turns of a conversation with an environment, whose tokens together are token_ids; empty otherwise.
    """

    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish: Finish
    text: str
    policy_version: str = ""
    sampled: tuple[bool, ...] = ()
    turns: tuple[Turn, ...] = ()

    @property
    def mask(self) -> tuple[bool, ...]:
        """For each token, whether the model sampled it: what a loss may look at."""
        return self.sampled or (True,) * len(self.token_ids)

    @property
    def length(self) -> int:
        """How many tokens the model sampled."""
        return sum(self.mask)

    @property
    def sampled_logprobs(self) -> tuple[float, ...]:
        """The log-probs of the sampled tokens alone."""
        return tuple(value for value, own in zip(self.logprobs, self.mask, strict=True) if own)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A grade in [0, 1], or None: could not be graded. `why` is a sentence a person understands.

    flags: short marks that tables count beside the score, e.g. "empty", "parse_error", "refusal:yes".
    """

    score: float | None
    why: str
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a verdict's score is in [0, 1] or None, got {self.score!r}")


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A graded reply to a problem, with the prompt exactly as the engine saw it."""

    problem: Problem
    prompt_ids: tuple[int, ...]
    completion: Completion
    verdict: Verdict
