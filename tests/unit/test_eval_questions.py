"""MMLU, MMLU-Pro, AGIEval, TruthfulQA, PopQA, DROP and BIG-Bench Hard as tasks: prompts as published, grading a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from burnish.core.types import Check, Problem, user
from burnish.data.source import GeneratedSource
from burnish.data.sources.agieval import AGIEvalQuestions
from burnish.data.sources.mmlu_pro import MMLUProValidation
from burnish.data.sources.multiple_choice import MMLUQuestions, TruthfulQAChoices
from burnish.data.sources.short_answers import BBHQuestions, DROPQuestions, PopQAQuestions, relation, spans
from burnish.errors import MissingData
from burnish.eval.grade import grade
from burnish.eval.score import check_gold, summary
from burnish.eval.task import EvalTask
from burnish.eval.tasks.catalogue import find
from burnish.eval.tasks.popqa import SHOTS
from burnish.rollout.engine import Sampling
from burnish.verify.base import graded
from burnish.verify.text_match import TextMatch

SOURCES = {
    MMLUQuestions(): (14_042, 57), MMLUProValidation(): (70, 14), AGIEvalQuestions("sample"): (40, 8), TruthfulQAChoices(): (817, 0),
    PopQAQuestions(): (14_267, 16), DROPQuestions(): (9_536, 3), BBHQuestions(): (6_511, 27),
}  # fmt: skip


def first(name: str, data: Path) -> Problem:
    task = find(name)
    return next(row for row in task.source.rows(data) if isinstance(row, Problem))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_sources_yield_every_row_with_its_category(source: Any, data_dir: Path) -> None:
    rows, categories = SOURCES[source]
    found = list(source.rows(data_dir))
    assert len(found) == source.count == rows
    assert len({row.category for row in found} - {""}) == categories
    assert source.evaluation_only
    assert all(row.source == source.name and row.licence == source.licence for row in found)
    source.check(data_dir)
    with pytest.raises(MissingData):
        source.check(Path("nowhere"))


def test_the_prompts_are_the_published_ones(data_dir: Path) -> None:
    """Wording and line ends of Tülu 3's evaluation, one question each."""
    assert first("mmlu", data_dir).prompt == user(
        "The following are multiple choice questions about abstract algebra. Summarize your reasoning concisely, then conclude "
        "with 'Therefore, the answer is: X' where X is one of A, B, C, or D.\n\n"
        "Question: Find the degree for the given field extension Q(sqrt(2), sqrt(3), sqrt(18)) over Q.\n A. 0\n B. 4\n C. 2\n D. 6\n"
    )
    before = "Answer the following multiple-choice question by giving the correct answer letter in parentheses. Provide CONCISE"
    closing = 'REMEMBER to finish your response with the exact phrase "Therefore, the answer is (ANSWER_LETTER)" where'
    for name, gap in (
        ("mmlu_pro_validation", "\n\n"),
        ("agieval_sample", "\n\n"),
        ("truthfulqa_mc1_generated", "\n\n"),
    ):
        text = first(name, data_dir).prompt[0].content
        question, mark, after = text.partition(f"{gap}Answer the above question and ")
        assert text.startswith(before)
        assert mark
        assert after.startswith(closing)
        assert ".\n\nQuestion: " in question or ".\n\nPassage: " in question
        assert "\n (A) " in question
    popqa = first("popqa", data_dir).prompt
    assert [turn.role for turn in popqa] == ["user", "assistant"] * 15 + ["user"]
    assert popqa[0].content == "Q: What is Thomas Widdrington's occupation? A:"
    assert popqa[-1].content == "Q: What is George Rankin's occupation? A:"
    assert first("drop_0shot", data_dir).prompt[0].content.startswith("Passage: In the city, the age distribution")
    drop = first("drop_dev_shots", data_dir).prompt[0].content
    assert drop.count("Passage: ") == drop.count("\nQuestion: ") == drop.count("\nAnswer:") == 4
    assert drop.count("\n\n") == 3
    assert drop.endswith(" of the population?\nAnswer:")


def test_popqas_examples_are_questions_of_the_set_with_their_answers(data_dir: Path) -> None:
    """One a relation, in the published order; "capital" has none."""
    golds: dict[str, set[str]] = {}
    for row in PopQAQuestions().rows(data_dir):
        golds.setdefault(row.prompt[0].content, set()).update(json.loads(row.check.target))
    assert all(answer in golds[question] for question, answer in SHOTS)
    assert [relation(question) for question, _ in SHOTS] == [
        "occupation", "place of birth", "genre", "father", "country", "producer", "director", "capital of", "screenwriter", "composer",
        "color", "religion", "sport", "author", "mother",
    ]  # fmt: skip
    assert relation("How tall is he?") == ""


