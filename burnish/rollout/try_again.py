"""The environment in which a model may correct itself: a wrong answer is said to be wrong, and it answers again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.core.types import Problem, Turn
from burnish.errors import VerifierError
from burnish.rollout.environment import Response
from burnish.verify.base import Verifier


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Says that an answer is wrong until it is right or was the last of `max_turns`.

    The reward is that of the last answer, however many came before. A model that may try often can guess: keep max_turns
    far below the number of answers there could be.

    says: what a wrong answer is told; {why} stands for the verifier's reason, which may give the answer away.
    """

    VERSION: ClassVar[int] = 1
    verifier: Verifier
    max_turns: int = 2
    says: str = "That is not right. Look for the mistake and answer again."

    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        """Done for a right answer and for the last one. Raises VerifierError for an answer that cannot be graded."""
        verdict = self.verifier(problem, turns[-1].text)
        if verdict.score is None:
            raise VerifierError(verdict.why)
        tries = sum(turn.role == "assistant" for turn in turns)
        if verdict.score == 1.0 or tries >= self.max_turns:
            return Response(None, f"answer {tries}: {verdict.why}")
        return Response(self.says.replace("{why}", verdict.why), f"answer {tries}: {verdict.why}")
