"""Which sandbox works on this machine: the best one, proven by trying it, never an unsafe one unless asked for by name."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from burnish.core.cores import cores
from burnish.errors import VerifierError, nearest
from burnish.verify.sandbox.base import Program, Sandbox
from burnish.verify.sandbox.kernel import landlock_version
from burnish.verify.sandbox.launch import Kind, bubblewrap_command, closed_to_others, supported
from burnish.verify.sandbox.pool import Pool
from burnish.verify.sandbox.remote import Remote
from burnish.verify.sandbox.view import IMPORTS, view

KINDS = ("bubblewrap", "namespaces", "user", "unsafe")
_FIX = (
    "  apt-get install bubblewrap           (or: pip install 'burnish[sandbox]')\n"
    "  In a container: start it with --security-opt seccomp=unconfined, or as root with --cap-add SYS_ADMIN.\n"
    "  On Ubuntu 24.04 and later: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n"
    "  Elsewhere: run the executor on another machine (burnish.verify.sandbox.Executor) and use sandbox('HOST:PORT').\n"
    "  For programs you trust: sandbox('unsafe')."
)
_LOCK = threading.Lock()
_MADE: dict[tuple[object, ...], Sandbox] = {}
# What a contained program must not be able to do; each line names what it could.
_PROOF = """
import json, os, socket, sys
broken = []
def possible(what, action):
    try: action()
    except OSError: return
    broken.append(what)
possible("read " + sys.argv[1], lambda: open(sys.argv[1]).read())
possible("write beside its folder", lambda: open(sys.argv[1] + ".new", "w"))
possible("open a socket", lambda: socket.socket())
possible("read /etc/passwd", lambda: open("/etc/passwd"))
if os.environ.get("BURNISH_SECRET"): broken.append("read the environment")
if os.getuid() == 0: broken.append("be root")
print(json.dumps(broken))
"""


def sandbox(
    kind: str = "auto", packages: Sequence[str] = (), imports: Sequence[str] = (), workers: int | None = None
) -> Sandbox:
    """The sandbox of this kind, started before for the same arguments or new. Its `name` and `why` say what is active.

    kind: "auto" takes the first that works of bubblewrap, namespaces and user (as root only); "unsafe" is only taken by
    name; "HOST:PORT" is an Executor elsewhere.
    packages: distributions, by their names on the package index, that programs may import besides the standard library.
    imports: modules of those packages that every worker loads once, before the first program, instead of each program.
    workers: programs at a time; the number of cores by default.
    Raises VerifierError that says what is missing and how to get it.
    """
    if ":" in kind:
        return Remote(kind)
    if kind not in ("auto", *KINDS):
        raise VerifierError(f"sandbox({kind!r}): there is no such kind. {nearest(kind, ('auto', *KINDS))}")
    number = workers or cores()
    key = (kind, tuple(packages), tuple(imports), number, os.getpid())
    with _LOCK:
        if key not in _MADE:
            make = _best if kind == "auto" else partial(_working, kind)
            _MADE[key] = make(tuple(packages), (*IMPORTS, *imports), number)
        return _MADE[key]


def _best(packages: tuple[str, ...], imports: tuple[str, ...], workers: int) -> Sandbox:
    tried = []
    for kind in ("bubblewrap", "namespaces", "user"):
        try:
            return _working(kind, packages, imports, workers)
        except VerifierError as error:
            tried.append(f"  {kind}: {str(error).splitlines()[0]}")
    raise VerifierError(
        "No safe sandbox works on this machine, so model-written programs are not run.\n"
        + "\n".join(tried)
        + "\n"
        + _FIX
    )


def _working(kind: str, packages: tuple[str, ...], imports: tuple[str, ...], workers: int) -> Sandbox:
    """A pool of this kind that has shown that it contains. Raises VerifierError with the reason otherwise."""
    missing = "" if kind == "unsafe" else _missing(kind)
    if missing:
        raise VerifierError(f"sandbox {kind!r} does not work on this machine: {missing}\n{_FIX}")
    pool = Pool(Kind(kind, view(packages), imports), workers)
    with tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_text("secret")
        secret.chmod(0o644)
        os.chmod(folder, 0o755)
        outcome = pool.run([Program(_PROOF, argv=(str(secret),))])[0]
    if outcome.status != "ok":
        pool.close()
        raise VerifierError(f"sandbox {kind!r} does not work on this machine: {outcome.why} {outcome.stderr[-300:]}")
    broken = json.loads(outcome.stdout)
    if broken and kind != "unsafe":
        pool.close()
        raise VerifierError(
            f"sandbox {kind!r} does not contain on this machine: a program could {', '.join(broken)}.\n{_FIX}"
        )
    return pool


def _missing(kind: str) -> str:
    """What this kind needs and does not find, or an empty text."""
    if supported():
        return supported()
    if kind == "bubblewrap" and bubblewrap_command() is None:
        return "the program bwrap is not installed"
    if kind != "user":
        return ""
    if os.getuid() != 0:
        return "a separate user needs root"
    if not landlock_version():
        return "this kernel has no Landlock, so files could not be protected"
    closed = closed_to_others(view(()))
    return (
        f"Python lies below {closed}, which other users may not enter; allow it with chmod o+x {closed}"
        if closed
        else ""
    )
