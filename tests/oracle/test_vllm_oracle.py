"""vLLM in its own environment (`make vllm-env`) against our engine: the same tokens, log-probs, ends; weights that are current."""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from burnish.core.types import Finish, user
from burnish.errors import ModelError, RecipeError
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Continuations, Request, Sampling
from burnish.rollout.engines import make_engine
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.shared_weights import SharedWeights
from burnish.rollout.vllm_engine import KEY, WORKER, VLLMEngine, find_python

torch.set_num_threads(1)
pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.timeout(900)]
MACHINE = replace(exact(), slots=8, engine="vllm")
WIDE = {"hidden_size": 128}  # heads of 32 numbers: vLLM's attention on CPUs has none of 16
TEXTS = ("How many apples?", "Write one sentence about the book that she gives away in total.", "a")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return Policy.load(make_toy(tmp_path_factory.mktemp("toy") / "model", **WIDE), MACHINE)


@pytest.fixture(scope="module")
def python() -> str:
    """The Python that has vLLM; without one nothing here can be compared."""
    try:
        return find_python("")
    except RecipeError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def engine(policy: Policy, python: str) -> Iterator[VLLMEngine]:
    made = VLLMEngine(policy, MACHINE)
    yield made
    made.close()


def requests(policy: Policy, sampling: Sampling) -> list[Request]:
    prompts = [policy.renderer.prompt(user(text)) for text in TEXTS]
    return [Request(prompts[i // 2 % 3], replace(sampling, max_tokens=3 + 5 * i), 100 + i) for i in range(6)]


def test_greedy_replies_are_the_oracles(policy: Policy, engine: VLLMEngine) -> None:
    asked = requests(policy, Sampling(temperature=0.0))
    ended: list[int] = []
    found = engine.generate(asked, lambda index, completion: ended.append(index))
    slow = HFEngine(policy, MACHINE).generate(asked)
    assert sorted(ended) == list(range(6))
    assert [(c.token_ids, c.finish, c.text) for c in found] == [(c.token_ids, c.finish, c.text) for c in slow]
    gaps = [abs(a - b) for x, y in zip(found, slow, strict=True) for a, b in zip(x.logprobs, y.logprobs, strict=True)]
    assert max(gaps) < 1e-3


def test_sampled_log_probs_are_those_of_the_distribution(policy: Policy, engine: VLLMEngine) -> None:
    """Temperature and nucleus cut included: what vLLM says of its tokens, a full forward pass says too."""
    for sampling in (Sampling(temperature=0.7, max_tokens=30), Sampling(temperature=1.3, top_p=0.8, top_k=50)):
        found = engine.generate(requests(policy, sampling))
        assert found == engine.generate(requests(policy, sampling)), "a seed gives a reply"
        for request, completion in zip(requests(policy, sampling), found, strict=True):
            ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
            with torch.no_grad():
                logits_TV = policy.model(ids).logits[0, len(request.prompt_ids) - 1 : -1] / sampling.temperature
            if sampling.top_p == 1.0:
                logp_T = logits_TV.log_softmax(-1).gather(1, ids[0, len(request.prompt_ids) :, None])[:, 0]
                assert logp_T.tolist() == pytest.approx(completion.logprobs, abs=1e-3)
            else:
                assert all(value <= 0 for value in completion.logprobs)


def test_every_setting_is_the_oracles(policy: Policy, engine: VLLMEngine) -> None:
    """Greedy replies with penalty (over prompt and reply), biases, ends of one's own, least lengths and forced beginnings."""
    free = engine.generate(requests(policy, Sampling(temperature=0.0)))
    end = free[-1].token_ids[4]
    for setting in (
        Sampling(temperature=0.0, repetition_penalty=1.5),
        Sampling(temperature=0.0, repetition_penalty=0.8, logit_bias=((70, 3.0), (90, -100.0))),
        Sampling(temperature=0.0, stop_ids=(end,)),
        Sampling(temperature=0.0, stop_ids=(end,), logit_bias=((end, 100.0),), min_tokens=2),
    ):
        asked = [replace(r, forced=tuple(range(60, 60 + i % 3))) for i, r in enumerate(requests(policy, setting))]
        found, slow = engine.generate(asked), HFEngine(policy, MACHINE).generate(asked)
        assert [(c.token_ids, c.finish, c.text) for c in found] == [(c.token_ids, c.finish, c.text) for c in slow]
        assert [c.mask for c in found] == [c.mask for c in slow]
        for one, two in zip(found, slow, strict=True):
            assert one.logprobs == pytest.approx(two.logprobs, abs=1e-3)


def test_min_p_leaves_what_ours_leaves(policy: Policy, engine: VLLMEngine) -> None:
    """Every token's log-prob is that of the distribution cut where transformers cuts it, so the same tokens are left."""
    sampling = Sampling(temperature=1.5, min_p=0.3)
    for request, completion in zip(
        requests(policy, sampling), engine.generate(requests(policy, sampling)), strict=True
    ):
        ids = torch.tensor([[*request.prompt_ids, *completion.token_ids]])
        with torch.no_grad():
            logp_TV = (policy.model(ids).logits[0, len(request.prompt_ids) - 1 : -1] / 1.5).log_softmax(-1)
        logp_TV[logp_TV < logp_TV.amax(1, keepdim=True) + torch.tensor(0.3).log()] = -torch.inf
        own_T = logp_TV.log_softmax(-1).gather(1, ids[0, len(request.prompt_ids) :, None])[:, 0]
        assert own_T.tolist() == pytest.approx(completion.logprobs, abs=1e-3)


def test_stop_strings_cut_the_text(policy: Policy, engine: VLLMEngine) -> None:
    free = engine.generate(requests(policy, Sampling(temperature=0.0)))
    text = max((c.text for c in free), key=len)
    stop = text[len(text) // 2 : len(text) // 2 + 2]
    asked = requests(policy, Sampling(temperature=0.0, stop=(stop,)))
    found, slow = engine.generate(asked), HFEngine(policy, MACHINE).generate(asked)
    assert [(c.token_ids, c.text, c.finish) for c in found] == [(c.token_ids, c.text, c.finish) for c in slow]
    assert any(c.finish is Finish.STOP for c in found)


def test_scores_are_the_oracles(policy: Policy, engine: VLLMEngine) -> None:
    prompts = [policy.renderer.prompt(user(text)) for text in TEXTS]
    asked = [Continuations(p, (p[:1], p[2:5], p[1:2])) for p in prompts]
    for one, two in zip(engine.score(asked), HFEngine(policy, MACHINE).score(asked), strict=True):
        assert one.greedy == two.greedy
        for a, b in zip(one.logprobs, two.logprobs, strict=True):
            assert a == pytest.approx(b, abs=1e-3)


def test_new_weights_are_taken_in_place_and_checked(policy: Policy, engine: VLLMEngine, tmp_path: Path) -> None:
    """vLLM's own reload leaves the packed output layer of a tied embedding as it was; here the replies are the new model's."""
    other = Policy.load(make_toy(tmp_path / "other", seed=7, **WIDE), MACHINE)
    asked = requests(policy, Sampling(temperature=0.0))
    before = engine.generate(asked)
    process = engine.process_id
    engine.load_weights(other, "2")
    after = engine.generate(asked)
    slow = HFEngine(other, MACHINE, version="2").generate(asked)
    assert [c.token_ids for c in after] == [c.token_ids for c in slow] != [c.token_ids for c in before]
    assert {c.policy_version for c in after} == {"2"}
    engine.load_weights(policy, "3")
    assert [c.token_ids for c in engine.generate(asked)] == [c.token_ids for c in before]
    assert engine.process_id == process


def test_a_vllm_that_dies_is_started_again(policy: Policy, engine: VLLMEngine) -> None:
    asked = requests(policy, Sampling(temperature=0.0))
    before = engine.generate(asked)
    assert engine.process_id is not None
    os.kill(engine.process_id, signal.SIGKILL)
    assert [c.token_ids for c in engine.generate(asked)] == [c.token_ids for c in before]


def test_a_worker_behind_an_address(
    policy: Policy, python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights go through the connection; another learner finds vLLM loaded; a wrong secret and an empty port are said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ModelError, match=f"nobody answers at {address}"):
        VLLMEngine(policy, MACHINE, address=address).generate(requests(policy, Sampling(max_tokens=2)))
    worker = subprocess.Popen(
        [python, str(WORKER), "--listen", address], env={**os.environ, KEY: "secret", "VLLM_CPU_KVCACHE_SPACE": "1"},
        stderr=subprocess.PIPE, text=True, cwd=tmp_path,
    )  # fmt: skip
    try:
        assert worker.stderr is not None
        while "listening" not in worker.stderr.readline():
            pass
        threading.Thread(target=worker.stderr.read, daemon=True).start()
        asked = requests(policy, Sampling(temperature=0.0))
        with pytest.raises(ModelError, match="secret"):
            VLLMEngine(policy, MACHINE, address=address).generate(asked)
        monkeypatch.setenv(KEY, "secret")
        other = Policy.load(make_toy(tmp_path / "other", seed=7, **WIDE), MACHINE)
        for number, held in enumerate((policy, other)):
            machine = replace(MACHINE, engine_place=f"servers(at='{address}')")
            engine = make_engine(held, machine)
            assert isinstance(engine, VLLMEngine)
            for model in (held, other):
                engine.load_weights(model, f"{number}")
                found = engine.generate(asked)
                slow = HFEngine(model, MACHINE).generate(asked)
                assert [c.token_ids for c in found] == [c.token_ids for c in slow]
            engine.close()
    finally:
        worker.kill()
        worker.wait()
        if worker.stderr is not None:
            worker.stderr.close()


def test_weights_that_are_not_the_policys_are_refused(policy: Policy, engine: VLLMEngine, tmp_path: Path) -> None:
    """The worker is told the sums of one model and finds another in the memory: it must not serve."""
    other = Policy.load(make_toy(tmp_path / "other", seed=7, **WIDE), MACHINE)
    sums = SharedWeights(other, "2").sums
    weights, serving = engine._weights, engine._link._ready()
    with pytest.raises(ModelError, match=r"that arrived and .* in the policy"):
        list(serving.ask(op="weights", sums=sums, columns={}, **weights.described))


@pytest.mark.real
def test_bf16_stays_near_the_learner(engine: VLLMEngine, tmp_path: Path) -> None:
    from burnish.model.bundled import bundled_model

    machine = replace(MACHINE, compute="bf16")
    policy = Policy.load(bundled_model(tmp_path, Console(quiet=True)), machine)
    engine = VLLMEngine(policy, machine)
    prompt = policy.renderer.prompt(user("What is the capital of France?"))
    (found,) = engine.generate([Request(prompt, Sampling(max_tokens=40), 5)])
    engine.close()
    ids = torch.tensor([[*prompt, *found.token_ids]])
    with torch.no_grad():
        logp_TV = policy.model.float()(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    gaps = (logp_TV.gather(1, ids[0, len(prompt) :, None])[:, 0] - torch.tensor(found.logprobs)).abs().tolist()
    assert statistics.mean(gaps) < 0.03
