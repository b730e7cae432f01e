"""Engines in processes of their own: the same bits, new weights, death, and machines that cannot have them."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.core.types import Completion, user
from burnish.errors import ModelError, RecipeError
from burnish.model.lora import plain_weights
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.model.trains import LoRA
from burnish.pipeline.machine import exact, machine
from burnish.pipeline.place import EnginePlace
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Continuations, Request, Sampling
from burnish.rollout.engine_process import EngineProcess, Told
from burnish.rollout.engine_team import EngineTeam, dealt
from burnish.rollout.engines import make_engine
from burnish.rollout.serving import Died, started
from burnish.rollout.shared_weights import SharedWeights, mapped
from burnish.rollout.torch_engine import TorchEngine
from burnish.text.template import TULU

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=4)
APART = replace(MACHINE, engine_place="process")
TEXTS = ("How many apples?", "Write one sentence about the book that she gives away in total.", "a")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def policy(folder: Path) -> Policy:
    return Policy.load(folder, MACHINE, trainable=True)


@pytest.fixture(scope="module")
def lines() -> io.StringIO:
    return io.StringIO()


@pytest.fixture(scope="module", params=["process", pytest.param("process(engines=2)", marks=pytest.mark.slow)])
def engine(request: pytest.FixtureRequest, folder: Path, lines: io.StringIO) -> Iterator[EngineProcess | EngineTeam]:
    """One process, or two, for the whole file: starting one takes seconds."""
    apart = replace(MACHINE, engine_place=request.param)
    made = make_engine(Policy.load(folder, MACHINE, trainable=True), apart, Console(lines))
    assert isinstance(made, EngineTeam if "2" in request.param else EngineProcess)
    yield made
    made.close()


def processes(engine: EngineProcess | EngineTeam) -> list[EngineProcess]:
    members = engine._members if isinstance(engine, EngineTeam) else [engine]
    return [member for member in members if isinstance(member, EngineProcess)]


def requests(policy: Policy, sampling: Sampling, count: int = 8) -> list[Request]:
    prompts = [policy.renderer.prompt(user(text)) for text in TEXTS]
    return [Request(prompts[i // 3 % 3], replace(sampling, max_tokens=3 + 7 * i), 100 + i) for i in range(count)]


def inside(policy: Policy, asked: list[Request], version: str) -> list[Completion]:
    return TorchEngine(policy, MACHINE, version=version).generate(asked)


def moved(policy: Policy, seed: int) -> Policy:
    """Every weight somewhere else."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=generator))
    return policy


def test_replies_scores_and_texts_are_those_of_an_engine_inside(
    policy: Policy, engine: EngineProcess | EngineTeam
) -> None:
    """Bit by bit: tokens, log-probs, texts, ends; callbacks once each, in this thread's own order of arrival."""
    engine.load_weights(policy, "0")
    asked = requests(policy, Sampling(temperature=0.9, stop=("zz",)))
    ended: dict[int, Completion] = {}
    pieces: dict[int, str] = {}
    found = engine.generate(asked, ended.__setitem__, lambda i, piece: pieces.__setitem__(i, pieces.get(i, "") + piece))
    assert found == inside(policy, asked, "0")
    assert [ended[i] for i in range(len(asked))] == found
    assert [pieces.get(i, "") for i in range(len(asked))] == [completion.text for completion in found]
    prompts = [policy.renderer.prompt(user(text)) for text in TEXTS]
    wanted = [Continuations(prompt, (prompt[:2], prompt[1:5])) for prompt in prompts]
    assert engine.score(wanted) == TorchEngine(policy, MACHINE).score(wanted)
    assert engine.generate([]) == []
    assert engine.score([]) == []


def test_new_weights_are_taken_and_named(policy: Policy, engine: EngineProcess | EngineTeam) -> None:
    asked = requests(policy, Sampling())
    before = inside(policy, asked, "1")
    engine.load_weights(moved(policy, 1), "1")
    after = engine.generate(asked)
    assert after == inside(policy, asked, "1") != before
    assert {completion.policy_version for completion in after} == {engine.policy_version} == {"1"}
    # The same weights under another name: what is replied carries the new one.
    engine.load_weights(policy, "2")
    assert {completion.policy_version for completion in engine.generate(asked)} == {"2"}


