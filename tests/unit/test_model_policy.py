"""Log-probabilities: the chunked head, packed attention, and the policy over both. Shapes as in burnish.model.policy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from burnish.losses.batch import Sequences
from burnish.model.attention import Documents, packed_attention, packing
from burnish.model.head import token_logprobs
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.text.render import Renderer

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model")


@pytest.fixture
def _norms_in_their_own_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers computes norms in float32 whatever the model's type, which hides differences below 1e-7."""

    def forward(self: LlamaRMSNorm, x: torch.Tensor) -> torch.Tensor:
        scaled: torch.Tensor = self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return scaled

    monkeypatch.setattr(LlamaRMSNorm, "forward", forward)


def rows(seed: int = 0, lengths: tuple[int, ...] = (40, 3, 17, 16, 25), top: int = 400) -> Sequences:
    draw = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    inside = torch.arange(longest) < torch.tensor(lengths)[:, None]
    tokens = torch.randint(0, top, (len(lengths), longest), generator=draw) * inside
    mask = (torch.rand(len(lengths), longest, generator=draw) < 0.5) & inside
    mask[:, 0] = False
    return Sequences(tokens, torch.tensor(lengths), mask)


def reference(policy: Policy, sequences: Sequences, temperature: float) -> torch.Tensor:
    """Each row alone, through the model's own head and a plain log-softmax."""
    out = torch.zeros(sequences.mask_BT.shape, dtype=policy.dtype)
    for b, length in enumerate(sequences.lengths_B.tolist()):
        tokens = sequences.tokens_BT[b, :length]
        logits = policy.model(input_ids=tokens[None], use_cache=False).logits[0, :-1] / temperature
        out[b, 1:length] = logits.log_softmax(-1).gather(1, tokens[1:, None])[:, 0]
    return out * sequences.mask_BT


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.3])
def test_head_is_log_softmax(dtype: torch.dtype, bound: float, temperature: float) -> None:
    draw = torch.Generator().manual_seed(1)
    hidden = torch.randn(23, 16, generator=draw, dtype=dtype, requires_grad=True)
    weight = torch.randn(50, 16, generator=draw, dtype=dtype, requires_grad=True)
    target = torch.randint(0, 50, (23,), generator=draw)
    upstream = torch.randn(23, generator=draw, dtype=dtype)

    plain = (hidden @ weight.T / temperature).log_softmax(-1).gather(1, target[:, None])[:, 0]
    expected = torch.autograd.grad((plain * upstream).sum(), (hidden, weight))
    # 23 positions in chunks of 7: the last chunk is short.
    ours = token_logprobs(hidden, weight, target, temperature=temperature, chunk=7)
    found = torch.autograd.grad((ours * upstream).sum(), (hidden, weight))

    assert ours.dtype == dtype
    assert (ours - plain).abs().max() < bound
    for a, b in zip(found, expected, strict=True):
        assert (a - b).abs().max() < bound * 20


def test_head_by_hand() -> None:
    """Logits (ln 1, ln 3) / 1: p = (1/4, 3/4); at temperature 1/2 the odds square: (1/10, 9/10)."""
    hidden, weight = torch.ones(1, 1).double(), torch.tensor([[0.0], [math.log(3)]], dtype=torch.float64)
    target = torch.tensor([1])
    assert token_logprobs(hidden, weight, target).item() == pytest.approx(math.log(3 / 4), abs=1e-15)
    assert token_logprobs(hidden, weight, target, temperature=0.5).item() == pytest.approx(math.log(9 / 10), abs=1e-15)


def test_head_in_bf16_never_exceeds_probability_one() -> None:
    draw = torch.Generator().manual_seed(2)
    hidden, weight = torch.randn(64, 32, generator=draw) * 6, torch.randn(100, 32, generator=draw)
    target = (hidden @ weight.T).argmax(-1)
    found = token_logprobs(hidden, weight, target, narrow_VD=weight.to(torch.bfloat16))
    assert found.dtype == torch.float32
    assert found.max() <= 0.0


