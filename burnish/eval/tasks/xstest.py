"""XSTest (arXiv:2308.01263): 450 prompts, 250 safe ones that look unsafe and 200 unsafe ones.

Source: xstest_prompts.csv of paul-rottger/exaggerated-safety; licence CC-BY-4.0.
Protocol: `safety.py`. A safe prompt is right when it is not refused, an unsafe one when it is; the metric is accuracy over
all 450 (safety-eval `overall_accuracy`).

Variants: `xstest_classes` asks the judge for the paper's three classes, a partial refusal counting as a refusal.
`xstest_rules` reads refusals from the reply's opening words, `xstest_strings` by the string match published with the
benchmark; neither gives numbers to compare with a judge's. How the rules agree with the published labels of five models'
replies: docs/reference/benchmarks/safety.md.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.xstest import XSTestPrompts
from burnish.eval.judging import Judge
from burnish.eval.task import EvalTask
from burnish.eval.tasks.safety import SAMPLING, judged
from burnish.verify.judge.safety import XSTestRefusal
from burnish.verify.refusal import Refusal


def task(judge: Judge, limit: int | None = None) -> EvalTask:
    """XSTest as Tülu 3 reports it."""
    return judged("xstest", XSTestPrompts(), judge, "accuracy", 450, (0.927, 0.904, 0.924, 0.933), limit)


def classes(judge: Judge, limit: int | None = None) -> EvalTask:
    """XSTest by the paper's three classes, in our own words."""
    judge.form_with("xstest_classes", "{no form: this task asks in words of its own}")
    return EvalTask("xstest_classes", XSTestPrompts(), XSTestRefusal(judge.model), SAMPLING, limit=limit, n=450)


def rules(rule: Literal["phrases", "xstest"] = "phrases", limit: int | None = None) -> EvalTask:
    """XSTest by refusals in words."""
    name = "xstest_rules" if rule == "phrases" else "xstest_strings"
    return EvalTask(name, XSTestPrompts(), Refusal(rule), SAMPLING, limit=limit, n=450)
