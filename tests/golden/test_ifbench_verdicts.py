"""The published IFBench checkers' verdicts on 593 replies written for this table, recorded from running them.

tests/golden/ifbench_verdicts.jsonl: one {"id", "kwargs", "reply", "followed"} a line, ten replies or more for each of the 58
constraints. Recorded from allenai/IFBench db69a6f (version 0.2.0) with NLTK 3.9.2, its punkt_tab, stopwords and
averaged_perceptron_tagger_eng data, emoji 2.15.0 and syllapy 0.7.2. tests/oracle/test_ifbench_oracle.py runs them live.
"""

from __future__ import annotations

import importlib.util
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest

from burnish.core.files import read_jsonl
from burnish.errors import MissingData
from burnish.verify.ifbench import CONSTRAINTS, speech

TABLE = Path(__file__).parent / "ifbench_verdicts.jsonl"
KINDS = {kind.ID: kind for kind in CONSTRAINTS}


def recorded() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for _, row in read_jsonl(TABLE):
        found[row["id"]].append(row)
    return found


def test_every_constraint_has_replies_of_both_kinds() -> None:
    rows = recorded()
    assert sorted(rows) == sorted(KINDS)
    for name, mine in rows.items():
        counts = Counter(row["followed"] for row in mine)
        assert len(mine) >= 8, name
        assert min(counts[True], counts[False]) >= 2, name


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_published_rule_gives_the_recorded_verdicts(name: str) -> None:
    if name == "words:odd_even_syllables" and importlib.util.find_spec("syllapy") is None:
        pytest.skip("no syllapy: pip install 'burnish[ifbench]'")
    for row in recorded()[name]:
        constraint = KINDS[name](**row["kwargs"])
        try:
            finding = getattr(constraint, "check_published", constraint.check)(row["reply"])
        except MissingData:
            assert name == "words:start_verb"
            pytest.skip(f"no {speech.NAME} in an NLTK data folder")
        assert finding.followed == row["followed"], (row["reply"], finding)
