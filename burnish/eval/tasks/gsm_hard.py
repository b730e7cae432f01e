"""GSM-Hard (arXiv:2211.10435): GSM8K's 1,319 test questions with one number each replaced by a large one. Beyond Tülu 3's suites.

Source: datasets/gsmhardv2.jsonl of reasoning-machines/pal; licence Apache-2.0.
Protocol: that of GSM8K in Tülu 3's paper (see gsm8k.py): eight chain-of-thought examples as turns, the question after
"Question: ", the reply begun with "Answer:", chat template, greedy, 512 new tokens, GSM8K's stop strings. Right when the number
that the reply gives is less than 0.001 from the target, as the authors count. Mean over the problems. No published score was
made this way.
Variants: "plain" asks the question alone, in the chat template, without examples and prefill.
Traps: answers were computed by a program and never looked at, so that some are negative or parts of people and cars.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.number_sets import GSMHardProblems
from burnish.eval.task import EvalTask
from burnish.eval.tasks.gsm8k import like_gsm8k
from burnish.verify.close_number import CloseNumber


def task(form: Literal["8shot", "plain"] = "8shot", limit: int | None = None) -> EvalTask:
    """GSM-Hard: with GSM8K's eight examples, or the question alone."""
    return like_gsm8k("gsm_hard", GSMHardProblems(), CloseNumber(), form, 1319, limit)
