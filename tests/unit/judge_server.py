"""A small chat endpoint on the loopback, OpenAI's form: replies by a rule, and fails in every way that servers do."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

Rule = Callable[[dict[str, Any]], str | dict[str, Any]]


@dataclass
class Say:
    """One scripted answer. trickle, hang_s: slow ones; broken: the connection ends in the middle of the body."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    hang_s: float = 0.0
    trickle: bool = False
    broken: bool = False


def asked(body: dict[str, Any]) -> str:
    """The text of the last turn, or the raw prompt."""
    return str(body["prompt"] if "prompt" in body else body["messages"][-1]["content"])


def completion(text: str, finish: str = "stop", usage: tuple[int, int] | None = (10, 5)) -> dict[str, Any]:
    """A chat completion that also serves as a plain one."""
    made: dict[str, Any] = {
        "choices": [{"message": {"role": "assistant", "content": text}, "text": text, "finish_reason": finish}]
    }
    if usage:
        made["usage"] = {"prompt_tokens": usage[0], "completion_tokens": usage[1]}
    return made


class JudgeServer(ThreadingHTTPServer):
    """script: answers in order, used up first; then `rule` of the request's body: a reply, or the whole answer.

    models: the names it lists.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, rule: Rule, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.rule, self.script, self.models = rule, list[Say](), ["judge"]
        self.seen: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.keys: list[str | None] = []
        self.running = self.most = 0
        self.pause_s = 0.0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    @property
    def judge(self) -> JudgeServer:
        return cast(JudgeServer, self.server)

    def log_message(self, *_: object) -> None:
        """Silent."""

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self.say(Say(404, {}))
        return self.say(Say(body={"data": [{"id": name} for name in self.judge.models]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.judge
        with server.lock:
            server.seen.append(body)
            server.times.append(time.monotonic())
            server.keys.append(self.headers.get("Authorization"))
            server.running += 1
            server.most = max(server.most, server.running)
            say = server.script.pop(0) if server.script else None
        try:
            time.sleep(server.pause_s)
            if say is None and self.path not in ("/v1/chat/completions", "/v1/completions"):
                say = Say(404, {"error": {"message": "no such path"}})
            if say is None:
                said = server.rule(body)
                say = Say(body=said if isinstance(said, dict) else completion(said))
            self.say(say)
        finally:
            with server.lock:
                server.running -= 1

    def say(self, say: Say) -> None:
        time.sleep(say.hang_s)
        raw = say.raw if say.raw is not None else json.dumps(say.body).encode()
        self.send_response(say.status)
        for name, value in say.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(raw) + 100 * say.broken))
        self.end_headers()
        if say.trickle:
            for i in range(len(raw)):
                self.wfile.write(raw[i : i + 1])
                time.sleep(0.05)
        self.wfile.write(raw)
        if say.broken:
            self.close_connection = True


@contextlib.contextmanager
def serving(rule: Rule, port: int = 0) -> Iterator[JudgeServer]:
    """A running server; closed at the end."""
    server = JudgeServer(rule, port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def part(text: str, label: str) -> str:
    """What stands between a judge question's marks of that label."""
    found = re.search(rf"\[BEGIN {label} ([0-9a-f]+)\]\n(.*?)\n\[END {label} \1\]", text, re.DOTALL)
    return found[2] if found else ""
