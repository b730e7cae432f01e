"""Reading JSON Lines that somebody is writing, or died writing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from burnish.core.files import JsonlLog
from burnish.core.follow import Follow, number, objects, records_of


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def test_a_growing_file_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    follow = Follow(path)
    assert not follow.new()
    path.write_bytes(lines({"step": 1}) + b'{"st')
    assert follow.new()
    assert follow.records == [{"step": 1}]
    assert not follow.new()
    with path.open("ab") as file:
        file.write(b'ep": 2}\n[3]\nnot JSON\n')
    assert follow.new()
    assert follow.records == [{"step": 1}, {"step": 2}]
    assert follow.unread == 2


def test_a_file_cut_back_to_its_checkpoint_is_read_again(tmp_path: Path) -> None:
    """A run killed after step 3 goes on from step 1, and by the next look it has written as many bytes as before."""
    path = tmp_path / "m.jsonl"
    log = JsonlLog(path)
    for step in (1, 2, 3):
        log.append({"step": step, "loss": 1.5})
    follow = Follow(path)
    follow.new()
    log.keep(1)
    for step in (2, 3, 4):
        log.append({"step": step, "loss": 2.5})
    log.close()
    assert follow.new()
    assert [(record["step"], record["loss"]) for record in follow.records] == [(1, 1.5), (2, 2.5), (3, 2.5), (4, 2.5)]


def test_a_file_that_went_away_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines({"step": 1}))
    follow = Follow(path)
    follow.new()
    path.unlink()
    assert follow.new()
    assert follow.records == []
    assert list(objects(tmp_path / "no folder" / "x")) == []


def test_offsets_find_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(lines({"a": "é"}) + b"\n  \n" + lines({"b": 2}))
    raw = path.read_bytes()
    assert [json.loads(raw[at : at + size]) for at, size, _ in objects(path)] == [{"a": "é"}, {"b": 2}]


def test_what_is_a_number() -> None:
    assert [number(value) for value in (1, 1.5, True, None, "1", float("nan"), float("inf"), 10**400)] == [
        1.0, 1.5, None, None, None, None, None, None,
    ]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_read_and_reading_in_two_parts_is_the_same(tmp_path: Path, noise: bytes, cut: int) -> None:
    path = tmp_path / "m.jsonl"
    whole = lines({"step": 1}) + noise + b"\n" + lines({"step": 2}, {"step": 3})
    path.write_bytes(whole[:cut])
    follow = Follow(path)
    follow.new()
    path.write_bytes(whole)
    follow.new()
    assert follow.records == records_of(path)
    assert follow.records[0] == {"step": 1}
    assert follow.records[-1] == {"step": 3}
