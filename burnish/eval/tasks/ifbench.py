"""IFBench (arXiv:2507.02833): 300 prompts under 58 constraints that are in no training set; instructions a program can check.

Protocol: olmes `ifbench::tulu` on allenai/IFBench_test. The prompt is one user turn as it stands in the file, with its
constraint; chat template, no shots, no prefill, greedy, 2,048 new tokens, no stop strings. The score is the share of prompts
whose every constraint is followed by one of eight lightly trimmed variants of the reply (prompt level, loose), judged as the
published checkers judge (rule "published"). rule="fixed" counts what the instructions' sentences say instead.

split="sample" asks 10 of the 300. The IFEval-OOD scores of Tülu 3's paper are of an earlier set with 52 constraints, so no
published score stands beside these.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.ifbench import IFBenchPrompts
from burnish.eval.task import EvalTask
from burnish.rollout.engine import Sampling
from burnish.verify.ifeval import IFEval


def task(
    split: Literal["test", "sample"] = "test",
    rule: Literal["published", "fixed"] = "published",
    limit: int | None = None,
) -> EvalTask:
    """IFBench at prompt level, loose: the share of prompts whose every constraint is followed."""
    name = "ifbench" + ("_sample" if split == "sample" else "") + ("_fixed" if rule == "fixed" else "")
    return EvalTask(
        name, IFBenchPrompts(split), IFEval("loose", rule=rule), Sampling(temperature=0.0, max_tokens=2048),
        metric="prompt loose", limit=limit,
    )  # fmt: skip
