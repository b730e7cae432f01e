"""How much of a source a recipe takes: three types, so that no number can mean two things.

Which rows a Share or Sample takes depends on the row's content and the seed only: it is a cut by rank(seed, id). Rows of
other sources cannot change it, and a smaller Sample of the same seed lies inside a larger one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from burnish.core.rng import rank
from burnish.core.types import Row
from burnish.errors import RecipeError


@dataclass(frozen=True, slots=True)
class All:
    """Every row."""

    def count(self, available: int) -> int:
        """How many of `available` rows are taken."""
        return available


@dataclass(frozen=True, slots=True)
class Share:
    """A share of the rows, 0 < share <= 1, rounded down. 0.29 of 100 rows is 29: the decimal is taken as written."""

    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.share, bool) or not isinstance(self.share, int | float) or not 0 < self.share <= 1:
            raise RecipeError(
                f"Share({self.share!r}): a share lies above 0 and at most 1.\n"
                "  Write All() for every row, or Sample(n, seed=0) for a number of rows."
            )

    def count(self, available: int) -> int:
        """How many of `available` rows are taken."""
        return int(Fraction(repr(self.share)) * available)


@dataclass(frozen=True, slots=True)
class Sample:
    """Exactly n rows, n >= 1."""

    n: int
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.n, bool) or not isinstance(self.n, int) or self.n < 1:
            raise RecipeError(
                f"Sample({self.n!r}): the number of rows is a whole number of at least 1.\n"
                "  Write Share(p) for a part of the source, or leave the source out."
            )

    def count(self, available: int) -> int:
        """How many of `available` rows are taken: n, also where there are fewer (see `select`)."""
        return self.n


Amount = All | Share | Sample


def select(rows: Sequence[Row], amount: Amount, where: str = "amount") -> list[Row]:
    """The chosen rows in their own order. Raises RecipeError when Sample asks for more rows than there are."""
    if isinstance(amount, All):
        return list(rows)
    check_amount(amount, len(rows), where)
    seen: Counter[str] = Counter()
    keys: list[tuple[float, int]] = []
    for i, row in enumerate(rows):
        row_id = row.id
        # Copies of a row draw different ranks, so that a Sample of a source full of copies is still a sample.
        keys.append((rank(amount.seed, "select", f"{row_id}#{seen[row_id]}"), i))
        seen[row_id] += 1
    chosen = sorted(keys)[: amount.count(len(rows))]
    return [rows[i] for i in sorted(i for _, i in chosen)]


def check_amount(amount: object, available: int | None, where: str, source: str = "source") -> None:
    """Raise RecipeError for a bare number or another wrong type, and for a Sample larger than the source.

    available: the source's rows, or None where nobody knows yet.
    """
    if not isinstance(amount, All | Share | Sample):
        raise RecipeError(_ambiguous(amount, available, where, source))
    if isinstance(amount, Sample) and available is not None and amount.n > available:
        raise RecipeError(
            f"{where}: {amount!r} asks for {amount.n:,} rows, but {source} has {available:,}, so the mix would not be "
            f"what the recipe says.\n  Write All() ({available:,} rows), or Sample(n) with n of at most {available:,}."
        )


def _ambiguous(amount: object, available: int | None, where: str, source: str) -> str:
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        return f"{where}: Take({source}, {amount!r}): the amount is a {type(amount).__name__}.\n  Write All(), Share(p) or Sample(n, seed=0)."
    whole = isinstance(amount, int)
    meaning = (
        f"{amount} rows or {amount} copies of the source"
        if whole
        else f"a share of {amount} or {amount} copies of the source"
    )
    n = max(int(amount), 1)
    if available is None:
        ways = f"Write All(), Share(0.5) or Sample({n if whole else 512}, seed=0)."
    else:
        sample = min(n if whole else max(int(amount * available), 1), max(available, 1))
        share = 100 * sample / max(available, 1)
        part = f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
        ways = (
            f"Write All() ({available:,} rows), Share(0.5) ({Share(0.5).count(available):,} rows) "
            f"or Sample({sample}, seed=0) ({sample:,} rows, {part})."
        )
    return f"{where}: Take({source}, {amount!r}) could mean {meaning}.\n  {ways}"
