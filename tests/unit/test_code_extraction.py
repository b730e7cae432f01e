"""Which program a reply gives: by hand for each rule, and for any text."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.testing.verifier_replies import HOSTILE
from burnish.verify.code.extraction import RULES, Block, answer, blocks, defines, read

PROMPT = 'def half(n):\n    """Half of n."""\n'
BODY = "    return n // 2"
WHOLE = "def half(n):\n    return n // 2"


def test_blocks_by_hand():
    text = "First:\n```python\na = 1\n```\nthen\n~~~\nb = 2\n~~~\n1. Last:\n   ```py\n   if c:\n       d\n   ```\nend"
    assert blocks(text) == [Block("python", "a = 1"), Block("", "b = 2"), Block("py", "if c:\n    d")]


def test_a_longer_fence_holds_a_shorter_one():
    assert blocks("````md\n```python\na\n```\n````\n") == [Block("md", "```python\na\n```")]


def test_a_block_that_is_never_closed_goes_to_the_end():
    assert blocks("So:\n```python\na = 1\nb = 2") == [Block("python", "a = 1\nb = 2")]
    assert blocks("So:\n```\na = 1\nb = 2") == [Block("", "a = 1\nb = 2")]


def test_a_reply_that_begins_inside_the_prompts_block():
    """The prompt opened the fence; the reply holds its code, the closing fence, and more."""
    assert blocks(f"{BODY}\n```\nThat halves it.") == [Block("", BODY)]
    assert blocks(f"{WHOLE}\n```\nUse it:\n```python\nhalf(8)\n```\n") == [Block("", WHOLE), Block("python", "half(8)")]


def test_flexible_takes_the_last_block_that_defines_the_entry():
    reply = f"```python\ndef half(n):\n    return n\n```\nBetter:\n```python\n{WHOLE}\n```\nUse it:\n```python\nprint(half(8))\n```"
    reading = read(reply, "flexible", "half")
    assert reading is not None
    assert reading.sources == (WHOLE,)


def test_flexible_takes_the_last_python_block_where_none_defines_the_entry():
    reading = read("```python\na = 1\n```\n```\nb = 2\n```\n```text\n3\n```", "flexible", "half")
    assert reading is not None
    assert reading.sources == ("b = 2",)


def test_flexible_leaves_prose_before_unfenced_code_out():
    reading = read(f"Here is the function:\n\n{WHOLE}\n\nIt divides.", "flexible", "half")
    assert reading is not None
    assert reading.trim
    assert reading.sources == (f"{WHOLE}\n\nIt divides.",)


def test_flexible_leaves_reasoning_out():
    assert answer("<think>def half(n): ...</think>\nx") == "\nx"
    assert answer("<think>never ends") == ""
    assert read("<think>\n```python\ndef half(n): pass\n```", "flexible", "half") is None


def test_behind_a_prompt_the_body_or_the_whole_function():
    whole = read(f"```python\n{WHOLE}\n```", "flexible", "half", PROMPT)
    assert whole is not None
    assert whole.sources[0] == f"{PROMPT}\n\n{WHOLE}"
    body = read(BODY, "flexible", "half", PROMPT)
    assert body is not None
    assert body.sources[0] == PROMPT + BODY
    bare = read("return n // 2", "flexible", "half", PROMPT)
    assert bare is not None
    assert bare.sources[1] == PROMPT + BODY


def test_the_other_rules_by_hand():
    reply = f"```python\na\n```\n```python\n{WHOLE}\n```"
    assert read(BODY, "tulu3", "half", PROMPT).sources == (PROMPT + BODY,)  # type: ignore[union-attr]
    assert read(reply, "first_block").sources == ("a",)  # type: ignore[union-attr]
    assert read(reply, "last_block").sources == (WHOLE,)  # type: ignore[union-attr]
    assert read("no block", "last_block") is None
    assert read(f"Sure. [BEGIN]{WHOLE}[DONE] more", "begin_done").sources == (WHOLE,)  # type: ignore[union-attr]
    assert read(f"{WHOLE}[DONE]", "begin_done").sources == (WHOLE,)  # type: ignore[union-attr]
    assert read(WHOLE, "whole").sources == (WHOLE,)  # type: ignore[union-attr]
    assert read(" \n", "whole") is None


def test_defines_reads_the_top_level_only():
    assert defines("async def f(): ...", "f")
    assert defines("x = 1\nf = lambda: 2", "f")
    assert defines("class f: ...", "f")
    assert not defines("    def f(): ...", "f")
    assert not defines("def ff(): ...", "f")
    assert not defines("f == 1", "f") or defines("f = 1", "f")
    assert not defines("def f(): ...", "")


@given(
    st.text()
    | st.lists(st.sampled_from(["```", "~~~", "python", "\n", "def f():", " ", "[BEGIN]", "<think>", "</think>"])).map(
        "".join
    )
)
def test_any_text_is_read(text: str):
    for rule in RULES:
        reading = read(text, rule, "f", PROMPT)
        assert reading is None or all(isinstance(source, str) for source in reading.sources)


@pytest.mark.parametrize("rule", RULES)
def test_long_replies_are_read_in_no_time(rule: str):
    for text in (*HOSTILE, "```\n" * 50_000, "`" * 200_000, " " * 200_000 + "```", "def f\n" * 40_000):
        begun = time.process_time()
        read(text, rule, "f", PROMPT)
        assert time.process_time() - begun < 20
