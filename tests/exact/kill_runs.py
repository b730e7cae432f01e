"""Kills a training stage at chosen moments until it was killed KILLS times: kill_runs.py ROOT STAGE OUT EVERY_S SEED KILLS.

Everything is loaded once; each run is a fork of this process, ended by SIGKILL, which no code can catch. Prints a line of JSON
for each: the moment, and how often its function had been entered. A run that ends before its moment leaves OUT-n finished,
and the next begins OUT-(n+1); the last is left alone.

A moment is the n-th entry into a function that a run goes through: the run stops there and is killed while it waits, so the
kill falls exactly there, mid-accumulation or between the two renames of a checkpoint. Or it is a point in time.
"""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from training_runs import EVERY_STEP, KILLED, context

from burnish.data.dataset import Dataset
from burnish.losses.dpo import DPO
from burnish.losses.policy import PolicyLoss
from burnish.losses.sft import SFTLoss
from burnish.model import checkpoint
from burnish.model.policy import Policy
from burnish.model.rates import matrix_rate
from burnish.train import log, reference
from burnish.train.learner import Learner

# What a run goes through, and how often at most before it has taken two steps with a checkpoint after each.
MOMENTS: dict[str, tuple[tuple[tuple[Any, str], ...], int]] = {
    "mid-accumulation": (((SFTLoss, "total"), (DPO, "total"), (PolicyLoss, "total")), 5),
    "before the update": (((Learner, "step"),), 3),
    "before a record": (((log.MetricsLog, "write"),), 3),
    "before a checkpoint": (((Learner, "save"),), 2),
    "mid-checkpoint": (((checkpoint, "_write"),), 4),
    "at a rename": (((Path, "rename"),), 5),
    "after a checkpoint": (((shutil, "rmtree"),), 8),
    "before the reference is kept": (((reference, "_write"),), 1),
}


def stop_at(places: tuple[tuple[Any, str], ...], n: int, tell: int) -> None:
    """Make the n-th entry into any of these functions say so and wait for its end."""
    left = [n]

    def waiting(whole: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **more: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.write(tell, b"!")
                time.sleep(60)
            return whole(*given, **more)

        return wrapped

    for home, name in places:
        setattr(home, name, waiting(getattr(home, name)))


def warm(root: Path) -> None:
    """Load what every run would load: seconds of imports, against a second of training. No backward pass: torch refuses one
    in the fork of a process that took one.
    """

    Learner(Policy.load(root / "start" / "model", EVERY_STEP, trainable=True), EVERY_STEP).step(0.0)
    Dataset.open(root / "data").rows()
    matrix_rate(root / "cache", EVERY_STEP)


def run(root: Path, stage: str, out: str, every_s: float, prepare: Callable[[], None]) -> int:
    """Fork a run; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        prepare()
        machine = EVERY_STEP.__class__(
            micro_tokens=EVERY_STEP.micro_tokens, slots=EVERY_STEP.slots, checkpoint_every_s=every_s
        )
        KILLED[stage].run(context(root, out, machine))
        code = 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    """See the top of the file."""
    root, stage, out, every_s, seed, kills = sys.argv[1:]
    torch.set_num_threads(1)
    warm(Path(root))
    draw = random.Random(int(seed))
    moments = [name for name in MOMENTS if stage == "dpo" or name != "before the reference is kept"]
    hit = turn = 0
    while hit < int(kills):
        asked, tell = os.pipe()
        moment = draw.choice([*moments, "any time"])
        places, most = MOMENTS.get(moment, ((), 1))
        at: float = draw.randint(1, most) if places else round(draw.random() * 0.6, 3)
        stop = partial(stop_at, places, int(at), tell)
        child = run(Path(root), stage, f"{out}-{turn}", float(every_s), stop)
        os.close(tell)
        # Until the byte, or the end of a run that never came to that moment, or the time.
        select.select([asked], [], [], None if places else at)
        os.kill(child, signal.SIGKILL)
        os.close(asked)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        print(json.dumps({"moment": moment, "at": at, "killed": killed, "run": turn}))  # noqa: T201
        hit += killed
        turn += not killed
    _, status = os.waitpid(run(Path(root), stage, f"{out}-{turn}", float(every_s), lambda: None), 0)
    sys.exit(status != 0)


if __name__ == "__main__":
    main()
