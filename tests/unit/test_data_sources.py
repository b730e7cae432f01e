"""Sources: users' files in every layout, broken files, and the published sets."""

from __future__ import annotations

import dataclasses
import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.fingerprint import decode, encode, fingerprint
from burnish.core.types import Check, Demo, Message, Pair, Problem, Row, user
from burnish.data.source import Source
from burnish.data.sources.gsm8k import FILES, GSM8KDemos, GSM8KProblems, without_calculator
from burnish.data.sources.ifeval import IFEvalPrompts
from burnish.data.sources.instruction_sets import ALPACA_SETS, FLAN_COT_SETS, AlpacaSet, FlanCoT, P3Prompts, SeedTasks
from burnish.data.sources.jsonl import Jsonl
from burnish.data.sources.math import MATHDemos, MATHProblems
from burnish.data.sources.pinned import PinnedSource
from burnish.errors import DataError, RecipeError

ASKED = {"role": "user", "content": "q"}
SAID = {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}


def write(path: Path, records: list[Any]) -> Path:
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def bare(row: Row) -> Row:
    return dataclasses.replace(row, source="", licence="")


@pytest.mark.parametrize(
    ("kind", "record", "row"),
    [
        ("demo", {"messages": [ASKED, SAID], "id": 3}, Demo((Message("user", "q"), Message("assistant", "a")))),
        ("demo", {"prompt": "q", "completion": "a"}, Demo((Message("user", "q"), Message("assistant", "a")))),
        ("demo", {"prompt": [ASKED], "completion": "a"}, Demo((Message("user", "q"), Message("assistant", "a")))),
        (
            "demo",
            {"instruction": "q", "input": "x", "output": "a"},
            Demo((Message("user", "q\n\nx"), Message("assistant", "a"))),
        ),
        (
            "demo",
            {"instruction": "q", "input": None, "response": "a"},
            Demo((Message("user", "q"), Message("assistant", "a"))),
        ),
        ("pair", {"prompt": "q", "chosen": "a", "rejected": "b"}, Pair(user("q"), "a", "b")),
        ("pair", {"chosen": [ASKED, SAID], "rejected": [ASKED, OTHER]}, Pair(user("q"), "a", "b")),
        ("pair", {"prompt": "q", "chosen": [ASKED, SAID], "rejected": [OTHER]}, Pair(user("q"), "a", "b")),
        ("problem", {"prompt": "q", "answer": "5"}, Problem(user("q"), Check("v", "5"))),
        (
            "problem",
            {"messages": [ASKED], "answer": 5, "solution": "s", "category": "c"},
            Problem(user("q"), Check("v", "5"), "s", "c"),
        ),
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet"])
def test_layouts(kind: Any, record: dict[str, Any], row: Row, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"mine{suffix}"
    if suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([record, record]), path)
    else:
        write(path, [record, record])
    source = Jsonl(path, kind, verifier="v" if kind == "problem" else "", licence="MIT", label="mine")
    rows = list(source.rows(None))
    assert [bare(each) for each in rows] == [row, row]
    assert {(each.source, each.licence) for each in rows} == {("mine", "MIT")}
    assert isinstance(source, Source)


def test_columns_can_be_renamed(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", [{"question": "q", "target": "5"}])
    source = Jsonl(path, "problem", {"prompt": "question", "answer": "target"}, verifier="gsm8k")
    assert [bare(row) for row in source.rows(None)] == [Problem(user("q"), Check("gsm8k", "5"))]


def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl.gz", [{"prompt": "2", "completion": "a"}])
    write(tmp_path / "a.jsonl", [{"messages": [{"role": "user", "content": "1"}, SAID]}])
    (tmp_path / "README.md").write_text("not rows")
    assert [row.prompt for row in Jsonl(tmp_path).rows(None)] == [user("1"), user("2")]


def test_identity_is_the_content_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    record = {"prompt": "q", "completion": "a"}
    here, there = Jsonl(write(tmp_path / "x.jsonl", [record])), Jsonl(write(tmp_path / "deep" / "y.jsonl", [record]))
    assert fingerprint(here) == fingerprint(there)
    assert list(here.rows(None)) == list(there.rows(None))
    assert fingerprint(here) != fingerprint(Jsonl(write(tmp_path / "z.jsonl", [record, record])))
    assert fingerprint(here) != fingerprint(dataclasses.replace(here, label="mine"))
    assert decode(encode(here)) == here
    write(tmp_path / "x.jsonl", [record, record, record])
    with pytest.raises(DataError, match="changed: its content is"):
        list(here.rows(None))


def test_broken_rows_are_listed_with_line_and_field(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    good = json.dumps({"messages": [ASKED, SAID]})
    wrong = [
        '{"messages": [{"role": "robot", "content": "x"}]}',
        "not json",
        '{"prompt": "q"}',
        '{"messages": [{"role": "user", "content": "\\ud800"}]}',
        "[1]",
        '{"messages": "x"}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}'.decode("latin-1"),
        "[" * 100_000,
    ]
    path.write_bytes("\n".join([good, "", *wrong, *["{}"] * 5]).encode("latin-1"))
    with pytest.raises(DataError) as caught:
        list(Jsonl(path).rows(None))
    text = str(caught.value)
    assert text.startswith(f"{path}: 13 of 14 rows cannot be read as kind='demo'.")
    assert "line 3: field 'messages'[0].role: expected system, user or assistant, got 'robot'." in text
    assert "line 4: not valid JSON" in text
    assert "line 5: field 'messages': missing; the file's first row has it." in text
    assert "line 6: field 'messages': half of a surrogate pair at character 0" in text
    assert "line 7: expected a JSON object, got list." in text
    assert "… and 3 more" in text


@pytest.mark.parametrize(
    ("record", "kind", "message"),
    [
        (
            {"question": "q", "response": "a"},
            "demo",
            "has the columns question, response; kind='demo' needs messages | prompt, completion",
        ),
        ({"chosen": [ASKED, SAID], "rejected": [OTHER, OTHER]}, "pair", "both must continue the same prompt"),
        ({"prompt": "q", "chosen": "a", "rejected": 3}, "pair", "field 'rejected': expected a list"),
        ({"prompt": "q", "answer": None}, "problem", "field 'answer': expected text, got None."),
        ({"prompt": "q", "answer": True}, "problem", "field 'answer': expected text, got True."),
    ],
)
def test_rows_of_the_wrong_form(record: dict[str, Any], kind: Any, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl", [record])
    with pytest.raises(DataError) as caught:
        list(Jsonl(path, kind, verifier="v").rows(None))
    assert message in str(caught.value)


def read(path: Path, kind: Any) -> tuple[list[Row], str]:
    """(the rows, "") or ([], what the DataError says); any other exception is a failure."""
    try:
        return list(Jsonl(path, kind, verifier="v").rows(None)), ""
    except DataError as error:
        return [], str(error)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"{", b"}", b'"', b"\n", b"messages", b":", b"[", b"]", b"1", b"\xff"])).map(b"".join),
    st.sampled_from(["m.jsonl", "m.jsonl.gz", "m.parquet"]),
    st.sampled_from(["demo", "pair", "problem"]),
)
def test_random_bytes_are_a_data_error_or_rows(raw: bytes, name: str, kind: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(raw)
        rows, said = read(path, kind)
        assert rows == []
        assert not said or name in said


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
COLUMNS = [
    "messages",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "chosen",
    "rejected",
    "answer",
    "solution",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from(COLUMNS), VALUES, max_size=6), max_size=3),
    st.sampled_from(["demo", "pair", "problem"]),
)
def test_random_records_are_a_data_error_or_rows(records: list[dict[str, Any]], kind: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "m.jsonl", records)
        rows, said = read(path, kind)
        assert "line " in said or len(rows) == len(records)


