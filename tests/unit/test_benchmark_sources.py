"""Benchmarks that are read as they are found: from the layouts that are published, to problems; and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import benchmark_rows as rows
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from burnish.data.sources import benchmark, drop_train
from burnish.data.sources.agieval import TASKS as AGIEVAL
from burnish.data.sources.agieval import AGIEvalQuestions
from burnish.data.sources.benchmark import BenchmarkSource
from burnish.data.sources.bigcodebench import BigCodeBenchHardProblems, libraries
from burnish.data.sources.deepmind_math import MODULES, DeepMindMathQuestions, bare
from burnish.data.sources.gpqa import GPQAQuestions, cleaned
from burnish.data.sources.href import HREFInstructions
from burnish.data.sources.ifbench import IFEvalOODPrompts
from burnish.data.sources.mmlu_pro import MMLUProQuestions
from burnish.data.sources.number_sets import GSMHardProblems, MGSMProblems, SVAMPProblems, as_text
from burnish.errors import DataError, MissingData, RecipeError

PUBLISHED: list[tuple[BenchmarkSource, list[dict[str, Any]]]] = [
    (MMLUProQuestions(), rows.MMLU_PRO), (GPQAQuestions(), rows.GPQA), (BigCodeBenchHardProblems(), rows.BIGCODEBENCH),
    (IFEvalOODPrompts(), rows.OUT_OF_DISTRIBUTION), (HREFInstructions(), rows.HREF),
]  # fmt: skip
IDS = [source.name for source, _ in PUBLISHED]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network is asked, and the cache of whoever runs the tests is not read."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("burnish.data.sources.hub._commit", lambda hub, revision: ("", "and the hub cannot be reached"))


def taken(source: BenchmarkSource, data: Path, count: int) -> list[Any]:
    """The first `count` problems: the number of rows is asked for at the end."""
    found = source.rows(data)
    return [next(found) for _ in range(count)]  # type: ignore[call-overload]


@pytest.mark.parametrize(("source", "published"), PUBLISHED, ids=IDS)
@pytest.mark.parametrize("form", [".jsonl", ".jsonl.gz", ".parquet", ".json", "hub folder", "hub shards"])
def test_every_form_gives_the_same_problems(
    source: BenchmarkSource, published: list[dict[str, Any]], form: str, tmp_path: Path
) -> None:
    import gzip

    plain = source.benchmark
    hub = tmp_path / plain.hub.replace("/", "__") / plain.config
    file = tmp_path / f"{plain.path}{form}"
    if form == "hub folder":
        rows.write(hub, f"{plain.split}.jsonl", published)
    elif form == "hub shards":
        (hub / "data").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(published), hub / "data" / f"{plain.split}-00000-of-00001.parquet")
    else:
        file.parent.mkdir(parents=True)
        lines = "".join(json.dumps(row) + "\n" for row in published)
        if form == ".jsonl.gz":
            file.write_bytes(gzip.compress(lines.encode()))
        elif form == ".parquet":
            pq.write_table(pa.Table.from_pylist(published), file)
        else:
            file.write_text(json.dumps(published) if form == ".json" else lines)
    source.check(tmp_path)
    found = taken(source, tmp_path, len(published))
    rows.write(tmp_path / "lines", f"{plain.path}.jsonl", published)
    assert found == taken(source, tmp_path / "lines", len(published))
    assert all(row.source == source.name and row.licence == plain.licence for row in found)
    assert source.evaluation_only
    assert source.revision == "not pinned"


@pytest.mark.parametrize(("source", "published"), PUBLISHED, ids=IDS)
def test_a_set_that_cannot_be_had_says_how_to_get_it(
    source: BenchmarkSource, published: object, tmp_path: Path
) -> None:
    with pytest.raises(MissingData) as told:
        source.check(tmp_path)
    text = str(told.value)
    assert f"--data DIR with the rows in their own columns at DIR/{source.benchmark.path}.jsonl.gz" in text
    assert str(tmp_path / "home" / ".cache") in text
    assert "pip install 'burnish[hub]'" in text
    assert source.benchmark.hub in text
    with pytest.raises(MissingData):
        list(source.rows(tmp_path))


@pytest.mark.parametrize(("source", "published"), PUBLISHED, ids=IDS)
def test_rows_that_are_not_the_published_ones_are_refused(
    source: BenchmarkSource, published: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Too few rows, a column that is missing, a value of another kind, a line that is no JSON: each says where."""
    file = rows.write(tmp_path, f"{source.benchmark.path}.jsonl", published)
    with pytest.raises(
        DataError, match=rf"{len(published)} rows were read from .*, but {source.benchmark.rows:,} are published"
    ):
        list(source.rows(tmp_path))
    for column in source.benchmark.columns:
        rows.write(tmp_path, f"{source.benchmark.path}.jsonl", [{k: v for k, v in published[0].items() if k != column}])
        with pytest.raises(DataError, match=rf"line 1 has no column '{column}'"):
            list(source.rows(tmp_path))
        rows.write(tmp_path, f"{source.benchmark.path}.jsonl", [{**published[0], column: 7}])
        if column not in ("Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"):
            with pytest.raises(DataError, match=r"7|equally long"):
                list(source.rows(tmp_path))
    file.write_text(json.dumps(published[0]) + "\n{broken\n")
    with pytest.raises(DataError, match="line 2"):
        list(source.rows(tmp_path))
    rows.write(tmp_path, f"{source.benchmark.path}.json", published)
    with pytest.raises(DataError, match="both hold"):
        source.check(tmp_path)


