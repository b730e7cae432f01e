"""A model behind an OpenAI-compatible endpoint under evaluation: what is sent, what is kept, what stays ungraded; and judges that are away."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from judge_server import Say, asked, completion, serving

from burnish.cli.main import main
from burnish.core.types import Check, Problem, Row, Verdict, user
from burnish.errors import RecipeError
from burnish.eval.models import Asking, evaluate_models
from burnish.eval.ranking import BestChoice
from burnish.eval.task import EvalTask
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.rollout.api_engine import Endpoint
from burnish.rollout.engine import Sampling
from burnish.verify.base import Examples
from burnish.verify.judge.ask import Answerer, Question


@dataclass(frozen=True, slots=True)
class Sums:
    """Four problems "i + i"."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "sums"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for i in range(4):
            yield Problem(user(f"{i} + {i}?"), Check("same", str(2 * i)))


@dataclass(frozen=True, slots=True)
class Begins:
    """Right when the reply begins with the target."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[Examples] = ()
    REJECTS: ClassVar[Examples] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(text.startswith(problem.check.target)), "begins")


@dataclass(frozen=True, slots=True)
class Asks:
    """A judge: right when its model says so."""

    judge: Answerer
    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[Examples] = ()
    REJECTS: ClassVar[Examples] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return self.grade_many([(problem, text)])[0]

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        answers = self.judge.answers([Question(user(text)) for _, text in items])
        return [Verdict(None if a.text is None else 1.0, a.why or "said so") for a in answers]


STOPS = ("END", "a", "b", "c", "d", "e")
TASK = EvalTask("sums", Sums(), Begins(), Sampling(temperature=0.0, max_tokens=9, stop=STOPS))


def total(body: dict[str, Any]) -> str:
    return f"{2 * int(asked(body)[0])} END of it"


def endpoint(url: str, **fields: Any) -> Endpoint:
    return Endpoint(url, "judge", retries=0, timeout_s=10, **fields)


def ask(url: str, tasks: Sequence[EvalTask], out: Path) -> dict[str, Any]:
    (scores,) = evaluate_models(
        (), tasks, Asking(exact(), out, "endpoint", endpoint=endpoint(url)), Console(io.StringIO())
    )
    return scores


def test_replies_are_cut_graded_and_kept(tmp_path: Path):
    with serving(total) as server:
        scores = ask(server.url, [TASK], tmp_path)
        row = scores["tasks"][0]
        assert (row["n"], row["score"], scores["label"]) == (4, 1.0, "judge")
        lines = [json.loads(text) for text in (Path(scores["folder"]) / "samples.jsonl").read_text().splitlines()]
        assert [line["response"] for line in lines] == ["0 ", "2 ", "4 ", "6 "]
        body = server.seen[0]
        assert (body["max_tokens"], body["temperature"], body["stop"]) == (9, 0.0, list(STOPS[:4]))
        assert "seed" not in body
        assert len(server.seen) == 4
        ask(server.url, [replace(TASK, name="again", limit=2)], tmp_path)  # other task, same requests
        assert len(server.seen) == 4


def test_samples_have_seeds_and_plain_tasks_go_to_completions(tmp_path: Path):
    drawn = replace(TASK, sampling=Sampling(temperature=0.8, top_p=0.95, max_tokens=9), samples=3)
    with serving(total) as server:
        assert ask(server.url, [drawn], tmp_path)["tasks"][0]["replies"] == 12
        assert len({body["seed"] for body in server.seen}) == 12
        assert {body["top_p"] for body in server.seen} == {0.95}
        ask(server.url, [replace(TASK, chat=False, prefill=" = ")], tmp_path)
        assert server.seen[-1]["prompt"].endswith("? = ")


def test_what_the_server_refuses_is_ungraded_and_asked_again(tmp_path: Path):
    with serving(total) as server:
        server.script = [Say(400, {"error": {"message": "prompt too long"}})]
        row = ask(server.url, [TASK], tmp_path)["tasks"][0]
        assert (row["n"], row["ungraded"], row["score"]) == (3, 1, 1.0)
        assert "prompt too long" in row["ungraded_why"]
        row = ask(server.url, [TASK], tmp_path)["tasks"][0]
        assert (row["n"], row["ungraded"], len(server.seen)) == (4, 0, 5)


def test_replies_at_the_limit_are_counted(tmp_path: Path):
    with serving(lambda body: completion("0 and on and on", "length")) as server:
        assert ask(server.url, [replace(TASK, sampling=Sampling(0.0))], tmp_path)["tasks"][0]["cut_share"] == 1.0


def test_what_an_endpoint_cannot_do_is_refused_before_anything_is_sent(tmp_path: Path):
    ranked = EvalTask("ranked", Sums(), BestChoice())
    with serving(total) as server:
        with pytest.raises(RecipeError, match="begins the reply with 'Answer:'"):
            ask(server.url, [replace(TASK, prefill="Answer:")], tmp_path)
        with pytest.raises(RecipeError, match="chat endpoints do not tell"):
            ask(server.url, [replace(ranked, source=Letters())], tmp_path)
        assert server.seen == []
        address = server.url
    with pytest.raises(RecipeError, match="cannot be reached"):
        ask(address, [TASK], tmp_path)


@dataclass(frozen=True, slots=True)
class Letters:
    """One question with choices."""

    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "letters"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        yield Problem(user("?"), Check("choice", '{"choices": ["A", "B"], "right": [0]}'))


def test_a_judge_that_is_away_leaves_replies_ungraded_until_it_is_back(tmp_path: Path):
    """The replies are asked once; with the judge back, only the verdicts are."""
    with serving(total) as model:
        with serving(lambda body: "yes") as server:
            port, url = server.server_port, server.url
        judged = replace(TASK, verifier=Asks(endpoint(url)))
        row = ask(model.url, [judged], tmp_path)["tasks"][0]
        assert (row["n"], row["ungraded"], row["score"]) == (0, 4, None)
        assert "cannot be reached" in row["ungraded_why"]
        assert len(model.seen) == 4
        with serving(lambda body: "yes", port) as server:
            back = replace(TASK, verifier=Asks(endpoint(url, patience_s=601)))  # a client that did not see it down
            row = ask(model.url, [back], tmp_path)["tasks"][0]
            assert (row["n"], row["score"], len(server.seen), len(model.seen)) == (4, 1.0, 4, 4)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with serving(lambda body: "the answer is 4") as server:
        words = ["eval", "--engine", "endpoint", "--url", server.url, "--model-name", "judge", "--tasks", "arithmetic"]
        assert main([*words, "--limit", "3", "--out", str(tmp_path), "--machine", "exact", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["label"], found["tasks"][0]["n"]) == ("judge", 3)
        assert main([*words[:5], "--tasks", "arithmetic"]) == 2
        assert "an endpoint needs its address and the name of its model" in capsys.readouterr().err
