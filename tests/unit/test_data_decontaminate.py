"""Decontamination on cases worked out by hand, at its thresholds, and on overlaps known to exist in published data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from burnish.core.files import read_jsonl
from burnish.core.types import Check, Demo, Message, Pair, Problem, Row, user
from burnish.data.decontamination.findings import criteria
from burnish.data.decontamination.items import Item, item_of, user_turns
from burnish.data.decontamination.rows import Scan, scan
from burnish.data.decontamination.rule import Overlap
from burnish.data.decontamination.scan import Scanner
from burnish.data.decontamination.verdict import Policy, decide
from burnish.data.sources.math import MATHDemos, MATHProblems
from burnish.errors import DataError, RecipeError
from tests.decontamination_oracle import by_definition

KERNELS = ["numpy", *(["numba"] if find_spec("numba") else [])]


def demo(*asked: str) -> Demo:
    turns = tuple(turn for text in asked for turn in (Message("user", text), Message("assistant", "ok")))
    return Demo(turns, source="train")


def score(item: str, *asked: str, rule: Overlap | None = None) -> float:
    rule = rule or Overlap()
    found = scan([demo(*asked)], [Item("t", "0", (item,))], rule).findings.rows
    return float(found["coverage"][0]) if len(found) else 0.0


def table(found: Scan, rule: Overlap) -> Sequence[Mapping[str, Any]]:
    return decide(found.findings, found.items, rule, Policy()).table


def test_coverage_by_hand() -> None:
    """The item has L = 20 tokens a..t and 20 - 8 + 1 = 13 windows.

    A row with tokens a..i (9 tokens) holds the windows at 0 and 1: tokens 0..8 are covered, 9/20 = 0.45.
    A row with a..h and, apart from it, m..t holds the windows at 0 and 12: 8 + 8 = 16 covered, 16/20 = 0.8.
    A row with a..g (7 tokens) holds no window: 0. A row with a..j holds 10: 10/20 = 0.5, which is not more than half.
    """
    letters = "a b c d e f g h i j k l m n o p q r s t"
    assert score(letters, letters[:17]) == 0.45
    assert score(letters, f"{letters[:15]} and {letters[24:]}") == 0.8
    assert score(letters, letters[:13]) == 0.0
    assert score(letters, letters[:19]) == 0.5
    half = scan([demo(letters[:19])], [Item("t", "0", (letters,))], Overlap())
    assert half.evidence == ()
    more = scan([demo(letters[:21])], [Item("t", "0", (letters,))], Overlap())
    assert [e.score for e in more.evidence] == [0.55]


def test_turns_of_one_row_add_up_but_no_window_crosses_them() -> None:
    letters = "a b c d e f g h i j k l m n o p"
    assert score(letters, "a b c d e f g h", "i j k l m n o p") == 1.0
    assert score(letters, "a b c d e f g", "h i j k l m n o") == 0.5
    two_rows = scan([demo("a b c d e f g h"), demo("i j k l m n o p")], [Item("t", "0", (letters,))], Overlap())
    assert two_rows.evidence == ()


def test_tokens_are_those_of_the_reference_index() -> None:
    """Space , . ? ! : ; ( ) " - newline and backslash separate; apostrophes, operators and tabs do not."""
    rule = Overlap()
    assert rule.tokens('Don\'t (really) "go"-there:now;x=1,\nA\\B\tC. É?') == [
        "don't",
        "really",
        "go",
        "there",
        "now",
        "x=1",
        "a",
        "b\tc",
        "é",
    ]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("ngram", [1, 2, 4, 5, 8, 13])
def test_a_window_is_found_wherever_it_stands(ngram: int, kernel: str) -> None:
    """A filter that looks at one part in several must meet one of every window, at the beginning and end of a turn too."""
    item = " ".join(f"w{i}" for i in range(ngram))
    scanner = Scanner([Item("t", "0", (item,))], Overlap(ngram=ngram), kernel=kernel)
    rows = [["x " * before + item + " y" * after] for before in range(12) for after in range(4)]
    found = scanner.scan(pa.array(rows), "s").rows
    assert found["row"].tolist() == list(range(len(rows)))
    assert found["row_from"].tolist() == [before for before in range(12) for _ in range(4)]
    assert (found["coverage"] == 1.0).all()


