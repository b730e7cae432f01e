"""Equal beginnings computed once give the log-probs and the gradients of rows computed alone, whatever rows they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.mistral.modeling_mistral import MistralRMSNorm

from burnish.losses.batch import Sequences
from burnish.model import attention, sharing
from burnish.model.attention import Documents, packed_attention
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.model.sharing import computed_tokens, pack_rows
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine

torch.set_num_threads(1)

NEVER = 10**9
SIZES: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def _norms_in_their_own_type() -> Iterator[None]:
    """transformers computes norms in float32 whatever the model's type, which hides differences below 1e-7."""
    patch = pytest.MonkeyPatch()

    def forward(self: Any, x: Tensor) -> Tensor:
        scaled: Tensor = self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return scaled

    for norm in (LlamaRMSNorm, MistralRMSNorm):
        patch.setattr(norm, "forward", forward)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Policy]:
    """Grouped heads everywhere; "llama" by our own layers, "mistral" so with a window of 5, "layers" by transformers'."""
    renderer = Policy.load(make_toy(tmp_path_factory.mktemp("toy") / "model"), Machine()).renderer
    made = {}
    for name in ("llama", "mistral", "layers"):
        torch.manual_seed(0)
        model: Any = (
            MistralForCausalLM(MistralConfig(**SIZES, sliding_window=5))
            if name == "mistral"
            else LlamaForCausalLM(LlamaConfig(**SIZES))
        )
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3) if weight.ndim == 2 else torch.nn.init.uniform_(weight, 0.5, 1.5)
        model.set_attn_implementation(attention.register())
        made[name] = Policy(model, renderer, Machine()).to(torch.float64)
        if name == "layers":
            made[name]._fast = None
        assert made[name].packs
    return made


def trees() -> st.SearchStrategy[list[list[int]]]:
    """Rows that grow out of one another: few tokens, so that beginnings are often equal, one inside another, or whole rows."""
    ends = st.lists(st.integers(0, 3), max_size=9)
    grown = st.tuples(st.lists(st.integers(0, 3), max_size=12), st.lists(st.tuples(ends, ends), min_size=1, max_size=3))
    return st.lists(grown, min_size=1, max_size=3).map(
        lambda trunks: [[*trunk, *branch] for trunk, ends in trunks for pair in ends for branch in pair]
    )


def batch(rows: list[list[int]], draw: torch.Generator) -> Sequences:
    """The rows right-padded; which tokens count is drawn, never a row's first."""
    rows = [row or [0] for row in rows]
    longest = max(map(len, rows))
    tokens_BT = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        tokens_BT[i, : len(row)] = torch.tensor(row) + 5
    lengths_B = torch.tensor([len(row) for row in rows])
    inside_BT = torch.arange(longest) < lengths_B[:, None]
    mask_BT = (torch.rand(tokens_BT.shape, generator=draw) < 0.7) & inside_BT
    mask_BT[:, 0] = False
    return Sequences(tokens_BT, lengths_B, mask_BT)


