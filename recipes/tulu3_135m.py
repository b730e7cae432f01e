"""Tülu 3 (arXiv:2411.15124) at study size: the stages of tulu3_tiny on real data, for hours of CPU or minutes of GPU.

    burnish plan recipes/tulu3_135m.py --data DIR
    burnish run  recipes/tulu3_135m.py --data DIR --machine laptop

Every source is published and pinned by hash; every benchmark among the data is kept out of all of them. Left out are data that
this recipe cannot learn from: FLAN's GSM8K set, which is GSM8K again, single rated replies (LLaMA-Factory's KTO sample), and
prompts without replies. Some sources are for non-commercial use only (Alpaca, CodeAlpaca, Safety-Tuned LLaMAs, one set of P3):
`--commercial` leaves those out.
"""

from __future__ import annotations

from pathlib import Path

from burnish.data.clean import EndsWithAssistant, MaxWords, NotEmpty
from burnish.data.curate import Curate, Take
from burnish.data.decontamination.items import HeldOut
from burnish.data.filters.identity import NoModelIdentity
from burnish.data.filters.repetition import NoRepetition
from burnish.data.mix import All, Sample
from burnish.data.sources.gsm8k import GSM8KDemos, GSM8KProblems
from burnish.data.sources.held_out import TESTS, TestPrompts
from burnish.data.sources.instruction_sets import AlpacaSet, FlanCoT, Identity, P3Prompts, SeedTasks
from burnish.data.sources.instructions import Instructions
from burnish.data.sources.math import MATHDemos, MATHProblems
from burnish.data.sources.mbpp import MBPPDemos
from burnish.data.sources.preference_sets import PreferenceSet
from burnish.data.sources.tool_calls import ToolCalls
from burnish.data.sources.worked import Worked
from burnish.eval.compare import Compare
from burnish.eval.run import Evaluate
from burnish.eval.tasks import gsm8k, ifeval, instructions
from burnish.losses.dpo import DPO
from burnish.losses.policy import GRPO
from burnish.model.base import BaseModel
from burnish.report.page import Report
from burnish.rollout.engine import Sampling
from burnish.rollout.prefer import Prefer
from burnish.train.dpo import Preference
from burnish.train.grpo import RL
from burnish.train.rollouts import Reward
from burnish.train.schedule import Constant, Linear
from burnish.train.sft import SFT
from burnish.verify.base import Verifier
from burnish.verify.gsm8k import GSM8K
from burnish.verify.ifeval.verifier import IFEval

FLAN = ("aqua", "creak", "ecqa", "qasc", "sensemaking", "strategyqa")
OPEN_SETS = ("gpteacher_codegen", "gpteacher_roleplay", "gpteacher_toolformer")
NON_COMMERCIAL_SETS = ("alpaca_5000", "codealpaca_2k", "safety_tuned_llamas", "llamafactory_alpaca_en")

# 0.6 to 1.3 % of HH-RLHF's dialogues hold an empty turn or two equal replies.
HUMAN_PAIRS = (
    "hh_rlhf/harmless-base", "hh_rlhf/helpful-base", "hh_rlhf/helpful-online", "hh_rlhf/helpful-rejection-sampled",
    "llamafactory_dpo_en",
)  # fmt: skip
BROKEN_PAIRS = 0.02


def recipe(
    *, seed: int = 0, base: str = "bundled", commercial: bool = False, only_data: bool = False, data: Path | None = None
) -> Report:
    """The study. It needs `--data DIR`: the plan names every file that is missing.

    `--only-data` curates everything and ends with a report of the data: sources, drops, overlaps with the tests.
    """
    verifiers: dict[str, Verifier] = {"gsm8k": GSM8K(), "ifeval": IFEval(partial=True)}
    tests = (gsm8k.task("plain"), ifeval.task(), instructions.task(n=500))
    held_out = (
        *tests,
        HeldOut("math", MATHProblems("test")),
        *(HeldOut(name, TestPrompts(name)) for name in TESTS),
    )
    sets = OPEN_SETS if commercial else OPEN_SETS + NON_COMMERCIAL_SETS

    start = BaseModel(base)
    demos = Curate(
        (
            Take(GSM8KDemos(), All()),
            Take(MATHDemos(), All()),
            *(Take(FlanCoT(name), All()) for name in FLAN),
            *(Take(AlpacaSet(name), All()) for name in sets),
            Take(P3Prompts(commercial), Sample(10_000, seed=seed)),
            Take(SeedTasks(), All()),
            Take(MBPPDemos("train"), All()),
            Take(MBPPDemos("validation"), All()),
            Take(ToolCalls(), All()),
            Take(Identity("Burnish-135M", "whoever ran this recipe"), All()),
            Take(Worked(Instructions("train", n=10_000, seed=seed)), All()),
        ),
        keep=(EndsWithAssistant(), NotEmpty(), NoModelIdentity(), NoRepetition(), MaxWords(1500)),
        away_from=held_out,
        label="demos",
    )
    # 2e-5, not the 8B model's 5e-6: small models take larger rates. Batch, epochs and warm-up are the paper's.
    sft = SFT(
        start=start, data=demos, epochs=2, global_batch=128, lr=Linear(2e-5, warmup=0.03), max_tokens=2048, seed=seed
    )

    asked = Curate(
        (
            Take(GSM8KProblems(), Sample(2000, seed=seed)),
            Take(Instructions("train", n=4000, seed=seed + 1), All()),
        ),
        away_from=held_out,
        label="asked",
    )
    human = tuple(Take(PreferenceSet(name), All()) for name in HUMAN_PAIRS)
    problems = Curate(
        (Take(GSM8KProblems(), All()), Take(Instructions("train", n=6000, seed=seed + 2), All())),
        away_from=held_out,
        label="problems",
    )
    if only_data:
        chosen = Curate(human, max_broken=BROKEN_PAIRS, away_from=held_out, label="human-pairs")
        return Report(data=(demos, chosen, problems), title="Tülu 3 at 135M: the data")
    own = Prefer(sft, asked, verifiers, k=4, sampling=Sampling(max_tokens=256), seed=seed)
    # On-policy pairs first, then pairs that people chose, as the paper mixes its own and other models' replies.
    pairs = Curate(
        (Take(own, All()), *human),
        max_broken=BROKEN_PAIRS,
        away_from=held_out,
        label="pairs",
    )
    dpo = Preference(
        start=sft, data=pairs, loss=DPO(beta=5.0, length_normalized=True), epochs=1, global_batch=128,
        lr=Linear(5e-7, warmup=0.1), max_tokens=2048, seed=seed,
    )  # fmt: skip

    # Tülu 3.1's GRPO settings: 48 prompts of 16 samples, KL 0.01, constant rate, truncated replies score 0.
    rl = RL(
        start=dpo, problems=problems, verifiers=verifiers, loss=GRPO(kl_coef=0.01), steps=200, problems_per_step=48,
        group_size=16, sampling=Sampling(max_tokens=256), lr=Constant(5e-7), reward=Reward(missing_end=0.0), seed=seed,
    )  # fmt: skip
    models = {"start": start, "SFT": sft, "DPO": dpo, "RLVR": rl}
    scores = tuple(Evaluate(model, tests, seed=seed, label=label) for label, model in models.items())
    return Report(scores=scores, comparison=Compare(scores), title="Tülu 3 at 135M: the study")
