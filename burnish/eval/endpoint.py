"""A model behind an OpenAI-compatible endpoint: many questions at once, each reply handed on as it comes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from burnish.core.types import Finish, plain
from burnish.errors import RecipeError
from burnish.eval.answer import Given, Item, OnReply
from burnish.eval.model_answers import seed_for
from burnish.eval.ranking import Ranking
from burnish.eval.records import request_key
from burnish.rollout.api_engine import Endpoint, check_protocol
from burnish.verify.judge.ask import Answer, Question

STOPS = 4  # OpenAI's limit; replies are cut at the other stop strings here


class EndpointAnswers:
    """Replies of an endpoint. The server renders and tokenises prompts, so nothing here knows whether they fit its context.

    Samples are told apart by `seed`, which a server may heed. A question it refuses is ungraded, with the server's reason, and is
    asked again the next time.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.notes: tuple[str, ...] = ()
        self._endpoint = endpoint

    def keys(self, items: Sequence[Item], seed: int) -> list[str]:
        """A hash of the conversation, sampling, seed and endpoint. Raises RecipeError for tasks that no endpoint can answer."""
        for task in {item.task.name: item.task for item in items}.values():
            check_protocol(task.sampling)
            if task.sampling.logit_bias:
                raise RecipeError(
                    f"task {task.name} gives biases by the ids of one model's tokens, and an endpoint does not tell its own.\n"
                    "  Leave it out, or use --engine torch with the model's folder."
                )
            if isinstance(task.verifier, Ranking):
                raise RecipeError(
                    f"task {task.name} compares log-probabilities of given continuations, which chat endpoints do not tell.\n"
                    "  Leave it out, or use --engine torch with the model's folder."
                )
            if task.prefill and task.chat:
                raise RecipeError(
                    f"task {task.name} begins the reply with {task.prefill!r:.60}, and a chat endpoint begins its replies itself, so the model "
                    "would be asked something else.\n  Leave it out, ask a variant without prefill, or use --engine torch with the model's folder."
                )
        name = self._endpoint.name
        return [
            request_key(name, "endpoint", _text(item), item.task.sampling, seed_for(item, seed),
                        item.sample if item.task.sampling.temperature > 0 else 0)
            for item in items
        ]  # fmt: skip

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        """Ask all items, at the endpoint's concurrency or as batches. Raises RecipeError when it does not answer or lacks the model."""
        if items:
            self._endpoint.check()
        ordered = sorted(items, key=lambda item: -item.task.sampling.max_tokens)

        def told(place: int, answer: Answer) -> None:
            on_reply(ordered[place], _given(answer, ordered[place].task.sampling.stop))

        self._endpoint.each([_question(item, seed) for item in ordered], told)


def _question(item: Item, seed: int) -> Question:
    sampling = item.task.sampling
    prompt = item.problem.prompt if item.task.chat else _text(item)
    return Question(
        prompt, sampling.max_tokens, sampling.temperature, stop=sampling.stop[:STOPS], top_p=sampling.top_p,
        seed=seed_for(item, seed) % (1 << 31) if sampling.temperature > 0 else None,
    )  # fmt: skip


def _given(answer: Answer, stops: Sequence[str]) -> Given:
    if answer.text is None:
        return Given(finish=Finish.ABORT, why=answer.why)
    places = [place for place in (answer.text.find(stop) for stop in stops) if place >= 0]
    text = answer.text[: min(places)] if places else answer.text
    return Given(text, Finish.LENGTH if answer.cut and not places else Finish.STOP)


def _text(item: Item) -> str:
    """A plain task's text as it is sent; of a chat task, its turns as JSON."""
    if not item.task.chat:
        return "".join(message.content for message in item.problem.prompt) + item.task.prefill
    turns: Any = plain(item.problem.prompt)
    return json.dumps(turns, ensure_ascii=True)