def test_repeated_windows_count_every_place() -> None:
    """The item repeats one window of 8 twice, 16 tokens; a row with it once covers all 16, where a dictionary keyed by
    the window's text would keep one place and call it 8/16.
    """
    window = "one two three four five six seven eight"
    assert score(f"{window} {window}", window) == 1.0


def test_fields_of_an_item_are_averaged_over_one_row() -> None:
    """Fields of 10 and 8 tokens: 8/10 and 8/8 make (0.8 + 1.0) / 2 = 0.9; a row with the second only, 0.5."""
    item = Item("t", "0", ("a b c d e f g h i j", "s t u v w x y z"))
    rows = [demo("a b c d e f g h", "s t u v w x y z"), demo("s t u v w x y z")]
    assert scan(rows, [item], Overlap()).findings.rows["coverage"].tolist() == [0.9, 0.5]


def test_only_user_turns_are_compared() -> None:
    text = "a b c d e f g h i j"
    rows: list[Row] = [
        Demo((Message("system", text), Message("user", "hi"), Message("assistant", text)), source="train"),
        Pair(user("hi"), text, text, source="train"),
        Pair(user(text), "x", "y", source="train"),
        Problem(user(text), Check("v", text), source="train"),
    ]
    found = scan(rows, [Item("t", "0", (text,))], Overlap())
    assert [e.row for e in found.evidence] == [2, 3]
    assert user_turns(rows[0]) == ("hi",)


def test_short_items_match_whole_turns_and_are_counted_apart() -> None:
    items = [Item("t", "0", ("What is the capital of France?",)), Item("t", "1", ("a b c d e f g h",))]
    rows: list[Row] = [demo("What is the capital of france"), demo("Tell me: what is the capital of France?")]
    found = scan(rows, items, Overlap())
    assert [(e.row, e.score, e.short) for e in found.evidence] == [(0, 1.0, True)]
    (record,) = table(found, Overlap())
    assert (record["items"], record["overlapping"], record["rate"], record["flagged"]) == (2, 0, 0.0, False)
    assert (record["short_items"], record["short_overlapping"], record["rows"]) == (1, 1, 1)


@pytest.mark.parametrize(("items", "flagged"), [(50, False), (49, True)])
def test_two_per_cent_is_not_more_than_two_per_cent(items: int, flagged: bool) -> None:
    """1 of 50 items is exactly 2 %; 1 of 49 is 2.04 %."""
    tests = [Item("t", str(i), (" ".join(f"w{i}x{j}" for j in range(8)),)) for i in range(items)]
    found = scan([demo(tests[0].prompt[0])], tests, Overlap())
    (record,) = table(found, Overlap())
    assert record["flagged"] is flagged


def test_the_item_of_a_problem_is_its_last_question_or_its_named_fields() -> None:
    shots = (*user("shot"), Message("assistant", "1"), *user("question"))
    assert item_of("t", Problem(shots, Check("v", "1"))).prompt == ("question",)
    assert item_of("t", Problem(shots, Check("v", "1"), annotations={"fields": ["a", "b"]})).prompt == ("a", "b")


def test_thresholds_that_cannot_work_are_errors() -> None:
    with pytest.raises(RecipeError, match="ngram=0"):
        Overlap(ngram=0)
    with pytest.raises(RecipeError, match=r"coverage=1\.0"):
        Overlap(coverage=1.0)


def test_self_instruct_and_alpaca_eval_overlap(data_dir: Path) -> None:
    """AlpacaEval took all 252 user-oriented instructions of Self-Instruct; instructions of 8 tokens and more are found."""
    rows: list[Row] = []
    for _, record in read_jsonl(data_dir / "self_instruct" / "user_oriented_instructions.jsonl"):
        instance = record["instances"][0]["input"]
        rows.append(demo(f"{record['instruction']}\n\n{instance}" if instance else record["instruction"]))
    items = [
        Item(record["dataset"], str(number), (record["instruction"],))
        for number, record in read_jsonl(data_dir / "alpaca_eval" / "baseline_gpt4_1106_preview.jsonl.gz")
    ]
    found = scan(rows, items, Overlap())
    records = {record["test"]: record for record in table(found, Overlap())}
    own = records.pop("selfinstruct")
    assert own["items"] == 252
    assert own["overlapping"] + own["short_overlapping"] >= 0.9 * 252
    assert own["flagged"]
    assert all(record["rate"] < 0.05 for record in records.values())


