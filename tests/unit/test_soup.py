"""Model soups: means by hand and bit for bit, folders that load, models that are not alike, the stage and its greedy form."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from training_runs import Given, context

from burnish.errors import ModelError, RecipeError
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.model.soup import average, running_mean
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Engine
from burnish.train.soup import Greedy, Soup

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three models of one shape and one tokenizer: a toy, and the same with other weights."""
    root = tmp_path_factory.mktemp("soup")
    first = make_toy(root / "a" / "model", hidden_size=32, intermediate_size=64)
    found = [first]
    for name in ("b", "c"):
        folder = root / name / "model"
        shutil.copytree(first, folder)
        g = torch.Generator().manual_seed(ord(name))
        changed = {
            n: w + 0.1 * torch.randn(w.shape, generator=g) for n, w in load_file(first / "model.safetensors").items()
        }
        save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
        found.append(folder)
    return found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def test_means_by_hand() -> None:
    """2, 4 and 9: 5; weighted 1, 1 and 2: (2 + 4 + 18) / 4 = 6."""
    values = [torch.tensor([x]) for x in (2.0, 4.0, 9.0)]
    assert float(running_mean(iter(values), [1, 1, 1])) == 5.0
    assert float(running_mean(iter(values), [1, 1, 2])) == 6.0
    assert float(running_mean(iter(values), [0.25, 0.25, 0.5])) == 6.0


@settings(max_examples=60, deadline=None)
@given(
    value=st.floats(-(2.0**90), 2.0**90, width=32, allow_subnormal=False),
    shares=st.lists(st.floats(0.01, 100), min_size=2, max_size=6),
)
def test_the_mean_of_equal_values_is_that_value(value: float, shares: list[float]) -> None:
    same = [torch.tensor([value])] * len(shares)
    assert torch.equal(running_mean(iter(same), shares), same[0])


def test_an_average_is_the_mean_of_every_weight(folders: list[Path], tmp_path: Path) -> None:
    average(folders, [1.0, 2.0, 1.0], tmp_path / "mean")
    parts = [weights(folder) for folder in folders]
    for name, found in weights(tmp_path / "mean").items():
        a, b, c = (part[name].double() for part in parts)
        assert (found.double() - (a + 2 * b + c) / 4).abs().max() < 1e-6, name
    policy = Policy.load(tmp_path / "mean", Machine())
    assert policy.renderer.decode(policy.renderer.tokenizer.encode("apples")) == "apples"


def test_equal_models_give_that_model_byte_for_byte(folders: list[Path], tmp_path: Path) -> None:
    average([folders[1]] * 3, [1.0, 1.0, 1.0], tmp_path / "same")
    found = {path.name: path.read_bytes() for path in (tmp_path / "same").iterdir()}
    assert weights(tmp_path / "same").keys() == weights(folders[1]).keys()
    for name, weight in weights(folders[1]).items():
        assert torch.equal(weight, weights(tmp_path / "same")[name]), name
    assert found["config.json"] == (folders[1] / "config.json").read_bytes()


def test_sharded_and_narrow_models(folders: list[Path], tmp_path: Path) -> None:
    """Two files of bfloat16 weights: means in float32, rounded once, in the first model's files."""
    from transformers import AutoModelForCausalLM

    for i, folder in enumerate(folders[:2]):
        shutil.copytree(folder, tmp_path / str(i))
        (tmp_path / str(i) / "model.safetensors").unlink()
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        model.save_pretrained(tmp_path / str(i), max_shard_size="60KB" if i == 0 else "1GB")
    average([tmp_path / "0", tmp_path / "1"], [1.0, 1.0], tmp_path / "mean")
    files = sorted(path.name for path in (tmp_path / "mean").glob("*.safetensors"))
    assert len(files) > 1
    assert files == sorted(path.name for path in (tmp_path / "0").glob("*.safetensors"))
    found, a, b = (
        AutoModelForCausalLM.from_pretrained(tmp_path / name, dtype=torch.bfloat16).state_dict()
        for name in ("mean", "0", "1")
    )
    for name, weight in found.items():
        assert torch.equal(weight, ((a[name].float() + b[name].float()) / 2).bfloat16()), name


