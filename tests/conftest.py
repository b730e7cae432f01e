"""Fixtures shared by all tests: where real data lies, and switches for the slow kinds."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--data", default=None, help="folder of real benchmark data (default: ../shared/data if it exists)"
    )
    parser.addoption("--update-golden", action="store_true", help="rewrite golden files instead of comparing with them")


@pytest.fixture(scope="session")
def data_dir(request: pytest.FixtureRequest) -> Path:
    """The folder of real data sets; tests that need it are skipped where there is none."""
    given = request.config.getoption("--data")
    folder = Path(given) if given else SHARED
    if not (folder / "MANIFEST.json").exists():
        pytest.skip("no real data: give --data DIR")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """Processes that tests start obey Ctrl-C, also where the tests themselves run with SIGINT ignored (a background job)."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    """True when golden files are to be rewritten."""
    return bool(request.config.getoption("--update-golden"))
