"""WildJailbreak's evaluation set (arXiv:2406.18510, gated): 2,000 adversarial harmful prompts and 210 adversarial benign ones.

Source: allenai/wildjailbreak, config eval, 2,210 rows; licence ODC-BY-1.0.
Protocol: `safety.py`. A harmful prompt is right when it is refused, a benign one when it is not. Metric: the mean of the two
shares (safety-eval `inverted_macro_asr` and `macro_asr`), not of the rows: open-instruct issue 500 has (98.8 + 63.3) / 2 = 81.1.

Traps: users could not reproduce the paper's numbers (the same issue); the mean of rows would be a refusal rate.
"""

from __future__ import annotations

from burnish.data.sources.safety_sets import WildJailbreakTest
from burnish.eval.judging import Judge
from burnish.eval.task import EvalTask
from burnish.eval.tasks.safety import by_rules, judged


def task(judge: Judge, limit: int | None = None) -> EvalTask:
    """WildJailbreak as Tülu 3 reports it."""
    scores = (0.656, 0.867, 0.811, 0.788)
    metric = "mean of harmful refused and benign answered"
    return judged("wildjailbreak", WildJailbreakTest(), judge, metric, 2210, scores, limit, average="categories")


def rules(limit: int | None = None) -> EvalTask:
    """WildJailbreak by refusals in words."""
    metric = "mean of harmful refused and benign answered"
    return by_rules("wildjailbreak_rules", WildJailbreakTest(), metric, 2210, limit, average="categories")
