"""AGIEval English (arXiv:2304.06364), a sample of 5 questions of each of its 8 choice tasks, in the form of Tülu 3's unseen suite.

Protocol: olmes `agi_eval_english:0shot_cot::tulu3` (arXiv:2411.15124 section 7, table 33), there on all 2,646 questions.
No examples, one user turn: instructions, "Passage: …" where there is one, "Question: …", lines " (A) …", a blank line and
the instructions again. Chat template, no prefill, greedy, 2,048 new tokens, no stop strings. The last "Therefore, the answer is
(X)", else two fallbacks (rule "agieval"). Mean over the tasks. No published score belongs beside a sample.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.multiple_choice import AGIEvalSample
from burnish.eval.task import EvalTask
from burnish.eval.tasks.framing import CONCISE, REMEMBER, Framed
from burnish.rollout.engine import Sampling
from burnish.verify.choice import Choice


def task(rule: Literal["agieval", "stated"] = "agieval", limit: int | None = None) -> EvalTask:
    """The sample of AGIEval. rule="agieval" is Tülu 3's protocol; rule="stated" grades by the corrected rule."""
    return EvalTask(
        "agieval_sample" if rule == "agieval" else "agieval_sample_stated",
        Framed(AGIEvalSample(), "0shot_cot", before=CONCISE, after=f"\n\n{REMEMBER}"), Choice(rule),
        Sampling(temperature=0.0, max_tokens=2048), metric="accuracy, mean of tasks", limit=limit, average="categories",
    )  # fmt: skip
