"""Our tasks in lm-evaluation-harness's form against the harness itself: the same prompts, and the same score of every item.

Without a model: prompts, continuations, settings, and the grades of scripted replies and log-probabilities, over many items. With
the bundled model, greedy in float32 on the processor: replies and log-probabilities too, over a few items a task.

Known differences, none counted as agreement: the harness's IFEval asks prompts 1122 and 1129, for '#' and '!', with a random letter
on each call. benchmarks/eval.py counts the agreement over more items (benchmarks/results/eval-*.json).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import random
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.core.types import Problem
from burnish.eval.models import Asking, evaluate_models
from burnish.eval.ranking import Ranked, Ranking
from burnish.model.bundled import bundled_model
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.verify.base import graded

pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("default")]
pytest.importorskip("lm_eval")
nltk = pytest.importorskip("nltk")
pytest.importorskip("datasets")

ITEMS = 60
RANDOM_LETTERS = {1122, 1129}


def _harness() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "harness.py"
    spec = importlib.util.spec_from_file_location("burnish_benchmarks_harness", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


harness = _harness()


@pytest.fixture(scope="module", autouse=True)
def _offline() -> Iterator[None]:
    """No network, NLTK's sentence model on this machine, and langdetect with a seed: unseeded, it changes its mind."""
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        pytest.skip("no punkt_tab: python -m nltk.downloader punkt_tab")
    import langdetect

    seed, langdetect.DetectorFactory.seed = langdetect.DetectorFactory.seed, 0
    yield
    langdetect.DetectorFactory.seed = seed


def scripted(request: str) -> random.Random:
    return random.Random(hashlib.sha256(request.encode()).hexdigest())


def logprob(context: str, choice: str) -> float:
    """Some number that differs from choice to choice: -0.5 to -60.5."""
    return -0.5 - 60 * scripted(context + choice).random()


REPLIES = (
    " He has {n} left.\n#### {gold}", " {gold} - 3 = {n}. The answer is {gold}.", " The answer is {n}. #### {n}", " So the answer is {gold}.",
    " the answer is {gold}", " {gold}", " $1,{gold}.50 or so, {n}...", " so the answer is {n}. No, the answer is {gold}.", "",
    " I do not know.", " The answer is {gold}\nThe answer is {n}.", "#### {gold},", "#### -{n}", " x = {gold}.00", " THE ANSWER IS {gold}.",
    "Dear Sir,\n\n* one\n* two\n\nP.S. It is {gold}. Yours, {n}", "<<title>>\n\n" + "word " * 120 + "{gold}", "{gold} no commas here at all",
)  # fmt: skip


def reply(prompt: str, gold: str) -> str:
    rng = scripted(prompt)
    return rng.choice(REPLIES).format(gold=gold, n=rng.randint(0, 99))


def gold_of(problem: Problem) -> str:
    target = problem.check.target
    return target if not target.startswith("[") else "ifeval"


class Scripted:
    """An LM of the harness that says what it is told, and shifts nothing."""

    def __new__(cls, golds: dict[str, str]) -> Any:
        from lm_eval.api.model import LM

        class Model(LM):
            def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
                return [(logprob(*request.args), False) for request in requests]

            def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
                raise NotImplementedError

            def generate_until(self, requests: list[Any]) -> list[str]:
                return [reply(request.args[0], golds[request.args[0]]) for request in requests]

        return Model()


