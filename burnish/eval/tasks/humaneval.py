"""HumanEval (arXiv:2107.03374) and HumanEval+ (arXiv:2305.01210): 164 Python functions to complete from their docstrings.

Protocol: olmes `codex_humaneval::tulu` and `codex_humanevalplus::tulu` as Tülu 3's paper used them (arXiv:2411.15124):
chat template, no shots; the user turn is the function's head and docstring, then "Here is the completed function:", an
empty line and "```python", and the same words begin the reply. Temperature 0.8, top_p 0.95, 512 new tokens, seven stop
strings. The paper asks 20 times a problem and reports pass@10 (20 lines a problem in the file that `burnish grade` reads);
the score here is the mean over replies, pass@1. Program: prompt and reply joined as they are, 3 s of processor time
(HumanEval) and 20 s (HumanEval+); programs may import numpy. The paper's HumanEval+ runs its tests as code; here the same inputs are compared with
the reference's outputs, with EvalPlus's own rule for problem 32, which that code cannot pass.

rule="flexible" finds the program in any kind of reply: code blocks, a function written anew, a body without indentation.
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


def task(plus: bool = False, rule: Literal["tulu3", "flexible"] = "tulu3", limit: int | None = None) -> EvalTask:
    """HumanEval, or HumanEval+ with `plus`."""
    name = ("humanevalplus" if plus else "humaneval") + ("" if rule == "tulu3" else f"_{rule}")
    source = Prefilled(HumanEvalPlusProblems() if plus else HumanEvalProblems())
    return EvalTask(
        name, source, FunctionTests(rule, cpu_s=20.0 if plus else 3.0, packages=("numpy",)), SAMPLING, metric="pass@1", limit=limit,
        published=PUBLISHED_PLUS if plus else PUBLISHED, prefill=PREFILL,
    )  # fmt: skip
