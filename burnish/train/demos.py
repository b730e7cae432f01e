"""Conversations as tokens to be trained: which turns, how much each row counts, and what happens to rows that are too long."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from burnish.core.types import Demo, Message, Messages
from burnish.errors import DataError, ModelError, RecipeError
from burnish.losses.batch import TokenBatch
from burnish.pipeline.stage import Context
from burnish.text.render import Rendered, Renderer
from burnish.text.template import Train
from burnish.train.rows import report_rows, stack

Turns = Literal["all", "last"]


@dataclass(frozen=True, slots=True)
class LeaveOut:
    """A conversation that is too long is left out and counted: nothing of it is trained."""

    VERSION: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class CutTurns:
    """A conversation that is too long loses whole exchanges until it fits; a reply is never cut.

    drop: "last": the latest first, so that what is left is the beginning, up to the end of a trained assistant turn.
          "first": the oldest first; a system turn stays. Later replies are then trained on a shorter context than they
          were written for.
    A conversation of which no trained turn fits is left out. Both are counted in data_report.json.
    """

    drop: Literal["last", "first"] = "last"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.drop not in ("last", "first"):
            raise RecipeError(f'CutTurns(drop={self.drop!r}): write "last" or "first".')

    def shorter(self, messages: Messages) -> Iterator[tuple[int, Messages]]:
        """Ever shorter conversations: (the number of its first assistant turn in the whole one, what is left)."""
        replies = [i for i, message in enumerate(messages) if message.role == "assistant"]
        if self.drop == "last":
            for end in reversed(replies[:-1]):
                yield 0, messages[: end + 1]
            return
        head: tuple[Message, ...] = messages[:1] if messages[0].role == "system" else ()
        for number, place in enumerate(replies[:-1], 1):
            yield number, head + messages[place + 1 :]


@dataclass(frozen=True, slots=True)
class RenderedDemo:
    """A conversation as tokens with their train mask. weight: how often it counts."""

    id: str
    row: Rendered
    weight: float = 1.0

    @property
    def tokens(self) -> int:
        """All of them, trained or not."""
        return len(self.row.token_ids)


def demo_batch(rows: Sequence[RenderedDemo]) -> TokenBatch:
    """Conversations as tensors."""
    weights = [row.weight for row in rows]
    return TokenBatch(stack([row.row for row in rows]), None if all(w == 1 for w in weights) else torch.tensor(weights))


def render_demo(renderer: Renderer, demo: Demo, turns: Turns = "all") -> Rendered:
    """A conversation's tokens and train mask. Raises DataError, naming the row, when no token would be trained.

    turns: "all" assistant turns or the "last"; those of the numbers in annotations["untrained"] never.
    """
    found = _rendered(renderer, demo, demo.messages, 0, turns)
    if found is None:
        raise DataError(
            f"{_where(demo)}: no token of it would be trained, so it would teach nothing.\n"
            "  Its last turn must be an assistant turn, the chat template must show assistant turns, and not all of them may be "
            "marked as not to be learned."
        )
    return found


@dataclass(frozen=True, slots=True)
class DemoRules:
    """How conversations become rows: which turns are trained, at most how many tokens, what of longer ones; weights by source."""

    max_tokens: int
    turns: Turns = "all"
    long: LeaveOut | CutTurns = LeaveOut()
    weights: Mapping[str, float] | None = None

    def check(self, stage: str) -> None:
        """Raise RecipeError for rules that contradict each other or mean nothing."""
        if self.turns not in ("all", "last"):
            raise RecipeError(f'{stage}: turns={self.turns!r}: write "all" or "last".')
        if self.turns == "last" and self.long == CutTurns("last"):
            raise RecipeError(
                f'{stage}: turns="last" trains only the last reply, and long=CutTurns("last") would cut just that one.\n'
                '  Write long=CutTurns("first"), which cuts the oldest turns, or leave long out.'
            )
        for source, weight in (self.weights or {}).items():
            if not 0 <= weight < math.inf:
                raise RecipeError(
                    f"{stage}: weights={{{source!r}: {weight}}}: a weight is a number from 0 up; 2 counts a row twice, 0 never."
                )

    def rows(self, demos: Iterable[Demo], renderer: Renderer, ctx: Context) -> list[RenderedDemo]:
        """The rows to train, counted in data_report.json. Raises DataError when none is left."""
        demos = list(demos)
        self._check_sources(demos)
        kept: list[RenderedDemo] = []
        weightless: list[str] = []
        too_long: list[str] = []
        cut: list[str] = []
        for demo in demos:
            weight = weight_of(demo) * (self.weights or {}).get(demo.source, 1.0)
            if weight == 0:
                weightless.append(demo.id)
                continue
            found, whole = self._fit(demo, renderer)
            if found is None:
                too_long.append(demo.id)
                continue
            cut += [] if whole else [demo.id]
            kept.append(RenderedDemo(demo.id, found, weight))
        if cut:
            ctx.console.line(
                f"  {len(cut)} of {len(demos)} demonstrations were longer than {self.max_tokens} tokens and lost whole turns "
                "(data_report.json)"
            )
        report_rows(
            ctx, kind="demonstrations", limit=self.max_tokens, rows=len(demos), kept=len(kept), too_long=too_long,
            tokens=sum(row.tokens for row in kept), trained=sum(sum(row.row.mask) for row in kept),
            more={"cut": len(cut), "cut_ids": cut, "weight_0": len(weightless), "weight_0_ids": weightless},
        )  # fmt: skip
        return kept

    def _fit(self, demo: Demo, renderer: Renderer) -> tuple[Rendered | None, bool]:
        """The row, or None where none fits; and whether it is the whole conversation."""
        found = render_demo(renderer, demo, self.turns)
        if len(found.token_ids) <= self.max_tokens:
            return found, True
        if isinstance(self.long, CutTurns):
            for first, messages in self.long.shorter(demo.messages):
                part = _rendered(renderer, demo, messages, first, self.turns)
                if part is not None and len(part.token_ids) <= self.max_tokens:
                    return part, False
        return None, False

    def _check_sources(self, demos: Sequence[Demo]) -> None:
        there = {demo.source for demo in demos}
        for source in self.weights or {}:
            if source not in there:
                raise RecipeError(
                    f"weights={{{source!r}: …}}: no row has that source, so the weight would do nothing.\n"
                    f"  Sources of the data: {', '.join(sorted(there)) or 'none'}."
                )


def weight_of(demo: Demo) -> float:
    """How often a row counts: annotations["weight"], or 1. Raises DataError for what is no weight."""
    given = demo.annotations.get("weight", 1.0)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < math.inf:
        raise DataError(f'{_where(demo)}: annotations["weight"] is {given!r:.60}; a weight is a number from 0 up.')
    return float(given)


def _rendered(renderer: Renderer, demo: Demo, messages: Messages, first: int, turns: Turns) -> Rendered | None:
    """Some of a row's turns, of which the first assistant turn has number `first` in the row; None where none is trained."""
    replies = [i for i, message in enumerate(messages) if message.role == "assistant"]
    untrained = demo.annotations.get("untrained", ())
    wanted = range(len(replies)) if turns == "all" else range(len(replies))[-1:]
    numbers = tuple(number for number in wanted if first + number not in untrained)
    if not numbers:
        return None
    train: Train = numbers if untrained else ("assistant" if turns == "all" else "last")
    try:
        row = renderer.render(messages, train=train)
    except ModelError as error:
        raise DataError(f"{_where(demo)}: {error}") from error
    return row if any(row.mask) else None


def _where(demo: Demo) -> str:
    return f"row {demo.id} (source {demo.source or 'unknown'})"
