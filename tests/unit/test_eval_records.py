"""What an evaluation keeps: keys of requests and verdicts, files that survive kills, other versions and full disks."""

from __future__ import annotations

import json
import resource
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.core.fingerprint import encode
from burnish.core.types import Finish, Verdict
from burnish.errors import ArtifactError
from burnish.eval.answer import Given
from burnish.eval.ranking import Ranked
from burnish.eval.records import KeptReplies, KeptVerdicts, request_key, verdict_key
from burnish.rollout.engine import GREEDY, Sampling

ASKED = ("model", "torch", (1, 2, 3), GREEDY, 0, 0)
OTHER = [
    ("other", "torch", (1, 2, 3), GREEDY, 0, 0),
    ("model", "hf", (1, 2, 3), GREEDY, 0, 0),
    ("model", "torch", (1, 2), GREEDY, 0, 0),
    ("model", "torch", (1, 2, 4), GREEDY, 0, 0),
    ("model", "torch", "1, 2, 3", GREEDY, 0, 0),
    ("model", "torch", (1, 2, 3), replace(GREEDY, max_tokens=9), 0, 0),
    ("model", "torch", (1, 2, 3), replace(GREEDY, stop=("\n",)), 0, 0),
    ("model", "torch", (1, 2, 3), Sampling(temperature=0.1), 0, 0),
    ("model", "torch", (1, 2, 3), GREEDY, 1, 0),
    ("model", "torch", (1, 2, 3), GREEDY, 0, 1),
    ("model", "torch", (1, 2, 3), ((1,), (2,)), 0, 0),
    ("model", "torch", (1, 2, 3), ((1, 2),), 0, 0),
]


def test_everything_that_decides_a_reply_is_in_its_key():
    keys = {request_key(*asked) for asked in [ASKED, *OTHER]}
    assert len(keys) == 1 + len(OTHER)
    assert request_key(*ASKED) == request_key(*ASKED)


@given(st.lists(st.integers(0, 200_000), max_size=6), st.lists(st.integers(0, 200_000), max_size=6))
def test_prompts_have_one_key_only_if_they_are_equal(a: list[int], b: list[int]):
    keys = [request_key("m", "e", ids, GREEDY, 0, 0) for ids in (a, b)]
    assert (keys[0] == keys[1]) == (a == b)


@dataclass(frozen=True, slots=True)
class Rule:
    """Stands for a verifier."""

    strict: bool = True
    VERSION: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class LaterRule:
    """The same fields under another name."""

    strict: bool = True
    VERSION: ClassVar[int] = 2


def test_a_verdict_is_of_one_verifier_problem_and_text():
    rules = [encode(rule, identity=True) for rule in (Rule(), Rule(strict=False), LaterRule())]
    rules.append({**rules[0], "version": 2})
    keys = {verdict_key(rule, "p", "t") for rule in rules}
    keys |= {verdict_key(rules[0], "q", "t"), verdict_key(rules[0], "p", "u")}
    assert len(keys) == 6


def test_what_is_kept_comes_back(tmp_path: Path):
    """Also in another process's file at the same time, and after a line was cut short. Lone surrogates are text."""
    path = tmp_path / "replies.jsonl"
    ranked = (Ranked(" A", -1.25, 1, True), Ranked(" B", -3.5, 2, False))
    first, second = KeptReplies(path), KeptReplies(path)
    given_ones = {
        "a": Given("text \ud800", Finish.LENGTH, 3, flags=("prompt_cut",)),
        "b": Given(tokens=3, ranked=ranked),
    }
    for key, one in given_ones.items():
        first.put(key, one)
    assert {key: second.get(key) for key in "ab"} == given_ones
    first.put("", Given("not worth keeping"))
    first.put("aborted", Given(finish=Finish.ABORT, why="gone"))
    first.close()
    second.close()
    with path.open("ab") as file:
        file.write(b'{"key": "c", "te')
    again = KeptReplies(path)
    assert (again.get("a"), again.get("c"), again.get("aborted"), again.get("")) == (given_ones["a"], None, None, None)
    again.put("d", Given("after"))
    again.close()
    assert KeptReplies(path).get("d") == Given("after")


def test_ungraded_is_not_kept(tmp_path: Path):
    kept = KeptVerdicts(tmp_path / "verdicts.jsonl")
    kept.put("a", Verdict(None, "judge down"))
    kept.put("b", Verdict(0.5, "half", ("flag",)))
    assert (kept.get("a"), kept.get("b")) == (None, Verdict(0.5, "half", ("flag",)))
    kept.close()


def test_a_file_of_another_version_is_refused(tmp_path: Path):
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"key": "format", "format": 99}) + "\n")
    with pytest.raises(ArtifactError, match=r"another version of burnish \(format 99, this one reads 1\).*\n.*--out"):
        KeptReplies(path)


def test_a_full_disk_is_said_and_loses_nothing(tmp_path: Path):
    """A limit on the size of files stands for the disk: the write fails in the same place."""
    path = tmp_path / "replies.jsonl"
    kept = KeptReplies(path)
    kept.put("a", Given("kept"))
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
        with pytest.raises(ArtifactError, match="is full; nothing finished was lost"):
            kept.put("b", Given("x" * 100))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    kept.put("c", Given("later"))
    kept.close()
    again = KeptReplies(path)
    assert (again.get("a"), again.get("b"), again.get("c")) == (Given("kept"), None, Given("later"))
    again.close()
