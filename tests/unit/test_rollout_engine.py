"""The engine on real tiny models: agreement with the oracle and the learner, independence of neighbours, stopping."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.core.types import Completion, Finish, user
from burnish.errors import RecipeError
from burnish.losses.batch import Sequences
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine, exact
from burnish.pipeline.progress import Console
from burnish.rollout.cache import Cache, Running, Shape, width_for
from burnish.rollout.engine import Request, Sampling
from burnish.rollout.engines import make_engine
from burnish.rollout.families import supports
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.torch_engine import TorchEngine

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=5)
BF16 = replace(MACHINE, compute="bf16")
TEXTS = ("How many apples?", "Write one sentence about the book that she gives away in total.", "a")


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return Policy.load(make_toy(tmp_path_factory.mktemp("toy") / "model"), MACHINE)


def requests(policy: Policy, sampling: Sampling, count: int) -> list[Request]:
    """Prompts of three lengths, groups of equal prompts, replies of many lengths."""
    prompts = [policy.renderer.prompt(user(text)) for text in TEXTS]
    return [
        Request(prompts[i // 2 % 3], replace(sampling, max_tokens=1 + i * 37 % sampling.max_tokens), 100 + i)
        for i in range(count)
    ]


def gap(left: list[Completion], right: list[Completion]) -> float:
    assert [c.token_ids for c in left] == [c.token_ids for c in right]
    return max(
        abs(a - b) for x, y in zip(left, right, strict=True) for a, b in zip(x.logprobs, y.logprobs, strict=True)
    )


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.0, max_tokens=90),
        Sampling(temperature=0.8, max_tokens=90),
        Sampling(top_k=20, top_p=0.7, max_tokens=30),
    ],
)
def test_equals_the_oracle(policy: Policy, sampling: Sampling) -> None:
    asked = requests(policy, sampling, 8)
    found = TorchEngine(policy, MACHINE).generate(asked)
    slow = HFEngine(policy, MACHINE).generate(asked)
    assert gap(found, slow) < 1e-4
    assert [(c.text, c.finish) for c in found] == [(c.text, c.finish) for c in slow]


@pytest.mark.parametrize("machine", [MACHINE, BF16], ids=["fp32", "bf16"])
def test_neighbours_slots_and_order_change_no_bit(policy: Policy, machine: Machine) -> None:
    """Replies outgrow a shelf (64 positions) beside others of other lengths; rows move when a neighbour ends."""
    asked = requests(policy, Sampling(max_tokens=120), 16)
    found = TorchEngine(policy, machine).generate(asked)
    assert max(len(c.token_ids) for c in found) > 100
    for slots in (1, 3, 16):
        assert TorchEngine(policy, replace(machine, slots=slots)).generate(asked) == found
    assert TorchEngine(policy, machine).generate(asked[::-1])[::-1] == found
    assert TorchEngine(policy, machine).generate(asked[3:4]) == found[3:4]


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_logprobs_equal_the_learners(policy: Policy, temperature: float) -> None:
    asked = requests(policy, Sampling(temperature=temperature, max_tokens=60), 6)
    for request, reply in zip(asked, TorchEngine(policy, MACHINE).generate(asked), strict=True):
        row = torch.tensor([[*request.prompt_ids, *reply.token_ids]])
        mask = torch.zeros_like(row, dtype=torch.bool)
        mask[:, len(request.prompt_ids) :] = True
        logp = policy.logprobs(Sequences(row, torch.tensor([row.shape[1]]), mask), temperature)
        assert torch.allclose(logp[mask], torch.tensor(reply.logprobs), atol=1e-4)


def _model(name: str, **more: Any) -> Any:
    import transformers

    size = {
        "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 333, "max_position_embeddings": 256, "initializer_range": 0.1,
        "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    }  # fmt: skip
    config = getattr(transformers, f"{name}Config")(**{**size, **more})
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            # Biases and norms start at 0 and 1, where leaving them out would not show.
            if weight.dim() == 1:
                weight.add_(torch.randn_like(weight) * 0.3)
            assert torch.isfinite(weight).all(), key
    return model


YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "more", "fused"),
    [
        ("Llama", {"attention_bias": True, "mlp_bias": True}, True),
        ("Llama", {"rope_parameters": YARN}, True),
        ("Llama", {"rope_parameters": LLAMA3, "num_key_value_heads": 1}, True),
        ("Mistral", {"sliding_window": None, "head_dim": 16}, True),
        ("Qwen2", {"tie_word_embeddings": True}, True),
        ("Qwen3", {"head_dim": 24}, True),
        ("Mistral", {"sliding_window": 8}, True),
        ("GPT2", {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 256}, False),
    ],
    ids=["llama-bias", "llama-yarn", "llama3-mqa", "mistral", "qwen2", "qwen3", "mistral-window", "gpt2"],
)
def test_families_equal_the_oracle(policy: Policy, name: str, more: dict[str, Any], fused: bool) -> None:
    """Architectures with what makes each different; those outside the family go the generic way and say so once."""
    model = _model(name, **more)
    assert supports(model) is fused
    other = Policy(model, policy.renderer, MACHINE)
    heard = io.StringIO()
    asked = [Request(tuple(range(5, 5 + n)), Sampling(max_tokens=m), n) for n, m in ((3, 40), (3, 7), (70, 30), (3, 1))]
    engine = TorchEngine(other, MACHINE, console=Console(heard))
    found = engine.generate(asked)
    assert gap(found, HFEngine(other, MACHINE).generate(asked)) < 1e-4
    assert engine.generate(asked) == found
    assert heard.getvalue().count(type(model).__name__) == (0 if fused else 1)


def test_load_weights_takes_the_learners_weights(tmp_path: Path) -> None:
    learner = Policy.load(make_toy(tmp_path / "model"), MACHINE, trainable=True)
    asked = requests(learner, Sampling(temperature=0.0, max_tokens=20), 4)
    engine = TorchEngine(learner, MACHINE)
    before = engine.generate(asked)
    with torch.no_grad():
        for weight in learner.model.parameters():
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)) * 0.05)
    assert engine.generate(asked) == before
    engine.load_weights(learner, "7")
    after = engine.generate(asked)
    assert engine.policy_version == "7"
    assert {c.policy_version for c in after} == {"7"}
    assert gap(after, HFEngine(learner, MACHINE).generate(asked)) < 1e-4
    assert [c.token_ids for c in after] != [c.token_ids for c in before]


def test_finishes_in_any_order_and_streams_all_text(policy: Policy) -> None:
    asked = requests(policy, Sampling(max_tokens=50), 9)
    ended: dict[int, Completion] = {}
    streamed: dict[int, list[str]] = {i: [] for i in range(9)}
    engine = TorchEngine(policy, MACHINE)
    found = engine.generate(asked, ended.__setitem__, lambda i, piece: streamed[i].append(piece))
    assert [ended[i] for i in range(9)] == found
    assert list(ended) != sorted(ended)
    assert ["".join(streamed[i]) for i in range(9)] == [c.text for c in found]
    assert max(map(len, streamed.values())) > 10
    assert engine.generate([]) == []


def test_end_of_turn_stops_and_is_kept(policy: Policy) -> None:
    """With every logit but the end token's held down, the first token ends the reply: text empty, finish STOP."""
    stop = min(policy.renderer.stop_ids)
    prompt = policy.renderer.prompt(user("a"))
    long = [Request(prompt, Sampling(temperature=1.5, max_tokens=300), seed) for seed in range(12)]
    found = TorchEngine(policy, MACHINE).generate(long)
    stopped = [c for c in found if c.finish is Finish.STOP]
    assert stopped
    for reply in found:
        inside = [token in policy.renderer.stop_ids for token in reply.token_ids]
        assert inside == [False] * (len(inside) - 1) + [reply.finish is Finish.STOP]
        assert len(reply.token_ids) == len(reply.logprobs)
        assert (len(reply.token_ids) == 300) or reply.finish is Finish.STOP
        assert policy.renderer.decode([stop]) == ""
        assert reply.text == policy.renderer.decode(reply.token_ids)


