"""What a trained reward model is used for: the start of a value model, the judge of preference data, and pair benchmarks."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from training_runs import DATA, START, Given, Letters, context, prepare, problems

from burnish.cli import main
from burnish.core.files import read_json
from burnish.core.types import Check, Demo, Finish, Pair, Problem, user
from burnish.data.dataset import Dataset
from burnish.data.sources.files import Files
from burnish.errors import RecipeError
from burnish.eval.local import local_answers
from burnish.eval.run import evaluate
from burnish.eval.task import EvalTask
from burnish.eval.tasks.arithmetic import task as arithmetic
from burnish.eval.tasks.rewardbench import pairs
from burnish.losses.batch import Sequences, ValueBatch
from burnish.losses.reward import BradleyTerry
from burnish.losses.value import ValueLoss
from burnish.model.folder import is_reward_model
from burnish.model.policy import Policy
from burnish.model.reward import RewardModel, ValueModel
from burnish.model.toy import make_toy
from burnish.pipeline.machine import Machine, exact
from burnish.pipeline.progress import Console
from burnish.rollout.completions import LOG, Graded
from burnish.rollout.engine import Sampling
from burnish.rollout.prefer import CLOSE, Prefer, choose
from burnish.rollout.synthesize import VerifiedSamples
from burnish.train.learner import Learner
from burnish.train.reward import RewardModeling
from burnish.train.rows import stack
from burnish.train.schedule import Linear

torch.set_num_threads(1)
TEXTS = ("It is two apples.", "No.", "She gives the book away, and then another one to him.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with a fresh head, saved."""
    root = tmp_path_factory.mktemp("reward")
    RewardModel.start(Policy.load(make_toy(root / "toy"), Machine()), seed=1).save(root / "artifact" / "model")
    return root / "artifact" / "model"


def rows(model: RewardModel) -> Sequences:
    return stack([model.renderer.reply(user("How many?"), text) for text in TEXTS])


def test_a_value_is_the_head_at_the_token_before(folder: Path) -> None:
    """By transformers' own states of each row alone; the last state's value would be the reward model's score."""
    model = ValueModel.load(folder, Machine(), trainable=True).to(torch.float64)
    given = rows(model)
    found = model.outputs(given, 0.5).detach()
    assert found.shape == given.mask_BT.shape
    assert bool((found[~given.mask_BT] == 0).all())
    for i, length in enumerate(given.lengths_B.tolist()):
        with torch.no_grad():
            states = model.policy.model.base_model(given.tokens_BT[i : i + 1, :length]).last_hidden_state[0].double()
        for t in given.mask_BT[i].nonzero()[:, 0].tolist():
            assert float(states[t - 1] @ model.model.score.weight[0].detach()) == pytest.approx(
                float(found[i, t]), abs=1e-5
            )
    alone = torch.stack([model.values(given.take(torch.tensor([i])))[0].detach() for i in range(3)])
    assert (alone - found).abs().max() < 1e-10


def test_a_value_model_starts_at_the_reward_model_and_learns_returns(folder: Path, tmp_path: Path) -> None:
    """The same head and body as the reward model's; sixty steps towards returns of 1 end close to them, and are saved."""
    model = ValueModel.load(folder, Machine(), trainable=True)
    reward = RewardModel.load(folder, Machine())
    assert torch.equal(model.model.score.weight, reward.model.score.weight)
    given = rows(model)
    assert torch.allclose(model.scores(given), reward.scores(given), atol=1e-6)
    batch = ValueBatch(given, torch.zeros(given.mask_BT.shape), given.mask_BT.float())
    learner = Learner(model, Machine())
    for _ in range(60):
        found = learner.forward_backward(
            [batch.take(torch.tensor([0])), batch.take(torch.tensor([1, 2]))], ValueLoss(clip=None)
        )
        learner.step(3e-3)
    assert found["count"] == float(given.mask_BT.sum())
    assert found["value"] == pytest.approx(1.0, abs=0.1)
    model.save(tmp_path / "value")
    again = ValueModel.load(tmp_path / "value", Machine())
    with torch.no_grad():
        assert torch.allclose(again.values(given), model.values(given), atol=1e-6)


