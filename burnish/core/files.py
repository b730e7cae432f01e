"""Files that are whole or absent, and JSON Lines that survive a kill in the middle of a line."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from burnish.errors import ArtifactError, DataError


@contextlib.contextmanager
def disk_errors(path: Path, flag: str = "--runs DIR") -> Iterator[None]:
    """Turn a full or read-only disk into an ArtifactError that names the folder.

    flag: how another place is named on the command line.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise ArtifactError(
                f"The disk that holds {path} is full; nothing finished was lost.\n  Free some space and run the same command again: it goes on from here."
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise ArtifactError(
                f"{path} cannot be written ({error.strerror}), so results could not be kept.\n  Choose another folder with {flag}, or change its permissions."
            ) from error
        raise


def make_folder(folder: Path, flag: str = "") -> None:
    """Make it and those above it. flag: how another one is named on the command line.

    Raises ArtifactError where that cannot be, for example because a file has its name.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileNotFoundError, FileExistsError, NotADirectoryError) as error:
        raise ArtifactError(
            f"The folder {folder} cannot be made ({error.strerror}: {error.filename}), so results could not be kept.\n"
            f"  Choose another folder{f' with {flag}' if flag else ''}."
        ) from error


def write_atomic(path: Path, data: str | bytes | Iterable[bytes]) -> None:
    """Write a whole file or nothing, in pieces if it comes so: a temporary neighbour, flushed to disk, then renamed."""
    pieces = [data.encode()] if isinstance(data, str) else [data] if isinstance(data, bytes) else data
    with disk_errors(path):
        make_folder(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(pieces)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON atomically. Keys keep their order; NaN is refused."""
    write_atomic(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises DataError with the file's name and position when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} does not exist.") from None
    except ValueError as error:
        raise DataError(f"{path} is not valid JSON: {error}.") from error


def read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) for each line of a JSON Lines file, plain or .gz, split on newline only.

    Raises DataError naming the file and line for text that is not UTF-8 JSON. Empty lines are passed over.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist.")
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        number = 0
        while True:
            try:
                line = file.readline()
            except (OSError, EOFError) as error:
                raise DataError(
                    f"{path}: cannot be read past line {number} ({error}).\n  Is the file complete and really {path.suffix}?"
                ) from error
            if not line:
                return
            number += 1
            if line.strip():
                try:
                    yield number, json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"{path}, line {number}: not valid JSON ({error}).") from error


class JsonlLog:
    """An append-only JSON Lines file. A line cut short by a kill is dropped when the file is opened again."""

    def __init__(self, path: Path) -> None:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.path = path
            self.records: list[dict[str, Any]] = []
            self._ends: list[int] = []  # where each record's line ends in the file
            whole = 0
            if path.exists():
                with path.open("rb") as file:
                    for line in file:
                        if not line.endswith(b"\n"):
                            break
                        whole += len(line)
                        if line.strip():
                            self.records.append(json.loads(line))
                            self._ends.append(whole)
            self._file = path.open("r+b" if path.exists() else "w+b")
            self._file.truncate(whole)
            self._file.seek(whole)

    def append(self, record: dict[str, Any]) -> None:
        """Add one record; it is in the operating system's hands when this returns."""
        with disk_errors(self.path):
            self._file.write(json.dumps(record, ensure_ascii=True, allow_nan=False).encode() + b"\n")
            self._file.flush()
            self._ends.append(self._file.tell())
        self.records.append(record)

    def keep(self, count: int) -> None:
        """Forget every record after the first `count`, in the file too: used when a run goes back to a checkpoint."""
        del self.records[count:]
        del self._ends[count:]
        end = self._ends[-1] if self._ends else 0
        self._file.seek(end)
        self._file.truncate(end)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
