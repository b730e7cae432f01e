"""Whole runs of RL with each of its choices on the toy model: what they change, and that a kill anywhere changes nothing."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file
from training_runs import DATA, START, Given, Letters, context, prepare, problems

from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import DataError, RecipeError, TrainingError
from burnish.losses.policy import GRPO, reinforce_pp, rloo
from burnish.model.trains import LoRA
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Sampling
from burnish.rollout.reply import Reply
from burnish.train.advantages import KLInReward, LeaveOneOut, Whitened
from burnish.train.correction import Refuse, Truncate
from burnish.train.groups import Refill
from burnish.train.grpo import RL
from burnish.train.moving_reference import RefreshEvery
from burnish.train.replay import Replayed, RolloutFile
from burnish.train.rollout_log import RUNNING
from burnish.train.rollouts import Reward
from burnish.train.schedule import Constant

torch.set_num_threads(1)
MACHINE = Machine(micro_tokens=400, checkpoint_every_s=0.0, slots=8)
PLAIN = RL(
    START, DATA, {"letters": Letters()}, steps=3, problems_per_step=2, group_size=3, lr=Constant(1e-2),
    sampling=Sampling(max_tokens=8), loss=GRPO(kl_coef=0.05),
)  # fmt: skip
TIMES = {"tokens_per_s", "wall_s", "rollout_s", "learn_s", "grade_s", "tflops", "mfu"}
CHOICES: dict[str, dict[str, Any]] = {
    "rloo": {"loss": rloo(), "advantage": LeaveOneOut(), "kl_in_reward": KLInReward(0.1)},
    "reinforce++": {"loss": reinforce_pp(), "advantage": Whitened(), "kl_in_reward": KLInReward(0.1, per="token")},
    "refresh": {"refresh_reference": RefreshEvery(1, mix=0.5), "updates_per_step": 2},
    "refresh with adapters": {"refresh_reference": RefreshEvery(2), "trains": LoRA(4)},
    "truncate": {"correction": Truncate(1.5, "sequence"), "updates_per_step": 2},
    "weights": {"weights": {"s0": 3.0, "s1": 1.0}, "reward": Reward(scale={"s0": 10.0})},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    prepare(folder, problems())
    return folder


def ran(root: Path, out: str, stage: RL, machine: Machine = MACHINE) -> Path:
    ctx = context(root, out, machine)
    stage.run(ctx)
    return ctx.out


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def timeless(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k not in TIMES} for record in metrics(folder)]


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rollouts.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / "model.safetensors")


def same_result(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert all(torch.equal(weight, second[name]) for name, weight in first.items())
    assert timeless(a) == timeless(b)
    assert (a / "rollouts.jsonl").read_bytes() == (b / "rollouts.jsonl").read_bytes()
    assert {path.name for path in b.iterdir()} == {path.name for path in a.iterdir()}


class PowerCut(BaseException):
    """Not an Error: nothing in the code expects it."""


_left = _graded = 0


@dataclass(frozen=True)
class CutLetters(Letters):
    """Letters, but the power fails while a reply is graded."""

    VERSION: ClassVar[int] = 1

    def __call__(self, problem: Problem, text: str) -> Verdict:
        global _left, _graded
        _left -= 1
        if _left == 0:
            raise PowerCut
        _graded += 1
        return Letters.__call__(self, problem, text)


def killed(root: Path, out: str, stage: RL, cuts: tuple[int, ...], machine: Machine = MACHINE) -> Path:
    """The stage's folder after a run whose power fails at the n-th grade of each sitting."""
    global _left, _graded
    _graded = 0
    stage = dataclasses.replace(stage, verifiers={"letters": CutLetters()})
    ctx = context(root, out, machine)
    for cut in cuts:
        _left = cut
        with pytest.raises(PowerCut):
            stage.run(ctx)
    _left = 0
    stage.run(ctx)
    return ctx.out