def test_math_train_and_test_overlap(data_dir: Path) -> None:
    """MATH's train split holds near copies of test problems: more than 2 % of the items, so it is flagged."""
    rule = Overlap()
    items = [item_of("math", problem) for problem in MATHProblems("test").rows(data_dir)]
    rows = list(MATHDemos().rows(data_dir))
    found = scan(rows, items, rule)
    (record,) = table(found, rule)
    assert record["flagged"]
    assert 500 < record["overlapping"] < 700
    sure = max(found.evidence, key=lambda e: (not e.short, e.score))
    assert sure.score == 1.0


def shares(rule: Overlap, item: str, row: str) -> bool:
    """Whether the scan finds the row; both kernels must agree."""
    found = [Scanner([Item("t", "0", (item,))], rule, kernel=k).scan(pa.array([[row]]), "s").rows for k in KERNELS]
    assert all(np.array_equal(one, found[0]) for one in found)
    return bool(len(found[0]) and found[0]["coverage"][0] == 1.0)


@pytest.mark.parametrize(
    ("option", "item", "row"),
    [
        ({"unicode": True}, "“Straße” – ﬁve ②", '"STRASSE" - five 2'),
        ({"unicode": True}, "zero\u200bwidth a b c", "zerowidth a b c"),
        (
            {"latex": True},
            r"Find $\dfrac{1}{2} \left( x^{2} \right)$ for $x \leq 3$",
            r"find \(\frac{1}{2} (x^2)\) for x\le 3",
        ),
        ({"latex": True}, r"so \text{area} is \,4\!", r"so area is 4"),
        ({"code": True}, "def f(a,b):\n\treturn a+b", "def f ( a, b ):\n    return a + b"),
        ({"char_ngram": 4}, "白日依山尽，黄河入海流", "请背诵：白日依山尽，黄河入海流"),
    ],
)
def test_options_make_equal_what_differs_in_form_alone(option: dict[str, Any], item: str, row: str) -> None:
    assert shares(Overlap(ngram=3, **option), item, row)
    assert not shares(Overlap(ngram=3), item, row)


def test_characters_count_as_tokens_where_most_of_an_item_is_unspaced() -> None:
    """白日依山尽黄河入海流 is one token of 10 characters, a short item; with char_ngram=4 it has 7 windows.

    依山尽黄河 holds 2 of them, 5 of 10 characters.
    """
    poem = "白日依山尽黄河入海流"
    rule = Overlap(char_ngram=4)
    assert Overlap().tokens(poem) == [poem]
    assert rule.window(rule.tokens(poem)) == 4
    assert rule.window(rule.tokens("what does 白日 mean here")) == 8
    (hit,) = Scanner([Item("t", "0", (poem,))], rule).scan(pa.array([["背诵 依山尽黄河 吧"]]), "s").rows
    assert (hit["coverage"], hit["longest"], hit["row_from"]) == (0.5, 5, 2)


def test_choices_and_answers_count_when_asked_for() -> None:
    """Prompt 8/8, choice 0/8, answer too short for a window: (1 + 0) / 2."""
    item = Item("t", "0", ("a b c d e f g h",), choices=("i j k l m n o p",), answers=("yes",))
    rows = [demo("a b c d e f g h"), demo("yes")]
    assert scan(rows, [item], Overlap()).findings.rows["coverage"].tolist() == [1.0]
    assert scan(rows, [item], Overlap(fields="all")).findings.rows["coverage"].tolist() == [0.5]
    alone = Item("t", "0", ("why",), answers=("yes",))
    assert scan(rows, [alone], Overlap(fields="all")).evidence == ()


