"""Tülu 3 (arXiv:2411.15124) at laptop size: every stage of the recipe on a 135M model, in minutes, without a GPU or a hub.

    prompts with verifiers → curation, decontamination → SFT → on-policy pairs → DPO → RLVR → evaluation → report

Data and model are small; the stages, losses and rules are the paper's. Where a setting differs, the line says why.
"""

from __future__ import annotations

from pathlib import Path

from burnish.data.clean import EndsWithAssistant, MaxWords, NotEmpty
from burnish.data.curate import Curate, Take
from burnish.data.mix import All
from burnish.data.sources.arithmetic import Arithmetic
from burnish.data.sources.instructions import Instructions
from burnish.data.sources.worked import Worked
from burnish.eval.compare import Compare
from burnish.eval.run import Evaluate
from burnish.eval.task import EvalTask
from burnish.eval.tasks import arithmetic, gsm8k, ifeval, instructions
from burnish.losses.dpo import DPO
from burnish.losses.policy import GRPO
from burnish.model.base import BaseModel
from burnish.report.page import Report
from burnish.rollout.engine import Sampling
from burnish.rollout.prefer import Prefer
from burnish.rollout.synthesize import VerifiedSamples
from burnish.train.dpo import Preference
from burnish.train.grpo import RL
from burnish.train.schedule import Constant, Linear
from burnish.train.sft import SFT
from burnish.verify.base import Verifier
from burnish.verify.gsm8k import GSM8K
from burnish.verify.ifeval.verifier import IFEval


def recipe(*, seed: int = 0, base: str = "bundled", scale: float = 1.0, data: Path | None = None) -> Report:
    """The whole recipe. `scale` multiplies every count of rows and steps; `--data DIR` adds GSM8K and IFEval."""

    def rows(count: int) -> int:
        return max(int(count * scale), 4)

    verifiers: dict[str, Verifier] = {"gsm8k": GSM8K(), "ifeval": IFEval(partial=True)}
    tests: tuple[EvalTask, ...] = (arithmetic.task(n=rows(150)), instructions.task(n=rows(150)))
    if data is not None:
        tests += (gsm8k.task("plain", limit=rows(100)), ifeval.task(limit=rows(100)))

    start = BaseModel(base)
    words = Arithmetic("train", n=rows(310), seed=seed)
    orders = Instructions("train", n=rows(270), seed=seed)

    # SFT data: worked solutions, and the start model's own replies that a verifier accepted.
    to_sample = Curate(
        (Take(Instructions("train", n=rows(80), seed=seed + 1), All()),), away_from=tests, label="to-sample"
    )
    own = VerifiedSamples(
        start, to_sample, verifiers, k=2, keep_per_problem=1, sampling=Sampling(max_tokens=96), seed=seed
    )
    demos = Curate(
        (Take(Worked(words), All()), Take(Worked(orders), All()), Take(own, All())),
        keep=(EndsWithAssistant(), NotEmpty(), MaxWords(200)),
        away_from=tests,
        label="demos",
    )
    # The paper's rate, 5e-6, is for 8B; a 135M model takes a larger one.
    sft = SFT(
        start=start, data=demos, epochs=1, global_batch=16, lr=Linear(2e-4, warmup=0.05), max_tokens=512, seed=seed
    )

    # Preference pairs: three replies a prompt from the SFT model, scored by verifiers; unique best, strict margin. Verifiers
    # tie often, and a tie at the top makes no pair, so more prompts pay better here than more replies a prompt.
    to_prefer = Curate(
        (
            Take(Arithmetic("train", n=rows(50), seed=seed + 2), All()),
            Take(Instructions("train", n=rows(70), seed=seed + 2), All()),
        ),
        away_from=tests,
        label="to-prefer",
    )
    pairs = Prefer(sft, to_prefer, verifiers, k=3, sampling=Sampling(max_tokens=96), seed=seed)
    dpo = Preference(
        start=sft,
        data=pairs,
        loss=DPO(beta=5.0, length_normalized=True),
        epochs=1,
        global_batch=8,
        lr=Linear(5e-6, warmup=0.0),
        max_tokens=512,
        seed=seed,
    )

    # RLVR with GRPO and the KL weight of Tülu 3.1; counts are small, and the rate, 5e-7 there, is larger as for SFT.
    problems = Curate(
        (
            Take(Arithmetic("train", n=rows(120), seed=seed + 3), All()),
            Take(Instructions("train", n=rows(120), seed=seed + 3), All()),
        ),
        away_from=tests,
        label="problems",
    )
    rl = RL(
        start=dpo,
        problems=problems,
        verifiers=verifiers,
        loss=GRPO(kl_coef=0.01),
        steps=max(int(5 * scale), 2),
        problems_per_step=8,
        group_size=8,
        sampling=Sampling(max_tokens=96),
        lr=Constant(2e-5),
        seed=seed,
    )
    models = {"start": start, "SFT": sft, "DPO": dpo, "RLVR": rl}
    scores = tuple(Evaluate(model, tests, seed=seed, label=label) for label, model in models.items())
    return Report(scores=scores, comparison=Compare(scores), title="Tülu 3, tiny: SmolLM2-135M-Instruct on a laptop")
