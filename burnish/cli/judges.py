"""Judges of whether two texts ask the same: a model in a folder, or one behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from burnish.core.types import user
from burnish.data.decontamination.paraphrase import QUESTION, verdict_of
from burnish.errors import DataError, RecipeError
from burnish.rollout.api_engine import Endpoint
from burnish.rollout.local_answers import LocalModel
from burnish.verify.judge.ask import Answerer, Question

KEY = "BURNISH_JUDGE_KEY"
_TOKENS = 48
_CHARACTERS = 6000


@dataclass(frozen=True, slots=True)
class SameQuestion:
    """Asks a model whether two texts ask the same. Pairs that it cannot answer, for their length say, are ungraded."""

    judge_model: Answerer

    @property
    def name(self) -> str:
        """Which model."""
        return self.judge_model.name

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        """One verdict a pair. Raises DataError when the model cannot be asked, so that nothing counts as judged."""
        questions = [
            Question(user(QUESTION.format(item=item[:_CHARACTERS], row=row[:_CHARACTERS])), _TOKENS) for item, row in pairs
        ]  # fmt: skip
        answers = self.judge_model.answers(questions)
        for answer in answers:
            if answer.down:
                raise DataError(
                    f"--judge: {answer.why}\n  Verdicts so far are kept; run the same command again to go on."
                )
        return [None if answer.text is None else verdict_of(answer.text) for answer in answers]


def judge_of(spelling: str, model: str, machine: str) -> SameQuestion:
    """The judge that a person means by a folder or by an address; an endpoint's key is read from BURNISH_JUDGE_KEY.

    Raises RecipeError for an endpoint that does not answer or does not know the model, ModelError for a folder without one.
    """
    if not spelling.startswith(("http://", "https://")):
        return SameQuestion(LocalModel.of(spelling, machine))
    if not model:
        raise RecipeError(f"--judge {spelling} is an endpoint and needs the name of its model: --judge-model NAME.")
    endpoint = Endpoint(spelling, model, key=KEY if os.environ.get(KEY) else "")
    endpoint.check()
    return SameQuestion(endpoint)
