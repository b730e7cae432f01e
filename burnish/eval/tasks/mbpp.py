"""MBPP (arXiv:2108.07732), the 500 tasks of its test split, and MBPP+ (arXiv:2305.01210), 378 tasks with about 105 inputs each.

Protocol: that of HumanEval in Tülu 3's paper (see humaneval.py), which did not report MBPP: chat template, no shots,
the reply begun with the words of the prefill, temperature 0.8, top_p 0.95, 512 new tokens, stop strings
without those that a whole program may hold (comments, classes, conditions). MBPP's question is the task's text with its three asserts;
MBPP+'s is EvalPlus's docstring with one. The program is found by the "flexible" rule. Score: pass@1; pass@10 from several
replies a problem by `burnish grade`. No published score was made this way.
"""

from __future__ import annotations

import dataclasses

from burnish.data.sources.code_problems import MBPPPlusProblems
from burnish.data.sources.mbpp import MBPPProblems
from burnish.eval.task import EvalTask
from burnish.eval.tasks.humaneval import SAMPLING, Prefilled
from burnish.verify.code import FunctionTests

PREFILL = "\n\nHere is the completed function:\n\n```python\n"
STOPS = ("\nif __name__", "\nprint", "\n```", "<|eot_id|>")


def task(plus: bool = False, limit: int | None = None) -> EvalTask:
    """MBPP's test split, or MBPP+ with `plus`."""
    source = Prefilled(MBPPPlusProblems() if plus else MBPPProblems("test"), PREFILL)
    return EvalTask(
        "mbppplus" if plus else "mbpp", source, FunctionTests(cpu_s=20.0 if plus else 10.0, packages=("numpy",)),
        dataclasses.replace(SAMPLING, stop=STOPS), metric="pass@1", limit=limit, prefill=PREFILL.lstrip(),
    )  # fmt: skip
