"""What reinforcement learning gains, and what its choices change: the ablations of Tülu 3 (arXiv:2411.15124 §6) at laptop size.

    burnish run recipes/rl_study.py --study gain --algorithm ppo --task reverse --seed 1
    burnish run recipes/rl_study.py --study kl

It starts from the models of recipes/tulu3_tiny.py; where that has run with the same --runs, they are taken from there. Every model
of a study samples the same number of replies to the same problems, and all are scored on the same held-out ones.

    gain       one algorithm from the DPO model: before and after
    kl         the weight of the KL term, at five values
    value      PPO, its value model started from a reward model or from the policy
    reward     PPO, graded by verifiers alone or with a reward model's score added
    start      from the SFT model or from the DPO model
    algorithm  PPO, GRPO, RLOO, online DPO, rejection sampling
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from burnish.data.curate import Curate, Take
from burnish.data.mix import All
from burnish.data.source import Source
from burnish.data.sources.arithmetic import Arithmetic
from burnish.data.sources.instructions import Instructions
from burnish.data.sources.reverse_text import ReverseText
from burnish.eval.compare import Compare
from burnish.eval.run import Evaluate
from burnish.eval.task import EvalTask
from burnish.eval.tasks import arithmetic, ifeval, instructions, reverse_text
from burnish.losses.policy import GRPO, rloo
from burnish.pipeline.recipe import load_module
from burnish.pipeline.stage import Stage
from burnish.report.page import Report
from burnish.rollout.engine import Sampling
from burnish.rollout.synthesize import VerifiedSamples
from burnish.train.advantages import KLInReward, LeaveOneOut
from burnish.train.grpo import RL
from burnish.train.online_dpo import OnlineDPO
from burnish.train.ppo import PPO
from burnish.train.reward import RewardModeling
from burnish.train.schedule import Constant, Linear
from burnish.train.sft import SFT
from burnish.verify.base import Verifier
from burnish.verify.gsm8k import GSM8K
from burnish.verify.ifeval.verifier import IFEval
from burnish.verify.reversed_text import Reversed

Study = Literal["gain", "kl", "value", "reward", "start", "algorithm"]
Algorithm = Literal["grpo", "rloo", "ppo", "online-dpo", "rejection"]
Task = Literal["arithmetic", "instructions", "reverse"]

VERIFIERS: dict[str, Verifier] = {"gsm8k": GSM8K(), "ifeval": IFEval(partial=True), "reversed": Reversed()}
# Train problems by seed and count, the held-out task, the longest reply, the score from which rejection sampling keeps one.
TASKS: dict[Task, tuple[Callable[[int, int], Source], Callable[[int], EvalTask], int, float]] = {
    "arithmetic": (lambda seed, n: Arithmetic("train", n, seed + 3), arithmetic.task, 96, 1.0),
    "instructions": (lambda seed, n: Instructions("train", n, seed + 3), instructions.task, 96, 1.0),
    "reverse": (lambda seed, n: ReverseText("train", n, seed + 3), reverse_text.task, 32, 0.5),
}
PROBLEMS, GROUP = 8, 8  # a step: every algorithm asks each problem once, for so many replies


def recipe(
    *, study: Study = "gain", algorithm: Algorithm = "grpo", task: Task = "arithmetic", steps: int = 15, held_out: int = 300,
    scale: float = 1.0, base: str = "bundled", seed: int = 0, data: Path | None = None,
) -> Report:  # fmt: skip
    """A study's models side by side. `steps` times 64 replies are sampled for each; `--data DIR` adds IFEval's prompts."""
    source, held, longest, least = TASKS[task]
    # The demo's models are those of seed 0, so that studies with other seeds differ in the reinforcement learning alone.
    demo = load_module(Path(__file__).with_name("tulu3_tiny.py")).recipe(base=base, scale=scale)
    made: dict[str, Any] = {scores.label: scores.model for scores in demo.scores}
    sft, dpo = made["SFT"], made["DPO"]
    tests = (held(held_out), *((ifeval.task(limit=200),) if data is not None else ()))
    problems = Curate((Take(source(seed, steps * PROBLEMS), All()),), away_from=tests, label="problems")
    judge = RewardModeling(sft, dpo.data, global_batch=8, lr=Linear(1e-5, warmup=0.0), max_tokens=512)

    def trained(start: Stage = dpo, by: Algorithm = algorithm, **choices: Any) -> Stage:
        return train(by, start, problems, judge, steps, Sampling(max_tokens=longest), seed, least=least, **choices)

    models: dict[str, Stage] = {"before": dpo}
    match study:
        case "gain":
            models[algorithm] = trained()
        case "kl":
            models |= {f"kl {kl:g}": trained(kl=kl) for kl in (0.0, 0.01, 0.03, 0.05, 0.1)}
        case "value":
            models |= {"value of judge": trained(by="ppo"), "value of policy": trained(by="ppo", value=None)}
        case "reward":
            models |= {"verifier": trained(by="ppo"), "verifier + judge": trained(by="ppo", reward_model=judge)}
        case "start":
            models = {"SFT": sft, "DPO": dpo, "RL of SFT": trained(sft), "RL of DPO": trained(dpo)}
        case "algorithm":
            every: tuple[Algorithm, ...] = ("ppo", "grpo", "rloo", "online-dpo", "rejection")
            models |= {name: trained(by=name) for name in every}
    scores = tuple(Evaluate(model, tests, seed=seed, label=label) for label, model in models.items())
    title = f"Study: {study}, {task}, {steps} steps of {PROBLEMS * GROUP} replies"
    return Report(scores=scores, comparison=Compare(scores), title=title)


def train(
    algorithm: Algorithm, start: Stage, problems: Stage, judge: Stage, steps: int, sampling: Sampling, seed: int, *,
    kl: float | None = None, least: float = 1.0, **choices: Any,
) -> Stage:  # fmt: skip
    """`start` after one pass over the problems. kl: the weight of the KL term, None for each algorithm's own; least: of rejection sampling; choices: of PPO."""
    shared: dict[str, Any] = {
        "steps": steps, "problems_per_step": PROBLEMS, "group_size": GROUP, "sampling": sampling, "seed": seed
    }  # fmt: skip
    match algorithm:
        case "grpo":
            loss = GRPO(kl_coef=0.01 if kl is None else kl)
            return RL(start, problems, VERIFIERS, loss=loss, lr=Constant(2e-5), **shared)
        case "rloo":
            return RL(start, problems, VERIFIERS, loss=rloo(), advantage=LeaveOneOut(), lr=Constant(2e-5), **shared)
        case "ppo":
            cost = None if kl == 0 else KLInReward(0.05 if kl is None else kl, "k1", per="token")
            own: dict[str, Any] = {
                "value": judge,
                "lr": Constant(1e-5),
                "value_lr": Constant(5e-5),
                "kl_in_reward": cost,
            }
            return PPO(start, problems, VERIFIERS, **shared | own | choices)
        case "online-dpo":
            return OnlineDPO(start, problems, VERIFIERS, lr=Constant(1e-5), **shared)
        case "rejection":
            found = VerifiedSamples(
                start,
                problems,
                VERIFIERS,
                k=GROUP,
                keep_per_problem=GROUP // 2,
                sampling=sampling,
                seed=seed,
                least=least,
            )
            return SFT(start, found, epochs=1, global_batch=16, lr=Linear(2e-5, warmup=0.05), max_tokens=512, seed=seed)
