r"""DROP (arXiv:1903.00161): dev set, 9,536 questions about passages, as Tülu 3 reports it.

Source: the dev set as openai/simple-evals keeps it (data/sources/held_out.py names the repository); licence CC-BY-SA-4.0.
Protocol: olmes `drop::llama3` (arXiv:2411.15124 tables 6 and 24). Plain text without a chat template: three examples,
random.Random(1234).sample of the training split, then "Passage: …", "Question: …", "Answer:", with empty lines between them. No
prefill, greedy, 50 new tokens, stops "Passage:", "Question:" and "\n\n". F1 of the whole reply as one span (rule "official"), rounded
to two decimals, the best gold answer. Mean over the questions; questions about one passage are one cluster.
The examples need the training split of EleutherAI/drop (drop/train.jsonl.gz in --data, the cache or the hub).
Variants: "drop_dev_shots" draws the three from the dev set by olmes' rule for sets without a training split, four of which one
is left out where it is the question itself; for a machine without the training split, and no published score belongs beside it.
"drop_0shot" has none. "spans" parts the spans of a reply before they are compared.
Traps: with a chat template the published score falls from .61 to .14. The file has 9,536 rows, other copies 9,535.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.types import Problem, user
from burnish.data.source import DerivedSource, reworded
from burnish.data.sources import drop_train
from burnish.data.sources.short_answers import DROPQuestions
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import OtherSolutions
from burnish.rollout.engine import Sampling
from burnish.verify.drop import DROP, golds_of

SHOTS, SEED = 3, 1234

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes drop::llama3: 3-shot, no chat template, greedy, 50 tokens, F1 (table 6)"
PUBLISHED = (
    Published(0.615, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.613, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL),
    Published(0.625, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL),
    Published(0.626, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


@dataclass(frozen=True, slots=True)
class WithoutJoined(OtherSolutions):
    """DROP without the solutions that the official rule cannot give full marks: those of several spans, read as one."""

    problems: DROPQuestions
    VERSION: ClassVar[int] = 1

    def solution(self, problem: Problem) -> str:
        """The problem's own where a single span is right."""
        return problem.solution if any(len(gold) == 1 for gold in golds_of(problem.check.target)) else ""


@dataclass(frozen=True, slots=True)
class WithShots(DerivedSource):
    """DROP's questions behind three examples, as one text. shots: where the examples are drawn, "none" for none of them."""

    problems: WithoutJoined | DROPQuestions
    shots: Literal["train", "dev", "none"]
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. "drop/dev/3shot-train"."""
        return f"{self.problems.name}/{'0shot' if self.shots == 'none' else f'{SHOTS}shot-{self.shots}'}"

    def check(self, data: Path | None) -> None:
        """Raise DataError unless questions and examples can be had."""
        self.problems.check(data)
        if self.shots == "train":
            drop_train.check(data)

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its question after the examples; lineage names the plain problem."""
        problems = list(self.problems.rows(data))
        drawn: list[tuple[str, str]] = []
        if self.shots == "train":
            drawn = drop_train.shots(data, SHOTS, SEED)
        elif self.shots == "dev":
            drawn = _of_dev(problems)
        for row in problems:
            query = row.prompt[-1].content
            others = [shot for shot in drawn if shot[0] != query][:SHOTS]
            text = "".join(f"{asked} {answer}\n\n" for asked, answer in others)
            yield reworded(row, user(f"{text}{query}"), self.name)


def _of_dev(problems: list[Problem]) -> list[tuple[str, str]]:
    """(question, answer) of one more problem than there are examples, so that none has to be asked about itself."""
    picked = random.Random(SEED).sample(problems, min(SHOTS + 1, len(problems)))
    return [(problem.prompt[-1].content, ", ".join(golds_of(problem.check.target)[0])) for problem in picked]


def task(
    rule: Literal["official", "spans"] = "official",
    shots: Literal["train", "dev", "none"] = "train",
    limit: int | None = None,
) -> EvalTask:
    """DROP. rule="official" and shots="train" are the published protocol; rule="spans" parts the spans of a reply first."""
    variant = {"train": "", "dev": "_dev_shots", "none": "_0shot"}[shots] + ("" if rule == "official" else "_spans")
    problems = WithoutJoined(DROPQuestions()) if rule == "official" else DROPQuestions()
    return EvalTask(
        f"drop{variant}", WithShots(problems, shots), DROP(rule),
        Sampling(temperature=0.0, max_tokens=50, stop=("Passage:", "Question:", "\n\n")), metric="F1", limit=limit,
        published=() if variant else PUBLISHED, chat=False, n=9536, shots=0 if shots == "none" else SHOTS,
    )  # fmt: skip
