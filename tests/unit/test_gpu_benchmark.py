"""The GPU benchmark's own code, on a toy and the CPU: every part but the kernels."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

import pytest

from burnish.model.flops import Shape, Work
from burnish.pipeline.machine import one_gpu

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_gpu", BENCHMARKS / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_runs_on_a_cpu(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--device", "cpu", "--tiny"])
    assert gpu.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[1].strip() for line in lines if line.startswith("toy")][:2] == [
        "plain",
        "recompute attention",
    ]
    assert sum("%" in line for line in lines) == 4
    assert "measured" in lines[-1]


def test_without_a_device_it_says_so(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--quick"])
    assert gpu.main() == 1
    assert "No CUDA device" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "layers", "parameters"),
    # Parameters as published: 134,515,008 and 596,049,920; the slice has 4 of Llama-3.1-8B's 32 layers of 218,112,000 each,
    # and its 2 x 525,336,576 embeddings and head, and the last norm.
    [("135m", 30, 134_515_008), ("0.6b", 28, 596_049_920), ("8b-slice", 4, 4 * 218_112_000 + 2 * 525_336_576 + 4096)],
)
def test_shapes_are_the_published_ones(gpu: ModuleType, model: str, layers: int, parameters: int) -> None:
    shape = Shape.of(gpu.MODELS[model])
    assert shape is not None
    assert shape.layers == layers
    # Qwen3 has two norms of a head's width in each layer, which the shape leaves out.
    norms = 28 * 2 * 128 if model == "0.6b" else 0
    assert shape.parameters + norms == parameters
    assert Work.of_shape(shape).training([100], 50) > 6 * shape.layers * shape.layer_matrices * 100


def test_every_setting_is_a_machine(gpu: ModuleType) -> None:
    """Settings that exclude each other would only be refused on the machine with the device."""
    from dataclasses import replace

    for quick in (True, False):
        found = [replace(one_gpu(), **settings) for _, settings in gpu.variants("cuda", quick)]
        assert len(set(map(repr, found))) == len(found) >= 3


def test_a_step_is_the_same_on_every_machine(gpu: ModuleType) -> None:
    one, two = (gpu.batches(500, 2000, 512, seed=1) for _ in range(2))
    assert [part.sequences.lengths_B.tolist() for part in one] == [part.sequences.lengths_B.tolist() for part in two]
    for part in one:
        assert 1992 < part.sequences.size <= 2000
        assert int(part.sequences.lengths_B.max()) <= 512
        assert not bool(part.sequences.mask_BT[:, 0].any())


def test_the_result_has_memory_and_mfu(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import record

    monkeypatch.setattr(record, "RESULTS", tmp_path)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "NVIDIA Example 80GB")
    found = gpu.Found([10.0, 12.0, 11.0], 2e12, 3 << 30, 1.0)
    gpu.write_result({"toy, plain, 256 tokens": (found, 0.25)}, gpu.argparse.Namespace(quick=True))
    (path,) = tmp_path.glob("gpu_nvidia-example-80gb_*.json")
    (row,) = json.loads(path.read_text())["rows"]
    assert (row["median"], row["mfu"], row["peak_gib"], row["tflops"]) == (11.0, 0.25, 3.0, 2.0)
