"""What of this machine a contained program can read: the interpreter, its standard library, chosen packages."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from burnish.errors import VerifierError, nearest

# What test programs import most, all of it small: each further module makes every fork slower.
IMPORTS = (
    "abc", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "heapq", "io", "itertools", "json", "math", "operator", "os", "random", "re", "statistics", "string",
    "sys", "time", "traceback", "types", "typing",
)  # fmt: skip
_PROBE = r"""
import sys
print(*sys.path, sep="\n")
print("--")
for name in ("ssl", "ctypes", "sqlite3", "lzma", "bz2", "zlib", "decimal", "hashlib", "uuid", "readline"):
    try: __import__(name)
    except ImportError: pass
for line in open("/proc/self/maps"):
    if "/" in line: print(line[line.index("/"):].rstrip())
"""
_SHARED_LIBRARY = re.compile(r"\.so(\.|$)")


@dataclass(frozen=True, slots=True)
class View:
    """Paths to show read-only, symbolic links to repeat, folders to hide, and the module search path."""

    shown: tuple[str, ...]
    links: tuple[tuple[str, str], ...]
    hidden: tuple[str, ...]
    path: tuple[str, ...]
    python: str


@lru_cache(maxsize=8)
def view(packages: tuple[str, ...]) -> View:
    """The smallest view in which this Python and the named packages, with what they require, can run."""
    standard = sysconfig.get_path("stdlib")
    python = os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
    path, libraries, links = _probed(python)
    zoneinfo = [folder for folder in ("/usr/share/zoneinfo",) if os.path.isdir(folder)]
    sites = [os.path.join(standard, name) for name in ("site-packages", "dist-packages")]
    entries = package_entries(packages)
    return View(
        shown=outermost([python, standard, *libraries, *zoneinfo, *entries]),
        links=links,
        hidden=tuple(site for site in sites if os.path.isdir(site)),
        path=tuple(dict.fromkeys([*path, *(os.path.dirname(entry) for entry in entries)])),
        python=python,
    )


def outermost(paths: Sequence[str]) -> tuple[str, ...]:
    """The paths that lie below no other of them, in order."""
    unique = list(dict.fromkeys(paths))
    return tuple(path for path in unique if not any(path.startswith(other + "/") for other in unique))


def _probed(python: str) -> tuple[list[str], list[str], tuple[tuple[str, str], ...]]:
    """The interpreter's search path, the folders of its shared libraries, and the top-level links that lead to them."""
    command = [python, "-S", "-s", "-B", "-P", "-c", _PROBE]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, env={}).stdout
    path, loaded = printed.split("--\n")
    files = {line for line in loaded.split("\n") if _SHARED_LIBRARY.search(line)}
    folders = {os.path.dirname(file) for file in files}
    own = os.path.join(os.path.realpath(sys.base_prefix), "")
    shown = {folder for folder in folders if not (folder + "/").startswith(own) or own == "/usr/"}
    shown |= {file for file in files if (file).startswith(own) and own != "/usr/"}
    shown |= {os.path.realpath(folder) for folder in ("/lib64", "/libx32") if os.path.isdir(folder)}
    shown -= {"/", "/usr", "/usr/lib/python3"}
    links = tuple(
        (f"/{name}", os.readlink(f"/{name}")) for name in ("lib", "lib64", "bin") if os.path.islink(f"/{name}")
    )
    return path.split(), sorted(shown), links


def package_entries(packages: Sequence[str]) -> list[str]:
    """The files and folders in site-packages that belong to the named distributions and to what they require."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for name in packages:
        if _distribution(name) is None:
            known = {d.metadata["Name"] for d in importlib.metadata.distributions() if d.metadata["Name"]}
            raise VerifierError(
                f"The sandbox cannot show package {name!r} to programs: it is not installed here. {nearest(name, known)}\n"
                f"  pip install {name}"
            )
    todo = list(packages)
    while todo:
        name = todo.pop()
        distribution = _distribution(name)
        key = _canonical(name)
        if key in found or distribution is None:
            continue
        found[key] = distribution
        todo += [_required(line) for line in distribution.requires or () if "extra ==" not in line]
    return sorted({entry for distribution in found.values() for entry in _entries(distribution)})


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _required(line: str) -> str:
    match = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
    return match[0] if match else ""


def _entries(distribution: importlib.metadata.Distribution) -> set[str]:
    entries = set()
    for file in distribution.files or ():
        top = file.parts[0]
        if top not in ("..", "__pycache__"):
            entries.add(os.path.join(str(distribution.locate_file("")), top))
    return {entry for entry in entries if os.path.exists(entry)}
