"""The data inside an evaluation's page: an index of all replies in columns, and their texts in compressed parts.

A browser decodes the index at once (a few bytes a reply) and a part only when a reply in it is looked at or searched, so
that a page of 50,000 replies opens at the speed of its index.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

PART = 1 << 17  # bytes of records in one part
SHARED = 200  # characters that prompts begin with alike before they count as worked examples
MOST_RULES = 150  # reasons a reader can choose among; rarer ones are one choice together
LONGEST_RULE = 90
ROLES = {"system": 0, "user": 1, "assistant": 2}
OTHER = "other reasons"

_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\$[^$]*\$|<<[^<>]*>>")
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,./]*%?")
_NAMED = re.compile(r"(?:[a-z0-9_]+:)?[a-z0-9_]+:[a-z0-9_]+(?=: )")
_WANTED = re.compile(r",? (?:wanted|against)\b.*", re.DOTALL)
_VALUE = re.compile(r"\b(is|holds|gives) (?!not\b)[^a-z].*", re.DOTALL)


class Side(Protocol):
    """A file of replies with what is said about all of them: an evaluation (eval_folder), or an RL run (rollout_page).

    A record has `task`, `id`, `prompt`, `response`, `score` and `why`, and may have the other fields of samples.jsonl, `steps`
    (a stretch of training) and `note` (what stands beside the reply).
    """

    @property
    def label(self) -> str:
        """What the page calls it."""

    @property
    def model(self) -> str:
        """The model that wrote the replies."""

    @property
    def replies(self) -> Path:
        """The file."""

    @property
    def graded_only(self) -> bool:
        """Whether one line may repeat another and still count."""

    def records(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """(byte offset, bytes, record) of each reply in the file's order."""

    def at(self, file: IO[bytes], offset: int) -> dict[str, Any]:
        """The record that begins at an offset of the file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One reply in the index. offset: where its record begins in its file. rules: what its reason is made of."""

    side: int
    offset: int
    sample: int
    turn: int
    score: float | None
    tokens: int
    flags: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(slots=True)
class Group:
    """The replies to one problem, of all sides. steps: of training; "" in an evaluation. size: bytes of their records."""

    task: str
    id: str
    category: str
    steps: str = ""
    size: int = 0
    entries: list[Entry] = field(default_factory=list)


def rules_of(why: str) -> tuple[str, ...]:
    """The kinds of reason in a verdict's sentence: what it quotes, counts and wants left out, each part between semicolons
    one kind; "the last number is 18, wanted 24" is of the kind "the last number is …".
    """
    kinds: dict[str, None] = {}
    for part in why[:2_000].split("; "):
        named = _NAMED.match(part)
        kind = named[0] if named else _plain_kind(part)
        if kind and kind not in ("… of … followed", "…"):
            kinds[kind] = None
    return tuple(kinds) or ("…",)


def _plain_kind(part: str) -> str:
    kind = _WANTED.sub("", part)
    kind = _QUOTED.sub("…", kind)
    kind = re.sub(r"^[A-Z](?= read by )", "…", kind)
    kind = _VALUE.sub(r"\1 …", kind)
    kind = " ".join(_NUMBER.sub("…", kind).split())
    head, colon, tail = kind.partition(": ")
    if colon and len(tail) > LONGEST_RULE // 2:
        kind = head
    return kind[:LONGEST_RULE]


def flags_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    """What to look for in a reply: the record's own flags, cut at the token limit, and empty."""
    flags = dict.fromkeys(record.get("flags") or ())
    if record.get("finish") == "length":
        flags["cut"] = None
    if not record["response"].strip() and not record.get("choices"):
        flags["empty"] = None
    return tuple(flags)


def _entry(side: int, offset: int, sample: int, turn: int, record: Mapping[str, Any]) -> Entry:
    return Entry(
        side,
        offset,
        sample,
        turn,
        record["score"],
        record.get("tokens") or 0,
        flags_of(record),
        rules_of(record["why"]),
    )


