"""Statistics of one score by hand: the arithmetic stands in each docstring."""

from __future__ import annotations

import math

import pytest

from burnish.eval.stats import (
    Z95,
    average,
    estimate,
    mean,
    mean_pass_at_k,
    normal_interval,
    pass_at_k,
    pass_at_k_variance,
    seeds,
    standard_error,
    wilson,
)


def test_standard_error():
    """1, 0, 1, 1: mean 3/4, squares 3/16 + 9/16, variance (12/16)/3 = 1/4, error sqrt(1/4/4) = 1/4."""
    assert standard_error([1, 0, 1, 1]) == pytest.approx(0.25)
    assert standard_error([0.7]) == 0.0
    assert standard_error([0.1] * 7) == 0.0
    with pytest.raises(ValueError):
        standard_error([])


def test_clustered_standard_error():
    """Clusters (1, 1), (0, 0): residual sums 1 and -1, so sqrt(2/1 * 2) / 4 = 1/2; unclustered it is sqrt(1/3/4)."""
    assert standard_error([1, 1, 0, 0], ["a", "a", "b", "b"]) == pytest.approx(0.5)
    assert standard_error([1, 1, 0, 0]) == pytest.approx(math.sqrt(1 / 12))
    assert standard_error([1, 1, 0, 0], [1, 2, 3, 4]) == pytest.approx(math.sqrt(1 / 12))
    with pytest.raises(ValueError, match="4 scores but 1 cluster"):
        standard_error([1, 1, 0, 0], ["a"])


def test_mean_of_categories():
    """a: 1, 0, so variance (1/2)/2 = 1/4; b: 1, 1, 0, 0, so (1/3)/4 = 1/12. Mean (1/2 + 1/2)/2, error sqrt(1/4 + 1/12)/2."""
    found = estimate([1, 0, 1, 1, 0, 0], categories=["a", "a", "b", "b", "b", "b"])
    assert found.score == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(math.sqrt(1 / 4 + 1 / 12) / 2)
    with pytest.raises(ValueError, match="2 scores but 1 category"):
        estimate([1, 0], categories=["a"])


def test_clusters_inside_categories():
    """Category a: clusters (1, 1), (0, 0), error 1/2 as above; b: 1, 0 apart, error 1/2. Mean of both: sqrt(1/4 + 1/4)/2."""
    found = estimate([1, 1, 0, 0, 1, 0], ["p", "p", "q", "q", "r", "s"], ["a"] * 4 + ["b"] * 2)
    assert found.standard_error == pytest.approx(math.sqrt(1 / 2) / 2)
    assert (found.n, found.clusters) == (6, 4)


def test_a_category_of_one_problem_borrows_the_spread_of_the_others():
    """a: 1, 0 has residuals ±1/2 and one degree of freedom: variance 1/2 a problem. b: one problem gets it: (1/2/2 + 1/2)/4."""
    assert standard_error([1, 0, 1], categories=["a", "a", "b"]) == pytest.approx(math.sqrt(3 / 4 / 4))
    # Where no category has two problems, the categories themselves are the sample: 1, 0, 1, 1 again.
    assert standard_error([1, 0, 1, 1], categories=list("abcd")) == pytest.approx(0.25)


def test_a_cluster_in_two_categories_or_tasks_is_one():
    """Tasks a: 1, 0 and b: 1, 0 of the same two problems: the average's residuals are ±1/4 twice a problem, so ±1/2 summed.

    sqrt(2) * residual 1/4 a task, twice: (2 * sqrt(2)/4)^2 * 2 / 4 = 1/4, error 1/2; apart it is sqrt(1/4 + 1/4)/2.
    """
    shared = average([([1, 0], ["x", "y"], None), ([1, 0], ["x", "y"], None)])
    apart = average([([1, 0], None, None), ([1, 0], None, None)])
    assert shared.standard_error == pytest.approx(0.5)
    assert apart.standard_error == pytest.approx(math.sqrt(1 / 2) / 2)
    assert (shared.clusters, apart.clusters) == (2, 4)


def test_weighted_average_of_tasks():
    """Scores 1/2 and 1/4, weights 1 and 3: (0.5 + 0.75) / 4; errors sqrt(1/4) and sqrt(1/16): sqrt(1/4 + 9/16)/4."""
    found = average([([1, 0], None, None), ([1, 0, 0, 0], None, None)], [1.0, 3.0])
    assert found.score == pytest.approx(1.25 / 4)
    assert found.standard_error == pytest.approx(math.sqrt(1 / 4 + 9 / 16) / 4)


def test_doubling_a_test_set_does_not_make_it_surer():
    scores = [1.0, 0.0, 1.0, 0.0, 0.0]
    ids = [0, 1, 2, 3, 4]
    assert standard_error(scores * 2, ids * 2) == pytest.approx(standard_error(scores))
    assert estimate(scores * 2, ids * 2).interval == pytest.approx(estimate(scores).interval)
    assert estimate([1.0] * 4, ["a", "a", "b", "b"]).interval == pytest.approx(wilson(2, 2))


