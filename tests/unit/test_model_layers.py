"""What a Machine asks of layers changes no number: recomputation and offloading bit for bit, compilation to rounding."""

from __future__ import annotations

import copy
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from burnish.errors import MissingExtra, ModelError
from burnish.losses.batch import Sequences
from burnish.model.layers import arrange, waiting
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine

LENGTHS = (40, 7, 25, 1, 90)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model")


def rows(lengths: tuple[int, ...] = LENGTHS, seed: int = 0) -> Sequences:
    g = torch.Generator().manual_seed(seed)
    tokens = torch.randint(3, 300, (len(lengths), max(lengths)), generator=g)
    inside = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    mask = inside & (torch.rand(tokens.shape, generator=g) < 0.7)
    mask[:, 0] = False
    return Sequences(tokens * inside, torch.tensor(lengths), mask)


def gradients(folder: Path, machine: Machine, way: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Log-probs and every gradient of one backward pass."""
    policy = load(folder, machine, way).to(dtype)
    logp_BT = policy.logprobs(rows())
    (logp_BT * torch.linspace(0.5, 1.5, logp_BT.shape[1], dtype=logp_BT.dtype)).sum().backward()  # type: ignore[no-untyped-call]
    found = {name: weight.grad for name, weight in policy.model.named_parameters()}
    assert all(grad is not None for grad in found.values())
    return {"logprobs": logp_BT.detach(), **found}


class Other(torch.nn.Linear):
    """A linear layer that the fast path does not know."""


def load(folder: Path, machine: Machine, way: str) -> Policy:
    policy = Policy.load(folder, machine, trainable=True)
    if way == "transformers":
        # One layer of a class of its own sends the model through transformers' forward pass.
        policy.model.base_model.layers[0].mlp.up_proj.__class__ = Other
        policy = Policy(policy.model, policy.renderer, machine)
        assert policy.packs
    return policy


@pytest.mark.parametrize("way", ["fast", "transformers"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("recompute", "offload"), [("attention", "none"), ("layers", "none"), ("layers", "activations"), ("layers", "both")]
)
def test_recomputation_and_offloading_change_no_bit(
    folder: Path, way: str, dtype: torch.dtype, recompute: Any, offload: Any
) -> None:
    plain = gradients(folder, Machine(), way, dtype)
    found = gradients(folder, Machine(recompute=recompute, offload=offload), way, dtype)
    assert list(found) == list(plain)
    for name, value in found.items():
        assert torch.equal(value, plain[name]), name


def kept_bytes(folder: Path, machine: Machine, way: str) -> int:
    """Bytes that a forward pass keeps for its backward pass, each memory once, weights and their copies aside."""
    policy = load(folder, machine, way)
    sizes: dict[int, int] = {}
    weights = {weight.untyped_storage().data_ptr() for weight in policy.model.parameters()}
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        if x.untyped_storage().data_ptr() not in weights:
            kept.append(x)
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        policy.states(rows((400, 300)), torch.ones(2, 400, dtype=torch.bool)).sum()
    return sum(sizes.values())


@pytest.mark.parametrize("way", ["fast", "transformers"])
def test_recomputation_keeps_less(folder: Path, way: str) -> None:
    machines = [Machine(recompute=recompute) for recompute in ("none", "attention", "layers")]
    everything, less, least = (kept_bytes(folder, machine, way) for machine in machines)
    assert least < less < everything
    # Of each layer only its input of [N, 64] float32 stays, and what the last norm keeps.
    assert least < everything / 5


def test_activations_wait_elsewhere_while_weights_stay(folder: Path) -> None:
    """Inside `waiting`, every kept tensor but the weights is a copy of the same bits."""
    machine = Machine(recompute="layers", offload="activations")
    weight, x = torch.nn.Parameter(torch.randn(3, 3)), torch.randn(2, 3, requires_grad=True)
    with waiting(machine):
        out = (x * 2) @ weight
    saved = [getattr(out.grad_fn, name) for name in ("_saved_self", "_saved_mat2")]
    assert torch.equal(saved[0], x * 2)
    assert saved[1].data_ptr() == weight.data_ptr()
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert torch.allclose(weight.grad, (x * 2).sum(0)[:, None].expand(3, 3))


def test_a_copied_model_runs_its_own_weights(folder: Path) -> None:
    policy = load(folder, Machine(recompute="layers"), "transformers")
    other = Policy(copy.deepcopy(policy.model), policy.renderer, policy.machine)
    with torch.no_grad():
        for weight in policy.model.base_model.layers[0].parameters():
            weight.zero_()
    before = load(folder, Machine(), "transformers").logprobs(rows())
    assert torch.equal(other.logprobs(rows()), before)
    assert not torch.equal(policy.logprobs(rows()), before)


def test_a_policy_on_another_machine_takes_its_layers_back(folder: Path) -> None:
    policy = load(folder, Machine(recompute="layers"), "transformers")
    arrange(policy.model, Machine(recompute="attention"))
    layer = policy.model.base_model.layers[1]
    assert "forward" not in vars(layer)
    assert "forward" in vars(layer.self_attn)
    arrange(policy.model, Machine())
    assert "forward" not in vars(layer.self_attn)


def test_a_model_without_known_layers_cannot_be_recomputed() -> None:
    with pytest.raises(ModelError, match="recompute='none'"):
        arrange(torch.nn.Linear(2, 2), Machine(recompute="layers"))


def test_missing_liger_is_named() -> None:
    if importlib.util.find_spec("liger_kernel") is not None:
        pytest.skip("liger-kernel is installed")
    with pytest.raises(MissingExtra, match=r"burnish\[liger\]"):
        arrange(torch.nn.Linear(2, 2), Machine(device="cuda", kernels="liger"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("recompute", ["none", "attention", "layers"])
def test_compiled_layers_equal_plain_ones(folder: Path, recompute: Any) -> None:
    """Log-probs and gradients to rounding; layers and row lengths share compilations."""
    from torch._dynamo.utils import counters

    plain = gradients(folder, Machine(), "transformers")
    counters.clear()
    found = gradients(folder, Machine(kernels="compiled", recompute=recompute), "transformers")
    for name, value in found.items():
        assert torch.allclose(value, plain[name], atol=2e-5, rtol=2e-4), name
    policy = load(folder, Machine(kernels="compiled", recompute=recompute), "fast")
    for seed in range(3):
        policy.logprobs(rows((50 + 170 * seed, 20), seed)).sum().backward()  # type: ignore[no-untyped-call]
    graphs = counters["stats"]["unique_graphs"]
    for seed in range(3, 6):
        policy.logprobs(rows((50 + 170 * seed, 20), seed)).sum().backward()  # type: ignore[no-untyped-call]
    assert counters["stats"]["unique_graphs"] == graphs, "rows of other lengths were compiled anew"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_compiled_kernel_stays_compiled_outside_the_graphs() -> None:
    """Attention leaves a compiled layer's graph; flex attention inside it must still be compiled (`leave_graphs`)."""
    from torch._dynamo.testing import CompileCounter

    kernels, layers = CompileCounter(), CompileCounter()
    kernel = torch.compile(torch.sin, backend=kernels)
    attention: Any = torch.compiler.disable(lambda x: kernel(x) * 2)  # type: ignore[no-untyped-call]
    layer = torch.compile(lambda x: attention(x + 1) - 1, backend=layers)
    x = torch.randn(4)
    assert torch.allclose(layer(x), torch.sin(x + 1) * 2 - 1)
    assert kernels.frame_count == 1
    assert layers.frame_count == 2