class Collected:
    """Every reply of one or two evaluations, by problem, in the files' order. Only what the index needs is in memory."""

    def __init__(self, sides: Sequence[Side], tasks: Sequence[str]) -> None:
        self.sides = sides
        self.tasks = tuple(tasks)
        self.groups: dict[tuple[str, str], Group] = {}
        # What all prompts of a category begin with (worked examples), so that a list can show what is different.
        self.shared: dict[tuple[str, str], str] = {}
        self.repeats = 0
        for side, evaluation in enumerate(sides):
            self._read(side, evaluation)

    def _read(self, side: int, evaluation: Side) -> None:
        seen: set[tuple[str, str, int, int]] = set()
        count: Counter[tuple[str, str]] = Counter()
        for offset, size, record in evaluation.records():
            task, name = record["task"], record["id"]
            if task not in self.tasks:
                continue
            sample, turn = record.get("sample", 0), record.get("turn", 0)
            if evaluation.graded_only:
                sample = count[task, name]
                count[task, name] += 1
            elif (task, name, sample, turn) in seen:
                self.repeats += 1
                continue
            seen.add((task, name, sample, turn))
            group = self.groups.setdefault(
                (task, name), Group(task, name, record.get("category") or "", record.get("steps", ""))
            )
            group.size += size
            if not group.entries:
                self._share(group, record)
            group.entries.append(_entry(side, offset, sample, turn, record))

    def _share(self, group: Group, record: Mapping[str, Any]) -> None:
        key, text = (group.task, group.category), record["prompt"][-1]["content"] if record["prompt"] else ""
        known = self.shared.get(key, text)
        while not text.startswith(known):  # each prompt after the first few has it at once
            known = known[:-1]
        self.shared[key] = known

    def index(self) -> dict[str, Any]:
        """Everything a list and its filters need, in columns."""
        groups = list(self.groups.values())
        entries = [entry for group in groups for entry in group.entries]
        often = Counter(rule for entry in entries for rule in entry.rules)
        known = {rule for rule, _ in often.most_common(MOST_RULES)}
        flags, rules = Numbers(), Numbers()
        categories, steps = Numbers(), Numbers()
        of_tasks = {task: number for number, task in enumerate(self.tasks)}
        shared = [
            [of_tasks[task], categories[category], length]
            for (task, category), text in self.shared.items()
            if (length := text.rfind("\n") + 1) >= SHARED
        ]
        return {
            "problems": {
                "task": [of_tasks[group.task] for group in groups],
                "category": [categories[group.category] for group in groups],
                "id": [group.id for group in groups],
                "replies": [len(group.entries) for group in groups],
                **({"step": [steps[group.steps] for group in groups]} if any(group.steps for group in groups) else {}),
            },
            "replies": {
                "side": [entry.side for entry in entries],
                "sample": [entry.sample for entry in entries],
                "turn": [entry.turn for entry in entries],
                "score": [entry.score for entry in entries],
                "tokens": [entry.tokens for entry in entries],
                "flags": [flags[entry.flags] for entry in entries],
                "rules": [rules[_known(entry.rules, known)] for entry in entries],
            },
            "flag_sets": list(flags),
            "rule_sets": list(rules),
            "categories": list(categories),
            "steps": list(steps),
            "shared": shared,
            "parts": [len(part) for part in self._divided()],
        }

    def parts(self) -> Iterator[str]:
        """The texts of each part as JSON Lines: a line a problem, with all of its replies."""
        files = [evaluation.replies.open("rb") for evaluation in self.sides]
        try:
            for part in self._divided():
                lines = [
                    _problem(group, [self.sides[e.side].at(files[e.side], e.offset) for e in group.entries])
                    for group in part
                ]
                yield "\n".join(map(dumps, lines))
        finally:
            for file in files:
                file.close()

    def _divided(self) -> Iterator[list[Group]]:
        part: list[Group] = []
        size = 0
        for group in self.groups.values():
            part.append(group)
            size += group.size
            if size >= PART:
                yield part
                part, size = [], 0
        if part:
            yield part


class Numbers(dict[Any, int]):
    """Values by the number they got when first asked for; iterating gives the values in that order."""

    def __missing__(self, value: Any) -> int:
        self[value] = len(self)
        return self[value]


def _known(rules: tuple[str, ...], known: set[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule if rule in known else OTHER for rule in rules))


def _problem(group: Group, records: Sequence[dict[str, Any]]) -> list[Any]:
    """A problem as viewer/data.js reads it: id, prompt, target, solution, other name, replies."""
    first = records[0]
    prompt = _turns(first["prompt"])
    replies = []
    for record in records:
        asked, flags = _turns(record["prompt"]), record.get("flags")
        replies.append([
            record["response"], record["why"], None if asked == prompt else asked, record.get("finish", ""),
            record.get("choices"), flags if isinstance(flags, dict) and flags else None, record.get("span"),
            record.get("note", ""),
        ])  # fmt: skip
    key = first.get("key")
    return [
        group.id, prompt, first.get("target", ""), first.get("solution", ""), "" if key is None else str(key), replies,
    ]  # fmt: skip


def _turns(prompt: Sequence[Mapping[str, str]]) -> list[list[Any]]:
    return [[ROLES.get(turn["role"], turn["role"]), turn["content"]] for turn in prompt]


def printable(text: str) -> str:
    """The same with lone surrogates as escapes, so that it can be UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()


def dumps(value: Any) -> str:
    """One line of JSON that UTF-8 can hold."""
    return printable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def packed(text: str) -> str:
    """Compressed (zlib) and in base64: nothing in it means anything to HTML."""
    return base64.b64encode(zlib.compress(text.encode(), 6)).decode()
