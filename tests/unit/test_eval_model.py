"""Evaluation of a real (toy) model behind the real engine: determinism, resuming, sharing, prompts that do not fit."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from burnish.core.files import read_json
from burnish.core.types import Check, Completion, Problem, Row, Verdict, user
from burnish.errors import RecipeError
from burnish.eval.answer import Item, ModelAnswers
from burnish.eval.run import Evaluate, evaluate, evaluate_model
from burnish.eval.task import EvalTask
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context, Stage
from burnish.rollout.engine import Engine, Request, Sampling
from burnish.rollout.engines import make_engine

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=4)


@dataclass(frozen=True, slots=True)
class Shopping:
    """Ten short word problems."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "shopping"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for i in range(10):
            yield Problem(user(f"She buys {i} apples. How many apples has she?"), Check("length", str(i)))


@dataclass(frozen=True, slots=True)
class Length:
    """The reply's letters modulo 7, as a share: a fractional score that any change of the reply moves."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(sum(map(ord, text)) % 7 / 6, "letters")


GREEDY_TASK = EvalTask("greedy", Shopping(), Length(), Sampling(temperature=0.0, max_tokens=12))
SAMPLED_TASK = EvalTask("sampled", Shopping(), Length(), Sampling(temperature=1.0, max_tokens=24))
TASKS = (GREEDY_TASK, SAMPLED_TASK)


@dataclass(frozen=True)
class Toy(Stage):
    """Stands for a finished model stage."""

    @property
    def name(self) -> str:
        return "toy"


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy-artifact")
    make_toy(folder / "model")
    return folder


def quiet() -> Console:
    return Console(io.StringIO())


def run_stage(toy: Path, out: Path, seed: int = 0) -> None:
    out.mkdir()
    Evaluate(Toy(), TASKS, seed).run(Context(out, MACHINE, lambda stage: toy, None, out, quiet()))


@dataclass
class Watched:
    """The real engine, which is stopped like a killed process once `limit` replies are done; keeps the requests."""

    engine: Engine
    requests: list[Request]
    limit: int = 10**9

    @property
    def policy_version(self) -> str:
        return self.engine.policy_version

    def load_weights(self, policy: Policy, version: str) -> None:
        self.engine.load_weights(policy, version)

    def generate(
        self, requests: Sequence[Request], on_finish: Callable[[int, Completion], None] | None = None
    ) -> list[Completion]:
        self.requests += requests
        done = 0

        def counted(index: int, completion: Completion) -> None:
            nonlocal done
            if done == self.limit:
                raise KeyboardInterrupt
            done += 1
            assert on_finish is not None
            on_finish(index, completion)

        return self.engine.generate(requests, counted)


def watched(toy: Path, limit: int = 10**9) -> tuple[Watched, ModelAnswers]:
    policy = Policy.load(toy / "model", MACHINE)
    engine = Watched(make_engine(policy, MACHINE), [], limit)
    return engine, ModelAnswers(engine, policy.renderer, policy.context)


def test_equal_runs_write_equal_bytes_and_another_seed_does_not(toy: Path, tmp_path: Path):
    run_stage(toy, tmp_path / "a")
    run_stage(toy, tmp_path / "b")
    run_stage(toy, tmp_path / "c", seed=1)
    for name in ("samples.jsonl", "scores.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    a, c = (
        [json.loads(text) for text in (tmp_path / n / "samples.jsonl").read_text().splitlines()] for n in ("a", "c")
    )
    assert [s["task"] for s in a] == ["greedy"] * 10 + ["sampled"] * 10
    assert [s["response"] for s in a[:10]] == [s["response"] for s in c[:10]]
    assert [s["response"] for s in a[10:]] != [s["response"] for s in c[10:]]
    scores = read_json(tmp_path / "a" / "scores.json")
    assert scores["label"] == "toy"
    assert [row["n"] for row in scores["tasks"]] == [10, 10]


def test_killed_and_resumed_equals_uninterrupted(toy: Path, tmp_path: Path):
    run_stage(toy, tmp_path / "a")
    (tmp_path / "b").mkdir()
    _, stopped = watched(toy, limit=13)
    with pytest.raises(KeyboardInterrupt):
        evaluate(TASKS, stopped, seed=0, label="", model="", data=None, out=tmp_path / "b", console=quiet())
    assert len((tmp_path / "b" / "samples.jsonl").read_text().splitlines()) == 13
    Evaluate(Toy(), TASKS).run(Context(tmp_path / "b", MACHINE, lambda stage: toy, None, tmp_path, quiet()))
    for name in ("samples.jsonl", "scores.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_one_queue_longest_first_and_equal_questions_are_asked_once(toy: Path, tmp_path: Path):
    engine, answers = watched(toy)
    twin = EvalTask("twin", Shopping(), Length(), GREEDY_TASK.sampling)
    scores = evaluate(
        (GREEDY_TASK, twin, SAMPLED_TASK), answers, seed=0, label="", model="", data=None, out=tmp_path, console=quiet()
    )
    assert [r.sampling.max_tokens for r in engine.requests] == [24] * 10 + [12] * 10
    assert scores["tasks"][0]["score"] == scores["tasks"][1]["score"]


def test_prefill_begins_the_reply(toy: Path):
    engine, answers = watched(toy)
    problem = GREEDY_TASK.problems(None)[0]
    answers.reply_to([Item(replace(GREEDY_TASK, prefill="Answer:"), problem)], 0, lambda item, completion: None)
    tokenizer = answers.renderer.tokenizer
    start = tokenizer.encode("Answer:", add_special_tokens=False)
    assert engine.requests[0].prompt_ids == (*answers.renderer.prompt(problem.prompt), *start)


def test_prompts_that_do_not_fit_are_refused_before_anything_runs(toy: Path):
    engine, answers = watched(toy)
    long = replace(GREEDY_TASK, sampling=Sampling(temperature=0.0, max_tokens=2040))
    items = [Item(GREEDY_TASK, p) for p in GREEDY_TASK.problems(None)] + [Item(long, p) for p in long.problems(None)]
    with pytest.raises(
        RecipeError,
        match=r"task greedy: problem \w{16} has a prompt of \d+ tokens and may get a reply of 2040, but the model's context is 2048; 10 of 20",
    ):
        answers.reply_to(items, 0, lambda item, completion: None)
    assert not engine.requests
    short = replace(answers, context=5)
    with pytest.raises(RecipeError, match="Use fewer or shorter shots"):
        short.reply_to(items[:1], 0, lambda item, completion: None)


def test_evaluate_model(toy: Path, tmp_path: Path):
    scores = evaluate_model(str(toy), [GREEDY_TASK], limit=4, machine=MACHINE, out=tmp_path, console=quiet())
    assert scores["tasks"][0]["n"] == 4
    assert scores["label"] == toy.name
    screen = io.StringIO()
    again = evaluate_model(str(toy), [GREEDY_TASK], limit=4, machine=MACHINE, out=tmp_path, console=Console(screen))
    assert again == scores
    assert "has these scores already" in screen.getvalue()
    plain = evaluate_model(
        str(toy / "model"), [GREEDY_TASK], limit=4, machine=MACHINE, engine="hf", out=tmp_path, console=quiet()
    )
    assert plain["tasks"] == scores["tasks"]
    with pytest.raises(RecipeError, match="Did you mean 'torch'"):
        evaluate_model("toy", [GREEDY_TASK], machine=MACHINE, engine="troch", out=tmp_path, console=quiet())
