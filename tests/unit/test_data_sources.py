"""Sources over published files: whole, of the right revision, readable."""

from __future__ import annotations

import gzip
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from burnish.core.files import sha256_file
from burnish.core.fingerprint import decode, encode
from burnish.core.types import Check, Pair, Rated
from burnish.data.curate import Curate, Take
from burnish.data.decontamination.items import item_of
from burnish.data.mix import All
from burnish.data.source import Broken, Source
from burnish.data.sources.catalogue import published
from burnish.data.sources.gsm8k import FILES, GSM8KDemos, GSM8KProblems, without_calculator
from burnish.data.sources.held_out import TESTS, TestPrompts
from burnish.data.sources.ifeval import IFEvalPrompts
from burnish.data.sources.instruction_sets import AlpacaSet, Identity, P3Prompts
from burnish.data.sources.math import MATHProblems
from burnish.data.sources.mbpp import SPLITS, MBPPDemos
from burnish.data.sources.pinned import Pinned
from burnish.data.sources.preference_sets import PreferenceSet
from burnish.data.sources.seed_prompts import ConstraintSeeds
from burnish.data.sources.tool_calls import ToolCalls
from burnish.errors import DataError, RecipeError


def write(path: Path, records: list[Any]) -> Path:
    text = "".join(json.dumps(record) + "\n" for record in records).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


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
    assert "read your own with Files(" in str(caught.value)


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


SETS = published()
# Files of training sets that hold worked examples for the prompts of an evaluation.
NOT_SOURCES = {"gsm8k/cot_8shot.jsonl", "math/minerva_4shot.jsonl"}


@pytest.mark.parametrize("source", SETS, ids=lambda source: f"{type(source).__name__}-{source.name}")
def test_published_sets_are_whole(source: Any, data_dir: Path) -> None:
    source.check(data_dir)
    found = list(getattr(source, "read", source.rows)(data_dir))
    rows = [row for row in found if not isinstance(row, Broken)]
    assert len(found) == source.count
    assert len(found) - len(rows) <= 0.013 * len(found)
    assert isinstance(source, Source)
    assert all(row.source.startswith(source.name) and row.licence for row in rows)
    again = source.rows(data_dir)
    assert [row.id for row in rows[:20]] == [next(again).id for _ in range(min(20, len(rows)))]
    assert decode(encode(source)) == source


def test_manifest_agrees_with_the_pins(data_dir: Path) -> None:
    manifest = json.loads((data_dir / "MANIFEST.json").read_text())
    facts = {file["path"]: (file["sha256"], file["rows"]) for each in manifest["datasets"] for file in each["files"]}
    commits = {each["name"]: {(s["repository"], s["commit"]) for s in each["sources"]} for each in manifest["datasets"]}
    for source in SETS:
        assert facts[source.file.path] == (source.file.sha256, source.file.rows)
        repository = source.file.url.removeprefix("https://github.com/")
        assert (repository, source.file.revision) in commits[source.file.path.split("/")[0]], source.name


def test_every_training_file_has_a_source(data_dir: Path) -> None:
    manifest = json.loads((data_dir / "MANIFEST.json").read_text())
    table = re.findall(r"^\| (\w+) \| ([^|]+) \|", (data_dir / "README.md").read_text(), flags=re.M)
    training = {name for name, use in table if "train" in use}
    files = {file["path"] for each in manifest["datasets"] if each["name"] in training for file in each["files"]}
    assert len(training) == 13
    assert files - {source.file.path for source in SETS} == NOT_SOURCES


def test_what_is_a_test_may_not_be_trained_on() -> None:
    held_out = {source.name for source in SETS if source.evaluation_only}
    assert held_out == set(TESTS) | {
        "gsm8k/test", "math/test", "math/500", "ifeval", "mbpp/test", "mbpp/prompt", "humaneval", "humanevalplus", "mbppplus", "self_instruct/user_oriented",
    }  # fmt: skip
    with pytest.raises(RecipeError, match="mbpp/test is for evaluation only"):
        Curate((Take(MBPPDemos("test"), All()),)).check(None)


def test_mbpp_splits_by_hand(data_dir: Path) -> None:
    """Task ids 1-10, 11-510, 511-600 and 601-974: 10 + 500 + 90 + 374 = 974."""
    ids = [row.annotations["task_id"] for split in SPLITS for row in MBPPDemos(split).rows(data_dir)]  # type: ignore[arg-type]
    assert ids == list(range(1, 975))
    first = next(iter(MBPPDemos("prompt").rows(data_dir)))
    assert first.messages[0].content.startswith("Write a function to find the minimum cost path to reach (m, n)")
    assert (
        "must pass these tests:\nassert min_cost([[1, 2, 3], [4, 8, 2], [1, 5, 3]], 2, 2) == 8\n"
        in first.prompt[0].content
    )
    assert first.messages[1].content.startswith("```python\nR = 3\nC = 3\ndef min_cost(cost, m, n):")
    assert "\r" not in first.messages[1].content