def test_adapters_arrive_merged(folder: Path, engine: EngineProcess | EngineTeam) -> None:
    adapted = Policy.load(folder, MACHINE, trainable=True, trains=LoRA(rank=4))
    moved(adapted, 2)
    engine.load_weights(adapted, "lora")
    asked = requests(adapted, Sampling())
    assert engine.generate(asked) == inside(adapted, asked, "lora")


def test_a_killed_process_is_started_again_and_asked_again(
    policy: Policy, engine: EngineProcess | EngineTeam, lines: io.StringIO
) -> None:
    """Killed in the middle of a call, the seeds give the same replies; no reply is told twice."""
    engine.load_weights(policy, "3")
    asked = requests(policy, Sampling(), 10)
    ended: list[int] = []

    def ending(index: int, completion: Completion) -> None:
        ended.append(index)
        if len(ended) == 1:
            for each in processes(engine):
                assert each.process_id is not None
                os.kill(each.process_id, signal.SIGKILL)

    assert engine.generate(asked, ending) == inside(policy, asked, "3")
    assert sorted(ended) == list(range(10))
    assert "ended with -9" in lines.getvalue()
    assert "started again with the same weights" in lines.getvalue()


@pytest.mark.slow
def test_a_wrong_checksum_is_an_error(policy: Policy, engine: EngineProcess | EngineTeam) -> None:
    """Memory that is not what the learner wrote is found before anything is sampled from it."""
    engine.load_weights(policy, "4")
    engine = processes(engine)[0]
    weights = engine._weights
    weights.version = "5"
    next(iter(weights._views.values())).add_(1.0)
    with pytest.raises(ModelError, match=r"weights '5' have the checksum \w+, the learner's"):
        engine.generate(requests(policy, Sampling(), 1))


@pytest.mark.slow
def test_an_interrupted_call_leaves_no_answers_behind(policy: Policy, engine: EngineProcess | EngineTeam) -> None:
    engine.load_weights(policy, "6")
    asked = requests(policy, Sampling())

    def ending(index: int, completion: Completion) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.generate(asked, ending)
    assert engine.generate(asked[:2]) == inside(policy, asked[:2], "6")


class Stuck:
    """A member of a team that replies to nothing until it is closed."""

    def __init__(self) -> None:
        self.asked, self.closed = 0, threading.Event()

    def take(self) -> None: ...

    def generate(self, requests: Any, on_finish: Any = None, on_text: Any = None) -> list[Completion]:
        self.asked += 1
        assert self.closed.wait(20)
        self.closed.clear()
        raise Died("It was closed here.")

    def score(self, requests: Any, on_scored: Any = None) -> list[Any]:
        return []

    def close(self) -> None:
        self.closed.set()


def test_a_team_that_is_closed_while_it_samples_does_not_begin_again(policy: Policy) -> None:
    """As on Ctrl-C, when the learner's thread closes engines that another thread samples with: that call ends at once."""
    members = [Stuck(), Stuck()]
    team = EngineTeam(members, SharedWeights(policy, "0"))
    with ThreadPoolExecutor(1) as pool:
        sampling = pool.submit(team.generate, requests(policy, Sampling()))
        while not all(member.asked for member in members):
            time.sleep(0.01)
        team.close()
        with pytest.raises(Died):
            sampling.result(20)
    assert [member.asked for member in members] == [1, 1]


def test_a_request_that_does_not_fit_is_refused_here(policy: Policy) -> None:
    """Before any process is started."""
    engine = EngineProcess(policy, APART)
    with pytest.raises(RecipeError, match="the model's context is 2,048"):
        engine.generate([Request((1, 2), Sampling(max_tokens=5000), 0)])
    assert engine.process_id is None


