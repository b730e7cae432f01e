"""IFBench (arXiv:2507.02833), 300 prompts under 58 constraints that are in no training set, and IFEval-OOD, its earlier form in Tülu 3.

IFBench. Source: data/IFBench_test.jsonl of allenai/IFBench; licence ODC-By-1.0.
Protocol: olmes `ifbench::tulu`. One user turn, the prompt as it stands in the file, with its constraint; chat template, no
shots, no prefill, greedy, 2,048 new tokens, no stop strings. The share of prompts whose every constraint is followed by one of
eight lightly trimmed variants of the reply (prompt level, loose), judged as the published checkers judge (rule "published").
IFEval-OOD. Source: allenai/IFBench_test2, split train; licence ODC-By-1.0; not pinned. Protocol: the same, as olmo-eval's
`ifeval_ood` has it (arXiv:2411.15124 section 7, table 33).
Variants: rule="fixed" counts what the instructions' sentences say. split="sample": 10 of IFBench's prompts, which may be looked
at during development.
Traps: the paper's scores of IFEval-OOD are all whole numbers of 284ths, so its set was not these 300 prompts; it had 52
constraints, of which four (count:countries, count:levenshtein, count:words_french, format:camel_case) are published nowhere
as data: a prompt under one of them is refused before anything is asked.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.ifbench import IFBenchPrompts, IFEvalOODPrompts
from burnish.eval.task import EvalTask, Published
from burnish.rollout.engine import Sampling
from burnish.verify.ifeval import IFEval

SAMPLING = Sampling(temperature=0.0, max_tokens=2048)
TULU3 = "https://arxiv.org/abs/2411.15124"
OOD = "IFEval-OOD: 0-shot, chat template, prompt-level loose, 52 constraints; another set of prompts (table {table})"
PUBLISHED_OOD = (
    Published(0.261, "Llama-3.1-8B-Instruct", TULU3, OOD.format(table=33)),
    Published(0.176, "Llama-3.1-Tulu-3-8B-SFT", TULU3, OOD.format(table=31)),
    Published(0.239, "Llama-3.1-Tulu-3-8B-DPO", TULU3, OOD.format(table=31)),
    Published(0.243, "Llama-3.1-Tulu-3-8B", TULU3, OOD.format(table=33)),
)


def task(
    split: Literal["test", "sample"] = "test",
    rule: Literal["published", "fixed"] = "published",
    limit: int | None = None,
) -> EvalTask:
    """IFBench at prompt level, loose: the share of prompts whose every constraint is followed."""
    name = "ifbench" + ("_sample" if split == "sample" else "") + ("_fixed" if rule == "fixed" else "")
    return EvalTask(
        name, IFBenchPrompts(split), IFEval("loose", rule=rule), SAMPLING, metric="prompt loose", limit=limit,
        unseen=split == "test", n=300 if split == "test" else 10,
    )  # fmt: skip


def ood(rule: Literal["published", "fixed"] = "published", limit: int | None = None) -> EvalTask:
    """IFEval-OOD at prompt level, loose."""
    return EvalTask(
        "ifeval_ood" if rule == "published" else "ifeval_ood_fixed", IFEvalOODPrompts(), IFEval("loose", rule=rule), SAMPLING,
        metric="prompt loose", limit=limit, published=PUBLISHED_OOD if rule == "published" else (), unseen=True, n=300,
    )  # fmt: skip
