"""Laws of core: encodings read back, fingerprints tell values apart, streams differ, files are whole or absent."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.core.files import JsonlLog, disk_errors, read_json, read_jsonl, sha256_file, write_atomic, write_json
from burnish.core.fingerprint import (
    ABSENT,
    canonical,
    content_id,
    decode,
    diff,
    encode,
    fingerprint,
    later,
    not_identity,
)
from burnish.core.rng import rank, seed_of, stream
from burnish.core.rows import from_json, to_json, trajectory_from_json, trajectory_to_json
from burnish.core.types import Check, Completion, Demo, Finish, Message, Pair, Problem, Rated, Trajectory, Verdict, user
from burnish.errors import ArtifactError, DataError, MissingExtra, RecipeError, nearest


class Colour(Enum):
    RED = 1
    BLUE = "blue"


@dataclass(frozen=True)
class Leaf:
    number: float
    words: tuple[str, ...] = ()
    colour: Colour = Colour.RED
    where: str = not_identity(default="")


@dataclass(frozen=True)
class Tree:
    VERSION = 3
    leaf: Leaf
    children: tuple[Any, ...] = ()
    named: Any = None
    flag: bool = True
    count: int | None = 0


@dataclass(frozen=True)
class Other:
    number: float
    words: tuple[str, ...] = ()
    colour: Colour = Colour.RED


@dataclass
class Loose:
    number: int = 0


texts = st.text(max_size=8)
leaves = st.builds(Leaf, st.floats(allow_nan=False), st.tuples(texts), st.sampled_from(Colour), texts)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts | leaves,
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts, inner, max_size=3)
        | st.builds(Tree, leaves, st.lists(inner, max_size=2).map(tuple), inner, st.booleans(), st.integers())
    ),
    max_leaves=8,
)


@given(values)
def test_decode_gives_back_what_was_encoded(value: Any) -> None:
    through_json = json.loads(json.dumps(encode(value)))
    back = decode(through_json)
    assert back == value
    assert canonical(back) == canonical(value)


@given(values, values)
def test_equal_fingerprints_mean_equal_canonical_forms(a: Any, b: Any) -> None:
    assert (fingerprint(a) == fingerprint(b)) == (canonical(a) == canonical(b))


@given(values, values)
def test_diff_is_empty_exactly_for_equal_encodings(a: Any, b: Any) -> None:
    assert diff(encode(a), encode(a)) == []
    assert bool(diff(encode(a), encode(b))) == (json.dumps(encode(a)) != json.dumps(encode(b)))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_neighbouring_floats_have_other_fingerprints(number: float) -> None:
    after = math.nextafter(number, math.inf)
    assert fingerprint(Leaf(number)) != fingerprint(Leaf(after))


def test_values_that_python_calls_equal_are_told_apart() -> None:
    assert len({fingerprint(v) for v in (1, 1.0, True, "1", (1,))}) == 5


def test_fields_outside_the_identity_are_kept_in_the_encoding_only() -> None:
    here, there = Leaf(1.0, where="here"), Leaf(1.0, where="there")
    assert fingerprint(here) == fingerprint(there)
    assert decode(encode(here)).where == "here"


@dataclass(frozen=True)
class Grown:
    """A value whose class gained fields after results were stored."""

    size: int
    rate: float = later(default=0.0)
    also: Any = later(default=None)


def test_a_field_added_later_enters_the_identity_once_it_is_used() -> None:
    before = '{"class":"test_core:Grown","fields":{"size":3},"version":0}'
    assert canonical(Grown(3)) == canonical(Grown(3, 0.0, None)) == before
    assert len({fingerprint(v) for v in (Grown(3), Grown(3, 0.5), Grown(3, 0), Grown(3, -0.0), Grown(3, 0.0, 1))}) == 5
    assert decode(encode(Grown(3, 0.5))) == Grown(3, 0.5)
    assert encode(Grown(3))["fields"].keys() == {"size", "rate", "also"}


def test_class_and_version_are_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fingerprint(Leaf(1.0)) != fingerprint(Other(1.0))
    before = fingerprint(Tree(Leaf(1.0)))
    monkeypatch.setattr(Tree, "VERSION", 4)
    assert fingerprint(Tree(Leaf(1.0))) != before


def test_a_fingerprint_is_sha256_of_the_canonical_json() -> None:
    """sha256('{"class":"…:Leaf",…}') by hand: the canonical form is spelled out here, the digest taken by hashlib."""
    import hashlib

    by_hand = (
        f'{{"class":"{__name__}:Leaf","fields":{{"colour":{{"enum":"{__name__}:Colour","name":"RED"}},'
        '"number":{"float":"0x1.0000000000000p-1"},"words":["a"]},"version":0}'
    )
    assert canonical(Leaf(0.5, ("a",))) == by_hand
    assert fingerprint(Leaf(0.5, ("a",))) == hashlib.sha256(by_hand.encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    "bad",
    [len, lambda x: x, Path("/data"), {1, 2}, b"bytes", object(), Leaf],
    ids=["builtin", "lambda", "path", "set", "bytes", "object", "class"],
)
def test_values_without_identity_are_refused_with_their_field(bad: Any) -> None:
    with pytest.raises(RecipeError, match=r"sft\.children\[1\]\['deep'\].*no stable identity"):
        fingerprint(Tree(Leaf(0.0), ("fine", {"deep": bad})), "sft")


def test_unfrozen_local_and_main_classes_are_refused() -> None:
    @dataclass(frozen=True)
    class Local:
        number: int = 0

    with pytest.raises(RecipeError, match=r"value\.named: Loose is not frozen.*\n.*frozen=True"):
        encode(Tree(Leaf(0.0), named=Loose()))
    with pytest.raises(RecipeError, match=r"value: Local is defined inside a function"):
        encode(Local())
    code = (
        "from dataclasses import dataclass\nfrom burnish.core.fingerprint import encode\n"
        "@dataclass(frozen=True)\nclass Mine: pass\nencode(Mine())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Mine is defined in the script that is running" in done.stderr


def test_keys_that_are_not_strings_are_refused() -> None:
    with pytest.raises(RecipeError, match="the key 1 is not a string"):
        encode({1: "a"})


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({"class": "no.such.module:Thing", "version": 0, "fields": {}}, "no.such.module:Thing cannot be found"),
        ({"class": f"{__name__}:Nothing", "version": 0, "fields": {}}, "Nothing cannot be found"),
        ({"class": "os:system", "version": 0, "fields": {}}, "is not a dataclass"),
    ],
)
def test_decode_refuses_what_is_not_a_recipe_value(data: Any, text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        decode(data)


def test_diff_by_hand() -> None:
    """Two trees: leaf.number 1 → 2, a child more, named["b"] gone, version equal; everything else is equal."""
    old = Tree(Leaf(1.0, ("x",)), (1,), {"a": 1, "b": 2})
    new = Tree(Leaf(2.0, ("x",)), (1, 5), {"a": 1})
    assert diff(encode(old), encode(new)) == [
        ("children[1]", ABSENT, 5),
        ("leaf.number", 1.0, 2.0),
        ("named.b", 2, ABSENT),
    ]


def test_diff_tells_none_from_absent_and_true_from_one() -> None:
    assert diff(encode(()), encode((None,))) == [("[0]", ABSENT, None)]
    assert diff(encode((1,)), encode((True,))) == [("[0]", 1, True)]
    assert diff(encode({"float": 1}), encode({"float": 2})) == [("float", 1, 2)]
    assert [row[0] for row in diff(encode(Leaf(1.0)), encode(Leaf(1.0, colour=Colour.BLUE)))] == ["colour"]


def test_diff_of_two_classes_is_one_line() -> None:
    rows = diff(encode(Tree(Leaf(1.0), named=Leaf(1.0))), encode(Tree(Leaf(1.0), named=Other(1.0))))
    assert [path for path, _, _ in rows] == ["named"]


indices = st.lists(st.integers(-5, 5) | st.sampled_from(["1", "a", "-1", ""]), max_size=3).map(tuple)


@given(*[st.tuples(st.integers(0, 3), st.sampled_from(["a", "b", "a1"]), indices)] * 2)
def test_streams_are_equal_exactly_for_equal_keys(a: Any, b: Any) -> None:
    assert (seed_of(a[0], a[1], *a[2]) == seed_of(b[0], b[1], *b[2])) == (a == b)


def test_neighbouring_seeds_share_nothing() -> None:
    """With `seed + i`, seeds 0 and 1 over 1,000 items would share 999 of them."""
    a, b = ({seed_of(seed, "row", i) for i in range(1000)} for seed in (0, 1))
    assert not a & b
    assert stream(0, "row", 1).random() == stream(0, "row", 1).random()


def test_ranks_are_spread_evenly() -> None:
    """Mean of n uniform numbers: 1/2 with standard error 1/sqrt(12 n) = 0.0029 at n = 10,000; six of them allowed."""
    numbers = [rank(7, "cut", f"{i:016x}") for i in range(10_000)]
    assert all(0 <= x < 1 for x in numbers)
    assert abs(sum(numbers) / len(numbers) - 0.5) < 6 * 0.0029


def test_content_ids_depend_on_kind_and_content_only() -> None:
    row = Demo((*user("hi"), Message("assistant", "hello")), source="a")
    assert row.id == replace(row, source="b", licence="MIT", lineage=("x",)).id
    assert len({content_id("demo", ["a"]), content_id("pair", ["a"]), content_id("demo", ["a", ""])}) == 3
    assert content_id("demo", "\ud800") != content_id("demo", "\udfff")


wild = st.text(st.characters(), max_size=12)
turns = st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), wild), min_size=1, max_size=3)
shared = {"source": wild, "licence": wild, "lineage": st.lists(wild, max_size=2).map(tuple)}
shared["annotations"] = st.dictionaries(wild, st.integers() | wild, max_size=2)
problems = st.builds(Problem, turns.map(tuple), st.builds(Check, wild, wild), wild, wild, **shared)
rows = (
    st.builds(Demo, turns.map(tuple), **shared)
    | st.builds(Pair, turns.map(tuple), wild, wild, **shared)
    | st.builds(Rated, turns.map(tuple), wild, st.booleans(), **shared)
    | problems
)


@given(rows)
def test_rows_come_back_from_json(row: Any) -> None:
    back = from_json(json.loads(json.dumps(to_json(row))))
    assert back == row
    assert back.annotations == row.annotations
    assert back.id == row.id == to_json(row)["id"]


@given(problems, st.lists(st.tuples(st.integers(0), st.floats(-50, 0))), st.sampled_from(Finish), wild)
def test_trajectories_come_back_from_json(problem: Problem, tokens: Any, finish: Finish, words: str) -> None:
    completion = Completion(tuple(t for t, _ in tokens), tuple(p for _, p in tokens), finish, words, "v1")
    whole = Trajectory(problem, (1, 2), completion, Verdict(None, "judge down"))
    assert trajectory_from_json(json.loads(json.dumps(trajectory_to_json(whole)))) == whole


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"kind": "song"}, "kind: expected demo, pair, rated or problem, got 'song'"),
        ({"messages": []}, "messages: expected a list"),
        ({"messages": [{"role": "bot", "content": ""}]}, r"messages\[0\]\.role.*'bot'"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]\.content"),
        ({"source": None}, None),
    ],
)
def test_bad_rows_name_the_field(change: dict[str, Any], text: str | None) -> None:
    data = {**to_json(Demo((*user("a"), Message("assistant", "b")))), **change}
    if text is None:
        del data["source"]
        text = "'source' is missing"
    with pytest.raises(DataError, match=text):
        from_json(data)


def test_scores_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(ValueError, match="in \\[0, 1\\]"):
        Verdict(1.5, "")


@given(st.lists(st.dictionaries(texts, st.integers(), max_size=2), min_size=1, max_size=5), st.data())
def test_a_log_keeps_every_whole_line_wherever_it_is_cut(tmp_path_factory: Any, records: Any, data: Any) -> None:
    path = tmp_path_factory.mktemp("log") / "log.jsonl"
    log = JsonlLog(path)
    for record in records:
        log.append(record)
    log.close()
    raw = path.read_bytes()
    cut = data.draw(st.integers(0, len(raw)))
    path.write_bytes(raw[:cut])
    again = JsonlLog(path)
    whole = raw[:cut].count(b"\n")
    assert again.records == records[:whole]
    again.append({"after": 1})
    again.close()
    assert [value for _, value in read_jsonl(path)] == [*records[:whole], {"after": 1}]


def test_a_log_goes_back_to_a_checkpoint(tmp_path: Path) -> None:
    log = JsonlLog(tmp_path / "log.jsonl")
    for step in range(5):
        log.append({"step": step})
    log.keep(2)
    log.append({"step": "two again"})
    log.close()
    assert [r for _, r in read_jsonl(tmp_path / "log.jsonl")] == [{"step": 0}, {"step": 1}, {"step": "two again"}]


WRITER = """
import sys
from pathlib import Path
from burnish.core.files import write_atomic
n = 0
while True:
    n += 1
    write_atomic(Path(sys.argv[1]), (str(n % 10) * 400_000))
    if n == 1: print("ready", flush=True)
