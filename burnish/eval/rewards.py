"""A reward model's folder as an answerer: it ranks the replies of pairs by their rewards, and writes none of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from burnish.core.types import Finish, plain
from burnish.errors import RecipeError
from burnish.eval.answer import Given, Item, OnReply
from burnish.eval.ranking import Ranked, Ranking
from burnish.eval.records import request_key
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console

if TYPE_CHECKING:
    from burnish.model.reward import RewardModel

NOTE = "the model is a reward model: what stands as a choice's log-probability is its reward"


class RewardAnswers:
    """The rewards of each item's choices in the place of their log-probabilities; the weights are loaded when first asked.

    identity: the model's content, which rewards are kept under.
    """

    notes = (NOTE,)

    def __init__(self, folder: Path, machine: Machine, console: Console, *, identity: str) -> None:
        self._folder, self._machine, self._console, self._identity = folder, machine, console, identity
        self._model: RewardModel | None = None

    def keys(self, items: Sequence[Item], seed: int) -> list[str]:
        """A hash of model, prompt and choices. Raises RecipeError for tasks that want replies, or probabilities in the strict sense."""
        found = []
        for item in items:
            texts = [list(text.encode("utf-8", "surrogatepass")) for text in self._choices(item)]
            prompt = json.dumps(plain(item.problem.prompt))
            found.append(request_key(self._identity, "reward", prompt, texts, 0, 0) if self._identity else "")
        return found

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        """Score every choice; a pair of which one reply is longer than the model reads is not graded."""
        if self._model is None:
            from burnish.model.reward import RewardModel

            self._model = RewardModel.load(self._folder, self._machine)
        # Long ones first, so that too little memory shows at once, and a batch has rows of one length.
        order = sorted(items, key=lambda item: -sum(map(len, self._choices(item))))
        for start in range(0, len(order), 64):
            part = order[start : start + 64]
            found = iter(
                self._model.rewards([(item.problem.prompt, text) for item in part for text in self._choices(item)])
            )
            for item in part:
                texts = self._choices(item)
                scores = [next(found) for _ in texts]
                known = [score for score in scores if score is not None]
                if len(known) < len(scores):
                    why = f"one of the replies is longer than the {self._model.context} tokens that the reward model reads"
                    on_reply(item, Given(finish=Finish.ABORT, why=why))
                    continue
                ranked = tuple(Ranked(text, score, 1, False) for text, score in zip(texts, known, strict=True))
                on_reply(item, Given(tokens=len(ranked), ranked=ranked))

    def _choices(self, item: Item) -> tuple[str, ...]:
        """The replies to be scored."""
        rule = item.task.verifier
        if not isinstance(rule, Ranking) or not _by_reward(rule):
            raise RecipeError(
                f"{self._folder} is a reward model, which scores replies and writes none, so it cannot be asked {item.task.name}.\n"
                "  Ask it for pairs: --tasks rewardbench, hh_rlhf_helpful_base, or pairs(Files(…), name) of burnish.eval.tasks.rewardbench."
            )
        return rule.choices(item.problem)


def _by_reward(rule: Ranking) -> bool:
    """Whether the ranking compares whole replies to a chat prompt, by one number each."""
    return getattr(rule, "by", None) in ("sum", "token") and not getattr(rule, "before", None)
