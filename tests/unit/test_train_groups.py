"""Which problems a step asks: epochs, weights by source, further problems; and what is said of sources that are not there."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Check, Completion, Finish, Problem, Trajectory, Verdict, user
from burnish.errors import DataError, RecipeError, TrainingError
from burnish.train.groups import Order, Refill, check_logprobs, check_weights
from burnish.train.rollouts import Reward, check_sources
from burnish.train.rows import rows_of_step
from burnish.verify.shaping import SoftOverlong


def problems(**counts: int) -> list[Problem]:
    return [Problem(user(f"{name} {i}"), Check("v", ""), source=name) for name, n in counts.items() for i in range(n)]


def reply(score: float | None, finish: Finish = Finish.STOP, tokens: int = 2, source: str = "a") -> Trajectory:
    problem = Problem(user("?"), Check("v", ""), source=source)
    return Trajectory(problem, (1,), Completion((5,) * tokens, (-1.0,) * tokens, finish, "text"), Verdict(score, ""))


def test_without_weights_an_epoch_has_each_problem_once() -> None:
    order = Order(problems(a=3, b=4), 3, 5, {})
    assert [order.of(step) for step in range(6)] == [rows_of_step(step, 7, 3, 5) for step in range(6)]
    assert sorted(i for step in range(3) for i in order.of(step)) == list(range(7))


def test_weights_by_hand() -> None:
    """Shares 3/4 and 1/4 at 2 a step. Behind at the first place: a 0.75, b 0.25: a. Then a 0.5, b 0.5: a, the first by name;
    then a 0.25, b 0.75: b; then a 1, b 0: a. So in four places a, a, b, a, and so on.
    """
    asked = problems(a=2, b=3)
    order = Order(asked, 2, 0, {"b": 1.0, "a": 3.0})
    assert [[asked[i].source for i in order.of(step)] for step in range(4)] == [["a", "a"], ["b", "a"]] * 2
    # Both problems of a before either comes again.
    drawn = [i for step in range(4) for i in order.of(step) if asked[i].source == "a"]
    assert [set(drawn[i : i + 2]) for i in range(0, 6, 2)] == [{0, 1}] * 3


@settings(max_examples=40, deadline=None)
@given(
    weights=st.lists(st.floats(0.1, 10.0), min_size=1, max_size=5),
    a_step=st.integers(1, 9),
    steps=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_sources_keep_their_shares_and_a_step_depends_on_its_number_alone(
    weights: list[float], a_step: int, steps: int, seed: int
) -> None:
    names = "abcde"[: len(weights)]
    asked, by_name = problems(**dict.fromkeys(names, 4)), dict(zip(names, weights, strict=True))
    order = Order(asked, a_step, seed, by_name)
    drawn = [order.of(step) for step in range(steps)]
    assert Order(asked, a_step, seed, by_name).of(steps - 1) == drawn[-1]
    counts = Counter(asked[i].source for step in drawn for i in step)
    for name, weight in by_name.items():
        assert abs(counts[name] - weight / sum(weights) * a_step * steps) < len(weights)
    for name in names:
        mine = [i for step in drawn for i in step if asked[i].source == name]
        assert all(len(set(mine[at : at + 4])) == len(mine[at : at + 4]) for at in range(0, len(mine), 4))


def test_a_source_of_weight_0_is_never_asked() -> None:
    asked = problems(a=3, b=3)
    order = Order(asked, 4, 0, {"a": 1.0, "b": 0.0})
    assert {asked[i].source for step in range(9) for i in [*order.of(step), *order.further(step, 1, [0], 9)]} == {"a"}


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 12), taken=st.sets(st.integers(0, 8)), round_=st.integers(1, 3))
def test_further_problems_are_others_and_always_the_same(count: int, taken: set[int], round_: int) -> None:
    order = Order(problems(a=4, b=5), 2, 3, {"a": 1.0, "b": 2.0})
    found = order.further(7, round_, sorted(taken), count)
    assert len(found) == len(set(found)) == min(count, 9 - len(taken))
    assert not taken & set(found)
    assert found == order.further(7, round_, sorted(taken), count)


def test_further_problems_are_other_questions() -> None:
    """Rows 0 and 3 ask the same: where one is taken, or drawn, the other is not drawn."""
    asked = [*problems(a=3), *problems(a=1)]
    order = Order(asked, 2, 3, {})
    assert sorted(order.further(0, 1, [0], 9)) == [1, 2]
    for step in range(9):
        assert sorted({0: 0, 1: 1, 2: 2, 3: 0}[i] for i in order.further(step, 1, [1], 9)) == [0, 2]


def test_further_problems_follow_the_weights() -> None:
    """One of a and b each, b weighing 3 times as much: b comes first in 3 of 4 draws; in 400, within 4 standard deviations (35)."""
    order = Order(problems(a=1, b=1), 1, 0, {"a": 1.0, "b": 3.0})
    assert abs(sum(order.further(step, 1, [], 1) == [1] for step in range(400)) - 300) < 35
    # The size of a source is no weight: 9 problems of a share what the one had.
    order = Order(problems(a=9, b=1), 1, 0, {"a": 1.0, "b": 3.0})
    assert abs(sum(order.further(step, 1, [], 1) == [9] for step in range(400)) - 300) < 50


def test_sources_that_are_not_there_are_named() -> None:
    asked = problems(gsm8k=1, math=1)
    with pytest.raises(RecipeError, match=r"weights names the source 'gsm8'.*\n.*Did you mean 'gsm8k'"):
        check_weights("rl", {"gsm8": 1.0, "math": 1.0}, asked)
    with pytest.raises(RecipeError, match=r"says nothing of the source 'math'.*\n.*'math': 0\.0"):
        check_weights("rl", {"gsm8k": 1.0}, asked)
    check_weights("rl", {"gsm8k": 1.0, "math": 0.0}, asked)
    check_weights("rl", {}, asked)
    with pytest.raises(RecipeError, match=r"reward names the source 'Math'"):
        check_sources("rl", "reward", {"Math": 10.0}, asked)
    with pytest.raises(DataError, match="source 'math', and none of its problems fits"):
        Order(asked[:1], 2, 0, {"gsm8k": 1.0, "math": 1.0})
    with pytest.raises(RecipeError, match=r"Refill\(rounds=0\)"):
        Refill(rounds=0)


def test_scaled_rewards_by_hand() -> None:
    """Tülu 3: a right answer is worth 10, a reply without an end -10, whatever its grade; other sources are worth 1."""
    reward = Reward(missing_end=-1.0, scale={"a": 10.0})
    assert reward.of(reply(1.0)) == 10.0
    assert reward.of(reply(0.5)) == 5.0
    assert reward.of(reply(1.0, Finish.LENGTH)) == -10.0
    assert reward.of(reply(None)) is None
    assert reward.of(reply(1.0, source="b")) == 1.0
    assert reward.of(reply(1.0, Finish.LENGTH, source="b")) == -1.0
    # 8 of at most 10 tokens, of which the last 4 cost: (8 - 6) / 4 = 0.5 of a right answer.
    long = Reward(overlong=SoftOverlong(10, 4), scale={"a": 10.0})
    assert long.of(reply(1.0, tokens=8)) == 5.0
    with pytest.raises(RecipeError, match=r"scale=\{'a': 0.0\}"):
        Reward(scale={"a": 0.0})


def test_a_group_teaches_when_two_rewards_differ() -> None:
    assert Reward().differ([reply(0.0), reply(1.0)])
    assert not Reward().differ([reply(1.0), reply(1.0), reply(None)])
    assert not Reward().differ([reply(0.5), reply(1.0, Finish.ABORT)])
    assert Reward(missing_end=0.0).differ([reply(1.0), reply(1.0, Finish.LENGTH)])


@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), float("inf")])
def test_a_logprob_that_is_no_number_names_its_row(bad: float) -> None:
    trajectory = reply(1.0)
    broken = Trajectory(trajectory.problem, (1,), Completion((5, 6), (-1.0, bad), Finish.STOP, ""), Verdict(1.0, ""))
    with pytest.raises(TrainingError, match=rf"Step 3: .*token 1 .*{broken.problem.id} \(source a\) is"):
        check_logprobs(broken, 2)
    check_logprobs(trajectory, 2)
