"""Five benchmarks in the form of lm-evaluation-harness 0.4.13 (MIT), to compare with numbers made by it, item by item.

Sources: those of the benchmarks' own files, whole: GSM8K 1,319 problems, IFEval 541, BIG-Bench Hard 6,511, TruthfulQA 817, MMLU 14,042.
Prompts are plain text without a chat template; examples stand before the question, parted by an empty line; greedy. Where a choice is
ranked it stands behind a space. The first of equals counts, as in numpy's argmax.

| name | lm-eval's task and metric | shots | new tokens | stops | reads |
|---|---|---|---|---|---|
| gsm8k_lm_eval | gsm8k, exact_match,flexible-extract | 5 of the train split, others for every question | 256 | Question: </s> <|im_end|> | the last number |
| gsm8k_lm_eval_strict | gsm8k, exact_match,strict-match | same | same | same | "#### N" |
| gsm8k_cot_lm_eval | gsm8k_cot, exact_match,flexible-extract | 8 (arXiv:2201.11903) | 256 | Q: </s> <|im_end|> | the last number |
| gsm8k_cot_lm_eval_strict | gsm8k_cot, exact_match,strict-match | same | same | same | "The answer is N." |
| ifeval_lm_eval | ifeval, prompt_level_strict_acc | 0 | 1280 | none | |
| ifeval_lm_eval_loose | ifeval, prompt_level_loose_acc | 0 | 1280 | none | |
| bbh_lm_eval | bbh_cot_fewshot, exact_match,get-answer | 3 | 1024 | </s> Q, empty line | "the answer is X." |
| truthfulqa_mc1_lm_eval | truthfulqa_mc1, acc | 6 in the prompt | - | - | the most probable choice |
| truthfulqa_mc2_lm_eval | truthfulqa_mc2, acc | 6 in the prompt | - | - | the true choices' share |
| mmlu_lm_eval | mmlu, acc: mean over questions | 5 (--num_fewshot 5), the dev split's | - | - | the most probable letter |

Traps: the examples of gsm8k are drawn with one generator (seed 1234) for all questions, so those of a question depend on how many
stand before it; they keep GSM8K's calculator marks <<48/2=24>>. The stop "Q" of bbh ends a reply at any capital Q, so
that seven questions, whose answer is (Q), cannot be answered. The last character of what bbh reads is dropped,
whatever it is. lm-eval's default for IFEval draws random letters for prompts 1122 and 1129.
Equal log-probabilities in truthfulqa_mc1 go to the first choice, which in the file is always the true one.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from burnish.core.types import Check, Problem, user
from burnish.data.source import DerivedSource, reworded
from burnish.data.sources.gsm8k import FILES, GSM8KProblems
from burnish.data.sources.ifeval import IFEvalPrompts
from burnish.data.sources.multiple_choice import LETTERS, MMLUQuestions, TruthfulQARanked
from burnish.data.sources.pinned import Pinned, locate, records
from burnish.data.sources.short_answers import BBHQuestions
from burnish.eval.ranking import BestChoice, LetterChoice, TrueShare
from burnish.eval.task import EvalTask
from burnish.eval.tasks import bbh, gsm8k, mmlu, truthfulqa
from burnish.eval.tasks.framing import BehindExamples, Framed
from burnish.rollout.engine import Sampling
from burnish.verify.extracted import Extracted
from burnish.verify.ifeval import IFEval

SEED = 1234  # lm-eval's fewshot_seed
SPACE = " "  # lm-eval's target_delimiter
IGNORED = (",", r"\$", r"(?s).*#### ", r"\.$")
FLEXIBLE = Extracted(r"(-?[$0-9.,]{2,})|(-?[0-9]+)", "last", IGNORED, ignore_case=True)
STRICT = Extracted(r"#### (\-?[0-9\.\,]+)", "first", IGNORED, ignore_case=True)
STRICT_COT = Extracted(r"The answer is (\-?[0-9\.\,]+).", "first", IGNORED, ignore_case=True)
ANSWER_IS = Extracted(r"(?<=the answer is )(.*)(?=.)", "first")
BBH_CUE = "A: Let's think step by step.\n"


@dataclasses.dataclass(frozen=True, slots=True)
class GSM8KText(DerivedSource):
    """GSM8K's problems behind worked examples, as one text.

    form: "5shot", rows of the train split drawn anew for every question; "cot", the eight examples of the chain-of-thought paper.
    """

    problems: GSM8KProblems
    form: Literal["5shot", "cot"]
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. "gsm8k/test/lm_eval/5shot"."""
        return f"{self.problems.name}/lm_eval/{self.form}"

    def check(self, data: Path | None) -> None:
        """Raise DataError unless questions and examples can be had."""
        self.problems.check(data)
        if self.form == "5shot":
            locate(FILES["train"], data, self.name)

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its question after the examples; lineage names the plain problem."""
        before = _drawn(data, self.name) if self.form == "5shot" else _worked()
        ask = "Question: {}\nAnswer:" if self.form == "5shot" else "Q: {}\nA:"
        for row in self.problems.rows(data):
            asked = reworded(row, user(before() + ask.replace("{}", row.prompt[-1].content)), self.name)
            yield asked if self.form == "5shot" else dataclasses.replace(asked, solution=_closed(row.solution))


def _closed(solution: str) -> str:
    """A worked solution with the closing words of the eight examples in place of "#### N"."""
    steps, _, number = solution.rpartition("####")
    return f"{steps.strip()} The answer is {number.strip()}."


def _drawn(data: Path | None, name: str) -> Callable[[], str]:
    """What gives the next question's examples."""
    train = list(records(FILES["train"], data, name, ("question", "answer")))
    rng = random.Random(SEED)

    def examples() -> str:
        return "".join(f"Question: {row['question']}\nAnswer: {row['answer']}\n\n" for row in rng.sample(train, 5))

    return examples


