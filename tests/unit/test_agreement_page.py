"""The committed comparison with published verdicts is of this version of the verifiers, and its page says what the result says."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script() -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location("public_outputs", BENCHMARKS / "public_outputs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["public_outputs"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["public_outputs"]


def test_the_page_is_the_result(script: Any) -> None:
    assert script.PAGE.read_text() == script.render(json.loads(script.RESULT.read_text())), f"run: {script.__doc__}"


def test_the_result_is_of_these_verifiers_and_of_every_set(script: Any) -> None:
    result = json.loads(script.RESULT.read_text())
    assert result["verifiers"] == {verifier.__name__: verifier.VERSION for verifier in script.VERIFIERS}
    assert set(result["sets"]) == set(script.SETS)
    for each in result["sets"].values():
        for row in each["rows"]:
            if row["agree"] is not None:
                assert row["agree"] + sum(part["n"] for part in row["differences"]) == row["n"], row["what"]
            assert all(part["why"] not in ("", "other") for part in row["differences"]), row["what"]


def test_a_set_that_is_not_there_stays_as_it_was(script: Any, tmp_path: Path) -> None:
    result = json.loads(script.RESULT.read_text())
    assert script.measure(tmp_path, tmp_path, result)["sets"] == result["sets"]


def test_solutions_are_compared_item_by_item(script: Any, tmp_path: Path) -> None:
    """Two solutions of four models: one right by either, one whose negative answer Tülu 3's rule reads without its sign."""
    said = {"solution": "2 - 4 = -2\nA: -2", "is_correct": False}
    fine = {"solution": "2 + 2 = 4\nA: 4", "is_correct": True}
    models = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")
    lines = [
        {"ground_truth": "A: 4", **dict.fromkeys(models, fine)},
        {"ground_truth": "A: 2", **dict.fromkeys(models, said)},
    ]
    (tmp_path / "example_model_solutions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    tulu3, flexible, *_ = script.gsm8k(tmp_path, tmp_path)
    assert (tulu3.n, tulu3.published, tulu3.ours, tulu3.agree) == (2, 1, 2, 1)
    assert list(tulu3.classes.values()) == [["1"]]
    assert (flexible.published, flexible.ours, flexible.agree, flexible.classes) == (1, 1, 2, {})