@pytest.mark.slow
def test_chat_formats_of_their_own_end_replies(folder: Path) -> None:
    """The tokens that end turns come from the learner's renderer, not from what the process reads from disk."""
    other = Policy.load(folder, MACHINE, chat_format=TULU)
    engine = EngineProcess(other, APART)
    asked = requests(other, Sampling(temperature=1.5), 4)
    assert engine.generate(asked) == inside(other, asked, "0")
    engine.close()


def test_a_program_that_dies_twice_says_its_last_words() -> None:
    command = [sys.executable, "-c", "import sys; sys.exit('out of paper')"]
    with pytest.raises(Died, match=r"ended with 1\. Its last words:\nout of paper"):
        started("The printer", command, environment=dict(os.environ)).ready({})


def test_shared_memory_is_seen_by_whoever_maps_it(policy: Policy) -> None:
    weights = SharedWeights(policy, "0")
    there = mapped(weights.described)
    assert {n: w.shape for n, w in there.items()} == {n: w.shape for n, w in plain_weights(policy.model)}
    weights.write(moved(policy, 3), "1")
    assert all(torch.equal(there[name], weight) for name, weight in plain_weights(policy.model))
    assert (weights.version, weights.checksum) == ("1", policy.checksum())
    weights.close()


def test_text_of_a_reply_asked_for_again_is_told_once() -> None:
    """ "ab" was told before the engine died; of "abc" said again in other pieces only "c" is new."""
    heard: list[tuple[int, str]] = []
    told = Told(lambda index, piece: heard.append((index, piece)))
    told.begin()
    told.tell(0, "a")
    told.tell(0, "b")
    told.begin()
    told.tell(0, "abc")
    told.tell(1, "x")
    assert heard == [(0, "a"), (0, "b"), (0, "c"), (1, "x")]


def test_requests_are_dealt_by_prompt() -> None:
    """Three groups of 4, 2 and 2 over two engines: 4 and 4, no group torn. Fewer groups than engines: torn."""
    a, b, c = (1,), (2,), (3,)
    assert dealt([a] * 4 + [b] * 2 + [c] * 2, 2) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert dealt([a] * 3, 2) == [[0, 2], [1]]
    assert dealt([a], 3) == [[0], [], []]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("proces", "Did you mean 'process'"),
        ("process(engines=0)", "whole number from 1"),
        ("inside(engines=2)", "more than one only"),
        ("process(threads=-1)", "threads is 0"),
        ("process(device='gpu')", "device is 'cpu'"),
        ("process(engnes=2)", "Did you mean 'engines'"),
        ("servers(at='10.0.0.2:8100')", "only vLLM"),
    ],
)
def test_places_that_cannot_be_are_refused(place: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        replace(MACHINE, engine_place=place)


def test_places_of_vllm() -> None:
    with pytest.raises(RecipeError, match="process of its own anyway"):
        replace(MACHINE, engine="vllm", engine_place="process")
    with pytest.raises(RecipeError, match="it names no server"):
        replace(MACHINE, engine="vllm", engine_place="servers(at='10.0.0.2')")
    found = replace(MACHINE, engine="vllm", engine_place="servers(at='10.0.0.2:8100 h:1')")
    assert found.elsewhere
    assert found.place == EnginePlace("servers", at="10.0.0.2:8100 h:1")


def test_a_place_on_the_command_line() -> None:
    found = machine("exact(engine_place=\"process(engines=2, threads=3, device='cuda:1')\")")
    assert found.place == EnginePlace("process", engines=2, threads=3, device="cuda:1")
    there = found.place.machine(found)
    assert (there.threads, there.device, there.engine_place) == (3, "cuda", "inside")


def test_engines_get_one_device_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    place = EnginePlace("process", engines=2, device="cuda:1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [place.environment(MACHINE, number)["CUDA_VISIBLE_DEVICES"] for number in (0, 1)] == ["1", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    assert [place.environment(MACHINE, number)["CUDA_VISIBLE_DEVICES"] for number in (0, 1)] == ["5", "6"]
    assert "CUDA_VISIBLE_DEVICES" not in EnginePlace("process").environment(MACHINE)
