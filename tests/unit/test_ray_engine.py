"""Engines on a local Ray cluster of CPUs that listens on the loopback only."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from burnish.core.types import Completion, user
from burnish.errors import MissingExtra, ModelError
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Continuations, Request, Sampling
from burnish.rollout.engine_team import EngineTeam
from burnish.rollout.engines import make_engine
from burnish.rollout.ray_engine import RayEngine
from burnish.rollout.torch_engine import TorchEngine

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=4)
ON_RAY = replace(MACHINE, engine_place="ray(engines=2, threads=1)")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return Policy.load(make_toy(tmp_path_factory.mktemp("toy") / "model"), MACHINE, trainable=True)


@pytest.fixture(scope="module")
def lines() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module")
def team(policy: Policy, lines: io.StringIO) -> Iterator[EngineTeam]:
    ray = pytest.importorskip("ray")
    made = make_engine(policy, ON_RAY, Console(lines))
    assert isinstance(made, EngineTeam)
    yield made
    made.close()
    ray.shutdown()


def requests(policy: Policy, count: int = 10) -> list[Request]:
    prompts = [policy.renderer.prompt(user(text)) for text in ("How many apples?", "Write one sentence.", "a")]
    return [Request(prompts[i // 3 % 3], Sampling(max_tokens=3 + 7 * i), 100 + i) for i in range(count)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_engines_share_the_requests_and_lose_none(policy: Policy, team: EngineTeam, lines: io.StringIO) -> None:
    """The replies of an engine inside, bit by bit; also when a worker is killed in the middle, and with new weights."""
    asked = requests(policy)
    wanted = TorchEngine(policy, MACHINE).generate(asked)
    assert team.generate(asked) == wanted
    prompt = asked[0].prompt_ids
    scores = [Continuations(prompt, (prompt[:2], prompt[1:5])), Continuations(prompt[:3], (prompt[:1],))]
    assert team.score(scores) == TorchEngine(policy, MACHINE).score(scores)

    ended: list[int] = []

    def ending(index: int, completion: Completion) -> None:
        ended.append(index)
        if len(ended) == 1:
            first = team._members[0]
            assert isinstance(first, RayEngine)
            os.kill(first.process_id, signal.SIGKILL)

    assert team.generate(asked, ending) == wanted
    assert sorted(ended) == list(range(10))
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(1.5)
    team.load_weights(policy, "1")
    assert team.generate(asked) == TorchEngine(policy, MACHINE, version="1").generate(asked) != wanted
    assert "An engine on Ray is gone" in lines.getvalue()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_weights_that_changed_on_the_way_are_an_error(policy: Policy, team: EngineTeam) -> None:
    weights = team._weights
    team.load_weights(policy, "2")
    weights.checksum = "0" * 16  # type: ignore[misc]
    with pytest.raises(ModelError, match="have the checksum"):
        team.generate(requests(policy, 2))


def test_ray_that_is_not_installed_is_said(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'burnish\[ray\]'"):
        make_engine(policy, ON_RAY)
