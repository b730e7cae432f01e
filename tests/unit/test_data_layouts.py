"""Layouts: what each reads, why a record is no row, how a file's layout is told, and the examples in the documentation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from burnish.core.types import Check, Demo, Message, Pair, Problem, Rated, Row, user
from burnish.data.layouts import LAYOUTS, detect, known_columns
from burnish.errors import DataError

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "layouts.md"
SYSTEM = {"role": "system", "content": "s"}
ASKED = {"role": "user", "content": "q"}
SAID = {"role": "assistant", "content": "a"}
OTHER = {"role": "assistant", "content": "b"}
TALK = (Message("user", "q"), Message("assistant", "a"))
LONG = (Message("system", "s"), *TALK, Message("user", "q2"))


def said(who: str, what: str) -> dict[str, str]:
    return {"from": who, "value": what}


def rated(response: str, score: Any = None, *ratings: str) -> dict[str, Any]:
    aspects = {f"aspect {i}": {"Rating": rating} for i, rating in enumerate(ratings)}
    return {"response": response, "overall_score": score, "annotations": aspects}


READ: list[tuple[str, dict[str, Any], Row]] = [
    ("messages", {"messages": [ASKED, SAID], "id": 3}, Demo(TALK)),
    ("messages", {"messages": [SYSTEM, ASKED, SAID]}, Demo((LONG[0], *TALK))),
    ("messages", {"messages": [{"role": "system", "content": " "}, ASKED, SAID]}, Demo(TALK)),
    ("messages", {"messages": [{"role": "developer", "content": "s"}, ASKED, SAID], "tools": []}, Demo((LONG[0], *TALK))),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "2"}]}, SAID]},
        Demo((Message("user", "q2"), TALK[1])),
    ),
    ("messages", {"messages": json.dumps([ASKED, SAID])}, Demo(TALK)),
    ("sharegpt", {"conversations": [said("human", "q"), said("gpt", "a")]}, Demo(TALK)),
    ("sharegpt", {"conversation": [said("Human", "q"), said("ChatGPT", "a")], "system": "s"}, Demo((LONG[0], *TALK))),
    ("sharegpt", {"conversations": [said("system", "s"), said("user", "q"), said("bot", "a")]}, Demo((LONG[0], *TALK))),
    ("alpaca", {"instruction": "q", "input": "x", "output": "a"}, Demo((Message("user", "q\n\nx"), TALK[1]))),
    ("alpaca", {"instruction": "q", "input": None, "response": "a"}, Demo(TALK)),
    ("alpaca", {"instruction": "", "input": "q", "output": "a"}, Demo(TALK)),
    (
        "alpaca",
        {"instruction": "q2", "output": "a2", "system": "s", "history": [["q", "a"]]},
        Demo((*LONG, Message("assistant", "a2"))),
    ),
    ("prompt-completion", {"prompt": "q", "completion": "a"}, Demo(TALK)),
    ("prompt-completion", {"prompt": [ASKED], "completion": [SAID]}, Demo(TALK)),
    ("prompt-completion", {"question": "q", "response": "a"}, Demo(TALK)),
    ("self-instruct", {"instruction": "q", "instances": [{"input": "", "output": "a"}]}, Demo(TALK)),
    (
        "flan-cot",
        {"question": "q ", "rationale": "r", "answer": "a."},
        Demo((TALK[0], Message("assistant", "r\nThe answer is a."))),
    ),
    ("preference", {"prompt": "q", "chosen": "a", "rejected": "b"}, Pair(user("q"), "a", "b")),
    ("preference", {"prompt": [SYSTEM, ASKED], "chosen": [SAID], "rejected": [OTHER]}, Pair((LONG[0], TALK[0]), "a", "b")),
    ("tulu-preference", {"prompt": "q", "chosen": [ASKED, SAID], "rejected": [ASKED, OTHER]}, Pair(user("q"), "a", "b")),
    ("tulu-preference", {"prompt": "q", "chosen": [ASKED, SAID], "rejected": [OTHER]}, Pair(user("q"), "a", "b")),
    (
        "tulu-preference",
        {"prompt": "q2", "chosen": [SYSTEM, ASKED, SAID, {"role": "user", "content": "q2"}, SAID],
         "rejected": [SYSTEM, ASKED, SAID, {"role": "user", "content": "q2"}, OTHER]},
        Pair(LONG, "a", "b"),
    ),
    (
        "ultrafeedback-binarized",
        {"prompt": "q", "chosen": [ASKED, SAID], "rejected": [ASKED, OTHER], "score_chosen": 8, "score_rejected": "7.5", "messages": []},
        Pair(user("q"), "a", "b"),
    ),
    (
        "ultrafeedback",
        {"instruction": "q", "completions": [rated("none"), rated("b", None, "2", "N/A", "3"), rated("a", 4.5)]},
        Pair(user("q"), "a", "b"),
    ),
    (
        "sharegpt-preference",
        {"conversations": [said("human", "q")], "chosen": said("gpt", "a"), "rejected": said("gpt", "b")},
        Pair(user("q"), "a", "b"),
    ),
    ("implicit-preference", {"chosen": [ASKED, SAID], "rejected": [ASKED, OTHER]}, Pair(user("q"), "a", "b")),
    (
        "hh-rlhf",
        {"chosen": "\n\nHuman: q\n\nAssistant: a\n\nHuman: q2\n\nAssistant:  a\n", "rejected": "\n\nHuman: q\n\nAssistant: a\n\nHuman: q2\n\nAssistant: b"},
        Pair(LONG[1:], " a\n", "b"),
    ),
    ("kto", {"prompt": "q", "completion": "a", "label": True}, Rated(user("q"), "a", True)),
    ("kto", {"prompt": [ASKED], "completion": [SAID], "label": "False"}, Rated(user("q"), "a", False)),
    ("kto-messages", {"messages": [ASKED, SAID], "label": 0}, Rated(user("q"), "a", False)),
    ("gsm8k", {"question": "q", "answer": "1 + 1\n#### 2"}, Problem(user("q"), Check("gsm8k", "2"), "1 + 1\n#### 2")),
    ("problem", {"prompt": "q", "answer": "5"}, Problem(user("q"), Check("v", "5"))),
    ("problem", {"problem": "q", "answer": 5.5, "solution": None, "type": "c"}, Problem(user("q"), Check("v", "5.5"), "", "c")),
    (
        "problem-messages",
        {"messages": [ASKED], "answer": 5, "solution": "s", "category": "c"},
        Problem(user("q"), Check("v", "5"), "s", "c"),
    ),
    (
        "tulu-rlvr",
        {"messages": [ASKED], "ground_truth": "72", "dataset": "gsm8k"},
        Problem(user("q"), Check("gsm8k", "72"), category="gsm8k"),
    ),
    (
        "tulu-rlvr",
        {"messages": [ASKED], "ground_truth": ["x^2"], "dataset": "MATH", "constraint_type": None},
        Problem(user("q"), Check("math", "x^2"), category="MATH"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "record", "row"), READ)
def test_layouts_are_told_and_read(layout: str, record: dict[str, Any], row: Row) -> None:
    found = detect([record], {})
    assert found.layout.name == layout
    read = found.layout.graded("v" if found.layout.needs_verifier else "").row(record)
    assert read == row
    assert found.layout.kind == type(row).__name__.lower()


def test_every_layout_is_read_above() -> None:
    assert {name for name, _, _ in READ} == set(LAYOUTS)


def talk(*roles: str) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": role} for role in roles]}


BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("messages", {}, "field 'messages': missing; the file is read as layout 'messages'."),
    ("messages", {"messages": "x"}, "field 'messages': expected a list of turns, got 'x'."),
    ("messages", {"messages": "[x"}, "field 'messages': expected a list of turns, got text that is not JSON."),
    ("messages", {"messages": []}, "field 'messages': expected a list of turns, got a list of nothing."),
    ("messages", {"messages": [3]}, "field 'messages'[0]: expected a turn with role and content, got 3."),
    ("messages", talk("user", "robot"), "field 'messages'[1].role: expected system, user or assistant, got 'robot'."),
    ("messages", talk("user"), "field 'messages': no assistant turn, so there is no reply to learn."),
    ("messages", talk("user", "user", "assistant"), "field 'messages': two user turns in a row."),
    ("messages", talk("user", "assistant", "assistant"), "field 'messages': two assistant turns in a row."),
    ("messages", talk("assistant", "user", "assistant"), "field 'messages': begins with the assistant."),
    ("messages", talk("user", "system", "assistant"), "field 'messages': a system turn after the first turn."),
    ("messages", talk("user", "assistant", "user"), "field 'messages': the last turn must be the assistant's."),
    ("messages", {"messages": [ASKED, {"role": "assistant", "content": " \n"}]}, "field 'messages': an empty assistant turn."),
    ("messages", {"messages": [ASKED, {"role": "assistant", "content": None}]}, "field 'messages'[1].content: expected text, got None."),
    ("messages", {"messages": [ASKED, {"role": "assistant", "content": "\ud800"}]}, "half of a surrogate pair at character 0"),
    ("messages", talk("user", "tool", "assistant"), "field 'messages'[1]: a tool call or its result"),
    ("messages", {"messages": [ASKED, {**SAID, "tool_calls": [{"id": 1}]}]}, "field 'messages'[1]: a tool call or its result"),
    ("messages", {"messages": [ASKED, {**SAID, "weight": 0}]}, "field 'messages': every assistant turn is marked as not to be learned."),
    ("messages", {"messages": [ASKED, {**SAID, "weight": 0.5}]}, "field 'messages'[1].weight: expected 0 or 1; weights of whole rows go beside the turns, got 0.5."),
    ("messages", {"messages": [ASKED, {**SAID, "train": "no"}]}, "field 'messages'[1].train: expected true or false, got 'no'."),
    ("messages", {"messages": [ASKED, SAID], "weight": -1}, "field 'weight': expected a number from 0 up, got -1."),
    ("kto-messages", {"messages": [ASKED, {**SAID, "weight": 0}], "label": True}, "field 'messages'[1].weight: marked as not to be learned, which only a demonstration can say."),
    ("messages", {"messages": [ASKED, SAID], "tools": [{"name": "f"}]}, "field 'tools': the reply may depend on tools"),
    (
        "messages",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, SAID]},
        "field 'messages'[0].content[0]: expected a part of type 'text', got 'image_url'.",
    ),
    ("sharegpt", {"conversations": [said("human", "q"), said("observation", "a")]}, "field 'conversations'[1]: a tool call"),
    ("sharegpt", {"conversations": [said("alien", "q")]}, "field 'conversations'[0].from: expected system, user or assistant, got 'alien'."),
    ("alpaca", {"instruction": "q", "output": " "}, "field 'output': empty."),
    ("alpaca", {"instruction": "q", "response": 3}, "field 'response': expected text, got 3."),
    ("alpaca", {"instruction": " ", "output": "a"}, "field 'instruction': empty."),
    ("alpaca", {"instruction": "q", "output": "a", "history": [["x"]]}, "field 'history'[0]: expected [instruction, output]."),
    ("prompt-completion", {"prompt": [ASKED], "completion": [ASKED, SAID]}, "field 'completion': expected the assistant's turn alone, got 2 turns."),
    ("prompt-completion", {"prompt": [ASKED, SAID], "completion": "a"}, "field 'prompt': the last turn must be the user's."),
    ("self-instruct", {"instruction": "q", "instances": []}, "field 'instances': expected a list of one {input, output}."),
    ("preference", {"prompt": "q", "chosen": "a", "rejected": "a"}, "chosen and rejected are the same text, so nothing is preferred."),
    ("preference", {"prompt": "q", "chosen": "a", "rejected": 3}, "field 'rejected': expected a list of turns, got 3."),
    ("preference", {"prompt": "q", "chosen": [ASKED], "rejected": "a"}, "field 'chosen': the last turn must be the assistant's."),
    ("preference", {"prompt": [ASKED], "chosen": [SAID, ASKED, SAID], "rejected": "b"}, "fields 'chosen' and 'rejected': both must continue the same prompt."),
    ("tulu-preference", {"prompt": "other", "chosen": [ASKED, SAID], "rejected": [OTHER]}, "both must continue the same prompt."),
    ("implicit-preference", {"chosen": [ASKED, SAID], "rejected": [OTHER, OTHER]}, "both must continue the same prompt."),
    ("implicit-preference", {"chosen": [SAID], "rejected": [OTHER]}, "both must continue the same prompt."),
    ("hh-rlhf", {"chosen": "Human: q", "rejected": "x"}, "field 'chosen': expected a dialogue that begins with"),
    (
        "hh-rlhf",
        {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: r\n\nAssistant: b"},
        "fields 'chosen' and 'rejected': both must continue the same prompt.",
    ),
    ("ultrafeedback", {"instruction": "q", "completions": [rated("a", 4), rated("b", 4)]}, "all completions have the same score"),
    ("ultrafeedback", {"instruction": "q", "completions": [rated("a"), {"response": "b"}]}, "no completion has a score."),
    ("ultrafeedback", {"instruction": "q", "completions": [rated("a", "high")]}, "overall_score: expected a number, got 'high'."),
    (
        "ultrafeedback-binarized",
        {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 5.0, "score_rejected": 5.0},
        "score_chosen is not above score_rejected, so nothing is preferred.",
    ),
    ("kto", {"prompt": "q", "completion": "a", "label": "good"}, "field 'label': expected true or false, got 'good'."),
    ("gsm8k", {"question": "q", "answer": "2"}, "field 'answer': expected '#### number' at its end."),
    ("problem", {"prompt": "q", "answer": None}, "field 'answer': expected text, got None."),
    ("problem", {"prompt": "q", "answer": float("nan")}, "field 'answer': expected text or a number, got nan."),
    ("problem", {"prompt": "q", "answer": True}, "field 'answer': expected text, got True."),
    ("tulu-rlvr", {"messages": [ASKED], "ground_truth": "1", "dataset": "chess"}, "field 'dataset': no verifier is known for 'chess'."),
    ("tulu-rlvr", {"messages": [ASKED], "ground_truth": "1", "dataset": "ifeval"}, "ground_truth: expected JSON with func_name"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "record", "reason"), BROKEN)
def test_records_that_are_no_rows(layout: str, record: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError) as caught:
        LAYOUTS[layout].graded("v").row(record)
    assert reason in str(caught.value)


def test_the_files_own_spelling_is_in_the_message() -> None:
    layout = LAYOUTS["problem"].renamed({"prompt": "ask", "answer": "target"}).graded("v")
    assert layout.row({"ask": "q", "target": "5"}) == Problem(user("q"), Check("v", "5"))
    with pytest.raises(DataError, match=r"field 'target': empty\."):
        layout.row({"ask": "q", "target": ""})


def test_annotations_keep_where_a_record_came_from() -> None:
    row = LAYOUTS["messages"].row({"messages": [ASKED, SAID], "source": "wild", "id": 7})
    assert row.annotations == {"origin": "wild", "key": 7}
    row = LAYOUTS["ultrafeedback"].row(
        {"instruction": "q", "completions": [rated("a", 4), rated("b", 3)], "source": "x"}
    )
    assert row.annotations == {"origin": "x", "score_chosen": 4.0, "score_rejected": 3.0}


def test_the_worse_completion_is_drawn_by_the_instruction_alone() -> None:
    many = [rated("a", 9), *(rated(f"b{i}", i) for i in range(5))]
    drawn = [LAYOUTS["ultrafeedback"].row({"instruction": f"q{n}", "completions": many}) for n in range(40)]
    assert {row.rejected for row in drawn if isinstance(row, Pair)} == {f"b{i}" for i in range(5)}
    again = LAYOUTS["ultrafeedback"].row({"instruction": "q0", "completions": many})
    assert again == drawn[0]


def test_two_that_fit_are_decided_by_the_order_and_said() -> None:
    found = detect([{"messages": [ASKED, SAID], "label": True}], {})
    assert found.layout.name == "kto-messages"
    assert found.why == (
        "messages, label in 1 of the first 1 records; messages would fit too and come later in the order of layouts"
    )


def test_another_form_of_the_same_columns_does_not_fit() -> None:
    text = "\n\nHuman: q\n\nAssistant: a"
    assert "would fit too" not in detect([{"chosen": text, "rejected": text}], {}).why


def test_most_records_decide_so_that_one_bad_record_does_not() -> None:
    good = {"messages": [ASKED], "ground_truth": "1", "dataset": "gsm8k"}
    found = detect([{"messages": [ASKED]}, *[good] * 10, {}], {})
    assert found.layout.name == "tulu-rlvr"
    assert found.why.startswith("messages, ground_truth, dataset in 10 of the first 12 records")
    assert detect([good, *[{"messages": [ASKED, SAID]}] * 5], {}).layout.name == "messages"


@pytest.mark.parametrize(
    ("record", "columns", "message"),
    [
        ({"mesages": [], "id": 1}, {}, "Nearest is 'messages', which needs messages too.\n  Say what the file calls it: columns={'messages': 'mesages'} in a recipe, --columns messages=mesages as a flag."),
        ({"question": "q", "respons": "a"}, {}, "columns={'completion': 'respons'}"),
        ({"question": "q", "answer": None}, {}, "they fit layout 'gsm8k', but their values are of another form or null"),
        ({"question": "q"}, {"prompt": "queston"}, "names 'queston', which the file does not have. Did you mean 'question'?"),
        ({}, {}, "has the columns none; no known layout fits."),
    ],
)  # fmt: skip
def test_no_layout_fits(record: dict[str, Any], columns: dict[str, str], message: str) -> None:
    with pytest.raises(DataError) as caught:
        detect([record], columns)
    assert message in str(caught.value)


def test_columns_that_can_be_renamed() -> None:
    assert {"prompt", "messages", "score_chosen", "history"} <= set(known_columns())


def test_the_examples_of_the_page_are_read_as_they_say() -> None:
    """Every layout has a line in the table with its columns and kind, and an example that is told and read as that layout."""
    text = PAGE.read_text()
    examples = dict(re.findall(r"^### ([\w-]+)$.*?^```json\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    table = re.findall(r"^\| `([\w-]+)` \| (.*?) \| (.*?) \| (\w+) \|$", text.replace("| | ", "|  | "), re.MULTILINE)
    assert [name for name, *_ in table] == list(examples) == list(LAYOUTS)
    for name, columns, optional, kind in table:
        layout = LAYOUTS[name]
        spelled = {*layout.columns, *(other for column in layout.columns for other in layout.also.get(column, ()))}
        assert set(re.findall(r"`(\w+)`", columns)) == spelled
        assert tuple(re.findall(r"`(\w+)`", optional)) == layout.optional
        record = json.loads(examples[name])
        found = detect([record], {})
        assert found.layout.name == name
        assert type(found.layout.graded("v").row(record)).__name__ == kind
