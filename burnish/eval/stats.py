"""How sure one score is: standard errors, intervals, pass@k, and what repeated sampling adds. docs/explanation/statistics.md.

N scores in [0, 1], one a problem. Problems of one cluster (a passage, a question asked twice) may depend on each other;
problems of different clusters do not. Nothing here is random: equal inputs give equal numbers.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Z95 = NormalDist().inv_cdf(0.975)
_ROUNDING = 1e-20  # a variance below this comes from rounding

Names = Sequence[Hashable]
Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, summed exactly. Raises ValueError for no values."""
    if not values:
        raise ValueError("the mean of no values is not defined")
    return math.fsum(values) / len(values)


@dataclass(frozen=True, slots=True)
class Part:
    """The problems of one mean: how many, the cluster of each, and the category of each where the mean is over categories.

    weight: how much the mean counts among others.
    """

    count: int
    clusters: Names | None = None
    categories: Names | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        for names, what in ((self.clusters, "cluster"), (self.categories, "category")):
            if names is not None and len(names) != self.count:
                raise ValueError(f"{self.count} scores but {len(names)} {what} names")


@dataclass(frozen=True, slots=True)
class Grouping:
    """How N values enter a weighted mean, and which of them may depend on each other.

    weights [N] sum to 1. strata [N]: values are compared with the mean of their own stratum. clusters [N]: numbers.
    """

    weights: Floats
    strata: Codes
    clusters: Codes

    @classmethod
    def of(cls, *parts: Part) -> Grouping:
        """The weighted mean of the parts' means. A cluster's name means the same cluster in every part."""
        whole = math.fsum(part.weight for part in parts)
        weights: list[Floats] = []
        strata: list[Hashable] = []
        clusters: list[Hashable] = []
        for number, part in enumerate(parts):
            groups = _codes(part.categories if part.categories is not None else [""] * part.count)
            sizes = np.bincount(groups)
            weights.append(np.asarray(part.weight / (whole * len(sizes) * sizes[groups]), np.float64))
            strata += [(number, int(code)) for code in groups]
            names = part.clusters if part.clusters is not None else [(number, i) for i in range(part.count)]
            clusters += names
        if not clusters:
            raise ValueError("the mean of no values is not defined")
        return cls(np.concatenate(weights), _codes(strata), _codes(clusters))

    @property
    def cluster_weights(self) -> Floats:
        """The weight of each cluster."""
        return totals(self.clusters, self.weights)

    @property
    def freedom(self) -> int:
        """Clusters less strata: what a variance is estimated from. At least 1."""
        return max(1, int((self._pairs()[1] - 1).sum()))

    @property
    def plain(self) -> bool:
        """Whether this is the mean of independent values."""
        return int(self.strata.max()) == 0 and int(self.clusters.max()) + 1 == len(self.clusters)

    def mean(self, values: Floats) -> float:
        """The weighted mean."""
        return math.fsum(self.weights * values)

    def variance(self, values: Floats) -> float:
        """The variance of the weighted mean.

        Sum over clusters of (sum over strata of sqrt(G/(G-1)) * the cluster's weighted residuals)^2, with G clusters in a
        stratum: for one stratum the clustered formula of arXiv:2411.00640 §2.2 with the small-sample factor, for
        independent strata the sum of their variances. A stratum of one cluster shows no spread of its own: it gets the
        pooled one of the others; where no stratum has two, that between the strata's means.
        """
        moved = values - values[0]
        whole = totals(self.strata, self.weights)
        centres = totals(self.strata, self.weights * moved) / whole
        pairs, groups = self._pairs()
        residuals = self.weights * (moved - centres[self.strata])
        sums = totals(pairs, residuals)
        first = np.unique(pairs, return_index=True)[1]
        stratum, cluster = self.strata[first], self.clusters[first]
        lone = groups == 1
        scale = np.sqrt(groups / np.maximum(groups - 1, 1))
        joined = totals(cluster, np.where(lone[stratum], 0.0, sums * scale[stratum]))
        found = float(joined @ joined)
        if lone.any() and len(groups) > 1:
            heavy = totals(pairs, self.weights)
            pooled = _pooled(sums / heavy, ~lone[stratum], int((groups - 1).sum()), centres)
            found += pooled * float(whole[lone] @ whole[lone])
        return found if found > _ROUNDING else 0.0

    def _pairs(self) -> tuple[Codes, Codes]:
        """The (stratum, cluster) each value is in, as a number, and how many clusters each stratum has."""
        known, pairs = np.unique(self.strata * (int(self.clusters.max()) + 1) + self.clusters, return_inverse=True)
        return pairs, np.bincount(known // (int(self.clusters.max()) + 1))


def _pooled(residuals: Floats, counted: NDArray[np.bool_], freedom: int, centres: Floats) -> float:
    if freedom > 0:
        return float(residuals[counted] @ residuals[counted]) / freedom
    return float(np.var(centres, ddof=1))


def totals(codes: Codes, values: Floats) -> Floats:
    """The sum of the values of each code."""
    return np.bincount(codes, values).astype(np.float64)


def _codes(names: Iterable[Hashable]) -> Codes:
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def standard_error(scores: Sequence[float], clusters: Names | None = None, categories: Names | None = None) -> float:
    """The standard error of the mean of N scores; 0 where nothing shows a spread (N < 2, equal scores).

    clusters: one name a score; scores of a cluster may depend on each other. Without: sample deviation / sqrt(N).
    categories: one name a score; the mean is over the categories' means, sqrt(sum of their squared errors) / k.
    """
    return math.sqrt(Grouping.of(Part(len(scores), clusters, categories)).variance(np.asarray(scores, np.float64)))


def wilson(successes: float, count: float) -> tuple[float, float]:
    """Wilson's 95 % score interval for a share (Wilson 1927). Never empty, also at 0 and at 1.

    `successes` may be a sum of fractional scores and `count` an effective number of problems.
    """
    if count <= 0:
        raise ValueError("an interval needs at least one score")
    share, square = successes / count, Z95 * Z95
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = Z95 * math.sqrt(max(share * (1 - share), 0.0) / count + square / (4 * count * count)) / (1 + square / count)
    # At the ends one bound is exactly the share; rounding must not move it.
    return (0.0 if share <= 0 else max(0.0, middle - half)), (1.0 if share >= 1 else min(1.0, middle + half))


def normal_interval(centre: float, error: float) -> tuple[float, float]:
    """Centre ± 1.96 standard errors, cut to [0, 1]."""
    return max(0.0, centre - Z95 * error), min(1.0, centre + Z95 * error)


def is_binary(scores: Sequence[float]) -> bool:
    """Whether every score is 0 or 1."""
    return all(score in (0.0, 1.0) for score in scores)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean of N scores with its standard error and 95 % interval. clusters: how many are independent of each other."""

    n: int
    clusters: int
    score: float
    standard_error: float
    interval: tuple[float, float]


def estimate(scores: Sequence[float], clusters: Names | None = None, categories: Names | None = None) -> Estimate:
    """The mean of N scores in [0, 1], or of the means of their categories, and how sure it is."""
    return average([(scores, clusters, categories)])


def average(
    tasks: Sequence[tuple[Sequence[float], Names | None, Names | None]], weights: Sequence[float] | None = None
) -> Estimate:
    """The mean of tasks' scores, each given as (scores, clusters, categories); errors are propagated.

    weights: how much each task counts; equally without them.
    Clusters of one name in two tasks are one: problems that both ask make the tasks depend on each other.

    Interval: Wilson's, at the effective number of problems n / r. r is the variance of the mean relative to n independent
    0/1 scores of this mean (the design effect: below 1 for fractional scores, above 1 where clusters agree). Few right or
    few wrong replies say little about r, so it is drawn to its largest value, that of clusters whose problems all agree, by
    the weight of one expected success and failure. For independent 0/1 scores this is Wilson's interval itself.
    """
    shares = weights or [1.0] * len(tasks)
    grouping = Grouping.of(
        *(Part(len(s), clusters, names, share) for (s, clusters, names), share in zip(tasks, shares, strict=True))
    )
    values = np.array([score for scores, _, _ in tasks for score in scores], np.float64)
    # Rounding must not carry the mean of equal scores past them.
    centre = min(max(grouping.mean(values), float(values.min())), float(values.max()))
    variance = grouping.variance(values)
    return Estimate(
        len(values), len(grouping.cluster_weights), centre, math.sqrt(variance), _interval(grouping, centre, variance)
    )


def _interval(grouping: Grouping, centre: float, variance: float) -> tuple[float, float]:
    heavy = grouping.cluster_weights
    alone, agreeing = float(grouping.weights @ grouping.weights), float(heavy @ heavy)
    most = agreeing / alone
    spread = centre * (1 - centre)
    effect = variance / (spread * alone) if variance > 0 and spread > 0 else most
    if int(grouping.strata.max()) == 0:
        effect = min(effect, most)
    known = spread / agreeing
    effect = (known * effect + most) / (known + 1)
    count = 1 / (alone * effect)
    return wilson(centre * count, count)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The unbiased chance that at least one of k replies is right: 1 - C(n-c, k)/C(n, k) (arXiv:2107.03374 eq. 1)."""
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} needs k <= samples and correct <= samples, got {correct} of {samples}")
    return 1 - math.comb(samples - correct, k) / math.comb(samples, k)


