"""`burnish decontaminate` on small files of every format: what goes, what stays byte for byte, and what is not done twice."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from burnish.cli.main import main
from burnish.data.decontamination import formats
from burnish.pipeline.lock import lock

ITEMS = [
    "A baker sells twelve loaves in the morning and nine loaves in the afternoon for three coins each",
    "The river runs past seven villages before it meets the wide and quiet northern sea at dawn",
    "Name two birds",
]
CLEAN = [
    "Write a short poem about a lighthouse keeper who is afraid of the dark but loves the waves",
    "Explain how bread dough rises when it is left in a warm place for about an hour or two",
]
# 17 tokens in ITEMS[0]; the first ten shared: windows at 0..2 cover tokens 0..9, 10/17 = 0.59.
PARTLY = " ".join(ITEMS[0].split()[:10]) + " and then he closes the shop because it rains all day"
DIRTY = [ITEMS[1].upper(), PARTLY, "Name two birds!"]


def chat(text: str, n: int = 0) -> dict[str, Any]:
    return {"n": n, "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": ITEMS[0]}]}


def rows() -> list[dict[str, Any]]:
    texts = [CLEAN[0], DIRTY[0], CLEAN[1], DIRTY[1], DIRTY[2], CLEAN[0] + " once more"]
    return [chat(text, n) for n, text in enumerate(texts)]


CLEAN_ROWS = [0, 2, 5]


@pytest.fixture
def tests_file(tmp_path: Path) -> Path:
    path = tmp_path / "exam.jsonl"
    path.write_text("".join(json.dumps({"question": text, "answer": "x"}) + "\n" for text in ITEMS))
    return path


def run(*words: str | Path) -> int:
    return main(["decontaminate", *map(str, words)])


def decision(out: Path) -> dict[str, Any]:
    return json.loads((out / "decision.json").read_text())


def odd_lines() -> list[bytes]:
    """Valid lines with spacing, escapes and key orders that a rewrite would lose."""
    lines = [json.dumps(row).encode() for row in rows()]
    lines[0] = b'{"messages" :  [{"content":"caf\\u00e9 \xc3\xa9","role":"user"}],  "n":0 }\r'
    return lines


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_lines_stay_byte_for_byte(tmp_path: Path, tests_file: Path, ending: str) -> None:
    raw = b"\n".join([odd_lines()[0], b"", *odd_lines()[1:]])
    path = tmp_path / f"train{ending}"
    packed = {".jsonl": raw, ".jsonl.gz": gzip.compress(raw)}.get(ending) or pa.compress(raw, "zstd", asbytes=True)
    path.write_bytes(packed)
    out = tmp_path / "out"
    assert run(path, "--against", tests_file, "--out", out) == 0
    for name, chosen in (("clean", CLEAN_ROWS), ("removed", [1, 3, 4])):
        with pa.input_stream(str(out / name / path.name), compression="detect") as stream:
            assert stream.read() == b"".join(odd_lines()[i] + b"\n" for i in chosen)
    assert decision(out)["files"][0] | {"file": ""} == {
        "file": "", "name": path.name, "rows": 6, "clean": 3, "removed": 3, "unreadable": 0,
    }  # fmt: skip


def test_parquet_keeps_its_schema(tmp_path: Path, tests_file: Path) -> None:
    table = pa.Table.from_pylist(rows()).append_column(
        "when", pa.array([1, 2, None, 4, 5, 6], pa.timestamp("us", "UTC"))
    )
    path, out = tmp_path / "train.parquet", tmp_path / "out"
    pq.write_table(table, path, row_group_size=4)
    assert run(path, "--against", tests_file, "--out", out) == 0
    clean = pq.read_table(out / "clean" / path.name)
    assert clean.schema == table.schema
    assert clean.to_pylist() == table.take(CLEAN_ROWS).to_pylist()


def test_arrow_csv_and_json(tmp_path: Path, tests_file: Path) -> None:
    table = pa.Table.from_pylist(rows())
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    (tmp_path / "b.json").write_text(json.dumps(rows(), indent=2))
    text = io.StringIO()
    writer_csv = csv.writer(text, lineterminator="\r\n")
    writer_csv.writerow(["n", "instruction", "output"])
    for row in rows():
        writer_csv.writerow([row["n"], f'{row["messages"][0]["content"]}\nsays "he", 007', "NA"])
    (tmp_path / "c.csv").write_bytes(text.getvalue().encode())
    out = tmp_path / "out"
    assert (
        run(tmp_path / "a.arrow", tmp_path / "b.json", tmp_path / "c.csv", "--against", tests_file, "--out", out) == 0
    )
    with pa.OSFile(str(out / "clean/a.arrow")) as file:
        assert pa.ipc.open_file(file).read_all().to_pylist() == table.take(CLEAN_ROWS).to_pylist()
    assert json.loads((out / "clean/b.json").read_text()) == [rows()[i] for i in CLEAN_ROWS]
    # In the CSV row 4 is no whole short item any more.
    kept = (out / "clean/c.csv").read_bytes()
    want = [record for i, record in enumerate(text.getvalue().encode().split(b"NA\r\n")[:-1]) if i not in (1, 3)]
    assert kept == b"NA\r\n".join([*want, b""])


def test_plain_text_and_every_turn(tmp_path: Path, tests_file: Path) -> None:
    path, out = tmp_path / "web.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps({"url": "u", "body": text}) + "\n" for text in (CLEAN[0], ITEMS[0])))
    assert run(path, "--against", tests_file, "--out", out, "--column", "body") == 0
    assert decision(out)["removed"] == 1
    chats = tmp_path / "chat.jsonl"
    chats.write_text("".join(json.dumps(chat(text)) + "\n" for text in CLEAN))
    assert run(chats, "--against", tests_file, "--out", tmp_path / "user") == 0
    assert run(chats, "--against", tests_file, "--out", tmp_path / "all", "--role", "all") == 0
    assert (decision(tmp_path / "user")["removed"], decision(tmp_path / "all")["removed"]) == (0, 2)


def test_a_row_without_the_layout_is_compared_all_the_same(tmp_path: Path, tests_file: Path) -> None:
    path, out = tmp_path / "train.jsonl", tmp_path / "out"
    strange = {"n": 9, "notes": {"deep": [ITEMS[1]]}}
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows(), strange]))
    assert run(path, "--against", tests_file, "--out", out) == 0
    assert json.loads((out / "removed/train.jsonl").read_text().splitlines()[-1]) == strange
    assert decision(out)["foreign"] == 1


def test_sets_and_unseen(tmp_path: Path, tests_file: Path) -> None:
    for name, texts in (("good", CLEAN), ("bad", [CLEAN[0], ITEMS[0]])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(chat(text)) + "\n" for text in texts))
    train = [tmp_path / "good.jsonl", tmp_path / "bad.jsonl"]
    counts = {}
    for label, flags in {
        "rows": ["--against", tests_file],
        "sets": ["--against", tests_file, "--remove", "sets"],
        "unseen": ["--unseen", tests_file],
        "none": ["--against", tests_file, "--remove", "none"],
    }.items():
        assert run(*train, *flags, "--out", tmp_path / label) == 0
        counts[label] = (decision(tmp_path / label)["removed"], decision(tmp_path / label)["gone"])
    assert counts == {"rows": (1, []), "sets": (2, ["bad"]), "unseen": (2, ["bad"]), "none": (0, [])}
    assert not (tmp_path / "sets/clean/bad.jsonl").exists()
    assert not (tmp_path / "none/clean").exists()
    assert "as a whole" in (tmp_path / "sets/contamination.md").read_text()


def test_a_column_names_the_sources(tmp_path: Path, tests_file: Path) -> None:
    mixed = [{**row, "source": "odd" if row["n"] % 2 else "even"} for row in rows()]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mixed))
    pq.write_table(pa.Table.from_pylist(mixed), tmp_path / "train2.parquet")
    for name in ("train.jsonl", "train2.parquet"):
        out = tmp_path / f"out-{name}"
        assert run(tmp_path / name, "--against", tests_file, "--by", "source", "--remove", "sets", "--out", out) == 0
        told = json.loads((out / "contamination.json").read_text())
        assert {s["source"]: s["overlapping_rows"] for s in told["sources"]} == {"odd": 2, "even": 1}
        # Row 4, the only hit of "even", equals a short item, which is no part of the rate; "odd" goes as a whole.
        assert (told["gone"], told["removed"]) == (["odd"], 4)
        assert sum(each["clean"] for each in decision(out)["files"]) == 2


def test_thresholds_change_without_the_training_files(tmp_path: Path, tests_file: Path) -> None:
    path, out = tmp_path / "train.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    assert run(path, "--against", tests_file, "--out", out) == 0
    path.rename(tmp_path / "elsewhere.jsonl")
    for coverage, overlapping in (("0.7", 1), ("0.5", 2), ("0.0", 2)):
        assert run("--from", out, "--coverage", coverage, "--remove", "none", "--out", tmp_path / "again") == 0
        cell = json.loads((tmp_path / "again/contamination.json").read_text())["table"][0]
        assert (cell["overlapping"], cell["short_overlapping"]) == (overlapping, 1)
    # Rows cannot be written without their file, and what is there stays whole.
    before = (out / "decision.json").read_bytes()
    assert run("--from", out, "--coverage", "0.7") == 2
    assert (out / "decision.json").read_bytes() == before


def test_the_same_command_again_scans_nothing(
    tmp_path: Path, tests_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "train.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    assert run(path, "--against", tests_file, "--out", out, "--remove", "none") == 0

    shards = formats.TrainFile.shards

    def read(file: formats.TrainFile) -> Iterator[formats.Shard]:
        assert file.path != path, "the training file was read again"
        return shards(file)

    monkeypatch.setattr(formats.TrainFile, "shards", read)
    assert run(path, "--against", tests_file, "--out", out, "--remove", "none", "--coverage", "0.7") == 0
    assert json.loads((out / "contamination.json").read_text())["table"][0]["overlapping"] == 1


def test_a_changed_line_is_scanned_again(tmp_path: Path, tests_file: Path) -> None:
    path, out = tmp_path / "train.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    assert run(path, "--against", tests_file, "--out", out) == 0
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows(), chat(ITEMS[0])]))
    assert run(path, "--against", tests_file, "--out", out) == 0
    assert decision(out)["removed"] == 4


@pytest.mark.slow
def test_a_killed_scan_goes_on(tmp_path: Path, tests_file: Path) -> None:
    path, out, whole = tmp_path / "train.jsonl", tmp_path / "out", tmp_path / "whole"
    with path.open("w") as file:
        for n in range(3000):
            file.write("".join(json.dumps({**row, "n": n, "pad": "z" * 300}) + "\n" for row in rows()))
    code = (
        "import sys; from burnish.data.decontamination import formats; formats.SHARD = 1 << 19\n"
        "from burnish.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "decontaminate", str(path), "--against", str(tests_file), "--threads", "1"]
    started = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while len(list(out.glob(".scan/*/*.arrow"))) < 3 and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    done = {file: file.stat().st_mtime_ns for file in out.glob(".scan/*/*.arrow")}
    assert done
    assert not (out / "decision.json").exists()
    assert not (out / "clean").exists()
    subprocess.run([*command, "--out", str(out)], check=True, capture_output=True)
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True)
    after = {file: file.stat().st_mtime_ns for file in out.glob(".scan/*/*.arrow")}
    assert len(after) > len(done)
    assert all(after[file] == when for file, when in done.items())
    for name in ("clean/train.jsonl", "removed/train.jsonl", "contamination.json", "findings/rows.parquet"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["missing.jsonl", "--against", "EXAM"], "missing.jsonl does not exist"),
        (["TRAIN", "--against", "gsm9k"], "Did you mean 'gsm8k'"),
        (["TRAIN", "--against", "EXAM", "--ngram", "0"], "--ngram 0: expected a whole number of at least 1"),
        (["TRAIN", "--against", "EXAM", "--coverage", "1.5"], "--coverage 1.5"),
        (["TRAIN", "--against", "EXAM", "--column", "mesages"], "Did you mean 'messages'"),
        (["TRAIN", "--against", "EXAM", "--fields", "qestion"], "Did you mean 'question'"),
        (["TRAIN", "--against", "NOTEXT"], "no column is known to hold the question"),
        (["TRAIN", "--against", "EMPTY"], "has no rows"),
        (["EMPTY", "--against", "EXAM"], "no rows that could be read, so there is nothing to compare. It is empty."),
        (["CUT", "--against", "EXAM"], "cannot be read"),
        (["PROSE", "--against", "EXAM"], "no rows that could be read, so there is nothing to compare. Its first row: not valid JSON"),
        (["BROKEN", "--against", "EXAM"], "broken.jsonl, row 2: not valid JSON"),
        (["TABLE", "--against", "EXAM"], "Name those to compare: --column a"),
        (["TRAIN"], "--against names nothing"),
        (["--from", "nowhere"], "holds no findings"),
        (["TRAIN", "--against", "EXAM", "EXAM"], "two tests are called"),
    ],
)  # fmt: skip
def test_bad_input(
    tmp_path: Path, tests_file: Path, flags: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train = "".join(json.dumps(row) + "\n" for row in rows())
    files = {
        "TRAIN": ("train.jsonl", train.encode()),
        "NOTEXT": ("notext.jsonl", b'{"x": 1}\n'),
        "EMPTY": ("empty.jsonl", b"\n"),
        "PROSE": ("prose.jsonl", b"Once upon a time\n"),
        "CUT": ("cut.jsonl.gz", gzip.compress(os.urandom(4000))[:-200]),
        "BROKEN": ("broken.jsonl", train.encode().replace(b'"n": 1', b'"n": ')),
        "TABLE": ("table.jsonl", b'{"a": "x", "b": "y"}\n'),
    }
    paths = {"EXAM": str(tests_file)}
    for key, (name, content) in files.items():
        (tmp_path / name).write_bytes(content)
        paths[key] = str(tmp_path / name)
    out = tmp_path / "out"
    assert run(*(paths.get(word, word) for word in flags), "--out", out) == 2
    told = capsys.readouterr().err
    assert says in told, told
    assert "Traceback" not in told
    assert not (out / "decision.json").exists()


def test_rows_that_cannot_be_read_are_kept_apart(tmp_path: Path, tests_file: Path) -> None:
    path, out = tmp_path / "train.jsonl", tmp_path / "out"
    lines = [json.dumps(row).encode() for row in rows()]
    lines[2:2] = [b'{"messages": [{"role": "user", "content": "cut', b'"\xff"']
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert run(path, "--against", tests_file, "--out", out, "--max-broken", "0.5") == 0
    assert (out / "unreadable/train.jsonl").read_bytes() == b"\n".join(lines[2:4]) + b"\n"
    assert (out / "clean/train.jsonl").read_bytes() == b"".join(
        json.dumps(rows()[i]).encode() + b"\n" for i in CLEAN_ROWS
    )


def test_two_runs_do_not_write_to_one_folder(
    tmp_path: Path, tests_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "train.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    with lock(out / ".lock", str(out)):
        assert run(path, "--against", tests_file, "--out", out) == 2
    said = capsys.readouterr().err
    assert f"{out} is being made by another run: process {os.getpid()}" in said
    assert "--out DIR" in said
    assert run(path, "--against", tests_file, "--out", out) == 0


class FullDisk(io.RawIOBase):
    """A file on a disk without room."""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_disk_full_leaves_nothing_that_looks_whole(
    tmp_path: Path, tests_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "train.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows()))
    monkeypatch.setattr(formats, "_packed", lambda *_: FullDisk())
    assert run(path, "--against", tests_file, "--out", out) == 2
    assert "full" in capsys.readouterr().err
    assert not (out / "decision.json").exists()
    assert not (out / "clean").exists()


def test_json_and_the_page(tmp_path: Path, tests_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "train.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows(), chat(f"<script>alert(1)</script> {ITEMS[1]}")]))
    assert run(path, "--against", tests_file, "--out", out, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["removed"] == 4
    cell = told["table"][0]
    assert (cell["items"], cell["overlapping"], cell["flagged"], cell["short_items"], cell["rows"]) == (
        3,
        2,
        True,
        1,
        4,
    )
    # Two items share an 8-gram; the second shares all its 17 tokens, so any 13 as well.
    assert (cell["criteria"]["any-8-gram"], cell["criteria"]["any-13-gram"]) == (2, 1)
    page = (out / "report.html").read_text()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http://" not in page
    assert "https://" not in page


def test_equal_to_curate(tmp_path: Path, data_dir: Path) -> None:
    """The rows a recipe drops for overlap are the rows the command removes."""
    from burnish.data.decontamination import rows as engine
    from burnish.data.decontamination.items import item_of
    from burnish.data.decontamination.rule import Overlap
    from burnish.data.sources.math import MATHProblems

    train = list(MATHProblems("train").rows(data_dir))
    items = [item_of("math", problem) for problem in MATHProblems("test").rows(data_dir)]
    found = engine.scan(train, items, Overlap())
    out = tmp_path / "out"
    assert run(data_dir / "math/train.jsonl.gz", "--against", "math", "--data", data_dir, "--out", out) == 0
    hits = pq.read_table(out / "findings/rows.parquet")
    over = hits.filter(pa.compute.field("coverage") > 0.5)
    assert set(over["row_in_file"].to_pylist()) == {each.row for each in found.evidence}
