"""GSM8K (arXiv:2110.14168): test split, 1,319 grade-school word problems, as Tülu 3 reports it.

Source: grade_school_math of openai/grade-school-math; licence MIT.
Protocol: olmes `gsm8k::tulu` (arXiv:2411.15124 tables 6 and 24). Eight fixed chain-of-thought examples as turns, "Question: …"
answered by "Answer: … So the answer is N."; then the question in the same form, and the reply begun with "Answer:". Chat template,
greedy, 512 new tokens, stops "Question:", "</s>" and "<|im_end|>". The last number of the reply, as text (rule "tulu3"). Mean over
the problems.
Variants: "plain" asks the question alone, in natural wording without prefill, and compares by value (rule "flexible").
Traps: the published rule reads -5 as 5, and 3.00 as unequal to 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.types import Message, Messages, Problem, user
from burnish.data.source import DerivedSource, Source, reworded
from burnish.data.sources.gsm8k import GSM8KProblems
from burnish.errors import DataError
from burnish.eval.task import EvalTask, Published
from burnish.rollout.engine import Sampling
from burnish.verify.base import Verifier
from burnish.verify.gsm8k import GSM8K

# The eight examples of Wei et al. (arXiv:2201.11903, table 20): question, worked steps, answer.
SHOTS: tuple[tuple[str, str, str], ...] = (
    (
        "There are 15 trees in the grove. Grove workers will plant trees in the grove today. After they are done, there will be 21 trees. How many trees did the grove workers plant today?",
        "There are 15 trees originally. Then there were 21 trees after some more were planted. So there must have been 21 - 15 = 6.",
        "6",
    ),
    (
        "If there are 3 cars in the parking lot and 2 more cars arrive, how many cars are in the parking lot?",
        "There are originally 3 cars. 2 more cars arrive. 3 + 2 = 5.",
        "5",
    ),
    (
        "Leah had 32 chocolates and her sister had 42. If they ate 35, how many pieces do they have left in total?",
        "Originally, Leah had 32 chocolates. Her sister had 42. So in total they had 32 + 42 = 74. After eating 35, they had 74 - 35 = 39.",
        "39",
    ),
    (
        "Jason had 20 lollipops. He gave Denny some lollipops. Now Jason has 12 lollipops. How many lollipops did Jason give to Denny?",
        "Jason started with 20 lollipops. Then he had 12 after giving some to Denny. So he gave Denny 20 - 12 = 8.",
        "8",
    ),
    (
        "Shawn has five toys. For Christmas, he got two toys each from his mom and dad. How many toys does he have now?",
        "Shawn started with 5 toys. If he got 2 toys each from his mom and dad, then that is 4 more toys. 5 + 4 = 9.",
        "9",
    ),
    (
        "There were nine computers in the server room. Five more computers were installed each day, from monday to thursday. How many computers are now in the server room?",
        "There were originally 9 computers. For each of 4 days, 5 more computers were added. So 5 * 4 = 20 computers were added. 9 + 20 is 29.",
        "29",
    ),
    (
        "Michael had 58 golf balls. On tuesday, he lost 23 golf balls. On wednesday, he lost 2 more. How many golf balls did he have at the end of wednesday?",
        "Michael started with 58 golf balls. After losing 23 on tuesday, he had 58 - 23 = 35. After losing 2 more, he had 35 - 2 = 33 golf balls.",
        "33",
    ),
    (
        "Olivia has $23. She bought five bagels for $3 each. How much money does she have left?",
        "Olivia had 23 dollars. 5 bagels for 3 dollars each will be 5 x 3 = 15 dollars. So she has 23 - 15 dollars left. 23 - 15 is 8.",
        "8",
    ),
)

STOPS = ("Question:", "</s>", "<|im_end|>")

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes gsm8k::tulu: 8-shot CoT as turns, chat template, greedy, 512 tokens, exact match of the last number (table 6)"
PUBLISHED = (
    Published(0.834, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.762, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL),
    Published(0.843, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL),
    Published(0.876, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


def shot_turns(shots: int) -> Messages:
    """The first examples as user and assistant turns; olmes writes "So the answer is N." where the paper has "The answer is N."."""
    return tuple(
        turn
        for question, steps, answer in SHOTS[:shots]
        for turn in (
            Message("user", f"Question: {question}"),
            Message("assistant", f"Answer: {steps} So the answer is {answer}."),
        )
    )


@dataclass(frozen=True, slots=True)
class WithShots(DerivedSource):
    """Word problems behind GSM8K's eight worked examples."""

    problems: Source
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. "gsm8k/test/8shot"."""
        return f"{self.problems.name}/8shot"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its question after the examples; lineage names the plain problem."""
        turns = shot_turns(len(SHOTS))
        for row in self.problems.rows(data):
            if not isinstance(row, Problem):
                raise DataError(
                    f"{self.name}: source {self.problems.name} yields {type(row).__name__} rows, wanted Problems."
                )
            question = user(f"Question: {row.prompt[-1].content}")
            yield reworded(row, (*turns, *question), self.name)


def like_gsm8k(
    name: str, problems: Source, verifier: Verifier, form: Literal["8shot", "plain"], n: int, limit: int | None
) -> EvalTask:
    """A set of word problems asked in GSM8K's form: with its eight examples, stops and prefill, or the question alone."""
    if form == "plain":
        return EvalTask(
            f"{name}_plain", problems, verifier, Sampling(temperature=0.0, max_tokens=512), limit=limit, n=n
        )
    return EvalTask(
        name, WithShots(problems), verifier, Sampling(temperature=0.0, max_tokens=512, stop=STOPS), limit=limit, prefill="Answer:",
        n=n, shots=len(SHOTS),
    )  # fmt: skip


def task(form: Literal["8shot", "plain"] = "8shot", limit: int | None = None) -> EvalTask:
    """GSM8K test. form="8shot" is Tülu 3's protocol; "plain" asks the question alone, in natural wording."""
    rule: Literal["tulu3", "flexible"] = "tulu3" if form == "8shot" else "flexible"
    found = like_gsm8k("gsm8k", GSM8KProblems("test"), GSM8K(rule), form, 1319, limit)
    return replace(found, published=PUBLISHED) if form == "8shot" else found
