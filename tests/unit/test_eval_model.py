"""Evaluation of a real (toy) model behind the real engine: determinism, resuming, sharing, prompts that do not fit."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from burnish.core.files import read_json, write_json
from burnish.core.types import Check, Completion, Problem, Row, Verdict, user
from burnish.errors import ArtifactError, RecipeError, VerifierError
from burnish.eval.answer import Item
from burnish.eval.model_answers import ModelAnswers
from burnish.eval.models import Asking, evaluate_models, side_by_side
from burnish.eval.prompts import Prompts
from burnish.eval.run import Evaluate, evaluate
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


@dataclass(frozen=True, slots=True)
class Letters:
    """Another verifier of the same replies."""

    VERSION: ClassVar[int] = 2
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(len(text) % 2), "letters")


_judge_is_up = True


@dataclass(frozen=True, slots=True)
class Judged:
    """A judge that can be away."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        up = _judge_is_up or problem.check.target == "3"
        return Verdict(1.0, "fine") if up else Verdict(None, "nobody listens at port 9", ("judge_down",))


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
    prompts = Prompts(policy.renderer, policy.context)
    return engine, ModelAnswers(prompts, lambda: engine, model=toy.name, kind="torch")


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
    kept = [json.loads(text) for text in (tmp_path / "b" / "asked" / "replies.jsonl").read_text().splitlines()]
    assert sum("text" in record for record in kept) == 13
    Evaluate(Toy(), TASKS).run(Context(tmp_path / "b", MACHINE, lambda stage: toy, None, tmp_path, quiet()))
    for name in ("samples.jsonl", "scores.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_stage_whose_judge_is_away_waits_for_it(toy: Path, tmp_path: Path):
    """Nine of ten replies wait: no scores that look finished. Later only the judge is asked."""
    global _judge_is_up
    ctx = Context(tmp_path, MACHINE, lambda stage: toy, None, tmp_path, quiet())
    stage = Evaluate(Toy(), (EvalTask("judged", Shopping(), Judged(), GREEDY_TASK.sampling),))
    _judge_is_up = False
    try:
        with pytest.raises(VerifierError, match=r"9 of 10 replies wait .*nobody listens at port 9"):
            stage.run(ctx)
    finally:
        _judge_is_up = True
    assert not (tmp_path / "scores.json").exists()
    stage.run(ctx)
    (row,) = read_json(tmp_path / "scores.json")["tasks"]
    assert (row["score"], row["n"], row["ungraded"]) == (1.0, 10, 0)
    assert read_json(tmp_path / "timings.json")["samples"] == 0, "no reply was asked for again"


def test_one_queue_equal_prompts_together_and_equal_questions_asked_once(toy: Path, tmp_path: Path):
    engine, answers = watched(toy)
    twin = EvalTask("twin", Shopping(), Length(), GREEDY_TASK.sampling)
    scores = evaluate(
        (GREEDY_TASK, twin, SAMPLED_TASK), answers, seed=0, label="", model="", data=None, out=tmp_path, console=quiet()
    )
    assert [r.sampling.max_tokens for r in engine.requests] == [24, 12] * 10
    prompts = [r.prompt_ids for r in engine.requests]
    assert prompts[::2] == prompts[1::2]
    assert scores["tasks"][0]["score"] == scores["tasks"][1]["score"]


def test_prompts_that_do_not_fit_are_refused_before_anything_runs(toy: Path):
    engine, answers = watched(toy)
    long = replace(GREEDY_TASK, sampling=Sampling(temperature=0.0, max_tokens=2040))
    items = [Item(GREEDY_TASK, p) for p in GREEDY_TASK.problems(None)] + [Item(long, p) for p in long.problems(None)]
    with pytest.raises(
        RecipeError,
        match=r"task greedy: problem \w{16} has a prompt of \d+ tokens and may get a reply of 2040, but the model's context is 2048; 10 of 20",
    ):
        answers.reply_to(items, 0, lambda item, given: None)
    assert not engine.requests


def test_a_model_s_replies_serve_later_evaluations(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Another limit, another verifier and a second sitting load no model where all replies are there."""
    asking = Asking(MACHINE, tmp_path)
    (scores,) = evaluate_models([str(toy)], [GREEDY_TASK], asking, quiet(), limit=4)
    assert (scores["tasks"][0]["n"], scores["label"], scores["engine"]) == (4, toy.name, "torch")
    screen = io.StringIO()
    (again,) = evaluate_models([str(toy)], [GREEDY_TASK], asking, Console(screen), limit=4)
    assert again == scores
    assert "has these scores already" in screen.getvalue()

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr(Policy, "load", refuse)
    (fewer,) = evaluate_models([str(toy)], [GREEDY_TASK], asking, quiet(), limit=3)
    assert fewer["tasks"][0]["n"] == 3
    graded_again = replace(GREEDY_TASK, verifier=Letters())
    (other,) = evaluate_models([str(toy)], [graded_again], asking, quiet(), limit=4)
    assert other["folder"] != scores["folder"]
    assert read_json(Path(other["folder"]) / "timings.json")["samples"] == 0
    with pytest.raises(AssertionError, match="is loaded"):
        evaluate_models([str(toy)], [GREEDY_TASK], asking, quiet(), limit=5)


def test_engines_agree_and_models_stand_side_by_side(toy: Path, tmp_path: Path):
    other = tmp_path / "second"
    make_toy(other, seed=3)
    found = evaluate_models([str(toy), str(other)], TASKS, Asking(MACHINE, tmp_path / "out"), quiet(), limit=4)
    assert [scores["label"] for scores in found] == [toy.name, "second"]
    table = side_by_side(found)
    assert table[0].split() == [toy.name, "second"]
    assert [line.split()[0] for line in table[1:]] == ["greedy", "sampled"]
    (slow,) = evaluate_models([str(toy)], TASKS, Asking(MACHINE, tmp_path / "out", "hf"), quiet(), limit=4)
    assert slow["tasks"] == found[0]["tasks"]


def test_wrong_flags_are_named(tmp_path: Path):
    for engine, models, hint in (
        ("troch", ["toy"], "Did you mean 'torch'"),
        ("replay", [], "Add --replies FILE.jsonl"),
        ("endpoint", [], "Add --url"),
        ("torch", [], "no model is named"),
        ("gold", ["a", "b"], "cannot be told apart"),
    ):
        with pytest.raises(RecipeError, match=hint):
            evaluate_models(models, [GREEDY_TASK], Asking(MACHINE, tmp_path, engine), quiet())
    with pytest.raises(RecipeError, match="--engine torch does not use --replies"):
        evaluate_models(["toy"], [GREEDY_TASK], Asking(MACHINE, tmp_path, replies=tmp_path / "r"), quiet())
    with pytest.raises(RecipeError, match="Did you mean 'left_truncate'"):
        evaluate_models(["toy"], [GREEDY_TASK], Asking(MACHINE, tmp_path, overlong="left_trunkate"), quiet())


def test_a_model_without_a_template_is_asked_in_tulus_format_and_says_so(toy: Path, tmp_path: Path):
    bare = tmp_path / "bare"
    shutil.copytree(toy / "model", bare)
    (bare / "chat_template.jinja").unlink(missing_ok=True)
    settings = read_json(bare / "tokenizer_config.json")
    settings.pop("chat_template", None)
    write_json(bare / "tokenizer_config.json", settings)
    plain = EvalTask("plain", Shopping(), Length(), GREEDY_TASK.sampling, chat=False)
    screen = io.StringIO()
    (scores,) = evaluate_models([str(bare)], [GREEDY_TASK, plain], Asking(MACHINE, tmp_path), Console(screen), limit=2)
    assert scores["notes"] == [
        "the model has no chat template; greedy asked in Tülu 3's chat format instead (<|user|>, <|assistant|>)"
    ]
    assert screen.getvalue().count("has no chat template") == 2  # before it runs, and under the scores
    (scores,) = evaluate_models([str(bare)], [plain], Asking(MACHINE, tmp_path), quiet(), limit=2)
    assert scores["notes"] == []


def test_results_of_another_version_are_refused(toy: Path, tmp_path: Path):
    (scores,) = evaluate_models([str(toy)], [GREEDY_TASK], Asking(MACHINE, tmp_path), quiet(), limit=1)
    folder = Path(scores["folder"])
    write_json(folder / "scores.json", {**read_json(folder / "scores.json"), "format": 1})
    with pytest.raises(ArtifactError, match=r"another version of burnish \(format 1, this one reads 2\)"):
        evaluate_models([str(toy)], [GREEDY_TASK], Asking(MACHINE, tmp_path), quiet(), limit=1)
