"""The benchmarks by name, as the command line spells them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from burnish.errors import RecipeError, nearest
from burnish.eval.judging import Judge
from burnish.eval.task import EvalTask
from burnish.eval.tasks import (
    agieval,
    alpaca_eval,
    arithmetic,
    bbh,
    bigcodebench,
    deepmind_math,
    do_anything_now,
    drop,
    gpqa,
    gsm8k,
    gsm_hard,
    harmbench,
    href,
    humaneval,
    ifbench,
    ifeval,
    instructions,
    jailbreaktrigger,
    lm_eval,
    math,
    mbpp,
    mgsm,
    mmlu,
    mmlu_pro,
    mt_bench,
    popqa,
    reverse_text,
    rewardbench,
    svamp,
    truthfulqa,
    wildguardtest,
    wildjailbreak,
    xstest,
)

TASKS: dict[str, Callable[[], EvalTask]] = {
    "arithmetic": lambda: arithmetic.task(),
    "instructions": lambda: instructions.task(),
    "reverse_text": lambda: reverse_text.task(),
    "gsm8k": lambda: gsm8k.task(),
    "gsm8k_plain": lambda: gsm8k.task("plain"),
    "math": lambda: math.task(),
    "math_plain": lambda: math.task("plain"),
    "math_500": lambda: math.task("500"),
    "ifeval": lambda: ifeval.task(),
    "ifeval_strict": lambda: ifeval.task("strict"),
    "ifbench": lambda: ifbench.task(),
    "ifbench_fixed": lambda: ifbench.task(rule="fixed"),
    "ifbench_sample": lambda: ifbench.task("sample"),
    "ifbench_sample_fixed": lambda: ifbench.task("sample", "fixed"),
    "mmlu": lambda: mmlu.task(),
    "mmlu_stated": lambda: mmlu.task("stated"),
    "popqa": lambda: popqa.task(),
    "popqa_words": lambda: popqa.task("words"),
    "bbh": lambda: bbh.task(),
    "bbh_stated": lambda: bbh.task("stated"),
    "drop": lambda: drop.task(),
    "drop_spans": lambda: drop.task("spans"),
    "drop_dev_shots": lambda: drop.task(shots="dev"),
    "drop_dev_shots_spans": lambda: drop.task("spans", "dev"),
    "drop_0shot": lambda: drop.task(shots="none"),
    "humaneval": lambda: humaneval.task(),
    "humaneval_pass1": lambda: humaneval.task(ask="pass1"),
    "humaneval_flexible": lambda: humaneval.task(rule="flexible"),
    "humaneval_flexible_pass1": lambda: humaneval.task(rule="flexible", ask="pass1"),
    "humanevalplus": lambda: humaneval.task(plus=True),
    "humanevalplus_pass1": lambda: humaneval.task(plus=True, ask="pass1"),
    "humanevalplus_flexible": lambda: humaneval.task(plus=True, rule="flexible"),
    "humanevalplus_flexible_pass1": lambda: humaneval.task(plus=True, rule="flexible", ask="pass1"),
    "mbpp": lambda: mbpp.task(),
    "mbpp_pass1": lambda: mbpp.task(ask="pass1"),
    "mbppplus": lambda: mbpp.task(plus=True),
    "mbppplus_pass1": lambda: mbpp.task(plus=True, ask="pass1"),
    "svamp": lambda: svamp.task(),
    "svamp_plain": lambda: svamp.task("plain"),
    "gsm_hard": lambda: gsm_hard.task(),
    "gsm_hard_plain": lambda: gsm_hard.task("plain"),
    "mgsm": lambda: mgsm.task(),
    **{f"mgsm_{language}": partial(mgsm.task, language) for language in mgsm.INSTRUCTIONS},
    "mmlu_mc": lambda: mmlu.likelihood(),
    "truthfulqa": lambda: truthfulqa.task(),
    "truthfulqa_mc1": lambda: truthfulqa.mc1(),
    "truthfulqa_mc1_generated": lambda: truthfulqa.generated(),
    "gsm8k_lm_eval": lambda: lm_eval.gsm8k_text(),
    "gsm8k_lm_eval_strict": lambda: lm_eval.gsm8k_text(strict=True),
    "gsm8k_cot_lm_eval": lambda: lm_eval.gsm8k_text("cot"),
    "gsm8k_cot_lm_eval_strict": lambda: lm_eval.gsm8k_text("cot", strict=True),
    "ifeval_lm_eval": lambda: lm_eval.ifeval_text(),
    "ifeval_lm_eval_loose": lambda: lm_eval.ifeval_text("loose"),
    "bbh_lm_eval": lambda: lm_eval.bbh_text(),
    "truthfulqa_mc1_lm_eval": lambda: lm_eval.truthfulqa_text("mc1"),
    "truthfulqa_mc2_lm_eval": lambda: lm_eval.truthfulqa_text(),
    "mmlu_lm_eval": lambda: lm_eval.mmlu_text(),
    "mmlu_pro": lambda: mmlu_pro.task(),
    "mmlu_pro_stated": lambda: mmlu_pro.task(rule="stated"),
    "mmlu_pro_validation": lambda: mmlu_pro.task("validation"),
    "mmlu_pro_validation_stated": lambda: mmlu_pro.task("validation", "stated"),
    "gpqa": lambda: gpqa.task(),
    "gpqa_stated": lambda: gpqa.task("stated"),
    "agieval": lambda: agieval.task(),
    "agieval_stated": lambda: agieval.task(rule="stated"),
    "agieval_sample": lambda: agieval.task("sample"),
    "agieval_sample_stated": lambda: agieval.task("sample", "stated"),
    "deepmind_math": lambda: deepmind_math.task(),
    "deepmind_math_fixed": lambda: deepmind_math.task(rule="fixed"),
    "deepmind_math_v0": lambda: deepmind_math.task("v0"),
    "bigcodebench_hard": lambda: bigcodebench.task(),
    "bigcodebench_hard_pass10": lambda: bigcodebench.task("pass10"),
    "ifeval_ood": lambda: ifbench.ood(),
    "ifeval_ood_fixed": lambda: ifbench.ood("fixed"),
    "href_words": lambda: href.words(),
    "xstest_rules": lambda: xstest.rules(),
    "xstest_strings": lambda: xstest.rules("xstest"),
    "harmbench_rules": lambda: harmbench.rules(),
    "wildguardtest_rules": lambda: wildguardtest.rules(),
    "wildjailbreak_rules": lambda: wildjailbreak.rules(),
    "jailbreaktrigger_rules": lambda: jailbreaktrigger.rules(),
    "do_anything_now_rules": lambda: do_anything_now.rules(),
    "rewardbench": lambda: rewardbench.task(),
    "rewardbench_mean": lambda: rewardbench.task("token"),
    **{f"hh_rlhf_{half.replace('-', '_')}": partial(rewardbench.hh_rlhf, half) for half in rewardbench.HH_PAIRS},
    **{
        f"hh_rlhf_{half.replace('-', '_')}_mean": partial(rewardbench.hh_rlhf, half, "token")
        for half in rewardbench.HH_PAIRS
    },
}

# Tasks whose verdicts are a judge model's.
JUDGED: dict[str, Callable[[Judge], EvalTask]] = {
    "href": href.task,
    "harmbench": harmbench.task,
    "harmbench_classifier": harmbench.classifier,
    "xstest": xstest.task,
    "xstest_classes": xstest.classes,
    "wildguardtest": wildguardtest.task,
    "wildjailbreak": wildjailbreak.task,
    "jailbreaktrigger": jailbreaktrigger.task,
    "jailbreaktrigger_all": lambda judge: jailbreaktrigger.task(judge, 1400),
    "jailbreaktrigger_tulu3": jailbreaktrigger.tulu3,
    "do_anything_now": do_anything_now.task,
    "do_anything_now_tulu3": do_anything_now.tulu3,
    "alpaca_eval": alpaca_eval.task,
    "alpaca_eval_raw": alpaca_eval.raw,
    "mt_bench": mt_bench.task,
    "rewardbench_judge": rewardbench.judged,
    **{f"hh_rlhf_{half.replace('-', '_')}_judge": partial(rewardbench.hh_rlhf, half) for half in rewardbench.HH_PAIRS},
}


def find(name: str, judge: Judge | None = None) -> EvalTask:
    """The task of that name. judge: for the tasks that need one.

    Raises RecipeError with the nearest known name, and for a task that needs a judge where none is given.
    """
    if name in JUDGED:
        if judge is None:
            raise RecipeError(_no_judge(name))
        return JUDGED[name](judge)
    if name not in TASKS:
        raise RecipeError(
            f"task {name!r} is not known. {nearest(name, (*TASKS, *JUDGED))}\n  Benchmarks of your own are passed as values: see docs/howto/task.md."
        )
    return TASKS[name]()


def _no_judge(name: str) -> str:
    rules = f"{name.partition('_tulu3')[0].removesuffix('_all')}_rules"
    instead = (
        f", or take {rules}, which asks no judge and whose numbers cannot be compared with a judge's"
        if rules in TASKS
        else ""
    )
    return (
        f"task {name}: its verdicts are a judge model's, and no judge is given, so no reply could be graded.\n"
        f"  Name one: --judge FOLDER, or --judge http://HOST/v1 --judge-model NAME{instead}."
    )
