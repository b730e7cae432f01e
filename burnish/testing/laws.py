"""The laws that every loss, verifier, filter, engine, environment and task keeps, to be called from tests of your own.

`check_loss` needs torch, the others do not: each is loaded when it is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from burnish.testing.engine_laws import check_engine as check_engine
    from burnish.testing.engine_laws import check_scorer as check_scorer
    from burnish.testing.engine_laws import check_settings as check_settings
    from burnish.testing.environment_laws import check_environment as check_environment
    from burnish.testing.filter_laws import check_filter as check_filter
    from burnish.testing.loss_laws import check_loss as check_loss
    from burnish.testing.task_laws import check_task as check_task
    from burnish.testing.verifier_laws import check_verifier as check_verifier

_HOMES = {
    "check_engine": "burnish.testing.engine_laws",
    "check_settings": "burnish.testing.engine_laws",
    "check_scorer": "burnish.testing.engine_laws",
    "check_environment": "burnish.testing.environment_laws",
    "check_filter": "burnish.testing.filter_laws",
    "check_loss": "burnish.testing.loss_laws",
    "check_task": "burnish.testing.task_laws",
    "check_verifier": "burnish.testing.verifier_laws",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