@pytest.mark.parametrize("every_s", [0.0, 1e9])
def test_a_kill_inside_a_step_loses_no_reply(root: Path, tmp_path: Path, every_s: float) -> None:
    """Five sittings, cut while replies are graded: every reply is graded once in all of them, and the result is the same.

    With a torn last line the reply on it is the only one that is sampled again.
    """
    straight = ran(root, f"straight-{every_s}", PLAIN)
    machine = dataclasses.replace(MACHINE, checkpoint_every_s=every_s)
    out = killed(root, f"{tmp_path.name}-cut", PLAIN, (4, 1, 3, 6), machine)
    same_result(straight, out)
    assert _graded == len(lines(straight))
    ctx = context(root, f"{tmp_path.name}-torn", machine)
    global _left
    _left = 5
    stage = dataclasses.replace(PLAIN, verifiers={"letters": CutLetters()})
    with pytest.raises(PowerCut):
        stage.run(ctx)
    running = ctx.out / RUNNING
    assert running.read_bytes().count(b"\n") == 4
    running.write_bytes(running.read_bytes()[:-30])
    stage.run(ctx)
    same_result(straight, ctx.out)


SLOW = {"refresh with adapters", "truncate", "weights"}  # each differs from another by one field


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in CHOICES]
)
def test_every_choice_learns_and_survives_kills(name: str, root: Path, tmp_path: Path) -> None:
    stage = dataclasses.replace(PLAIN, **CHOICES[name])
    stage.check(None)
    straight = ran(root, f"{tmp_path.name}-straight", stage)
    assert all(record["grad_norm"] > 0 for record in metrics(straight))
    assert all(record["engine_gap"] < 1e-4 for record in metrics(straight))
    same_result(straight, killed(root, f"{tmp_path.name}-cut", stage, (8, 5)))


def test_kl_in_the_reward_is_paid(root: Path, tmp_path: Path) -> None:
    """At step 1 the policy is the reference: nothing to pay. Later the reference's log-probs differ, and are in the log."""
    records = metrics(ran(root, tmp_path.name, dataclasses.replace(PLAIN, **CHOICES["rloo"])))
    assert records[0]["kl_reward"] == pytest.approx(0.0, abs=1e-4)
    assert abs(records[2]["kl_reward"]) > 1e-3  # 0.1 times the nats of a reply


def test_a_reference_follows_the_policy(root: Path, tmp_path: Path) -> None:
    """Refreshed whole after every step it is the policy as the next step begins, so KL is 0 again; left alone, KL grows."""
    follows = metrics(ran(root, f"{tmp_path.name}-a", dataclasses.replace(PLAIN, refresh_reference=RefreshEvery(1))))
    stays = metrics(ran(root, f"{tmp_path.name}-b", PLAIN))
    assert [record["kl"] for record in follows] == pytest.approx([0.0] * 3, abs=1e-6)
    assert stays[2]["kl"] > 1e-3


def test_refill_asks_until_groups_differ(root: Path, tmp_path: Path) -> None:
    """Problems 0 and 3 are always right, so steps that ask one of them ask others in its place, at most twice; a kill in
    between changes nothing, and no reply is graded twice.
    """
    stage = dataclasses.replace(PLAIN, verifiers={"letters": Easy()}, refill=Refill(2), steps=4)
    straight = ran(root, f"{tmp_path.name}-straight", stage)
    records = metrics(straight)
    assert any(record["refills"] for record in records)
    # 5 problems at 2 a step: the third step of an epoch has 1.
    for record, wanted in zip(records, (2, 2, 1, 2), strict=True):
        mine = [line for line in lines(straight) if line["step"] == record["step"]]
        asked = [line["problem"]["id"] for line in mine]
        assert len(set(asked)) == record["groups"] == len(mine) / 3
        assert record["informative"] == wanted or record["refills"] == 2 or record["groups"] == 5
        assert record["informative"] <= wanted
    plain = metrics(ran(root, f"{tmp_path.name}-plain", dataclasses.replace(stage, refill=None)))
    assert sum(r["informative"] for r in plain) < sum(r["informative"] for r in records)
    ctx = context(root, f"{tmp_path.name}-cut", MACHINE)
    global _left
    for cut in (5, 7, 4):
        _left = cut
        with pytest.raises(PowerCut):
            dataclasses.replace(stage, verifiers={"letters": CutEasy()}).run(ctx)
    _left = 0
    dataclasses.replace(stage, verifiers={"letters": CutEasy()}).run(ctx)
    same_result(straight, ctx.out)


