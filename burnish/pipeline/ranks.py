"""One stage in several processes: torchrun starts them, they find each other, and what goes wrong in any comes back as one error.

`python -m burnish.pipeline.ranks job.json` is torchrun (torch.distributed's elastic launch) over the processes of one
computer. It holds the store in which they find each other: on the loopback, or, with several nodes, at MASTER_ADDR and
MASTER_PORT of the environment, NODE_RANK being this computer's number. Every process runs burnish.pipeline.worker. The
first one writes the artifact; each other one writes into a folder of its own, which goes when the stage is published.
"""

from __future__ import annotations

import datetime
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from burnish import errors
from burnish.core.files import read_json, write_json
from burnish.core.fingerprint import decode
from burnish.errors import RecipeError
from burnish.pipeline.machine import Machine
from burnish.pipeline.stage import Stage
from burnish.pipeline.store import RANKS

INTERRUPTED = 130
_ERROR = "error.json"
# What dies because another process died, dies within this many seconds of it.
_TOGETHER_S = 3.0
_GRACE_S = 5
# Peers compute for hours between two messages; one that is gone closes its connection, and torchrun ends the others.
_PATIENCE = datetime.timedelta(days=30)


def machine_of(stage: Stage, machine: Machine) -> Machine:
    """The machine as one process of this stage sees it: cores shared by a node's processes, or one process with all of them."""
    if not stage.RANKS or machine.processes * machine.nodes == 1:
        return alone(machine)
    return replace(machine, threads=max(1, machine.threads // machine.processes))


def alone(machine: Machine) -> Machine:
    """The machine for one process on one computer."""
    return replace(machine, processes=1, nodes=1, context=1, tensor=1, sharding="replicated")


@dataclass(frozen=True, slots=True)
class Node:
    """One of several computers: its number from 0, and where the first one's store listens."""

    number: int = 0
    host: str = "127.0.0.1"
    port: int = 0

    @classmethod
    def here(cls, machine: Machine, environment: Mapping[str, str]) -> Node:
        """This computer, by MASTER_ADDR, MASTER_PORT and NODE_RANK. Raises RecipeError where several nodes lack them."""
        if machine.nodes == 1:
            return cls()
        names = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
        number, host, port = (environment.get(name, "") for name in names)
        missing = [name for name in names if not environment.get(name)]
        if missing or not (number.isdigit() and port.isdigit()) or int(number) >= machine.nodes:
            found = ", ".join(f"{name}={environment.get(name, '')!r}" for name in names)
            raise RecipeError(
                f"Machine(nodes={machine.nodes}), but the environment says {found}, so the computers cannot find each other.\n"
                f"  Start the same command on each with NODE_RANK 0 to {machine.nodes - 1}, and MASTER_ADDR and a free "
                "MASTER_PORT of the first (docs/howto/multi-gpu.md)."
            )
        return cls(int(number), host, int(port))


@dataclass(frozen=True, slots=True)
class Seat:
    """One process of several: its rank of `size` and its number on its computer, the launcher it ends with, and the store."""

    rank: int
    size: int
    local: int
    parent: int
    host: str
    port: int

    @classmethod
    def of(cls, machine: Machine, words: list[str], environment: Mapping[str, str]) -> Seat:
        """From the launcher's words and the number torchrun gives."""
        parent, node, host, port = words
        local = int(environment["LOCAL_RANK"])
        return cls(
            int(node) * machine.processes + local,
            machine.nodes * machine.processes,
            local,
            int(parent),
            host,
            int(port),
        )

    def folder(self, partial: Path) -> Path:
        """Where a process after the first writes, and where each leaves its error."""
        return partial / RANKS / str(self.rank)

    def join(self, machine: Machine) -> None:
        """Become a rank of torch's process group."""
        import torch
        from torch import distributed

        if machine.nodes == 1:
            loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), "lo")
            os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
        if machine.device == "cuda":
            torch.cuda.set_device(self.local)
        # Whatever draws from torch's own generator draws the same on every rank.
        torch.manual_seed(0)
        made: Any = distributed
        store = made.TCPStore(self.host, self.port, is_master=False, timeout=_PATIENCE, wait_for_workers=False)
        backend = "gloo" if machine.device == "cpu" else "cpu:gloo,cuda:nccl"
        distributed.init_process_group(backend, store=store, rank=self.rank, world_size=self.size, timeout=_PATIENCE)

    def quiet(self, partial: Path) -> None:
        """Send what a process after the first prints into its own folder."""
        folder = self.folder(partial)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _ERROR).unlink(missing_ok=True)
        if self.rank:
            handle = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            os.close(handle)

    def report(self, partial: Path, error: BaseException) -> None:
        """Leave an error for the launcher: a user's mistake with its kind, anything else with its traceback."""
        known = isinstance(error, errors.Error)
        text = str(error) if known else "".join(traceback.format_exception(error))
        # The time is taken before peers can notice: they lose their connections when this process ends.
        said = {"kind": type(error).__name__ if known else "", "text": text, "when": time.time()}
        write_json(self.folder(partial) / _ERROR, said)


