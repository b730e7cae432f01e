"""Whole runs of the stages equal the same runs written plainly: tokens, masks, order, schedule, optimizer, reference."""

from __future__ import annotations

from pathlib import Path

import pytest
from plain_runs import check_run, demos, our_run, pairs, plain_run
from training_runs import prepare


@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_a_run_is_the_plain_run(kind: str, tmp_path: Path) -> None:
    prepare(tmp_path, [*demos(), *pairs()])
    check_run(our_run(tmp_path, "out", kind), plain_run(tmp_path / "start" / "model", kind))
