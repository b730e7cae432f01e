"""Batches over real HTTP on the loopback: what is sent and kept, kills at every step, partial results, garbage, budget, secrets."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judge_server import JudgeServer, Say, asked, completion, serving

from burnish.cli.main import main
from burnish.core.fingerprint import decode, encode, fingerprint
from burnish.core.types import Check, Problem, Verdict, user
from burnish.errors import RecipeError
from burnish.rollout.api_batch import Batches
from burnish.rollout.api_engine import Endpoint
from burnish.rollout.api_ledger import Budget, Price
from burnish.verify.apart import grade_all
from burnish.verify.judge import Rubric
from burnish.verify.judge.ask import Question

SECRET = "sk-test-0123456789abcdef"
FAST = Batches(poll_s=0.02)


def q(text: str, **more: Any) -> Question:
    return Question(user(text), **{"max_tokens": 20, **more})


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving(lambda body: f"echo {asked(body)}") as running:
        yield running


def endpoint(server: JudgeServer, folder: Path, **more: Any) -> Endpoint:
    given = {"timeout_s": 5.0, "patience_s": 20.0, "batch": FAST, "folder": str(folder), **more}
    return Endpoint(server.url, "judge", **given)


def starts(server: JudgeServer) -> int:
    return len(server.shop.batches)


def events(folder: Path, name: str = "batches") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{name}.jsonl").read_text().splitlines()]


def test_a_batch_by_hand(server: JudgeServer, tmp_path: Path) -> None:
    """10 prompt and 5 reply tokens at 3 and 6 a million, half in a batch: 0.5 * (10 * 3e-6 + 5 * 6e-6) = 0.00003 a question."""
    there = endpoint(server, tmp_path, price=Price(3.0, 6.0))
    answers = there.answers([q("a"), q("b"), q("a"), q("\u2028c")])
    assert [answer.text for answer in answers] == ["echo a", "echo b", "echo a", "echo \u2028c"]
    assert server.seen == [], "nothing is asked alone"
    (sent,) = server.shop.sent
    lines = [json.loads(line) for line in sent.split(b"\n")[:-1]]
    assert [asked(line["body"]) for line in lines] == ["a", "b", "\u2028c"]
    assert {(line["method"], line["url"]) for line in lines} == {("POST", "/v1/chat/completions")}
    kept = events(tmp_path, "replies")
    assert {line["custom_id"] for line in lines} == {line["key"] for line in kept}
    assert all(len(line["custom_id"]) == 64 for line in lines), "OpenAI takes no longer name"
    (batch,) = server.shop.batches.values()
    assert (batch["endpoint"], batch["completion_window"]) == ("/v1/chat/completions", "24h")
    spent = there.spent()
    assert (spent.requests, spent.tokens, spent.open) == (3, 45, 0)
    assert spent.money == pytest.approx(0.00009)
    assert [line["event"] for line in events(tmp_path)] == ["planned", "uploaded", "started", "ended"]
    before = list(server.shop.seen)
    assert there.answers([q("b")])[0].text == "echo b"
    assert replace(there, timeout_s=4.0).answers([q("a")])[0].text == "echo a"
    assert replace(there, batch=None).answers([q("a")])[0].text == "echo a", "one cache for both ways"
    assert server.shop.seen == before
    assert server.seen == []


def test_each_batch_has_one_path_and_keeps_the_limits(server: JudgeServer, tmp_path: Path) -> None:
    there = endpoint(server, tmp_path, batch=replace(FAST, requests=3, at_once=2))
    questions = [*(q(str(i)) for i in range(7)), Question("raw", 9)]
    assert [answer.text for answer in there.answers(questions)] == [*(f"echo {i}" for i in range(7)), "echo raw"]
    sizes = [(batch["endpoint"], batch["request_counts"]["total"]) for batch in server.shop.batches.values()]
    chat = "/v1/chat/completions"
    assert sorted(sizes) == [(chat, 1), (chat, 3), (chat, 3), ("/v1/completions", 1)]
    small = endpoint(server, tmp_path / "small", batch=replace(FAST, megabytes=0.001))
    answers = small.answers([q("x" * 300), q("y" * 300), q("z" * 300), q("w" * 900)])
    assert [answer.text is None for answer in answers] == [False, False, False, True]
    assert "megabytes" in answers[3].why
    assert not answers[3].down
    assert all(len(sent) <= 1000 for sent in server.shop.sent[4:])
    assert len(server.shop.sent) == 7, "three lines of some 510 bytes are three batches"


def test_equal_questions_and_the_first_tokens(server: JudgeServer, tmp_path: Path) -> None:
    def rule(body: dict[str, Any]) -> dict[str, Any]:
        said = completion("A")
        said["choices"][0]["logprobs"] = {"content": [{"top_logprobs": [{"token": "A", "logprob": -0.5}]}]}
        return said

    server.rule = rule
    for _ in range(2):
        (answer,) = endpoint(server, tmp_path).answers([q("which?", options=("A", "B"))])
        assert answer.logprobs == (-0.5, None)


CHILD = (
    "import sys; from burnish.core.types import user; from burnish.rollout.api_engine import Endpoint\n"
    "from burnish.rollout.api_batch import Batches; from burnish.verify.judge.ask import Question\n"
    "there = Endpoint(sys.argv[1], 'judge', folder=sys.argv[2], batch=Batches(poll_s=0.02))\n"
    "there.answers([Question(user(str(i)), 20) for i in range(6)])\n"
)
SIX = [q(str(i)) for i in range(6)]


def killed_when(server: JudgeServer, folder: Path, when: Callable[[], bool]) -> None:
    """A process that asks the six questions and is killed as soon as `when`."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, server.url, str(folder)], stderr=subprocess.DEVNULL)
    while not when() and child.poll() is None:
        time.sleep(0.005)
    assert child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()