def other(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def test_models_that_are_not_alike_are_refused_with_the_difference(folders: list[Path], tmp_path: Path) -> None:
    bigger = make_toy(tmp_path / "bigger", hidden_size=64, intermediate_size=64)
    with pytest.raises(ModelError, match=r"config\.json differs in .*hidden_size \(32 and 64\)"):
        average([folders[0], bigger], [1, 1], tmp_path / "out")
    words = other(folders[1], tmp_path / "words")
    text = (words / "tokenizer.json").read_text()
    (words / "tokenizer.json").write_text(text + " ")
    with pytest.raises(ModelError, match="tokenizers differ"):
        average([folders[0], words], [1, 1], tmp_path / "out")
    format_ = other(folders[1], tmp_path / "format")
    (format_ / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(ModelError, match="chat templates differ"):
        average([folders[0], format_], [1, 1], tmp_path / "out")
    shape = other(folders[1], tmp_path / "shape")
    held = weights(shape)
    name = next(iter(held))
    save_file(held | {name: held[name][:-1].contiguous()}, shape / "model.safetensors")
    with pytest.raises(ModelError, match=rf"{name} is \[.*\] in the one and \["):
        average([folders[0], shape], [1, 1], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_reward_models_can_be_averaged_too(folders: list[Path], tmp_path: Path) -> None:
    for i, folder in enumerate(folders[:2]):
        RewardModel.start(Policy.load(folder, Machine()), seed=i).save(tmp_path / str(i))
    average([tmp_path / "0", tmp_path / "1"], [1.0, 1.0], tmp_path / "mean")
    heads = [RewardModel.load(tmp_path / name, Machine()).model.score.weight.detach() for name in ("0", "1", "mean")]
    assert (heads[2] - (heads[0] + heads[1]) / 2).abs().max() < 1e-7


A, B, C = Given("a"), Given("b"), Given("c")


def test_the_stage(folders: list[Path]) -> None:
    root = folders[0].parents[1]
    ctx = context(root, "out", Machine())
    Soup((A, B)).run(ctx)
    assert json.loads((ctx.out / "soup.json").read_text()) == {"models": ["a", "b"], "weights": [1.0, 1.0]}
    name = next(iter(weights(folders[0])))
    mean = (weights(folders[0])[name] + weights(folders[1])[name]) / 2
    assert (weights(ctx.out / "model")[name] - mean).abs().max() < 1e-7
    assert Soup((A, B)).headline() == {"models": 2, "weights": "all alike"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (Soup((A,)), "needs two"),
        (Soup((A, A)), "same stage"),
        (Soup((A, B), (1.0,)), "one number above 0 each"),
        (Soup((A, B), (1.0, 0.0)), "one number above 0 each"),
    ],
)
def test_what_cannot_be_averaged_is_refused_at_plan_time(wrong: Soup, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        wrong.check(None)


@dataclass(frozen=True)
class Closeness:
    """Scores a model by how close its first weight is to a third of the way from the toy's to another's."""

    folder: str
    every: int = 1
    VERSION: ClassVar[int] = 1

    def check(self, data: Path | None) -> None:
        """Nothing."""

    def scores(self, engine: Engine, policy: Policy, data: Path | None) -> dict[str, float]:
        a, b = (weights(Path(self.folder) / name / "model") for name in ("a", "b"))
        name = "model.embed_tokens.weight"
        aim = (2 * a[name] + b[name]) / 3
        return {"probe/close": -float((policy.model.get_input_embeddings().weight - aim).norm())}


def test_a_greedy_soup_takes_what_helps(folders: list[Path]) -> None:
    """a is closest, b helps it (half is closer to a third than nothing is), c points elsewhere."""
    root = folders[0].parents[1]
    ctx = context(root, "greedy", Machine())
    stage = Soup((C, B, A), greedy=Greedy(Closeness(str(root)), "probe/close"))
    stage.check(None)
    stage.run(ctx)
    told = json.loads((ctx.out / "soup.json").read_text())
    assert (told["models"], told["left_out"]) == (["a", "b"], ["c"])
    assert told["scores"] == sorted(told["scores"])
    assert {path.name for path in ctx.out.iterdir()} == {"model", "soup.json"}
    with pytest.raises(RecipeError, match="no such number"):
        replace(stage, greedy=Greedy(Closeness(str(root)), "probe/far")).run(context(root, "far", Machine()))
