"""MBPP (arXiv:2108.07732), the 500 tasks of its test split, and MBPP+ (arXiv:2305.01210), 378 tasks with about 105 inputs each.

Sources: MBPP (CC-BY-4.0), tasks 11 to 510; evalplus/mbppplus_release (Apache-2.0). Beyond Tülu 3's suites.
Protocol: that of HumanEval in Tülu 3's paper (see humaneval.py): chat template, no shots, the reply begun with the words of the
prefill, temperature 0.8, top_p 0.95, 20 replies a problem, 512 new tokens, stop strings without those that a whole program may
hold (comments, classes, conditions). MBPP's question is the task's text with its three asserts; MBPP+'s is EvalPlus's docstring
with one. The program is found by the "flexible" rule; 10 s of processor time (MBPP) and 20 s (MBPP+). Score: pass@10 from the 20
replies; mean over the tasks. No published score was made this way.
Variants: "pass1" is one greedy reply a task and the share that passes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from burnish.data.sources.code_problems import MBPPPlusProblems
from burnish.data.sources.mbpp import MBPPProblems
from burnish.eval.task import EvalTask
from burnish.eval.tasks.humaneval import SAMPLING, Prefilled, asked
from burnish.verify.code import FunctionTests

PREFILL = "\n\nHere is the completed function:\n\n```python\n"
STOPS = ("\nif __name__", "\nprint", "\n```", "<|eot_id|>")


def task(plus: bool = False, ask: Literal["pass10", "pass1"] = "pass10", limit: int | None = None) -> EvalTask:
    """MBPP's test split, or MBPP+ with `plus`."""
    source = Prefilled(MBPPPlusProblems() if plus else MBPPProblems("test"), PREFILL)
    found = EvalTask(
        ("mbppplus" if plus else "mbpp") + ("" if ask == "pass10" else "_pass1"), source,
        FunctionTests(cpu_s=20.0 if plus else 10.0, packages=("numpy",)), dataclasses.replace(SAMPLING, stop=STOPS), limit=limit,
        prefill=PREFILL.lstrip(), n=378 if plus else 500,
    )  # fmt: skip
    return asked(found, ask)
