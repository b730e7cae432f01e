"""What runs beside a candidate program in its sandbox: loads it, and answers calls to the names it defines.

Nothing that this process says is trusted. It never holds a test or an expected value, only arguments, so all that a
program can gain by taking it over is to return some other value. This file is sent into the sandbox as text.

A line from the examiner is one request, a line back is one reply:

    {"load": [source, ...], "entry": name, "trim": bool} -> {"ready": [name, ...]} | {"e": error}
    {"on": name | number, "do": operation, "calls": [[args, kwargs], ...], "changed": bool}
        -> {"r": [{"v": value, "m": arguments after the call} | {"e": error}, ...]}, for as many of the first calls
           as make a reply of a moderate size
    {"v": value} | {"e": error}: what a function of the tests returned, after this side asked with {"back": number, ...}

An error is [names of the exception's classes, its arguments, its text].
"""

from __future__ import annotations

import ast
import json
import os
import sys
import types
from collections.abc import Callable
from typing import Any

from burnish.verify.code.wire import Uncrossable, decode, encode

MODULE = "candidate"  # what __name__ is in the program: a guard for "__main__" does not run
LONGEST = 64_000_000  # characters of one value
ENOUGH = 1_000_000  # characters of one reply, after which no further call is made for it
_TRIES = 12


