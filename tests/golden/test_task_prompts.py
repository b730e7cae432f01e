"""What every benchmark asks, word for word: prompts under the Tülu format and as messages, with settings. The diff is the review.

rendered_tasks.jsonl has, for every task of the catalogue whose data are at hand, its settings and hashes of the first two
problems' prompts, the last and six drawn ones: `text` of the prompt in the Tülu format with the prefill (of a plain task, the text
as it is) and, of a ranking, its choices; `messages` of the turns as they go into any chat template. rendered_tasks.txt has one whole
prompt of each wording whose licence lets it be shown; of the others, what the prompts drawn have in common at both ends.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from burnish.core.types import Problem, plain
from burnish.errors import MissingData
from burnish.eval.judging import Judge
from burnish.eval.listing import Unnamed
from burnish.eval.ranking import Ranking
from burnish.eval.score import settings
from burnish.eval.task import EvalTask
from burnish.eval.tasks.catalogue import JUDGED, TASKS, find
from burnish.text.template import TULU

HASHES = Path(__file__).with_name("rendered_tasks.jsonl")
TEXTS = Path(__file__).with_name("rendered_tasks.txt")
FIRST, DRAWN = 2, 6
NAMES = (*TASKS, *JUDGED)
CHANGED = "prompts or settings changed: pytest --update-golden rewrites the files; the diff is the review"
OPEN = {"MIT", "Apache-2.0", "CC-BY-4.0"}
# Requests for harm, jailbreaks, sets that ask not to be trained on (a canary), and MATH, whose licence is disputed, stay out.
NOT_SHOWN = (
    "math", "harmbench", "xstest", "jailbreaktrigger", "do_anything_now", "wildguardtest", "wildjailbreak", "hh_rlhf", "bbh", "gpqa", "agieval",
)  # fmt: skip
END = 40  # characters shown of what prompts have in common


def task_of(name: str) -> EvalTask:
    """The task; of the judged ones, with a judge that is never asked."""
    return find(name, Judge(Unnamed()))


def asked(task: EvalTask, problem: Problem) -> str:
    """The prompt as a model of the Tülu format reads it; a plain task's as any model does."""
    if not task.chat:
        return "".join(turn.content for turn in problem.prompt) + task.prefill
    return "".join(piece.text for piece in TULU.pieces(problem.prompt, train=None)) + task.prefill


def choices(task: EvalTask, problem: Problem) -> list[str]:
    return list(task.verifier.choices(problem)) if isinstance(task.verifier, Ranking) else []


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False).encode()).hexdigest()


def rendered(task: EvalTask, problem: Problem) -> dict[str, str]:
    return {
        "id": problem.id, "text": digest([asked(task, problem), choices(task, problem)]), "messages": digest(plain(problem.prompt)),
    }  # fmt: skip


def places(count: int) -> list[int]:
    """The first two, six drawn by a fixed seed, the last."""
    drawn = random.Random(0).sample(range(count), min(DRAWN, count))
    return sorted({*range(min(FIRST, count)), *drawn, count - 1})


def snapshot(task: EvalTask, problems: Sequence[Problem]) -> dict[str, Any]:
    return {
        "task": task.name, "n": len(problems), "settings": settings(task),
        "prompts": {str(place): rendered(task, problems[place]) for place in places(len(problems))},
    }  # fmt: skip


def shown(task: EvalTask, problems: Sequence[Problem]) -> str:
    """One prompt, or where it cannot be shown, how the prompts drawn begin and end alike."""
    picked = [problems[place] for place in places(len(problems))]
    first = picked[0]
    texts = [asked(task, problem) for problem in picked]
    if {problem.licence for problem in picked} <= OPEN and not task.unseen and not task.name.startswith(NOT_SHOWN):
        lists = choices(task, first)
        return texts[0] + "".join(f"\n--- choice {place}: {text!r}" for place, text in enumerate(lists))
    head, tail = alike(texts), alike([text[::-1] for text in texts])[::-1]
    return f"{head}\n--- not shown: {first.licence} ---\n{tail}"


def alike(texts: Sequence[str]) -> str:
    """What all of them begin with, END characters at most."""
    return next((texts[0][:n] for n in range(END, 0, -1) if len({text[:n] for text in texts}) == 1), "")


def test_first_prompts_and_settings_are_the_reviewed_ones(data_dir: Path, update_golden: bool) -> None:
    """Of every task at hand, without reading whole sets; the rest below, where the files are rewritten."""
    if update_golden:
        pytest.skip("the test below rewrites the files: add -m 'slow or not slow'")
    kept = {line["task"]: line for line in map(json.loads, HASHES.read_text().splitlines())}
    compared = 0
    for name in NAMES:
        task = task_of(name)
        try:
            problems = replace(task, limit=FIRST, published=()).problems(data_dir)
        except MissingData:
            continue
        assert name in kept, f"{name} is not in {HASHES.name}: {CHANGED}"
        found = json.loads(json.dumps(settings(task)))
        assert kept[name]["settings"] == found, f"{name}: {CHANGED}"
        first = {str(place): rendered(task, problem) for place, problem in enumerate(problems)}
        assert {place: kept[name]["prompts"][place] for place in first} == first, f"{name}: {CHANGED}"
        compared += 1
    assert compared > 60


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_prompts_from_all_over_the_sets_are_the_reviewed_ones(data_dir: Path, update_golden: bool) -> None:
    """Also the files' texts. Where data are not at hand, what the files say of them stays."""
    kept = {line["task"]: line for line in map(json.loads, HASHES.read_text().splitlines())} if HASHES.exists() else {}
    found, texts = dict(kept), {}
    for name in NAMES:
        task = task_of(name)
        try:
            problems = task.problems(data_dir)
        except MissingData:
            continue
        found[name] = json.loads(json.dumps(snapshot(task, problems)))
        texts.setdefault(shown(task, problems), []).append(name)
    text = "".join(f"=== {', '.join(names)}\n{prompt}\n\n" for prompt, names in texts.items())
    lines = [json.dumps(found[name], ensure_ascii=False) for name in NAMES if name in found]
    if update_golden:
        HASHES.write_text("\n".join(lines) + "\n")
        TEXTS.write_text(text)
    assert "\n".join(lines) + "\n" == HASHES.read_text(), CHANGED
    assert text == TEXTS.read_text(), CHANGED


def test_places_are_first_last_and_drawn() -> None:
    assert places(1) == [0]
    assert places(3) == [0, 1, 2]
    assert {0, 1, 1318} < set(places(1319))
    assert len(places(1319)) == 9
    assert places(1319) == places(1319)