@pytest.mark.parametrize("step", ["upload", "start", "start-unseen", "poll", "read"])
def test_a_kill_at_any_step_pays_nothing_twice(server: JudgeServer, tmp_path: Path, step: str) -> None:
    what, after = {
        "upload": ("POST files", False),
        "start": ("POST batches", False),
        "start-unseen": ("POST batches", True),
        "poll": ("GET batches/batch_0", False),
        "read": ("GET files/.*", False),
    }[step]
    server.shop.script = [(what, Say(hang_s=2.0, after=after))]
    killed_when(server, tmp_path, lambda: not server.shop.script and (step != "start-unseen" or starts(server) == 1))
    started = starts(server)
    answers = endpoint(server, tmp_path).answers(SIX)
    assert [answer.text for answer in answers] == [f"echo {i}" for i in range(6)]
    assert starts(server) == 1, "one batch is paid, whoever started it"
    assert started == (step not in ("upload", "start"))
    spent = endpoint(server, tmp_path).spent()
    assert spent.tokens == 6 * 15
    assert spent.open == 0, "what a killed process reserved is given back or used"


def test_a_batch_of_other_requests_is_left_alone_and_a_common_question_waits_for_it(
    server: JudgeServer, tmp_path: Path
) -> None:
    server.shop.looks = 10**9
    killed_when(server, tmp_path, lambda: starts(server) == 1 and len(events(tmp_path)) == 3)
    (batch,) = server.shop.batches.values()
    server.shop.looks = 1
    seen = len(server.shop.seen)
    assert endpoint(server, tmp_path).answers([q("other")])[0].text == "echo other"
    assert not [each for each in server.shop.seen[seen:] if "batch_0" in each]
    answers = endpoint(server, tmp_path).answers([q("3"), q("new")])
    assert [answer.text for answer in answers] == ["echo 3", "echo new"]
    assert batch["status"] == "completed"
    assert [len(lines) for lines in server.shop.lines.values()] == [6, 1, 1]
    before = list(server.shop.seen)
    assert [a.text for a in endpoint(server, tmp_path).answers(SIX)] == [f"echo {i}" for i in range(6)]
    assert server.shop.seen == before, "all that a batch gave is kept, asked for or not"


def test_two_processes_with_the_same_questions_share_a_batch(server: JudgeServer, tmp_path: Path) -> None:
    server.shop.looks = 20
    words = [sys.executable, "-W", "error", "-c", CHILD + "print('done')", server.url, str(tmp_path)]
    pair = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    assert [child.communicate(timeout=60)[0] for child in pair] == ["done\n", "done\n"]
    assert starts(server) == 1
    assert endpoint(server, tmp_path).spent().tokens == 6 * 15


def test_what_an_expired_batch_did_not_reach_is_asked_again(server: JudgeServer, tmp_path: Path) -> None:
    server.shop.end, server.shop.only = "expired", 4
    answers = endpoint(server, tmp_path).answers(SIX)
    assert [answer.text for answer in answers] == [f"echo {i}" for i in range(6)]
    assert [len(lines) for lines in server.shop.lines.values()] == [6, 2]
    once = endpoint(server, tmp_path / "once", batch=replace(FAST, tries=1))
    answers = once.answers(SIX)
    assert [answer.text is None for answer in answers] == [False] * 4 + [True] * 2
    assert answers[5].down
    assert "given up after 1 batch." in answers[5].why
    assert once.spent().tokens == 4 * 15


