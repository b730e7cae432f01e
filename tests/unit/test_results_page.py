"""benchmarks/RESULTS.md says what the result files say."""

from __future__ import annotations

import importlib
import importlib.util
import json
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_results_page_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location("tables", BENCHMARKS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (BENCHMARKS / "RESULTS.md").read_text() == module.render(), "run: python benchmarks/tables.py"


def test_scores_page_is_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    bundled = importlib.import_module("bundled")
    found = json.loads((BENCHMARKS / "scores" / "bundled.json").read_text())
    assert (BENCHMARKS / "SCORES.md").read_text() == bundled.render(found), (
        "run: python benchmarks/bundled.py --data DIR"
    )
