"""How sure a difference is: paired intervals and tests, detectable effects, Holm's correction, unpaired differences.

Every random draw comes from a fixed stream, so equal inputs give equal numbers. docs/explanation/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist
from typing import Literal

import numpy as np

from burnish.core.rng import seed_of
from burnish.eval.stats import Z95, Estimate, Floats, Grouping, Names, Part, is_binary, totals

EXACT_SIGNS = 16  # up to 2^16 sign patterns are counted one by one
DRAWS = 10_000


@dataclass(frozen=True, slots=True)
class Paired:
    """The change from `a` to `b` on the same N problems.

    clusters: how many of them are independent of each other. difference: mean of b - a. standard_error: of that mean.
    interval: 95 %. p: two-sided, for no change. detectable: the smallest true change that a test of this kind finds in
    80 of 100 studies like this one.
    """

    n: int
    clusters: int
    difference: float
    standard_error: float
    interval: tuple[float, float]
    p: float
    test: Literal["mcnemar exact", "sign-flip"]
    detectable: float


Pair = tuple[Sequence[float], Sequence[float], Names | None, Names | None]


def paired(
    a: Sequence[float], b: Sequence[float], clusters: Names | None = None, categories: Names | None = None
) -> Paired:
    """The paired comparison of two score lists in one problem order.

    clusters, categories: as for `stats.estimate`. Independent 0/1 scores: exact McNemar p (McNemar 1947) and the interval
    of Agresti and Min (2005, doi:10.1002/sim.1781: half a pseudo-problem in each of the four cells), which keeps its width
    when no problem changed. Otherwise: the sign-flip permutation p, whole clusters flipped, and the same idea for any
    weights, clusters and sizes of change, with Student's t.
    """
    return paired_average([(a, b, clusters, categories)])


def paired_average(tasks: Sequence[Pair], weights: Sequence[float] | None = None) -> Paired:
    """The change of the mean of tasks' scores: each task as (a, b, clusters, categories), in `paired`'s way.

    weights: how much each task counts; equally without them.

    Clusters of one name in two tasks are one. Signs of a cluster flip together in all tasks.
    """
    for a, b, _, _ in tasks:
        if len(a) != len(b) or not a:
            raise ValueError(f"a paired comparison needs two lists of one length, got {len(a)} and {len(b)}")
    shares = weights or [1.0] * len(tasks)
    grouping = Grouping.of(
        *(Part(len(a), clusters, names, share) for (a, _, clusters, names), share in zip(tasks, shares, strict=True))
    )
    before = [score for a, _, _, _ in tasks for score in a]
    after = [score for _, b, _, _ in tasks for score in b]
    changes = np.array(after, np.float64) - np.array(before, np.float64)
    binary = is_binary(before) and is_binary(after)
    difference, error = grouping.mean(changes), math.sqrt(grouping.variance(changes))
    if binary and grouping.plain:
        gained, lost = int((changes > 0).sum()), int((changes < 0).sum())
        centre, spread = _agresti_min(gained, lost, len(changes))
        half, p = Z95 * spread, mcnemar(gained, lost)
    else:
        from scipy.stats import t

        centre, spread = _with_pseudo(grouping, changes, difference, error * error, binary=binary)
        half = float(t.ppf(0.975, grouping.freedom)) * spread
        p = sign_flip(totals(grouping.clusters, grouping.weights * changes))
    return Paired(
        n=len(changes), clusters=len(grouping.cluster_weights), difference=difference, standard_error=error,
        interval=(max(-1.0, centre - half), min(1.0, centre + half)), p=p,
        test="mcnemar exact" if binary and grouping.plain else "sign-flip",
        detectable=minimum_detectable_effect(max(spread, error)),
    )  # fmt: skip


def _agresti_min(gained: int, lost: int, count: int) -> tuple[float, float]:
    centre = (gained - lost) / (count + 2)
    return centre, math.sqrt(((gained + lost + 1) / (count + 2) - centre * centre) / (count + 2))


def _with_pseudo(
    grouping: Grouping, changes: Floats, difference: float, variance: float, *, binary: bool
) -> tuple[float, float]:
    """Centre and spread with one pseudo-change up, one down and two of none, each half, as Agresti and Min add them.

    A pseudo-problem weighs as much as a problem, or as a whole cluster where changes come by clusters; its change is a
    typical one; and it counts by the share of problems that did not change: where all did, their spread speaks for itself,
    unless they show none.
    """
    weights, parts = grouping.weights, grouping.weights * changes
    heavy = grouping.cluster_weights
    alone, agreeing = float(weights @ weights), float(heavy @ heavy)
    moved = changes != 0
    size, together = 1.0, agreeing / alone
    if moved.any():
        sums = totals(grouping.clusters, parts)
        together = min(max(float(sums @ sums) / float(parts @ parts), 1.0), together)
        size = 1.0 if binary else float(parts @ parts) / float(weights[moved] @ weights[moved])
    pseudo = together * alone * (1.0 if binary or variance == 0 else math.fsum(weights[~moved]))
    centre = difference / (1 + 2 * pseudo)
    total = variance + agreeing * (difference - centre) ** 2 + pseudo * pseudo * (size + 2 * centre * centre)
    return centre, math.sqrt(total) / (1 + 2 * pseudo)


def mcnemar(gained: int, lost: int) -> float:
    """The exact two-sided p of McNemar's test: of `gained + lost` changed problems, so uneven a split by coin tosses."""
    changed = gained + lost
    tail = sum(math.comb(changed, i) for i in range(min(gained, lost) + 1))
    return min(1.0, float(Fraction(2 * tail, 1 << changed)))


