"""What bitsandbytes does here: frozen layers in 4 bits, and AdamW with 8-bit moments."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from training_runs import EVERY_STEP, STAGES, context, demos, pairs, prepare

from burnish.errors import MissingExtra, RecipeError
from burnish.losses.batch import Sequences, TokenBatch
from burnish.losses.sft import SFTLoss
from burnish.model.lora import AdaptedLinear, adapters
from burnish.model.policy import Policy
from burnish.model.quantized import BLOCK, QuantizedLinear
from burnish.model.toy import make_toy
from burnish.model.trains import LoRA
from burnish.pipeline.machine import Machine
from burnish.train.learner import Learner
from burnish.train.optimizer import AdamW, AdamW8bit

torch.set_num_threads(1)
needs = pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the qlora extra")
EXACT = Machine()
# The 16 quantiles of a normal distribution that NF4 rounds to, as the paper prints them (arXiv:2305.14314, appendix E).
NF4 = torch.tensor([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
])  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model", attention_bias=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("runs")
    prepare(found, [*demos(), *pairs()])
    return found


def rows() -> Sequences:
    tokens = torch.randint(3, 400, (3, 12), generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([12, 7, 10])
    at = torch.arange(12)
    return Sequences(tokens, lengths, (at > 2) & (at < lengths[:, None]))


def quantized(folder: Path, machine: Machine = EXACT, *, dora: bool = False) -> Policy:
    policy = Policy.load(folder, machine, trainable=True, trains=LoRA(4, quantize="nf4", dora=dora), seed=1)
    with torch.no_grad():
        for module in adapters(policy.model).values():
            module.lora_B.normal_(std=0.1, generator=torch.Generator().manual_seed(0))
    return policy


@needs
def test_four_bits_are_the_papers(folder: Path) -> None:
    """Each weight is its block's largest magnitude times one of 16 quantiles, the nearest; the magnitudes are rounded too.

    Weights of a block share a scale c: unpacked / c lies on the quantiles. c is quantized in 8 bits (§3, double
    quantization), so it is near the block's largest magnitude and not equal to it.
    """
    base = torch.nn.Linear(128, 96, bias=False)
    layer = QuantizedLinear(base, "cpu")
    assert layer.packed.nbytes == 128 * 96 // 2
    blocks, stored = base.weight.detach().reshape(-1, BLOCK), layer.weight.reshape(-1, BLOCK)
    largest = blocks.abs().amax(1, keepdim=True)
    scale = stored.abs().amax(1, keepdim=True)
    assert ((scale - largest).abs() / largest).max() < 0.05
    shares = stored / scale
    distance = (shares[..., None] - NF4).abs()
    assert distance.amin(-1).max() < 1e-4
    nearest = (blocks / largest)[..., None].sub(NF4).abs().argmin(-1)
    assert (distance.argmin(-1) == nearest).float().mean() > 0.999


@needs
def test_products_are_those_of_the_unpacked_weight() -> None:
    base = torch.nn.Linear(64, 32)
    layer = QuantizedLinear(base, "cpu")
    plain = torch.nn.Linear(64, 32)
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
        plain.bias.copy_(base.bias)
    x = torch.randn(3, 5, 64)
    for compute in (torch.float32, torch.bfloat16):
        a, b = (x.clone().requires_grad_() for _ in range(2))
        with torch.autocast("cpu", dtype=compute, enabled=compute != torch.float32):
            first, second = layer(a), plain(b)
        assert first.dtype == second.dtype
        assert (first - second).abs().max() <= 1e-5 if compute == torch.float32 else 0.05
        first.sum().backward()
        second.sum().backward()
        assert a.grad is not None
        assert b.grad is not None
        assert (a.grad - b.grad).abs().max() < (1e-5 if compute == torch.float32 else 0.05)


@needs
@pytest.mark.parametrize("dora", [False, True])
def test_a_quantized_policy_is_its_merged_model(folder: Path, tmp_path: Path, dora: bool) -> None:
    """Log-probs, and the gradients of the adapters, are those of plain adapters beside the unpacked weights."""
    policy = quantized(folder, dora=dora)
    assert policy.packs
    policy.save(tmp_path / "model")
    merged = Policy.load(tmp_path / "model", EXACT)
    assert (merged.logprobs(rows()) - policy.logprobs(rows())).abs().max() < 1e-4
    assert merged.checksum() == policy.checksum()
    plain = Policy.load(folder, EXACT, trainable=True, trains=LoRA(4, dora=dora), seed=1)
    start = Policy.load(folder, EXACT).checksum()
    with torch.no_grad():
        for name, module in adapters(plain.model).items():
            other = adapters(policy.model)[name]
            module.base.weight.copy_(other.weight)
            module.lora_B.copy_(other.lora_B)
            if module.lora_magnitude is not None and other.lora_magnitude is not None:
                module.lora_magnitude.copy_(other.lora_magnitude)
    for some in (policy, plain):
        some.logprobs(rows()).sum().backward()  # type: ignore[no-untyped-call]
    for name, module in adapters(plain.model).items():
        for part in ("lora_A", "lora_B"):
            a, b = getattr(module, part).grad, getattr(adapters(policy.model)[name], part).grad
            assert (a - b).abs().max() < 1e-3 * max(1.0, float(a.abs().max())), name
    assert start != policy.checksum()


@needs
def test_quantized_weights_take_an_eighth(folder: Path) -> None:
    policy = quantized(folder)
    layer = adapters(policy.model)["model.layers.0.mlp.up_proj"].base
    assert isinstance(layer, QuantizedLinear)
    assert layer.packed.nbytes * 8 == 4 * layer.in_features * layer.out_features
    held = [name for name, _ in policy.model.named_parameters() if name.endswith("proj.base.weight")]
    assert held == []
    some = Policy.load(folder, EXACT, trainable=True, trains=LoRA(2, targets=("q_proj",), quantize="nf4"))
    kinds = [type(some.model.model.layers[0].self_attn.get_submodule(n)) for n in ("q_proj", "k_proj")]
    assert kinds == [AdaptedLinear, QuantizedLinear]
    assert type(some.model.lm_head) is torch.nn.Linear


@needs
def test_a_cast_leaves_the_scales_alone(folder: Path) -> None:
    policy = quantized(folder)
    before = policy.logprobs(rows())
    assert (policy.to(torch.float64).logprobs(rows()) - before).abs().max() < 1e-4


class PowerCut(BaseException):
    """Not an Error: nothing in the code expects it."""


@needs
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sft", {"optimizer": AdamW8bit(smallest=1)}),
        ("dpo", {"trains": LoRA(4, quantize="nf4"), "optimizer": AdamW8bit()}),
    ],
)
def test_a_power_cut_changes_nothing(
    name: str, changes: dict[str, Any], root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage: Any = dataclasses.replace(STAGES[name], **changes)
    straight, cut = (context(root, f"{tmp_path.name}-{part}", EVERY_STEP) for part in ("straight", "cut"))
    stage.run(straight)
    step = Learner.step
    for after in (2, 3):
        left = iter(range(after))

        def stops(self: Learner, lr: float, left: Any = left) -> float:
            if next(left, None) is None:
                raise PowerCut
            return step(self, lr)

        with monkeypatch.context() as patch:
            patch.setattr(Learner, "step", stops)
            with pytest.raises(PowerCut):
                stage.run(cut)
    stage.run(cut)
    a, b = (load_file(ctx.out / "model" / "model.safetensors") for ctx in (straight, cut))
    assert all(torch.equal(weight, b[key]) for key, weight in a.items())
    records = [json.loads(line) for line in (cut.out / "metrics.jsonl").read_text().splitlines()]
    assert records[-1]["loss"] < records[0]["loss"] / 2
    if name == "dpo":
        assert records[0]["margin"] == pytest.approx(0, abs=1e-4)  # the reference is the quantized start


@needs
def test_eight_bit_moments_stay_near_adamw(folder: Path, tmp_path: Path) -> None:
    """2 bytes of moments a weight, and steps in the direction of AdamW's."""
    learners = {}
    for optimizer in (AdamW(), AdamW8bit(smallest=1)):
        policy = Policy.load(folder, EXACT, trainable=True)
        learner = learners[type(optimizer).__name__] = Learner(policy, EXACT, optimizer)
        for _ in range(5):
            learner.forward_backward([TokenBatch(rows())], SFTLoss())
            learner.step(1e-3)
        learner.save(tmp_path / type(optimizer).__name__)
    start = dict(Policy.load(folder, EXACT).model.named_parameters())
    moves = [
        torch.cat([(w - start[n]).flatten() for n, w in found.policy.model.named_parameters()])
        for found in learners.values()
    ]
    assert torch.cosine_similarity(moves[0], moves[1], 0) > 0.95
    sizes = [(tmp_path / name / "optimizer.safetensors").stat().st_size for name in ("AdamW", "AdamW8bit")]
    assert sizes[1] < 0.3 * sizes[0]


def test_without_the_library_the_error_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtra, match=r"quantize='nf4'.*bitsandbytes[\s\S]*burnish\[qlora\]"):
        Policy.load(folder, EXACT, trainable=True, trains=LoRA(4, quantize="nf4"))
    from burnish.train.optimizer import _eight_bit_class

    _eight_bit_class.cache_clear()
    with pytest.raises(MissingExtra, match=r"AdamW8bit.*bitsandbytes"):
        AdamW8bit().make({"w": torch.nn.Parameter(torch.zeros(2, 2))}, frozenset())
    with pytest.raises(RecipeError, match=r"AdamW8bit\(weight_decay=-1"):
        AdamW8bit(weight_decay=-1.0)