def graded(policy: Policy, sequences: Sequences, upstream_BT: Tensor, least: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Log-probs and the gradients of their weighted sum."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "LEAST", least)
        found = policy.logprobs(sequences)
    weights = list(policy.model.parameters())
    if not found.requires_grad:
        return found, ()
    return found, torch.autograd.grad((found * upstream_BT).sum(), weights, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("kind", ["llama", "mistral", "layers"])
@given(rows=trees(), seed=st.integers(0, 99), least=st.sampled_from([1, 1, 6]))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_shared_equals_separate(
    policies: dict[str, Policy], kind: str, rows: list[list[int]], seed: int, least: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    sequences = batch(rows, draw)
    upstream_BT = torch.randn(sequences.mask_BT.shape, generator=draw, dtype=torch.float64)
    found, ours = graded(policies[kind], sequences, upstream_BT, least)
    expected, theirs = graded(policies[kind], sequences, upstream_BT, NEVER)
    assert (found - expected).abs().max() < 1e-10
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-10 * max(1.0, float(b.abs().max()))


@given(rows=trees(), seed=st.integers(0, 99), least=st.sampled_from([1, 4]))
@settings(max_examples=60, deadline=None)
def test_every_state_is_found_in_its_own_row(rows: list[list[int]], seed: int, least: int) -> None:
    """Walking from a wanted state to the row's start by parents and positions reads the row's own tokens."""
    sequences = batch(rows, torch.Generator().manual_seed(seed))
    at_BT = sequences.mask_BT.roll(-1, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "LEAST", least)
        packed = pack_rows(sequences.tokens_BT, at_BT)
    starts = torch.tensor(packed.lengths).cumsum(0) - torch.tensor(packed.lengths)
    for (row, column), place in zip(at_BT.nonzero().tolist(), packed.places_K.tolist(), strict=True):
        segment: int | None = int((starts <= place).nonzero()[-1])
        read: list[int] = []
        end = place + 1
        while segment is not None:
            start = int(starts[segment])
            read = packed.tokens_N[start:end].tolist() + read
            segment = packed.parents[segment]
            end = 0 if segment is None else int(starts[segment]) + packed.lengths[segment]
        assert read == sequences.tokens_BT[row, : column + 1].tolist()
        assert int(packed.positions_N[place]) == column
    # Nothing is computed that no row needs, and with sharing at every length nothing twice.
    wanted = {
        tuple(sequences.tokens_BT[row, : t + 1].tolist()) for row, last in enumerate(at_BT) for t in range(_end(last))
    }
    assert len(packed.tokens_N) >= len(wanted)
    assert least > 1 or len(packed.tokens_N) == len(wanted)


def _end(at_T: Tensor) -> int:
    return int((at_T * torch.arange(1, len(at_T) + 1)).max())


def test_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """7 8 9 | 1 2 and 7 8 9 | 3: three tokens once, then two and one: six in place of nine.

    The state before the first reply token is the same for both rows: packed token 2 is wanted twice.
    """
    monkeypatch.setattr(sharing, "LEAST", 3)
    tokens = torch.tensor([[7, 8, 9, 1, 2, 4], [7, 8, 9, 3, 4, 0]])
    at = torch.tensor([[False, False, True, True, True, False], [False, False, True, True, False, False]])
    packed = pack_rows(tokens, at)
    assert (packed.lengths, packed.parents) == ([3, 2, 1], [None, 0, 0])
    assert packed.tokens_N.tolist() == [7, 8, 9, 1, 2, 3]
    assert packed.positions_N.tolist() == [0, 1, 2, 3, 4, 3]
    assert packed.places_K.tolist() == [2, 3, 4, 2, 5]
    monkeypatch.setattr(sharing, "LEAST", 4)
    assert pack_rows(tokens, at).parents == [None, None]
    assert computed_tokens([[7, 8, 9, 1], [7, 8, 9, 3]]) == 8
    monkeypatch.setattr(sharing, "LEAST", 3)
    assert computed_tokens([[7, 8, 9, 1], [7, 8, 9, 3]]) == 5
    assert computed_tokens([[7, 8, 9], [7, 8, 9, 3], []]) == 4


@pytest.mark.parametrize("window", [None, 4])
def test_attention_reads_what_a_document_continues(window: int | None) -> None:
    """Documents 0 <- 1 <- 3, 0 <- 2 and 4 alone, against plain attention over each path."""
    lengths, parents, heads, shared, width = [6, 3, 9, 2, 5], [None, 0, 0, 1, None], 4, 2, 8
    paths = [[0], [0, 1], [0, 2], [0, 1, 3], [4]]
    draw = torch.Generator().manual_seed(3)
    q, k, v = (
        torch.randn(1, n, sum(lengths), width, generator=draw, dtype=torch.float64, requires_grad=True)
        for n in (heads, shared, shared)
    )
    upstream = torch.randn(1, sum(lengths), heads, width, generator=draw, dtype=torch.float64)
    starts = [sum(lengths[:i]) for i in range(5)]
    parts = []
    for path in paths:
        seen = torch.cat([torch.arange(starts[i], starts[i] + lengths[i]) for i in path])
        own = seen[-lengths[path[-1]] :]
        keys, values = (x[:, :, seen].repeat_interleave(heads // shared, 1) for x in (k, v))
        back = torch.arange(len(seen) - len(own), len(seen))[:, None] - torch.arange(len(seen))
        score = q[:, :, own] @ keys.transpose(2, 3) / width**0.5
        score = score.masked_fill((back < 0) | (back >= (window or NEVER)), -torch.inf)
        parts.append((score.softmax(-1) @ values).transpose(1, 2))
    expected = torch.cat(parts, 1)
    found = packed_attention(q, k, v, Documents.of(lengths, parents=parents), window=window)
    assert (found - expected).abs().max() < 1e-12
    pairs = (torch.autograd.grad((out * upstream).sum(), (q, k, v)) for out in (found, expected))
    for a, b in zip(*pairs, strict=True):
        assert (a - b).abs().max() < 1e-12


def test_a_document_cannot_continue_a_later_one() -> None:
    with pytest.raises(ValueError, match="must come before"):
        Documents.of([2, 3], parents=[1, None])


def test_reward_scores_share_prompts(policies: dict[str, Policy], monkeypatch: pytest.MonkeyPatch) -> None:
    model = RewardModel.start(policies["llama"], seed=1).to(torch.float64)
    sequences = batch([[1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 1, 2, 3, 1, 1], [1, 2]], torch.Generator().manual_seed(0))
    monkeypatch.setattr(sharing, "LEAST", NEVER)
    expected = model.scores(sequences)
    monkeypatch.setattr(sharing, "LEAST", 2)
    assert (model.scores(sequences) - expected).abs().max() < 1e-10