@dataclass(frozen=True, slots=True)
class Fault:
    """How one process ended: its exit code (below 0: a signal's number), when, and what it left of its error."""

    rank: int
    code: int
    when: float
    kind: str = ""
    text: str = ""


def cause(faults: list[Fault]) -> Fault:
    """The fault that the others follow from: of those about the time of the first, a user's mistake, then a signal."""
    begin = min(fault.when for fault in faults)
    early = [fault for fault in faults if fault.when <= begin + _TOGETHER_S]

    def order(fault: Fault) -> tuple[bool, bool, float, int]:
        signalled = fault.code < 0 and -fault.code != signal.SIGTERM
        return not fault.kind, not signalled, fault.when, fault.rank

    return min(early, key=order)


def launch(job_file: Path) -> int:
    """Run the job in the processes of this computer. Exit codes as the worker's; a signal that ended one ends this one too."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from burnish.pipeline.worker import die_with, report

    job = read_json(job_file)
    die_with(job["parent"])
    machine: Machine = decode(job["machine"])
    node = Node.here(machine, os.environ)
    # The agent's own messages repeat what we say; its rendezvous is a file, since it is alone.
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"
    with tempfile.TemporaryDirectory(prefix="burnish-ranks-") as folder:
        store, port = _store(node)
        config = LaunchConfig(
            min_nodes=1, max_nodes=1, nproc_per_node=machine.processes, run_id="burnish", max_restarts=0,
            rdzv_backend="c10d", rdzv_endpoint=str(Path(folder) / "rendezvous"), rdzv_configs={"store_type": "file"},
            local_addr="127.0.0.1", shutdown_timeout=_GRACE_S, logs_specs=DefaultLogsSpecs(),
        )  # fmt: skip
        words = [str(os.getpid()), str(node.number), node.host, str(port)]
        try:
            elastic_launch(config, sys.executable)("-P", "-m", "burnish.pipeline.worker", str(job_file), *words)
        except SignalException:
            return INTERRUPTED
        except ChildFailedError as error:
            fault = cause([_fault(f, node, machine, job_file) for f in error.failures.values()])
            if fault.kind:
                return report(job["pipe"], fault.kind, fault.text)
            sys.stderr.write(fault.text)
            return fault.code
        finally:
            del store
    return 0


def _fault(failure: Any, node: Node, machine: Machine, job_file: Path) -> Fault:
    rank = node.number * machine.processes + failure.local_rank
    left = job_file.parent / RANKS / str(rank) / _ERROR
    said: dict[str, Any] = (
        read_json(left) if left.exists() else {"kind": "", "text": "", "when": float(failure.timestamp)}
    )
    return Fault(rank, failure.exitcode, said["when"], said["kind"], said["text"])


def _store(node: Node) -> tuple[Any, int]:
    """The store in which processes find each other, on the first node, and its port."""
    from torch import distributed

    if node.number:
        return None, node.port
    listener = socket.create_server((_listens_at(node.host), node.port))
    port = listener.getsockname()[1]
    # The store takes the socket over and closes it.
    made: Any = distributed
    store = made.TCPStore(
        node.host, port, is_master=True, wait_for_workers=False, timeout=_PATIENCE, master_listen_fd=listener.detach()
    )
    return store, port


def _listens_at(host: str) -> str:
    """That address only; "" (all of this computer's) for a name of its own that it takes for the loopback, as many do."""
    address = socket.gethostbyname(host)
    return "" if address.startswith("127.") and host not in ("localhost", address) else address


def end_as(code: int) -> int:
    """The exit code; a number below 0 ends this process by that signal, as it ended the worker."""
    if code < 0:
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(end_as(launch(Path(sys.argv[1]))))
