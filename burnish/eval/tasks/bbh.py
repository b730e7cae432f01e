"""BIG-Bench Hard (arXiv:2210.09261): 6,511 questions of 27 tasks, as Tülu 3 reports it.

Protocol: olmes `bbh:cot-v1::tulu` (arXiv:2411.15124 tables 6 and 24). The task's three published chain-of-thought examples as
turns, its one-line description before the first; the question as "Q: …", "A: Let's think step by step.". Chat template, no prefill,
greedy, 512 new tokens, no stop strings. The last match of the first pattern that fires (rule "tulu3"). Mean over the
questions, not over the tasks.
Source: suzgunmirac/BIG-Bench-Hard; licence MIT; 27 tasks of 250 questions, causal_judgement 187, penguins 146, snarks 178.
Variants: "stated" grades the same replies by the corrected rule.
Traps: three questions have no letter as their answer in the data (ruin_names two, movie_recommendation one), and no reply to them
counts by the published rule: its ceiling is 6,508 of 6,511. In 15 lists of words it stops at a mark inside a word, so that only a
reply that leaves the marks out counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.types import Messages, Problem, user
from burnish.data.source import reworded
from burnish.data.sources.pinned import Pinned, records
from burnish.data.sources.short_answers import BBHQuestions
from burnish.errors import DataError
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import BehindExamples, turns
from burnish.rollout.engine import Sampling
from burnish.verify.bbh import BBH, FORMS

PROMPTS = Pinned(
    "bbh/cot_prompts.jsonl", "95390530df52edb3f5d017c6aedc352a389de36aaa923727a3e7c233ff0a8c0b",
    27, "MIT", "https://github.com/suzgunmirac/BIG-Bench-Hard", "9ee07bd481feebf959a6b59d61ea57bdcf30964d",
)  # fmt: skip
_MARKS = re.compile(r"[^\w\s]")
_LETTER = re.compile(r"\([A-Z]\)")
_LETTERED = ("ruin_names", "movie_recommendation")
CUE = "A: Let's think step by step."
TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = (
    "olmes bbh:cot-v1::tulu: 3-shot CoT as turns, chat template, greedy, 512 tokens, mean over questions (table 6)"
)
PUBLISHED = (
    Published(0.719, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.697, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL),
    Published(0.687, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL),
    Published(0.690, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


@dataclass(frozen=True, slots=True)
class WithExamples(BehindExamples):
    """BIG-Bench Hard's problems behind their task's three worked examples, their solutions in words that the rule can read."""

    problems: BBHQuestions
    rule: Literal["tulu3", "stated"] = "tulu3"
    VERSION: ClassVar[int] = 1
    EXAMPLES: ClassVar[Pinned] = PROMPTS

    @property
    def name(self) -> str:
        """bbh/3shot."""
        return f"{self.problems.name}/3shot"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its question after the examples; lineage names the plain problem."""
        examples = examples_of(data)
        for row in self.problems.rows(data):
            prompt = (*examples[row.category], *user(f"Q: {row.prompt[-1].content}\n{CUE}"))
            solution = row.solution if self.rule == "stated" else readable(row)
            yield replace(reworded(row, prompt, self.name), solution=solution)


def readable(row: Problem) -> str:
    """A solution that the published rule reads: lists of words without marks inside them; "" where no reply would count."""
    answer = json.loads(row.check.target)["answer"]
    if row.category == "word_sorting":
        return f"So the answer is {_MARKS.sub('', answer)}."
    return "" if row.category in _LETTERED and not _LETTER.fullmatch(answer) else row.solution


def examples_of(data: Path | None) -> Mapping[str, Messages]:
    """The three examples of each task as turns. Raises DataError for a file without them."""
    found = {}
    for record in records(PROMPTS, data, "bbh/3shot", ("task", "prompt")):
        description, *shots = record["prompt"].partition("-----\n")[2].strip().split("\n\nQ: ")
        pairs = [shot.partition(f"\n{CUE}")[::2] for shot in shots]
        if len(pairs) != 3 or not all(question and steps for question, steps in pairs):
            raise DataError(f"{PROMPTS.path}, task {record['task']}: expected three examples with '{CUE}'.")
        asked = [f"Q: {question}\n{CUE}" for question, _ in pairs]
        asked[0] = f"{description}\n\n{asked[0]}"
        found[record["task"]] = turns(*((ask, steps.strip()) for ask, (_, steps) in zip(asked, pairs, strict=True)))
    if missing := sorted(set(FORMS) - set(found)):
        raise DataError(f"{PROMPTS.path}: no examples of {', '.join(missing)}.")
    return found


def task(rule: Literal["tulu3", "stated"] = "tulu3", limit: int | None = None) -> EvalTask:
    """BIG-Bench Hard. rule="tulu3" is Tülu 3's protocol; rule="stated" grades the same replies by the corrected rule."""
    return EvalTask(
        "bbh" if rule == "tulu3" else "bbh_stated", WithExamples(BBHQuestions(), rule), BBH(rule),
        Sampling(temperature=0.0, max_tokens=512), limit=limit, published=PUBLISHED if rule == "tulu3" else (), n=6511, shots=3,
    )  # fmt: skip