@dataclass(frozen=True)
class Easy(Letters):
    """Letters, but some problems are always right."""

    VERSION: ClassVar[int] = 1

    def __call__(self, problem: Problem, text: str) -> Verdict:
        if problem.prompt[0].content in ("Write word 0", "Write word 3"):
            return Verdict(1.0, "always")
        return Letters.__call__(self, problem, text)


@dataclass(frozen=True)
class CutEasy(Easy):
    """Easy, with a power failure."""

    VERSION: ClassVar[int] = 1

    def __call__(self, problem: Problem, text: str) -> Verdict:
        global _left
        _left -= 1
        if _left == 0:
            raise PowerCut
        return Easy.__call__(self, problem, text)


def test_replies_that_were_cut_can_be_left_out_of_the_loss(root: Path, tmp_path: Path) -> None:
    """All replies of 8 tokens are cut here: with mask_cut nothing is trained, though their rewards are logged."""
    out = ran(root, tmp_path.name, dataclasses.replace(PLAIN, mask_cut=True, steps=1))
    record = metrics(out)[0]
    assert record["cut_share"] == 1.0
    assert (record["grad_norm"], record["informative"]) == (0.0, 2)
    start = load_file(root / "start" / "model" / "model.safetensors")
    assert all(torch.equal(weight, start[name]) for name, weight in weights(out).items())


def test_steps_whose_replies_are_all_left_out_end_the_run(root: Path, tmp_path: Path) -> None:
    """Rewards differ, but every reply is cut and masked: a run that learns nothing must not look like one that does."""
    with pytest.raises(TrainingError, match=r"for 2 steps in a row .* of the loss \(100% of .*\n.*max_tokens"):
        ran(root, tmp_path.name, dataclasses.replace(PLAIN, mask_cut=True, patience=2))


def test_a_problem_that_comes_twice_in_a_step_gets_other_replies(root: Path, tmp_path: Path) -> None:
    """Three problems of s0 in steps of five: two come twice. The same seeds would give the same replies, counted twice."""
    stage = dataclasses.replace(PLAIN, weights={"s0": 1.0, "s1": 0.0}, problems_per_step=5, steps=1)
    groups: dict[int, list[tuple[int, ...]]] = {}
    asked: dict[int, str] = {}
    for line in lines(ran(root, tmp_path.name, stage)):
        groups.setdefault(line["group"], []).append(tuple(line["completion"]["token_ids"]))
        asked[line["group"]] = line["problem"]["id"]
    assert len(groups) == 5
    assert len(set(asked.values())) == 3
    assert len({tuple(group) for group in groups.values()}) == 5
    every = [reply for group in groups.values() for reply in group]
    assert len(set(every)) == len(every)


