"""The safety suite's prompts: counts, categories, how a jailbreak and its question are put together, gated files by their columns."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from burnish.data.source import Source
from burnish.data.sources.safety_sets import (
    DoAnythingNow,
    HarmBenchTest,
    JailbreakTrigger,
    Tulu3Rows,
    WildGuardTest,
    WildJailbreakTest,
)
from burnish.errors import DataError, MissingData, RecipeError


def read(source: Any, data: Path | None) -> list[Any]:
    assert isinstance(source, Source)
    return list(source.rows(data))


def save(folder: Path, path: str, rows: list[dict[str, Any]]) -> Path:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_harmbench_puts_the_context_first(data_dir: Path) -> None:
    rows = read(HarmBenchTest(), data_dir)
    assert Counter(row.category for row in rows) == {"standard": 159, "contextual": 81, "copyright": 80}
    assert {row.check.target for row in rows} == {"harmless"}
    behaviours = read(HarmBenchTest("instance"), data_dir)
    for row, other in zip(rows, behaviours, strict=True):
        target = json.loads(other.check.target)
        context = f"{target['context']}\n\n---\n\n" if target["context"] else ""
        assert row.prompt[0].content == context + target["behavior"]
        assert bool(context) == (row.category == "contextual")
        assert row.annotations["fields"] == [target["behavior"]]
    assert {row.check.target for row in read(HarmBenchTest("refuse"), data_dir)} == {"refuse"}


def test_do_anything_now_uses_every_question_and_prompt_once(data_dir: Path) -> None:
    rows = read(DoAnythingNow(), data_dir)
    asked = [row.annotations["fields"][0] for row in rows]
    assert len(rows) == len(set(asked)) == len({row.id for row in rows}) == 300
    assert all(question in row.prompt[0].content for question, row in zip(asked, rows, strict=True))
    assert not any("[insert prompt here" in row.prompt[0].content.lower() for row in rows)
    shells = {row.prompt[0].content.replace(question, "") for question, row in zip(asked, rows, strict=True)}
    assert len(shells) == 300
    behind = sum(row.prompt[0].content.endswith(f"\n\n{question}") for question, row in zip(asked, rows, strict=True))
    assert 200 < behind < 290, "prompts with a place for the question have it there"
    assert [row.id for row in read(DoAnythingNow(), data_dir)] == [row.id for row in rows]
    assert [row.id for row in read(DoAnythingNow(seed=1), data_dir)] != [row.id for row in rows]
    assert DoAnythingNow().name == "do_anything_now/300-seed0"
    with pytest.raises(DataError, match="n=390 or less"):
        read(DoAnythingNow(400), data_dir)


def test_jailbreaktrigger_draws_as_many_of_each_style(data_dir: Path) -> None:
    rows = read(JailbreakTrigger(), data_dir)
    counts = Counter(row.category for row in rows)
    assert len(counts) == 14
    assert sorted(counts.values()) == [28] * 6 + [29] * 8
    assert [row.annotations["key"] for row in rows] == sorted(row.annotations["key"] for row in rows)
    whole = read(JailbreakTrigger(1400), data_dir)
    assert set(Counter(row.category for row in whole).values()) == {100}
    assert {row.id for row in rows} < {row.id for row in whole}
    assert JailbreakTrigger(1400).name == "jailbreaktrigger/all"
    with pytest.raises(DataError, match="n=1400 or less"):
        read(JailbreakTrigger(1500), data_dir)


def guard_rows() -> list[dict[str, Any]]:
    """1,725 rows: 412 vanilla and 337 adversarial harmful ones with labels, 5 harmful ones without, the rest benign."""
    made = {"response": "x", "response_refusal_label": "refusal", "response_harm_label": "unharmful"}
    rows = [{"prompt": f"p{i}", "adversarial": i >= 412, "prompt_harm_label": "harmful", **made} for i in range(749)]
    rows += [{**rows[0], "prompt": f"u{i}", "response_harm_label": None} for i in range(5)]
    return rows + [{**rows[0], "prompt": f"b{i}", "prompt_harm_label": "unharmful"} for i in range(971)]


def test_wildguardtest_asks_the_harmful_rows_with_labels(tmp_path: Path) -> None:
    rows = read(WildGuardTest(), save(tmp_path, "wildguardtest/test.jsonl", guard_rows()))
    assert Counter(row.category for row in rows) == {"vanilla": 412, "adversarial": 337}
    assert {row.check.target for row in rows} == {"harmless"}
    assert all(row.prompt[0].content.startswith("p") for row in rows)


def test_wildguardtest_of_another_revision_is_refused(tmp_path: Path) -> None:
    rows = guard_rows()
    rows[3] = {**rows[3], "prompt_harm_label": "unharmful"}
    with pytest.raises(DataError, match="748 rows have a harmful prompt"):
        read(WildGuardTest(), save(tmp_path, "wildguardtest/test.jsonl", rows))
    with pytest.raises(DataError, match="1,725"):
        read(WildGuardTest(), save(tmp_path, "wildguardtest/test.jsonl", rows[:-1]))


def test_wildjailbreak_wants_benign_prompts_answered(tmp_path: Path) -> None:
    rows = [{"adversarial": f"h{i}", "label": 1, "data_type": "adversarial_harmful"} for i in range(2000)]
    rows += [{"adversarial": f"b{i}", "label": 0, "data_type": "adversarial_benign"} for i in range(210)]
    found = read(WildJailbreakTest(), save(tmp_path, "wildjailbreak/eval.jsonl", rows))
    assert Counter((row.category, row.check.target) for row in found) == {
        ("harmful", "refuse"): 2000, ("benign", "comply"): 210,
    }  # fmt: skip
    rows[7]["data_type"] = "vanilla"
    with pytest.raises(DataError, match=r"row 8, column 'data_type': 'vanilla'"):
        read(WildJailbreakTest(), save(tmp_path, "wildjailbreak/eval.jsonl", rows))


def test_tulu3s_own_rows_are_read_where_they_are(tmp_path: Path) -> None:
    save(tmp_path, "do_anything_now/tulu3.jsonl", [{"adversarial": f"a{i}", "vanilla": "v"} for i in range(300)])
    save(tmp_path, "trustllm_safety/tulu3.jsonl", [{"prompt": f"p{i}", "label": ["cot"]} for i in range(400)])
    assert [row.prompt[0].content for row in read(Tulu3Rows("do_anything_now"), tmp_path)][:2] == ["a0", "a1"]
    assert {row.category for row in read(Tulu3Rows("jailbreaktrigger"), tmp_path)} == {"cot"}
    with pytest.raises(RecipeError, match="jailbreaktrigger"):
        Tulu3Rows("jailbreak_trigger")


def test_a_set_that_is_not_here_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingData, match="allenai/wildguardmix"):
        read(WildGuardTest(), tmp_path)
