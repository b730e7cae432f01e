"""The resolved plan of every shipped recipe: rows by source, batches, rates, steps. The diff of the golden file is the review."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent


@pytest.mark.parametrize("name", ["tulu3_tiny", "tulu3_135m"])
def test_the_plan_is_the_reviewed_one(name: str, data_dir: Path, tmp_path: Path, update_golden: bool) -> None:
    command = [
        sys.executable,
        "-m",
        "burnish.cli",
        "plan",
        f"recipes/{name}.py",
        "--runs",
        str(tmp_path),
        "--json",
        "--data",
        str(data_dir),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)["stages"]
    shown = [{key: step[key] for key in ("name", "fingerprint", "headline")} for step in steps]
    text = json.dumps(shown, indent=1, ensure_ascii=False) + "\n"
    golden = GOLDEN / f"plan_{name}.json"
    if update_golden:
        golden.write_text(text)
    assert text == golden.read_text(), "the plan changed: pytest --update-golden rewrites it; the diff is the review"
