"""Training against TRL: the same rows, settings and steps, through SFTTrainer and DPOTrainer and through our stages.

Everything is float32 on one thread. Each optimizer step takes every row, so the two orders of rows do not matter; TRL pads,
we pack into micro-batches.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import DATA, START, context, demos, pairs, prepare

from burnish.core.types import Demo, Pair, Rated, Row, plain, user
from burnish.losses.dpo import APO, DPO, IPO
from burnish.losses.kto import KTO
from burnish.losses.reward import BradleyTerry
from burnish.losses.sft import SFTLoss
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.pipeline.machine import Machine
from burnish.train.dpo import Preference
from burnish.train.epochs import Epochs
from burnish.train.kto import Unpaired
from burnish.train.reward import RewardModeling
from burnish.train.rows import rows_of_step
from burnish.train.schedule import Constant
from burnish.train.sft import SFT

torch.set_num_threads(1)
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("default")]
SMALL_PARTS = Machine(micro_tokens=150)
STEPS, RATE = 4, 1e-3
# A reply ends with its end-of-turn token: TRL's completion mask has no room for a newline that nobody generates.
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TRAINER: dict[str, Any] = {
    "num_train_epochs": STEPS, "learning_rate": RATE, "lr_scheduler_type": "constant", "per_device_train_batch_size": 64,
    "gradient_accumulation_steps": 1, "gradient_checkpointing": False, "bf16": False, "use_cpu": True, "weight_decay": 0.0,
    "max_grad_norm": 1.0, "logging_steps": 1, "save_strategy": "no", "report_to": [], "disable_tqdm": True,
    "dataloader_pin_memory": False, "seed": 0,
}  # fmt: skip


@pytest.fixture
def trl() -> Any:
    return pytest.importorskip("trl", exc_type=ImportError)


def start(root: Path, rows: list[Row]) -> Path:
    """A toy model with the template above, and these rows as a dataset; returns the model's folder."""
    prepare(root, rows)
    folder = root / "start" / "model"
    for file in folder.glob("chat_template*"):
        file.unlink()
    settings = json.loads((folder / "tokenizer_config.json").read_text()) | {"chat_template": TEMPLATE}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def ours(root: Path, stage: Epochs) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """What a stage logged at each step, and the weights it ended with."""
    ctx = context(root, "out", SMALL_PARTS)
    stage.run(ctx)
    logged = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    return logged, dict(Policy.load(ctx.out / "model", Machine()).model.named_parameters())


