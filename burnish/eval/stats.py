"""How sure a score is: standard errors, intervals, paired tests, detectable effects, pass@k and Holm's correction.

N problems. Every random draw comes from a fixed stream, so equal inputs give equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from burnish.core.rng import seed_of

Z95 = NormalDist().inv_cdf(0.975)
EXACT_SIGNS = 16  # up to 2^16 sign patterns are counted one by one
DRAWS = 10_000


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, summed exactly. Raises ValueError for no values."""
    if not values:
        raise ValueError("the mean of no values is not defined")
    return math.fsum(values) / len(values)


def standard_error(scores: Sequence[float], clusters: Sequence[Hashable] | None = None) -> float:
    """The standard error of the mean of N scores; 0 for N < 2.

    Without clusters: sample standard deviation / sqrt(N). With one cluster name per score, scores of a cluster may
    depend on each other: sqrt(G/(G-1) * sum over clusters of (sum of residuals)^2) / N, with G clusters
    (arXiv:2411.00640 §2.2, with the small-sample factor G/(G-1), so that clusters of one give the first formula).
    """
    count = len(scores)
    centre = mean(scores)
    if clusters is None:
        sums = [score - centre for score in scores]
    else:
        if len(clusters) != count:
            raise ValueError(f"{count} scores but {len(clusters)} cluster names")
        parts: dict[Hashable, list[float]] = {}
        for score, cluster in zip(scores, clusters, strict=True):
            parts.setdefault(cluster, []).append(score - centre)
        sums = [math.fsum(part) for part in parts.values()]
    groups = len(sums)
    if groups < 2:
        return 0.0
    return math.sqrt(groups / (groups - 1) * math.fsum(r * r for r in sums)) / count


