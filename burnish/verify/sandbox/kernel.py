"""The system calls that Python has no function for, through ctypes. Linux on x86-64 and arm64."""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS = 0x00020000, 0x02000000, 0x04000000
CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x08000000, 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 4, 22, 38
PR_SET_CHILD_SUBREAPER = 36
SECCOMP_MODE_FILTER = 2

_CLONE = {"x86_64": 56, "aarch64": 220}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446  # the same on every machine

# PyDLL keeps the interpreter's lock: between clone and the child's clean-up no other thread may run.
_libc = ctypes.PyDLL(None, use_errno=True)


def machine() -> str:
    """The processor's name as the kernel gives it."""
    return os.uname().machine


def supported() -> bool:
    """Whether this module knows the machine's system calls."""
    return os.uname().sysname == "Linux" and machine() in _CLONE


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def clone(namespaces: int) -> int:
    """Like os.fork, with the child in new namespaces. Raises OSError when the kernel refuses."""
    _libc.PyOS_BeforeFork()
    pid = _libc.syscall(ctypes.c_long(_CLONE[machine()]), ctypes.c_long(namespaces | 17), *[ctypes.c_long(0)] * 4)
    if pid == 0:
        _libc.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    _libc.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, f"clone: {os.strerror(number)}")
    return int(pid)


def unshare(namespaces: int) -> None:
    """Move this process into new namespaces (its next children, for processes)."""
    _checked(_libc.unshare(ctypes.c_int(namespaces)), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`."""
    arguments = (source.encode(), target.encode(), kind.encode() or None, ctypes.c_ulong(flags), options.encode())
    _checked(_libc.mount(*arguments), f"mount {source} on {target}")


def unmount(target: str) -> None:
    """Detach what is mounted on `target`."""
    _checked(_libc.umount2(target.encode(), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root folder and hang the previous one under `old`."""
    number = _libc.syscall(ctypes.c_long(_PIVOT_ROOT[machine()]), new.encode(), old.encode())
    _checked(number, f"pivot_root {new}")


def prctl(option: int, value: int) -> None:
    """Set one property of this process."""
    _checked(_libc.prctl(option, *(ctypes.c_ulong(v) for v in (value, 0, 0, 0))), f"prctl {option}")


def drop_capabilities() -> None:
    """No capability is left to this process, and with no_new_privs none can be gained by starting a program."""
    head = struct.pack("Ii", 0x20080522, 0)
    _checked(_libc.capset(head, bytes(24)), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def filter_calls(program: bytes) -> None:
    """Put a seccomp filter on this process and its children for good; needs no_new_privs."""
    code = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    result = _libc.prctl(
        PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), head, ctypes.c_ulong(0), ctypes.c_ulong(0)
    )
    _checked(result, "seccomp")


def landlock_version() -> int:
    """The kernel's Landlock version, 0 where it has none."""
    version = _libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), None, ctypes.c_size_t(0), ctypes.c_long(1))
    return max(int(version), 0)


def file_rules(read: list[str], write: list[str]) -> int:
    """Landlock rules: read only below `read` and `write`, write only below `write`. An open descriptor for `confine_files`."""
    every = (1 << {1: 13, 2: 14}.get(landlock_version(), 15)) - 1
    reading = 0b1101  # execute, read a file, read a folder
    on_files = 0b0111 | (1 << 14 & every)
    head = struct.pack("Q", every)
    rules = _checked(
        _libc.syscall(ctypes.c_long(_LANDLOCK_CREATE), head, ctypes.c_size_t(8), ctypes.c_long(0)), "landlock"
    )
    for paths, allowed in ((read, reading), (write, every)):
        for path in paths:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
            rights = allowed if os.path.isdir(path) else allowed & on_files
            rule = struct.pack("=Qi", rights, place)
            result = _libc.syscall(
                ctypes.c_long(_LANDLOCK_ADD), ctypes.c_long(rules), ctypes.c_long(1), rule, ctypes.c_long(0)
            )
            _checked(result, f"landlock rule for {path}")
            os.close(place)
    return int(rules)


def confine_files(rules: int) -> None:
    """Put the rules on this process and its children for good; needs no_new_privs."""
    _checked(_libc.syscall(ctypes.c_long(_LANDLOCK_RESTRICT), ctypes.c_long(rules), ctypes.c_long(0)), "landlock")
    os.close(rules)
