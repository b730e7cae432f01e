"""SVAMP (arXiv:2103.07191): 1,000 short word problems that vary the wording of known ones. Beyond Tülu 3's suites.

Source: SVAMP.json of arkilpatel/SVAMP; licence MIT. (The copy on the hub parts it into 700 for training and 300.)
Protocol: that of GSM8K in Tülu 3's paper (see gsm8k.py) with the question in SVAMP's words: eight chain-of-thought examples as
turns, "Question: " and story and question joined by a space, the reply begun with "Answer:", chat template, greedy, 512 new
tokens, GSM8K's stop strings. The number that the reply gives, by value (GSM8K's rule "flexible"). Mean over the problems.
No published score was made this way.
Variants: "plain" asks the question alone, in the chat template, without examples and prefill.
"""

from __future__ import annotations

from typing import Literal

from burnish.data.sources.number_sets import SVAMPProblems
from burnish.eval.task import EvalTask
from burnish.eval.tasks.gsm8k import like_gsm8k
from burnish.verify.gsm8k import GSM8K


def task(form: Literal["8shot", "plain"] = "8shot", limit: int | None = None) -> EvalTask:
    """SVAMP: with GSM8K's eight examples, or the question alone."""
    return like_gsm8k("svamp", SVAMPProblems(), GSM8K(), form, 1000, limit)
