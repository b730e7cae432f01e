"""Rollouts of an RL run on the command line and as a page's data: filters, order, counts, and files in any state."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rl_folders import rollout, write

from burnish.cli.main import main
from burnish.cli.rollouts import steps_of
from burnish.errors import ArtifactError, RecipeError
from burnish.report.rollout_page import stretch, write_rollouts
from burnish.report.rollouts import Reply, Rollouts, Wanted, reply_of


def four(tmp_path: Path) -> Path:
    """Two steps of a group of two: right and wrong, then cut with a penalty and ungraded with a flag."""
    return write(
        tmp_path / "runs" / "rl-0123456789ab",
        [
            rollout(1, 0, 1.0, text="right", advantage=1.0),
            rollout(1, 0, 0.0, text="wrong", advantage=-1.0, tokens=9),
            rollout(2, 1, 1.0, reward=-1.0, text="cut", finish="length", tokens=20, source="words", verifier="first"),
            rollout(
                2, 1, None, text="odd\x1b[31m", source="words", verifier="first", flags={"prompt_echo": "half of it"}
            ),
        ],
    )


def show(tmp_path: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(["show", "rl", "--runs", str(tmp_path / "runs"), "--rollouts", *flags]) == 0
    return capsys.readouterr().out


def texts(tmp_path: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    found = json.loads(show(tmp_path, capsys, "--json", *flags))
    return [reply["text"].rstrip("\x1b[31m") for reply in found["replies"]]


@pytest.mark.parametrize(
    ("flags", "want"),
    [
        ((), ["right", "wrong", "cut", "odd"]),
        (("--source", "words"), ["cut", "odd"]),
        (("--verifier", "number"), ["right", "wrong"]),
        (("--step", "2"), ["cut", "odd"]),
        (("--steps", "2:"), ["cut", "odd"]),
        (("--steps", ":1"), ["right", "wrong"]),
        (("--min-reward", "0"), ["right", "wrong"]),
        (("--max-reward", "0"), ["wrong", "cut"]),
        (("--min-reward", "-1", "--max-reward", "-0.5"), ["cut"]),
        (("--flag", "prompt_echo"), ["odd"]),
        (("--finish", "length"), ["cut"]),
        (("--sort", "best"), ["right", "wrong", "cut", "odd"]),
        (("--sort", "worst"), ["cut", "wrong", "right", "odd"]),
        (("--sort", "newest"), ["cut", "odd", "right", "wrong"]),
        (("--sort", "longest"), ["cut", "wrong", "right", "odd"]),
        (("--sort", "shortest", "--limit", "2"), ["right", "odd"]),
        (("--sort", "surprising", "--limit", "1"), ["right"]),
        (("--limit", "3"), ["right", "wrong", "cut"]),
        (("--limit", "0", "--sort", "best"), ["right", "wrong", "cut", "odd"]),
        (("--source", "words", "--min-reward", "0.5"), []),
    ],
)
def test_filters_and_orders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], want: list[str]
) -> None:
    four(tmp_path)
    assert texts(tmp_path, capsys, *flags) == want


def test_the_summary_counts_all_that_fit_and_not_only_those_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rewards 1, 0 and -1 of three graded replies have the mean 0; two of the three have the full score; 39 tokens / 4 = 9.75."""
    four(tmp_path)
    first, second, *_ = show(tmp_path, capsys, "--limit", "1").splitlines()
    assert first == (
        "rl-0123456789ab: 4 replies · 1 ungraded · 1 cut (25.0%) · 1 flagged · mean reward 0.000 · 66.7% passed · 10 tokens"
    )
    assert second == "Shown: 1 of them; --limit N shows more, --page FILE.html all."
    counts = json.loads(show(tmp_path, capsys, "--limit", "1", "--json"))
    assert (counts["n"], counts["ungraded"], counts["cut"], counts["mean_tokens"], counts["unread"]) == (
        4,
        1,
        1,
        9.75,
        0,
    )


