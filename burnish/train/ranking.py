"""How well scores rank preference pairs, by source, and how far a score difference can be taken as a probability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from burnish.core.types import Pair

BINS = 10


def ranking_report(pairs: Sequence[Pair], scores: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """n, accuracy with its standard error, mean margin and calibration of all pairs, and of each source.

    scores: (of the chosen, of the rejected) for each pair. A tie counts as half.
    """
    by_source: dict[str, list[tuple[float, float]]] = {}
    for pair, score in zip(pairs, scores, strict=True):
        by_source.setdefault(pair.source, []).append(score)
    return {**_summary(scores), "by_source": {name: _summary(part) for name, part in sorted(by_source.items())}}


def _summary(scores: Sequence[tuple[float, float]]) -> dict[str, Any]:
    margins = [chosen - rejected for chosen, rejected in scores]
    won = [1.0 if margin > 0 else 0.5 if margin == 0 else 0.0 for margin in margins]
    count, accuracy = len(won), math.fsum(won) / len(won)
    spread = math.fsum((w - accuracy) ** 2 for w in won)
    return {
        "n": count,
        "accuracy": accuracy,
        "standard_error": math.sqrt(spread / (count * (count - 1))) if count > 1 else 0.0,
        "margin": math.fsum(margins) / count,
        **calibration(margins),
    }


def calibration(margins: Sequence[float]) -> dict[str, Any]:
    """`calibration_error`: the expected calibration error (Naeini et al. 2015) over ten equal bins of confidence.

    Under Bradley-Terry, sigmoid(|margin|) is the probability that the higher-scored reply is the better one; a bin's error is
    the distance between its mean confidence and its accuracy, weighted by its pairs. `bins`: confidence, accuracy, n of each.
    `nll`: the mean of -log sigmoid(margin), in nats.
    """
    bins: dict[int, list[tuple[float, float]]] = {}
    for margin in margins:
        confidence = 1 / (1 + math.exp(-min(abs(margin), 700.0)))
        place = min(int((confidence - 0.5) * 2 * BINS), BINS - 1)
        bins.setdefault(place, []).append((confidence, 1.0 if margin > 0 else 0.5 if margin == 0 else 0.0))
    rows = []
    for _, part in sorted(bins.items()):
        confidence = math.fsum(c for c, _ in part) / len(part)
        accuracy = math.fsum(a for _, a in part) / len(part)
        rows.append({"confidence": confidence, "accuracy": accuracy, "n": len(part)})
    error = math.fsum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / len(margins)
    nll = math.fsum(max(-m, 0.0) + math.log1p(math.exp(-abs(m))) for m in margins) / len(margins)
    return {"calibration_error": error, "nll": nll, "bins": rows}
