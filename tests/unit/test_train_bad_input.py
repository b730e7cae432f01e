"""What a user may get wrong about training, and what is said: what it is, why it matters, what to do; before any step."""

from __future__ import annotations

import dataclasses
import io
import json
import resource
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_runs import DATA, EVERY_STEP, STAGES, START, Given, context, demos, pairs, prepare, problems
from transformers import AutoTokenizer

from burnish.core.types import Demo, Message, Pair, Row, user
from burnish.data.curate import Curate, Take
from burnish.data.dataset import write_dataset
from burnish.data.mix import All
from burnish.data.sources.arithmetic import Arithmetic
from burnish.data.sources.worked import Worked
from burnish.errors import ArtifactError, DataError, ModelError, RecipeError
from burnish.losses.reward import BradleyTerry
from burnish.pipeline.progress import Console
from burnish.train.dpo import Preference
from burnish.train.reward import RewardModeling
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)
FEW: dict[str, Any] = {"epochs": 1, "global_batch": 4, "max_tokens": 200, "lr": Constant(1e-3)}
TRAINING: dict[str, Any] = {
    "sft": SFT(START, DATA, **FEW),
    "dpo": Preference(START, DATA, **FEW),
    "reward": RewardModeling(START, DATA, **FEW),
}


@pytest.mark.parametrize(
    ("stage", "rows", "said"),
    [
        ("sft", pairs(), r"(?s)sft: the dataset data holds 5 preference pairs but no demonstrations.*Train preference pairs with Preference"),
        ("sft", [*pairs(1), *problems(2)], "holds 1 preference pairs and 2 problems but no demonstrations"),
        ("dpo", demos(), r"(?s)dpo: .*holds 7 demonstrations but no preference pairs.*Train demonstrations with SFT"),
        ("reward", problems(), r"(?s)reward: .*holds 5 problems but no preference pairs.*problems with RL"),
        ("sft", [], r"(?s)holds no demonstrations\..*Look at what the stage before kept"),
        ("reward", [], "holds no preference pairs"),
    ],
)  # fmt: skip
def test_rows_of_another_kind(stage: str, rows: list[Row], said: str, tmp_path: Path) -> None:
    prepare(tmp_path, rows)
    with pytest.raises(DataError, match=said):
        TRAINING[stage].run(context(tmp_path, "out", EVERY_STEP))


def test_rows_of_other_kinds_beside_the_right_ones_are_counted(tmp_path: Path) -> None:
    prepare(tmp_path, [*demos(3), *pairs(2)])
    lines = io.StringIO()
    TRAINING["sft"].run(context(tmp_path, "out", EVERY_STEP, Console(lines)))
    assert "2 preference pairs in data are no demonstrations and were passed over" in lines.getvalue()


@pytest.mark.parametrize("stage", TRAINING)
def test_a_tokenizer_with_more_tokens_than_the_model_has_embeddings(stage: str, tmp_path: Path) -> None:
    talk = (Message("user", "hi"), Message("assistant", "<new> word"))
    prepare(tmp_path, [Demo(talk), Pair(user("hi"), "<new> word", "no")])
    folder = tmp_path / "start" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    known = len(tokenizer)
    tokenizer.add_tokens(["<new>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(ModelError, match=rf"its token {known} is none of the {known} .*\n.*resize_token_embeddings"):
        TRAINING[stage].run(context(tmp_path, "out", EVERY_STEP))
    prepare(tmp_path, [*demos(2), *pairs(2)])  # a token that no row has does no harm
    TRAINING[stage].run(context(tmp_path, "out", EVERY_STEP))


@pytest.mark.parametrize("stage", TRAINING)
def test_weights_that_are_not_numbers(stage: str, tmp_path: Path) -> None:
    prepare(tmp_path, [*demos(2), *pairs(2)])
    path = tmp_path / "start" / "model" / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(
        ModelError, match=r"1 of 64 numbers of the weight model\.norm\.weight are not finite.*\n.*another"
    ):
        TRAINING[stage].run(context(tmp_path, "out", EVERY_STEP))
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_a_model_for_a_dataset_and_a_dataset_for_a_model_are_refused_at_plan_time() -> None:
    rows, model = Curate((Take(Worked(Arithmetic("train", n=2)), All()),), label="sums"), SFT(START, DATA)
    with pytest.raises(
        RecipeError, match=r"dpo: data is the stage sft \(SFT\), which makes a model, but has to be a dataset"
    ):
        Preference(START, model).check(None)
    with pytest.raises(RecipeError, match=r"(?s)sft: start is the stage sums \(Curate\).*Write SFT\(start, data\)"):
        SFT(rows, rows).check(None)
    SFT(model, rows).check(None)


def test_a_template_that_hides_replies_names_the_row(tmp_path: Path) -> None:
    prepare(tmp_path, [row := demos(1)[0]])
    folder = tmp_path / "start" / "model"
    for file in folder.glob("chat_template*"):
        file.unlink()
    hides = (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|im_start|>' + m['content'] + '<|im_end|>' }}"
        "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>' }}{% endif %}"
    )
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": hides}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises((DataError, ModelError), match=rf"{row.id}|template"):
        TRAINING["sft"].run(context(tmp_path, "out", EVERY_STEP))


def test_a_reward_models_dev_set_is_looked_at_before_training(tmp_path: Path) -> None:
    prepare(tmp_path, pairs())
    (tmp_path / "dev").mkdir()
    write_dataset(tmp_path / "dev", demos(2), card={}, dropped=[])
    stage = dataclasses.replace(TRAINING["reward"], dev=Given("dev"))
    with pytest.raises(DataError, match="dataset dev holds 2 demonstrations but no preference pairs"):
        stage.run(context(tmp_path, "out", EVERY_STEP))
    shutil.rmtree(tmp_path / "dev")
    (tmp_path / "dev").mkdir()
    write_dataset(tmp_path / "dev", [], card={}, dropped=[])
    with pytest.raises(DataError, match="given as dev, has no preference pairs"):
        stage.run(context(tmp_path, "out", EVERY_STEP))
    assert not (tmp_path / "out" / "metrics.jsonl").exists()


def test_a_margin_that_no_pair_has(tmp_path: Path) -> None:
    prepare(tmp_path, pairs())
    stage = dataclasses.replace(TRAINING["reward"], loss=BradleyTerry(use_margin=True))
    with pytest.raises(DataError, match=r'no pair of data has a margin.*\n.*annotations\["margin"\]'):
        stage.run(context(tmp_path, "out", EVERY_STEP))


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Writing more into one file fails, as on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("every_s", [0.0, 1e9], ids=["checkpoint", "model"])
def test_a_full_disk_loses_nothing_finished(every_s: float, tmp_path: Path) -> None:
    """Neither a checkpoint nor the model can be written; with room again, the run goes on to the same end."""
    prepare(tmp_path, demos())
    machine = dataclasses.replace(EVERY_STEP, checkpoint_every_s=every_s)
    ctx, straight = context(tmp_path, "out", machine), context(tmp_path, "straight", machine)
    with no_file_above(100_000), pytest.raises(ArtifactError, match=r"disk that holds .* is full.*\n.*same command"):
        STAGES["sft"].run(ctx)
    assert not (ctx.out / "model").exists()
    STAGES["sft"].run(ctx)
    STAGES["sft"].run(straight)
    first, second = (load_file(c.out / "model" / "model.safetensors") for c in (ctx, straight))
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
