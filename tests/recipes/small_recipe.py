"""Every kind of stage on the toy model with a handful of rows: what the kill and repeat tests run."""

from __future__ import annotations

from burnish.data.curate import Curate, Take
from burnish.data.mix import All
from burnish.data.sources.arithmetic import Arithmetic
from burnish.data.sources.instructions import Instructions
from burnish.data.sources.worked import Worked
from burnish.eval.compare import Compare
from burnish.eval.run import Evaluate
from burnish.eval.task import EvalTask
from burnish.losses.dpo import DPO
from burnish.losses.policy import GRPO
from burnish.model.base import BaseModel
from burnish.report.page import Report
from burnish.rollout.engine import Sampling
from burnish.rollout.prefer import Prefer
from burnish.train.dpo import Preference
from burnish.train.grpo import RL
from burnish.train.schedule import Constant, Linear
from burnish.train.sft import SFT
from burnish.verify.base import Verifier
from burnish.verify.gsm8k import GSM8K
from burnish.verify.ifeval.verifier import IFEval

SHORT = Sampling(max_tokens=12)


def recipe(*, seed: int = 0) -> Report:
    """The stages of tulu3_tiny, each a few seconds."""
    verifiers: dict[str, Verifier] = {"gsm8k": GSM8K(), "ifeval": IFEval(partial=True)}
    tests = (
        EvalTask(
            "orders", Instructions("test", n=6, seed=seed), IFEval(), sampling=Sampling(temperature=0.0, max_tokens=12)
        ),
    )
    start = BaseModel("toy")
    demos = Curate(
        (
            Take(Worked(Arithmetic("train", n=12, seed=seed)), All()),
            Take(Worked(Instructions("train", n=12, seed=seed)), All()),
        ),
        away_from=tests,
        label="demos",
    )
    orders = Curate((Take(Instructions("train", n=10, seed=seed + 1), All()),), away_from=tests, label="orders")
    sft = SFT(start=start, data=demos, epochs=2, global_batch=4, lr=Linear(1e-3), max_tokens=512, seed=seed)
    pairs = Prefer(sft, orders, verifiers, k=4, sampling=SHORT, seed=seed)
    dpo = Preference(
        start=sft,
        data=pairs,
        loss=DPO(),
        epochs=2,
        global_batch=2,
        lr=Linear(1e-4, warmup=0.0),
        max_tokens=512,
        seed=seed,
    )
    rl = RL(
        start=dpo, problems=orders, verifiers=verifiers, loss=GRPO(kl_coef=0.01), steps=4, problems_per_step=4, group_size=4,
        sampling=SHORT, lr=Constant(1e-4), seed=seed,
    )  # fmt: skip
    scores = tuple(
        Evaluate(model, tests, seed=seed, label=label)
        for label, model in {"start": start, "SFT": sft, "RLVR": rl}.items()
    )
    return Report(scores=scores, comparison=Compare(scores), title="Small")