def pass_at_k_variance(samples: int, correct: int, k: int) -> float | None:
    """An unbiased estimate of the variance that one problem's pass@k has over draws of its samples; None for 2k > n.

    The square of the estimate less an unbiased estimate of the squared truth, which two disjoint draws of k give:
    1 - 2 C(n-c, k)/C(n, k) + C(n-c, 2k)/C(n, 2k). For one problem it may be below 0; means over problems are meant.
    """
    if 2 * k > samples:
        return None
    both = 1 - 2 * math.comb(samples - correct, k) / math.comb(samples, k)
    both += math.comb(samples - correct, 2 * k) / math.comb(samples, 2 * k)
    return pass_at_k(samples, correct, k) ** 2 - both


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> tuple[float, float]:
    """Mean pass@k over problems, and its standard error. counts: (samples, correct) of each problem."""
    values = [pass_at_k(samples, correct, k) for samples, correct in counts]
    return mean(values), standard_error(values)


@dataclass(frozen=True, slots=True)
class Seeds:
    """What drawing replies adds to a score's uncertainty; the standard error of the score holds both parts already.

    samples:        replies to each problem, the fewest that any has.
    scores:         the score of each seed alone; () with pass@k above 1, which takes several, or unequal numbers of samples.
    within:         standard deviation of a problem's score over draws of its samples.
    between:        standard deviation of the problems' true scores.
    standard_error: of the score if the same problems are asked again with other seeds.
    The last three are None where there are too few samples: fewer than 2, or than 2k for pass@k.
    """

    samples: int
    scores: tuple[float, ...]
    within: float | None
    between: float | None
    standard_error: float | None


