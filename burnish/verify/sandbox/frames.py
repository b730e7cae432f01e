"""Messages over a stream: a JSON head and any number of byte strings. Used between host, worker and remote executor."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Sequence
from typing import Any

_LENGTH = struct.Struct(">II")
LARGEST = 1 << 30  # bytes of one message; a peer that announces more is broken


def send(link: socket.socket, head: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
    """Write one message."""
    text = json.dumps({**head, "sizes": [len(blob) for blob in blobs]}).encode()
    link.sendall(b"".join((_LENGTH.pack(len(text), sum(map(len, blobs))), text, *blobs)))


def receive(link: socket.socket) -> tuple[dict[str, Any], list[bytes]]:
    """Read one message. Raises EOFError when the peer is gone, ValueError when it sends something else."""
    length, rest = _LENGTH.unpack(exactly(link, _LENGTH.size))
    if length + rest > LARGEST:
        raise ValueError(f"a message of {length + rest} bytes is not one of ours")
    head = json.loads(exactly(link, length))
    body = exactly(link, rest)
    blobs, start = [], 0
    for size in head.pop("sizes"):
        blobs.append(body[start : start + size])
        start += size
    return head, blobs


def exactly(link: socket.socket, count: int) -> bytes:
    """The next `count` bytes. Raises EOFError when the stream ends before."""
    parts = bytearray()
    while len(parts) < count:
        part = link.recv(min(count - len(parts), 1 << 20))
        if not part:
            raise EOFError("the stream ended")
        parts += part
    return bytes(parts)