def test_a_cancelled_batch_keeps_what_it_had_and_is_not_started_again_at_once(
    server: JudgeServer, tmp_path: Path
) -> None:
    server.shop.end, server.shop.only = "cancelled", 4
    answers = endpoint(server, tmp_path).answers(SIX)
    assert [answer.text is None for answer in answers] == [False] * 4 + [True] * 2
    assert answers[4].down
    assert starts(server) == 1
    server.shop.end, server.shop.only = "completed", None
    assert endpoint(server, tmp_path).answers(SIX)[4].text == "echo 4"
    assert [len(lines) for lines in server.shop.lines.values()] == [6, 2]


def test_lines_that_fail(server: JudgeServer, tmp_path: Path) -> None:
    broken = {"flaky"}

    def rule(body: dict[str, Any]) -> str | dict[str, Any]:
        text = asked(body)
        if text == "long":
            return {"status": 400, "error": {"message": "context length exceeded"}}
        if text == "filtered":
            return completion("", "content_filter")
        if text in broken:
            broken.remove(text)
            return {"status": 500, "error": {"message": "oops"}}
        return {"status": 500} if text == "dead" else f"echo {text}"

    server.rule = rule
    there = endpoint(server, tmp_path)
    fine, long, filtered, flaky, dead = there.answers([q(t) for t in ("fine", "long", "filtered", "flaky", "dead")])
    assert (fine.text, flaky.text) == ("echo fine", "echo flaky")
    assert "context length exceeded" in long.why
    assert not long.down
    assert "content filter" in filtered.why
    assert dead.down
    assert "given up after 2 batches" in dead.why
    assert [len(lines) for lines in server.shop.lines.values()] == [5, 2]


def test_broken_lines_of_results_cost_their_own_question_only(server: JudgeServer, tmp_path: Path) -> None:
    def spoilt(lines: list[bytes]) -> list[bytes]:
        server.shop.file_lines = lambda good: good
        other = json.loads(lines[0]) | {"custom_id": "f" * 64}
        return [lines[0], b'{"custom_id": "cut', b"[" * 100_000, b"[]", b"", json.dumps(other).encode(), *lines[2:]]

    server.shop.file_lines = spoilt
    answers = endpoint(server, tmp_path).answers(SIX)
    assert [answer.text for answer in answers] == [f"echo {i}" for i in range(6)]
    assert [len(lines) for lines in server.shop.lines.values()] == [6, 1]
    assert len(events(tmp_path, "replies")) == 6


def test_a_batch_that_is_not_accepted_as_a_whole(server: JudgeServer, tmp_path: Path) -> None:
    server.shop.end = "failed"
    body = {"id": "batch_0", "status": "failed", "errors": {"data": [
        {"code": "token_limit_exceeded", "message": "Enqueued token limit reached", "line": None}
    ]}}  # fmt: skip
    server.shop.script = [("GET batches/batch_0", Say(body=body))]
    there = endpoint(server, tmp_path)
    answer = there.answers([q("a")])[0]
    assert answer.down
    assert "Enqueued token limit reached (token_limit_exceeded)" in answer.why
    assert "at_once=1" in answer.why
    assert (there.spent().tokens, there.spent().open) == (0, 0)


