"""The reference page of instructions says what the classes say."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from burnish.verify import ifrlvr
from burnish.verify.ifeval import constraints, tulu3
from burnish.verify.ifeval.constraints import PublishedRule

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "verifiers" / "instructions.md"
TABLES = {
    "ifeval": (constraints.CONSTRAINTS, False),
    "tulu3": (tulu3.CONSTRAINTS, True),
    "ifrlvr": (ifrlvr.CONSTRAINTS, True),
}


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<<", "&lt;&lt;").replace("*", "\\*")


def table(kinds: tuple[Any, ...], two_readings: bool) -> str:
    head = "| id | arguments | followed when |" + (" what `published` does instead |" if two_readings else "")
    lines = [head, "|---|---|---|" + "---|" * two_readings]
    for kind in kinds:
        said, _, quirk = " ".join(kind.__doc__.split()).partition(" Published: ")
        said = said.replace(" Both readings agree.", "").replace(" Both readings agree; it", " It")
        assert bool(quirk) == isinstance(kind, PublishedRule) or not two_readings, f"{kind.ID}: quirk and code disagree"
        arguments = ", ".join(f"`{field.name}`" for field in dataclasses.fields(kind))
        cells = [f"`{kind.ID}`", arguments, cell(said), *([cell(quirk)] * two_readings)]
        lines.append("|" + "".join(f" {each} |" if each else " |" for each in cells))
    return "\n".join(lines)


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_the_classes(name: str, update_golden: bool) -> None:
    head, mark, rest = PAGE.read_text().partition(f"<!-- {name}: written by pytest --update-golden -->\n")
    found, end, tail = rest.partition("\n<!-- end -->")
    assert mark
    assert end
    expected = table(*TABLES[name])
    if update_golden:
        PAGE.write_text(head + mark + expected + end + tail)
        found = expected
    assert found == expected, "instructions changed: pytest --update-golden rewrites the page; the diff is the review"