def test_a_reply_has_its_texts_and_what_it_is_worth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    four(tmp_path)
    shown = show(tmp_path, capsys, "--step", "2")
    assert (
        "step 2 · group 1 · reply 0 · words · verifier first · reward -1 · advantage +0.500 · score 1 · length · 20 tokens"
        in shown
    )
    for part in (
        "user      What is number 1?",
        "reply     cut",
        "target    1",
        "why       no number",
        "flag      prompt_echo: half of it",
    ):
        assert part in shown
    assert "\x1b" not in shown
    assert "\\x1b[31m" in shown


def test_names_that_no_reply_has_are_named_with_the_nearest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    four(tmp_path)
    command = ["show", "rl", "--runs", str(tmp_path / "runs")]
    for flags, said in (
        (
            ["--rollouts", "--verifier", "numbr"],
            "--verifier numbr: no reply of this run has it. Did you mean 'number'?",
        ),
        (["--rollouts", "--flag", "echo"], "Known: prompt_echo"),
        (["--rollouts", "--steps", "9"], "--steps 9: these are no steps"),
        (["--rollouts", "--steps", "9:3"], "--steps 9:3: these are no steps"),
        (["--rollouts", "--step", "1", "--steps", "1:2"], "give one of the two"),
        (["--rollouts", "--limit", "-1"], "--limit -1"),
        (["--source", "words"], "Add --rollouts."),
    ):
        assert main([*command, *flags]) == 2
        assert said in capsys.readouterr().err


def test_stages_without_rollouts_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path / "runs" / "sft-0123456789ab", [])
    (folder / "rollouts.jsonl").unlink()
    assert main(["show", "sft", "--runs", str(tmp_path / "runs"), "--rollouts"]) == 2
    assert "holds no rollouts" in capsys.readouterr().err


