"""One optimizer step equals the plainly written one, for every loss, however the step is cut, padded, packed and ordered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cases import CASES, Models, check_one_step, ragged
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Qwen2Config,
    Qwen3Config,
)

from burnish.losses.sft import SFTLoss
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW

SHAPE: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 8, "max_position_embeddings": 256, "initializer_range": 0.1,
}  # fmt: skip
# Tied and untied heads, biases, norms of queries and keys, sliding windows, norms after the layers, soft caps, learned
# positions, dropout.
FAMILIES: dict[str, Any] = {
    "llama": LlamaConfig(**SHAPE, tie_word_embeddings=False),
    "mistral": MistralConfig(**SHAPE, sliding_window=5),
    "qwen2": Qwen2Config(**SHAPE, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SHAPE),
    "olmo2": Olmo2Config(**{k: v for k, v in SHAPE.items() if k != "head_dim"}),
    "gpt2": GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, resid_pdrop=0.5, embd_pdrop=0.5, attn_pdrop=0.5,
                       initializer_range=0.1),
    "gemma2": Gemma2Config(**SHAPE, sliding_window=5, query_pre_attn_scalar=8, final_logit_softcapping=3.0,
                           attn_logit_softcapping=0.5),
}  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return Models(make_toy(tmp_path_factory.mktemp("toy") / "model", hidden_size=32, intermediate_size=64))


@st.composite
def steps(draw: st.DrawFn, pairs: bool) -> tuple[list[int], list[int], int, int, list[list[int]]]:
    """(lengths, silent rows, seed, padding columns, units of each micro-batch): at least one unit can be trained."""
    units = draw(st.integers(1, 5))
    rows = 2 * units if pairs else units
    lengths = draw(st.lists(st.integers(2, 24), min_size=rows, max_size=rows))
    quiet = draw(st.sets(st.integers(1, units - 1))) if units > 1 else set()
    silent = [unit + units * draw(st.integers(0, 1)) if pairs else unit for unit in sorted(quiet)]
    order = draw(st.permutations(range(units)))
    cuts = sorted(draw(st.sets(st.integers(1, units - 1)))) if units > 1 else []
    parts = [list(order[a:b]) for a, b in zip([0, *cuts], [*cuts, units], strict=True)]
    return lengths, silent, draw(st.integers(0, 999)), draw(st.integers(0, 3)), parts


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("dtype", "examples"), [(torch.float64, 10), (torch.float32, 4)], ids=["float64", "float32"])
def test_a_step_is_the_plain_step(toy: Models, name: str, dtype: torch.dtype, examples: int) -> None:
    case = CASES[name]

    @settings(max_examples=examples, deadline=None, derandomize=True)
    @given(drawn=steps(case.pairs))
    def check(drawn: tuple[list[int], list[int], int, int, list[list[int]]]) -> None:
        lengths, silent, seed, padding, parts = drawn
        data = ragged(case, lengths, silent, seed, toy.vocabulary, padding)
        check_one_step(toy, case, data, parts, dtype)

    check()


@pytest.mark.parametrize("loss", ["sft, mean over tokens", "dpo, length-normalised"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_is_the_plain_step_in_every_family(family: str, loss: str, tmp_path: Path) -> None:
    folder = make_toy(tmp_path / "model")
    config = FAMILIES[family]
    config.vocab_size = AutoModelForCausalLM.from_pretrained(folder).config.vocab_size
    config.pad_token_id, config.bos_token_id, config.eos_token_id = None, 1, 2
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    models, case = Models(folder), CASES[loss]
    data = ragged(case, (9, 17, 4, 12, 2, 20), (1,), 0, models.vocabulary, padding=2)
    for dtype in (torch.float64, torch.float32):
        for parts in ([[0, 1, 2]], [[2], [1, 0]]) if case.pairs else ([[0, 1, 2, 3, 4, 5]], [[3, 0], [5, 4, 1], [2]]):
            check_one_step(models, case, data, parts, dtype)


def test_tulu_3s_sum_is_the_mean_with_other_eps_and_clip_norm(toy: Models) -> None:
    """Steps of mean length L: "sum" with L times the eps and L times the clip norm takes the same steps as "mean".

    Rows of 9, 17 and 4 tokens have 21 trained ones in every step here, so L = 7. Not to 1e-10: torch clips by norm + 1e-6.
    """
    case, found = CASES["sft, mean over tokens"], []
    for loss, scale in ((SFTLoss("mean"), 1.0), (SFTLoss("sum"), 7.0)):
        start = toy.learner(case, torch.float64).policy
        learner = Learner(start, Machine(), AdamW(eps=1e-3 * scale), clip_norm=0.5 * scale)
        norms = []
        for seed in range(3):
            data = ragged(case, (9, 17, 4), (), seed, toy.vocabulary)
            data["mask"] = torch.zeros_like(data["mask"])
            for row, (first, last) in enumerate(((2, 9), (5, 17), (2, 4))):
                data["mask"][row, first:last] = True
            learner.forward_backward([case.batch(data)], loss)
            norms.append(learner.step(1e-2) / scale)
        found.append((norms, torch.cat([w.detach().flatten() for w in learner.policy.model.parameters()])))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-6)
    assert min(found[0][0]) > 0.5
    assert (found[0][1] - found[1][1]).abs().max() < 1e-7
