"""How Tülu 3's instructions bound a count."""

from __future__ import annotations

from typing import Literal

from burnish.verify.ifeval.constraints import Finding

Quantifier = Literal["at least", "at most", "around"]


def exactly(what: str, found: int, wanted: int) -> Finding:
    """Followed when the two are equal."""
    return Finding(found == wanted, f"{what}: {found}, wanted exactly {wanted}")


def at_least(what: str, found: int, wanted: int) -> Finding:
    """Followed when there are enough."""
    return Finding(found >= wanted, f"{what}: {found}, wanted at least {wanted}")


def bounded(what: str, found: int, quantifier: Quantifier, wanted: int, tolerance: int) -> Finding:
    """Followed when the count is on the right side of `wanted`, or no further from it than `tolerance`."""
    if quantifier == "around":
        why = f"{what}: {found}, wanted {wanted - tolerance} to {wanted + tolerance}"
        return Finding(abs(found - wanted) <= tolerance, why)
    followed = found >= wanted if quantifier == "at least" else found <= wanted
    return Finding(followed, f"{what}: {found}, wanted {quantifier} {wanted}")


def tenth(n: int) -> int:
    """A tenth of n, rounded, at least 1: what "around" allows."""
    return max(round(n * 0.1), 1)
