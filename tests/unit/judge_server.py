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
    """One scripted answer. trickle, hang_s: slow ones; broken: the connection ends in the middle of the body.

    after: of a batch's request: do what was asked, and answer so all the same.
    """

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    hang_s: float = 0.0
    after: bool = False
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


@dataclass
class BatchShop:
    """OpenAI's files and batches: a batch ends at its `looks`-th look, and its requests are answered by the server's rule.

    script: answers to "METHOD path" in order, used up first; those with `after` do the thing before they answer wrongly.
    only: how many lines are answered before the batch ends with `end`; the others are errors of that kind.
    seen: every request as "METHOD path". lines: of every started batch, by its id. sent: the uploaded bytes.
    """

    here: bool = True
    looks: int = 2
    only: int | None = None
    end: str = "completed"
    file_lines: Callable[[list[bytes]], list[bytes]] = lambda lines: lines
    script: list[tuple[str, Say]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    sent: list[bytes] = field(default_factory=list)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


class JudgeServer(ThreadingHTTPServer):
    """script: answers in order, used up first; then `rule` of the request's body: a reply, or the whole answer.

    models: the names it lists. shop: its batch API.
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
        self.shop = BatchShop()
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
        if self.path.startswith(("/v1/batches", "/v1/files")):
            return self.shop(b"")
        if self.path != "/v1/models":
            return self.say(Say(404, {}))
        return self.say(Say(body={"data": [{"id": name} for name in self.judge.models]}))

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith(("/v1/batches", "/v1/files")):
            return self.shop(sent)
        body = json.loads(sent)
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

    def shop(self, sent: bytes) -> None:
        """Answer a request for files or batches."""
        shop, asked = self.judge.shop, f"{self.command} {self.path.removeprefix('/v1/').partition('?')[0]}"
        with self.judge.lock:
            shop.seen.append(asked)
            self.judge.keys.append(self.headers.get("Authorization"))
            place = next((i for i, (what, _) in enumerate(shop.script) if re.fullmatch(what, asked)), None)
            scripted = None if place is None else shop.script.pop(place)[1]
            done = self.traded(asked, sent) if scripted is None or scripted.after else None
        self.say(scripted or done or Say(404, {"error": {"message": "not here"}}))

    def traded(self, asked: str, sent: bytes) -> Say | None:
        """What the batch API says; None for what it has not."""
        shop = self.judge.shop
        if not shop.here:
            return None
        if asked == "POST files":
            name = f"file-{len(shop.files)}"
            content = _part(sent, b"file")
            shop.files[name] = content
            shop.sent.append(content)
            return Say(body={"id": name, "purpose": _part(sent, b"purpose").decode()})
        if asked == "POST batches":
            return Say(body=self._start(json.loads(sent)))
        if asked == "GET batches":
            return Say(body=self._listed())
        method, _, path = asked.partition(" ")
        kind, _, rest = path.partition("/")
        if method == "GET" and kind == "files" and rest.removesuffix("/content") in shop.files:
            return Say(raw=shop.files[rest.removesuffix("/content")])
        if method == "GET" and kind == "batches" and rest in shop.batches:
            return Say(body=self._looked(rest))
        return None

    def _listed(self) -> dict[str, Any]:
        """The newest first, two a page."""
        rows = [*self.judge.shop.batches.values()][::-1]
        after = re.search(r"after=([\w-]+)", self.path)
        start = [row["id"] for row in rows].index(after[1]) + 1 if after else 0
        return {"data": rows[start : start + 2], "has_more": len(rows) > start + 2}

    def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        shop = self.judge.shop
        name = f"batch_{len(shop.batches)}"
        shop.lines[name] = [json.loads(line) for line in shop.files[body["input_file_id"]].splitlines()]
        counts = {"total": len(shop.lines[name]), "completed": 0, "failed": 0}
        shop.batches[name] = {
            "id": name, "object": "batch", "status": "validating", "looks": 0, "request_counts": counts, **body,
        }  # fmt: skip
        return shop.batches[name]

    def _looked(self, name: str) -> dict[str, Any]:
        shop = self.judge.shop
        batch = shop.batches[name]
        batch["looks"] += 1
        if batch["status"] in ("validating", "in_progress"):
            batch["status"] = "in_progress"
            if batch["looks"] >= shop.looks:
                self._finish(name, batch)
        return batch

    def _finish(self, name: str, batch: dict[str, Any]) -> None:
        shop = self.judge.shop
        batch["status"] = shop.end
        good: list[bytes] = []
        bad: list[bytes] = []
        lines = [] if shop.end == "failed" else shop.lines[name]
        for number, line in enumerate(lines):
            record: dict[str, Any] = {"id": f"r{number}", "custom_id": line["custom_id"]}
            if shop.only is not None and number >= shop.only:
                error = {"code": f"batch_{shop.end}", "message": "not run"}
                bad.append(json.dumps({**record, "response": None, "error": error}).encode())
                continue
            said = self.judge.rule(line["body"])
            body = said if isinstance(said, dict) else completion(said)
            status = int(body.pop("status", 200))
            response = {"status_code": status, "request_id": "x", "body": body}
            (good if status == 200 else bad).append(
                json.dumps({**record, "response": response, "error": None}).encode()
            )
        for field_name, found in (("output_file_id", shop.file_lines(good)), ("error_file_id", bad)):
            if found:
                batch[field_name] = f"{name}-{field_name}"
                shop.files[batch[field_name]] = b"\n".join(found[::-1])

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


def _part(form: bytes, name: bytes) -> bytes:
    """The content of a multipart form's part."""
    _, _, rest = form.partition(b'name="' + name + b'"')
    return rest.partition(b"\r\n\r\n")[2].partition(b"\r\n--")[0]


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
