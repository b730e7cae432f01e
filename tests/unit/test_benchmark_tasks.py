"""The unseen benchmarks and those beyond the paper as tasks: prompts word for word, settings, ceiling, floor, what is judged how."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import benchmark_rows as rows
import pytest
from judge_rules import ByRules

from burnish.core.types import Check, Problem, user
from burnish.errors import MissingData
from burnish.eval.judging import Judge
from burnish.eval.task import EvalTask
from burnish.eval.tasks import bigcodebench, deepmind_math, drop, href, mgsm
from burnish.eval.tasks.catalogue import JUDGED, TASKS, find
from burnish.testing.laws import check_verifier
from burnish.verify.base import graded
from burnish.verify.code.library_tests import LibraryTests, lacking
from burnish.verify.judge.href import HREF, shared_words

UNSEEN = (
    "mmlu_pro", "gpqa", "agieval", "deepmind_math", "deepmind_math_v0", "bigcodebench_hard", "ifeval_ood", "ifbench", "href",
)  # fmt: skip
# Name: problems, examples, new tokens, replies each, pass@k, whether in the chat template.
SETTINGS: dict[str, tuple[int, int, int, int, int, bool]] = {
    "gsm8k": (1319, 8, 512, 1, 1, True), "math": (5000, 4, 1024, 1, 1, True), "popqa": (14_267, 15, 15, 1, 1, True),
    "bbh": (6511, 3, 512, 1, 1, True), "drop": (9536, 3, 50, 1, 1, False), "humaneval": (164, 0, 512, 20, 10, True),
    "humanevalplus": (164, 0, 512, 20, 10, True), "ifeval": (541, 0, 2048, 1, 1, True), "mmlu_pro": (12_032, 0, 2048, 1, 1, True),
    "gpqa": (448, 0, 2048, 1, 1, True), "agieval": (2646, 0, 2048, 1, 1, True), "deepmind_math": (5600, 0, 2048, 1, 1, True),
    "bigcodebench_hard": (148, 0, 1280, 1, 1, True), "ifeval_ood": (300, 0, 2048, 1, 1, True), "ifbench": (300, 0, 2048, 1, 1, True),
    "humaneval_pass1": (164, 0, 512, 1, 1, True), "mbpp": (500, 0, 512, 20, 10, True), "mbppplus_pass1": (378, 0, 512, 1, 1, True),
    "svamp": (1000, 8, 512, 1, 1, True), "gsm_hard": (1319, 8, 512, 1, 1, True), "mgsm": (2750, 0, 2048, 1, 1, True),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("burnish.data.sources.hub._commit", lambda hub, revision: ("", "and the hub cannot be reached"))


def first(task: EvalTask, data: Path) -> Problem:
    """The first problem; the source counts its rows only at the end."""
    problem = next(iter(task.source.rows(data)))
    assert isinstance(problem, Problem)
    return problem


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_are_the_papers(name: str) -> None:
    task = find(name)
    found = (task.n, task.shots, task.sampling.max_tokens, task.samples, task.pass_at, task.chat)
    assert found == SETTINGS[name]
    greedy = task.samples == 1
    assert (task.sampling.temperature, task.sampling.top_p) == ((0.0, 1.0) if greedy else (0.8, 0.95))


def test_what_is_unseen_says_so() -> None:
    judge = Judge(ByRules())
    tasks = {name: find(name, judge) for name in (*TASKS, *JUDGED)}
    assert all(tasks[name].unseen for name in UNSEEN)
    seen = ("gsm8k", "math", "mbpp", "svamp", "mgsm", "agieval_sample", "mmlu_pro_validation", "ifbench_sample")
    assert not any(tasks[name].unseen for name in seen)


def test_stop_strings_are_the_published_ones() -> None:
    assert find("gsm8k").sampling.stop == ("Question:", "</s>", "<|im_end|>")
    assert find("drop").sampling.stop == ("Passage:", "Question:", "\n\n")
    assert find("bigcodebench_hard").sampling.stop == (
        "<|endoftext|>", "<|endofmask|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(", "\n```\n",
    )  # fmt: skip
    for name in (
        "math",
        "bbh",
        "mmlu_pro",
        "gpqa",
        "agieval",
        "deepmind_math",
        "ifeval",
        "ifbench",
        "ifeval_ood",
        "mgsm",
    ):
        assert find(name).sampling.stop == ()


BEFORE = (
    "Answer the following multiple-choice question by giving the correct answer letter in parentheses. Provide CONCISE reasoning "
    'for the answer, and make sure to finish the response with "Therefore, the answer is (ANSWER_LETTER)" where (ANSWER_LETTER) '
    "is one of {letters}\n\n"
)
AFTER = (
    'Answer the above question and REMEMBER to finish your response with the exact phrase "Therefore, the answer is '
    '(ANSWER_LETTER)" where (ANSWER_LETTER) is one of {letters}'
)
FIVE, FOUR = "(A), (B), (C), (D), (E), etc.", "(A), (B), (C), (D)."


def test_choice_prompts_word_for_word(tmp_path: Path) -> None:
    rows.write(tmp_path, "mmlu_pro/test.jsonl", rows.MMLU_PRO)
    rows.write(tmp_path, "gpqa/main.jsonl", rows.GPQA)
    assert first(find("mmlu_pro"), tmp_path).prompt == user(
        f"{BEFORE.format(letters=FIVE)}Question: Which is a colour?\n (A) stone\n (B) red\n (C) run\n\n{AFTER.format(letters=FIVE)}"
    )
    text = first(find("gpqa"), tmp_path).prompt[0].content
    assert text.startswith(f"{BEFORE.format(letters=FOUR)}Question: What does a prism do?\nChoices:\n (A) ")
    assert text.endswith(f"\n\n\n{AFTER.format(letters=FOUR)}")


def test_deepmind_maths_endings_word_for_word() -> None:
    """Two spaces where the published text has them; modules of True and False have two examples."""
    notes = (
        "Note the formatting for the following answer types:\n- If the answer is a list (e.g., when there are two solutions to an "
        "equation), unless otherwise specified, present the solutions in a list separated by commas ordering them from the smallest to "
        "biggest  e.g.: 2, 10\n- Powers should be written with **, for instance x to the power of 2 should be written as x**2\n- Use * "
        "for multiplication, e.g.: 2*x"
    )
    assert deepmind_math.ending("numbers__is_prime", "v3") == (
        '\n\nShow your work and conclude with the exact phrasing "Therefore, the final answer is [answer]. I hope it is correct." where '
        "[answer] is just the final number, expression, or answer label representing the solution.  Some example answers from this "
        "question category:\n"
        '- If the answer is True, conclude with "Therefore, the final answer is True. I hope it is correct."\n'
        '- If the answer is False, conclude with "Therefore, the final answer is False. I hope it is correct."\n\n'
        f"{notes}\n- For fractions, separate the numerator and denominator with a slash (/) e.g.: -2/7"
    )
    assert deepmind_math.ending("numbers__is_prime", "v0") == (
        '\n\nShow your work and conclude with the exact phrasing "Therefore, the final answer is [answer]. I hope it is correct." where '
        "[answer] is just the final number or expression that solves the problem. E.g., if the answer is 6, conclude with "
        f'"Therefore, the final answer is 6. I hope it is correct."\n{notes}'
    )
    assert len(deepmind_math.EXAMPLES) == 56
    assert {len(found) for found in deepmind_math.EXAMPLES.values()} == {2, 3}


def test_bigcodebenchs_prompt_and_prefill_word_for_word(tmp_path: Path) -> None:
    rows.write(tmp_path, "bigcodebench_hard/v0.1.2.jsonl", rows.BIGCODEBENCH)
    task = find("bigcodebench_hard")
    problem = first(task, tmp_path)
    assert problem.prompt == user(
        "Please provide a self-contained Python script that solves the following problem in a markdown code block:\n"
        f"{rows.BIGCODEBENCH[0]['instruct_prompt'].strip()}\n"
    )
    assert task.prefill == (
        "Below is a Python script with a self-contained function that solves the problem and passes corresponding tests:\n```python\n"
    )
    assert graded(task.verifier, problem, problem.solution).score == 1.0
    assert graded(task.verifier, problem, "def task_func(text):\n    return json.loads(text)\n").score == 0.0
    assert graded(task.verifier, problem, "def task_func(text):\n    return sorted(json.loads(text))\n").score == 1.0
    assert graded(task.verifier, problem, "").score == 0.0


def test_published_scores_of_bigcodebench_are_whole_numbers_of_148ths() -> None:
    """So one reply a task made them, whatever the table calls them: 0.155 is 23 of 148, 0.074 is 11."""
    for published in bigcodebench.PUBLISHED:
        assert any(round(right / 148, 3) == published.score for right in range(149))


def test_a_library_that_is_not_here_leaves_a_task_ungraded() -> None:
    target = {
        "entry": "f",
        "prompt": "import nowhere_lib.sub as n\ndef f():\n",
        "test": "import json, unittest\nclass T(unittest.TestCase):\n    def test_a(self): pass\n",
    }
    problem = Problem(user("?"), Check("code", json.dumps(target)))
    verdict = LibraryTests()(problem, "```python\ndef f():\n    return 1\n```")
    assert verdict.score is None
    assert "pip install nowhere_lib" in verdict.why
    assert LibraryTests()(problem, "").score == 0.0
    assert lacking(
        json.dumps(
            {**target, "prompt": "import sklearn_nowhere\nfrom .here import x\nif True:\n    import also_nowhere\n"}
        )
    ) == ["sklearn_nowhere"]
    assert lacking("no json") == lacking("[]") == lacking(json.dumps({"prompt": "def (", "test": ""})) == []


def test_drops_prompt_is_one_plain_text(tmp_path: Path, data_dir: Path) -> None:
    """Three training examples, an empty line after each, then the question; no turn of its own for any of them."""
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "dev.jsonl.gz").symlink_to(data_dir / "drop" / "dev.jsonl.gz")
    with pytest.raises(MissingData, match="drop/train"):
        find("drop").problems(tmp_path)
    with pytest.raises(MissingData, match="drop/train"):
        find("drop").source.check(tmp_path)  # type: ignore[attr-defined]
    rows.write(tmp_path, "drop/train.jsonl", rows.DROP_TRAIN)
    problem = first(find("drop"), tmp_path)
    parts = problem.prompt[0].content.split("\n\n")
    assert len(parts) == 4
    assert all(
        part.startswith("Passage: Passage ") and part.rpartition("\nAnswer: ")[2].isdecimal() for part in parts[:3]
    )
    assert parts[3].startswith("Passage: In the city")
    assert parts[3].endswith("\nAnswer:")
    assert problem.lineage


def test_drops_dev_examples_leave_the_question_itself_out(data_dir: Path) -> None:
    problems = find("drop_dev_shots").problems(data_dir)
    shown = [problem.prompt[0].content.split("\n\n") for problem in problems]
    common = shown[0][:3]
    assert sum(parts[:3] == common for parts in shown) >= len(problems) - drop.SHOTS
    assert all(len(parts) == 4 and parts[3] not in "".join(parts[:3]) for parts in shown)


def test_mgsm_asks_in_the_questions_language() -> None:
    assert set(mgsm.INSTRUCTIONS) == set(["bn", "de", "en", "es", "fr", "ja", "ru", "sw", "te", "th", "zh"])
    assert mgsm.INSTRUCTIONS["en"] == (
        "Solve this math problem. Give the reasoning steps before giving the final answer on the last line by itself in the format of "
        '"Answer:". Do not add anything other than the integer answer after "Answer:".'
    )
    assert find("mgsm_de").average == find("mgsm").average == "categories"


# HREF


def href_problem(**changes: Any) -> Problem:
    row = {**rows.HREF[0], **changes}
    target = {"category": row["category"], "baseline": row["output"], "reference": row["reference"]}
    return Problem(user(row["instruction"]), Check("href", json.dumps(target)))


@dataclasses.dataclass(frozen=True)
class Prefers:
    """A judge that prefers the reply with a word in it, and remembers what it was shown."""

    VERSION = 1
    word: str
    shown: list[str] = dataclasses.field(default_factory=list)
    name: str = "prefers a word"

    def answers(self, questions: Any) -> list[Any]:
        from burnish.verify.judge.ask import Answer

        found = []
        for question in questions:
            text = question.prompt[-1].content
            self.shown.append(text)
            a, b = text.partition("REPLY A")[2].partition("REPLY B")[::2]
            winner = "tie" if (self.word in a) == (self.word in b) else "A" if self.word in a else "B"
            found.append(Answer(json.dumps({"reason": "the word", "winner": winner})))
        return found


def test_href_shows_the_persons_reply_but_for_brainstorms_and_summaries() -> None:
    for category, seen in (("Closed QA", True), ("Rewrite", True), ("Brainstorm", False), ("Summarize", False)):
        judge = Prefers("Paris,")
        problem = href_problem(category=category, reference="The capital of France is called Paris.")
        verdict = HREF(judge)(problem, "It is Paris, I think.")
        assert verdict.score == 1.0
        assert len(judge.shown) == 2, "both orders are asked"
        assert all(("is called Paris" in text) == seen for text in judge.shown)


def test_href_keeps_the_laws() -> None:
    check_verifier(HREF(ByRules()), (), many_candidates="anywhere", examples=20)


def test_href_counts_wins_ties_and_losses() -> None:
    problem = href_problem()
    assert HREF(Prefers("big"))(problem, "It is Paris.").score == 0.0
    assert HREF(Prefers("zebra"))(problem, "It is Paris.").score == 0.5
    judge = Prefers("Paris")
    assert HREF(judge)(problem, " \n").score == 0.0
    assert HREF(judge)(problem, rows.HREF[0]["output"]).score == 0.5
    assert judge.shown == []
    assert HREF(judge)(Problem(user("q"), Check("href", "{}")), "x").score is None


def test_href_tasks(tmp_path: Path) -> None:
    rows.write(tmp_path, "href/dev.jsonl", rows.HREF)
    judged = find("href", Judge(Prefers("Paris")))
    problem = first(judged, tmp_path)
    assert problem.prompt == user(rows.HREF[0]["instruction"])
    assert problem.solution == ""
    assert (judged.n, judged.unseen, judged.published) == (430, True, ())
    assert graded(judged.verifier, problem, "Paris").score == 1.0
    by_words = href.words()
    problem = first(by_words, tmp_path)
    assert graded(by_words.verifier, problem, problem.solution).score == 1.0
    assert graded(by_words.verifier, problem, "It is a big city.").score == 0.5
    assert graded(by_words.verifier, problem, "").score == 0.0


def test_shared_words_by_hand() -> None:
    """ "a b b c" and "b b d": two of seven words on each side are shared, 2 * 2 / (4 + 3)."""
    assert shared_words("A b b, c", "b B d") == pytest.approx(4 / 7)
    assert shared_words("", "a") == shared_words("a", "b") == 0.0
    assert shared_words("x y", "y x") == 1.0
