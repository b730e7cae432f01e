"""Which test items a scan compared, and which of them training rows overlap: for scores on clean and contaminated items.

tested.parquet, beside the rows of a dataset that was kept away from tests: test, item (id), text (a hash of what was compared),
coverage (the highest share of the item's tokens that one row holds), overlapping (by the dataset's rule), stayed (whether the
overlapping rows are still in the dataset).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from burnish.core.files import read_json
from burnish.core.fingerprint import content_id
from burnish.core.types import Problem
from burnish.data.dataset import write_table
from burnish.data.decontamination.findings import Findings
from burnish.data.decontamination.items import Item, item_of
from burnish.data.decontamination.results import DECISION, FINDINGS, read_findings
from burnish.data.decontamination.rule import Overlap
from burnish.data.decontamination.verdict import over
from burnish.errors import DataError

TESTED = "tested.parquet"


def text_key(prompt: Sequence[str]) -> str:
    """A hash of an item's texts, regardless of case and white space: one question has one key, whatever file it came from."""
    return content_id("item", " ".join(" ".join(prompt).casefold().split()))


def write_tested(folder: Path, items: Sequence[Item], findings: Findings, rule: Overlap, *, stayed: bool) -> None:
    """Write tested.parquet. stayed: whether rows that overlap were left in the dataset."""
    import pyarrow as pa

    coverage, overlapping = _by_item(items, findings, rule)
    table = {
        "test": [item.test for item in items], "item": [item.id for item in items],
        "text": [text_key(item.prompt) for item in items], "coverage": coverage, "overlapping": overlapping,
        "stayed": overlapping & stayed,
    }  # fmt: skip
    write_table(folder / TESTED, pa.table(table))


def _by_item(items: Sequence[Item], findings: Findings, rule: Overlap) -> tuple[Any, Any]:
    coverage, overlapping = np.zeros(len(items)), np.zeros(len(items), bool)
    hits = findings.item_hits
    np.maximum.at(coverage, hits["item"], hits["coverage"])
    overlapping[hits["item"][over(hits, rule)]] = True
    return coverage, overlapping


@dataclass(frozen=True, slots=True)
class KnownItems:
    """The items that training data were compared with, by id and by `text_key`: True where training data overlap with one.

    origins: where this is known from, for people.
    """

    origins: tuple[str, ...] = ()
    ids: dict[str, bool] = field(default_factory=dict)
    texts: dict[str, bool] = field(default_factory=dict)

    def overlaps(self, problem: Problem) -> bool | None:
        """Whether training data overlap with the problem; None where it was never compared."""
        text = text_key(item_of("", problem).prompt)
        found = [known[key] for known, key in ((self.ids, problem.id), (self.texts, text)) if key in known]
        return any(found) if found else None

    def joined(self, other: KnownItems) -> KnownItems:
        """What both know: an item overlaps when it does in either."""
        ids, texts = dict(self.ids), dict(self.texts)
        for mine, theirs in ((ids, other.ids), (texts, other.texts)):
            for key, flag in theirs.items():
                mine[key] = mine.get(key, False) or flag
        return replace(self, origins=(*self.origins, *other.origins), ids=ids, texts=texts)


def _of(origin: str, records: Iterable[tuple[str, str, bool]]) -> KnownItems:
    ids: dict[str, bool] = {}
    texts: dict[str, bool] = {}
    for name, text, flag in records:
        ids[name] = ids.get(name, False) or flag
        texts[text] = texts.get(text, False) or flag
    return KnownItems((origin,), ids, texts)


def read_tested(folder: Path) -> KnownItems:
    """What is known from a folder of `burnish decontaminate`, or from a dataset that was kept away from tests.

    Of a folder of findings, an item overlaps when it does with any scanned row, removed later or not, at the thresholds of its
    decision.json. Of a dataset, when the rows are still in it. Raises DataError for a folder that holds neither.
    """
    if (folder / FINDINGS).is_dir():
        question, scan = read_findings(folder)
        rule = question.rule
        if (folder / DECISION).is_file():
            rule = replace(rule, coverage=float(read_json(folder / DECISION)["coverage"]))
        items = [item for test in question.tests for item in test.items]
        flags = _by_item(items, scan.findings, rule)[1]
        return _of(
            folder.name, ((item.id, text_key(item.prompt), bool(f)) for item, f in zip(items, flags, strict=True))
        )
    if (folder / TESTED).is_file():
        import pyarrow.parquet as pq

        table = pq.read_table(folder / TESTED, columns=["item", "text", "stayed"]).to_pydict()
        return _of(folder.name, zip(table["item"], table["text"], table["stayed"], strict=True))
    raise DataError(
        f"{folder} holds no findings/ and no {TESTED}, so it does not say which test items are in the training data.\n"
        "  Give the --out folder of  burnish decontaminate TRAIN… --against TESTS…, or a dataset of a recipe with away_from."
    )
