"""The candidate program as the tests see it: names to call, whose values cross as plain data.

Runs in the examiner's process, inside the sandbox, sent as text. A value that cannot cross, such as an instance of a
class the program defines, is a `Remote`: its methods and attributes can be used, and it equals nothing that the tests
made themselves, whatever its class says about equality.
"""

from __future__ import annotations

import builtins
import json
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from burnish.verify.code.wire import Uncrossable, decode, encode


class Gone(BaseException):
    """The candidate's process ended, hung or talked nonsense. Not an Exception: a test cannot catch it by accident."""


class CandidateError(Exception):
    """An exception of a class that only the program knows."""


class Link:
    """Talks to the candidate over `ask`: one line there, one line back."""

    def __init__(self, ask: Callable[[bytes], bytes]) -> None:
        self.ask = ask
        self.gone = ""
        self.last = ""
        self.functions: list[Callable[..., Any]] = []

    def lost(self, why: str) -> Gone:
        """Note that the program is out of reach; the exception to raise."""
        self.gone = self.gone or why
        return Gone(self.gone)

    def request(self, message: dict[str, Any]) -> dict[str, Any]:
        """The reply to `message`, after the program's calls to functions of the tests were answered."""
        while True:
            if self.gone:
                raise Gone(self.gone)
            line = self.ask(json.dumps(message).encode("ascii"))
            if line[:1] != b"<":
                raise self.lost(line[1:].decode("utf-8", "replace").strip() or "the examiner was left alone")
            reply = self.read(line[1:])
            if "back" not in reply:
                return reply
            message = self.called(reply)

    def read(self, line: bytes) -> dict[str, Any]:
        """The line as a message. Raises Gone for what no honest candidate writes."""
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            raise self.lost("the program wrote into the pipe of its own process") from None
        if not isinstance(reply, dict):
            raise self.lost("the program wrote into the pipe of its own process")
        return reply

    def called(self, reply: dict[str, Any]) -> dict[str, Any]:
        """The reply to the program's call of a function that the tests gave it."""
        try:
            function = self.functions[reply["back"]]
            args, kwargs = self.value(reply["args"]), self.value(reply["kwargs"])
            return {"v": self.plain(function(*args, **kwargs))}
        except Exception as error:  # noqa: BLE001 - a function of the tests; the program sees its exception
            return {"e": [[type(error).__name__], [], str(error)[:300]]}

    def load(self, sources: list[str], entry: str, trim: bool) -> set[str]:
        """The names the program defines. Raises what running it raised."""
        reply = self.request({"load": sources, "entry": entry, "trim": trim})
        if "e" in reply:
            raise self.raised(reply["e"])
        names = reply.get("ready")
        if not isinstance(names, list):
            raise self.lost("the program wrote into the pipe of its own process")
        return {name for name in names if isinstance(name, str)}

    def call(self, on: str | int, do: str, args: tuple[Any, ...], kwargs: dict[str, Any], changed: bool = False) -> Any:
        """The value of one operation, or its exception raised. changed: bring what it did to its arguments back."""
        sent = [self.plain(args), self.plain(kwargs)]
        reply = self.request({"on": on, "do": do, "calls": [sent], "changed": changed})
        one = self.replies(reply, 1)[0]
        if changed and "e" not in one:
            _bring_back(args, self.value(one.get("m")))
        value = self.outcome(one)
        if do == "call":
            self.last = f"; {on}({', '.join(map(brief, args))}) gave {brief(value)}"
        return value

    def replies(self, reply: dict[str, Any], most: int) -> list[dict[str, Any]]:
        """The replies to the first of `most` calls, at least one. Raises Gone for anything else."""
        if "e" in reply:
            raise self.lost(f"the program's reply cannot be read: {str(reply['e'])[:200]}")
        found = reply.get("r")
        if not isinstance(found, list) or not 1 <= len(found) <= most or not all(isinstance(r, dict) for r in found):
            raise self.lost("the program wrote into the pipe of its own process")
        return found

    def outcome(self, one: dict[str, Any]) -> Any:
        """The value in a reply, or its exception raised."""
        if "e" in one:
            raise self.raised(one["e"])
        return self.value(one.get("v"))

    def plain(self, value: Any) -> Any:
        """A value of the tests as JSON."""
        return encode(value, self.keep)

    def keep(self, value: Any) -> Any:
        """The program's own object, or a function of the tests, by number. Raises Uncrossable for anything else."""
        if isinstance(value, Remote):
            return {"x": value._number}
        if callable(value) and not isinstance(value, type):
            self.functions.append(value)
            return {"o": [len(self.functions) - 1, "function"]}
        raise Uncrossable(f"the tests pass a {type(value).__name__}, which has no form outside their process")

    def value(self, data: Any) -> Any:
        """A value of the program. Raises Gone for what cannot be read."""
        try:
            return decode(data, self.thing)
        except (ValueError, TypeError, LookupError, RecursionError, MemoryError) as error:
            raise self.lost(f"the program's value cannot be read: {error!s:.200}") from None

    def thing(self, tag: str, body: Any) -> Any:
        """A function of the tests that comes back, or an object of the program."""
        if tag == "x":
            return self.functions[body]
        return Remote(self, int(body[0]), str(body[1]))

    def raised(self, error: Any) -> BaseException:
        """The program's exception: of its own class where Python has it, else of the nearest one Python has."""
        try:
            names, args, text = error
            names, text = [str(name) for name in names], str(text)
            values = self.value(args)
        except (ValueError, TypeError):
            return self.lost("the program wrote into the pipe of its own process")
        for name in names:
            kind = getattr(builtins, name, None)
            if isinstance(kind, type) and issubclass(kind, BaseException) and kind not in (BaseException, Exception):
                made = kind if name == names[0] else type(names[0], (kind,), {})
                try:
                    found: BaseException = made(*values)
                    return found
                except TypeError:  # an exception that takes other arguments than it keeps
                    return RuntimeError(f"{names[0]}: {text}")
        unknown: BaseException = type(names[0] if names else "Error", (CandidateError,), {})(text)
        return unknown


