r"""DROP (arXiv:1903.00161): dev set, 9,536 questions about passages, graded as Tülu 3 reports it.

Protocol: olmes `drop::llama3` (arXiv:2411.15124 tables 6 and 24): three examples drawn from the training split, plain text
without a chat template, "Passage: …", "Question: …", "Answer:", greedy, 50 new tokens, stops "Passage:", "Question:" and "\n\n".
F1 of the whole reply as one span (rule "official"), rounded to two decimals, the best gold answer; mean over the questions.

Two differences to the published protocol, both of the prompt. The training split is not among the pinned files, so no
examples are put in front unless `shots` gives them: (passage, question, answer) each. And prompts here go through the chat template,
which costs F1 on DROP; replies made elsewhere with the published prompt are graded as published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.types import Problem
from burnish.data.source import DerivedSource
from burnish.data.sources.short_answers import DROPQuestions
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import Framed
from burnish.rollout.engine import Sampling
from burnish.verify.drop import DROP, golds_of

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes drop::llama3: 3-shot, no chat template, greedy, 50 tokens, F1 (table 6)"
PUBLISHED = (
    Published(0.615, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.613, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL),
    Published(0.625, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL),
    Published(0.626, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


@dataclass(frozen=True, slots=True)
class WithoutJoined(DerivedSource):
    """DROP without the solutions that the official rule cannot give full marks: those of several spans, read as one."""

    problems: DROPQuestions
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """The problems' name: prompts and targets are theirs."""
        return self.problems.name

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in order."""
        for row in self.problems.rows(data):
            reachable = any(len(gold) == 1 for gold in golds_of(row.check.target))
            yield row if reachable else replace(row, solution="")


def task(
    rule: Literal["official", "spans"] = "official",
    shots: tuple[tuple[str, str, str], ...] = (),
    limit: int | None = None,
) -> EvalTask:
    """DROP. rule="official" is the published metric; rule="spans" parts the spans of a reply first."""
    before = "".join(f"Passage: {p}\nQuestion: {q}\nAnswer: {a}\n\n" for p, q, a in shots)
    problems = WithoutJoined(DROPQuestions()) if rule == "official" else DROPQuestions()
    return EvalTask(
        "drop" if rule == "official" else "drop_spans", Framed(problems, f"{len(shots)}shot", before=before), DROP(rule),
        Sampling(temperature=0.0, max_tokens=50, stop=("Passage:", "Question:", "\n\n")), metric="F1", limit=limit,
        published=PUBLISHED if rule == "official" else (),
    )  # fmt: skip