def test_stop_strings_cut_the_text_and_keep_the_tokens(policy: Policy) -> None:
    """The text ends before the first of the stop strings; the tokens are the free reply's up to the one completing it."""
    prompt = policy.renderer.prompt(user("a"))
    free = TorchEngine(policy, MACHINE).generate([Request(prompt, Sampling(max_tokens=80), 5)])[0]
    stops = (free.text[40:43], free.text[30:33])
    cut = TorchEngine(policy, MACHINE).generate([Request(prompt, Sampling(max_tokens=80, stop=stops), 5)])[0]
    first = min(free.text.find(stop) for stop in stops)
    assert cut.finish is Finish.STOP
    assert cut.text == free.text[:first]
    assert cut.token_ids == free.token_ids[: len(cut.token_ids)]
    assert any(stop in policy.renderer.decode(cut.token_ids) for stop in stops)
    assert not any(stop in policy.renderer.decode(cut.token_ids[:-1]) for stop in stops)


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (Sampling(max_tokens=5000), r"max_tokens=5,000 need 5,0\d\d positions, but the model's context is 2,048"),
        (Sampling(temperature=-1.0), "temperature=-1.0"),
        (Sampling(temperature=float("nan")), "temperature=nan"),
        (Sampling(temperature=1e-9), "temperature=1e-09"),
        (Sampling(top_p=0.0), "top_p=0.0"),
        (Sampling(top_k=-1), "top_k=-1"),
        (Sampling(max_tokens=0), "max_tokens=0"),
        (Sampling(stop=("",)), "empty string"),
    ],
)
@pytest.mark.parametrize("engine", [TorchEngine, HFEngine])
def test_impossible_requests_are_refused(
    policy: Policy, sampling: Sampling, said: str, engine: Callable[[Policy, Machine], Any]
) -> None:
    with pytest.raises(RecipeError, match=said):
        engine(policy, MACHINE).generate([Request(policy.renderer.prompt(user("a")), sampling, 0)])
    with pytest.raises(RecipeError, match="no tokens"):
        engine(policy, MACHINE).generate([Request((), Sampling(), 0)])