def test_a_run_that_is_going_on_shows_what_it_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reply of step 1 is in both files, as for a moment it is while the step is closed: it is shown once."""
    waiting = [rollout(step, 0, text=f"waits {step}") | {"k": step} for step in (1, 2)]
    for record in waiting:
        del record["advantage"]
    write(tmp_path / "runs" / "rl-0123456789ab.partial", [rollout(1, 0, text="learned")], running=waiting)
    assert texts(tmp_path, capsys) == ["learned", "waits 2"]
    assert "not learned yet" in show(tmp_path, capsys)


def test_files_of_older_versions_lack_fields(tmp_path: Path) -> None:
    old = rollout(1, 0, 0.5)
    del old["reward"], old["completion"]["policy_version"], old["problem"]["source"]
    (reply,) = Rollouts(write(tmp_path / "rl-1", [old]))
    assert (reply.reward, reply.version, reply.source) == (0.5, "", "")


def test_conversations_with_an_environment_show_every_turn() -> None:
    record = rollout(1, 0)
    record["completion"] |= {
        "sampled": "11011",
        "turns": [{"role": "assistant", "text": "2+2", "tokens": 2, "note": ""}, {"role": "user", "text": "4", "tokens": 1, "note": ""}],
    }  # fmt: skip
    reply = reply_of(record, 0)
    assert reply is not None
    assert reply.text == "[assistant]\n2+2\n\n[user]\n4"
    assert reply.tokens == 4


def test_steps_by_hand() -> None:
    assert steps_of(3, "") == (3, 3)
    assert steps_of(None, "") == (-float("inf"), float("inf"))
    assert steps_of(None, "2:5") == (2.0, 5.0)
    with pytest.raises(RecipeError):
        steps_of(None, "a:b")


def test_stretches_by_hand() -> None:
    """11 steps or fewer stand alone; 40 steps are 8 stretches of 5; 1,000 are 10 of 100; 110 are 11 of 10."""
    assert [stretch(1, last) for last in (1, 11, 12, 40, 110, 1000)] == [1, 1, 2, 5, 10, 100]


@given(st.integers(1, 10**6), st.integers(0, 10**6))
def test_there_are_never_many_stretches(first: int, more: int) -> None:
    width = stretch(first, first + more)
    assert ((first + more - 1) // width) - ((first - 1) // width) + 1 <= 12


def unpacked(page: Path, name: str) -> str:
    found = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', page.read_text())
    assert found
    return zlib.decompress(base64.b64decode(found[1])).decode()


def test_the_page_has_every_reply_in_its_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    four(tmp_path)
    page = tmp_path / "p.html"
    assert main(["show", "rl", "--runs", str(tmp_path / "runs"), "--page", str(page)]) == 0
    assert str(page) in capsys.readouterr().out
    index = json.loads(unpacked(page, "index"))
    assert [task["name"] for task in index["tasks"]] == ["number", "first"]
    assert index["categories"] == ["sums", "words"]
    assert (index["steps"], index["problems"]["step"]) == (["1", "2"], [0, 1])
    assert (index["problems"]["replies"], index["replies"]["sample"]) == ([2, 2], [0, 1, 0, 1])
    assert index["replies"]["score"] == [1.0, 0.0, 1.0, None]
    problems = [json.loads(line) for line in unpacked(page, "part0").split("\n")]
    assert [reply[0] for problem in problems for reply in problem[5]] == ["right", "wrong", "cut", "odd\x1b[31m"]
    assert [reply[7] for reply in problems[1][5]] == [
        "step 2 · reward -1 · advantage +0.500",
        "step 2 · advantage +0.500",
    ]
    text = page.read_text()
    assert "4 replies of steps 1 to 2" in text
    assert text.count("<b>") == 0


def test_a_page_can_be_of_some_replies(tmp_path: Path) -> None:
    page = write_rollouts(four(tmp_path), tmp_path / "p.html", Wanted(source="words"))
    assert json.loads(unpacked(page, "index"))["problems"]["replies"] == [2]
    with pytest.raises(ArtifactError, match="none fits the filters"):
        write_rollouts(tmp_path / "runs" / "rl-0123456789ab", tmp_path / "q.html", Wanted(verifier="none"))
    with pytest.raises(ArtifactError, match="no step has been learned yet"):
        write_rollouts(write(tmp_path / "rl-2", [], running=[rollout(1, 0) | {"k": 0}]), tmp_path / "q.html")


junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
fields = st.dictionaries(st.sampled_from([*rollout(1, 0), "k", "flags"]), junk, max_size=4)
insides = st.dictionaries(
    st.sampled_from(["text", "token_ids", "finish", "turns", "sampled", "prompt", "check", "source", "id"]),
    junk,
    max_size=3,
)


broken = st.tuples(st.lists(st.tuples(fields, insides), min_size=1, max_size=6), st.integers(0, 400))


def left_behind(folder: Path, how: tuple[list[tuple[dict[str, Any], dict[str, Any]]], int]) -> Path:
    """A run in which any field of any record is replaced by anything, cut anywhere, then a whole record and a torn line."""
    records = []
    for outer, inner in how[0]:
        record = rollout(1, 0)
        for part in ("completion", "problem"):
            record[part] |= {k: v for k, v in inner.items() if k in record[part] or k in ("turns", "sampled")}
        records.append(record | outer)
    raw = "".join(json.dumps(record) + "\n" for record in records).encode()
    run = folder / "rl-0123456789ab.partial"
    run.mkdir(exist_ok=True)
    whole = json.dumps(rollout(2, 0)).encode()
    (run / "rollouts.jsonl").write_bytes(raw[: max(len(raw) - how[1], 0)] + b"\n" + whole + b"\n{")
    return run


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(broken)
def test_no_file_breaks_the_views(tmp_path: Path, how: tuple[list[tuple[dict[str, Any], dict[str, Any]]], int]) -> None:
    run = left_behind(tmp_path, how)
    replies = list(Rollouts(run))
    assert all(isinstance(reply, Reply) for reply in replies)
    assert replies[-1].step == 2
    assert main(["show", str(run), "--rollouts", "--limit", "0", "--sort", "best"]) == 0
    assert main(["show", str(run), "--rollouts", "--json"]) == 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10)
@given(broken)
def test_no_file_breaks_the_page(tmp_path: Path, how: tuple[list[tuple[dict[str, Any], dict[str, Any]]], int]) -> None:
    page = write_rollouts(left_behind(tmp_path, how), tmp_path / "p.html")
    assert "It is 2." in "".join(
        unpacked(page, f"part{i}") for i in range(len(json.loads(unpacked(page, "index"))["parts"]))
    )