def _worked() -> Callable[[], str]:
    text = "".join(f"Q: {question}\nA: {steps} The answer is {answer}.\n\n" for question, steps, answer in gsm8k.SHOTS)
    return lambda: text


@dataclasses.dataclass(frozen=True, slots=True)
class BBHText(BehindExamples):
    """BIG-Bench Hard's problems behind their task's three worked examples, as one text. The target is the answer alone."""

    problems: BBHQuestions
    VERSION: ClassVar[int] = 1
    EXAMPLES: ClassVar[Pinned] = bbh.PROMPTS

    @property
    def name(self) -> str:
        """bbh/lm_eval."""
        return f"{self.problems.name}/lm_eval"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its question after the examples; lineage names the plain problem."""
        examples = {task: "".join(map(_turn, shots)) for task, shots in bbh.examples_of(data).items()}
        for row in self.problems.rows(data):
            asked = reworded(row, user(f"{examples[row.category]}Q: {row.prompt[-1].content}\n{BBH_CUE}"), self.name)
            yield dataclasses.replace(asked, check=Check("extracted", json.loads(row.check.target)["answer"]))


def _turn(message: Any) -> str:
    """A turn of the examples as text: the question ends its line, the worked answer is followed by an empty one."""
    return f"{message.content}\n" if message.role == "user" else f"{message.content}\n\n"


@dataclasses.dataclass(frozen=True, slots=True)
class MMLUText(BehindExamples):
    """MMLU's problems behind five questions of their subject with their answers, as one text."""

    problems: MMLUQuestions
    VERSION: ClassVar[int] = 1
    EXAMPLES: ClassVar[Pinned] = mmlu.DEV

    @property
    def name(self) -> str:
        """mmlu/test/lm_eval."""
        return f"{self.problems.name}/lm_eval"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Each problem with its question after the examples; lineage names the plain problem."""
        before = {
            subject: mmlu.described(subject)
            + "".join(f"{_lettered(row['question'], mmlu.choices_of(row))} {row['answer']}\n\n" for row in rows)
            for subject, rows in mmlu.examples_of(data).items()
        }
        for row in self.problems.rows(data):
            question = _lettered(row.annotations["fields"][0], row.annotations["choices"])
            yield reworded(row, user(before[row.category] + question), self.name)


def _lettered(question: str, choices: Any) -> str:
    lines = "".join(f"{letter}. {choice}\n" for letter, choice in zip(LETTERS, choices, strict=False))
    return f"{question.strip()}\n{lines}Answer:"


def gsm8k_text(form: Literal["5shot", "cot"] = "5shot", strict: bool = False, limit: int | None = None) -> EvalTask:
    """GSM8K: the last number of the reply, or with `strict` the one in the examples' closing form."""
    cot = form == "cot"
    name = f"gsm8k{'_cot' if cot else ''}_lm_eval{'_strict' if strict else ''}"
    stops = ("Q:" if cot else "Question:", "</s>", "<|im_end|>")
    return EvalTask(
        name, GSM8KText(GSM8KProblems("test"), form), (STRICT_COT if cot else STRICT) if strict else FLEXIBLE,
        Sampling(temperature=0.0, max_tokens=256, stop=stops), metric="exact match", limit=limit,
        chat=False, n=1319, shots=8 if cot else 5,
    )  # fmt: skip


def ifeval_text(mode: Literal["strict", "loose"] = "strict", limit: int | None = None) -> EvalTask:
    """IFEval at prompt level."""
    return EvalTask(
        "ifeval_lm_eval" if mode == "strict" else "ifeval_lm_eval_loose", IFEvalPrompts(), IFEval(mode=mode),
        Sampling(temperature=0.0, max_tokens=1280), metric=f"prompt {mode}", limit=limit, chat=False, n=541,
    )  # fmt: skip


def bbh_text(limit: int | None = None) -> EvalTask:
    """BIG-Bench Hard, all 27 tasks, mean over questions."""
    return EvalTask(
        "bbh_lm_eval", BBHText(BBHQuestions()), ANSWER_IS,
        Sampling(temperature=0.0, max_tokens=1024, stop=("</s>", "Q", "\n\n")), metric="exact match", limit=limit,
        chat=False, n=6511, shots=3,
    )  # fmt: skip


def truthfulqa_text(choices: Literal["mc1", "mc2"] = "mc2", limit: int | None = None) -> EvalTask:
    """TruthfulQA by log-likelihood."""
    return EvalTask(
        f"truthfulqa_{choices}_lm_eval", Framed(TruthfulQARanked(choices), "6shot", truthfulqa.BEFORE, truthfulqa.AFTER),
        TrueShare(before=SPACE) if choices == "mc2" else BestChoice(before=SPACE, ties="first"),
        metric=choices.upper(), limit=limit, chat=False, n=817, shots=len(truthfulqa.PRIMER),
    )  # fmt: skip


def mmlu_text(limit: int | None = None) -> EvalTask:
    """MMLU by log-likelihood with five examples, mean over questions."""
    return EvalTask(
        "mmlu_lm_eval", MMLUText(MMLUQuestions()), LetterChoice(before=SPACE, ties="first"), limit=limit, chat=False,
        n=14042, shots=mmlu.SHOTS,
    )  # fmt: skip
