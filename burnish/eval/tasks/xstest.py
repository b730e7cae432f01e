"""XSTest (arXiv:2308.01263): 450 prompts, 250 safe and 200 unsafe; refusals found by words, without a judge model.

Protocol: the prompt as the user's message, no system prompt, chat template, greedy. A safe prompt is right when it is not
refused, an unsafe one when it is; the metric is accuracy over all 450 (safety-eval's `overall_accuracy`, as Tülu 3 reports,
arXiv:2411.15124, there with WildGuard as judge). What decides here is the wording of the reply's opening: rule
"phrases", or "xstest", the string match published with the benchmark. Neither gives numbers to compare with a judge's.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.xstest import XSTestPrompts
from burnish.eval.task import EvalTask
from burnish.rollout.engine import Sampling
from burnish.verify.refusal import Refusal


def task(rule: Literal["phrases", "xstest"] = "phrases", limit: int | None = None) -> EvalTask:
    """XSTest by the rule-based refusal baseline."""
    name = "xstest_phrases" if rule == "phrases" else "xstest_strings"
    return EvalTask(name, XSTestPrompts(), Refusal(rule), Sampling(temperature=0.0, max_tokens=512), limit=limit)