@pytest.fixture(scope="module")
def answered(data_dir: Path) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """The harness's samples of scripted answers, by task file and filter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        golds = {
            problem.prompt[-1].content: gold_of(problem)
            for part in harness.PARTS
            for problem in harness.ours(part, ITEMS).problems(data_dir)
        }
        return harness.ask(Scripted(golds), harness.theirs(harness.PARTS, data_dir), ITEMS)


@pytest.mark.parametrize("part", harness.PARTS, ids=lambda part: part.name)
def test_prompts_and_settings_are_the_same(part: Any, answered: Any, data_dir: Path) -> None:
    task = harness.ours(part, ITEMS)
    for problem, theirs in zip(task.problems(data_dir), answered[part.theirs, part.filter], strict=True):
        assert theirs["arguments"][0][0] == problem.prompt[-1].content
        if isinstance(task.verifier, Ranking):
            assert tuple(choice for _, choice in theirs["arguments"]) == task.verifier.choices(problem)
        else:
            asked = theirs["arguments"][0][1]
            assert tuple(asked["until"]) == task.sampling.stop
            assert asked.get("max_gen_toks", 256) == task.sampling.max_tokens
            assert asked["do_sample"] is False


@pytest.mark.parametrize("part", harness.PARTS, ids=lambda part: part.name)
def test_scripted_answers_get_the_same_grades(part: Any, answered: Any, data_dir: Path) -> None:
    task = harness.ours(part, ITEMS)
    scores = []
    for problem, theirs in zip(task.problems(data_dir), answered[part.theirs, part.filter], strict=True):
        prompt = problem.prompt[-1].content
        if isinstance(task.verifier, Ranking):
            ranked = [Ranked(c, logprob(prompt, c), 1, False) for c in task.verifier.choices(problem)]
            mine = task.verifier.rank(problem, ranked).score
        elif problem.annotations.get("key") in RANDOM_LETTERS:
            continue
        else:
            text = reply(prompt, gold_of(problem))
            assert theirs["resps"] == [[text]]
            mine = graded(task.verifier, problem, text).score
        assert mine == pytest.approx(float(theirs[part.metric]), abs=1e-9), (problem.id, theirs["resps"])
        scores.append(mine)
    assert 0.0 < sum(scores) < len(scores)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a context that five examples of GSM8K fit into, letter by letter."""
    return make_toy(tmp_path_factory.mktemp("toy"), max_position_embeddings=16_384)


@pytest.fixture(scope="module")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundled_model(tmp_path_factory.mktemp("smol"), Console(io.StringIO()))


# Items a task, so that the whole takes some minutes: examples make the prompts of GSM8K and BIG-Bench Hard long.
ASKED = {"gsm8k": 4, "ifeval": 8, "bbh": 4, "truthfulqa": 6, "mmlu": 6}


@pytest.mark.parametrize("family", ASKED)
def test_a_toy_model_gets_the_same_scores(family: str, toy: Path, data_dir: Path, tmp_path: Path) -> None:
    same_scores(toy, family, 2, 24, data_dir, tmp_path)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", ASKED)
def test_the_bundled_model_gets_the_same_scores(family: str, smol: Path, data_dir: Path, tmp_path: Path) -> None:
    same_scores(smol, family, ASKED[family], 48, data_dir, tmp_path)


def same_scores(model: Path, family: str, items: int, tokens: int, data: Path, out: Path) -> None:
    parts = [part for part in harness.PARTS if part.ours.startswith(f"{family}_")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = harness.ask(harness.hf(model, "float32", 4), harness.theirs(parts, data, tokens), items)
    tasks = [harness.ours(part, items, tokens) for part in parts]
    asking = Asking(machine=exact(), out=out, data=data, jobs=1)
    (found,) = evaluate_models([str(model)], tasks, asking, Console(io.StringIO()))
    samples = [json.loads(line) for line in (Path(found["folder"]) / "samples.jsonl").read_text().splitlines()]
    for part in parts:
        compare(part, [row for row in samples if row["task"] == part.name], theirs[part.theirs, part.filter])


def compare(part: Any, mine: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> None:
    for ours, other in zip(mine, theirs, strict=True):
        where = (part.name, ours["id"])
        if ours.get("choices"):
            values = [value for ((value, _),) in other["resps"]]
            assert [each["logprob"] for each in ours["choices"]] == pytest.approx(values, abs=2e-3), where
        else:
            assert ours["response"] == other["resps"][0][0], where
        assert ours["score"] == pytest.approx(float(other[part.metric]), abs=1e-3), where
