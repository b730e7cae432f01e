"""A judge of paraphrases behind an endpoint, asked over real HTTP: verdicts, replies that say nothing, and failures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from judge_server import JudgeServer, Say, asked, serving

from burnish.cli.judges import KEY, SameQuestion, judge_of
from burnish.errors import DataError, ModelError, RecipeError
from burnish.model.toy import make_toy
from burnish.rollout.api_engine import Endpoint


def same_words(body: dict[str, Any]) -> str:
    """SAME where both texts hold the same words, and nonsense for "odd"."""
    item, row = asked(body).split("Text A:\n")[1].split("\n\nReply")[0].split("\n\nText B:\n")
    return "perhaps" if "odd" in row else "SAME" if set(item.split()) == set(row.split()) else "DIFFERENT"


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving(same_words) as running:
        running.models = ["m"]
        yield running


def test_verdicts_of_an_endpoint(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-1")
    judge = judge_of(server.url, "m", "laptop")
    assert judge.judge([("a b", "b a"), ("a b", "a c"), ("a", "odd")]) == [True, False, None]
    assert judge.name == f"endpoint {server.url} m"
    assert set(server.keys) == {"Bearer sk-1"}


def test_an_endpoint_that_fails_is_an_error_and_no_verdict(server: JudgeServer) -> None:
    server.script = [Say(503, {})]
    with pytest.raises(DataError, match="go on"):
        SameQuestion(Endpoint(server.url, "m", retries=0)).judge([("a", "down")])


def test_an_endpoint_needs_a_model(server: JudgeServer) -> None:
    with pytest.raises(RecipeError, match="--judge-model"):
        judge_of(server.url, "", "laptop")
    with pytest.raises(RecipeError, match="Known: m"):
        judge_of(server.url, "other", "laptop")


def test_a_folder_judges_and_a_pair_too_long_for_it_is_ungraded(tmp_path: Path) -> None:
    folder = make_toy(tmp_path / "toy", max_position_embeddings=600)
    judge = judge_of(str(folder), "", "exact")
    assert judge.name.startswith("folder ")
    assert judge.judge([("a b", "b a"), ("a " * 2000, "b")])[1] is None
    with pytest.raises(ModelError, match="no model"):
        judge_of(str(tmp_path), "", "exact")
