"""The reference page of examples says what the classes say, and the verifier how-to runs as it stands."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from burnish.core.types import Check, Problem, user
from burnish.testing.laws import check_verifier
from burnish.testing.verifier_page import page, verifiers

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "reference" / "verifiers" / "examples.md"
MARK = "rewrites them -->\n"


def test_the_examples_are_the_classes(update_golden: bool) -> None:
    head, mark, found = EXAMPLES.read_text().partition(MARK)
    assert mark
    expected = "\n" + page()
    if update_golden:
        EXAMPLES.write_text(head + mark + expected)
        found = expected
    assert found == expected, "examples changed: pytest --update-golden rewrites the page; the diff is the review"


def test_every_verifier_stands_on_the_page_with_three_of_each() -> None:
    sections = {part.splitlines()[0]: part for part in ("\n" + page()).split("\n## ")[1:]}
    assert len(sections) >= 8
    for cls in verifiers():
        mine = [part for title, part in sections.items() if re.match(rf"`{cls.__name__}\b", title)]
        assert mine, f"{cls.__name__} is not shown"
        for said in ("accepted", "rejected"):
            assert all(part.count(f"| {said} |") >= 3 for part in mine), f"{cls.__name__} shows too few {said}"


def test_the_how_tos_verifier_runs_and_keeps_the_laws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "howto" / "verifier.md").read_text(), re.DOTALL)
    (tmp_path / "howto_verifier.py").write_text(blocks[0])
    monkeypatch.syspath_prepend(tmp_path)
    letter = importlib.import_module("howto_verifier").Letter()
    check_verifier(
        letter, [Problem(user("Which is even? (A) 3 (B) 4"), Check("letter", "B"), "4 = 2 * 2. The answer is B.")]
    )
