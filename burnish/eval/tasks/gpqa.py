"""GPQA (arXiv:2311.12022): the 448 science questions of its main set, as Tülu 3's unseen suite asks them.

Source: Idavidrein/gpqa, config gpqa_main, split train; licence CC-BY-4.0; gated (its terms are accepted on the hub), and not pinned.
Protocol: olmes `gpqa:0shot_cot::tulu3` (arXiv:2411.15124 section 7, table 33). No examples, one user turn: instructions,
"Question: …", "Choices:", lines " (A) …", two empty lines, instructions again. The four choices, cleaned of their web form's
marks, stand in the order that random.Random(111 + row).shuffle gives [incorrect 1, 2, 3, correct]. Chat template, no prefill,
greedy, 2,048 new tokens, no stop strings. The last "Therefore, the answer is (X)", else the last "(X)", else "The correct
answer is: X", else the last letter alone (rule "gpqa"). Mean over the questions.
Variants: "stated" grades the same replies by the corrected rule.
Traps: the set is "main", not the 198 of "diamond" that most reports use; published as shares of 448.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.gpqa import GPQAQuestions
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import CONCISE, REMEMBER, Framed
from burnish.rollout.engine import Sampling
from burnish.verify.choice import Choice

FOUR = ("(A), (B), (C), (D), (E), etc.", "(A), (B), (C), (D).")
BEFORE, AFTER = CONCISE.replace(*FOUR), "\n\n" + REMEMBER.replace(*FOUR)

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = (
    "olmes gpqa:0shot_cot::tulu3: 0-shot CoT, chat template, greedy, 2,048 tokens, 448 questions of main (table 33)"
)
PUBLISHED = (
    Published(0.288, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.319, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL.replace("table 33", "table 31")),
    Published(0.312, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL.replace("table 33", "table 31")),
    Published(0.357, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


def task(rule: Literal["gpqa", "stated"] = "gpqa", limit: int | None = None) -> EvalTask:
    """GPQA's main set. rule="gpqa" is Tülu 3's protocol; rule="stated" grades by the corrected rule."""
    return EvalTask(
        "gpqa" if rule == "gpqa" else "gpqa_stated", Framed(GPQAQuestions(), "0shot_cot", before=BEFORE, after=AFTER),
        Choice(rule), Sampling(temperature=0.0, max_tokens=2048), limit=limit, published=PUBLISHED if rule == "gpqa" else (),
        unseen=True, n=448,
    )  # fmt: skip
