"""TruthfulQA (arXiv:2109.07958), 817 questions, MC1 as a question to be answered with a letter.

No published protocol: Tülu 3's number (`truthfulqa::tulu`, MC2) is made of the log-probabilities of the choices, not of a reply.
Here the model is asked as in MMLU-Pro's form: no examples, one user turn with instructions, "Question: …", lines " (A) …", the
instructions again. Chat template, no prefill, greedy, 1,024 new tokens, no stop strings. The letter the reply commits to (rule
"stated"); mean over the questions. The order of the choices is fixed by a hash; the file has the right one first.
"""

from __future__ import annotations

from burnish.data.sources.multiple_choice import TruthfulQAChoices
from burnish.eval.task import EvalTask
from burnish.eval.tasks.framing import CONCISE, REMEMBER, Framed
from burnish.rollout.engine import Sampling
from burnish.verify.choice import Choice


def task(limit: int | None = None) -> EvalTask:
    """TruthfulQA MC1, generated. Not comparable with published MC1 or MC2 numbers."""
    return EvalTask(
        "truthfulqa_mc1_generated",
        Framed(TruthfulQAChoices(), "generated", before=CONCISE, after=f"\n{REMEMBER}"), Choice(),
        Sampling(temperature=0.0, max_tokens=1024), limit=limit,
    )  # fmt: skip
