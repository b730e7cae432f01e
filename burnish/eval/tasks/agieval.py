"""AGIEval English (arXiv:2304.06364): 2,646 questions of eight examinations, as Tülu 3's unseen suite asks them.

Source: data/v1 of ruixiangcui/AGIEval (version 1.1), the tasks aqua-rat 254, gaokao-english 306, logiqa-en 651, lsat-ar 230,
lsat-lr 510, lsat-rc 269, sat-en 206, sat-math 220; licences MIT, Apache-2.0 and CC-BY-NC-SA-4.0.
Protocol: olmes `agi_eval_english:0shot_cot::tulu3` (arXiv:2411.15124 section 7, table 33). No examples, one user turn:
instructions, "Passage: …" where there is one, "Question: …", lines " (A) …", an empty line and the instructions again. Chat
template, no prefill, greedy, 2,048 new tokens, no stop strings. The last "Therefore, the answer is (X)", else two fallbacks
(rule "agieval"). Mean over the tasks.
Variants: "stated" grades the same replies by the corrected rule. split="sample": five questions of each task, 40 in all, which may be looked
at during development; no published score belongs beside them.
Traps: choices whose text begins with a capital A to E lose it ("Boston" is asked as "oston"); the last fallback takes any
capital A to E in the reply.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.agieval import AGIEvalQuestions
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.framing import CONCISE, REMEMBER, Framed
from burnish.rollout.engine import Sampling
from burnish.verify.choice import Choice

TULU3 = "https://arxiv.org/abs/2411.15124"
PROTOCOL = "olmes agi_eval_english:0shot_cot::tulu3: 0-shot CoT, chat template, greedy, 2,048 tokens, mean over 8 tasks (table 33)"
PUBLISHED = (
    Published(0.642, "Llama-3.1-8B-Instruct", TULU3, PROTOCOL),
    Published(0.562, "Llama-3.1-Tulu-3-8B-SFT", TULU3, PROTOCOL.replace("table 33", "table 31")),
    Published(0.618, "Llama-3.1-Tulu-3-8B-DPO", TULU3, PROTOCOL.replace("table 33", "table 31")),
    Published(0.593, "Llama-3.1-Tulu-3-8B", TULU3, PROTOCOL),
)


def task(
    split: Literal["test", "sample"] = "test", rule: Literal["agieval", "stated"] = "agieval", limit: int | None = None
) -> EvalTask:
    """AGIEval English. rule="agieval" is Tülu 3's protocol; rule="stated" grades by the corrected rule."""
    test = split == "test"
    name = "agieval" + ("" if test else "_sample") + ("" if rule == "agieval" else "_stated")
    return EvalTask(
        name, Framed(AGIEvalQuestions(split), "0shot_cot", before=CONCISE, after=f"\n\n{REMEMBER}"), Choice(rule),
        Sampling(temperature=0.0, max_tokens=2048), metric="accuracy, mean of tasks", limit=limit,
        published=PUBLISHED if name == "agieval" else (), average="categories", unseen=test, n=2646 if test else 40,
    )  # fmt: skip