def define(sources: list[str], entry: str, trim: bool) -> dict[str, Any]:
    """The names of the first of `sources` that compiles and defines `entry`, else of the first that compiles, run.

    trim: where none compiles, the lines after the code are cut off, and the longest that is left of any is taken.
    Raises what compiling or running raises.
    """
    compiled, error = [], None
    for text in sources:
        try:
            compiled.append(_compiled(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError) as broken:
            error = error or broken
    if not compiled and trim:
        cut = [_compiled(_trimmed(text)) for text in sources]
        fit = [one for one in cut if one[2].strip() and (not entry or entry in one[1])]
        compiled = sorted(fit, key=lambda one: -len(one[2]))
    if not compiled:
        raise error or SyntaxError("the reply has no program")
    program, _, text = next((one for one in compiled if entry in one[1]), compiled[0])
    return _execute(program, text)


def _compiled(text: str) -> tuple[Any, set[str], str]:
    """The program's code, the names its top level binds, and its text."""
    tree = ast.parse(text, "program.py")
    return compile(tree, "program.py", "exec"), _defined(tree), text


def _defined(tree: ast.Module) -> set[str]:
    """Names that the top level binds."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update((a.asname or a.name).partition(".")[0] for a in node.names)
        else:
            found.update(n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return found


def _trimmed(text: str) -> str:
    """The lines before the first that cannot belong to the code; "" where nothing compiles."""
    lines = text.split("\n")
    for _ in range(_TRIES):
        try:
            compile("\n".join(lines), "program.py", "exec")
        except SyntaxError as error:
            lines = lines[: max((error.lineno or 1) - 1, 0)]
        else:
            return "\n".join(lines)
    return ""


def _execute(program: Any, text: str) -> dict[str, Any]:
    module = types.ModuleType(MODULE)
    sys.modules[MODULE] = module
    _seed(text)
    exec(program, module.__dict__)
    return module.__dict__


def _seed(text: str) -> None:
    """Programs that draw random numbers draw the same ones each time."""
    if "random" in text:
        import random

        random.seed(0)
        if "numpy" in text:
            try:
                import numpy
            except ImportError:
                return
            numpy.random.seed(0)


def _error(error: BaseException) -> list[Any]:
    try:
        args = [encode(a) for a in error.args]
    except (Uncrossable, RecursionError):
        args = []
    return [[kind.__name__ for kind in type(error).__mro__], args, _text(error)]


def _line(message: dict[str, Any]) -> str:
    """The message as JSON, or an error in its place where it is too long to be compared."""
    line = json.dumps(message)
    if len(line) <= LONGEST:
        return line
    return json.dumps(
        {"e": [["OverflowError"], [], f"a value of {len(line):,} characters; at most {LONGEST:,} are read"]}
    )


def _text(value: Any) -> str:
    try:
        return str(value)[:300]
    except Exception as error:  # noqa: BLE001 - the program's own __str__
        return f"its text raised {type(error).__name__}"


class Server:
    """Answers requests read from one pipe on another."""

    def __init__(self, read: Callable[[], bytes], write: Callable[[bytes], Any]) -> None:
        self.read, self.write = read, write
        self.names: dict[str, Any] = {}
        self.kept: list[Any] = []

    def send(self, message: dict[str, Any]) -> None:
        """Write one message as a line."""
        self.write(_line(message).encode("ascii") + b"\n")

    def receive(self) -> dict[str, Any]:
        """The next message; ends the process when the examiner is gone."""
        line = self.read()
        if not line:
            os._exit(0)
        message: dict[str, Any] = json.loads(line)
        return message

    def serve(self) -> None:
        """Answer until the examiner closes the pipe."""
        while True:
            self.write(self.answer(self.receive()).encode("ascii") + b"\n")

    def answer(self, request: dict[str, Any]) -> str:
        """The reply as a line without its end."""
        try:
            if "load" in request:
                self.names = define(request["load"], request["entry"], request["trim"])
                return _line({"ready": [name for name in self.names if not name.startswith("__")]})
            return self.called(request)
        except BaseException as error:  # noqa: BLE001 - the program's own exceptions, SystemExit too
            return _line({"e": _error(error)})

    def called(self, request: dict[str, Any]) -> str:
        """The replies to the calls of a request, as a line."""
        replies: list[str] = []
        size = 0
        for args, kwargs in request["calls"]:
            replies.append(_line(self.one(request, args, kwargs)))
            size += len(replies[-1])
            if size > ENOUGH:
                break
        return f'{{"r": [{", ".join(replies)}]}}'

    def one(self, request: dict[str, Any], args: Any, kwargs: Any) -> dict[str, Any]:
        """The reply to one call."""
        try:
            on = request["on"]
            target = self.names[on] if isinstance(on, str) else self.kept[on]
            values, named = decode(args, self.thing), decode(kwargs, self.thing)
            found = _DO[request["do"]](target, values, named)
            reply = {"v": encode(found, self.keep)}
            if request.get("changed"):
                reply["m"] = encode(values, self.keep)
            return reply
        except BaseException as error:  # noqa: BLE001 - the program's own exceptions, SystemExit too
            return {"e": _error(error)}

    def keep(self, value: Any) -> Any:
        """An object that cannot cross stays here under a number."""
        if isinstance(value, Back):
            return {"x": value.number}
        self.kept.append(value)
        return {"o": [len(self.kept) - 1, type(value).__name__]}

    def thing(self, tag: str, body: Any) -> Any:
        """The object of this side with that number, or a stand-in for a function of the other."""
        return self.kept[body] if tag == "x" else Back(self, body[0])


class Back:
    """A function of the tests, given to the program as an argument."""

    def __init__(self, server: Server, number: int) -> None:
        self.server, self.number = server, number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns over there."""
        server = self.server
        server.send({"back": self.number, "args": encode(args, server.keep), "kwargs": encode(kwargs, server.keep)})
        while True:
            message = server.receive()
            if "v" in message:
                return decode(message["v"], server.thing)
            if "e" in message:
                raise RuntimeError(message["e"][2])
            server.write(server.answer(message).encode("ascii") + b"\n")


_DO: dict[str, Callable[[Any, Any, Any], Any]] = {
    "itself": lambda on, args, kwargs: on,
    "call": lambda on, args, kwargs: on(*args, **kwargs),
    "get": lambda on, args, kwargs: getattr(on, args[0]),
    "set": lambda on, args, kwargs: setattr(on, args[0], args[1]),
    "item": lambda on, args, kwargs: on[args[0]],
    "put": lambda on, args, kwargs: on.__setitem__(args[0], args[1]),
    "remove": lambda on, args, kwargs: on.__delitem__(args[0]),
    "len": lambda on, args, kwargs: len(on),
    "bool": lambda on, args, kwargs: bool(on),
    "str": lambda on, args, kwargs: str(on),
    "repr": lambda on, args, kwargs: repr(on),
    "iter": lambda on, args, kwargs: iter(on),
    "next": lambda on, args, kwargs: next(on),
    "same": lambda on, args, kwargs: bool(on == args[0]),
}


def main() -> None:
    """Serve on the process's own pipes; the program itself sees an empty input, and its output goes nowhere."""
    incoming, outgoing = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    empty = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(empty, number)

    def write(line: bytes) -> None:
        outgoing.write(line)
        outgoing.flush()

    Server(incoming.readline, write).serve()
