"""Answers from a file: replies that were made elsewhere, or the samples.jsonl of another evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from burnish.core.types import Finish, Problem
from burnish.errors import DataError
from burnish.eval.answer import Given, Item, OnReply
from burnish.eval.ranking import Ranking
from burnish.eval.replies import Index, read_replies


class ReplayAnswers:
    """Gives what a file of replies holds; a problem without a reply in it stays ungraded.

    Several replies to one problem are its samples, in the order of the file. Raises DataError for a file without a reply to any
    of the problems, and for lines that cannot be read.
    """

    def __init__(self, path: Path, problems: Mapping[str, Sequence[Problem]]) -> None:
        self._path = path
        self._given: dict[tuple[str, str, int], list[Given]] = {}
        unknown: set[str] | None = None
        for task, asked in problems.items():
            replies, strangers = read_replies(path, Index(asked), task)
            unknown = set(strangers) if unknown is None else unknown & set(strangers)
            for reply in replies:
                given = Given(
                    reply.text, reply.finish, reply.tokens, reply.choices, why=f"{path} says that there is none"
                )
                self._given.setdefault((task, asked[reply.place].id, reply.turn), []).append(given)
        if not self._given:
            raise DataError(f"{path}: none of its lines matches a problem of {', '.join(problems)}.")
        self.notes: tuple[str, ...] = ()
        if unknown:
            self.notes = (f"lines of {path.name} that match no problem that was asked: {len(unknown)}",)

    def keys(self, items: Sequence[Item], seed: int) -> list[str]:
        """Nothing is kept: the replies are in the file."""
        return [""] * len(items)

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        """Reply with what the file holds."""
        for item in items:
            task, root, sample, turn = item.key
            found = self._given.get((task, root, turn), [])
            given = found[sample] if sample < len(found) else None
            if given is None or (isinstance(item.task.verifier, Ranking) and not given.ranked):
                given = Given(finish=Finish.ABORT, why=f"{self._path.name} has no reply to it")
            on_reply(item, given)