def test_a_cut_gzip_file_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "m.jsonl.gz", [{"prompt": str(i), "completion": "a"} for i in range(500)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="cannot be read past line"):
        list(Jsonl(path).rows(None))


def test_paths_and_settings_that_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Jsonl(tmp_path / "none.jsonl")
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"only \.jsonl"):
        Jsonl(tmp_path / "x.csv")
    with pytest.raises(DataError, match="holds no"):
        Jsonl(tmp_path)
    path = write(tmp_path / "m.jsonl", [])
    with pytest.raises(RecipeError, match="Did you mean 'demo'"):
        Jsonl(path, "demos")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="names no verifier"):
        Jsonl(path, "problem")


def test_missing_data_names_the_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(DataError) as caught:
        GSM8KProblems().check(tmp_path)
    text = str(caught.value)
    assert "1. --data DIR with the file at DIR/gsm8k/train.jsonl.gz" in text
    assert "2. the same file in the cache" in text
    assert "3. from the hub: pip install 'burnish[hub]'" in text


def test_another_revision_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "gsm8k").mkdir()
    write(tmp_path / "gsm8k" / "train.jsonl.gz", [{"question": "q", "answer": "#### 1"}])
    with pytest.raises(DataError, match="is another revision of gsm8k/train") as caught:
        list(GSM8KDemos().rows(tmp_path))
    assert "read your own with Jsonl(" in str(caught.value)


