"""A file of replies: lines of {"id" | "prompt": ..., "response" | "responses": ...}, each matched to its problem."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.core.files import read_jsonl
from burnish.core.rows import messages_from
from burnish.core.types import Finish, Problem, plain
from burnish.errors import DataError
from burnish.eval.ranking import Ranked


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply of the responses file, matched to a problem by its place in the task.

    number: the line, from 1; sample: which of the line's `responses`, from 0; turn: of the conversation, from 0.
    finish, tokens, choices: as a line of samples.jsonl has them: "length" for a reply cut at its limit, its size, and the
                             log-probabilities of a ranking's choices.
    """

    number: int
    place: int
    text: str
    sample: int = 0
    turn: int = 0
    finish: Finish = Finish.STOP
    tokens: int = 0
    choices: tuple[Ranked, ...] = ()


class Index:
    """Finds a problem's place by content id, by the benchmark's own key, by place, or by prompt."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.ids: dict[str, int] = {}
        self.keys: dict[str, int] = {}
        self.prompts: dict[str, set[int]] = {}
        for place, problem in enumerate(problems):
            first = self.ids.setdefault(problem.id, place)
            key = problem.annotations.get("key")
            if key is not None:
                self.keys.setdefault(str(key), place)
            for text in {problem.prompt[-1].content, json.dumps(plain(problem.prompt))}:
                self.prompts.setdefault(text, set()).add(first)
        if not self.keys:  # a benchmark without keys of its own is counted from 0
            self.keys = {str(place): place for place in range(len(problems))}

    def by_id(self, value: str | int) -> int | None:
        """The place of a content id, a key or an index."""
        text = str(value)
        return self.ids.get(text, self.keys.get(text))

    def by_prompt(self, value: Any, where: str) -> int | None:
        """The place of a prompt: the last user turn's exact text, or the whole list of turns. Raises if several fit."""
        text = value if isinstance(value, str) else json.dumps(plain(messages_from(value, f"{where}, field prompt")))
        places = sorted(self.prompts.get(text, ()))
        if len(places) > 1:
            raise DataError(
                f"{where}, field prompt: {len(places)} problems have this prompt with different targets, so the reply could belong to any of them.\n"
                "  Give the line an id instead."
            )
        return places[0] if places else None


def read_replies(path: Path, index: Index, task: str = "") -> tuple[list[Reply], list[str]]:
    """The matched replies of a JSON Lines file, and the names of lines that match no problem of the task.

    A line holds one reply in `response` or several in `responses`; samples.jsonl of an evaluation is such a file. Lines that
    name another task than `task` are passed over. Raises DataError naming file, line and field for a line that is neither.
    """
    replies: list[Reply] = []
    unknown: list[str] = []
    for number, row in read_jsonl(path):
        where = f"{path}, line {number}"
        if not isinstance(row, dict):
            raise DataError(f'{where}: expected an object like {{"id": ..., "response": ...}}, got {row!r:.60}.')
        if task and row.get("task", task) != task:
            continue
        name, place = _match(row, index, where)
        texts = _texts(row, where)
        if place is None:
            unknown.append(name)
        else:
            more = _more(row, where)
            replies += [Reply(number, place, text, sample, *more) for sample, text in enumerate(texts)]
    return replies, unknown


def _more(row: dict[str, Any], where: str) -> tuple[int, Finish, int, tuple[Ranked, ...]]:
    """Turn, finish, tokens and choices, as samples.jsonl has them; a reply that an engine gave up has none."""
    try:
        choices = tuple(
            Ranked(str(part["text"]), float(part["logprob"]), int(part["tokens"]), bool(part.get("greedy", False)))
            for part in row.get("choices") or ()
        )
        return int(row.get("turn") or 0), Finish(row.get("finish") or "stop"), int(row.get("tokens") or 0), choices
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise DataError(
            f"{where}, fields turn, finish, tokens and choices: not as samples.jsonl has them ({error})."
        ) from error


def _texts(row: dict[str, Any], where: str) -> list[str]:
    """The line's reply or replies."""
    response, several = row.get("response"), row.get("responses")
    if "responses" not in row:
        if isinstance(response, str):
            return [response]
        got = f"got {response!r:.60}" if "response" in row else f"found only {', '.join(map(repr, row)) or 'nothing'}"
        raise DataError(f"{where}, field response: expected the reply's text, {got}.")
    if "response" in row:
        raise DataError(
            f"{where}: has both response and responses, so it is not clear which to grade.\n  Keep one of them."
        )
    if not isinstance(several, list) or not several or not all(isinstance(text, str) for text in several):
        raise DataError(f"{where}, field responses: expected a list of the replies' texts, got {several!r:.60}.")
    return several


def _match(row: dict[str, Any], index: Index, where: str) -> tuple[str, int | None]:
    """How the line names its problem, and that problem's place."""
    found: dict[str, int | None] = {}
    if row.get("id") is not None:
        if not isinstance(row["id"], str | int) or isinstance(row["id"], bool):
            raise DataError(f"{where}, field id: expected text or a whole number, got {row['id']!r:.60}.")
        found["id"] = index.by_id(row["id"])
    if row.get("prompt") is not None:
        found["prompt"] = (
            index.by_prompt(row["prompt"], where) if found.get("id") is None else _agreeing(row, index, where)
        )
    if not found:
        raise DataError(f"{where}: neither an id nor a prompt says which problem the reply answers.")
    name = _printable(str(row.get("id") if row.get("id") is not None else row["prompt"]))
    places = [place for place in found.values() if place is not None]
    if len(set(places)) > 1:
        raise DataError(
            f"{where}: id {name!r} and the prompt belong to different problems.\n  Keep the one that is right."
        )
    return name, places[0] if places else None


def _agreeing(row: dict[str, Any], index: Index, where: str) -> int | None:
    """The prompt's place where it is unambiguous; with a known id an ambiguous prompt is no error."""
    try:
        return index.by_prompt(row["prompt"], where)
    except DataError:
        return index.by_id(row["id"])


def _printable(text: str) -> str:
    return text[:80].encode("utf-8", "backslashreplace").decode()
