"""benchmarks/RESULTS.md says what the result files say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_results_page_is_fresh() -> None:
    spec = importlib.util.spec_from_file_location("tables", BENCHMARKS / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (BENCHMARKS / "RESULTS.md").read_text() == module.render(), "run: python benchmarks/tables.py"
