"""MMLU-Pro (arXiv:2406.01574), the 70 validation questions in 14 categories, in the form of Tülu 3's unseen suite.

Protocol: olmes `mmlu_pro:0shot_cot::tulu3` (arXiv:2411.15124 section 7, table 33), there on the test split of 12,032.
No examples, one user turn: instructions, the question after "Question: ", lines " (A) …", instructions again. Chat template, no
prefill, greedy, 2,048 new tokens, no stop strings. The last "Therefore, the answer is (X)", else three fallbacks (rule
"mmlu_pro"). Mean over the categories. No published score belongs beside the validation split.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.multiple_choice import MMLUProValidation
from burnish.eval.task import EvalTask
from burnish.eval.tasks.framing import CONCISE, REMEMBER, Framed
from burnish.rollout.engine import Sampling
from burnish.verify.choice import Choice


def task(rule: Literal["mmlu_pro", "stated"] = "mmlu_pro", limit: int | None = None) -> EvalTask:
    """MMLU-Pro validation. rule="mmlu_pro" is Tülu 3's protocol; rule="stated" grades by the corrected rule."""
    return EvalTask(
        "mmlu_pro_validation" if rule == "mmlu_pro" else "mmlu_pro_validation_stated",
        Framed(MMLUProValidation(), "0shot_cot", before=CONCISE, after=f"\n{REMEMBER}"), Choice(rule),
        Sampling(temperature=0.0, max_tokens=2048), metric="accuracy, mean of categories", limit=limit, average="categories",
    )  # fmt: skip
