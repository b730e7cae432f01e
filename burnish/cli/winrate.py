"""`burnish winrate`: win rates of AlpacaEval from judge preferences that are already there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from burnish.cli.flags import data_folder, out
from burnish.errors import RecipeError

PUBLISHED = "alpaca_eval_preferences/preferences.jsonl.gz"


@dataclass(frozen=True)
class Winrate:
    """Win rates against the baseline, plain and length-controlled, of every model in some annotations.

    Attributes:
        annotations: files of judge preferences: AlpacaEval's annotations.json, or rows with model, preference, len_1, len_2.
        gamed: AlpacaEval's df_gamed.csv; with it the length-controlled win rate is the published one.
        difficulty: its instruction_difficulty.csv; without, the difficulties in `gamed`.
        beside: annotations of other models, for the joint fit that is used without `gamed`.
        data: folder of data sets; the published models in it are put beside.
        json: print JSON.
    """

    annotations: Positional[tuple[Path, ...]]
    gamed: Path | None = None
    difficulty: Path | None = None
    beside: tuple[Path, ...] = ()
    data: Path | None = None
    json: bool = False

    def __call__(self) -> int:
        """Count, fit and print."""
        from burnish.eval.annotations import read, read_difficulty, read_gamed
        from burnish.eval.winrate import table

        if not self.annotations:
            raise RecipeError("burnish winrate: no annotations are named.\n  burnish winrate annotations.json")
        if self.difficulty and not self.gamed:
            raise RecipeError(
                "--difficulty is of use with --gamed only: the published estimator needs both.\n  Give --gamed df_gamed.csv too, or leave both out."
            )
        models = read(self.annotations)
        folder = data_folder(self.data)
        known = folder / PUBLISHED if folder else None
        beside = [*self.beside, *([known] if known and known.exists() else [])]
        difficulty = read_difficulty(self.difficulty or self.gamed) if self.gamed else None
        records = table(
            models,
            read(beside) if beside and not self.gamed else [],
            difficulty,
            read_gamed(self.gamed) if self.gamed else None,
        )
        out(records if self.json else _text(records))
        return 0


def _text(records: list[dict[str, Any]]) -> str:
    exact = "length_controlled_winrate" in records[0]
    name = "length_controlled_winrate" if exact else "lc_winrate_approx"
    head = (
        "model",
        "win rate %",
        "± se",
        "n",
        "ungraded",
        "discrete %",
        "LC %" if exact else "LC approx %",
        "± se",
        "longer by",
    )
    rows = [
        (
            each["model"], f"{each['win_rate']:.2f}", f"{each['standard_error']:.2f}", f"{each['n']:,}", f"{each['ungraded']:,}",
            f"{each['discrete_win_rate']:.2f}", f"{each[name]:.2f}", f"{each['lc_standard_error']:.2f}", f"{0.0 - each['mean_shorter']:,.0f}",
        )
        for each in records
    ]  # fmt: skip
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in [head, *rows]
    ]
    if exact:
        lines.append("LC: the published estimator (length_controlled_v1) with the files given.")
    else:
        count = records[0]["models_in_fit"]
        lines.append(
            f"LC approx: a joint fit of {count} model{'' if count == 1 else 's'} in place of the published estimator, which needs --gamed df_gamed.csv. "
            + (
                "With so few models it knows little of lengths and instructions."
                if count < 10
                else "About half a point from the published numbers."
            )
        )
    return "\n".join(lines)
