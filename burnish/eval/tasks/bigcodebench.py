"""BigCodeBench-Hard (arXiv:2406.15877): 148 tasks that use many libraries, in words, as Tülu 3's unseen suite asks them.

Source: bigcode/bigcodebench-hard, split v0.1.2; licence Apache-2.0; not pinned.
Protocol: olmes `bigcodebench_hard::tulu` (arXiv:2411.15124 section 7, table 33). No examples, one user turn: "Please provide a
self-contained Python script that solves the following problem in a markdown code block:", the task and a line's end; the reply is
begun with "Below is a Python script … corresponding tests:" and "```python". Chat template, greedy, one reply, 1,280 new tokens,
seven stop strings. The program is cleaned (here by rule "flexible"), the task's imports and head with "pass" put before it
("calibrated"), and its unittest classes run in the same process. Score: pass@1; mean over the tasks.
The paper's table calls the number pass@10. Every score in it is a whole number of 148ths, which pass@10 of many replies is
not, so one reply a task made them, as the published configuration has it. "pass10" samples 20 (temperature 0.8, top_p 0.95).
Traps: the tests import some 60 libraries (pandas, scikit-learn, matplotlib, …). A task whose libraries are not installed
cannot be graded: it is never scored 0, and nothing is asked where that holds for one of the first twenty.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

from burnish.data.sources.bigcodebench import BigCodeBenchHardProblems
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import Framed
from burnish.rollout.engine import Sampling
from burnish.verify.code.library_tests import LibraryTests

BEFORE = "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
PREFILL = "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:\n```python\n"
STOPS = ("<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(", "\n```\n")

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes bigcodebench_hard::tulu: 0-shot instruct, chat template, prefilled reply, greedy, calibrated, 148 tasks (table 33)"
PUBLISHED = (
    Published(0.155, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.115, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL.replace("table 33", "table 31")),
    Published(0.095, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL.replace("table 33", "table 31")),
    Published(0.074, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


def task(ask: Literal["pass1", "pass10"] = "pass1", limit: int | None = None) -> EvalTask:
    """BigCodeBench-Hard. ask="pass1" is how the published numbers were made; "pass10" is what the paper's table calls them."""
    found = EvalTask(
        "bigcodebench_hard", Framed(BigCodeBenchHardProblems(), "script", BEFORE, "\n"), LibraryTests(),
        Sampling(temperature=0.0, max_tokens=1280, stop=STOPS), metric="pass@1", limit=limit, published=PUBLISHED,
        prefill=PREFILL, unseen=True, n=148,
    )  # fmt: skip
    if ask == "pass1":
        return found
    return dataclasses.replace(
        found, name="bigcodebench_hard_pass10", sampling=Sampling(temperature=0.8, top_p=0.95, max_tokens=1280, stop=STOPS),
        metric="pass@10", published=(), samples=20, pass_at=10,
    )  # fmt: skip
