"""The benchmarks by name, as the command line spells them."""

from __future__ import annotations

from collections.abc import Callable

from burnish.errors import RecipeError, nearest
from burnish.eval.task import EvalTask
from burnish.eval.tasks import (
    agieval,
    arithmetic,
    bbh,
    drop,
    gsm8k,
    humaneval,
    ifbench,
    ifeval,
    instructions,
    math,
    mbpp,
    mmlu,
    mmlu_pro,
    popqa,
    truthfulqa,
    xstest,
)

TASKS: dict[str, Callable[[], EvalTask]] = {
    "arithmetic": lambda: arithmetic.task(),
    "instructions": lambda: instructions.task(),
    "gsm8k": lambda: gsm8k.task(),
    "gsm8k_8shot": lambda: gsm8k.task(shots=8),
    "math": lambda: math.task(),
    "math_4shot": lambda: math.task("4shot"),
    "math_500": lambda: math.task("500"),
    "ifeval": lambda: ifeval.task(),
    "ifeval_strict": lambda: ifeval.task("strict"),
    "ifbench": lambda: ifbench.task(),
    "ifbench_fixed": lambda: ifbench.task(rule="fixed"),
    "ifbench_sample": lambda: ifbench.task("sample"),
    "ifbench_sample_fixed": lambda: ifbench.task("sample", "fixed"),
    "mmlu": lambda: mmlu.task(),
    "mmlu_stated": lambda: mmlu.task("stated"),
    "popqa": lambda: popqa.task(),
    "popqa_words": lambda: popqa.task("words"),
    "bbh": lambda: bbh.task(),
    "bbh_stated": lambda: bbh.task("stated"),
    "drop": lambda: drop.task(),
    "drop_spans": lambda: drop.task("spans"),
    "humaneval": lambda: humaneval.task(),
    "humaneval_flexible": lambda: humaneval.task(rule="flexible"),
    "humanevalplus": lambda: humaneval.task(plus=True),
    "humanevalplus_flexible": lambda: humaneval.task(plus=True, rule="flexible"),
    "mbpp": lambda: mbpp.task(),
    "mbppplus": lambda: mbpp.task(plus=True),
    "truthfulqa_mc1_generated": lambda: truthfulqa.task(),
    "mmlu_pro_validation": lambda: mmlu_pro.task(),
    "mmlu_pro_validation_stated": lambda: mmlu_pro.task("stated"),
    "agieval_sample": lambda: agieval.task(),
    "agieval_sample_stated": lambda: agieval.task("stated"),
    "xstest_phrases": lambda: xstest.task(),
    "xstest_strings": lambda: xstest.task("xstest"),
}


def find(name: str) -> EvalTask:
    """The task of that name. Raises RecipeError with the nearest known name."""
    if name not in TASKS:
        raise RecipeError(
            f"task {name!r} is not known. {nearest(name, TASKS)}\n  Benchmarks of your own are passed as values: see docs/howto/task.md."
        )
    return TASKS[name]()