def test_bbhs_examples_are_turns_that_end_in_their_answer(data_dir: Path) -> None:
    seen: Counter[str] = Counter()
    for row in find("bbh").problems(data_dir):
        seen[row.category] += 1
        if seen[row.category] > 1:
            continue
        shots = row.prompt[:-1]
        assert [turn.role for turn in shots] == ["user", "assistant"] * 3
        assert all(turn.content.endswith("\nA: Let's think step by step.") for turn in (*shots[::2], row.prompt[-1]))
        assert all("So the answer is " in turn.content for turn in shots[1::2])
        assert not any("canary" in turn.content or turn.content.startswith("Let's") for turn in row.prompt)
        assert "\n\nQ: " in shots[0].content
        assert row.prompt[-1].content.startswith("Q: ")
    assert sorted(set(seen.values())) == [146, 178, 187, 250]


def test_drops_joined_spans_are_parted_where_they_stand_apart_in_the_passage() -> None:
    passage = "Salt and pepper, Tony Romo, then Shaun Hill. Hispanic and Latino people, and White people."
    assert spans("Tony Romo and Shaun Hill", passage) == ("Tony Romo", "Shaun Hill")
    assert spans("Salt and pepper", passage) == ("Salt and pepper",)
    assert spans("White and Hispanic and Latino", passage) == ("White", "Hispanic and Latino")
    assert spans("Tony Romo and nobody", passage) == ("Tony Romo and nobody",)
    assert spans("72", passage) == ("72",)


def test_agievals_letters_are_taken_off_its_choices(data_dir: Path) -> None:
    choices = [json.loads(row.check.target)["choices"] for row in AGIEvalQuestions("sample").rows(data_dir)]
    assert choices[0][0] == "5(√3 + 1)"
    assert {len(part) for part in choices} == {4, 5}


def test_truthfulqas_right_choice_is_not_always_first(data_dir: Path) -> None:
    letters = Counter(json.loads(row.check.target)["letter"] for row in TruthfulQAChoices().rows(data_dir))
    assert letters["A"] < 250
    assert letters["B"] > 150


@pytest.mark.parametrize(
    "name",
    [
        "mmlu_pro_validation",
        "agieval_sample",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("mmlu", "popqa", "drop_dev_shots", "bbh", "truthfulqa_mc1_generated")
        ),
    ],
)
def test_a_file_of_replies_is_graded(name: str, data_dir: Path, tmp_path: Path) -> None:
    """Every fifth reply of the file is wrong; a table by category where the set has categories."""
    problems = find(name).problems(data_dir)
    picked = [
        problem
        for problem in problems[:: max(1, len(problems) // 200)]
        if graded(find(name).verifier, problem, problem.solution).score == 1.0
    ]
    lines = [
        {"id": problem.id, "response": problem.solution if i % 5 else "Zyx."} for i, problem in enumerate(picked)
    ]  # fmt: skip
    lines = list({line["id"]: line for line in lines}.values())
    file = tmp_path / "replies.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = grade(find(name), file, data_dir)
    wrong = sum(line["response"] == "Zyx." for line in lines)
    assert found["responses"] == len(lines)
    assert found["ungraded"] == 0
    if find(name).average == "problems":
        assert found["score"] == pytest.approx(1 - wrong / len(lines))
    else:
        assert found["score"] == pytest.approx(
            sum(part["score"] for part in found["by_category"].values() if part["n"]) / sum(part["n"] > 0 for part in found["by_category"].values())
        )  # fmt: skip
    assert (len(found["by_category"]) > 1) == (name != "truthfulqa_mc1_generated")


@dataclass(frozen=True)
class Two(GeneratedSource):
    """Three questions of category a and one of b."""

    n: int = 4
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return "two"

    def rows(self, data: Path | None) -> Iterator[Problem]:
        for i, category in enumerate("aaab"):
            yield Problem(user(f"{i}?"), Check("text", "x"), "x", category=category)


def test_a_mean_of_categories_by_hand() -> None:
    """a: 1, 1, 0, mean 2/3, sample variance 1/3, squared error 1/9. b: one problem, 0, which tells no variance of its own: the
    others' 1/3 stands for it. The mean of the means is 1/3, its error sqrt(1/9 + 1/3)/2 = 1/3. Over the problems the mean is 1/2.
    """
    task = EvalTask("two", Two(), TextMatch(), Sampling(temperature=0.0, max_tokens=4), average="categories")
    problems = task.problems(None)
    check_gold(task, problems)
    row = summary(task, problems, [1.0, 1.0, 0.0, 0.0])
    assert row["score"] == pytest.approx(1 / 3)
    assert row["standard_error"] == pytest.approx(1 / 3)
    low, high = row["interval"]
    assert 0 < low < 1 / 3 < high < 1
    assert summary(task, problems, [1.0, None, None, None])["score"] == 1.0
    assert summary(task, problems, [None] * 4)["score"] is None
    assert summary(replace(task, average="problems"), problems, [1.0, 1.0, 0.0, 0.0])["score"] == 0.5
