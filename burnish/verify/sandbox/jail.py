"""The outer wall of kind "namespaces": an own root folder, built with system calls alone. Runs in a fresh process.

The worker sees nothing but what `build` was told to show, has no network but its own loopback that is down, and its own
process numbers. Bubblewrap does the same for kind "bubblewrap".
"""

from __future__ import annotations

import os
import socket
from typing import Any

from burnish.verify.sandbox import kernel

_DEVICES = ("null", "zero", "full", "random", "urandom")
_PLACE = "/sys"  # covered, in our own mount namespace only, by the new root: a folder that every machine has
_QUIET = kernel.MS_NOSUID | kernel.MS_NODEV


def enter(link: socket.socket, wall: dict[str, Any]) -> None:
    """Go behind the wall: returns in the first process of a new process namespace, whose root is the new one.

    The process that called stays outside, waits, and ends with it.
    """
    names = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
    names |= kernel.CLONE_NEWCGROUP
    user, group = os.getuid(), os.getgid()
    kernel.unshare(names if user == 0 else names | kernel.CLONE_NEWUSER)
    if user != 0:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    inner = os.fork()
    if inner:
        link.close()
        os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) & 0xFF)
    build(wall)
    socket.sethostname("sandbox")


def build(wall: dict[str, Any]) -> None:
    """Make the new root out of nothing, show what is to be seen, and leave the old one."""
    kernel.mount("none", "/", flags=kernel.MS_REC | kernel.MS_PRIVATE)
    root = _PLACE
    kernel.mount("tmpfs", root, "tmpfs", _QUIET, "size=1m,mode=755")
    for path in wall["shown"]:
        _show(path, root, kernel.MS_RDONLY | _QUIET)
    for path in wall["hidden"]:
        kernel.mount("tmpfs", root + path, "tmpfs", _QUIET | kernel.MS_RDONLY, "size=4k,mode=755")
    for name, target in wall["links"]:
        os.symlink(target, root + name)
    for name in ("proc", "tmp", "dev", "old"):
        os.makedirs(f"{root}/{name}", exist_ok=True)
    for name in _DEVICES:
        _show(f"/dev/{name}", root, kernel.MS_NOSUID | kernel.MS_NOEXEC)
    for name, target in (("shm", "/tmp/shm"), ("fd", "/proc/self/fd")):
        os.symlink(target, f"{root}/dev/{name}")
    kernel.mount("proc", f"{root}/proc", "proc", _QUIET | kernel.MS_NOEXEC)
    kernel.pivot_root(root, f"{root}/old")
    os.chdir("/")
    kernel.unmount("/old")
    os.rmdir("/old")
    kernel.mount("none", "/", flags=kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | _QUIET)


def _show(path: str, root: str, flags: int) -> None:
    target = root + path
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o644))
    kernel.mount(path, target, flags=kernel.MS_BIND)
    kept = os.statvfs(target).f_flag & (kernel.MS_RDONLY | kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    kernel.mount("none", target, flags=kernel.MS_REMOUNT | kernel.MS_BIND | flags | kept)