def test_mmlu_pros_answer_is_one_of_its_choices(tmp_path: Path) -> None:
    first, second = (
        rows.write(tmp_path, "mmlu_pro/test.jsonl", rows.MMLU_PRO),
        taken(MMLUProQuestions(), tmp_path, 2),
    )[1]
    assert first.prompt[0].content == "Question: Which is a colour?\n (A) stone\n (B) red\n (C) run\n"
    assert json.loads(second.check.target)["letter"] == "E"
    assert second.solution == "Therefore, the answer is (E)"
    rows.write(tmp_path, "mmlu_pro/test.jsonl", [{**rows.MMLU_PRO[0], "answer": "D"}])
    with pytest.raises(DataError, match="the answer is 'D', but the 3 choices are lettered A, B, C"):
        list(MMLUProQuestions().rows(tmp_path))
    rows.write(tmp_path, "mmlu_pro/test.jsonl", [{**rows.MMLU_PRO[0], "options": ["a", 2]}])
    with pytest.raises(DataError, match="row 1, field 'options'"):
        list(MMLUProQuestions().rows(tmp_path))


def test_gpqas_choices_stand_in_the_published_order(tmp_path: Path) -> None:
    """Cleaned, then [incorrect 1, 2, 3, correct] shuffled by a generator of its own for each row: seed 111 + row."""
    rows.write(tmp_path, "gpqa/main.jsonl", rows.GPQA)
    found = taken(GPQAQuestions(), tmp_path, 2)
    for number, (row, choices) in enumerate(
        zip(
            found,
            (["melts  ice", "bends iron", "sings", "parts light. by colour"], ["chalk", "salt", "sand", "vinegar"]),
            strict=True,
        )
    ):
        choices = [choice.replace("  ", " ") for choice in choices]
        right = choices[3]
        random.Random(111 + number).shuffle(choices)
        target = json.loads(row.check.target)
        assert target["choices"] == choices
        assert target["choices"]["ABCD".index(target["letter"])] == right
        lines = "".join(f" ({letter}) {choice}\n" for letter, choice in zip("ABCD", choices, strict=True))
        assert row.prompt[0].content == f"Question: {rows.GPQA[number]['Question']}\nChoices:\n{lines}"
    assert [row.category for row in found] == ["Physics", "Chemistry"]
    rows.write(tmp_path, "gpqa/main.jsonl", [{**rows.GPQA[0], "Correct Answer": None}])
    with pytest.raises(DataError, match="row 1, column 'Correct Answer'"):
        list(GPQAQuestions().rows(tmp_path))


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (" a ", "a"),
        ("a [title] b", "a. b"),
        ("a[1]b[2]", "ab"),
        ("a  b", "a b"),
        ("a    b", "a  b"),
        (None, " "),
        ("[all]", ""),
    ],
)
def test_marks_of_the_web_form(raw: object, clean: str) -> None:
    assert cleaned(raw) == clean