def test_wilson():
    """0 of 10: the upper end is z^2/(n + z^2) = 3.8415/13.8415; 1 of 2 is symmetric about 1/2."""
    low, high = wilson(0, 10)
    assert low == 0.0
    assert high == pytest.approx(3.841459 / 13.841459)
    assert wilson(10, 10) == (pytest.approx(1 - high), 1.0)
    low, high = wilson(1, 2)
    assert low + high == pytest.approx(1.0)
    with pytest.raises(ValueError):
        wilson(0, 0)


def test_interval_of_right_and_wrong_is_wilsons():
    assert estimate([1, 0, 1]).interval == pytest.approx(wilson(2, 3))
    assert estimate([1, 1]).interval == pytest.approx(wilson(2, 2))
    assert estimate([0] * 9).interval == pytest.approx(wilson(0, 9))
    assert estimate([0.5, 0.5]).interval == pytest.approx(wilson(1.0, 2))


def test_interval_of_fractional_scores():
    """1/4, 3/4, 1/4, 3/4: mean 1/2, variance of the mean (1/12)/4, of four right-or-wrong ones 1/16: effect 1/3.

    One success and failure weigh 1/4 * 4 = 1 against 1: effect (1/3 + 1)/2 = 2/3, so Wilson's interval of 3 of 6.
    """
    found = estimate([0.25, 0.75, 0.25, 0.75])
    assert found.standard_error == pytest.approx(math.sqrt(1 / 48))
    assert found.interval == pytest.approx(wilson(3, 6))


def test_normal_interval_is_cut():
    assert normal_interval(0.5, 0.1) == pytest.approx((0.5 - 0.1 * Z95, 0.5 + 0.1 * Z95))
    assert normal_interval(0.01, 0.1)[0] == 0.0
    assert normal_interval(0.99, 0.1)[1] == 1.0
    with pytest.raises(ValueError):
        mean([])


def test_pass_at_k():
    """5 samples, 2 right, k = 2: 1 - C(3,2)/C(5,2) = 1 - 3/10. k = 1 is the share; too few wrong ones left gives 1."""
    assert pass_at_k(5, 2, 2) == pytest.approx(0.7)
    assert pass_at_k(5, 2, 1) == pytest.approx(0.4)
    assert pass_at_k(5, 4, 2) == 1.0
    assert pass_at_k(5, 0, 5) == 0.0
    score, error = mean_pass_at_k([(5, 2), (5, 0)], 2)
    assert (score, error) == (pytest.approx(0.35), pytest.approx(0.35))
    with pytest.raises(ValueError, match="pass@3"):
        pass_at_k(2, 1, 3)


def test_pass_at_k_variance():
    """k = 1, 2 of 5: p(1-p)/(n-1) = 0.24/4. k = 2, 2 of 4: 1 - C(2,2)/C(4,2) = 5/6, squared 25/36; both: 1 - 2/6 + 0 = 24/36."""
    assert pass_at_k_variance(5, 2, 1) == pytest.approx(0.06)
    assert pass_at_k_variance(4, 2, 2) == pytest.approx(1 / 36)
    assert pass_at_k_variance(20, 20, 10) == pass_at_k_variance(20, 0, 10) == 0.0
    assert pass_at_k_variance(3, 1, 2) is None


def test_seeds():
    """Two problems, two samples: (1, 0) and (1, 1). Seeds score 1 and 1/2. Spread of a mean: (1/2)/2 = 1/4 and 0.

    within sqrt(1/8); problem means 1/2 and 1: variance 1/8, less 1/8 is 0; error of new seeds sqrt(1/4)/2.
    """
    found = seeds([[1, 0], [1, 1]])
    assert found.samples == 2
    assert found.scores == pytest.approx((1.0, 0.5))
    assert found.within == pytest.approx(math.sqrt(1 / 8))
    assert found.between == 0.0
    assert found.standard_error == pytest.approx(0.25)
    # Half the categories' weight on the problem that varies, and again half of it.
    assert seeds([[1, 0], [1, 1], [1, 1]], categories=["a", "b", "b"]).standard_error == pytest.approx(0.25)


def test_seeds_of_pass_at_k_and_of_too_few_samples():
    """pass@2 of 4 samples, 2 right: variance 1/36 as above; the other problem never varies: error sqrt(1/36)/2."""
    found = seeds([[1, 0, 1, 0], [0, 0, 0, 0]], 2)
    assert found.scores == ()
    assert found.standard_error == pytest.approx(1 / 12)
    few = seeds([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], 2)
    assert (few.samples, few.within, few.between, few.standard_error) == (3, None, None, None)
    uneven = seeds([[1.0], [0.0, 1.0]])
    assert (uneven.samples, uneven.scores, uneven.standard_error) == (1, (), None)
