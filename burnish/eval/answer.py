"""Who answers an evaluation's questions: a model behind an engine, or the worked solutions (the ceiling of a task)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from burnish.core.rng import seed_of
from burnish.core.types import Completion, Finish, Messages, Problem
from burnish.errors import RecipeError
from burnish.eval.task import EvalTask
from burnish.rollout.engine import Engine, Request

if TYPE_CHECKING:
    from burnish.text.render import Renderer


@dataclass(frozen=True, slots=True)
class Item:
    """One problem of one task, to be asked."""

    task: EvalTask
    problem: Problem

    @property
    def key(self) -> tuple[str, str]:
        """Task name and problem id: what a finished sample is known by."""
        return self.task.name, self.problem.id


OnReply = Callable[[Item, Completion], None]


class Answers(Protocol):
    """Something that replies to items."""

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        """Call `on_reply` once for each item as its reply ends, in any order."""


@dataclass(frozen=True, slots=True)
class ModelAnswers:
    """Replies drawn from an engine. context: the most tokens a prompt and its reply may have together."""

    engine: Engine
    renderer: Renderer
    context: int

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        """One queue over all tasks, the longest token limits first; equal requests are generated once.

        Raises RecipeError before anything is generated when a prompt and its reply may not fit the context.
        """
        prompts = self._rendered(items)
        self._check_fit(items, prompts)
        shared: dict[Request, list[Item]] = {}
        for item, prompt_ids in zip(items, prompts, strict=True):
            sampling = item.task.sampling
            # Greedy replies do not depend on a seed, so tasks that ask the same question share one.
            own = seed_of(seed, "eval", *item.key) if sampling.temperature > 0 else 0
            shared.setdefault(Request(prompt_ids, sampling, own), []).append(item)
        requests = sorted(shared, key=lambda request: -request.sampling.max_tokens)

        def finished(index: int, completion: Completion) -> None:
            for item in shared[requests[index]]:
                on_reply(item, completion)

        self.engine.generate(requests, finished)

    def _rendered(self, items: Sequence[Item]) -> list[tuple[int, ...]]:
        known: dict[tuple[Messages, str], tuple[int, ...]] = {}
        prompts: list[tuple[int, ...]] = []
        for item in items:
            key = (item.problem.prompt, item.task.prefill)
            if key not in known:
                start = self.renderer.tokenizer.encode(item.task.prefill, add_special_tokens=False)
                known[key] = (*self.renderer.prompt(item.problem.prompt), *start)
            prompts.append(known[key])
        return prompts

    def _check_fit(self, items: Sequence[Item], prompts: Sequence[tuple[int, ...]]) -> None:
        sizes = [len(ids) + item.task.sampling.max_tokens for item, ids in zip(items, prompts, strict=True)]
        over = [i for i, size in enumerate(sizes) if size > self.context]
        if not over:
            return
        worst = max(over, key=lambda i: sizes[i])
        item, limit = items[worst], items[worst].task.sampling.max_tokens
        room = self.context - len(prompts[worst])
        fix = f"Lower the task's max_tokens to {room} or less" if room > 0 else "Use fewer or shorter shots"
        raise RecipeError(
            f"task {item.task.name}: problem {item.problem.id} has a prompt of {len(prompts[worst])} tokens and may get a reply of {limit}, "
            f"but the model's context is {self.context}; {len(over)} of {len(items)} prompts do not fit, and cutting them would change the question.\n"
            f"  It begins {item.problem.prompt[-1].content!r:.70}\n  {fix}, or evaluate a model with a longer context."
        )


@dataclass(frozen=True, slots=True)
class GoldAnswers:
    """The worked solution of each problem, "" where none is known: what a perfect model would score."""

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        """Reply at once with every solution."""
        for item in items:
            on_reply(item, Completion((), (), Finish.STOP, item.problem.solution, "gold"))
