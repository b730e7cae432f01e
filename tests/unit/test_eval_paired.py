"""Differences by hand: the arithmetic stands in each docstring."""

from __future__ import annotations

import math

import pytest

from burnish.eval.paired import holm, mcnemar, minimum_detectable_effect, paired, paired_average, sign_flip, unpaired
from burnish.eval.stats import estimate


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
    assert (result.n, result.clusters, result.difference, result.test) == (4, 4, 0.25, "mcnemar exact")
    assert result.standard_error == pytest.approx(math.sqrt(11 / 48))
    half = 1.959964 * math.sqrt(23 / 216)
    assert result.interval == pytest.approx((1 / 6 - half, 1 / 6 + half))
    assert result.p == 1.0
    assert result.detectable == pytest.approx(2.801585 * math.sqrt(11 / 48), rel=1e-6)


def test_paired_keeps_width_when_nothing_changed():
    """No change in 3: Agresti-Min 0 ± 1.96 sqrt(1/5/5) = 0.392; what the test could see is not 0 points either."""
    result = paired([1, 0, 1], [1, 0, 1])
    assert result.difference == 0
    assert result.interval == pytest.approx((-0.391993, 0.391993), abs=1e-6)
    assert result.detectable == pytest.approx(2.801585 / 5, rel=1e-6)
    fractional = paired([0.5, 0.25], [0.5, 0.25])
    assert fractional.p == 1.0
    assert fractional.interval[0] < 0 < fractional.interval[1]
    with pytest.raises(ValueError, match="1 and 2"):
        paired([1], [1, 0])
    with pytest.raises(ValueError, match="0 and 0"):
        paired([], [])


def test_whole_clusters_flip_together():
    """Three passages of two questions, all gained: alone 6 changes and p = 2/64; by passage 3 signs and p = 2/8."""
    a, b = [0.0] * 6, [1.0] * 6
    assert paired(a, b).p == pytest.approx(2 / 64)
    passages = paired(a, b, ["x", "x", "y", "y", "z", "z"])
    assert (passages.p, passages.test, passages.clusters) == (pytest.approx(2 / 8), "sign-flip", 3)


def test_clusters_that_change_as_one_are_as_wide_as_one_problem_each():
    """Ten passages of four questions, two gained as a whole: error and p are those of ten problems, two gained."""
    change = [1.0, 1.0] + [0.0] * 8
    alone = paired([0.0] * 10, change)
    names = [name for name in range(10) for _ in range(4)]
    together = paired([0.0] * 40, [c for c in change for _ in range(4)], names)
    assert together.standard_error == pytest.approx(alone.standard_error)
    assert together.p == pytest.approx(alone.p)
    low, high = together.interval
    # Student's t with 9 degrees of freedom for the normal quantile, and the sample variance for the population's.
    assert (high - low) / (alone.interval[1] - alone.interval[0]) == pytest.approx(2.262157 / 1.959964, rel=0.05)


def test_paired_mean_of_categories():
    """a: +1 of one problem; b: +1, 0, 0, 0. Means 1 and 1/4: difference 5/8, not the 2/5 of the problems."""
    found = paired([0] * 5, [1, 1, 0, 0, 0], categories=["a", "b", "b", "b", "b"])
    assert found.difference == pytest.approx(5 / 8)
    assert found.test == "sign-flip"
    # Signs of 1/2 and 1/8: only ++ and -- reach 5/8.
    assert found.p == pytest.approx(2 / 4)


def test_paired_average_of_tasks():
    """Tasks change by 1/2 (one of two) and 0 (of two): average 1/4. Shared problems flip together."""
    one, none = ([0, 0], [1, 0], None, None), ([0, 0], [0, 0], None, None)
    found = paired_average([one, none])
    assert (found.n, found.difference, found.p) == (4, pytest.approx(0.25), 1.0)
    assert found.standard_error == pytest.approx(0.25)
    same = ([0] * 3, [1, 1, 1], ["x", "y", "z"], None)
    assert paired_average([same, same]).p == pytest.approx(2 / 8)
    assert paired_average([same, ([0] * 3, [1, 1, 1], ["u", "v", "w"], None)]).p == pytest.approx(2 / 64)
    assert paired_average([one, same], [3.0, 1.0]).difference == pytest.approx((3 * 0.5 + 1) / 4)


def test_sign_flip():
    """0.1, 0.2, 0.3: of 8 sign patterns only +++ and --- reach a sum of 0.6: p = 2/8. Zeros change nothing."""
    assert sign_flip([0.1, 0.2, 0.3]) == pytest.approx(0.25)
    assert sign_flip([0.1, 0.0, 0.2, 0.3]) == pytest.approx(0.25)
    assert sign_flip([0.0, 0.0]) == sign_flip([]) == 1.0
    assert sign_flip([0.01] * 40) == pytest.approx(1 / 10_001)
    # 0.1 + 0.2 - 0.3 is 5.6e-17 as floats: still a sum of 0, which every pattern reaches.
    assert sign_flip([0.1, 0.2, -0.3]) == 1.0


def test_minimum_detectable_effect():
    """(1.959964 + 0.841621) * 0.5 / sqrt(100) = 0.140079."""
    assert minimum_detectable_effect(0.05) == pytest.approx(0.140079, abs=1e-6)
    assert minimum_detectable_effect(0.05, power=0.5) == pytest.approx(0.05 * 1.959964, abs=1e-6)


def test_holm():
    """0.01, 0.04, 0.03: sorted 0.01 * 3, 0.03 * 2, then max(0.06, 0.04 * 1)."""
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_unpaired():
    """Newcombe's example (1998, table II (a)): 56/70 and 48/80 differ by 0.2, interval 0.0524 to 0.3339 by method 10."""
    first, second = estimate([1] * 56 + [0] * 14), estimate([1] * 48 + [0] * 32)
    found = unpaired(first, second)
    assert found.difference == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert found.standard_error == pytest.approx(math.hypot(first.standard_error, second.standard_error))
    sure = unpaired(estimate([1] * 5), estimate([0] * 5))
    assert sure.interval[0] < 1.0
    assert sure.interval[1] == 1.0
