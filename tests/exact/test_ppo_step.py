"""A PPO step over two models and several epochs equals the plainly written one, however it is cut into micro-batches."""

from __future__ import annotations

from pathlib import Path

import pytest
from ppo_step import check_ppo_step, our_step, plain_step

from burnish.model.toy import make_toy


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_toy(tmp_path_factory.mktemp("toy") / "model", hidden_size=32, intermediate_size=64)


@pytest.mark.parametrize("bootstrap", [False, True], ids=["cut replies are penalised", "cut replies go on"])
def test_a_ppo_step_is_the_plain_step(folder: Path, bootstrap: bool) -> None:
    expected = plain_step(folder, bootstrap=bootstrap)
    for micro_tokens in (1, 40, 10_000):
        check_ppo_step(our_step(folder, bootstrap=bootstrap, micro_tokens=micro_tokens), expected)