def test_gpqas_own_csv_is_read(tmp_path: Path) -> None:
    """Quoted fields with line ends and commas in them, as in gpqa_main.csv."""
    rows.write(tmp_path / "lines", "gpqa/main.jsonl", rows.GPQA)
    (tmp_path / "gpqa").mkdir()
    with (tmp_path / "gpqa" / "main.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows.GPQA[0]))
        table.writeheader()
        table.writerows(rows.GPQA)
    assert taken(GPQAQuestions(), tmp_path, 2) == taken(GPQAQuestions(), tmp_path / "lines", 2)


def test_bigcodebenchs_target_and_libraries(tmp_path: Path) -> None:
    rows.write(tmp_path, "bigcodebench_hard/v0.1.2.jsonl", rows.BIGCODEBENCH)
    (row,) = taken(BigCodeBenchHardProblems(), tmp_path, 1)
    assert json.loads(row.check.target) == {
        "entry": "task_func", "prompt": "import json\ndef task_func(text):\n", "test": rows.BIGCODEBENCH[0]["test"],
    }  # fmt: skip
    assert row.prompt[0].content.endswith("def task_func(text):\n```")
    assert row.annotations["libs"] == ["json", "os"]
    for value, wanted in (
        ("['a', 1]", ["a"]),
        ("(", []),
        (None, []),
        (["x"], ["x"]),
        ("__import__('os')", []),
        ("'a'", []),
    ):
        assert libraries(value) == wanted


def test_drops_examples_are_drawn_as_published(tmp_path: Path) -> None:
    """random.Random(1234).sample of all rows in their order; a number, spans, or a date."""
    train = [dict(row) for row in rows.DROP_TRAIN]
    train[3]["answer"] = {"number": "", "date": {"day": "", "month": "", "year": ""}, "spans": ["Ann", "Bo"]}
    train[4]["answer"] = {"number": "", "date": {"day": "3", "month": "May", "year": "1808"}, "spans": []}
    rows.write(tmp_path, "drop/train.jsonl", train)
    picked = random.Random(1234).sample(train, 3)
    shots = drop_train.shots(tmp_path, 3, 1234)
    assert [asked for asked, _ in shots] == [
        f"Passage: {r['passage']}\nQuestion: {r['question']}\nAnswer:" for r in picked
    ]
    every = dict(drop_train.shots(tmp_path, 20, 1234))
    answers = {asked.split("\n")[0]: answer for asked, answer in every.items()}
    assert answers["Passage: Passage 3 has 3 goals."] == "Ann, Bo"
    assert answers["Passage: Passage 4 has 4 goals."] == "3 May 1808"
    assert answers["Passage: Passage 7 has 7 goals."] == "7"
    with pytest.raises(DataError, match="20 rows are fewer than the 21"):
        drop_train.shots(tmp_path, 21, 1234)
    rows.write(tmp_path, "drop/train.jsonl", [{**train[0], "answer": "7"}])
    with pytest.raises(DataError, match="row 1, column 'answer'"):
        drop_train.shots(tmp_path, 1, 1234)
    with pytest.raises(MissingData, match="drop/train is not on this machine"):
        drop_train.check(tmp_path / "nowhere")


# What follows has known SHA-256s: tests write their own files and say so.


@pytest.fixture
def _any_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are taken whatever their hash."""
    for name in ("number_sets", "agieval", "deepmind_math", "pinned"):
        module = f"burnish.data.sources.{name}"
        if name in ("number_sets",):
            monkeypatch.setattr(f"{module}.locate", lambda pinned, data, source: data / pinned.path)
    monkeypatch.setattr("burnish.data.sources.pinned.locate", lambda pinned, data, source: data / pinned.path)


@pytest.mark.usefixtures("_any_file")
def test_svamp(tmp_path: Path) -> None:
    good = {
        "ID": "1",
        "Body": "Ann has 3 pens ",
        "Question": "How many pens?",
        "Equation": "3",
        "Answer": 3.0,
        "Type": "Common-Divison",
    }
    rows.write(tmp_path, "svamp/SVAMP.json", []).write_text(json.dumps([good]))
    (row,) = SVAMPProblems().rows(tmp_path)
    assert (row.prompt[0].content, row.check.target, row.category) == (
        "Ann has 3 pens How many pens?", "3", "Common-Division",
    )  # fmt: skip
    for column, value, told in (("Answer", "3", "expected a number"), ("Body", None, "field 'Body'")):
        (tmp_path / "svamp/SVAMP.json").write_text(json.dumps([{**good, column: value}]))
        with pytest.raises(DataError, match=told):
            list(SVAMPProblems().rows(tmp_path))


@pytest.mark.usefixtures("_any_file")
def test_gsm_hard(tmp_path: Path) -> None:
    rows.write(
        tmp_path, "gsm_hard/gsmhardv2.jsonl", [{"input": " How many? ", "code": "", "target": 388147.4117647059}]
    )
    (row,) = GSMHardProblems().rows(tmp_path)
    assert (row.prompt[0].content, row.check.target) == ("How many?", "388147.4117647059")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (51.0, "51"),
        (-7055.0, "-7055"),
        (0.5, "0.5"),
        (1e-07, "0.0000001"),
        (2.5e-05, "0.000025"),
        (1e22, str(10**22)),
        (7, "7"),
    ],
)
def test_numbers_are_written_without_an_exponent(value: float, text: str) -> None:
    assert as_text(value, "set", 0) == text
    assert float(text) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "5", None])
def test_answers_that_are_no_numbers(value: object) -> None:
    with pytest.raises(DataError, match="row 1: expected a number"):
        as_text(value, "set", 0)


@pytest.mark.usefixtures("_any_file")
def test_mgsm(tmp_path: Path) -> None:
    (tmp_path / "mgsm").mkdir()
    file = tmp_path / "mgsm" / "mgsm_de.tsv"
    file.write_text('Wie viele "Stifte"?\t1,080\nUnd jetzt?\t7\n')
    first, second = MGSMProblems("de").rows(tmp_path)
    assert json.loads(first.check.target) == {"answer": "1080", "language": "de"}
    assert (first.prompt[0].content, first.solution, first.category) == ('Wie viele "Stifte"?', "Antwort: 1080", "de")
    assert second.annotations["cluster"] == "mgsm/1"
    for bad in ("no tab", "a\tb", "\t5", "a\t5\t6"):
        file.write_text(bad + "\n")
        with pytest.raises(DataError, match="line 1: expected a question, a tab and a whole number"):
            list(MGSMProblems("de").rows(tmp_path))
    with pytest.raises(RecipeError, match="Did you mean 'de'"):
        MGSMProblems("dee")
    assert len(MGSMProblems().files) == 11
    assert MGSMProblems().count == 2750


@pytest.mark.usefixtures("_any_file")
def test_agieval_is_cleaned_as_published(tmp_path: Path) -> None:
    """ "Boston" loses its first letter: so it was asked. "(A)," stays; a passage names its cluster."""
    row = {
        "passage": None,
        "question": "See (A)x and (B), then\n\n\nchoose.",
        "options": ["(A)Rome", "B. Boston", " c"],
        "label": "C",
    }
    for task in AGIEVAL:
        rows.write(tmp_path, f"agieval/{task}.jsonl", [{**row, "passage": "Long ago." if task == "sat-en" else None}])
    found = list(AGIEvalQuestions().rows(tmp_path))
    assert len(found) == 8
    query = "Question: See (A) x and (B), then\nchoose.\n (A) Rome\n (B) Boston\n (C)  c"
    assert found[0].prompt[0].content == query
    assert found[6].prompt[0].content == f"Passage: Long ago.\n{query}"
    assert "cluster" in found[6].annotations
    assert "cluster" not in found[0].annotations
    assert {json.loads(p.check.target)["letter"] for p in found} == {"C"}
    rows.write(tmp_path, "agieval/aqua-rat.jsonl", [{**row, "options": ["Boston", "rome", "x"]}])
    assert json.loads(next(AGIEvalQuestions().rows(tmp_path)).check.target)["choices"] == ["oston", "rome", "x"]
    rows.write(tmp_path, "agieval/aqua-rat.jsonl", [{**row, "label": "E"}])
    with pytest.raises(DataError, match="the answer is 'E'"):
        list(AGIEvalQuestions().rows(tmp_path))


@pytest.mark.usefixtures("_any_file")
def test_deepmind_math_is_stripped_as_published(tmp_path: Path) -> None:
    r"""b'…\n' goes; b"…\n", which Python writes around an apostrophe, stays."""
    import gzip

    for module in MODULES:
        line = json.dumps({"question": "b'Solve 2*x = 4. \\n'", "answer": "b'2\\n'"}) + "\n"
        (tmp_path / "deepmind_math" / module).mkdir(parents=True)
        (tmp_path / "deepmind_math" / module / "test.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    found = list(DeepMindMathQuestions().rows(tmp_path))
    assert len(found) == len(MODULES) == 56
    assert (found[0].prompt[0].content, found[0].check.target) == ("Solve 2*x = 4.", "2")
    assert bare('b"What is f\'(x)?\\n"') == 'b"What is f\'(x)?\\n"'


@pytest.mark.parametrize(
    "source", [SVAMPProblems(), GSMHardProblems(), MGSMProblems(), AGIEvalQuestions(), DeepMindMathQuestions()]
)
def test_pinned_sets_are_missing_or_another_revision(source: Any, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="is not on this machine"):
        source.check(tmp_path)
    files = source.files if hasattr(source, "files") else (source.file,)
    for file in files:
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.path).write_text("other\n")
    with pytest.raises(DataError, match="is another revision"):
        source.check(tmp_path)
    assert len(source.revision) == 40
    assert source.evaluation_only
    assert {file.url for file in files} == {source.url}


def test_a_benchmark_whose_size_is_not_known_is_not_counted(tmp_path: Path) -> None:
    unknown = dataclasses.replace(GPQAQuestions().benchmark, rows=0)
    rows.write(tmp_path, "gpqa/main.jsonl", rows.GPQA)
    assert len(list(benchmark.rows_of(unknown, tmp_path, "gpqa/main"))) == 2


def test_the_page_of_data_says_where_everything_lies() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "benchmark-data.md").read_text()
    for source, _ in PUBLISHED:
        plain = source.benchmark
        columns = ", ".join(f"`{column}`" for column in plain.columns)
        assert f"| `{plain.path}` | `{plain.hub}`" in page
        assert f"split `{plain.split}` | {plain.rows:,} | {plain.licence} | {columns} |" in page
    pinned = (AGIEvalQuestions(), DeepMindMathQuestions(), SVAMPProblems(), GSMHardProblems(), MGSMProblems())
    for source in pinned:
        assert source.revision[:12] in page
        assert f"| {source.count:,} | {source.licence} |" in page
