"""Export: a folder that other programs read as ours, stops where ours stops, and says what it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_models import MODELS, ChatModel, tokenizer_of
from training_runs import DATA, EVERY_STEP, context, demos, pairs, prepare

from burnish.cli.main import main
from burnish.core.files import write_json
from burnish.core.fingerprint import encode, fingerprint
from burnish.core.types import Message, user
from burnish.data.dataset import write_dataset
from burnish.errors import ArtifactError, ModelError
from burnish.model.base import BaseModel
from burnish.model.export import TOLERANCE, check_export, export_model
from burnish.model.policy import Policy
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.pipeline.store import Store
from burnish.report.model_card import Base, base_of, header, lineage
from burnish.text.render import Renderer
from burnish.train.reward import RewardModeling
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)
RENDERERS = [(model, own) for model in MODELS for own in (True, False)]
BASE = BaseModel("toy")
SCORED = RewardModeling(BASE, DATA, global_batch=4, max_tokens=200)
NAMES = [f"{model.name}-{'own' if own else 'ours'}" for model, own in RENDERERS]


def tiny(model: ChatModel, own: bool) -> Policy:
    """A policy of random weights with a model's tokenizer and chat format."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer_of(model)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=256, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    return Policy(LlamaForCausalLM(config), Renderer(tokenizer, None if own else model.ours), Machine())


