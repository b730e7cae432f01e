"""MMLU (arXiv:2009.03300): test split, 14,042 questions in 57 subjects, as Tülu 3 reports it.

Protocol: olmes `mmlu:cot::summarize` (arXiv:2411.15124 tables 6 and 24), the paper's number. No examples, one user turn:
"The following are multiple choice questions about SUBJECT. Summarize your reasoning concisely, …", the question after
"Question: ", four lines " A. …". Chat template, no prefill, greedy, 512 new tokens, stop "Question:". The first of five
patterns that fires gives the letter (rule "mmlu_cot"). Mean over the 57 subjects, each with the mean of its questions.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.multiple_choice import MMLUQuestions
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import Framed
from burnish.rollout.engine import Sampling
from burnish.verify.choice import Choice

DESCRIPTION = (
    "The following are multiple choice questions about {category}. Summarize your reasoning concisely, then conclude with "
    "'Therefore, the answer is: X' where X is one of A, B, C, or D.\n\n"
)
TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes mmlu:cot::summarize: 0-shot CoT, chat template, greedy, 512 tokens, mean over 57 subjects (table 6)"
PUBLISHED = (
    Published(0.712, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.659, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL),
    Published(0.687, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL),
    Published(0.682, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


def task(rule: Literal["mmlu_cot", "stated"] = "mmlu_cot", limit: int | None = None) -> EvalTask:
    """MMLU. rule="mmlu_cot" is Tülu 3's protocol; rule="stated" grades the same replies by the corrected rule."""
    return EvalTask(
        "mmlu" if rule == "mmlu_cot" else "mmlu_stated", Framed(MMLUQuestions(), "cot", before=DESCRIPTION), Choice(rule),
        Sampling(temperature=0.0, max_tokens=512, stop=("Question:",)), metric="accuracy, mean of subjects", limit=limit,
        published=PUBLISHED if rule == "mmlu_cot" else (), average="categories",
    )  # fmt: skip
