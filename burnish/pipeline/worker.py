"""Runs one stage, in a process of its own: `python -m burnish.pipeline.worker job.json`.

The process ends with its parent, whatever ends that. What goes wrong comes back as one JSON object on a pipe.
Exit codes: 0 done, 2 an error of burnish.errors (its text is on the pipe), 130 interrupted, anything else a crash.
"""

from __future__ import annotations

import errno
import functools
import importlib.metadata
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from burnish import errors
from burnish.core.files import disk_errors, read_json, write_json
from burnish.core.fingerprint import decode, encode, fingerprint
from burnish.pipeline.cost import Account, Cost
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.pipeline.ranks import INTERRUPTED, Seat
from burnish.pipeline.recipe import load_module
from burnish.pipeline.stage import Context, Stage, inputs
from burnish.pipeline.store import RANKS, RECORD, Store, input_fingerprints, now_utc

USER_ERROR = 2
# A pipe holds 64 KiB before a writer waits; nobody reads until this process has ended.
_LONGEST = 60_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage runs: the store, the machine and the folders. None of it decides a result."""

    runs: Path
    machine: Machine
    data: Path | None
    cache: Path
    console: Console
    track: tuple[str, ...] = ()


def execute(stage: Stage, place: Place, *, parent: int = 0, seat: Seat | None = None) -> None:
    """Run a stage in this process, inside its `.partial` folder, and write its artifact.json last.

    The caller holds the stage's lock. parent: the process whose end ends this one too; 0 for none. seat: this process among
    several, of which the first writes the artifact.
    """
    store = Store(place.runs)
    partial = out = store.begin(stage)
    if seat is not None and seat.rank:
        out = seat.folder(partial)
        out.mkdir(parents=True, exist_ok=True)
    place.machine.prepare()
    context = Context(
        out=out,
        machine=place.machine,
        path_of=store.path_of,
        data=place.data,
        cache=place.cache,
        console=place.console,
        first=partial if out != partial else None,
        track=place.track,
    )
    try:
        with Account(out, parent) as account:
            stage.run(context)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            with disk_errors(out):
                raise
        raise
    if out != partial:
        return
    record = {
        "name": stage.name,
        "fingerprint": fingerprint(stage, stage.name),
        "stage": encode(stage),
        "inputs": input_fingerprints(list(inputs(stage))),
        "provenance": _provenance(place.machine),
        "cost": account.total.beside([Cost.of_partial(folder) for folder in partial.glob(f"{RANKS}/*")]).to_json(),
    }
    write_json(out / RECORD, record)


def done(partial: Path) -> bool:
    """Whether the stage in this `.partial` folder has finished and only the renaming is left."""
    return (partial / RECORD).exists()


def _provenance(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = {
        name: _version(name) for name in ("burnish", "torch", "transformers") if _version(name) is not None
    }
    found |= {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": {key: getattr(machine, key) for key in Machine.__dataclass_fields__},
        "finished_utc": now_utc(),
    }
    if machine.device == "cuda":
        found |= _accelerator(machine)
    if commit := _commit():
        found["git"] = commit
    return found


def _accelerator(machine: Machine) -> dict[str, Any]:
    """Whose kernels ran: the device, the attention that was chosen and the packages that may bring their own."""
    packages = ("triton", "flash-attn-3", "flash-attn", "liger-kernel", "bitsandbytes")
    found: dict[str, Any] = {name: _version(name) for name in packages if _version(name) is not None}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
    return found | {"packed_attention": machine.packed_attention}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _commit() -> str | None:
    """The commit of burnish itself where it runs from a checkout, with "-dirty" when files differ from it."""
    here = Path(__file__).parent
    if shutil.which("git") is None:
        return None

    def git(*words: str) -> str | None:
        done = subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return None
    return git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def main(job_file: Path, words: list[str]) -> int:
    """Run the job and give the exit code. words: what a launcher of several processes adds (burnish.pipeline.ranks)."""
    job = read_json(job_file)
    signal.signal(signal.SIGINT, _interrupt)
    if words:
        return _main_of_several(job, job_file.parent, words)
    die_with(job["parent"])
    os.set_inheritable(job["pipe"], False)
    os.set_inheritable(job["lock"], False)
    try:
        _work(job, decode(job["machine"]), job["parent"], None)
    except errors.Error as error:
        return report(job["pipe"], type(error).__name__, str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _main_of_several(job: dict[str, Any], partial: Path, words: list[str]) -> int:
    machine = decode(job["machine"])
    seat = Seat.of(machine, words, os.environ)
    die_with(seat.parent)
    seat.quiet(partial)
    try:
        seat.join(machine)
        _work(job, machine, seat.parent, seat)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - the launcher tells the user
        seat.report(partial, error)
        return USER_ERROR if isinstance(error, errors.Error) else 1
    return 0


def _work(job: dict[str, Any], machine: Machine, parent: int, seat: Seat | None) -> None:
    for module in job["modules"]:
        load_module(Path(module))
    place = Place(
        runs=Path(job["runs"]),
        machine=machine,
        data=Path(job["data"]) if job["data"] else None,
        cache=Path(job["cache"]),
        console=Console(quiet=job["quiet"] or (seat is not None and seat.rank > 0)),
        track=tuple(job["track"]),
    )
    execute(decode(job["stage"]), place, parent=parent, seat=seat)


def report(pipe: int, kind: str, text: str) -> int:
    """Put an error on the pipe for the parent; returns the exit code that goes with it."""
    raw = json.dumps({"kind": kind, "text": text[: _LONGEST // 6]}, ensure_ascii=True).encode()
    os.write(pipe, raw)
    return USER_ERROR


def _interrupt(number: int, frame: FrameType | None) -> None:
    # A terminal sends Ctrl-C to this process and to its parent, who passes it on: the second must not hurt the clean-up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def die_with(parent: int) -> None:
    """Have the kernel end this process when its parent ends (Linux); elsewhere the account's thread looks for it."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
