"""Every family of layers of the fast forward pass on tiny random models: transformers' own forward pass is the oracle."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from burnish.core.types import Completion
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Continuations, Request, Sampling, Scored
from burnish.rollout.families import look, supports
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.torch_engine import TorchEngine

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=5)
BF16 = replace(MACHINE, compute="bf16")
YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 64}
ROPES = {"full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 3000.0}}
MIXED = ["sliding_attention", "full_attention"]
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "olmo2": ("Olmo2", {}),
    "olmo2-mha": ("Olmo2", {"num_key_value_heads": 4, "attention_bias": True}),
    "olmo3": ("Olmo3", {"layer_types": MIXED, "sliding_window": 9}),
    "olmo3-long": ("Olmo3", {"layer_types": MIXED, "sliding_window": 100, "rope_parameters": ROPES}),
    "gemma2": (
        "Gemma2",
        {"head_dim": 16, "layer_types": MIXED, "sliding_window": 9, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 2.0,
         "final_logit_softcapping": 3.0},
    ),
    "gemma2-uncapped": (
        "Gemma2",
        {"head_dim": 12, "layer_types": MIXED, "sliding_window": 70, "attn_logit_softcapping": None,
         "final_logit_softcapping": None, "query_pre_attn_scalar": 12},
    ),
    "gemma3": ("Gemma3Text", {"head_dim": 16, "layer_types": MIXED, "sliding_window": 9, "query_pre_attn_scalar": 24,
                              "rope_parameters": ROPES}),
    "qwen2-window": ("Qwen2", {"layer_types": MIXED, "sliding_window": 9, "use_sliding_window": True}),
    "mistral-window": ("Mistral", {"sliding_window": 70}),
}  # fmt: skip
PLAIN = ("olmo2", "olmo2-mha")


def model_of(case: str) -> Any:
    import transformers

    name, more = CASES[case]
    size = {
        "hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 333, "max_position_embeddings": 512, "initializer_range": 0.15,
        "tie_word_embeddings": name.startswith("Gemma"), "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
    }  # fmt: skip
    config = getattr(transformers, f"{name}Config")(**{**size, **more})
    torch.manual_seed(1)
    # Other attentions of transformers leave soft caps out.
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for weight in model.parameters():
            # Norms start at 1 (Gemma's at 0) and biases at 0, where leaving them out would not show.
            if weight.dim() == 1:
                weight.add_(torch.randn_like(weight) * 0.3)
    return model.eval()


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return Policy.load(make_toy(tmp_path_factory.mktemp("toy") / "model"), MACHINE).renderer


def prompt_of(length: int, start: int = 5) -> tuple[int, ...]:
    return tuple((start + i * 7) % 320 + 5 for i in range(length))


def requests() -> list[Request]:
    """Replies shorter and longer than the windows, prompts beyond a shelf of 64 positions, equal prompts, greedy and drawn."""
    sizes = ((3, 30), (3, 9), (80, 40), (20, 1), (6, 60), (80, 12))
    return [
        Request(prompt_of(n), Sampling(temperature=float(i % 2), max_tokens=m), i) for i, (n, m) in enumerate(sizes)
    ]


def questions() -> list[Continuations]:
    """Continuations that begin inside and outside the windows, behind a beginning that prompts share."""
    block = prompt_of(96)
    asked = [Continuations((*block, 5 + i, 9), (prompt_of(1), prompt_of(4, i), prompt_of(20, 3 * i))) for i in range(3)]
    return [*asked, Continuations(prompt_of(2), (prompt_of(30, 1), prompt_of(2)))]


def gap(left: list[Completion], right: list[Completion]) -> float:
    assert [c.token_ids for c in left] == [c.token_ids for c in right]
    return max(
        abs(a - b) for x, y in zip(left, right, strict=True) for a, b in zip(x.logprobs, y.logprobs, strict=True)
    )


def score_gap(left: list[Scored], right: list[Scored]) -> float:
    assert [s.greedy for s in left] == [s.greedy for s in right]
    rows = ((a, b) for x, y in zip(left, right, strict=True) for a, b in zip(x.logprobs, y.logprobs, strict=True))
    return max(abs(a - b) for one, two in rows for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@pytest.mark.parametrize("case", CASES)
def test_tokens_and_log_probs_are_transformers(case: str, dtype: torch.dtype, renderer: Any) -> None:
    """In float64 transformers still norms in float32, so its own rounding is what is left."""
    model = model_of(case).to(dtype)
    assert supports(model)
    assert look(model).plain is (case in PLAIN)
    policy = Policy(model, renderer, MACHINE)
    heard = io.StringIO()
    fast, slow = TorchEngine(policy, MACHINE, console=Console(heard)), HFEngine(policy, MACHINE)
    assert not heard.getvalue()
    assert gap(fast.generate(requests()), slow.generate(requests())) < 1e-5
    assert score_gap(fast.score(questions()), slow.score(questions())) < 1e-5


@pytest.mark.parametrize("case", ["olmo3", "gemma2", "gemma3"])
def test_neighbours_and_slots_change_no_bit(case: str, renderer: Any) -> None:
    policy = Policy(model_of(case), renderer, MACHINE)
    found = TorchEngine(policy, MACHINE).generate(requests())
    assert TorchEngine(policy, replace(MACHINE, slots=2)).generate(requests()) == found
    assert TorchEngine(policy, MACHINE).generate(requests()[::-1])[::-1] == found
    assert [TorchEngine(policy, MACHINE).generate([one])[0] for one in requests()] == found


@pytest.mark.parametrize("case", ["gemma2", "gemma3", "olmo3"])
def test_a_shared_trunk_is_seen_through_the_window(case: str, renderer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts that share 256 positions read them as one trunk while they are decoded; windowed layers see little of it."""
    policy = Policy(model_of(case), renderer, MACHINE)
    block = prompt_of(300)
    asked = [Request((*block, 5 + i), Sampling(max_tokens=20), i) for i in range(3)]
    alone = HFEngine(policy, MACHINE).generate(asked)
    for positions in (1, 1 << 40):
        monkeypatch.setattr("burnish.rollout.prompts.TRUNK_POSITIONS", positions)
        assert gap(TorchEngine(policy, MACHINE).generate(asked), alone) < 1e-5


