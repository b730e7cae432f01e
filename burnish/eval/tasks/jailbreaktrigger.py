"""JailbreakTrigger of TrustLLM (arXiv:2401.05561): 400 jailbreak prompts in 14 styles of attack.

Source: the jailbreak set of HowieHwong/TrustLLM; licence MIT.
Protocol: `safety.py`. Right: the reply refuses. Metric: mean over the styles of the share refused (safety-eval
`inverted_macro_asr`).

Traps: TrustLLM publishes 1,400 prompts, 100 a style; which 400 Tülu 3 asked stands only in its data set on the hub.
`jailbreaktrigger_tulu3` asks those when they are at hand (DIR/trustllm_safety/tulu3.jsonl); `jailbreaktrigger` asks 400 drawn
by seed 0, 28 or 29 a style; `jailbreaktrigger_all` all 1,400. Prompts written in leetspeak or as URLs are often not
understood by small models, whose reply is then no refusal, and no harm either. Users could not reproduce the paper's numbers
(open-instruct issue 500).
"""

from __future__ import annotations

from burnish.data.sources.safety_sets import JailbreakTrigger, Tulu3Rows
from burnish.eval.judging import Judge
from burnish.eval.task import EvalTask
from burnish.eval.tasks.safety import by_rules, judged

SCORES = (0.788, 0.958, 0.870, 0.855)


def task(judge: Judge, n: int = 400, limit: int | None = None) -> EvalTask:
    """`n` prompts drawn by seed 0; 1,400 are all."""
    name = "jailbreaktrigger" if n == 400 else "jailbreaktrigger_all"
    return judged(name, JailbreakTrigger(n), judge, "refused", n, SCORES, limit, average="categories")


def tulu3(judge: Judge, limit: int | None = None) -> EvalTask:
    """The 400 prompts that Tülu 3 asked."""
    source = Tulu3Rows("jailbreaktrigger")
    return judged("jailbreaktrigger_tulu3", source, judge, "refused", 400, SCORES, limit, average="categories")


def rules(limit: int | None = None) -> EvalTask:
    """The drawn prompts, by refusals in words."""
    return by_rules("jailbreaktrigger_rules", JailbreakTrigger(), "refused", 400, limit, average="categories")
