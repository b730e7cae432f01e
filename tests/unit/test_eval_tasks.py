"""The shipped benchmarks: names, prompts as the published protocols have them, ceilings and floors on real data."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from burnish.core.files import read_jsonl
from burnish.data.decontamination.items import item_of
from burnish.data.sources.gsm8k import GSM8KProblems
from burnish.data.sources.held_out import TestPrompts
from burnish.data.sources.math import MATHProblems
from burnish.errors import RecipeError
from burnish.eval.answer import Given, GoldAnswers, Item, OnReply
from burnish.eval.grade import grade
from burnish.eval.models import Asking, evaluate_models
from burnish.eval.run import check_tasks, evaluate
from burnish.eval.task import EvalTask
from burnish.eval.tasks import gsm8k, ifeval
from burnish.eval.tasks.catalogue import TASKS, find
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console


class Empty:
    """Replies with nothing."""

    notes: tuple[str, ...] = ()

    def keys(self, items: Sequence[Item], seed: int) -> list[str]:
        return [""] * len(items)

    def reply_to(self, items: Sequence[Item], seed: int, on_reply: OnReply) -> None:
        for item in items:
            on_reply(item, Given())


def quiet() -> Console:
    return Console(io.StringIO())


def floor(task: EvalTask, data: Path | None, out: Path):
    return evaluate([task], Empty(), seed=0, label="", model="", data=data, out=out, console=quiet())["tasks"][0]


def test_names_are_the_tasks_own():
    assert {name: find(name).name for name in TASKS} == {name: name for name in TASKS}
    with pytest.raises(RecipeError, match="Did you mean 'gsm8k'"):
        find("gms8k")


@pytest.mark.parametrize("name", ["arithmetic", "instructions"])
def test_generated_tasks_have_a_ceiling_and_a_floor(name: str, tmp_path: Path):
    (scores,) = evaluate_models((), [name], Asking(exact(), tmp_path, "gold"), quiet(), limit=40)
    assert scores["tasks"][0]["score"] == 1.0
    assert floor(find(name), None, tmp_path / "floor")["score"] <= 0.02


def test_shots_are_the_published_ones(data_dir: Path):
    """The file has the paper's "The answer is N."; olmes, which Tülu 3 used, writes "So the answer is N."."""
    for (question, steps, answer), (_, shot) in zip(
        gsm8k.SHOTS, read_jsonl(data_dir / "gsm8k" / "cot_8shot.jsonl"), strict=True
    ):
        assert shot == {"question": question, "target": f"{steps} The answer is {answer}."}


def test_gsm8k_gold_answers_score_one(data_dir: Path, tmp_path: Path):
    tasks = [gsm8k.task(), gsm8k.task("plain")]
    check_tasks(tasks, data_dir)
    scores = evaluate(tasks, GoldAnswers(), seed=0, label="", model="", data=data_dir, out=tmp_path, console=quiet())
    assert [(row["n"], row["score"], row["ungraded"]) for row in scores["tasks"]] == [(1319, 1.0, 0)] * 2
    assert floor(gsm8k.task(), data_dir, tmp_path / "floor")["score"] == 0.0


def test_gsm8k_8shot_prompt(data_dir: Path):
    plain, shot = gsm8k.task("plain", limit=1).problems(data_dir)[0], gsm8k.task(limit=1).problems(data_dir)[0]
    assert [m.role for m in shot.prompt] == ["user", "assistant"] * 8 + ["user"]
    assert shot.prompt[1].content.startswith("Answer: There are 15 trees originally.")
    assert shot.prompt[1].content.endswith("= 6. So the answer is 6.")
    assert shot.prompt[-1].content == "Question: " + plain.prompt[-1].content
    assert plain.prompt[-1].content.startswith("Janet")
    assert shot.check == plain.check
    assert shot.lineage[-1] == plain.id


@pytest.mark.parametrize("mode", ["loose", "strict"])
def test_ifeval_floor(mode, data_dir: Path, tmp_path: Path):
    row = floor(ifeval.task(mode), data_dir, tmp_path)
    assert (row["n"], row["score"]) == (541, 0.0)
    assert row["metric"] == f"prompt {mode}"


def test_grading_ifeval_replies_by_key_and_by_prompt(data_dir: Path, tmp_path: Path):
    """1001 asks for no commas. Strict: one of two; loose (asterisks off, first or last line off): still one of two."""
    problem = ifeval.task().problems(data_dir)[1]
    path = tmp_path / "replies.jsonl"
    rows = [
        {"id": 1001, "response": "Thou shalt see Kyoto."},
        {"prompt": problem.prompt[-1].content, "response": "Go, see Kyoto."},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = grade(ifeval.task(), path, data_dir)
    assert (result["n"], result["score"], result["missing"]["count"]) == (1, 0.5, 540)
    assert result["ifeval"] == {
        "prompt_strict": 0.5,
        "instruction_strict": 0.5,
        "prompt_loose": 0.5,
        "instruction_loose": 0.5,
    }


def test_grading_gsm8k_gold_by_place(data_dir: Path, tmp_path: Path):
    problems = gsm8k.task().problems(data_dir)
    path = tmp_path / "replies.jsonl"
    path.write_text("".join(json.dumps({"id": i, "response": p.solution}) + "\n" for i, p in enumerate(problems)))
    result = grade(gsm8k.task(), path, data_dir)
    assert (result["n"], result["score"], result["missing"]["count"], result["unknown"]["count"]) == (1319, 1.0, 0, 0)


def test_example_task(tmp_path: Path):
    spec = importlib.util.spec_from_file_location("example_task", Path(__file__).parents[2] / "examples" / "task.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        assert module.main(out=tmp_path) == 1.0
    finally:
        del sys.modules[spec.name]


# A task, and the test set of --data whose questions it asks.
ASKED = {
    "math": "math", "math_plain": "math", "gsm8k": "gsm8k", "mmlu": "mmlu", "popqa": "popqa", "bbh": "bbh", "drop_dev_shots": "drop",
    "humaneval": "humaneval", "mmlu_pro_validation": "mmlu_pro_validation",
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name in ("gsm8k", "humaneval") else pytest.param(name, marks=pytest.mark.slow) for name in ASKED]
)
def test_decontamination_compares_the_question_and_not_the_template(name: str, data_dir: Path) -> None:
    """The items of a task are those of its plain test set: instructions and examples around a question are no part of it."""
    plain = {
        "gsm8k": lambda: GSM8KProblems("test"),
        "math": lambda: MATHProblems("test"),
    }.get(ASKED[name], lambda: TestPrompts(ASKED[name]))()
    wanted = sorted(item_of("t", row).prompt for row in plain.rows(data_dir))
    assert sorted(item_of("t", row).prompt for row in find(name).problems(data_dir)) == wanted