def test_head_refuses_greedy_temperature() -> None:
    with pytest.raises(ValueError, match="above 0"):
        token_logprobs(torch.ones(1, 1), torch.ones(2, 1), torch.tensor([0]), temperature=0.0)


@pytest.mark.parametrize("window", [None, 4])
def test_packed_attention_is_attention_of_each_document(window: int | None) -> None:
    lengths, heads, shared, width = [5, 0, 9, 1, 8, 20], 4, 2, 8
    draw = torch.Generator().manual_seed(3)
    total = sum(lengths)
    q = torch.randn(1, heads, total, width, generator=draw, dtype=torch.float64, requires_grad=True)
    k = torch.randn(1, shared, total, width, generator=draw, dtype=torch.float64, requires_grad=True)
    v = torch.randn(1, shared, total, width, generator=draw, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(1, total, heads, width, generator=draw, dtype=torch.float64)

    parts, start = [], 0
    for length in lengths:
        span = slice(start, start + length)
        start += length
        if not length:
            continue
        keys, values = (x[:, :, span].repeat_interleave(heads // shared, 1) for x in (k, v))
        score = q[:, :, span] @ keys.transpose(2, 3) / width**0.5
        back = torch.arange(length)[:, None] - torch.arange(length)[None]
        seen = (back >= 0) & (back < (window or length))
        parts.append((score.masked_fill(~seen, -torch.inf).softmax(-1) @ values).transpose(1, 2))
    expected = torch.cat(parts, 1)
    found = packed_attention(q, k, v, Documents.of(lengths), window=window)

    assert (found - expected).abs().max() < 1e-12
    for a, b in zip(
        torch.autograd.grad((found * upstream).sum(), (q, k, v)),
        torch.autograd.grad((expected * upstream).sum(), (q, k, v)),
        strict=True,
    ):
        assert (a - b).abs().max() < 1e-12


def test_layout_wastes_little() -> None:
    lengths = [7, 300, 20, 290, 21, 250, 6]
    documents = Documents.of(lengths)
    assert sum(n * length for n, length in documents.queries.shapes) < sum(lengths) * 1.25


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.usefixtures("_norms_in_their_own_type")
def test_packed_equals_each_row_alone(folder: Path, dtype: torch.dtype, bound: float, temperature: float) -> None:
    policy = Policy.load(folder, Machine(), trainable=True).to(dtype)
    sequences = rows()
    sequences.mask_BT[2] = False
    assert policy.packs
    found = policy.logprobs(sequences, temperature)
    expected = reference(policy, sequences, temperature)
    assert (found - expected).abs().max() < bound
    assert not found[~sequences.mask_BT].any()

    weights = list(policy.model.parameters())
    for a, b in zip(
        torch.autograd.grad(found.sum(), weights), torch.autograd.grad(expected.sum(), weights), strict=True
    ):
        assert (a - b).abs().max() < bound * 1000


def test_documents_do_not_see_each_other(folder: Path) -> None:
    """Changing the first row leaves every bit of the others as it was."""
    policy = Policy.load(folder, Machine())
    first, second = rows(0), rows(0)
    second.tokens_BT[0] = (second.tokens_BT[0] + 1) % 400
    a, b = policy.logprobs(first), policy.logprobs(second)
    assert torch.equal(a[1:], b[1:])
    assert not torch.equal(a[0], b[0])


def test_a_mask_or_a_missing_layout_would_leak(folder: Path) -> None:
    """The trap: transformers' own attention over a packed row sees across documents once a 2-D mask is given."""
    policy = Policy.load(folder, Machine())
    tokens = torch.arange(3, 23)[None]
    positions = torch.cat([torch.arange(10), torch.arange(10)])[None]
    alone = policy.model(input_ids=tokens[:, 10:]).logits
    leaking = policy.model(input_ids=tokens, position_ids=positions, attention_mask=torch.ones_like(tokens)).logits
    assert (leaking[:, 10:] - alone).abs().max() > 1e-2
    with packing(), pytest.raises(ValueError, match="layout"):
        policy.model(input_ids=tokens, position_ids=positions)


def test_outside_packing_left_padding_is_respected(folder: Path) -> None:
    policy = Policy.load(folder, Machine())
    plain = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="sdpa")
    tokens = torch.tensor([[0, 0, 5, 6, 7], [8, 9, 10, 11, 12]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    ours = policy.model(input_ids=tokens, attention_mask=mask).logits
    assert torch.equal(ours, plain(input_ids=tokens, attention_mask=mask).logits)


def test_models_that_cannot_pack_are_padded(folder: Path) -> None:
    """GPT-2's head and attention differ; whatever way it takes, each row must come out as it would alone."""
    toy = Policy.load(folder, Machine())
    config = GPT2Config(vocab_size=422, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(0)
    policy = Policy(GPT2LMHeadModel(config), Renderer(toy.renderer.tokenizer), Machine())
    sequences = rows()
    assert (policy.logprobs(sequences) - reference(policy, sequences, 1.0)).abs().max() < 1e-5
    padded = policy._padded(sequences.tokens_BT, sequences.mask_BT, 1.0)
    assert (padded - reference(policy, sequences, 1.0)[sequences.mask_BT]).abs().max() < 1e-5


def test_bf16_compute_stays_near_and_keeps_float32_weights(folder: Path) -> None:
    exact = Policy.load(folder, Machine(), trainable=True)
    fast = Policy.load(folder, Machine(compute="bf16"), trainable=True)
    sequences = rows()
    a, b = exact.logprobs(sequences), fast.logprobs(sequences)
    assert fast.dtype == b.dtype == torch.float32
    assert 0 < (a - b).abs().max() < 0.1
    b.sum().backward()
    assert all(w.grad is not None and w.grad.dtype == torch.float32 for w in fast.model.parameters())
    assert Policy.load(folder, Machine(compute="bf16")).dtype == torch.bfloat16


def test_no_masked_token_gives_zeros_and_position_zero_is_refused(folder: Path) -> None:
    policy = Policy.load(folder, Machine())
    sequences = rows()
    sequences.mask_BT[:] = False
    assert not policy.logprobs(sequences).any()
    sequences.mask_BT[0, 0] = True
    with pytest.raises(ValueError, match="position 0"):
        policy.logprobs(sequences)


def test_saved_and_loaded_again_is_the_same(folder: Path, tmp_path: Path) -> None:
    """Tied embeddings survive: same logits, same checksum, readable by plain transformers."""
    policy = Policy.load(folder, Machine(), trainable=True)
    with torch.no_grad():
        policy.model.get_output_embeddings().weight.mul_(1.5)
    policy.save(tmp_path / "model")
    again = Policy.load(tmp_path / "model", Machine())
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokens = rows().tokens_BT
    assert torch.equal(policy.model(input_ids=tokens).logits, again.model(input_ids=tokens).logits)
    assert torch.equal(policy.model(input_ids=tokens).logits, plain(input_ids=tokens).logits)
    assert policy.checksum() == again.checksum() != Policy.load(folder, Machine()).checksum()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_dropout_is_off(folder: Path, tmp_path: Path) -> None:
    make_toy(tmp_path / "model")
    text = (tmp_path / "model" / "config.json").read_text()
    (tmp_path / "model" / "config.json").write_text(
        text.replace('"attention_dropout": 0.0', '"attention_dropout": 0.5')
    )
    policy = Policy.load(tmp_path / "model", Machine(), trainable=True)
    assert policy.model.config.attention_dropout == 0.5
    assert torch.equal(policy.logprobs(rows()), policy.logprobs(rows()))


@pytest.mark.usefixtures("_norms_in_their_own_type")
def test_head_matches_plain_cross_entropy(folder: Path) -> None:
    policy = Policy.load(folder, Machine()).to(torch.float64)
    tokens = rows(lengths=(12,)).tokens_BT
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[:, 0] = False
    ours = policy.logprobs(Sequences(tokens, torch.tensor([12]), mask)).sum()
    logits = policy.model(input_ids=tokens).logits
    assert ours.item() == pytest.approx(
        -functional.cross_entropy(logits[0, :-1], tokens[0, 1:], reduction="sum").item(), abs=1e-10
    )
