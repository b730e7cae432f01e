"""Our statistics against scipy, and coverage of the intervals by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from burnish.eval.stats import bootstrap, mcnemar, minimum_detectable_effect, paired, sign_flip, standard_error, wilson


@pytest.mark.parametrize(("successes", "count"), [(0, 5), (1, 5), (137, 541), (541, 541), (3, 1319)])
def test_wilson_against_scipy(successes: int, count: int):
    found = scipy_stats.binomtest(successes, count).proportion_ci(0.95, method="wilson")
    assert wilson(successes, count) == pytest.approx((found.low, found.high), abs=1e-12)


@pytest.mark.parametrize(("gained", "lost"), [(0, 1), (5, 1), (7, 7), (40, 12), (300, 250)])
def test_mcnemar_against_scipy(gained: int, lost: int):
    assert mcnemar(gained, lost) == pytest.approx(scipy_stats.binomtest(gained, gained + lost).pvalue, rel=1e-9)


def test_standard_error_and_paired_t_against_scipy():
    draws = np.random.default_rng(0)
    a, b = draws.random(30), draws.random(30)
    assert standard_error(list(a)) == pytest.approx(scipy_stats.sem(a))
    found = scipy_stats.ttest_rel(b, a).confidence_interval(0.95)
    assert paired(list(a), list(b)).interval == pytest.approx((found.low, found.high))


@pytest.mark.parametrize(("size", "tolerance"), [(10, 1e-12), (40, 0.015)])
def test_sign_flip_against_scipy(size: int, tolerance: float):
    changes = np.random.default_rng(size).normal(0.3, 1, size)
    found = scipy_stats.permutation_test(
        (changes, np.zeros(size)), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
        n_resamples=10_000 if size > 12 else np.inf, rng=np.random.default_rng(1), vectorized=True,
    )  # fmt: skip
    assert sign_flip(list(changes)) == pytest.approx(found.pvalue, abs=tolerance)


def test_coverage_of_wilson_and_paired_intervals():
    """400 studies of 60 problems: a 95 % interval holds the truth in 92.5 % to 98.5 % of them (3 sd = 3.3 points)."""
    draws = np.random.default_rng(7)
    shares = draws.random((400, 60)) < 0.3
    covered = [low <= 0.3 <= high for low, high in (wilson(int(s.sum()), 60) for s in shares)]
    assert 0.925 <= np.mean(covered) <= 0.985
    change = draws.choice([1.0, 0.0, -1.0], size=(400, 60), p=[0.2, 0.75, 0.05])
    before = np.where(change == 1, 0.0, np.where(change == -1, 1.0, (draws.random(change.shape) < 0.5).astype(float)))
    found = [paired(list(b), list(b + c)).interval for b, c in zip(before, change, strict=True)]
    assert 0.925 <= np.mean([low <= 0.15 <= high for low, high in found]) <= 0.985


def test_coverage_of_bootstrap():
    draws = np.random.default_rng(8).beta(0.5, 1.5, (300, 60))
    covered = [low <= 0.25 <= high for low, high in (bootstrap(list(d), 500) for d in draws)]
    assert 0.90 <= np.mean(covered) <= 0.985


def test_level_of_tests_and_power_at_the_detectable_effect():
    """No change: p <= 0.05 in at most 5 % (+ 3 sd). A true change of the detectable size: found in 80 % (± 3 sd)."""
    draws = np.random.default_rng(9)
    null = [mcnemar(int(n), 20 - int(n)) for n in draws.binomial(20, 0.5, 500)]
    assert np.mean([p <= 0.05 for p in null]) <= 0.08
    effect = minimum_detectable_effect(1.0, 100)
    hits = [paired([0.0] * 100, list(d)).p <= 0.05 for d in draws.normal(effect, 1.0, (150, 100)).clip(-5, 5)]
    assert 0.70 <= np.mean(hits) <= 0.90