"""


def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    moments = random.Random(0)
    for _ in range(8):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout
        writer.stdout.readline()
        time.sleep(moments.random() * 0.05)
        writer.kill()
        writer.communicate()
        text = path.read_text()
        assert len(text) == 400_000
        assert len(set(text)) == 1


def test_json_files(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert list(read_json(tmp_path / "a.json")) == ["b", "a"]
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": math.nan})
    assert read_json(tmp_path / "a.json") == {"b": 1, "a": "é"}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(DataError, match=r"bad\.json is not valid JSON"):
        read_json(tmp_path / "bad.json")
    with pytest.raises(DataError, match="does not exist"):
        read_json(tmp_path / "none.json")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a.json", "bad.json"]


def test_json_lines_name_the_line(tmp_path: Path) -> None:
    import gzip

    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    text = '{"a": "one\u2028line"}\n\n{"a": 2}\nnot json\n'
    plain.write_text(text, encoding="utf-8")
    packed.write_bytes(gzip.compress(text.encode()))
    for path in (plain, packed):
        lines = read_jsonl(path)
        assert [next(lines), next(lines)] == [(1, {"a": "one\u2028line"}), (3, {"a": 2})]
        with pytest.raises(DataError, match="line 4: not valid JSON"):
            next(lines)
    packed.write_bytes(gzip.compress(b'{"a": 1}\n' * 100)[:-12])
    with pytest.raises(DataError, match="cannot be read past line"):
        list(read_jsonl(packed))
    with pytest.raises(DataError, match="does not exist"):
        list(read_jsonl(tmp_path / "none.jsonl"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_artifact_error() -> None:
    with pytest.raises(ArtifactError, match="is full; nothing finished was lost"), disk_errors(Path("runs")):
        Path("/dev/full").write_text("x")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_cannot_be_written_is_an_artifact_error(number: int) -> None:
    with pytest.raises(ArtifactError, match=r"runs cannot be written.*\n.*--runs DIR"), disk_errors(Path("runs")):
        raise OSError(number, os.strerror(number))
    with pytest.raises(ProcessLookupError), disk_errors(Path("runs")):
        raise ProcessLookupError(errno.ESRCH, "other errors stay")


def test_sha256_of_a_file(tmp_path: Path) -> None:
    """SHA-256 of "abc", FIPS 180-2 appendix B.1."""
    write_atomic(tmp_path / "abc", b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_nearest_and_missing_extra() -> None:
    assert nearest("sfft", ["sft", "dpo"]) == "Did you mean 'sft'? Known: dpo, sft."
    assert nearest("zzz", []) == "Known: none."
    many = [f"set/{i}" for i in range(100)]
    assert nearest("set/7x", many).startswith("Did you mean 'set/7'? Of 100 known the closest are: set/7")
    assert "pip install 'burnish[report]'" in str(MissingExtra("the report", "matplotlib", "report"))


def test_importing_burnish_loads_nothing_heavy() -> None:
    code = "import sys, burnish, burnish.cli, burnish.pipeline.run; print([m for m in ('torch', 'transformers', 'numpy', 'pyarrow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
