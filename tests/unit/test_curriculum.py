"""Problems chosen by measured pass rate: by hand, and on the toy model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_runs import DATA, START, Letters, context, prepare, problems

from burnish.core.types import Finish
from burnish.data.dataset import Dataset
from burnish.errors import RecipeError
from burnish.pipeline.machine import Machine
from burnish.rollout.completions import LOG, Graded
from burnish.rollout.curriculum import ByPassRate, rate
from burnish.rollout.engine import Sampling

torch.set_num_threads(1)
STAGE = ByPassRate(START, DATA, {"letters": Letters()}, k=4, sampling=Sampling(max_tokens=8))


def test_which_rates_are_kept() -> None:
    """Between 0.2 and 0.8 lie 0.25, 0.5 and 0.75; nearest to 0.5 are 0.5 and, of two equally near, the first."""
    rates = [0.0, 0.25, None, 1.0, 0.75, 0.5]
    assert ByPassRate(START, DATA, {}).choose(rates) == {1, 4, 5}
    assert ByPassRate(START, DATA, {}, above=0.2, below=0.6).choose(rates) == {1, 5}
    assert ByPassRate(START, DATA, {}, above=0.2, below=0.8, take=2).choose(rates) == {5, 1}
    assert ByPassRate(START, DATA, {}, above=-1, below=2).choose(rates) == {0, 1, 3, 4, 5}


def test_a_rate_is_the_mean_of_what_was_graded() -> None:
    replies = [Graded(k, "", Finish.STOP, 1, score, "") for k, score in enumerate((1.0, None, 0.5, 0.0))]
    assert rate(replies) == 0.5
    assert rate(replies[1:2]) is None


def test_the_stage_keeps_what_it_measured(tmp_path: Path) -> None:
    prepare(tmp_path, problems())
    ctx = context(tmp_path, "chosen", Machine(slots=8))
    STAGE.check(None)
    STAGE.run(ctx)
    scores: dict[str, list[float]] = {}
    for line in (ctx.out / LOG).read_text().splitlines():
        record = json.loads(line)
        if record["score"] is not None:
            scores.setdefault(record["problem_id"], []).append(record["score"])
    means = {name: sum(found) / len(found) for name, found in scores.items()}
    data = Dataset.open(ctx.out)
    kept = {row.id: row.annotations["pass_rate"] for row in data.stream()}
    assert kept == {name: mean for name, mean in means.items() if 0 < mean < 1}
    assert kept
    assert len(kept) + len(list(data.dropped())) == len(problems())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"above": 0.8, "below": 0.2}, "above=0.8, below=0.2: no share of k=8"),
        ({"above": 0.51, "below": 0.6}, "raise k"),
        ({"take": 0}, "take=0"),
        ({"k": 0}, "k=0"),
    ],
)
def test_settings_that_keep_nothing_are_refused(settings: dict[str, float], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        ByPassRate(START, DATA, {"letters": Letters()}, **settings).check(None)  # type: ignore[arg-type]