def test_rewards_are_scores_in_the_order_asked(folder: Path) -> None:
    model = RewardModel.load(folder, Machine(micro_tokens=40))
    counted: list[int] = []
    found = model.rewards([(user("How many?"), text) for text in TEXTS], counted.append)
    assert found == pytest.approx(model.scores(rows(model)).tolist(), abs=1e-5)
    assert sum(counted) == 3
    assert model.rewards([]) == []
    assert model.rewards([(user("How many? " * 3000), "No."), (user("How many?"), "No.")])[0] is None


def test_the_pair_of_a_judge_is_best_and_worst() -> None:
    """Rewards 3, -1, 0.5 and -4: chosen 3, rejected -4, whatever the seed; a margin of 8 finds none."""
    problem = Problem(user("?"), Check("letters", ""))
    replies = [Graded(k, text, Finish.STOP, 3, 1.0, "") for k, text in enumerate("abcd")]
    scores = [3.0, -1.0, 0.5, -4.0]
    for seed in range(5):
        pair = choose(problem, replies, scores, margin=0.1, seed=seed, worst=True)
        assert isinstance(pair, Pair)
        assert (pair.chosen, pair.rejected) == ("a", "d")
        assert (pair.annotations["chosen_score"], pair.annotations["rejected_score"]) == (3.0, -4.0)
    assert choose(problem, replies, scores, margin=8.0, seed=0, worst=True) == CLOSE


def test_a_reward_model_judges_preference_data(folder: Path, tmp_path: Path) -> None:
    """Every pair of the stage has the highest and the lowest reward of its prompt's replies, by the model itself."""
    prepare(tmp_path, problems(8))
    (tmp_path / "judge").symlink_to(folder.parent)
    stage = Prefer(
        START,
        DATA,
        {"letters": Letters()},
        k=4,
        sampling=Sampling(max_tokens=100),
        seed=3,
        margin=1e-6,
        judge=Given("judge"),
    )
    stage.check(None)
    ctx = context(tmp_path, "out", replace(exact(), slots=4))
    stage.run(ctx)
    model = RewardModel.load(folder, Machine())
    found = [row for row in Dataset.open(ctx.out).rows() if isinstance(row, Pair)]
    assert 0 < len(found) <= 8
    for pair in found:
        best, least = model.rewards([(pair.prompt, pair.chosen), (pair.prompt, pair.rejected)])
        assert None not in (best, least)
        known = [score for score in pair.annotations["scores"] if score is not None]
        assert best == pytest.approx(max(known), abs=1e-4)
        assert least == pytest.approx(min(known), abs=1e-4)


def test_best_of_n_is_what_the_reward_model_likes_best(folder: Path, tmp_path: Path) -> None:
    """With least=0 each demonstration has the highest reward of its prompt's replies that came to an end."""
    prepare(tmp_path, problems(6))
    (tmp_path / "judge").symlink_to(folder.parent)
    sampling = Sampling(max_tokens=200)
    stage = VerifiedSamples(
        START, DATA, {"letters": Letters()}, k=4, sampling=sampling, seed=3, least=0.0, judge=Given("judge")
    )
    stage.check(None)
    ctx = context(tmp_path, "out", replace(exact(), slots=4))
    stage.run(ctx)
    model = RewardModel.load(folder, Machine())
    lines = [json.loads(line) for line in (ctx.out / LOG).read_text().splitlines()]
    kept = {row.lineage[-1]: row.messages[-1].content for row in Dataset.open(ctx.out).rows() if isinstance(row, Demo)}
    assert kept
    for problem in problems(6):
        ended = [
            r["text"] for r in lines if r["problem_id"] == problem.id and r["finish"] == "stop" and r["text"].strip()
        ]
        assert (problem.id in kept) == bool(ended)
        if ended:
            assert isinstance(problem, Problem)
            rewards = model.rewards([(problem.prompt, text) for text in ended])
            best = ended[max(range(len(ended)), key=lambda i: rewards[i] or -1e9)]
            assert kept[problem.id] == best.strip()