def seeds(replies: Sequence[Sequence[float]], k: int = 1, categories: Names | None = None) -> Seeds:
    """The spread within and between problems. replies: the scores of each problem's samples, at least one; k: of pass@k."""
    fewest = min(map(len, replies))
    equal = len(set(map(len, replies))) == 1
    weights = Grouping.of(Part(len(replies), None, categories)).weights
    by_seed = np.array(replies, np.float64).T if equal and k == 1 else np.zeros((0, 0))
    scores = tuple(math.fsum(weights * row) for row in by_seed)
    spreads = [_spread(one, k) for one in replies]
    known = [spread for spread in spreads if spread is not None]
    if len(known) < len(spreads):
        return Seeds(fewest, scores, None, None, None)
    values = [mean(one) if k == 1 else pass_at_k(len(one), one.count(1.0), k) for one in replies]
    within = max(mean(known), 0.0)
    between = max(float(np.var(values, ddof=1)) - within, 0.0) if len(values) > 1 else 0.0
    error = max(math.fsum(weights * weights * np.array(known)), 0.0)
    return Seeds(fewest, scores, math.sqrt(within), math.sqrt(between), math.sqrt(error))


def _spread(scores: Sequence[float], k: int) -> float | None:
    """The estimated variance of a problem's score over draws of its samples."""
    if k > 1:
        return pass_at_k_variance(len(scores), scores.count(1.0), k)
    return float(np.var(scores, ddof=1)) / len(scores) if len(scores) > 1 else None
