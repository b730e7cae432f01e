"""Our statistics against scipy, and against statsmodels where it is installed (the oracle extra)."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from scipy import stats as scipy_stats

from burnish.eval.paired import holm, mcnemar, minimum_detectable_effect, paired, sign_flip, unpaired
from burnish.eval.stats import estimate, standard_error, wilson


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


@pytest.mark.parametrize(("n", "centre"), [(200, 0.5), (400, 0.2)])
def test_intervals_of_many_fractional_scores_against_scipys_bootstrap(n: int, centre: float):
    """Bias-corrected bootstrap over 4,000 resamples: ends within a fifteenth of the interval."""
    scores = np.random.default_rng(n).beta(2 * centre, 2 - 2 * centre, n)
    found = scipy_stats.bootstrap(
        (scores,), np.mean, n_resamples=4000, rng=np.random.default_rng(2)
    ).confidence_interval
    low, high = estimate(list(scores)).interval
    assert (low, high) == pytest.approx((found.low, found.high), abs=(high - low) / 15)


@pytest.fixture
def statsmodels() -> ModuleType:
    return pytest.importorskip("statsmodels.api", reason="pip install 'burnish[oracle]'")


def clusters(groups: int) -> tuple[list[float], list[float], list[int]]:
    """Two models' scores on passages of 1 to 12 questions."""
    draws = np.random.default_rng(groups)
    names = np.repeat(np.arange(groups), draws.integers(1, 13, groups))
    level = draws.random(groups)[names]
    return list(draws.random(len(names)) * level), list((draws.random(len(names)) < level).astype(float)), list(names)


@pytest.mark.oracle
@pytest.mark.parametrize("groups", [2, 7, 60])
def test_clustered_errors_against_statsmodels(statsmodels: ModuleType, groups: int):
    """A regression on a constant with cluster-robust errors is the mean with its clustered error."""
    a, b, names = clusters(groups)
    for values in (a, b):
        fit = statsmodels.OLS(values, np.ones(len(values))).fit(
            cov_type="cluster", cov_kwds={"groups": np.array(names)}
        )
        found = estimate(values, names)
        assert (found.score, found.standard_error) == (pytest.approx(fit.params[0]), pytest.approx(fit.bse[0]))
    fit = statsmodels.OLS(np.array(b) - a, np.ones(len(a))).fit(
        cov_type="cluster", cov_kwds={"groups": np.array(names)}
    )
    change = paired(a, b, names)
    assert (change.difference, change.standard_error) == (pytest.approx(fit.params[0]), pytest.approx(fit.bse[0]))


@pytest.mark.oracle
def test_means_of_categories_against_statsmodels(statsmodels: ModuleType):
    """The mean of k regression coefficients, one a category, each with its own clustered error."""
    parts = [clusters(groups) for groups in (5, 9, 14)]
    fits = [
        statsmodels.OLS(b, np.ones(len(b))).fit(cov_type="cluster", cov_kwds={"groups": np.array(names)})
        for _, b, names in parts
    ]
    values = [score for _, b, _ in parts for score in b]
    names = [(i, int(name)) for i, (_, _, part) in enumerate(parts) for name in part]
    found = estimate(values, names, [i for i, (_, b, _) in enumerate(parts) for _ in b])
    assert found.score == pytest.approx(np.mean([fit.params[0] for fit in fits]))
    assert found.standard_error == pytest.approx(np.sqrt(sum(fit.bse[0] ** 2 for fit in fits)) / 3)


@pytest.mark.oracle
def test_tests_and_intervals_against_statsmodels(statsmodels: ModuleType):
    from statsmodels.stats.contingency_tables import mcnemar as their_mcnemar
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.power import NormalIndPower
    from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

    assert statsmodels is not None
    ps = [0.2, 0.001, 0.04, 0.04, 0.011, 0.9]
    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])
    for gained, lost in ((5, 1), (40, 12)):
        table = [[100, lost], [gained, 50]]
        assert mcnemar(gained, lost) == pytest.approx(their_mcnemar(table, exact=True).pvalue)
    assert wilson(7, 90) == pytest.approx(proportion_confint(7, 90, method="wilson"))
    for (k, n), (c, m) in (((56, 70), (48, 80)), ((10, 10), (0, 20)), ((9, 10), (3, 10))):
        found = unpaired(estimate([1.0] * k + [0.0] * (n - k)), estimate([1.0] * c + [0.0] * (m - c)))
        assert found.interval == pytest.approx(confint_proportions_2indep(k, n, c, m, method="newcomb", compare="diff"))
    # One sample of n with deviation 1, seen as a two-sample test whose second sample is endless.
    effect = NormalIndPower(ddof=0).solve_power(nobs1=100, alpha=0.05, power=0.8, ratio=0)
    assert minimum_detectable_effect(0.1) == pytest.approx(effect, rel=1e-4)
