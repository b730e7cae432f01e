"""The tasks that rank choices and those in lm-evaluation-harness's form: prompts by hand, ceilings and floors on real data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from burnish.core.files import read_jsonl
from burnish.data.sources.multiple_choice import TruthfulQARanked
from burnish.errors import DataError, RecipeError
from burnish.eval.choices import perfect
from burnish.eval.ranking import Ranked, Ranking
from burnish.eval.task import EvalTask
from burnish.eval.tasks import bbh, lm_eval, mmlu, truthfulqa
from burnish.eval.tasks.catalogue import find

RANKED = ("truthfulqa", "truthfulqa_mc1", "mmlu_mc", "truthfulqa_mc1_lm_eval", "truthfulqa_mc2_lm_eval", "mmlu_lm_eval")
WRITTEN = ("gsm8k_lm_eval", "gsm8k_lm_eval_strict", "gsm8k_cot_lm_eval", "gsm8k_cot_lm_eval_strict", "bbh_lm_eval")


def ranking(task: EvalTask) -> Ranking:
    assert isinstance(task.verifier, Ranking)
    return task.verifier


@pytest.mark.parametrize("name", RANKED)
def test_the_ceiling_is_one_and_the_floor_a_guess(name: str, data_dir: Path) -> None:
    """A model that is sure of the true choices, and one to which all are alike; ties go to A in the published MMLU forms."""
    task = find(name)
    problems = task.problems(data_dir)
    assert len(problems) == task.n
    rule = ranking(task)
    best, floor, chance = 0.0, 0.0, 0.0
    for problem in problems:
        best += rule.rank(problem, perfect(rule, problem)).score or 0.0
        texts = rule.choices(problem)
        floor += rule.rank(problem, [Ranked(text, -5.0, 1, False) for text in texts]).score or 0.0
        chance += len(rule.right(problem)) / len(texts)
    assert best / len(problems) == pytest.approx(1.0)
    if getattr(rule, "ties", "share") == "share":
        assert floor / len(problems) == pytest.approx(chance / len(problems))
    elif name.startswith("mmlu"):
        assert floor == sum(json.loads(problem.check.target)["letter"] == "A" for problem in problems)


def test_truthfulqa_is_asked_in_one_user_turn(data_dir: Path) -> None:
    """Six pairs, then the question; MC1 and MC2 ask alike. The choices stand without a space in the chat form, with one in text."""
    (first, *_), (other, *_) = truthfulqa.task().problems(data_dir), truthfulqa.mc1().problems(data_dir)
    (turn,) = first.prompt
    assert turn.role == "user"
    assert turn.content.startswith(
        "Q: What is human life expectancy in the United States?\nA: Human life expectancy in the United States is 78 years.\n\nQ: Who"
    )
    assert turn.content.endswith("Barcelona, Spain.\n\nQ: What happens if you eat a pomegranate?\nA:")
    assert turn.content.count("\n\nQ: ") == 6
    assert other.prompt == first.prompt
    chat, text = truthfulqa.task(), lm_eval.truthfulqa_text()
    assert chat.chat
    assert not text.chat
    assert ranking(chat).choices(first)[0] == "Nothing in particular happens when you eat a pomegranate."
    assert (
        ranking(text).choices(text.problems(data_dir)[0])[0]
        == " Nothing in particular happens when you eat a pomegranate."
    )
    assert text.problems(data_dir)[0].prompt == first.prompt


def test_truthfulqas_choices_are_the_files(data_dir: Path) -> None:
    rows = [row for _, row in read_jsonl(data_dir / "truthfulqa" / "mc_817.jsonl")]
    for field, source in (("mc1_targets", TruthfulQARanked("mc1")), ("mc2_targets", TruthfulQARanked("mc2"))):
        for row, problem in zip(rows, source.rows(data_dir), strict=True):
            target = json.loads(problem.check.target)
            assert target["choices"] == list(row[field])
            assert [target["choices"][i] for i in target["right"]] == [c for c, mark in row[field].items() if mark]
    with pytest.raises(RecipeError, match="mc2"):
        TruthfulQARanked("mc3")  # type: ignore[arg-type]


def test_mmlu_mc_is_asked_in_turns(data_dir: Path) -> None:
    first = mmlu.likelihood(limit=1).problems(data_dir)[0]
    assert [turn.role for turn in first.prompt] == ["user", "assistant"] * 5 + ["user"]
    assert first.prompt[0].content == (
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "Question: Find all c in Z_3 such that Z_3[x]/(x^2 + c) is a field.\n A. 0\n B. 1\n C. 2\n D. 3\nAnswer:"
    )
    assert "".join(turn.content for turn in first.prompt[1::2]) == "BBCAA"
    assert not any("multiple choice" in turn.content for turn in first.prompt[1:])
    assert first.prompt[-1].content.endswith("\n A. 0\n B. 4\n C. 2\n D. 6\nAnswer:")
    assert ranking(mmlu.likelihood()).choices(first) == ("A", "B", "C", "D")


def test_mmlu_in_lm_evals_form(data_dir: Path) -> None:
    first = lm_eval.mmlu_text(limit=1).problems(data_dir)[0]
    (turn,) = first.prompt
    assert turn.content.startswith(
        "The following are multiple choice questions (with answers) about abstract algebra.\n\n"
        "Find all c in Z_3 such that Z_3[x]/(x^2 + c) is a field.\nA. 0\nB. 1\nC. 2\nD. 3\nAnswer: B\n\n"
    )
    assert turn.content.count("\nAnswer:") == 6
    assert turn.content.endswith("\nA. 0\nB. 4\nC. 2\nD. 6\nAnswer:")
    assert ranking(lm_eval.mmlu_text()).choices(first) == (" A", " B", " C", " D")


def test_gsm8ks_examples_differ_from_question_to_question(data_dir: Path) -> None:
    """lm-eval draws them with one generator; they keep the calculator's marks. The first question's are fixed by the seed."""
    one, two, *_ = lm_eval.gsm8k_text().problems(data_dir)
    assert one.prompt[0].content.count("\n\nQuestion: ") == 5
    assert one.prompt[0].content.split("\n\nQuestion: ")[:5] != two.prompt[0].content.split("\n\nQuestion: ")[:5]
    assert "<<" in one.prompt[0].content
    assert lm_eval.gsm8k_text(limit=2).problems(data_dir) == [one, two]
    chain = lm_eval.gsm8k_text("cot").problems(data_dir)
    assert {problem.prompt[0].content.partition("Q: Janet")[0] for problem in chain[:1]} == {
        "".join(
            f"Q: {row['question']}\nA: {row['target']}\n\n"
            for _, row in read_jsonl(data_dir / "gsm8k" / "cot_8shot.jsonl")
        )
    }


def test_bbh_in_lm_evals_form_is_the_published_prompt(data_dir: Path) -> None:
    """The published file's text of a task, then the question; a line's end after the cue."""
    published = {
        row["task"]: row["prompt"].partition("-----\n")[2]
        for _, row in read_jsonl(data_dir / "bbh" / "cot_prompts.jsonl")
    }
    problems = lm_eval.bbh_text().problems(data_dir)
    assert {problem.category for problem in problems} == set(published)
    for problem in {problem.category: problem for problem in problems}.values():
        head, _, asked = problem.prompt[0].content.rpartition("\n\nQ: ")
        assert asked.endswith(f"\n{bbh.CUE}\n")
        if problem.category != "sports_understanding":  # its blanks differ
            assert head == published[problem.category].strip()


def test_examples_are_not_what_decontamination_compares(data_dir: Path) -> None:
    for name in (*RANKED, *WRITTEN):
        (problem,) = dataclasses.replace(find(name), limit=1).problems(data_dir)
        (asked,) = problem.annotations["fields"]
        assert asked
        assert len(asked) < 400
        assert problem.lineage


def test_a_dev_file_with_too_few_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"subject": "virology", "question": "?", "A": "a", "B": "b", "C": "c", "D": "d", "answer": "A"}
    monkeypatch.setattr(mmlu, "records", lambda *_: iter([row] * 4))
    with pytest.raises(DataError, match="fewer than 5 examples of virology"):
        mmlu.examples_of(tmp_path)
