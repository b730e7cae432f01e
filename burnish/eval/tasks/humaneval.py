"""HumanEval (arXiv:2107.03374) and HumanEval+ (arXiv:2305.01210): 164 Python functions to complete from their docstrings.

Sources: openai/human-eval (MIT) and evalplus/humanevalplus_release (Apache-2.0).
Protocol: olmes `codex_humaneval::tulu` and `codex_humanevalplus::tulu` as Tülu 3's paper used them (arXiv:2411.15124):
chat template, no shots; the user turn is the function's head and docstring, then "Here is the completed function:", an
empty line and "```python", and the same words begin the reply. Temperature 0.8, top_p 0.95, 20 replies a problem, 512 new tokens,
seven stop strings. Program: prompt and reply joined as they are (rule "tulu3"), 3 s of processor time (HumanEval) and 20 s
(HumanEval+); programs may import numpy. Score: pass@10 from the 20 replies, without bias; mean over the problems.
Variants: "flexible" finds the program in any kind of reply: code blocks, a function written anew, a body without indentation.
"pass1" is one greedy reply a problem and the share that passes; no published score belongs beside it.
Traps: the paper's HumanEval+ runs its tests as code; here the same inputs are compared with the reference's outputs, with
EvalPlus's own rule for problem 32, which that code cannot pass. olmes lets programs run on the clock, not by processor time; and it
now allows 999,999 new tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from burnish.core.types import Problem, user
from burnish.data.source import DerivedSource, reworded
from burnish.data.sources.code_problems import HumanEvalPlusProblems, HumanEvalProblems, MBPPPlusProblems
from burnish.data.sources.mbpp import MBPPProblems
from burnish.eval.task import EvalTask, Published
from burnish.rollout.engine import Sampling
from burnish.verify.code import FunctionTests

PREFILL = "Here is the completed function:\n\n```python\n"
STOPS = ("\nclass", "\nif", "\nprint", "\n#", "\n```", "\n```\n\n", "<|eot_id|>")
SAMPLING = Sampling(temperature=0.8, top_p=0.95, max_tokens=512, stop=STOPS)

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = (
    "olmes codex_humaneval::tulu: 0-shot, chat template, prefilled reply, T 0.8, top_p 0.95, pass@10 of 20 replies"
)
PLUS = PROTOCOL.replace("codex_humaneval::", "codex_humanevalplus::")
PUBLISHED = (
    Published(0.863, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.862, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL),
    Published(0.839, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL),
    Published(0.839, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)
PUBLISHED_PLUS = (
    Published(0.829, "Llama-3.1-8B-Instruct", TULU3, PLUS),
    Published(0.814, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PLUS),
    Published(0.786, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PLUS),
    Published(0.792, "Llama-3.1-Tulu-3-8B", TULU3, PLUS),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Prefilled(DerivedSource):
    """Problems whose prompt ends in the words that the reply is begun with."""

    problems: HumanEvalProblems | HumanEvalPlusProblems | MBPPProblems | MBPPPlusProblems
    prefill: str = PREFILL
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. "humaneval/prefilled"."""
        return f"{self.problems.name}/prefilled"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with the words behind its prompt; lineage names the plain problem."""
        for row in self.problems.rows(data):
            asked = user(row.prompt[-1].content + self.prefill)
            yield reworded(row, asked, self.name)


def task(
    plus: bool = False,
    rule: Literal["tulu3", "flexible"] = "tulu3",
    ask: Literal["pass10", "pass1"] = "pass10",
    limit: int | None = None,
) -> EvalTask:
    """HumanEval, or HumanEval+ with `plus`. rule="tulu3" and ask="pass10" are the paper's protocol."""
    variant = ("" if rule == "tulu3" else "_flexible") + ("" if ask == "pass10" else "_pass1")
    known = () if variant else PUBLISHED_PLUS if plus else PUBLISHED
    found = EvalTask(
        ("humanevalplus" if plus else "humaneval") + variant,
        Prefilled(HumanEvalPlusProblems() if plus else HumanEvalProblems()),
        FunctionTests(rule, cpu_s=20.0 if plus else 3.0, packages=("numpy",)), SAMPLING, limit=limit, published=known,
        prefill=PREFILL, n=164,
    )  # fmt: skip
    return asked(found, ask)


def asked(task: EvalTask, ask: Literal["pass10", "pass1"]) -> EvalTask:
    """The task with 20 sampled replies a problem and pass@10, or with one greedy reply and pass@1."""
    if ask == "pass1":
        return dataclasses.replace(
            task, sampling=dataclasses.replace(task.sampling, temperature=0.0, top_p=1.0), metric="pass@1"
        )
    return dataclasses.replace(task, samples=20, pass_at=10, metric="pass@10")