@pytest.mark.parametrize(("model", "own"), RENDERERS, ids=NAMES)
def test_transformers_stops_at_the_end_of_the_turn(model: ChatModel, own: bool, tmp_path: Path) -> None:
    """The logits are forced to write a reply, its end of turn, and more; generate() ends with the end of turn."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessor

    policy = tiny(model, own)
    policy.save(tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    asked = user("What is the capital of France?")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked[0].content}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )["input_ids"]
    assert prompt[0].tolist() == list(policy.renderer.prompt(asked)) or model.name == "llama3"
    whole = policy.renderer.render((*asked, Message("assistant", "Paris.")))
    reply = [token for token, trained in zip(whole.token_ids, whole.mask, strict=True) if trained]
    script = [*reply, reply[0], reply[0]]

    class Forced(LogitsProcessor):  # type: ignore[misc]
        def __call__(self, ids: Any, scores: Any) -> Any:
            forced = torch.full_like(scores, -1e9)
            forced[:, script[ids.shape[1] - prompt.shape[1]]] = 0
            return forced

    out = loaded.generate(prompt, max_new_tokens=len(script), do_sample=False, logits_processor=[Forced()])
    assert out[0, prompt.shape[1] :].tolist() == reply
    assert all(check.passed for check in check_export(policy, tmp_path / "model", TOLERANCE["float32"]))


def artifact(runs: Path, stage: Any, inputs: dict[str, str], fill: Path | None = None) -> Path:
    """A finished artifact of a stage, its files already in `fill` or to be written by the test."""
    folder = runs / f"{stage.name}-{fingerprint(stage)}"
    if fill is not None:
        fill.rename(folder)
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "burnish": "0",
        "finished_utc": "2026-01-02T03:04:05Z",
        "machine": {"name": "exact", "device": "cpu", "compute": "fp32"},
    }
    write_json(
        folder / "artifact.json",
        {"name": stage.name, "fingerprint": fingerprint(stage), "stage": encode(stage), "inputs": inputs, "provenance": made,
         "cost": {"wall_s": 65.0, "cpu_s": 65.0, "peak_rss_bytes": 2**30, "sessions": 1}},
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a base model, a dataset of two licences, an SFT run and an evaluation of it."""
    root = tmp_path_factory.mktemp("work")
    prepare(root, [*demos(), *pairs()])
    (root / "start").rename(root / "base")
    stage = SFT(BASE, DATA, epochs=1, global_batch=4, lr=Constant(1e-2), max_tokens=200)
    stage.run(context(root, "trained", EVERY_STEP))
    SCORED.run(context(root, "scored", EVERY_STEP))
    store = root / "runs"
    store.mkdir()
    (root / "base" / "model" / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Toy\n")
    artifact(store, BASE, {}, root / "base")
    write_dataset(
        root / "data", demos(),
        card={"by_source": [
            {"source": "org/one", "licence": "Apache-2.0", "url": "https://huggingface.co/datasets/org/one", "revision": "abc", "rows_in": 9, "rows_kept": 5},
            {"source": "two|2", "licence": "CC-BY-NC-4.0", "url": "", "revision": "", "rows_in": 2, "rows_kept": 2},
        ], "contamination": [{"test": "gsm8k", "rows_removed": 3}]},
    )  # fmt: skip
    artifact(store, DATA, {}, root / "data")
    inputs = {"base": fingerprint(BASE), "data": fingerprint(DATA)}
    artifact(store, stage, inputs, root / "trained")
    artifact(store, SCORED, inputs, root / "scored")
    looked = artifact(store, SFT(BASE, DATA, epochs=9), {"sft": fingerprint(stage)})
    looked.rename(store / "eval-sft-000000000000")
    record = json.loads((store / "eval-sft-000000000000" / "artifact.json").read_text())
    write_json(store / "eval-sft-000000000000" / "artifact.json", record | {"name": "eval-sft"})
    task = {
        "task": "gsm8k",
        "metric": "accuracy",
        "n": 10,
        "score": 0.4,
        "standard_error": 0.15,
        "interval": [0.168, 0.687],
    }
    write_json(store / "eval-sft-000000000000" / "scores.json", {"label": "SFT", "tasks": [task]})
    return store


def test_a_run_is_exported_with_its_card(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "mine"
    assert main(["export", "sft", str(out), "--runs", str(runs), "--dtype", "bfloat16", "--title", "My model"]) == 0
    said = capsys.readouterr().out
    assert "its log-probs are ours: largest difference" in said
    card = (out / "README.md").read_text()
    front, _, text = card.removeprefix("---\n").partition("\n---\n")
    # The data forbid commercial use, so the base model's licence is not taken over.
    for line in (
        'license: "other"',
        'license_name: "see-card"',
        '- "org/one"',
        '- "sft"',
        'pipeline_tag: "text-generation"',
    ):
        assert line in front
    for part in (
        "# My model", "| gsm8k | accuracy | 0.400 | 0.168 to 0.687 | 10 |", "| sft | 2 |", "1.0 GiB | exact, cpu, fp32 |",
        "| data | [org/one](https://huggingface.co/datasets/org/one) | Apache-2.0 | abc | 5 |",
        "| data | two\\|2 | CC-BY-NC-4.0 |  | 2 |", "- base model: apache-2.0", "no commercial use (CC-BY-NC-4.0: 2 rows)",
        "Compared with 1 tests (gsm8k); 3 rows removed", '"global_batch": 4', "- its log-probs are ours:",
    ):  # fmt: skip
        assert part in text, part
    assert "two|2" not in front
    loaded = Policy.load(out, Machine())
    assert loaded.dtype == torch.float32
    config = json.loads((out / "config.json").read_text())
    assert config["dtype"] == "bfloat16"


def test_the_card_as_yaml_and_a_licence_that_is_given(runs: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    out = tmp_path / "mine"
    main(["export", "sft", str(out), "--runs", str(runs), "--licence", "mit", "--json"])
    front = yaml.safe_load((out / "README.md").read_text().split("---\n")[1])
    assert front["license"] == "mit"
    assert front["datasets"] == ["org/one"]
    assert front["tags"] == ["burnish", "post-training", "sft"]


def test_shards_and_reward_models(runs: Path, tmp_path: Path) -> None:
    store = Store(runs)
    checks = export_model(store.find("sft").folder / "model", tmp_path / "cut", shard_size="100KB")
    assert all(check.passed for check in checks)
    assert len(list((tmp_path / "cut").glob("model-*.safetensors"))) > 1
    checks = export_model(store.find("reward").folder / "model", tmp_path / "reward", dtype="bfloat16")
    assert [check.name for check in checks] == ["transformers loads every weight", "its score is ours"]
    assert header(lineage(store, store.find("reward")), "mit")["pipeline_tag"] == "text-classification"


def test_a_folder_that_says_something_else_is_refused(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other weights, another template, and an end of turn that is not told: each is found by its own check."""
    source = Store(runs).find("sft").folder / "model"
    policy = Policy.load(source, Machine())
    make_toy(tmp_path / "other", seed=3)
    failed = {check.name for check in check_export(policy, tmp_path / "other", 1e-3) if not check.passed}
    assert failed == {"its log-probs are ours"}
    policy.save(tmp_path / "changed")
    template = tmp_path / "changed" / "chat_template.jinja"
    template.write_text("A talk. " + template.read_text())
    settings = tmp_path / "changed" / "generation_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"eos_token_id": 5}))
    failed = {check.name for check in check_export(policy, tmp_path / "changed", 1e-3) if not check.passed}
    assert failed == {"generation stops at the end of a turn", "the chat template asks as training did"}
    monkeypatch.setitem(TOLERANCE, "bfloat16", 1e-9)
    with pytest.raises(
        ModelError, match=r"(?s)does not say what the trained model says.*its log-probs are ours.*float32"
    ):
        export_model(source, tmp_path / "narrow", dtype="bfloat16")


def test_what_cannot_be_exported_is_said(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    for words, said in (
        (["sft", str(tmp_path / "full")], "is there already, and nothing is overwritten"),
        (["data", str(tmp_path / "new")], "holds no model"),
        (["sft", str(tmp_path / "new"), "--dtype", "int8"], "--dtype int8: write float32, bfloat16, float16"),
        (["sfd", str(tmp_path / "new")], "Did you mean 'sft'"),
    ):
        assert main(["export", *words, "--runs", str(runs)]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_lineage_names_what_is_lost(runs: Path, tmp_path: Path) -> None:
    """A store from which the dataset was deleted: the card says so and goes on."""
    import shutil

    shutil.copytree(runs, tmp_path / "runs", copy_function=lambda a, b: Path(b).hardlink_to(a))
    store = Store(tmp_path / "runs")
    shutil.rmtree(next((tmp_path / "runs").glob("data-*")))
    found = lineage(store, store.find("sft"))
    assert [name.partition("-")[0] for name in found.lost] == ["data"]
    assert base_of(found) == Base("toy", "", "apache-2.0")
    with pytest.raises(ArtifactError):
        store.find("data")
