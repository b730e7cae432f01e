"""Programs run on another machine: `Executor` serves a sandbox there, `Remote` is that sandbox here.

Messages over TCP (burnish.verify.sandbox.frames). Who connects shows that it knows the token, by an HMAC of a number that
the executor drew; what follows is not encrypted, so between machines it belongs into a tunnel or a closed network.
"""

from __future__ import annotations

import hmac
import os
import secrets
import socket
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from burnish.errors import Error, VerifierError
from burnish.verify.sandbox import frames
from burnish.verify.sandbox.base import Outcome, Program, Sandbox
from burnish.verify.sandbox.messages import lost, message_of, outcome_of, program_of, report_of

TOKEN = "BURNISH_SANDBOX_TOKEN"  # the environment variable that holds the token on both machines
CONNECT_S = 10.0
ANSWER_S = 60.0  # beyond the program's own limits and those before it in the queue
_QUEUE = 100  # programs that may be ahead of ours


class Executor:
    """Serves a sandbox on this machine at `address`, to whoever knows `token`. Start it with `with` or `start`."""

    def __init__(self, sandbox: Sandbox, token: str, host: str = "127.0.0.1", port: int = 0) -> None:
        if len(token) < 16:
            raise VerifierError(
                "Executor: the token is shorter than 16 characters, and who guesses it runs programs here.\n"
                '  python -c "import secrets; print(secrets.token_hex(16))"'
            )
        self._sandbox, self._token = sandbox, token.encode()
        self._server = socket.create_server((host, port))
        self.address = "{}:{}".format(*self._server.getsockname()[:2])
        self._links: set[socket.socket] = set()

    def start(self) -> Executor:
        """Serve in threads of this process."""
        threading.Thread(target=self.serve, daemon=True, name="sandbox-executor").start()
        return self

    def serve(self) -> None:
        """Serve until `close`."""
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            self._links.add(link)
            threading.Thread(target=self._talk, args=(link,), daemon=True, name="sandbox-client").start()

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for link in list(self._links):
            with suppress(OSError):  # it may have ended by itself
                link.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Executor:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _talk(self, link: socket.socket) -> None:
        with link:
            try:
                if self._welcome(link):
                    while self._serve_one(link):
                        pass
            except (OSError, EOFError, ValueError, KeyError, TypeError):
                pass  # the client went away, or is none of ours
            finally:
                self._links.discard(link)

    def _welcome(self, link: socket.socket) -> bool:
        link.settimeout(CONNECT_S)
        number = secrets.token_bytes(32)
        link.sendall(number)
        if not hmac.compare_digest(frames.exactly(link, 32), _proof(self._token, number)):
            frames.send(link, {"refused": "the token is another one"})
            return False
        frames.send(link, {"name": self._sandbox.name, "why": self._sandbox.why})
        link.settimeout(None)
        return True

    def _serve_one(self, link: socket.socket) -> bool:
        head, blobs = frames.receive(link)
        try:
            program = program_of(head, blobs)
            if head["session"]:
                self._session(link, program)
                return False
            outcome = self._sandbox.run([program])[0]
        except Error as error:
            outcome = lost(f"the executor cannot run it: {error}")
        frames.send(link, *report_of(outcome))
        return True

    def _session(self, link: socket.socket, program: Program) -> None:
        session = self._sandbox.open(program)
        try:
            while True:
                request, blobs = frames.receive(link)
                if request["do"] == "close":
                    break
                if request["do"] == "receive":
                    frames.send(link, {}, [session.receive(request["timeout_s"])])
                    continue
                try:
                    session.send(blobs[0])
                    frames.send(link, {})
                except VerifierError as error:
                    frames.send(link, {"error": str(error)})
        except (OSError, EOFError, ValueError, KeyError):
            session.close()
            raise
        frames.send(link, *report_of(session.close()))


