"""The code in docs/howto/judge.md runs as it stands, but for the server's address and the folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from judge_rules import judge_by_rules
from judge_server import serving

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "judge.md"


def test_the_howto_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found: dict[str, Any] = {}
    with serving(judge_by_rules) as server:
        for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            code = block.replace("http://127.0.0.1:8000/v1", server.url).replace("judge-replies", str(tmp_path))
            exec(code, found)
    assert len(found["verdicts"]) == 20
    assert all(verdict.score is not None for verdict in found["verdicts"])
    spent = found["spent"]
    assert (spent.requests, spent.tokens, spent.open) == (21, 21 * 15, 0)
    assert len((tmp_path / "ledger.jsonl").read_text().splitlines()) == 42
    assert capsys.readouterr().out.count("\n") == 2
