"""Reward models: what they read, packing, the saved form, training from start to report, resuming."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from training_runs import DATA, START, Given, context, pairs, prepare

from burnish.core.types import Pair, user
from burnish.data.dataset import write_dataset
from burnish.errors import ModelError
from burnish.losses.batch import Sequences
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine
from burnish.train.ranking import calibration, ranking_report
from burnish.train.reward import RewardModeling
from burnish.train.rows import stack
from burnish.train.schedule import Constant

torch.set_num_threads(1)
TEXTS = ("It is two apples.", "No.", "She gives the book away, and then another one to him.")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    folder = make_toy(tmp_path_factory.mktemp("toy") / "model")
    return RewardModel.start(Policy.load(folder, Machine(), trainable=True).to(torch.float64), seed=3).to(torch.float64)


def rows(model: RewardModel) -> Sequences:
    return stack([model.renderer.reply(user("How many?"), text) for text in TEXTS])


def test_a_score_is_the_head_at_the_end_of_the_reply(model: RewardModel) -> None:
    """By transformers' own forward pass of each row alone, at its last trained token."""
    found = model.scores(rows(model))
    for text, score in zip(TEXTS, found, strict=True):
        row = model.renderer.reply(user("How many?"), text)
        end = max(i for i, trained in enumerate(row.mask) if trained)
        assert row.token_ids[end] in model.renderer.stop_ids
        with torch.no_grad():
            states = model.policy.model.base_model(torch.tensor([row.token_ids])).last_hidden_state[0]
            assert float(states[end].double() @ model.model.score.weight[0]) == pytest.approx(float(score), abs=1e-5)


def test_neighbours_and_padding_change_nothing(model: RewardModel) -> None:
    whole = rows(model)
    together = model.scores(whole)
    alone = torch.cat([model.scores(whole.take(torch.tensor([i]))) for i in range(3)])
    back = model.scores(whole.take(torch.tensor([2, 0, 1])))
    assert torch.allclose(together, alone, atol=1e-10)
    assert torch.allclose(together[[2, 0, 1]], back, atol=1e-10)
    empty = Sequences(whole.tokens_BT, whole.lengths_B * torch.tensor([1, 0, 1]), whole.mask_BT.clone())
    empty.mask_BT[1] = False
    found = model.scores(empty)
    assert found[1] == 0
    assert torch.allclose(found[[0, 2]], together[[0, 2]], atol=1e-10)


def test_it_is_saved_as_a_sequence_classifier(model: RewardModel, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    single = RewardModel(model.policy, model.model.score.weight.detach())
    single.save(tmp_path / "reward")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "reward", dtype=torch.float64)
    again = RewardModel.load(tmp_path / "reward", Machine()).to(torch.float64)
    for text, score in zip(TEXTS, again.scores(rows(model)), strict=True):
        row = model.renderer.reply(user("How many?"), text)
        end = max(i for i, trained in enumerate(row.mask) if trained)
        with torch.no_grad():
            logits = theirs(torch.tensor([row.token_ids[: end + 1]])).logits
        assert logits.shape == (1, 1)
        assert float(logits) == pytest.approx(float(score.detach()), abs=1e-5)


def test_a_fresh_head_has_the_published_spread(tmp_path: Path) -> None:
    """64 wide: standard deviation 1/sqrt(65) = 0.124; the same seed gives the same head."""
    policy = Policy.load(make_toy(tmp_path / "model"), Machine())
    heads = torch.cat([RewardModel.start(policy, seed=seed).model.score.weight.detach() for seed in range(100)])
    assert float(heads.std()) == pytest.approx(1 / math.sqrt(65), rel=0.03)
    again = RewardModel.start(policy, seed=7).model.score.weight
    assert torch.equal(again[0], heads[7])


def test_a_policy_is_no_reward_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no reward model"):
        RewardModel.load(make_toy(tmp_path / "model"), Machine())


STAGE = RewardModeling(START, DATA, dev=Given("dev"), epochs=12, global_batch=4, lr=Constant(3e-3), max_tokens=200)


def test_it_learns_to_rank(tmp_path: Path) -> None:
    """Pairs whose rejected reply says it does not know: after a few epochs all are ranked, held-out ones too."""
    made = pairs(12)
    prepare(tmp_path, made[:8])
    (tmp_path / "dev").mkdir()
    write_dataset(tmp_path / "dev", made[8:], card={}, dropped=[])
    ctx = context(tmp_path, "out", Machine())
    STAGE.run(ctx)
    report = json.loads((ctx.out / "reward_report.json").read_text())
    assert report["n"] == 4
    assert report["accuracy"] == 1.0
    logged = [json.loads(line) for line in (ctx.out / "metrics.jsonl").read_text().splitlines()]
    assert logged[0]["loss"] > 2 * logged[-1]["loss"]
    assert not (ctx.out / "checkpoint").exists()


def test_ranking_report_by_hand() -> None:
    """Margins 1, -1 and 0: one right, one wrong, a tie as half; accuracy 1.5 of 3, by source 1 and 0.25."""
    made = [Pair(user("q"), "a", "b", source=source) for source in ("x", "y", "y")]
    report = ranking_report(made, [(1.0, 0.0), (0.0, 1.0), (2.0, 2.0)])
    assert report["accuracy"] == 0.5
    assert report["by_source"]["x"]["accuracy"] == 1.0
    assert report["by_source"]["y"]["accuracy"] == 0.25
    assert report["margin"] == pytest.approx(0.0)


def test_calibration_by_hand() -> None:
    """Margins log 3, log 3, log 3, -log 3: confidence 3/4 in all, three of four right, so no error.
    All four right: |3/4 - 1| = 1/4. nll of a margin of log 3 is log(4/3), of -log 3 is log 4.
    """
    sure = math.log(3)
    fair = calibration([sure, sure, sure, -sure])
    assert fair["calibration_error"] == pytest.approx(0.0)
    assert fair["nll"] == pytest.approx((3 * math.log(4 / 3) + math.log(4)) / 4)
    assert calibration([sure] * 4)["calibration_error"] == pytest.approx(0.25)
    assert calibration([1e6, -1e6])["nll"] == pytest.approx(5e5)