def sign_flip(changes: Sequence[float] | Floats) -> float:
    """The two-sided p that a sum of changes this far from 0 arises when each change's sign is a coin toss.

    Exact up to 16 changes that are not 0; beyond, (1 + hits) / (1 + 10,000 draws) from a fixed stream.
    """
    moved = np.asarray(changes, np.float64)
    moved = moved[np.abs(moved) > 1e-15 * np.abs(moved).max(initial=0.0)]
    if not len(moved):
        return 1.0
    # A hair below the observed sum, so that equal sums in another order of additions count as equal.
    observed = abs(float(moved.sum())) - 1e-12 * float(np.abs(moved).sum())
    if len(moved) <= EXACT_SIGNS:
        patterns = np.arange(2 ** len(moved))[:, None] >> np.arange(len(moved)) & 1
        return float((np.abs((1 - 2 * patterns) @ moved) >= observed).mean())
    generator = np.random.default_rng(seed_of(0, "sign-flip", len(moved)))
    total, width = float(moved.sum()), (len(moved) + 7) // 8
    hits, block = 0, max(1, 1_000_000 // len(moved))
    for start in range(0, DRAWS, block):
        count = min(block, DRAWS - start)
        tosses = np.frombuffer(generator.bytes(count * width), np.uint8).reshape(count, width)
        flipped = np.unpackbits(tosses, axis=1, count=len(moved)).astype(np.float64) @ moved
        hits += int((np.abs(total - 2 * flipped) >= observed).sum())
    return (1 + hits) / (1 + DRAWS)


def minimum_detectable_effect(error: float, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided test at `alpha` finds with this power; error: the difference's own.

    (z_{1-alpha/2} + z_power) * error (arXiv:2411.00640 §5).
    """
    normal = NormalDist()
    return (normal.inv_cdf(1 - alpha / 2) + normal.inv_cdf(power)) * error


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given (Holm 1979): family-wise error stays below alpha."""
    adjusted = [0.0] * len(ps)
    worst = 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = worst
    return adjusted


@dataclass(frozen=True, slots=True)
class Unpaired:
    """The difference first - second of two scores on different problems, with its standard error and 95 % interval."""

    difference: float
    standard_error: float
    interval: tuple[float, float]


def unpaired(first: Estimate, second: Estimate) -> Unpaired:
    """The difference of two independent estimates, each with its own spread, as Welch's test has it.

    Interval: Newcombe's hybrid of the two scores' own intervals (1998, method 10), which keeps its width at 0 and at 1.
    """
    (low, high), (low_2, high_2) = first.interval, second.interval
    difference = first.score - second.score
    down = math.hypot(first.score - low, high_2 - second.score)
    up = math.hypot(high - first.score, second.score - low_2)
    error = math.hypot(first.standard_error, second.standard_error)
    return Unpaired(difference, error, (max(-1.0, difference - down), min(1.0, difference + up)))
