"""What a ranking makes of continuations, and the continuations of a model that is always right."""

from __future__ import annotations

from collections.abc import Sequence

from burnish.core.types import Problem, Verdict
from burnish.eval.ranking import Ranked, Ranking

LIKELY, UNLIKELY = -1e-3, -1e3  # log-probabilities (nats) that a perfect model gives right and wrong choices


def ranked_verdict(ranking: Ranking, problem: Problem, ranked: Sequence[Ranked]) -> Verdict:
    """The ranking's verdict, or ungraded when it raises: the one boundary where a ranking's exception is caught."""
    try:
        return ranking.rank(problem, ranked)
    except Exception as error:  # noqa: BLE001 - a ranking is foreign code, and one bad row must not end a run
        return Verdict(None, f"ranking {type(ranking).__name__} raised {type(error).__name__}: {error}"[:300])


def perfect(ranking: Ranking, problem: Problem) -> tuple[Ranked, ...]:
    """The problem's choices as a model sees them that finds the right ones likely and all others not."""
    right = ranking.right(problem)
    return tuple(
        Ranked(text, LIKELY if place in right else UNLIKELY, 1, place in right)
        for place, text in enumerate(ranking.choices(problem))
    )