def same(
    trainer: Any, logged: list[dict[str, float]], weights: dict[str, torch.Tensor], before: dict[str, torch.Tensor]
) -> None:
    """Equal losses and gradient norms at every step, and weights that moved the same way."""
    steps = [row for row in trainer.state.log_history if "loss" in row]
    assert len(steps) == len(logged) == STEPS
    for theirs, row in zip(steps, logged, strict=True):
        assert row["loss"] == pytest.approx(theirs["loss"], rel=2e-4, abs=2e-4)  # TRL rounds what it logs
        assert row["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=2e-3)
    for name, theirs in trainer.model.named_parameters():
        moved = (theirs.detach() - before[name]).norm()
        assert moved > 0
        assert (weights[name] - theirs).norm() < 0.01 * moved, name


def copies(folder: Path) -> dict[str, torch.Tensor]:
    return {n: w.detach().clone() for n, w in Policy.load(folder, Machine()).model.named_parameters()}


def test_sft_trains_as_trl_does(tmp_path: Path, trl: Any) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = demos(9)
    folder = start(tmp_path, rows)
    data = [
        {"prompt": plain(d.messages[:-1]), "completion": plain(d.messages[-1:])} for d in rows if isinstance(d, Demo)
    ]
    config = trl.SFTConfig(
        output_dir=str(tmp_path / "trl"), max_length=None, packing=False, completion_only_loss=True, **TRAINER
    )
    trainer = trl.SFTTrainer(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), args=config, train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    trainer.train()
    stage = SFT(START, DATA, epochs=STEPS, global_batch=64, lr=Constant(RATE), max_tokens=200, loss=SFTLoss("mean"))
    logged, weights = ours(tmp_path, stage)
    same(trainer, logged, weights, copies(folder))


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("sigmoid", DPO(beta=0.1, length_normalized=False)),
        ("sigmoid_norm", DPO(beta=5.0)),
        ("robust", DPO(beta=0.1, length_normalized=False, label_smoothing=0.1, unbiased=True)),
        ("ipo", IPO(beta=0.1)),
        ("apo_zero", APO(beta=0.1)),
        ("apo_down", APO(beta=0.1, toward="down")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_dpo_trains_as_trl_does(kind: str, loss: Any, tmp_path: Path, trl: Any) -> None:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = pairs(7)
    folder = start(tmp_path, rows)
    data = [
        {
            "prompt": plain(p.prompt),
            "chosen": [{"role": "assistant", "content": p.chosen}],
            "rejected": [{"role": "assistant", "content": p.rejected}],
        }
        for p in rows
        if isinstance(p, Pair)
    ]
    config = trl.DPOConfig(
        output_dir=str(tmp_path / "trl"),
        max_length=None,
        loss_type=[kind],
        beta=loss.beta,
        label_smoothing=getattr(loss, "label_smoothing", 0.0),
        **TRAINER,
    )
    trainer = trl.DPOTrainer(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), args=config, train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    trainer.train()
    stage = Preference(START, DATA, epochs=STEPS, global_batch=64, lr=Constant(RATE), max_tokens=200, loss=loss)
    logged, weights = ours(tmp_path, stage)
    same(trainer, logged, weights, copies(folder))
    theirs = [row for row in trainer.state.log_history if "rewards/accuracies" in row]
    assert [row["accuracy"] for row in logged[1:]] == pytest.approx(
        [row["rewards/accuracies"] for row in theirs[1:]], abs=1e-3
    )


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        ("kto", KTO(beta=0.5, desirable=1.2, undesirable=0.7)),
        ("apo_zero_unpaired", KTO(beta=0.5, estimate_kl=False)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kto_trains_as_trl_does(kind: str, loss: KTO, tmp_path: Path, trl: Any) -> None:
    """TRL estimates the divergence over a micro-batch, so every step is one there, in our order of rows.

    It pairs a prompt with the reply before and we with the reply after, so the order is turned round.
    """
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # Most replies are good and alike, so they grow likelier after any prompt: z0 is above 0.
    made = [
        Rated(user(f"What is {i} and {i}?"), f"It is {2 * i}, I think." if i else "No idea.", i > 0) for i in range(7)
    ]
    folder = start(tmp_path, list(made))
    orders = [list(reversed(rows_of_step(step, 7, 64, 0))) for step in range(STEPS)]
    data = [
        {"prompt": plain(r.prompt), "completion": [{"role": "assistant", "content": r.reply}], "label": r.good}
        for order in orders
        for r in (made[i] for i in order)
    ]
    settings = TRAINER | {"num_train_epochs": 1, "per_device_train_batch_size": 7}
    config = trl.KTOConfig(
        output_dir=str(tmp_path / "trl"), max_length=None, loss_type=kind, beta=loss.beta, desirable_weight=loss.desirable,
        undesirable_weight=loss.undesirable, train_sampling_strategy="sequential", **settings,
    )  # fmt: skip
    trainer = trl.KTOTrainer(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), args=config, train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(folder),
    )  # fmt: skip
    trainer.train()
    stage = Unpaired(START, DATA, epochs=STEPS, global_batch=64, lr=Constant(RATE), max_tokens=200, loss=loss)
    logged, weights = ours(tmp_path, stage)
    same(trainer, logged, weights, copies(folder))
    theirs = [row for row in trainer.state.log_history if "rewards/margins" in row]
    for mine, name in (("margin", "rewards/margins"), ("desirable_reward", "rewards/chosen"), ("kl", "kl")):
        found = [row[name] for row in theirs]
        assert [row[mine] for row in logged] == pytest.approx(found, rel=1e-3, abs=2e-3), mine
    assert kind != "kto" or logged[-1]["kl"] > 0.1


def test_reward_models_train_as_trls_do(tmp_path: Path, trl: Any) -> None:
    """From one reward model, saved by us and read by transformers as a sequence classifier, and the same settings."""
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = pairs(7)
    folder = start(tmp_path, rows)
    stage = RewardModeling(
        START, DATA, epochs=STEPS, global_batch=64, lr=Constant(RATE), max_tokens=200, loss=BradleyTerry(center=0.1)
    )
    RewardModel.start(Policy.load(folder, Machine()), seed=stage.seed).save(tmp_path / "untrained")
    data = [
        {"prompt": plain(p.prompt), **{side: [{"role": "assistant", "content": getattr(p, side)}] for side in ("chosen", "rejected")}}
        for p in rows
        if isinstance(p, Pair)
    ]  # fmt: skip
    config = trl.RewardConfig(
        output_dir=str(tmp_path / "trl"), max_length=None, center_rewards_coefficient=0.1, **TRAINER
    )
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "untrained", dtype=torch.float32)
    assert model.num_labels == 1
    before = {n: w.detach().clone() for n, w in model.named_parameters()}
    trainer = trl.RewardTrainer(
        model,
        args=config,
        train_dataset=Dataset.from_list(data),
        processing_class=AutoTokenizer.from_pretrained(tmp_path / "untrained"),
    )
    trainer.train()
    ctx = context(tmp_path, "out", SMALL_PARTS)
    stage.run(ctx)
    logged = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    same(trainer, logged, dict(RewardModel.load(ctx.out / "model", Machine()).model.named_parameters()), before)
