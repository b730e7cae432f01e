"""MMLU-Pro (arXiv:2406.01574): 12,032 questions with up to ten choices in 14 categories, as Tülu 3's unseen suite asks them.

Source: the test split of TIGER-Lab/MMLU-Pro; licence MIT; its commit is not known here, so it is not pinned.
Protocol: olmes `mmlu_pro:0shot_cot::tulu3` (arXiv:2411.15124 section 7, table 33). No examples, one user turn: instructions, the
question after "Question: ", lines " (A) …", an empty line, instructions again. Chat template, no prefill, greedy, 2,048 new
tokens, no stop strings. The last "Therefore, the answer is (X)", else three fallbacks (rule "mmlu_pro"). Mean over the
categories.
Variants: "stated" grades the same replies by the corrected rule. split="validation": the 70 questions of that split, which
may be looked at during development; no published score belongs beside them.
Traps: no lookahead stops "Therefore, the answer is (A) or (B)" from counting as A; a reply without an answer may score by a
letter that stands alone somewhere in it.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.mmlu_pro import MMLUProQuestions, MMLUProValidation
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import CONCISE, REMEMBER, Framed
from burnish.rollout.engine import Sampling
from burnish.verify.choice import Choice

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes mmlu_pro:0shot_cot::tulu3: 0-shot CoT, chat template, greedy, 2,048 tokens, mean over 14 categories (table 33)"
PUBLISHED = (
    Published(0.491, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.443, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


def task(
    split: Literal["test", "validation"] = "test",
    rule: Literal["mmlu_pro", "stated"] = "mmlu_pro",
    limit: int | None = None,
) -> EvalTask:
    """MMLU-Pro. rule="mmlu_pro" is Tülu 3's protocol; rule="stated" grades by the corrected rule."""
    test = split == "test"
    name = "mmlu_pro" + ("" if test else "_validation") + ("" if rule == "mmlu_pro" else "_stated")
    source = MMLUProQuestions() if test else MMLUProValidation()
    return EvalTask(
        name, Framed(source, "0shot_cot", before=CONCISE, after=f"\n{REMEMBER}"), Choice(rule),
        Sampling(temperature=0.0, max_tokens=2048), metric="accuracy, mean of categories", limit=limit,
        published=PUBLISHED if name == "mmlu_pro" else (), average="categories", unseen=test, n=12_032 if test else 70,
    )  # fmt: skip