def test_make_engine(policy: Policy) -> None:
    assert isinstance(make_engine(policy, MACHINE), TorchEngine)
    assert isinstance(make_engine(policy, replace(MACHINE, engine="hf")), HFEngine)
    with pytest.raises(RecipeError, match="Did you mean 'torch'"):
        make_engine(policy, replace(MACHINE, engine="torhc"))  # type: ignore[arg-type]


def test_width_by_hand() -> None:
    """Multiples of 64 up to 512, of 128 up to 1,024, of 256 up to 2,048: at most a fifth is unused beyond 256."""
    cases = {1: 64, 64: 64, 65: 128, 129: 192, 500: 512, 513: 640, 1025: 1280, 2049: 2560}
    assert {n: width_for(n) for n in cases} == cases


def test_cache_rows_keep_their_numbers_when_they_move() -> None:
    """Three rows on one shelf; the first leaves, the last takes its place; then one outgrows the shelf."""
    cache = Cache(Shape(2, 1, 4, torch.float32, torch.device("cpu")), slots=5)
    rows = [Running(i, 60 + i, last=0) for i in range(3)]
    content = [torch.randn(2, 2, 1, r.length, 4) for r in rows]
    for row, kv in zip(rows, content, strict=True):
        cache.add(row, [kv])
    cache.remove(rows[0])
    assert cache.order == [rows[2], rows[1]]
    rows[1].length = 64
    content[1] = torch.cat([content[1], torch.zeros(2, 2, 1, 3, 4)], 3)
    cache.grow(rows[1])
    cache.grow(rows[2])
    assert [(r.index, r.shelf.width) for r in cache.order if r.shelf] == [(2, 64), (1, 128)]
    for row in rows[1:]:
        assert row.shelf is not None
        assert torch.equal(torch.cat(row.shelf.read(row.row, row.length), 3), content[row.index])
    assert cache.size == 2