def brief(value: Any) -> str:
    """The value as Python writes it, its middle left out where it is long."""
    try:
        text = f"<{value.kind}>" if isinstance(value, Remote) else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a deep nest
        return f"a {type(value).__name__}"
    return text if len(text) <= 120 else f"{text[:80]}...{text[-20:]}"


def _bring_back(args: tuple[Any, ...], after: Any) -> None:
    """Give lists, sets, dicts and the like among the arguments the content they had after the call."""
    if not isinstance(after, tuple) or len(after) != len(args):
        return
    for old, new in zip(args, after, strict=True):
        if isinstance(old, list | bytearray) and isinstance(new, list | bytearray):
            old[:] = new
        elif isinstance(old, set | dict) and isinstance(new, set | dict):
            old.clear()
            old.update(new)
        elif isinstance(old, deque) and isinstance(new, deque):
            old.clear()
            old.extend(new)


class Remote:
    """An object that lives in the candidate's process."""

    __slots__ = ("_link", "_number", "kind")

    def __init__(self, link: Link, number: int, kind: str) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "kind", kind)

    def _do(self, do: str, *args: Any, **kwargs: Any) -> Any:
        link: Link = self._link
        return link.call(self._number, do, args, kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of calling it."""
        return self._do("call", *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        """Its attribute. Dunder names that are not defined here do not exist: they would let it pose as any value."""
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._do("get", name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._do("set", name, value)

    def __getitem__(self, key: Any) -> Any:
        return self._do("item", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._do("put", key, value)

    def __delitem__(self, key: Any) -> None:
        self._do("remove", key)

    def __len__(self) -> int:
        size = self._do("len")
        return size if isinstance(size, int) else 0

    def __bool__(self) -> bool:
        return self._do("bool") is True

    def __str__(self) -> str:
        return str(self._do("str"))

    def __repr__(self) -> str:
        return str(self._do("repr"))

    def __iter__(self) -> Iterator[Any]:
        walk = self._do("iter")
        while True:
            try:
                yield walk._do("next") if isinstance(walk, Remote) else None
            except StopIteration:
                return

    def __next__(self) -> Any:
        return self._do("next")

    def __contains__(self, value: Any) -> bool:
        """By walking through it and comparing here: its own answer would be worth nothing."""
        return any(value is one or value == one for one in self)

    def __eq__(self, other: object) -> bool:
        """Between two objects of the program, as its classes say; with anything else, never."""
        if not isinstance(other, Remote):
            return False
        return self is other or self._do("same", other) is True

    def __hash__(self) -> int:
        return hash(self._number)


class Entry:
    """A name of the program, bound in the tests: calling it calls over there."""

    __slots__ = ("__name__", "_changed", "_link")

    def __init__(self, link: Link, name: str, changed: bool) -> None:
        self._link, self.__name__, self._changed = link, name, changed

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the program's function returns for these arguments, as a value of this process."""
        return self._link.call(self.__name__, "call", args, kwargs, self._changed)

    def __getattr__(self, name: str) -> Any:
        """An attribute of the program's function or class, e.g. a static method."""
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self._link.call(self.__name__, "get", (name,), {})
