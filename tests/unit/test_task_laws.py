"""Every benchmark of the catalogue keeps the laws of tasks, and each law catches a task that breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from burnish.core.types import Check, Message, Problem, Verdict, user
from burnish.data.source import GeneratedSource
from burnish.errors import MissingData, VerifierError
from burnish.eval.ranking import BestChoice
from burnish.eval.task import EvalTask, Published
from burnish.eval.tasks.catalogue import JUDGED, TASKS
from burnish.rollout.engine import GREEDY, Sampling
from burnish.testing.benchmark_page import home, statement, task_of
from burnish.testing.laws import check_task
from burnish.testing.task_laws import Checked, check_protocol, shortened
from burnish.verify.gsm8k import GSM8K

# What empty replies, or a model without preference, may get where it is not nothing, with the reason.
FLOORS = {
    "instructions": 0.02,  # some generated prompts only forbid
    "xstest_strings": 250
    / 450,  # the published string match calls what does not refuse an answer, and 250 prompts want one
    "truthfulqa_mc1_lm_eval": 1.0,  # the first of equals counts, and the file has the true choice first
}
# Right replies that a protocol's own stop strings cut off: "(Q)" at lm-evaluation-harness' stop "Q".
LOST = {"bbh_lm_eval": 7}
# Problems to which no right reply is known, or that the published rule cannot grade as right.
WITHOUT_GOLD = {
    **dict.fromkeys(("ifeval", "ifeval_strict", "ifeval_lm_eval", "ifeval_lm_eval_loose"), 541),
    **dict.fromkeys(("ifbench_sample", "ifbench_sample_fixed"), 10),
    "bbh": 3, "drop_dev_shots": 371, "drop_0shot": 371,
}  # fmt: skip
REPEATED = {
    **dict.fromkeys(("mmlu", "mmlu_stated", "mmlu_mc", "mmlu_lm_eval"), 27), **dict.fromkeys(("popqa", "popqa_words"), 504),
    **dict.fromkeys(("bbh", "bbh_stated", "bbh_lm_eval"), 2),
    **dict.fromkeys(("drop_dev_shots", "drop_dev_shots_spans", "drop_0shot"), 538),
}  # fmt: skip
# Asked of a judge about replies that are there already: nothing is sampled.
NOTHING_ASKED = tuple(name for name in JUDGED if name.startswith(("rewardbench", "hh_rlhf")))
# Graded as the _pass1 task of the same name is, in which every program runs.
SAME_PROGRAMS = ("humaneval", "humaneval_flexible", "humanevalplus", "humanevalplus_flexible", "mbpp", "mbppplus")
FIRST = 6
LONG = ("drop", "humaneval", "mbpp")  # one of each family where time counts
SHORT = ("drop_0shot", "humaneval_pass1", "mbpp_pass1")


def whole(name: str) -> str:
    return "" if name in NOTHING_ASKED else statement(home(name))


def test_the_first_problems_of_every_task_keep_the_laws(data_dir: Path) -> None:
    seen: dict[str, Checked] = {}
    for name in TASKS:
        if name.startswith(LONG) and name not in SHORT:
            continue
        task = replace(task_of(name), limit=FIRST, published=())
        try:
            seen[name] = check_task(task, data_dir, floor=1.0 if name in FLOORS else None)
        except MissingData:
            continue
    assert len(seen) > 40
    assert all(found.ceiling == 1.0 for name, found in seen.items() if found.gold)
    assert {name for name, found in seen.items() if not found.gold} <= set(WITHOUT_GOLD)


def test_every_tasks_text_states_its_protocol() -> None:
    """Settings and published scores too; no data are needed."""
    for name in (*TASKS, *JUDGED):
        check_protocol(task_of(name), whole(name))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", [*TASKS, *JUDGED])
def test_every_problem_of_every_task_keeps_the_laws(name: str, data_dir: Path) -> None:
    try:
        found = check_task(
            task_of(name),
            data_dir,
            statement=whole(name),
            most=20 if name in SAME_PROGRAMS else 0,
            floor=FLOORS.get(name),
            lost=LOST.get(name, 0),
            grade=name not in JUDGED,
        )
    except MissingData as error:
        pytest.skip(str(error).splitlines()[0])
    assert found.repeated == REPEATED.get(name, 0)
    if found.tried:
        assert found.tried == (20 if name in SAME_PROGRAMS else found.problems)
        assert found.tried - found.gold == WITHOUT_GOLD.get(name, 0)


@dataclass(frozen=True)
class Given(GeneratedSource):
    """These problems."""

    problems: tuple[Problem, ...]
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return "given"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        yield from self.problems


class Drawn(Given):
    """Other problems at every reading."""

    times: ClassVar[list[int]] = []

    def rows(self, data: Path | None) -> Iterator[Problem]:
        self.times.append(1)
        yield problem(len(self.times))


def problem(n: int, solution: str = "", **changes: Any) -> Problem:
    made = Problem(
        user(f"What is {n} and {n}?"),
        Check("gsm8k", str(2 * n)),
        solution or f"It is {2 * n}.",
        source="given",
        licence="MIT",
    )
    return replace(made, **changes)


def own(*problems: Problem, **changes: Any) -> EvalTask:
    return replace(EvalTask("sums", Given(problems or (problem(1), problem(2))), GSM8K()), **changes)


@dataclass(frozen=True, slots=True)
class Kind:
    """Everything is right."""

    VERSION: ClassVar[int] = 1

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(1.0, "kind")


@dataclass(frozen=True, slots=True)
class Silent:
    """Nothing can be graded."""

    VERSION: ClassVar[int] = 1

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(None, "silent")


def test_a_task_that_keeps_the_laws_is_told() -> None:
    text = "2 problems (licence MIT): chat template, greedy, 256 new tokens; accuracy."
    assert check_task(own(), statement=text) == Checked(2, 0, 2, 2, 0.0, 1.0)
    again = check_task(own(problem(1), problem(1), problem(2, solution="")))
    assert (again.problems, again.repeated, again.gold) == (3, 1, 3)


RANKED = Problem(
    user("Which?"), Check("choice", '{"choices": ["a", "b"], "right": [0]}'), "a", source="given", licence="MIT"
)  # fmt: skip


@pytest.mark.parametrize(
    ("task", "law"),
    [
        (own(name="Sums"), "settings: its name"),
        (own(metric=" "), "settings: it names no metric"),
        (own(sampling=Sampling(temperature=0.0, max_tokens=0)), "settings: 0 new tokens"),
        (own(sampling=Sampling(temperature=0.0, stop=("a", "a"))), "settings: one of its stop strings"),
        (own(sampling=Sampling(temperature=0.0, stop=("",))), "settings: one of its stop strings"),
        (own(samples=4), "settings: it draws 4 greedy replies"),
        (own(samples=4, pass_at=5, sampling=Sampling()), "settings: pass@5 of 4"),
        (own(shots=-1), "settings: n is 0, shots -1"),
        (own(RANKED, verifier=BestChoice(), sampling=Sampling(temperature=0.0, stop=("x",))), "settings: it ranks"),
        (own(published=(Published(71.2, "m", "https://a.example", "greedy"),)), "published scores"),
        (own(published=(Published(0.7, "m", "table 6", "greedy"),)), "published scores"),
        (own(published=(Published(0.7, "m", "https://a.example", ""),)), "published scores"),
        (own(published=(Published(0.7, "m", "https://a.example", "greedy"),), limit=2), "published scores: they stand beside"),
        (own(source=Drawn(())), "determinism"),
        (own(n=3), "number"),
        (own(problem(1, annotations={"cluster": "a"}), problem(1, annotations={"cluster": "b"})), "number: .* two clusters"),
        (own(problem(1, prompt=())), "prompts: .* has no prompt"),
        (own(problem(1, prompt=user(" "))), "prompts: .* says nothing"),
        (own(problem(1, prompt=(*user("?"), Message("assistant", "!")))), "prompts: .* end in a user's turn"),
        (own(problem(1, licence="")), "prompts: .* no licence"),
        (own(problem(1), problem(2, solution="It is 5.")), "ceiling: .* known right one:"),
        (own(problem(1, solution="Question: 2"), sampling=replace(GREEDY, stop=("Question:",))), "ceiling: .* cut at the stop"),
        (own(verifier=Kind()), "floor: empty replies score 1.000"),
        (own(verifier=Silent()), "verdicts: .* None: silent"),
        (own(RANKED, verifier=BestChoice(ties="first")), "floor: a model without preference scores 1.000"),
    ],
)  # fmt: skip
def test_a_task_that_breaks_a_law_is_caught(task: EvalTask, law: str) -> None:
    with pytest.raises(VerifierError, match=rf"(?s)breaks the law of {law}"):
        check_task(task)


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("Chat template, greedy, 256 tokens, accuracy, licence.", "the number of problems"),
        ("2 problems, greedy, 256 tokens, accuracy, licence.", "whether a chat template is used"),
        ("2 problems, chat template, 256 tokens, accuracy, licence.", "sampling"),
        ("2 problems, chat template, greedy, 512 tokens, accuracy, licence.", "the limit of new tokens"),
        ("2 problems, chat template, greedy, 256 tokens, licence.", "what the score is"),
        ("2 problems, chat template, greedy, 256 tokens, accuracy.", "source and licence"),
    ],
)
def test_a_text_that_leaves_something_out_is_caught(text: str, lacks: str) -> None:
    with pytest.raises(VerifierError, match=f"does not state {lacks}"):
        check_task(own(), statement=text)
    more = own(shots=3, prefill="Answer:", samples=4, pass_at=2, sampling=Sampling(0.8, stop=("Q:",)))
    with pytest.raises(VerifierError, match="does not state worked examples"):
        check_task(more, statement="2 problems, chat template, 256 tokens, temperature 0.8, accuracy, licence.")


def test_what_an_engine_cuts() -> None:
    assert shortened("a b c d", ("c", "b")) == "a "
    assert shortened("a b", ("x",)) == "a b"
    assert shortened("a b", ()) == "a b"
