"""vLLM in its own environment (`make vllm-env`) against our engine: the same tokens, log-probs, ends; weights that are current."""

from __future__ import annotations

import statistics
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
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.vllm_engine import VLLMEngine, find_python

torch.set_num_threads(1)
pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.timeout(900)]
MACHINE = replace(exact(), slots=8, engine="vllm")
WIDE = {"hidden_size": 128}  # heads of 32 numbers: vLLM's attention on CPUs has none of 16
TEXTS = ("How many apples?", "Write one sentence about the book that she gives away in total.", "a")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return Policy.load(make_toy(tmp_path_factory.mktemp("toy") / "model", **WIDE), MACHINE)


@pytest.fixture(scope="module")
def engine(policy: Policy) -> Iterator[VLLMEngine]:
    try:
        find_python("")
    except RecipeError as error:
        pytest.skip(str(error))
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


def test_new_weights_are_used_and_checked(policy: Policy, engine: VLLMEngine, tmp_path: Path) -> None:
    other = Policy.load(make_toy(tmp_path / "other", seed=7, **WIDE), MACHINE)
    asked = requests(policy, Sampling(temperature=0.0))
    before = engine.generate(asked)
    engine.load_weights(other, "2")
    after = engine.generate(asked)
    slow = HFEngine(other, MACHINE, version="2").generate(asked)
    assert [c.token_ids for c in after] == [c.token_ids for c in slow] != [c.token_ids for c in before]
    assert {c.policy_version for c in after} == {"2"}
    engine.load_weights(policy, "3")
    assert [c.token_ids for c in engine.generate(asked)] == [c.token_ids for c in before]


def test_weights_that_are_not_the_policys_are_refused(policy: Policy, engine: VLLMEngine, tmp_path: Path) -> None:
    """The worker is told the sums of one model and given another: it must not serve."""
    other = Policy.load(make_toy(tmp_path / "other", seed=7, **WIDE), MACHINE)
    stale = VLLMEngine(policy, MACHINE)
    worker = stale._started()
    _, sums = worker.saved(policy)
    folder, _ = worker.saved(other)
    with pytest.raises(ModelError, match=r"in vLLM and .* in the policy"):
        list(worker.ask(op="weights", folder=folder, sums=sums))
    stale.close()


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
