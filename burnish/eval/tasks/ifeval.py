"""IFEval (arXiv:2311.07911): 541 prompts with 834 instructions that a program can check, as Tülu 3 reports it.

Source: input_data.jsonl, equal to google/IFEval (data/sources/ifeval.py names the repository); licence CC-BY-4.0.
Protocol: olmes `ifeval::tulu` (arXiv:2411.15124 tables 6 and 24). One user turn, the prompt as it stands; chat template, no shots,
no prefill, greedy, 2,048 new tokens, no stop strings. Prompt level, loose: every instruction is followed by one of eight
lightly trimmed variants of the reply. Mean over the prompts.
Variants: "strict" judges the reply as it stands.
Traps: the paper's table 23 calls the loose score strict. Two prompts (keys 1122 and 1129) ask for the frequency of a mark, for which
the published checker draws a random letter.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.ifeval import IFEvalPrompts
from burnish.eval.task import EvalTask, Published
from burnish.rollout.engine import Sampling
from burnish.verify.ifeval import IFEval

TULU3 = "https://arxiv.org/abs/2411.15124"
LOOSE = "olmes ifeval::tulu: prompt-level loose, greedy, 2,048 tokens, chat template (table 6)"
PUBLISHED_LOOSE = (
    Published(0.806, "Llama-3.1-8B-Instruct", TULU3, LOOSE),
    Published(0.728, "Llama-3.1-Tulu-3-8B-SFT", TULU3, LOOSE),
    Published(0.811, "Llama-3.1-Tulu-3-8B-DPO", TULU3, LOOSE),
    Published(0.824, "Llama-3.1-Tulu-3-8B", TULU3, LOOSE),
)
PUBLISHED_STRICT = (
    Published(
        0.299,
        "SmolLM2-135M-Instruct",
        "https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        "model card: lighteval, average of prompt and instruction level",
    ),
)


def task(mode: Literal["loose", "strict"] = "loose", limit: int | None = None) -> EvalTask:
    """IFEval at prompt level: the share of prompts whose every instruction is followed."""
    return EvalTask(
        "ifeval" if mode == "loose" else "ifeval_strict", IFEvalPrompts(), IFEval(mode=mode),
        Sampling(temperature=0.0, max_tokens=2048), metric=f"prompt {mode}", limit=limit,
        published=PUBLISHED_LOOSE if mode == "loose" else PUBLISHED_STRICT, n=541,
    )  # fmt: skip