STEPS = ["POST files", "POST batches", "GET batches/batch_0", "GET files/.*"]
FAILURES = [
    Say(500, {"error": {"message": "oops"}}),
    Say(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.1"}),
    Say(200, raw=b"<html>hello</html>"),
    Say(200, body={"object": "odd", "id": 7}),
    Say(200, body={"id": "half"}, broken=True),
    Say(503, raw=b""),
]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_fails_is_repeated_and_a_batch_is_started_once(
    server: JudgeServer, tmp_path: Path, step: str
) -> None:
    for number, failure in enumerate(FAILURES):
        server.shop.script = [(step.replace("batch_0", f"batch_{number}"), failure)]
        answers = endpoint(server, tmp_path).answers([q(f"{number} {i}") for i in range(3)])
        assert [answer.text for answer in answers] == [f"echo {number} {i}" for i in range(3)], failure
        assert not server.shop.script
        assert starts(server) == number + 1


def test_a_start_whose_answer_is_lost_is_found_and_not_repeated(server: JudgeServer, tmp_path: Path) -> None:
    for _ in range(3):
        server.shop.batches[f"older-{_}"] = {"id": f"older-{_}", "status": "completed", "input_file_id": "x"}
    server.shop.script = [("POST batches", Say(502, {}, after=True))]
    assert endpoint(server, tmp_path).answers([q("a")])[0].text == "echo a"
    assert starts(server) == 4
    server.shop.script = [("POST batches", Say(502, {}, after=True)), *[("GET batches", Say(400, {}))] * 1]
    lost = endpoint(server, tmp_path).answers([q("b")])[0]
    assert lost.text is None
    assert "cannot be told" in lost.why
    assert endpoint(server, tmp_path, timeout_s=4.0).answers([q("b")])[0].text == "echo b"
    assert starts(server) == 5


def test_an_endpoint_that_goes_away_leaves_the_batch_to_the_next_call(server: JudgeServer, tmp_path: Path) -> None:
    server.shop.script = [("GET batches/batch_0", Say(503, {}, {"Retry-After": "7200"}))]
    answer = endpoint(server, tmp_path).answers([q("a")])[0]
    assert answer.down
    assert "7,200 s" in answer.why
    assert "batch_0 is not lost" in answer.why
    assert endpoint(server, tmp_path).answers([q("a")])[0].text == "echo a"
    assert starts(server) == 1


def test_errors_that_name_the_fix(server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", SECRET)
    there = endpoint(server, tmp_path, key="THE_KEY")
    there.check()

    def why(step: str, say: Say, folder: str) -> str:
        server.shop.script = [(step, say)]
        answer = replace(there, folder=str(tmp_path / folder)).answers([q("a")])[0]
        assert answer.down
        return answer.why

    assert "Set THE_KEY to a valid key" in why("POST files", Say(401, {"error": {"message": f"not {SECRET}"}}), "a")
    assert "no credit left" in why("POST batches", Say(429, {"error": {"code": "insufficient_quota"}}), "b")
    assert "Batches(megabytes" in why("POST files", Say(413, {"error": {"message": "too large"}}), "c")
    assert "does not start a batch" in why("POST batches", Say(400, {"error": {"message": "no such window"}}), "d")
    assert "batches.jsonl" in why("GET batches/batch_0", Say(404, {}), "e")
    assert replace(there, folder=str(tmp_path / "d")).spent().open == 0, "nothing is held for a batch that was refused"
    server.shop.here = False
    (answer,) = replace(there, folder=str(tmp_path / "f")).answers([q("a")])
    assert "no batch API (HTTP 404)" in answer.why
    assert "--batch" in answer.why
    with pytest.raises(RecipeError, match="no batch API"):
        there.check()
    replace(there, batch=None).check()


def test_the_server_says_when_to_look_again(server: JudgeServer, tmp_path: Path) -> None:
    state = {"id": "batch_0", "status": "in_progress", "request_counts": {"total": "odd", "completed": None}}
    server.shop.script = [("GET batches/batch_0", Say(200, state, {"Retry-After": "0.5"}))]
    began = time.monotonic()
    assert endpoint(server, tmp_path).answers([q("a")])[0].text == "echo a"
    assert time.monotonic() - began >= 0.5


def test_a_budget_is_kept_before_anything_is_started(server: JudgeServer, tmp_path: Path) -> None:
    """A question may use some 130 tokens and uses 15: of 1,000 tokens some 7 fit at first, and more when those are done."""
    tight = endpoint(server, tmp_path, budget=Budget(tokens=1000))
    answers = tight.answers([q(f"question {i:03}") for i in range(100)])
    done = [answer for answer in answers if answer.text is not None]
    sizes = [len(lines) for lines in server.shop.lines.values()]
    assert sum(sizes) == len(done)
    assert 3 <= sizes[0] <= 9
    assert 50 < len(done) < 70
    assert tight.spent().tokens == 15 * len(done) <= 1000
    left = [answer for answer in answers if answer.text is None]
    assert all(answer.down and "Raise the budget" in answer.why for answer in left)
    poor = endpoint(server, tmp_path / "poor", price=Price(1000.0, 1000.0), budget=Budget(money=0.01))
    before = list(server.shop.seen)
    assert "budget" in poor.answers([q("a")])[0].why
    assert server.shop.seen == before


def test_half_the_price_is_half_the_reservation(server: JudgeServer, tmp_path: Path) -> None:
    """Money for 0.6 of the most that the question can cost is too little one by one, and enough at half the price."""
    there = endpoint(server, tmp_path / "a", price=Price(1000.0, 1000.0))
    most = there._job(q("a")).tokens * 1000.0 / 1e6
    budget = Budget(money=0.6 * most)
    alone = replace(there, batch=None, budget=budget, folder=str(tmp_path / "b"))
    assert "budget" in alone.answers([q("a")])[0].why
    assert replace(there, budget=budget, folder=str(tmp_path / "c")).answers([q("a")])[0].text == "echo a"


def test_an_interrupt_leaves_the_batch_and_says_how_to_go_on(
    server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", SECRET)
    server.shop.looks = 10**9
    there = endpoint(server, tmp_path, key="THE_KEY")
    timer = threading.Timer(0.5, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        there.answers([q("a")])
    timer.join()
    told = capsys.readouterr().err
    assert f'curl -X POST -H "Authorization: Bearer $THE_KEY" {server.url}/batches/batch_0/cancel' in told
    assert "Ask the same again to wait for it" in told
    assert SECRET not in told
    server.shop.looks = 1
    assert there.answers([q("a")])[0].text == "echo a"
    assert starts(server) == 1


def test_the_key_is_sent_and_stands_nowhere_else(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("THE_KEY", SECRET)

    def rule(body: dict[str, Any]) -> dict[str, Any]:
        return {"status": 400, "error": {"message": f"your key {SECRET} is fine, the question is not"}}

    server.rule = rule
    server.shop.script = [("POST files", Say(500, {"error": {"message": f"key {SECRET} broke us"}}))]
    with caplog.at_level(logging.DEBUG):
        there = endpoint(server, tmp_path, key="THE_KEY")
        (answer,) = there.answers([q("a")])
        (other,) = endpoint(server, tmp_path, key="THE_KEY", retries=0).answers([q("b")])
    assert "[key]" in answer.why
    assert set(server.keys) == {f"Bearer {SECRET}"}
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    for text in (written, caplog.text, answer.why, other.why, repr(there), json.dumps(encode(there))):
        assert SECRET not in text


def test_batches_are_a_recipe_value_and_no_identity(server: JudgeServer, tmp_path: Path) -> None:
    there = endpoint(server, tmp_path)
    assert decode(encode(there)) == there
    assert fingerprint(there) == fingerprint(replace(there, batch=None, folder=""))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"requests": 0}, "requests"),
        ({"at_once": True}, "at_once"),
        ({"tries": 1.5}, "tries"),
        ({"megabytes": 0}, "megabytes"),
        ({"poll_s": float("inf")}, "poll_s"),
        ({"price": -0.5}, "share"),
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        Batches(**wrong)


def test_batches_need_a_folder() -> None:
    with pytest.raises(RecipeError, match="Add folder="):
        Endpoint("http://127.0.0.1:1/v1", "m", batch=Batches())


def test_a_judge_asks_about_all_replies_in_one_batch(server: JudgeServer, tmp_path: Path) -> None:
    server.rule = lambda body: '{"reason": "fine", "score": 7}'
    judge = Rubric(endpoint(server, tmp_path), rubric="10 is best.")
    cases = [(Problem(user(f"{i}?"), Check("judge", "")), f"{i}.") for i in range(300)]
    verdicts: dict[int, Verdict] = {}
    grade_all(judge, cases, verdicts.__setitem__, jobs=1)
    assert len(verdicts) == 300
    assert all(verdict.score is not None for verdict in verdicts.values())
    assert [len(lines) for lines in server.shop.lines.values()] == [300]


def test_generate_in_batches(server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prompts, out = tmp_path / "p.txt", tmp_path / "r.jsonl"
    prompts.write_text("one\ntwo\n")
    words = ["generate", str(prompts), "--engine", "endpoint", "--url", server.url, "--model-name", "judge", "--batch"]
    assert main(words) == 2
    assert "Add --out FILE.jsonl" in capsys.readouterr().err
    server.shop.looks = 1
    for _ in range(2):
        assert main([*words, "--out", str(out)]) == 0
    assert sorted(json.loads(line)["response"] for line in out.read_text().splitlines()) == ["echo one", "echo two"]
    assert starts(server) == 1
    assert server.seen == []
    assert main(["generate", "toy", str(prompts), "--batch", "--out", str(out)]) == 2
    assert "--batch is about a server" in capsys.readouterr().err


def test_eval_in_batches(server: JudgeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.shop.looks = 1
    words = ["eval", "--tasks", "arithmetic", "--limit", "5", "--out", str(tmp_path / "e"), "--runs", str(tmp_path)]
    assert main([*words, "--engine", "gold", "--batch"]) == 2
    assert "no endpoint is asked here" in capsys.readouterr().err
    asked_there = ["--engine", "endpoint", "--url", server.url, "--model-name", "judge", "--batch"]
    assert main([*words, *asked_there]) == 0
    assert [len(lines) for lines in server.shop.lines.values()] == [5]
    assert server.seen == []
    assert len(events(tmp_path / "e" / "endpoint", "replies")) == 5