def test_hh_rlhf_by_hand(data_dir: Path) -> None:
    """The first harmless dialogue has five turns that both share and a sixth that differs."""
    first = next(iter(PreferenceSet("hh_rlhf/harmless-base").rows(data_dir)))
    assert isinstance(first, Pair)
    assert [turn.role for turn in first.prompt] == ["user", "assistant", "user", "assistant", "user"]
    assert first.chosen != first.rejected
    with pytest.raises(DataError, match=r"test\.jsonl\.gz, line 87: .*empty assistant turn"):
        list(PreferenceSet("hh_rlhf/harmless-base").rows(data_dir))


def test_ratings_by_hand(data_dir: Path) -> None:
    rows = list(PreferenceSet("llamafactory_kto_en").rows(data_dir))
    assert all(isinstance(row, Rated) for row in rows)
    assert {row.good for row in rows if isinstance(row, Rated)} == {True, False}


def test_tool_calls_by_hand(data_dir: Path) -> None:
    """153 of the 300 conversations call a tool; the first has one call, after two replies."""
    rows = list(ToolCalls().rows(data_dir))
    assert sum(row.annotations["calls"] > 0 for row in rows) == 153
    first = rows[0]
    assert first.messages[0].role == "system"
    assert first.messages[0].content.endswith('"required": ["ingredients"]}}]')
    call, result = first.messages[4:6]
    assert (call.role, call.content.splitlines()[0]) == ("assistant", "<tool_call>")
    assert (result.role, result.content.splitlines()[-1]) == ("user", "</tool_response>")


def test_identity_takes_the_names_given(data_dir: Path) -> None:
    first = next(iter(Identity("Ada", "Example Ltd").rows(data_dir)))
    assert first.messages[1].content == (
        "Hello! I am Ada, an AI assistant developed by Example Ltd. How can I assist you today?"
    )
    assert not any("{{" in turn.content for row in Identity("A", "B").rows(data_dir) for turn in row.messages)
    with pytest.raises(RecipeError, match="neither can be empty"):
        Identity("Ada", " ")


def test_p3_without_its_non_commercial_set(data_dir: Path) -> None:
    """29,853 rows less the 1,000 of sciq."""
    rows = list(P3Prompts(commercial=True).rows(data_dir))
    assert len(rows) == P3Prompts(commercial=True).count == 28_853
    assert not any("-NC-" in row.licence for row in rows)


def test_tests_by_hand(data_dir: Path) -> None:
    first = {name: next(iter(TestPrompts(name).rows(data_dir))) for name in ("mmlu", "mt_bench", "agieval_sat-math")}
    assert len(first["mmlu"].annotations["choices"]) == 4
    assert len(first["mt_bench"].annotations["fields"]) == 2
    assert first["agieval_sat-math"].annotations["fields"] == [
        first["agieval_sat-math"].prompt[0].content
    ]  # no passage
    assert item_of("mmlu", first["mmlu"]).choices == tuple(first["mmlu"].annotations["choices"])


def test_constraint_seeds(data_dir: Path) -> None:
    rows = list(ConstraintSeeds().rows(data_dir))
    assert len({row.category for row in rows}) == 25
    assert rows[0].check == Check("constraint-type", "punctuation:use no comma")


@pytest.mark.parametrize(
    ("source", "record", "message"),
    [
        (MBPPDemos(), {"text": "a", "code": "b", "task_id": "1"}, "needs the fields task_id and test_list"),
        (ToolCalls(), {"tools": "[]", "conversations": [{"from": "robot", "value": "x"}]}, "row 1: expected turns"),
        (ToolCalls(), {"tools": "[]", "conversations": [{"from": "human", "value": "x"}]}, "end with the assistant"),
        (ConstraintSeeds(), {"constraint": "a", "prompts": "x"}, "needs a list of texts"),
    ],
)  # fmt: skip
def test_records_of_another_form(
    source: Any, record: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pin is moved to the wrong file, so that reading gets to its record."""
    file = tmp_path / "m.jsonl"
    write(file, [record])
    module = sys.modules[type(source).__module__]
    monkeypatch.setattr(module, "FILE", Pinned("m.jsonl", sha256_file(file), 1, "MIT", "", ""))
    with pytest.raises(DataError, match=message):
        list(source.rows(tmp_path))


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
