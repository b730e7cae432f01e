"""A program that serves somewhere else, in a process of its own or behind a network address: JSON lines in, JSON lines out.

The first line in is its settings, the first line out {"ready": true}. Then each line in is one piece of work, answered with
any number of lines and {"end": true}; what goes wrong is answered with {"error": text}. A line in that says "bytes" is
followed by so many raw bytes.
"""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

from burnish import errors
from burnish.errors import ModelError
from burnish.pipeline.progress import Console

TAIL = 2000  # characters of the program's own output shown when it ends
_WAIT_S = 20.0  # for an address to answer at all


class Died(ModelError):
    """A serving program that is gone."""


class Serving:
    """One program that serves. Made by `started` or `connected`.

    title: what it is called in messages, e.g. "vLLM". end: ends it. last_words: how it ended, once it has.
    """

    def __init__(
        self, title: str, reads: IO[bytes], writes: IO[bytes], *, end: Callable[[], None], last_words: Callable[[], str]
    ) -> None:
        self._title, self._reads, self._writes, self._last_words = title, reads, writes, last_words
        self._end = weakref.finalize(self, end)
        self._busy = False
        self.process_id: int | None = None

    def ready(self, settings: Mapping[str, Any]) -> Serving:
        """Give it its settings and wait. Raises ModelError for settings that it refuses, Died when it ends."""
        self._send(settings)
        self._receive()
        return self

    @property
    def alive(self) -> bool:
        """Whether it can be asked, as far as is known here; work left in the middle makes it useless."""
        return self._end.alive and not self._busy

    def ask(self, raw: Sequence[memoryview] = (), **message: Any) -> Iterator[dict[str, Any]]:
        """Every answer up to the end of the work. raw: the bytes that follow, where the message says "bytes"."""
        self._busy = True
        self._send(message, raw)
        while "end" not in (found := self._receive()):
            yield found
        self._busy = False

    def close(self) -> None:
        """End it and remove what it left."""
        self._end()

    def _send(self, message: Mapping[str, Any], raw: Sequence[memoryview] = ()) -> None:
        try:
            self._writes.write(json.dumps(message).encode() + b"\n")
            for part in raw:
                self._writes.write(part)
            self._writes.flush()
        except (OSError, ValueError):  # ValueError: closed here
            self._died()

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._reads.readline()
        except (OSError, ValueError):
            line = b""
        if not line.endswith(b"\n"):
            self._died()
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            self.close()
            kind = getattr(errors, found.get("kind", ""), None)
            if kind is not None:
                raise kind(found["error"])
            raise ModelError(
                f"{self._title}: {found['error']}\n  Nothing that was finished is lost; start the same command again."
            )
        return found

    def _died(self) -> None:
        said = self._last_words() if self._end.alive else "It was closed here."
        self.close()
        raise Died(f"{self._title} is gone. Nothing that was finished is lost; start the same command again.\n  {said}")


def started(
    title: str, command: Sequence[str], *, environment: Mapping[str, str], files: Sequence[int] = (), folder: str = ""
) -> Serving:
    """Start a program in a process of its own, in a folder that goes with it. files: descriptors that it inherits."""
    scratch = tempfile.TemporaryDirectory(prefix="burnish-")
    log = Path(scratch.name) / "output.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, env=dict(environment),
            cwd=folder or scratch.name, pass_fds=tuple(files),
        )  # fmt: skip
    if process.stdin is None or process.stdout is None:
        raise ModelError(f"{title} has no pipe.")

    def last_words() -> str:
        code = process.wait()
        try:
            said = log.read_text(errors="replace")[-TAIL:].strip()
        except OSError:
            said = ""  # it was closed meanwhile, with its folder
        return f"Its process ended with {code}. Its last words:\n{said or '(none)'}"

    serving = Serving(title, process.stdout, process.stdin, end=lambda: _end(process, scratch), last_words=last_words)
    serving.process_id = process.pid
    return serving


def _end(process: subprocess.Popen[bytes], scratch: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        # What could not be sent any more is flushed at closing.
        try:
            if pipe is not None:
                pipe.close()
        except OSError:
            continue
    scratch.cleanup()


def connected(title: str, address: str) -> Serving:
    """Connect to a program that serves at HOST:PORT. Raises Died where nobody answers."""
    host, _, port = address.rpartition(":")
    try:
        link = socket.create_connection((host, int(port)), timeout=_WAIT_S)
    except (OSError, ValueError) as error:
        raise Died(
            f"{title}: nobody answers at {address} ({error}).\n  Is the program there running, and the port open?"
        ) from error
    link.settimeout(None)
    # A computer that vanishes without a word is noticed.
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    reads, writes = link.makefile("rb"), link.makefile("wb")

    def end() -> None:
        for part in (link, writes, reads):
            try:
                if part is link:
                    link.shutdown(socket.SHUT_RDWR)
                part.close()
            except OSError:
                continue

    return Serving(title, reads, writes, end=end, last_words=lambda: f"The connection to {address} was closed.")


class Weights(Protocol):
    """Where engines elsewhere find the learner's weights."""

    @property
    def version(self) -> str:
        """The name of the weights written last."""

    @property
    def checksum(self) -> str:
        """`Policy.checksum` of the weights written last."""


class Link:
    """An engine's end of the line: starts what serves, hands it new weights before it is asked, starts it again when it died.

    start: starts it. hand: gives it the weights as they are now.
    """

    def __init__(
        self, start: Callable[[], Serving], hand: Callable[[Serving], None], weights: Weights, console: Console
    ) -> None:
        self._start, self._hand, self._weights, self._console = start, hand, weights, console
        self._serving: Serving | None = None
        self._held = ("", "")

    @property
    def process_id(self) -> int | None:
        """The operating system's number of its process, while there is one on this computer."""
        return self._serving.process_id if self._serving else None

    def ask(self, **message: Any) -> Iterator[dict[str, Any]]:
        """The answers, with the weights as they are now."""
        return self._ready().ask(**message)

    def take(self) -> None:
        """Hand over new weights; what does not run gets them when it is started."""
        if self._serving is not None and self._serving.alive:

            def work() -> None:
                self._ready()

            self.again(work)

    def again(self, work: Callable[[], None]) -> None:
        """Do it, and once more where the program dies: with the same weights, what is left of it."""
        try:
            work()
        except Died as died:
            if self._serving is None:
                # It could not even be started, or somebody closed this engine while it worked.
                raise
            self.close()
            self._console.line(
                f"  {died}\n  It is started again with the same weights; what it had not finished is asked again."
            )
            work()

    def close(self) -> None:
        """End it; the next question starts it again."""
        serving, self._serving = self._serving, None
        if serving is not None:
            serving.close()

    def _ready(self) -> Serving:
        if self._serving is None or not self._serving.alive:
            self.close()
            self._serving, self._held = self._start(), ("", "")
        wanted = (self._weights.version, self._weights.checksum)
        if self._held != wanted:
            self._hand(self._serving)
            self._held = wanted
        return self._serving
