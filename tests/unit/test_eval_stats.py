"""Statistics by hand: the arithmetic stands in each docstring."""

from __future__ import annotations

import math

import pytest

from burnish.eval.stats import (
    bootstrap,
    holm,
    interval,
    mcnemar,
    mean,
    mean_pass_at_k,
    minimum_detectable_effect,
    paired,
    pass_at_k,
    sign_flip,
    standard_error,
    wilson,
)


def test_standard_error():
    """1, 0, 1, 1: mean 3/4, squares 3/16 + 9/16, variance (12/16)/3 = 1/4, error sqrt(1/4/4) = 1/4."""
    assert standard_error([1, 0, 1, 1]) == pytest.approx(0.25)
    assert standard_error([0.7]) == 0.0


def test_clustered_standard_error():
    """Clusters (1, 1), (0, 0): residual sums 1 and -1, so sqrt(2/1 * 2) / 4 = 1/2; unclustered it is sqrt(1/3/4)."""
    assert standard_error([1, 1, 0, 0], ["a", "a", "b", "b"]) == pytest.approx(0.5)
    assert standard_error([1, 1, 0, 0]) == pytest.approx(math.sqrt(1 / 12))
    assert standard_error([1, 1, 0, 0], [1, 2, 3, 4]) == pytest.approx(math.sqrt(1 / 12))
    with pytest.raises(ValueError, match="4 scores but 1"):
        standard_error([1, 1, 0, 0], ["a"])


def test_doubling_a_test_set_does_not_make_it_surer():
    scores = [1.0, 0.0, 1.0, 0.0, 0.0]
    ids = [0, 1, 2, 3, 4]
    assert standard_error(scores * 2, ids * 2) == pytest.approx(standard_error(scores))
    low, high = interval(scores * 2, ids * 2)
    assert high - low > wilson(4, 10)[1] - wilson(4, 10)[0]
    assert interval([1.0] * 4, ["a", "a", "b", "b"]) == wilson(2, 2)


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


def test_interval_chooses():
    assert interval([1, 0, 1]) == wilson(2, 3)
    assert interval([0.5, 0.5]) == wilson(1.0, 2)
    assert interval([0.2, 0.9, 0.4]) == bootstrap([0.2, 0.9, 0.4])
    assert bootstrap([0.2, 0.9]) == bootstrap([0.2, 0.9])
    with pytest.raises(ValueError):
        mean([])


def test_mcnemar():
    """5 gained, 1 lost: 2 (C(6,0) + C(6,1)) / 64 = 14/64. Equal or no changes: 1. Large counts stay exact."""
    assert mcnemar(5, 1) == pytest.approx(14 / 64)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1.0
    assert mcnemar(0, 10) == pytest.approx(2 / 1024)
    assert 0 <= mcnemar(2000, 100) < 1e-300


def test_paired_binary():
    """Changes +1, +1, 0, -1: mean 1/4, squares sum 3, variance (3 - 4/16)/3 = 11/12, error sqrt(11/48).

    Agresti-Min: centre 1/6, spread (3 + 1)/6 - 1/36 = 23/36, half width 1.96 sqrt(23/216). p = mcnemar(2, 1) = 1.
    """
    result = paired([0, 0, 1, 1], [1, 1, 1, 0])
    assert (result.n, result.difference, result.test) == (4, 0.25, "mcnemar exact")
    assert result.standard_error == pytest.approx(math.sqrt(11 / 48))
    half = 1.959964 * math.sqrt(23 / 216)
    assert result.interval == pytest.approx((1 / 6 - half, 1 / 6 + half))
    assert result.p == 1.0


def test_paired_keeps_width_when_nothing_changed():
    result = paired([1, 0, 1], [1, 0, 1])
    assert result.difference == 0
    assert result.interval[0] < -0.3
    assert result.interval[1] > 0.3
    fractional = paired([0.5, 0.25], [0.5, 0.25])
    assert fractional.p == 1.0
    assert fractional.interval[0] < 0 < fractional.interval[1]
    with pytest.raises(ValueError, match="1 and 2"):
        paired([1], [1, 0])


def test_sign_flip():
    """0.1, 0.2, 0.3: of 8 sign patterns only +++ and --- reach a sum of 0.6: p = 2/8. Zeros change nothing."""
    assert sign_flip([0.1, 0.2, 0.3]) == pytest.approx(0.25)
    assert sign_flip([0.1, 0.0, 0.2, 0.3]) == pytest.approx(0.25)
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([0.01] * 40) == pytest.approx(1 / 10_001)


def test_minimum_detectable_effect():
    """(1.959964 + 0.841621) * 0.5 / sqrt(100) = 0.140079."""
    assert minimum_detectable_effect(0.5, 100) == pytest.approx(0.140079, abs=1e-6)


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


def test_holm():
    """0.01, 0.04, 0.03: sorted 0.01 * 3, 0.03 * 2, then max(0.06, 0.04 * 1)."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
