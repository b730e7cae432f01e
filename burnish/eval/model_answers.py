"""A model behind an engine: one queue over all tasks, in the order that lets prompts share most work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from burnish.core.rng import seed_of
from burnish.core.types import Completion
from burnish.errors import RecipeError
from burnish.eval.answer import Given, Item, ItemKey, OnReply
from burnish.eval.prompts import Asked, Prompts
from burnish.eval.ranking import Ranked, Ranking
from burnish.eval.records import request_key
from burnish.rollout.engine import Continuations, Request, Scored, Scorer

if TYPE_CHECKING:
    from burnish.rollout.engine import Engine

SHARED = 64  # neighbours in the queue with so many tokens in common belong to one group


class ModelAnswers:
    """Replies drawn from an engine.

    prompts: tokenises for the model. engine: called when something has to be asked, so that an evaluation whose replies are all
    kept loads no weights. model: the content of the model, and kind: the engine's name, which replies are kept under; with
    model="" nothing is kept.
    """

    def __init__(
        self, prompts: Prompts, engine: Callable[[], Engine], *, model: str = "", kind: str = "", notes: Sequence[str] = ()
    ) -> None:  # fmt: skip
        self.notes = tuple(notes)
        self._prompts, self._engine, self._model, self._kind = prompts, engine, model, kind
        self._asked: dict[ItemKey, Asked] = {}

    def keys(self, items: Sequence[Item], seed: int) -> list[str]:
        """A hash of prompt tokens, sampling, seed, model and engine. Greedy replies need no seed, so tasks share them.

        Raises RecipeError before anything is generated when a prompt and its reply may not fit the context.
        """
        found = self._prompts.asked(items)
        self._asked = {item.key: asked for item, asked in zip(items, found, strict=True)}
        return [
            request_key(
                self._model, self._kind, asked.prompt_ids, asked.choices or asked.sampling, seed_for(item, seed),
                item.sample if item.task.sampling.temperature > 0 else 0,
            )
            if self._model else ""
            for item, asked in zip(items, found, strict=True)
        ]  # fmt: skip

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        """Rankings first, which are quick, then every reply in one queue.

        Raises RecipeError before anything is generated when a prompt and its reply may not fit the context.
        """
        if any(item.key not in self._asked for item in items):
            self.keys(items, seed)
        ordered = in_order([(item, self._asked[item.key]) for item in items])
        self._asked = {}
        self._rank([(item, asked) for item, asked in ordered if asked.choices], on_reply)
        self._generate([(item, asked) for item, asked in ordered if not asked.choices], seed, on_reply)

    def _generate(self, queue: Sequence[tuple[Item, Asked]], seed: int, on_reply: OnReply) -> None:
        shared: dict[Request, list[tuple[Item, Asked]]] = {}
        for item, asked in queue:
            request = Request(asked.prompt_ids, asked.sampling, seed_for(item, seed))
            shared.setdefault(request, []).append((item, asked))
        requests = list(shared)

        def finished(index: int, completion: Completion) -> None:
            for item, asked in shared[requests[index]]:
                on_reply(item, Given.of(completion, asked.flags))

        if requests:
            self._engine().generate(requests, finished)

    def _rank(self, queue: Sequence[tuple[Item, Asked]], on_reply: OnReply) -> None:
        if not queue:
            return
        engine = self._engine()
        if not isinstance(engine, Scorer):
            raise RecipeError(
                f"task {queue[0][0].task.name} compares log-probabilities of given continuations, which the engine {type(engine).__name__} "
                "does not tell.\n  Use --engine torch or hf."
            )

        def scored(index: int, found: Scored) -> None:
            item, asked = queue[index]
            on_reply(item, ranked_of(item, asked, found))

        engine.score([Continuations(asked.prompt_ids, asked.choices) for _, asked in queue], scored)


def ranked_of(item: Item, asked: Asked, scored: Scored) -> Given:
    """What a ranking is given: each choice with the sum of its tokens' log-probabilities."""
    rule = item.task.verifier
    texts = rule.choices(item.problem) if isinstance(rule, Ranking) else ()
    parts = zip(texts, scored.logprobs, scored.greedy, strict=True)
    ranked = tuple(Ranked(text, math.fsum(logprobs), len(logprobs), greedy) for text, logprobs, greedy in parts)
    return Given(tokens=sum(each.tokens for each in ranked), ranked=ranked, flags=asked.flags)


def seed_for(item: Item, seed: int) -> int:
    """An item's own seed; 0 where nothing is drawn."""
    if item.task.sampling.temperature == 0 or isinstance(item.task.verifier, Ranking):
        return 0
    task, root, sample, turn = item.key
    return seed_of(seed, "eval", task, root, sample, turn)


def in_order(queue: Sequence[tuple[Item, Asked]]) -> list[tuple[Item, Asked]]:
    """The queue's order: prompts that begin alike stand together, so that an engine computes what they share once.

    Groups are runs of prompts, sorted by their tokens, in which neighbours have 64 tokens or more in common. The group with the
    longest reply allowed comes first, and the longest within a group; samples of one prompt are neighbours.
    """
    ordered = sorted(queue, key=lambda each: each[1].prompt_ids)
    groups: list[list[tuple[Item, Asked]]] = []
    for each in ordered:
        if groups and alike(groups[-1][-1][1].prompt_ids, each[1].prompt_ids):
            groups[-1].append(each)
        else:
            groups.append([each])
    for group in groups:
        group.sort(key=lambda each: -each[1].room)
    groups.sort(key=lambda group: -group[0][1].room)
    return [each for group in groups for each in group]


def alike(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether two prompts are equal or begin with the same 64 tokens."""
    return a == b or (len(a) >= SHARED and a[:SHARED] == b[:SHARED])
