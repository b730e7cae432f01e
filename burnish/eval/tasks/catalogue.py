"""The benchmarks by name, as the command line spells them."""

from __future__ import annotations

from collections.abc import Callable

from burnish.errors import RecipeError, nearest
from burnish.eval.task import EvalTask
from burnish.eval.tasks import arithmetic, gsm8k, ifeval, instructions

TASKS: dict[str, Callable[[], EvalTask]] = {
    "arithmetic": lambda: arithmetic.task(),
    "instructions": lambda: instructions.task(),
    "gsm8k": lambda: gsm8k.task(),
    "gsm8k_8shot": lambda: gsm8k.task(shots=8),
    "ifeval": lambda: ifeval.task(),
    "ifeval_strict": lambda: ifeval.task("strict"),
}


def find(name: str) -> EvalTask:
    """The task of that name. Raises RecipeError with the nearest known name."""
    if name not in TASKS:
        raise RecipeError(
            f"task {name!r} is not known. {nearest(name, TASKS)}\n  Benchmarks of your own are passed as values: see docs/howto/task.md."
        )
    return TASKS[name]()