@pytest.mark.parametrize("updates", [1, 2])
def test_a_gap_that_is_refused_stops_the_run_before_the_weights_move(
    updates: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = Reply.push
    monkeypatch.setattr(Reply, "push", lambda reply, token, logprob: push(reply, token, logprob - 0.5))
    stage = dataclasses.replace(PLAIN, correction=Refuse(0.2), updates_per_step=updates)
    ctx = context(root, tmp_path.name, MACHINE)
    with pytest.raises(TrainingError, match=r"Step 1: .* 0\.5 nats a token"):
        stage.run(ctx)
    assert not (ctx.out / "metrics.jsonl").read_text()
    assert len((ctx.out / RUNNING).read_text().splitlines()) == 6


def test_an_engine_without_numbers_names_the_row(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    push = Reply.push
    monkeypatch.setattr(Reply, "push", lambda reply, token, logprob: push(reply, token, float("nan")))
    with pytest.raises(
        TrainingError, match=r"Step 1: the engine's log-prob of token 0 of a reply to the problem \w{16}"
    ):
        ran(root, tmp_path.name, PLAIN)


def test_sources_are_asked_by_weight_and_paid_by_scale(root: Path, tmp_path: Path) -> None:
    """Shares 3/4 and 1/4 at 2 a step: of 6 groups, s0 s0, s1 s0, s0 s0."""
    out = ran(root, tmp_path.name, dataclasses.replace(PLAIN, **CHOICES["weights"]))
    found = lines(out)
    assert [line["problem"]["source"] for line in found[::3]] == ["s0", "s0", "s1", "s0", "s0", "s0"]
    for line in found:
        if line["score"] is not None:
            scale = 10.0 if line["problem"]["source"] == "s0" else 1.0
            assert line["reward"] == pytest.approx(scale * line["score"])
    for wrong, said in (
        ({"weights": {"s0": 1.0, "S1": 1.0}}, "weights names the source 'S1'"),
        ({"reward": Reward(scale={"s2": 2.0})}, r"scale=….*names the source 's2'"),
    ):
        with pytest.raises(RecipeError, match=said):
            ran(root, f"{tmp_path.name}-wrong", dataclasses.replace(PLAIN, **wrong))


def test_prompts_that_do_not_fit_say_how_long_replies_may_be(root: Path, tmp_path: Path) -> None:
    """The toy reads 2,048 tokens; replies of one more than it has left beside the shortest prompt leave no problem."""
    lengths = [len(line["prompt_ids"]) for line in lines(ran(root, f"{tmp_path.name}-all", PLAIN))]
    shortest = min(lengths)
    stage = dataclasses.replace(PLAIN, sampling=Sampling(max_tokens=2048 - shortest + 1))
    with pytest.raises(DataError, match=rf"shortest prompt has {shortest} tokens.*\n.*at most 2,{48 - shortest:03d};"):
        ran(root, f"{tmp_path.name}-none", stage)


@pytest.fixture(scope="module")
def recorded(root: Path) -> Path:
    """A run whose replies are replayed below."""
    return ran(root, "recorded", PLAIN)


def test_a_replay_learns_what_the_run_learned(root: Path, tmp_path: Path, recorded: Path) -> None:
    """From the same start, on the same replies, with the engine's log-probs as old ones: the same weights, up to rounding."""
    for name, run in (("stage", Given("recorded")), ("file", RolloutFile(recorded / "rollouts.jsonl"))):
        stage = dataclasses.replace(PLAIN, replay=Replayed(run))
        stage.check(None)
        out = ran(root, f"{tmp_path.name}-{name}", stage)
        first, second = weights(recorded), weights(out)
        start = load_file(root / "start" / "model" / "model.safetensors")
        way, apart = (
            sum(float((w - other[key]).square().sum()) for key, w in first.items()) for other in (start, second)
        )
        # Adam moves a weight by as much for a gradient that is rounding as for a large one.
        assert 0 < apart < 0.01 * way
        assert [r["reward"] for r in metrics(out)] == [r["reward"] for r in metrics(recorded)]
        assert lines(out) == lines(recorded)
        assert all(record["engine_gap"] < 1e-2 for record in metrics(out))


def test_a_replay_of_another_policy_is_corrected(root: Path, tmp_path: Path, recorded: Path) -> None:
    """Twice round in new orders, so the policy leaves the recorded one; a weight takes the place of the ratio."""
    stage = dataclasses.replace(PLAIN, replay=Replayed(Given("recorded"), "shuffled"), steps=6)
    plain = metrics(ran(root, f"{tmp_path.name}-plain", stage))
    weighed = metrics(ran(root, f"{tmp_path.name}-weighed", dataclasses.replace(stage, correction=Truncate())))
    assert plain[-1]["ratio"] != pytest.approx(1.0, abs=1e-3)
    assert all(record["ratio"] == pytest.approx(1.0, abs=1e-6) for record in weighed)
    assert plain[-1]["engine_gap"] > 1e-2


def test_a_replay_survives_kills(root: Path, tmp_path: Path, recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from burnish.train.learner import Learner

    stage = dataclasses.replace(PLAIN, replay=Replayed(Given("recorded")))
    straight = ran(root, f"{tmp_path.name}-straight", stage)
    ctx = context(root, f"{tmp_path.name}-cut", MACHINE)
    learn = Learner.forward_backward
    for _ in range(2):
        calls: list[int] = []

        def cut(learner: Learner, *args: Any, calls: list[int] = calls, **more: Any) -> dict[str, float]:
            calls.append(1)
            if len(calls) == 2:
                raise PowerCut
            return learn(learner, *args, **more)

        with monkeypatch.context() as patched:
            patched.setattr(Learner, "forward_backward", cut)
            with pytest.raises(PowerCut):
                stage.run(ctx)
    stage.run(ctx)
    same_result(straight, ctx.out)


def test_a_file_that_is_not_the_one_named_is_not_replayed(root: Path, tmp_path: Path, recorded: Path) -> None:
    """The digest is the identity: other replies under it would give results that another recipe's name stands over."""
    path = tmp_path / "rollouts.jsonl"
    path.write_bytes((recorded / "rollouts.jsonl").read_bytes())
    named = RolloutFile(path)
    path.write_bytes(path.read_bytes().replace(b'"score": 0.', b'"score": 1.'))
    for given in (named, RolloutFile(path, sha256="0" * 64)):
        with pytest.raises(DataError, match=r"rollouts\.jsonl has the SHA-256 \w+, not"):
            ran(root, f"{tmp_path.name}-other", dataclasses.replace(PLAIN, replay=Replayed(given)))


def test_what_cannot_be_replayed_is_said(root: Path, tmp_path: Path, recorded: Path) -> None:
    raw = (recorded / "rollouts.jsonl").read_text().splitlines()

    def replay(change: Any, name: str, **more: Any) -> None:
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(change(json.loads(line))) + "\n" for line in raw))
        ran(root, f"{tmp_path.name}-{name}", dataclasses.replace(PLAIN, replay=Replayed(RolloutFile(path)), **more))

    with pytest.raises(
        DataError, match=r"line 1: the prompt of problem \w+ was recorded as \d+ tokens.*\n.*same tokenizer"
    ):
        replay(lambda r: r | {"prompt_ids": [*r["prompt_ids"], 7]}, "prompt")
    with pytest.raises(DataError, match=r"line 1: tokens up to 99999 .*this model knows"):
        replay(lambda r: r | {"completion": r["completion"] | {"token_ids": [99999] * 8}}, "tokens")
    with pytest.raises(DataError, match="one finite log-prob for each of its 8 tokens"):
        replay(lambda r: r | {"completion": r["completion"] | {"logprobs": [-1.0]}}, "logprobs")
    with pytest.raises(DataError, match="line 1: not a recorded reply, which has step"):
        replay(lambda r: {"text": "hello"}, "other")
    with pytest.raises(RecipeError, match=r"steps=9, but .* has nothing of step 4.*\n.*steps=3 or less"):
        replay(lambda r: r, "short", steps=9)
    prepare(tmp_path, [Problem(user("Another question"), Check("letters", ""), source="s0")])
    stage = dataclasses.replace(PLAIN, replay=Replayed(RolloutFile(recorded / "rollouts.jsonl")))
    with pytest.raises(DataError, match="none of its 15 replies is to one of the stage's problems"):
        stage.run(context(tmp_path, "others", MACHINE))
    with pytest.raises(DataError, match="there is no such file"):
        RolloutFile(tmp_path / "nothing.jsonl")
    with pytest.raises(DataError, match=r"does not exist.*\n.*an RL stage"):
        ran(root, f"{tmp_path.name}-none", dataclasses.replace(PLAIN, replay=Replayed(START)))