class Remote:
    """A sandbox whose programs run on another machine. `workers`: programs sent at a time."""

    def __init__(self, address: str, token: str = "", workers: int = 8) -> None:
        self._address = address
        self._token = (token or os.environ.get(TOKEN, "")).encode()
        self._workers = workers
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        link, head = self._connect()
        self._idle.append(link)
        weakref.finalize(self, _hang_up, self._idle)
        self.name = f"remote {head['name']}"
        self.why = f"on {address}: {head['why']}"

    def run(self, programs: Sequence[Program]) -> list[Outcome]:
        """The outcome of each program, in order; "lost" where the executor does not answer."""
        messages = [message_of(program) for program in programs]
        with ThreadPoolExecutor(self._workers, thread_name_prefix="sandbox-remote") as threads:
            return list(threads.map(lambda message: self._one(*message), messages))

    def open(self, program: Program) -> RemoteSession:
        """Start a program there and stay connected to it."""
        head, blobs = message_of(program)
        link = self._connect()[0]
        frames.send(link, {**head, "session": True}, blobs)
        return RemoteSession(link, program.limits.wall_s + ANSWER_S)

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            _hang_up(self._idle)

    def _one(self, head: dict[str, Any], blobs: list[bytes]) -> Outcome:
        link: socket.socket | None = None
        try:
            with self._lock:
                link = self._idle.pop() if self._idle else None
            link = link or self._connect()[0]
            link.settimeout(head["limits"]["wall_s"] * _QUEUE + ANSWER_S)
            frames.send(link, head, blobs)
            outcome = outcome_of(*frames.receive(link))
        except (OSError, EOFError, ValueError, KeyError, VerifierError) as error:
            if link:
                link.close()
            return lost(f"the executor {self._address} does not answer: {error}")
        with self._lock:
            self._idle.append(link)
        return outcome

    def _connect(self) -> tuple[socket.socket, dict[str, Any]]:
        host, _, port = self._address.rpartition(":")
        link: socket.socket | None = None
        try:
            link = socket.create_connection((host, int(port)), timeout=CONNECT_S)
            link.sendall(_proof(self._token, frames.exactly(link, 32)))
            head, _ = frames.receive(link)
        except (OSError, EOFError, ValueError) as error:
            if link:
                link.close()
            raise VerifierError(
                f"sandbox {self._address!r}: no executor answers there ({error}).\n"
                f"  Start one on that machine: {TOKEN}=... python -m burnish.verify.sandbox --listen {self._address}"
            ) from error
        if "refused" in head:
            link.close()
            raise VerifierError(
                f"sandbox {self._address!r}: the executor refused, {head['refused']}.\n"
                f"  Set {TOKEN} to the same text on both machines."
            )
        return link, head


class RemoteSession:
    """A running program on another machine."""

    def __init__(self, link: socket.socket, patience_s: float) -> None:
        self._link, self._patience_s = link, patience_s
        self._ended: Outcome | None = None

    def _ask(
        self, head: dict[str, Any], blobs: Sequence[bytes] = (), wait_s: float = 0
    ) -> tuple[dict[str, Any], list[bytes]]:
        if self._ended is not None:
            raise VerifierError("the session is closed")
        self._link.settimeout(self._patience_s + wait_s)
        try:
            frames.send(self._link, head, blobs)
            return frames.receive(self._link)
        except (OSError, EOFError, ValueError) as error:
            raise VerifierError(f"the executor does not answer: {error}") from error

    def send(self, data: bytes) -> None:
        """Write to the program's standard input. Raises VerifierError when it has ended or reads nothing."""
        answer, _ = self._ask({"do": "send"}, [data])
        if "error" in answer:
            raise VerifierError(answer["error"])

    def receive(self, timeout_s: float) -> bytes:
        """What it printed since the last call, waiting at most timeout_s."""
        if self._ended is not None:
            return b""
        return self._ask({"do": "receive", "timeout_s": timeout_s}, wait_s=timeout_s)[1][0]

    def close(self) -> Outcome:
        """End its input, wait for its end, and say how it ended."""
        if self._ended is None:
            try:
                outcome = outcome_of(*self._ask({"do": "close"}, wait_s=self._patience_s))
            except VerifierError as error:
                outcome = lost(str(error))
            self._link.close()
            self._ended = outcome
        return self._ended


def _hang_up(links: list[socket.socket]) -> None:
    while links:
        links.pop().close()


def _proof(token: bytes, number: bytes) -> bytes:
    return hmac.digest(token, number, "sha256")