def pair_file(path: Path, count: int = 6) -> Path:
    lines = [
        {
            "prompt": f"How many are {i} and {i}?",
            "chosen": f"There are {2 * i} of them.",
            "rejected": "No " * (i + 1),
            "subset": "s",
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_burnish_eval_asks_a_reward_model_for_rewards(folder: Path, tmp_path: Path) -> None:
    """Pair accuracy is the share of pairs whose chosen reply has the higher reward; asked again, nothing is computed anew."""
    assert is_reward_model(folder)
    assert not is_reward_model(folder.parents[1] / "toy")
    task: EvalTask = pairs(Files(pair_file(tmp_path / "mine.jsonl")), "mine", n=6)
    answers = local_answers(folder, Machine(), Console(quiet=True), tasks=[task], overlong="error", identity="it")
    for _ in range(2):
        scores = evaluate(
            [task],
            answers,
            seed=0,
            label="rm",
            model="rm",
            data=None,
            out=tmp_path / "out",
            console=Console(quiet=True),
        )
    model = RewardModel.load(folder, Machine())
    won = []
    for i in range(6):
        chosen, rejected = model.rewards(
            [(user(f"How many are {i} and {i}?"), text) for text in (f"There are {2 * i} of them.", "No " * (i + 1))]
        )
        won.append((chosen or 0.0) > (rejected or 0.0))
    assert scores["tasks"][0]["score"] == pytest.approx(sum(won) / 6)
    assert "reward model" in scores["notes"][0]
    assert read_json(tmp_path / "out" / "timings.json")["samples"] == 0
    with pytest.raises(RecipeError, match=r"is a reward model.*cannot be asked arithmetic"):
        evaluate(
            [arithmetic(n=2)],
            answers,
            seed=0,
            label="rm",
            model="rm",
            data=None,
            out=tmp_path / "no",
            console=Console(quiet=True),
        )


def test_burnish_eval_on_the_command_line(folder: Path, data_dir: Path, tmp_path: Path) -> None:
    words = ["eval", str(folder.parent), "--tasks", "hh_rlhf_helpful_online", "--limit", "3", "--machine", "exact"]
    words += ["--data", str(data_dir), "--out", str(tmp_path / "out"), "--cache", str(tmp_path / "c")]
    assert main(words) == 0
    (file,) = (tmp_path / "out").glob("eval-*/samples.jsonl")
    for line in file.read_text().splitlines():
        sample = json.loads(line)
        if sample["score"] is not None:
            chosen, rejected = (each["logprob"] for each in sample["choices"])
            assert math.isclose(sample["score"], float(chosen > rejected))


def test_the_defaults_are_tulu_3s() -> None:
    """Rate 3e-6 in a line to 0 without warm-up, 256 pairs, 1 epoch, 2,048 tokens, norm 1, no margin (arXiv:2411.15124 §6.2)."""
    stage = RewardModeling(START, DATA)
    assert (stage.lr, stage.global_batch, stage.epochs, stage.max_tokens, stage.clip_norm) == (
        Linear(3e-6, 0.0),
        256,
        1,
        2048,
        1.0,
    )
    assert stage.loss == BradleyTerry(use_margin=False, center=0.0)
    assert stage.lr.lr(0, 100) == pytest.approx(3e-6, rel=0.02)
    assert stage.lr.lr(99, 100) < 6e-8


def test_margins_of_the_rows_reach_the_loss(tmp_path: Path) -> None:
    """The first loss is the mean of -log sigmoid(difference of the fresh head's scores - margin), with margins 0, 2 and 5."""
    rows = [
        Pair(user(f"What is {i}?"), f"It is {i}.", "No.", annotations={"margin": m} if m else {})
        for i, m in enumerate((0, 2, 5))
    ]
    prepare(tmp_path, list(rows))
    stage = RewardModeling(START, DATA, global_batch=3, max_tokens=200, loss=BradleyTerry(use_margin=True))
    ctx = context(tmp_path, "out", Machine())
    stage.run(ctx)
    model = RewardModel.start(Policy.load(tmp_path / "start" / "model", Machine()), seed=stage.seed)
    expected = 0.0
    for row, margin in zip(rows, (0, 2, 5), strict=True):
        chosen, rejected = model.rewards([(row.prompt, row.chosen), (row.prompt, row.rejected)])
        expected += math.log1p(math.exp(margin - (chosen or 0.0) + (rejected or 0.0))) / 3
    logged = json.loads((ctx.out / "metrics.jsonl").read_text().splitlines()[0])
    assert logged["loss"] == pytest.approx(expected, abs=1e-4)
