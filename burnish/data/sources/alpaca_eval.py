"""AlpacaEval 2: 805 instructions, each with the baseline's reply, and how 30 published models did on it. Evaluation only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.pinned import Pinned, TestSource, locate, records
from burnish.errors import DataError

BASELINE = "gpt4_1106_preview"
PREFERENCES = Pinned(
    "alpaca_eval_preferences/preferences.jsonl.gz", "8cc8b347320690e3b5e92dec83d2d69378837f2d3a44d6a97437dc368a241bf7",
    24951, "CC-BY-NC-4.0", "https://github.com/tatsu-lab/alpaca_eval", "cd543a149df89434d8a54582c0151c0b945c3d20",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class AlpacaEval(TestSource):
    """The instructions (arXiv:2404.04475); the target is the reply of gpt4_1106_preview, the category the set it came from.

    annotations: "key", the instruction's number from 0. With `beside`, "judged": {model: [preference, characters of the
    baseline's reply, characters of the model's]} of published models, by GPT-4 Turbo as judge.
    """

    beside: bool = False
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """alpaca_eval."""
        return "alpaca_eval"

    @property
    def file(self) -> Pinned:
        """The instructions' file."""
        return TESTS["alpaca_eval"].file

    def check(self, data: Path | None) -> None:
        """Raise DataError unless the pinned files are there."""
        locate(self.file, data, self.name)
        if self.beside:
            locate(PREFERENCES, data, f"{self.name}: the published preferences")

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The instructions in the published order, which the length-controlled win rate counts by."""
        judged = self._judged(data) if self.beside else {}
        for place, record in enumerate(records(self.file, data, self.name, ("instruction", "output", "dataset"))):
            more = {"judged": judged.get(place, {})} if self.beside else {}
            yield Problem(
                user(record["instruction"]), Check("alpaca_eval", record["output"]), category=record["dataset"],
                source=self.name, licence=self.licence,
                annotations={"key": place, "fields": [record["instruction"]], **more},
            )  # fmt: skip

    def _judged(self, data: Path | None) -> dict[int, dict[str, list[float]]]:
        found: dict[int, dict[str, list[float]]] = {}
        for number, record in enumerate(
            records(PREFERENCES, data, f"{self.name}: the published preferences", ("model",)), 1
        ):
            values = [record.get(name) for name in ("index", "preference", "len_1", "len_2")]
            numbers = [value for value in values if isinstance(value, int | float)]
            if len(numbers) != len(values):
                raise DataError(
                    f"{PREFERENCES.path}, row {number}: index, preference, len_1 and len_2 must be numbers."
                )
            if record["model"] != BASELINE:
                found.setdefault(int(numbers[0]), {})[record["model"]] = numbers[1:]
        return found