def wilson(successes: float, count: int) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share (Wilson 1927). Never empty, also at 0 and at 1.

    `successes` may be a sum of fractional scores in [0, 1]: their variance is at most p(1 - p), so it is then cautious.
    """
    if count < 1:
        raise ValueError("an interval needs at least one score")
    share, square = successes / count, Z95 * Z95
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z95 * math.sqrt(share * (1 - share) / count + square / (4 * count * count)) / (1 + square / count)
    # At the ends one bound is exactly the share; rounding must not move it.
    return (0.0 if successes <= 0 else max(0.0, middle - half)), (1.0 if share >= 1 else min(1.0, middle + half))


def normal_interval(centre: float, error: float) -> tuple[float, float]:
    """Centre ± 1.96 standard errors, cut to [0, 1]."""
    return max(0.0, centre - Z95 * error), min(1.0, centre + Z95 * error)


def bootstrap(scores: Sequence[float], draws: int = DRAWS) -> tuple[float, float]:
    """The 95 % percentile interval of the mean over `draws` resamples of the N scores."""
    values = np.asarray(scores, dtype=np.float64)
    generator = np.random.default_rng(seed_of(0, "bootstrap", len(values)))
    means: list[NDArray[np.float64]] = []
    block = max(1, 1_000_000 // len(values))
    for start in range(0, draws, block):
        picks = generator.integers(0, len(values), (min(block, draws - start), len(values)))
        means.append(values[picks].mean(axis=1))
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return float(low), float(high)


def is_binary(scores: Sequence[float]) -> bool:
    """Whether every score is 0 or 1."""
    return all(score in (0.0, 1.0) for score in scores)


def interval(scores: Sequence[float], clusters: Sequence[Hashable] | None = None) -> tuple[float, float]:
    """A 95 % interval for the mean of N scores in [0, 1].

    Wilson for 0/1 scores and wherever all scores are equal, bootstrap for fractional scores. Repeated clusters: mean
    ± 1.96 clustered standard errors, and Wilson over the number of clusters where that error is 0.
    """
    groups = len(scores) if clusters is None else len(set(clusters))
    if groups < len(scores):
        error = standard_error(scores, clusters)
        return normal_interval(mean(scores), error) if error > 0 else wilson(mean(scores) * groups, groups)
    if is_binary(scores) or min(scores) == max(scores):
        return wilson(math.fsum(scores), len(scores))
    return bootstrap(scores)


@dataclass(frozen=True, slots=True)
class Paired:
    """The change from `a` to `b` on the same N problems.

    difference: mean of b - a. standard_error: of that mean. interval: 95 %. p: two-sided, for no change.
    """

    n: int
    difference: float
    standard_error: float
    interval: tuple[float, float]
    p: float
    test: Literal["mcnemar exact", "sign-flip"]


def paired(a: Sequence[float], b: Sequence[float]) -> Paired:
    """The paired comparison of two score lists in one problem order.

    0/1 scores: exact McNemar p (McNemar 1947) and Agresti and Min's interval (2005, doi:10.1002/sim.1781: half a
    pseudo-problem in each of the four cells), which keeps its width when no problem changed. Other scores: sign-flip
    permutation p and Student's t interval, or the Agresti-Min form where all differences are equal.
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"a paired comparison needs two lists of one length, got {len(a)} and {len(b)}")
    changes = [after - before for before, after in zip(a, b, strict=True)]
    count, difference, error = len(changes), mean(changes), standard_error(changes)
    binary = is_binary(a) and is_binary(b)
    if binary or error == 0:
        centre = math.fsum(changes) / (count + 2)
        spread = (math.fsum(c * c for c in changes) + 1) / (count + 2) - centre * centre
        half = Z95 * math.sqrt(spread / (count + 2))
    else:
        from scipy.stats import t

        centre, half = difference, float(t.ppf(0.975, count - 1)) * error
    bounds = max(-1.0, centre - half), min(1.0, centre + half)
    if binary:
        return Paired(
            count, difference, error, bounds, mcnemar(changes.count(1.0), changes.count(-1.0)), "mcnemar exact"
        )
    return Paired(count, difference, error, bounds, sign_flip(changes), "sign-flip")


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: of `gained + lost` changed problems, so uneven a split by coin tosses."""
    changed = gained + lost
    tail = sum(math.comb(changed, i) for i in range(min(gained, lost) + 1))
    return min(1.0, float(Fraction(2 * tail, 1 << changed)))


def sign_flip(changes: Sequence[float]) -> float:
    """The two-sided p that a mean change this far from 0 arises when each change's sign is a coin toss.

    Exact up to 16 changes that are not 0; beyond, (1 + hits) / (1 + 10,000 draws) from a fixed stream.
    """
    moved = np.asarray([c for c in changes if c != 0], dtype=np.float64)
    if not len(moved):
        return 1.0
    # A hair below the observed sum, so that equal sums in another order of additions count as equal.
    observed = abs(float(moved.sum())) * (1 - 1e-12) - 1e-15
    if len(moved) <= EXACT_SIGNS:
        patterns = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
        return float((np.abs((1 - 2 * patterns) @ moved) >= observed).mean())
    generator = np.random.default_rng(seed_of(0, "sign-flip", len(moved)))
    hits, block = 0, max(1, 1_000_000 // len(moved))
    for start in range(0, DRAWS, block):
        signs = 1 - 2 * generator.integers(0, 2, (min(block, DRAWS - start), len(moved)))
        hits += int((np.abs(signs @ moved) >= observed).sum())
    return (1 + hits) / (1 + DRAWS)


def minimum_detectable_effect(deviation: float, count: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true mean difference that N paired problems show with this power in a two-sided test at `alpha`.

    deviation: the standard deviation of the per-problem differences. (z_{1-alpha/2} + z_power) * deviation / sqrt(N)
    (arXiv:2411.00640 §5).
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * deviation / math.sqrt(count)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The unbiased chance that at least one of k replies is right: 1 - C(n-c, k)/C(n, k) (arXiv:2107.03374 eq. 1)."""
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} needs k <= samples and correct <= samples, got {correct} of {samples}")
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> tuple[float, float]:
    """Mean pass@k over problems, and its standard error. counts: (samples, correct) of each problem."""
    values = [pass_at_k(samples, correct, k) for samples, correct in counts]
    return mean(values), standard_error(values)


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (Holm 1979): family-wise error stays below alpha."""
    adjusted = [0.0] * len(ps)
    worst = 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = worst
    return adjusted
