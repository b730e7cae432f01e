"""Extraction and DROP against lm-evaluation-harness.

Disagreements and who is right: docs/reference/verifiers/choice.md and text.md.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Problem
from burnish.data.sources.mmlu_pro import MMLUProValidation
from burnish.data.sources.multiple_choice import MMLUQuestions
from burnish.data.sources.short_answers import BBHQuestions, DROPQuestions
from burnish.verify.bbh import BBH
from burnish.verify.choice import Choice
from burnish.verify.drop import DROP, drop_score, golds_of

pytestmark = pytest.mark.oracle

# What a model writes behind its reasoning; {} is the answer.
ENDINGS = (
    "So the answer is {}.", "So the answer is {}", "the answer is {}. I am sure.", "The answer is {}.", "Answer: {}", "{}",
    "**The answer is {}.**", "the answer is {}\n\nQ: next", "Therefore, the answer is {}",
)  # fmt: skip


@pytest.fixture(scope="module")
def tasks() -> Path:
    """The folder of lm-eval's tasks. Its own start-up imports half of them: go round it."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        pytest.skip("no oracle: pip install 'burnish[oracle]'")
    return Path(spec.origin).parent / "tasks"


@pytest.fixture(scope="module")
def official_drop(tasks: Path) -> Any:
    spec = importlib.util.spec_from_file_location("lm_eval_drop", tasks / "drop" / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def regex_filter(tasks: Path) -> Iterator[Any]:
    """lm-eval's RegexFilter, without its package's start-up."""
    before = set(sys.modules)
    for name, path in (
        ("lm_eval", tasks.parent),
        ("lm_eval.api", tasks.parent / "api"),
        ("lm_eval.filters", tasks.parent / "filters"),
    ):
        package = types.ModuleType(name)
        package.__path__ = [str(path)]
        sys.modules[name] = package
    try:
        module = pytest.importorskip("lm_eval.filters.extraction", exc_type=ImportError)
        yield module.RegexFilter
    finally:
        for name in set(sys.modules) - before:
            if name.startswith("lm_eval"):
                del sys.modules[name]


def pattern_of(file: Path) -> str:
    """The first regex_pattern in a task's file."""
    found = re.search(r"^\s*regex_pattern: (['\"])(.*)\1\s*$", file.read_text(), re.MULTILINE)
    assert found
    return found[2].replace("\\\\", "\\") if found[1] == '"' else found[2]


def replies(row: Problem) -> list[str]:
    golds = golds_of(row.check.target)
    first = golds[0]
    return [
        row.solution, ", ".join(first), " ".join(first), f"The answer is {first[0]}.", first[0][:-1], f"{first[0]} {first[-1]} x", "",
        "the 5 a 1,000 -3 and $7.50", *(gold[-1] for gold in golds[:3]),
    ]  # fmt: skip


def test_drop_scores_are_the_official_ones_on_every_question(official_drop: Any, data_dir: Path) -> None:
    """F1 and EM of whole replies, all 9,536 questions, 9 replies or more each."""
    compared = 0
    for row in DROPQuestions().rows(data_dir):
        for reply in replies(row):
            theirs = official_drop.process_results({"answers": golds_of(row.check.target)}, [reply])
            assert DROP("official")(row, reply).score == pytest.approx(theirs["f1"], abs=1e-9), (row, reply)
            assert DROP("official", "em")(row, reply).score == theirs["em"], (row, reply)
            compared += 1
    assert compared > 90_000


SPANS = st.lists(
    st.lists(
        st.sampled_from(["the", "a", "5", "5.0", "-3", "1,000", "$7", "ten", "x-y", "nan", "1e3", ".", "Tom's", "é", "٣", "1_0"]), max_size=4
    ).map(" ".join),
    min_size=1, max_size=5,
)  # fmt: skip


@settings(max_examples=3_000, deadline=None, derandomize=True, database=None)
@given(said=SPANS, gold=SPANS)
def test_drop_aligns_spans_as_the_official_code(said: list[str], gold: list[str], official_drop: Any) -> None:
    em, f1 = official_drop.get_metrics(said, gold)
    ours = drop_score(said, gold)
    assert ours.em == em
    assert ours.f1 == pytest.approx(f1, abs=0.005 + 1e-9)  # theirs is rounded


def test_mmlu_pro_extraction_is_lm_evals(regex_filter: Any, tasks: Path, data_dir: Path) -> None:
    official = regex_filter(pattern_of(tasks / "mmlu_pro" / "_default_template_yaml"))
    ladder = Choice("lm_eval_mmlu_pro")
    for row in MMLUProValidation().rows(data_dir):
        letter = json.loads(row.check.target)["letter"]
        for ending in (*ENDINGS, "answer is ({})", "the answer is ({}). The answer is (A)"):
            reply = f"{row.solution[:80]} {ending.format(letter)}"
            theirs = official.apply([[reply]], [{}])[0][0]
            assert (ladder.read(reply).letter or "[invalid]") == theirs


def test_mmlu_flexible_extraction_and_the_corrected_rule(regex_filter: Any, data_dir: Path) -> None:
    """lm-eval's flexible filter takes the last "(X)" anywhere. It agrees on replies with one letter in parentheses; ours also
    reads letters without them, and refuses replies that offer several, where theirs takes the last."""  # fmt: skip
    theirs = regex_filter(r"(\([A-Z]\))", group_select=-1)
    counts = {"same": 0, "only ours": 0, "refused": 0}
    for row in list(MMLUQuestions().rows(data_dir))[::40]:
        letter = json.loads(row.check.target)["letter"]
        for ending in ENDINGS:
            for written in (f"({letter})", letter):
                reply = f"We think. {ending.format(written)}"
                last = theirs.apply([[reply]], [{}])[0][0].strip("()")
                ours = Choice().read(reply).letter
                assert ours == letter or ending in ("{}",)
                counts["same" if last == ours else "only ours"] += 1
        listed = theirs.apply([["(A) or (B) or (C) or (D)"]], [{}])[0][0]
        assert listed == "(D)"
        assert not Choice().read("(A) or (B) or (C) or (D)").letter
        counts["refused"] += 1
    assert counts["same"] >= 352 * 8
    assert counts["only ours"] >= 352 * 8


def test_bbh_corrected_rule_reads_what_lm_eval_reads_and_more(regex_filter: Any, tasks: Path, data_dir: Path) -> None:
    """lm-eval's filter drops the last character behind "the answer is ", whatever it is: right only where that is the full stop
    at the end of the line. There both agree on every gold answer."""  # fmt: skip
    official = regex_filter(pattern_of(tasks / "bbh" / "cot_fewshot" / "_cot_fewshot_template_yaml"))
    lost = 0
    for row in list(BBHQuestions().rows(data_dir))[::10]:
        answer = json.loads(row.check.target)["answer"]
        full = f"Steps.\nSo the answer is {answer}."
        assert official.apply([[full]], [{}])[0][0] == answer
        assert BBH()(row, full).score == 1.0
        bare = f"Steps.\nSo the answer is {answer}"
        lost += official.apply([[bare]], [{}])[0][0] != answer
        assert BBH()(row, bare).score == 1.0
    assert lost == 652