def test_rules_of_the_field_from_one_scan() -> None:
    """A row with 9 of 20 tokens: any 8-gram says yes, Tülu's half no, any 13-gram no; with 13 in a row, it is 65 %."""
    letters = "a b c d e f g h i j k l m n o p q r s t"
    found = scan([demo(letters[:17]), demo(letters[:25])], [Item("t", "0", (letters,))], Overlap()).findings
    said = {rule.name: rule.of(found.rows).tolist() for rule in criteria()}
    assert said["tulu3"] == [False, True]
    assert said["any-8-gram"] == [True, True]
    assert said["any-13-gram"] == [False, True]
    assert said["longest-25"] == [False, False]
    assert found.rows["longest"].tolist() == [9, 13]


def test_arrow_of_any_shape_is_read_in_place() -> None:
    """Slices, chunks, nulls and large types hold the same rows."""
    item = Item("t", "0", ("a b c d e f g h",))
    texts = [["x"], None, ["a b c d e f g h", None], []]
    small = pa.array(texts, pa.list_(pa.string()))
    large = pa.array(texts, pa.large_list(pa.large_string()))
    chunks = pa.chunked_array([small.slice(0, 1), small.slice(1)])
    for turns in (small, large, chunks, pa.array([["a b c d e f g h"], *texts], pa.list_(pa.string())).slice(1)):
        found = Scanner([item], Overlap()).scan(turns, "s", 100)
        assert found.rows["row"].tolist() == [102]
        assert found.scanned["s"].rows == 4


def test_what_cannot_be_scanned_is_an_error() -> None:
    scanner = Scanner([Item("t", "0", ("a",))], Overlap())
    with pytest.raises(DataError, match="type string"):
        scanner.scan(pa.array(["a"]), "s")
    broken = pa.array([[b"a \xff b"]], pa.list_(pa.binary())).flatten().view(pa.string())
    with pytest.raises(DataError, match="UTF-8"):
        scanner.scan(pa.ListArray.from_arrays([0, 1], broken), "s")
    with pytest.raises(RecipeError, match="numba"):
        Scanner([], Overlap(), kernel="nimba")
    other = Scanner([Item("u", "0", ("a",))], Overlap()).scan(pa.array([["a"]]), "s")
    with pytest.raises(DataError, match="cannot be merged"):
        scanner.scan(pa.array([["a"]]), "s").merge(other)


SLOW_PAIRS = [pytest.param(name, marks=pytest.mark.slow) for name in ("gsm8k", "math", "hh_rlhf")]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("pair", ["self_instruct", *SLOW_PAIRS])
def test_real_texts_score_as_by_the_definition(pair: str, kernel: str, data_dir: Path) -> None:
    """Training and test sets as published, thinned out; the brute-force reading of the definition says the same."""
    alpaca = (data_dir / "alpaca_eval" / "baseline_gpt4_1106_preview.jsonl.gz", "instruction", 3)
    train, column, tests = {
        "gsm8k": (data_dir / "gsm8k/train.jsonl.gz", "question", (data_dir / "gsm8k/test.jsonl.gz", "question", 15)),
        "math": (data_dir / "math/train.jsonl.gz", "problem", (data_dir / "math/test.jsonl.gz", "problem", 40)),
        "self_instruct": (
            data_dir / "self_instruct/user_oriented_instructions.jsonl",
            "instruction",
            (*alpaca[:2], 1),
        ),
        "hh_rlhf": (data_dir / "hh_rlhf/helpful-base/test.jsonl.gz", "chosen", alpaca),
    }[pair]
    rows = [[str(record[column])] for _, record in read_jsonl(train)][::12]
    every = [str(record[tests[1]]) for _, record in read_jsonl(tests[0])][:: tests[2]]
    items = [Item("t", str(i), (text,)) for i, text in enumerate(every)]
    found = Scanner(items, Overlap(ngram=5), kernel=kernel).scan(pa.array(rows), "s")
    truth = by_definition(items, rows, Overlap(ngram=5))
    best: dict[tuple[int, bool], float] = {}
    for (row, _), shared in truth.items():
        best[row, shared.short] = max(shared.coverage, best.get((row, shared.short), 0.0))
    assert {(int(h["row"]), bool(h["short"])): float(h["coverage"]) for h in found.rows} == best
    assert {int(h["item"]): int(h["longest"]) for h in found.item_hits} == {
        item: max(shared.longest for (_, e), shared in truth.items() if e == item) for item in {e for _, e in truth}
    }
    assert len(best) > 0
