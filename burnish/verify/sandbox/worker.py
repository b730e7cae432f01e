"""The worker: a contained interpreter that has imported what programs need, and forks once per program. Runs inside.

For every program the worker clones a watcher into new user, process and mount namespaces with an empty file system of its
own, and the watcher forks the program. Programs share nothing but the worker's memory as it was before the first of them,
which they get as a copy.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import os
import resource
import shutil
import signal
import site
import socket
import sys
import tempfile
import time
from typing import Any, NoReturn

from burnish.verify.sandbox import calls, frames, jail, kernel, program
from burnish.verify.sandbox.watch import Watch

BOX = "/tmp/box"
STARTED = b"started"
_USER = 1000  # what the program sees as its user
_OURS = "burnish"  # modules that a program does not find in sys.modules
_ROOM = 8  # inodes that are ours: the file system's root, the box, the folder for shared memory


def main(link: socket.socket) -> None:
    """Take the set-up from the host, go behind the wall it describes, and serve. Ends when the host hangs up."""
    setup, _ = frames.receive(link)
    try:
        if setup["wall"]:
            jail.enter(link, setup["wall"])
        prepare(setup)
    except Exception as error:  # noqa: BLE001 - the boundary: the host shows why this kind does not work here
        frames.send(link, {"failed": f"{type(error).__name__}: {error}"})
        return
    folders = [setup["folder"]] if setup["folder"] else []
    try:
        frames.send(link, {"folders": folders})
        serve(link, setup)
    finally:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def serve(link: socket.socket, setup: dict[str, Any]) -> None:
    """Run one program for each request, until the host hangs up."""
    while True:
        try:
            request, blobs = frames.receive(link)
        except EOFError:
            return
        pipes = socket.recv_fds(link, 1, 2)[1] if request["session"] else []
        try:
            watcher = kernel.clone(_namespaces(setup)) if setup["namespaces"] else os.fork()
        except OSError as error:
            frames.send(link, {"status": "lost", "why": f"no new process: {error}", "unwatched": True}, [b"", b""])
            continue
        if watcher == 0:
            _watcher(link, request, blobs, pipes, setup)
        for pipe in pipes:
            os.close(pipe)
        ended = os.waitstatus_to_exitcode(os.waitpid(watcher, 0)[1])
        frames.send(link, {"ended": ended})


def _namespaces(setup: dict[str, Any]) -> int:
    return kernel.CLONE_NEWUSER | kernel.CLONE_NEWPID | kernel.CLONE_NEWNS


def prepare(setup: dict[str, Any]) -> None:
    """Drop the outer user, import what programs need, and note what the bare interpreter takes."""
    setup["proc"] = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    if setup["namespaces"] and setup["uid"] is not None:
        os.setgroups([])
        os.setresgid(*[setup["uid"]] * 3)
        os.setresuid(*[setup["uid"]] * 3)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    os.environ.pop("PWD", None)  # bubblewrap sets it
    setup["folder"] = ""
    if not setup["namespaces"]:
        setup["folder"] = tempfile.mkdtemp(prefix="burnish-sandbox-", dir=setup["temporary"])
        os.chmod(setup["folder"], 0o711)
    sys.path = list(setup["path"])
    for name in setup["imports"]:
        importlib.import_module(name)
    for builtin in (site.setquit, site.setcopyright, site.sethelper):  # what an interpreter without -S has
        builtin()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    setup["calls"] = calls.program(kernel.machine(), one_group=not setup["namespaces"]) if setup["filter"] else b""
    setup["hidden_modules"] = [name for name in sys.modules if name.split(".")[0] == _OURS]
    gc.collect()
    gc.freeze()
    with open(os.open("self/statm", os.O_RDONLY, dir_fd=setup["proc"])) as file:
        size, resident = (int(part) * resource.getpagesize() for part in file.read().split()[:2])
    setup["outer"] = os.getuid(), os.getgid()
    setup["base_mb"], setup["base_rss"] = (size >> 20) + 1, resident


def _watcher(
    link: socket.socket, request: dict[str, Any], blobs: list[bytes], pipes: list[int], setup: dict[str, Any]
) -> NoReturn:
    """Run one program, report, and end: the first process of the program's namespace."""
    status = 1
    try:
        report, texts = _one(link, request, blobs, pipes, setup)
        frames.send(link, report, texts)
        status = 0
    except Exception as error:  # noqa: BLE001 - the boundary: whatever fails here is the sandbox's fault and is said
        frames.send(link, {"status": "lost", "why": f"{type(error).__name__}: {error}"}, [b"", b""])
    finally:
        os._exit(status)


