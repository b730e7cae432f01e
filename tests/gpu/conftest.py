"""Tests that need a CUDA device; `pytest tests/gpu --on cpu` runs those that make sense there on the CPU, to test the tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from burnish.model.toy import make_toy

HERE = Path(__file__).parent
# cuBLAS reads it once, at its first product.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--on", choices=("cuda", "cpu"), default="cuda", help="the device of tests/gpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest) -> str:
    """The device under test; without one every test here is skipped."""
    asked: str = request.config.getoption("--on", default="cuda")
    if asked == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device (make gpu-check on a machine that has one)")
    return asked


@pytest.fixture
def cuda(device: str) -> str:
    """For tests of kernels that exist on CUDA only."""
    if device != "cuda":
        pytest.skip("these kernels need a CUDA device")
    return device


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy Llama of 4 layers whose heads are as wide as real ones: FlashAttention needs a multiple of 8."""
    sizes = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
    return make_toy(tmp_path_factory.mktemp("toy") / "model", **sizes)