def test_unknown_names_are_errors() -> None:
    with pytest.raises(RecipeError, match=r"GSM8KProblems\(split='tests'\): there is no such one. Did you mean 'test'"):
        GSM8KProblems("tests")  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="Did you mean 'codealpaca_2k'"):
        AlpacaSet("codealpaca")


def test_calculator_annotations_are_taken_out() -> None:
    assert without_calculator("48/2 = <<48/2=24>>24 clips. a << b") == "48/2 = 24 clips. a << b"


def test_evaluation_only() -> None:
    assert not GSM8KProblems().evaluation_only
    assert GSM8KProblems("test").evaluation_only
    assert IFEvalPrompts().evaluation_only
    assert [MATHProblems(split).evaluation_only for split in ("train", "test", "500")] == [False, True, True]  # type: ignore[arg-type]


SETS: list[PinnedSource] = [
    GSM8KProblems(), GSM8KProblems("test"), GSM8KDemos(), IFEvalPrompts(), MATHProblems(), MATHProblems("test"), MATHProblems("500"),
    MATHDemos(), P3Prompts(), SeedTasks(), *map(AlpacaSet, ALPACA_SETS), *map(FlanCoT, FLAN_COT_SETS),
]  # fmt: skip


@pytest.mark.parametrize("source", SETS, ids=lambda source: f"{type(source).__name__}-{source.name}")
def test_published_sets_are_whole(source: Any, data_dir: Path) -> None:
    source.check(data_dir)
    rows = list(source.rows(data_dir))
    assert len(rows) == source.count
    assert isinstance(source, Source)
    assert all(row.source.startswith(source.name) and row.licence for row in rows)
    again = source.rows(data_dir)
    assert [row.id for row in rows[:20]] == [next(again).id for _ in range(min(20, len(rows)))]
    assert decode(encode(source)) == source


def test_manifest_agrees_with_the_pins(data_dir: Path) -> None:
    manifest = json.loads((data_dir / "MANIFEST.json").read_text())
    facts = {file["path"]: (file["sha256"], file["rows"]) for each in manifest["datasets"] for file in each["files"]}
    for source in SETS:
        assert facts[source.file.path] == (source.file.sha256, source.file.rows)


def test_gsm8k_rows_by_hand(data_dir: Path) -> None:
    first = next(iter(GSM8KProblems().rows(data_dir)))
    assert first.check == Check("gsm8k", "72")
    assert first.solution.endswith("Natalia sold 48+24 = 72 clips altogether in April and May.\n#### 72")
    assert len({FILES[split].sha256 for split in FILES}) == 2


def test_ifeval_targets(data_dir: Path) -> None:
    first = next(iter(IFEvalPrompts().rows(data_dir)))
    assert [each["id"] for each in json.loads(first.check.target)] == [
        "punctuation:no_comma", "detectable_format:number_highlighted_sections", "length_constraints:number_words",
    ]  # fmt: skip
    assert (first.category, first.annotations["key"]) == ("punctuation", 1000)
