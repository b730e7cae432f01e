"""MMLU (arXiv:2009.03300): test split, 14,042 questions in 57 subjects.

Source: test and dev split (data/sources/multiple_choice.py names the repository); licence MIT.

`mmlu`, as Tülu 3 reports it. Protocol: olmes `mmlu:cot::summarize` (arXiv:2411.15124 tables 6 and 24). No examples, one user turn:
"The following are multiple choice questions about SUBJECT. Summarize your reasoning concisely, …", the question after
"Question: ", four lines " A. …". Chat template, no prefill, greedy, 512 new tokens, stop "Question:". The first of five
patterns that fires gives the letter (rule "mmlu_cot"). Mean over the 57 subjects, each with the mean of its questions.

`mmlu_mc`: 5-shot by log-likelihood, olmes `mmlu:mc::tulu`. The subject's five questions of the dev split, in file order, as turns:
the user's begins, in the first only, with "The following are multiple choice questions (with answers) about SUBJECT." and an empty
line; then "Question: …", four lines " A. …", "Answer:"; the assistant's is the letter. Chat template, no prefill, so that the letter
has no space before it. The letter with the highest log-probability, the first of equals. Mean over the 57 subjects.

Trap: olmes's suite `tulu_3_dev` lists mmlu:mc::tulu, but the paper's table has mmlu:cot::summarize.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from burnish.core.types import Problem, user
from burnish.data.source import reworded
from burnish.data.sources.multiple_choice import MMLUQuestions, mmlu_question
from burnish.data.sources.pinned import Pinned, records
from burnish.errors import DataError
from burnish.eval.ranking import LetterChoice
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import BehindExamples, Framed, turns
from burnish.rollout.engine import Sampling
from burnish.verify.choice import Choice

DEV = Pinned(
    "mmlu/dev.jsonl.gz", "cad044c013c94090466961f6825e9f511f7f0121e5c2ed7fcbe5bfaec88c2dab",
    285, "MIT", "https://github.com/sangttruong/active-prefer", "931c0f09cbf90d07e96be80386fa3a86c44f9c03",
)  # fmt: skip
SHOTS = 5
DESCRIPTION = (
    "The following are multiple choice questions about {category}. Summarize your reasoning concisely, then conclude with "
    "'Therefore, the answer is: X' where X is one of A, B, C, or D.\n\n"
)
WITH_ANSWERS = "The following are multiple choice questions (with answers) about {category}.\n\n"
CUE = "Answer:"
TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes mmlu:cot::summarize: 0-shot CoT, chat template, greedy, 512 tokens, mean over 57 subjects (table 6)"
PUBLISHED = (
    Published(0.712, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.659, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL),
    Published(0.687, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL),
    Published(0.682, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)
PUBLISHED_MC = (
    Published(
        0.620, "Llama-3.1-Tulu-3-8B-SFT", "https://github.com/allenai/olmes/issues/27",
        "olmes mmlu:mc::tulu: 5-shot as turns, chat template, log-likelihood of the letter (Ai2's own rerun)",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class WithExamples(BehindExamples):
    """MMLU's problems behind five questions of their subject with their answers, as turns."""

    problems: MMLUQuestions
    VERSION: ClassVar[int] = 1
    EXAMPLES: ClassVar[Pinned] = DEV

    @property
    def name(self) -> str:
        """mmlu/test/5shot."""
        return f"{self.problems.name}/{SHOTS}shot"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its question after the examples; lineage names the plain problem."""
        examples = examples_of(data)
        for row in self.problems.rows(data):
            pairs = [
                (mmlu_question(each["question"], choices_of(each)) + CUE, each["answer"])
                for each in examples[row.category]
            ]
            pairs[0] = (described(row.category) + pairs[0][0], pairs[0][1])
            yield reworded(row, (*turns(*pairs), *user(row.prompt[-1].content + CUE)), self.name)


def described(subject: str) -> str:
    """What stands before a subject's questions with answers."""
    return WITH_ANSWERS.replace("{category}", subject.replace("_", " "))


def choices_of(record: Mapping[str, Any]) -> Sequence[str]:
    """The choices of a row of the files."""
    return [record[letter] for letter in "ABCD"]


def examples_of(data: Path | None) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The first five rows of the dev split of each subject. Raises DataError for a file without them."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in records(DEV, data, "mmlu/dev", ("subject", "question", *"ABCD", "answer")):
        found.setdefault(record["subject"], []).append(record)
    if short := sorted(subject for subject, rows in found.items() if len(rows) < SHOTS):
        raise DataError(f"{DEV.path}: fewer than {SHOTS} examples of {', '.join(short)}.")
    return {subject: rows[:SHOTS] for subject, rows in found.items()}


def task(rule: Literal["mmlu_cot", "stated"] = "mmlu_cot", limit: int | None = None) -> EvalTask:
    """MMLU. rule="mmlu_cot" is Tülu 3's protocol; rule="stated" grades the same replies by the corrected rule."""
    return EvalTask(
        "mmlu" if rule == "mmlu_cot" else "mmlu_stated", Framed(MMLUQuestions(), "cot", before=DESCRIPTION), Choice(rule),
        Sampling(temperature=0.0, max_tokens=512, stop=("Question:",)), metric="accuracy, mean of subjects", limit=limit,
        published=PUBLISHED if rule == "mmlu_cot" else (), average="categories", n=14042,
    )  # fmt: skip


def likelihood(limit: int | None = None) -> EvalTask:
    """MMLU with five examples, by the log-probability of the letter."""
    return EvalTask(
        "mmlu_mc", WithExamples(MMLUQuestions()), LetterChoice(ties="first"), metric="accuracy, mean of subjects", limit=limit,
        published=PUBLISHED_MC, average="categories", n=14042, shots=SHOTS,
    )  # fmt: skip