def _one(
    link: socket.socket, request: dict[str, Any], blobs: list[bytes], pipes: list[int], setup: dict[str, Any]
) -> tuple[dict[str, Any], list[bytes]]:
    folder = _box(request, setup)
    source, stdin, *texts = blobs
    try:
        _write(folder, request["files"], texts, setup)
        return _watched(link, request, source.decode("utf-8", "surrogatepass"), stdin, pipes, folder, setup)
    finally:
        if not setup["namespaces"]:
            os.chdir("/")
            shutil.rmtree(folder, ignore_errors=True)


def _box(request: dict[str, Any], setup: dict[str, Any]) -> str:
    """The empty folder of this program, which is the working folder from here on."""
    if not setup["namespaces"]:
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        folder = tempfile.mkdtemp(prefix="program-", dir=setup["folder"])
        if setup["uid"] is not None:
            os.chown(folder, setup["uid"], setup["uid"])
        os.chdir(folder)
        return folder
    user, group = setup["outer"]
    maps = {"setgroups": "deny", "uid_map": f"{_USER} {user} 1", "gid_map": f"{_USER} {group} 1"}
    for name, text in maps.items():
        _write_own(setup, name, text)
    limits = request["limits"]
    inodes = limits["files"] + len(request["files"]) + _ROOM
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    kernel.mount("tmpfs", "/tmp", "tmpfs", flags, f"size={limits['disk_mb']}m,nr_inodes={inodes},mode=755")
    kernel.mount("tmpfs", "/proc", "tmpfs", flags | kernel.MS_RDONLY, "size=4k,nr_inodes=1,mode=555")
    os.mkdir(BOX)
    os.mkdir("/tmp/shm")
    os.chdir(BOX)
    return BOX


def _write_own(setup: dict[str, Any], name: str, text: str) -> None:
    """Write to one of this process's files in /proc."""
    place = os.open(f"self/{name}", os.O_WRONLY, dir_fd=setup["proc"])
    os.write(place, text.encode())
    os.close(place)


def _write(folder: str, names: list[str], texts: list[bytes], setup: dict[str, Any]) -> None:
    for name, text in zip(names, texts, strict=True):
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(text)
    if setup["uid"] is not None and not setup["namespaces"]:
        for place, folders, files in os.walk(folder):
            for name in (*folders, *files):
                os.lchown(os.path.join(place, name), setup["uid"], setup["uid"])


def _watched(
    link: socket.socket,
    request: dict[str, Any],
    source: str,
    stdin: bytes,
    pipes: list[int],
    folder: str,
    setup: dict[str, Any],
) -> tuple[dict[str, Any], list[bytes]]:
    errors, errors_in = os.pipe()
    if pipes:
        given, output_in = pipes
        streams = {errors: bytearray()}
    else:
        given, (output, output_in) = _memory_file(stdin), os.pipe()
        streams = {output: bytearray(), errors: bytearray()}
    started, started_in = os.pipe()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        _program(request, source, (given, output_in, errors_in, started_in), setup)
    for descriptor in (given, output_in, errors_in, started_in):
        os.close(descriptor)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    watch = Watch(child, request["limits"], setup, streams, folder, start, request["periods"])
    code = watch.until_end(link.fileno())
    watch.end_all()
    watch.drain()
    said = os.read(started, 4096)
    if said != STARTED:
        raise RuntimeError(f"the program could not be started: {said.decode('utf-8', 'replace') or 'it was killed'}")
    texts = [bytes(text) for text in streams.values()]
    return watch.result(code), texts if len(texts) == 2 else [b"", *texts]


def _memory_file(data: bytes) -> int:
    """An open file of these bytes that nobody can change."""
    place = os.memfd_create("stdin", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(place, "wb", closefd=False) as file:
        file.write(data)
    fcntl.fcntl(place, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    os.lseek(place, 0, os.SEEK_SET)
    return place


def _program(
    request: dict[str, Any], source: str, streams: tuple[int, int, int, int], setup: dict[str, Any]
) -> NoReturn:
    """The child: from here on nothing of ours is left but its standard streams."""
    try:
        if setup["namespaces"]:
            os.setsid()
        else:
            os.setpgid(0, 0)
        _write_own(setup, "oom_score_adj", "1000")  # where memory gets short the kernel ends programs first
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.closerange(4, 1 << 20)
        limits = request["limits"]
        program.limit(limits, setup["base_mb"], limits["processes"] + setup["own_processes"])
        program.give_up(setup)
        main = program.clean(source, request["argv"], setup)
        os.write(3, STARTED)
        os.close(3)
    except BaseException as error:  # noqa: BLE001 - the boundary: the program has not started
        os.write(3, repr(error).encode())
        os._exit(1)
    program.run(source, main)
