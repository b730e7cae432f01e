"""A benchmark of your own in one file: questions about letters, graded by the number in the reply.

python examples/task.py            shows the ceiling: the worked solutions score 1.0
python examples/task.py bundled    asks the 135M model
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Check, Problem, Row, user
from burnish.eval.models import Asking, evaluate_models
from burnish.eval.task import EvalTask
from burnish.pipeline.machine import laptop
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Sampling
from burnish.verify.gsm8k import GSM8K

WORDS = ("level", "banana", "mississippi", "burnish", "rhythm", "queue", "assess", "committee")


@dataclass(frozen=True)
class Letters:
    """How often a letter stands in a word."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "letters"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for word in WORDS:
            for letter in sorted(set(word)):
                question = user(f"How often does the letter {letter} stand in the word {word}? End with the number.")
                count = str(word.count(letter))
                yield Problem(question, Check("gsm8k", count), f"It stands there {count} times: {count}", category=word)


TASK = EvalTask("letters", Letters(), GSM8K(), Sampling(temperature=0.0, max_tokens=64))


def main(model: str = "", out: Path | None = None) -> float:
    """Evaluate a model, or the worked solutions when no model is named; returns the score."""
    with tempfile.TemporaryDirectory() as scratch:
        asking = Asking(laptop(), out or Path(scratch), engine="torch" if model else "gold")
        (scores,) = evaluate_models([model] if model else [], [TASK], asking, Console())
    return float(scores["tasks"][0]["score"])


if __name__ == "__main__":
    import task  # this file under its own name, so that its classes can be found again

    print(task.main(*sys.argv[1:2]))
