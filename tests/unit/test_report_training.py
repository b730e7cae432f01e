"""What the report says of RL runs: monitors, ungraded replies, time, the best models; and that odd files do not stop it."""

from __future__ import annotations

import html
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rl_folders import write
from test_report import values

from burnish.report import collect, page, plots, training


def step(number: int, **more: Any) -> dict[str, Any]:
    return {
        "step": number, "steps": 10, "reward": 0.1 * number, "reward/a $b$": 0.1 * number, "reward/": 0.2, "kl": 0.01, "entropy": 1.0,
        "clip_fraction": 0.0, "length": 50.0, "cut_share": 0.1, "groups": 4, "informative": 2, "ungraded": 0, "tokens": 10,
        "flag/prompt_echo": 0.0, "flag/answer_list": 0.0, "flagged_passes": 0.0, "rollout_s": 6.0, "grade_s": 2.0, "learn_s": 4.0,
    } | more  # fmt: skip


RUN = [
    step(i, **{"flag/prompt_echo": 0.04 * (i > 8), "ungraded": 3 * (i == 2), "informative": 2 * (i != 5), "probe_s": 5.0 * (i == 10)})
    for i in range(1, 11)
]  # fmt: skip


def test_facts_by_hand(tmp_path: Path) -> None:
    """Ten steps of 4 s of rollouts, 2 s grading and 4 s learning and 5 s of one look: 40, 20, 40 and 5 of 105 s.

    A fifth of ten steps is two: prompt_echo is 0 in the first two and 0.04 in the last two, and reached that first at step 9.
    """
    found = training.facts(tmp_path, RUN)
    assert found["replies"] == {
        "steps": 10,
        "groups": 40,
        "informative": 18,
        "ungraded": 3,
        "ungraded_steps": 1,
        "idle": 1,
    }
    assert [(part["name"], part["time"]) for part in found["split"]] == [
        ("rollout", "40 s"), ("grading", "20 s"), ("learning", "40 s"), ("looks", "5 s"),
    ]  # fmt: skip
    assert sum(part["share"] for part in found["split"]) == pytest.approx(1.0)
    assert found["monitors"][1] == {"name": "prompt echo", "first": 0.0, "last": 0.04, "most": 0.04, "at": 9.0}
    assert [row["name"] for row in found["monitors"]] == ["answer list", "prompt echo", "right replies with a flag"]
    assert found["best"] == {}


def test_other_training_has_no_facts_of_rl(tmp_path: Path) -> None:
    found = training.facts(tmp_path, [{"step": 1, "loss": 1.0, "grad_norm": 1.0}])
    assert found == {"replies": {}, "monitors": [], "split": [], "best": {}}


def test_an_rl_stage_in_the_report(tmp_path: Path) -> None:
    folder = write(tmp_path / "rl-0123456789ab", [], metrics=RUN)
    kept = {
        "metric": "probe/sums",
        "higher": True,
        "model": "best",
        "kept": [{"step": 8, "value": 0.5, "folder": "best/step-000008"}],
    }
    (folder / "best.json").write_text(json.dumps(kept))
    shown = values(tmp_path / "others")
    rl = collect.load(folder)
    shown["curves"].append((rl, plots.curves(rl.metrics), training.facts(rl.folder, rl.metrics)))
    text = html.unescape(page.render(shown))
    for part in (
        "Kept by <b>probe/sums</b>, of which the stage's model is the first: step 8 (0.5)",
        "18 of 40 groups taught something",
        "1 step had none",
        "3 replies ungraded",
        "burnish show rl-0123456789ab --page rollouts.html",
        "Monitors of reward hacking",
        '<span class="flag">4.0</span>',
        "rollout <b>40 s</b> (38.1 %)",
        "Reward by source",
        "Flags of monitors",
        "Where the time of each step went",
        "Entropy by step",
        "Clipped by step",
    ):
        assert part in text, part


def test_figures_with_names_that_are_not_plain() -> None:
    svg = plots.family(
        [step(i, **{"reward/\x1b[31m<b>$x$": 0.5, "reward/" + "long" * 30: 0.1}) for i in (1, 2)], "reward/"
    )
    assert "\x1b" not in svg
    assert "<b>" not in svg
    assert "no source" in svg


junk = (
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers(-(10**9), 10**9)
    | st.text(max_size=4)
    | st.lists(st.integers(), max_size=2)
)
records = st.lists(st.dictionaries(st.sampled_from([*step(1), "probe/x", "probe_s"]), junk, max_size=6), max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(records, st.binary(max_size=40))
def test_no_file_breaks_the_facts(tmp_path: Path, broken: list[dict[str, Any]], best: bytes) -> None:
    (tmp_path / "best.json").write_bytes(best)
    training.facts(tmp_path, [*RUN, *broken])
    training.facts(tmp_path, broken)


@settings(deadline=None, max_examples=4)
@given(records)
def test_no_file_breaks_the_figures(broken: list[dict[str, Any]]) -> None:
    assert all(svg.startswith("<svg") for svg in plots.curves([*RUN, *broken]))
