"""An environment of your own in one file: guess a number, with hints. python examples/environment.py plays and checks it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from burnish.core.types import Check, Message, Messages, Problem, Turn
from burnish.rollout.environment import Response
from burnish.testing.laws import check_environment

NUMBER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class GuessTheNumber:
    """Says whether the problem's target is higher or lower than the last number of a turn, until it is guessed."""

    VERSION: ClassVar[int] = 1  # raise it when the same turns would get another response
    max_turns: int = 7

    def prompt(self, problem: Problem) -> Messages:
        """What the model reads first; leave this out where the problem's own prompt says it all."""
        asked = f"{problem.prompt[-1].content} You have {self.max_turns} guesses."
        return (*problem.prompt[:-1], Message("user", asked))

    def __call__(self, problem: Problem, turns: Sequence[Turn]) -> Response:
        guesses = NUMBER.findall(turns[-1].text)
        target = int(problem.check.target)
        if not guesses:
            return Response("Guess a number.", "no number")
        guess = int(guesses[-1])
        if guess == target:
            return Response(None, f"guessed in {(len(turns) + 1) // 2} turns")  # None: the conversation is done
        return Response("Higher." if guess < target else "Lower.", f"{guess}, wanted {target}")


def main() -> int:
    problem = Problem((Message("user", "I think of a number from 1 to 100. Which?"),), Check("guess", "37"))
    environment, turns, low, high = GuessTheNumber(), list[Turn](), 1, 100
    while True:
        guess = (low + high) // 2
        turns.append(Turn("assistant", f"Is it {guess}?", ()))
        response = environment(problem, turns)
        print(guess, response.text, "·", response.note)
        if response.text is None:
            break
        low, high = (guess + 1, high) if response.text == "Higher." else (low, guess - 1)
        turns.append(Turn("user", response.text, ()))
    check_environment(environment, [problem], conversations=[["50", "25", "37"], ["I do not know."]])
    # RL(..., verifiers={"guess": GSM8K()}, environments={"guess": GuessTheNumber()})
    return guess


if __name__ == "__main__":
    main()
