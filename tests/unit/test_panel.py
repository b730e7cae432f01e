"""The panel of a training run: what it shows, that it fits, and that no file can break it."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.pipeline.progress import cells, plain
from burnish.pipeline.spent import spent_by
from burnish.train.log import note
from burnish.train.panel import headline, pace, panel, time_left, trend


def step(number: int, **more: Any) -> dict[str, Any]:
    """A record of an RL step, as train/on_policy.py writes it."""
    return {
        "step": number, "steps": 10, "lr": 5e-7, "tokens": 100, "loss": 0.01, "grad_norm": 0.3, "kl": 0.002, "entropy": 0.9,
        "clip_fraction": 0.01, "engine_gap": 1e-5, "reward": number / 10, "pass_rate": number / 20, "length": 120.0,
        "cut_share": 0.05, "groups": 4, "informative": 3, "ungraded": 0, "reward/gsm8k": number / 10, "reward/ifeval": 0.5,
        "rollout_s": 6.0, "grade_s": 1.5, "learn_s": 4.0, "tokens_per_s": 1234.0, "wall_s": 10.0 * number, "mfu": 0.31,
    } | more  # fmt: skip


def text(records: list[dict[str, Any]], columns: int = 120) -> str:
    return "\n".join(plain(line) for line in panel(records, columns))


def test_an_rl_run_shows_what_a_person_watches() -> None:
    shown = text(
        [
            step(1),
            step(2, **{"probe/gsm8k": 0.4, "ungraded": 3, "flagged_passes": 0.25}),
            step(3, ungraded=2, flagged_passes=0.25),
        ]
    )
    for part in (
        "reward   0.300 ▁▅█  gsm8k 0.300 ▁▅█  ifeval 0.500 ▄▄▄",
        "passed 15.0%",
        "cut 5.0%",
        "informative 3 of 4 groups",
        "length 120",
        "ungraded 2",
        "flagged passes 25.0%",
        "kl 0.002",
        "entropy 0.9",
        "clipped 1.0%",
        "gsm8k 0.400  at step 2",
        "1,234 tokens/s",
    ):
        assert part in shown


def test_time_split_by_hand() -> None:
    """Two steps: 2 × (6.0 - 1.5) = 9 s of rollouts, 2 × 1.5 = 3 s grading, 2 × 4 = 8 s learning: 45 %, 15 % and 40 % of 20 s."""
    records = [step(1), step(2)]
    assert spent_by(records) == {"rollout": 9.0, "grading": 3.0, "learning": 8.0}
    assert "rollout 45%  grading 15%  learning 40%" in text(records)


def test_a_file_without_grading_times_counts_them_as_sampling() -> None:
    records = [{key: value for key, value in step(1).items() if key != "grade_s"}]
    assert spent_by(records) == {"rollout": 6.0, "learning": 4.0}


def test_replies_sampled_ahead_share_the_wait_by_hand() -> None:
    """Sampling a step took 10 s, 2 of them grading, while another was learned; the step waited 3 s: a fifth of it, 0.6 s, is grading."""
    records = [step(1, rollout_s=3.0, sampled_s=10.0, grade_s=2.0)]
    assert spent_by(records) == {"rollout": pytest.approx(2.4), "grading": pytest.approx(0.6), "learning": 4.0}
    assert spent_by([{"step": 1, "learn_s": 3.0}]) == {}


def test_other_training_has_no_rows_of_rl() -> None:
    sft = [
        {"step": i, "steps": 4, "loss": 2.0 / i, "lr": 1e-5, "grad_norm": 1.0, "tokens_per_s": 10.0, "wall_s": i}
        for i in (1, 2)
    ]
    shown = text(sft)
    assert "loss     1.0000 █▁" in shown
    for name in ("reward", "replies", "rollout", "probe"):
        assert name not in shown


def test_warnings_stand_out() -> None:
    lines = panel([step(1, informative=0)], 200)
    assert any("\x1b[33m0 of 4 groups" in line for line in lines)


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_lines_fit(columns: int) -> None:
    many = {f"reward/a very long name of a source, number {i}": 0.5 for i in range(9)}
    lines = panel([step(i, **many, **{"probe/数学": 0.5}) for i in range(1, 30)], columns)
    assert max(map(cells, lines)) <= columns
    assert "and 5 more" in "\n".join(map(plain, lines))


def test_trend_by_hand() -> None:
    """Means of pairs of 0, 2, 4, 6, 8, 10, 12, 14 are 1, 5, 9 and 13; of the eight marks these are numbers 0, 7/3, 14/3 and 7."""
    assert trend([0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 14.0], 4) == "▁▃▆█"
    assert trend([3.0, 3.0, 3.0], 8) == "▄▄▄"
    assert trend([1.0], 8) == ""


numbers = st.floats(allow_nan=False, allow_infinity=False)


@settings(deadline=None)
@given(st.lists(numbers, min_size=2, max_size=80), st.integers(2, 30))
def test_a_trend_has_its_least_and_its_greatest_mark(values: list[float], marks: int) -> None:
    drawn = trend(values, marks)
    assert len(drawn) == min(marks, len(values))
    assert set(drawn) <= set("▁▂▃▄▅▆▇█")
    assert set(drawn) == {"▄"} or {"▁", "█"} <= set(drawn)


def test_time_left_by_hand() -> None:
    """Ten seconds a step, seven steps left: 70 s."""
    records = [step(1), step(2), step(3)]
    assert pace(records) == pytest.approx(10.0)
    assert time_left(records) == pytest.approx(70.0)
    assert time_left([step(1)]) == pytest.approx(90.0)
    assert time_left([]) is None


def test_the_headline_has_a_bar() -> None:
    assert headline([step(5)], "rl", "50 s left") == "  rl ━━━━━━━━━━━━╌╌╌╌╌╌╌╌╌╌╌╌ 5/10 steps  50 s left"
    assert headline([], "rl", "no step yet") == "  rl  no step yet"


odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)  # fmt: skip
names = st.sampled_from([*step(1), "probe/x", "dev/loss", "flagged_passes", "value_loss", "reward/\x1b[2J", "reward/"])


@settings(deadline=None)
@given(st.lists(st.dictionaries(names, odd, max_size=12), max_size=8), st.integers(20, 200))
def test_no_record_breaks_the_panel(records: list[dict[str, Any]], columns: int) -> None:
    for line in panel(records, columns):
        assert cells(line) <= columns
        assert "\x1b[2J" not in line
    headline(records, "rl", "going on")
    left = time_left(records)
    assert left is None or left >= 0 or math.isnan(left)
    for record in records:
        note(record)