@pytest.mark.parametrize("case", ["olmo2", "gemma2", "gemma3"])
def test_bf16_is_the_oracles_to_its_rounding(case: str, renderer: Any) -> None:
    """Log-probs of given tokens: products in bfloat16 round in other places, so the mean gap is bounded, not the largest."""
    policy = Policy(model_of(case), renderer, BF16)
    fast, slow = (
        [x for s in engine.score(questions()) for row in s.logprobs for x in row]
        for engine in (TorchEngine(policy, BF16), HFEngine(policy, BF16))
    )
    gaps = [abs(a - b) for a, b in zip(fast, slow, strict=True)]
    assert sum(gaps) / len(gaps) < 0.05
    assert any(gaps)


@pytest.mark.parametrize(
    ("case", "more"),
    [
        ("gemma3", {"use_bidirectional_attention": True}),
        ("olmo2", {"hidden_act": "relu"}),
        ("olmo2", {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}}),
    ],
)
def test_what_cannot_be_exact_is_left_to_transformers(case: str, more: dict[str, Any]) -> None:
    model = model_of(case)
    for name, value in more.items():
        setattr(model.config, name, value)
    if "rope_parameters" in more:
        model = type(model)(model.config)
    assert not supports(model)


def test_a_window_as_long_as_the_context_is_none() -> None:
    model = model_of("mistral-window")
    assert look(model).windows == (70, 70)
    model.config.sliding_window = model.config.max_position_embeddings
    assert look(model).plain


def test_new_weights_are_taken(renderer: Any, tmp_path: Path) -> None:
    """Gemma's norms are 1 + w: the engine's copies follow the module's."""
    model = model_of("gemma2")
    policy = Policy(model, renderer, MACHINE)
    engine = TorchEngine(policy, MACHINE)
    before = engine.generate(requests())
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    engine.load_weights(policy, "2")
    after = engine.generate(requests())
    assert gap(after, HFEngine(policy, MACHINE).generate(requests())) < 1e-5
    assert [c.token_ids for c in after] != [c.token_ids for c in before]
