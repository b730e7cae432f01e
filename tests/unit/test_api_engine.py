"""The endpoint client over real HTTP on the loopback: replies, failures, waits, limits, budget, cache, ledger, secrets."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judge_server import JudgeServer, Say, asked, completion, serving

from burnish.core.fingerprint import decode, encode, fingerprint
from burnish.core.types import user
from burnish.errors import RecipeError
from burnish.rollout.api_engine import Endpoint
from burnish.rollout.api_ledger import Budget, Ledger, Price
from burnish.rollout.api_pace import Pace, told_wait
from burnish.rollout.shared_log import SharedLog
from burnish.verify.judge.ask import Answer, Question

SECRET = "sk-test-0123456789abcdef"


def q(text: str, **more: Any) -> Question:
    return Question(user(text), **{"max_tokens": 20, **more})


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with serving(lambda body: f"echo {asked(body)}") as running:
        yield running


def endpoint(server: JudgeServer, **more: Any) -> Endpoint:
    return Endpoint(server.url, "judge", **{"timeout_s": 5.0, "patience_s": 20.0, **more})


def ledger(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


def test_replies_come_in_order_and_equal_questions_are_asked_once(server: JudgeServer) -> None:
    there = endpoint(server, extra='{"seed": 7, "temperature": null}')
    answers = there.answers([q("a"), q("b"), q("a"), q("c")])
    assert [answer.text for answer in answers] == ["echo a", "echo b", "echo a", "echo c"]
    assert sorted(asked(body) for body in server.seen) == ["a", "b", "c"]
    assert all(body["seed"] == 7 and "temperature" not in body and body["max_tokens"] == 20 for body in server.seen)
    assert there.answers([q("b")])[0].text == "echo b"
    assert len(server.seen) == 3, "a second call asks nothing that is known"


def test_raw_text_schema_and_half_characters(server: JudgeServer) -> None:
    schema = '{"type": "object"}'
    raw, shaped, odd = endpoint(server).answers([Question("<s>form", 9), q("x", schema=schema), q("\ud800y")])
    assert (raw.text, shaped.text, odd.text) == ("echo <s>form", "echo x", "echo ?y")
    by_text = {asked(body): body for body in server.seen}
    assert by_text["<s>form"]["prompt"] == "<s>form"
    assert by_text["x"]["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "response_format" not in by_text["?y"]
    assert endpoint(server, structured=False).answers([q("z", schema=schema)])[0].text == "echo z"
    assert "response_format" not in server.seen[-1]


def test_a_cut_reply_says_so(server: JudgeServer) -> None:
    server.script = [Say(body=completion("half", "length"))]
    assert endpoint(server).answers([q("a")]) == [Answer("half", cut=True)]


@pytest.mark.parametrize(
    "bad",
    [
        Say(500, {"error": {"message": "oops"}}),
        Say(503, raw=b"<html>busy</html>"),
        Say(200, raw=b'{"choices": [{"mess'),
        Say(200, body={"choices": []}),
        Say(200, body=["no object"]),
        Say(200, body={"choices": [{"message": {"content": None}}]}),
        Say(200, raw=b"[" * 100_000),
        Say(200, body=completion("late"), hang_s=1.5),
        Say(200, body=completion("slow"), trickle=True),
        Say(200, body=completion("half"), broken=True),
        Say(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.2"}),
    ],
    ids=[
        "500",
        "503",
        "broken-json",
        "no-choice",
        "no-object",
        "no-text",
        "nested",
        "hang",
        "trickle",
        "broken-body",
        "429",
    ],
)
def test_a_request_that_fails_is_made_again(server: JudgeServer, bad: Say) -> None:
    server.script = [bad]
    answer = endpoint(server, timeout_s=0.6).answers([q("a")])[0]
    assert answer == Answer("echo a")
    assert len(server.seen) == 2


def test_what_the_server_says_to_wait_is_waited_by_all(server: JudgeServer) -> None:
    server.script = [Say(429, {}, {"Retry-After": "0.6"})]
    started = time.monotonic()
    there = endpoint(server, concurrency=1)
    assert [a.text for a in there.answers([q("a"), q("b"), q("c")])] == ["echo a", "echo b", "echo c"]
    assert min(server.times[1:]) - started >= 0.6, "nobody asked before the pause was over"


def test_a_wait_beyond_all_patience_ends_at_once(server: JudgeServer) -> None:
    server.script = [Say(429, {}, {"Retry-After": "7200"})]
    started = time.monotonic()
    answer = endpoint(server).answers([q("a")])[0]
    assert answer.text is None
    assert answer.down
    assert "7,200 s" in answer.why
    assert time.monotonic() - started < 60


def test_waits_that_servers_tell() -> None:
    assert told_wait({"retry-after": "3"}) == 3.0
    assert told_wait({"retry-after-ms": "250", "retry-after": "3"}) == 0.25
    date = email.utils.formatdate(1_000_060, usegmt=True)
    assert told_wait({"retry-after": date}, now=lambda: 1_000_000.0) == 60.0
    assert told_wait({"retry-after": date}, now=lambda: 2_000_000.0) == 0.0
    for unreadable in ("", "soon", "inf", "nan", "-"):
        assert told_wait({"retry-after": unreadable}) is None
    assert told_wait({"retry-after": "-5"}) == 0.0


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    there = Endpoint(f"http://127.0.0.1:{port}/v1", "judge", retries=1)
    first = there.answers([q("a")])[0]
    assert first.text is None
    assert first.down
    assert "cannot be reached" in first.why
    assert "given up after 2 requests" in first.why
    started = time.monotonic()
    rest = there.answers([q(str(i)) for i in range(200)])
    assert all(answer.down for answer in rest)
    assert time.monotonic() - started < 1, "while a server is down questions fail at once"
    with pytest.raises(RecipeError, match="Is the server running"):
        there.check()


def test_one_question_that_always_fails_does_not_close_the_server_to_others(server: JudgeServer) -> None:
    def rule(body: dict[str, Any]) -> str:
        if asked(body) == "poison":
            raise ValueError("the server dies of this question")
        return "fine"

    server.rule = rule
    server.pause_s = 0.05
    there = endpoint(server, retries=1)
    poison, *others = there.answers([q("poison"), *(q(str(i)) for i in range(30))])
    assert poison.text is None
    assert [answer.text for answer in there.answers([q("after")])] == ["fine"]
    assert sum(answer.text == "fine" for answer in others) == 30


def test_the_key_is_sent_and_stands_nowhere_else(
    server: JudgeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("THE_KEY", SECRET + "\n")
    there = endpoint(server, key="THE_KEY", folder=str(tmp_path))
    server.script = [
        Say(401, {"error": {"message": f"Incorrect API key provided: {SECRET}"}}),
        Say(400, {"error": {"message": f"bad request, headers were Bearer {SECRET}"}}),
        Say(500, {"error": {"message": f"key {SECRET} broke us"}}),
    ]
    with caplog.at_level(logging.DEBUG):
        answers = there.answers([q("a")])
        answers += endpoint(server, key="THE_KEY", folder=str(tmp_path), retries=0).answers([q("b")])
        answers += endpoint(server, key="THE_KEY", folder=str(tmp_path), retries=0, timeout_s=4.0).answers([q("c")])
        answers += endpoint(server, key="THE_KEY", folder=str(tmp_path), timeout_s=3.0).answers([q("d")])
    assert server.keys == [f"Bearer {SECRET}"] * 4
    assert [answer.text for answer in answers] == [None, None, None, "echo d"]
    assert "THE_KEY" in answers[0].why
    assert "401" in answers[0].why
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    told = [*(answer.why for answer in answers), repr(there), there.name, fingerprint(there), json.dumps(encode(there))]
    for text in (written, caplog.text, *told):
        assert SECRET not in text
        assert "0123456789abcdef" not in text


def test_a_key_that_is_missing_or_odd_is_not_sent(server: JudgeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    there = endpoint(server, key="NO_SUCH_KEY")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert "export NO_SUCH_KEY" in there.answers([q("a")])[0].why
    for odd in ("sk-ab\ncd-hidden", "schlüssel-hidden", "two words-hidden"):
        monkeypatch.setenv("NO_SUCH_KEY", odd)
        answer = there.answers([q("a")])[0]
        assert answer.down
        assert "hidden" not in answer.why
        with pytest.raises(RecipeError, match="set it again"):
            there.check()
    assert not server.seen


def test_errors_that_name_the_fix(server: JudgeServer) -> None:
    server.models = ["judge-large", "other"]
    server.script = [Say(404, {"error": {"message": "model not found"}})]
    wrong = Endpoint(server.url, "judge-lagre", retries=0)
    assert "Did you mean 'judge-large'?" in wrong.answers([q("a")])[0].why
    with pytest.raises(RecipeError, match="Did you mean 'judge-large'"):
        wrong.check()
    Endpoint(server.url, "other").check()
    path = Endpoint(server.url.removesuffix("/v1"), "judge", retries=0)
    assert "ends in /v1" in path.answers([q("a")])[0].why
    server.script = [Say(429, {"error": {"code": "insufficient_quota", "message": "pay"}})]
    assert "no credit" in endpoint(server).answers([q("a")])[0].why
    server.script = [Say(302, {}, {"Location": "http://127.0.0.1:9/"})]
    assert "sends elsewhere" in endpoint(server, timeout_s=4.0).answers([q("a")])[0].why
    server.script = [Say(400, {"error": {"message": "context length exceeded"}})]
    too_long = endpoint(server, timeout_s=3.0).answers([q("a"), q("b")])
    assert sorted((a.text is None, a.down) for a in too_long) == [(False, False), (True, False)]
    assert any("context length exceeded" in answer.why for answer in too_long)


def test_a_refusal_that_was_paid_is_kept(server: JudgeServer, tmp_path: Path) -> None:
    server.script = [Say(body=completion("", "content_filter"))]
    for timeout in (3.0, 4.0):
        answer = endpoint(server, folder=str(tmp_path), timeout_s=timeout).answers([q("a")])[0]
        assert "content filter" in answer.why
        assert not answer.down
    assert len(server.seen) == 1


def test_nothing_is_paid_twice_after_a_kill(server: JudgeServer, tmp_path: Path) -> None:
    """A process asks 40 questions at 2 at a time and is killed; the next one asks the rest and those on their way only."""
    server.pause_s = 0.05
    code = (
        "import sys; from burnish.core.types import user; from burnish.rollout.api_engine import Endpoint\n"
        "from burnish.verify.judge.ask import Question\n"
        "there = Endpoint(sys.argv[1], 'judge', folder=sys.argv[2], concurrency=2)\n"
        "there.answers([Question(user(str(i)), 20) for i in range(40)])\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, server.url, str(tmp_path)])
    while len(server.seen) < 12 and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = [json.loads(line) for line in (tmp_path / "replies.jsonl").read_text().splitlines()]
    assert 8 <= len(kept) < 40
    with (tmp_path / "replies.jsonl").open("a") as file:
        file.write('{"key": "cut in the mid')
    time.sleep(0.2)
    before = len(server.seen)
    server.pause_s = 0.0
    answers = endpoint(server, folder=str(tmp_path)).answers([q(str(i)) for i in range(40)])
    assert [answer.text for answer in answers] == [f"echo {i}" for i in range(40)]
    assert len(server.seen) - before == 40 - len(kept)
    assert before <= len(kept) + 2, "at most those on their way are lost"
    again = endpoint(server, folder=str(tmp_path), timeout_s=3.0).answers([q(str(i)) for i in range(40)])
    assert again == answers
    assert len(server.seen) - before == 40 - len(kept)


def test_the_ledger_by_hand(server: JudgeServer, tmp_path: Path) -> None:
    """10 prompt and 5 reply tokens at 3 and 6 a million: 10 * 3e-6 + 5 * 6e-6 = 0.00006; twice that for two questions."""
    there = endpoint(server, folder=str(tmp_path), price=Price(3.0, 6.0))
    server.script = [Say(500, {})]
    there.answers([q("a"), q("b")])
    spent = there.spent()
    assert (spent.requests, spent.tokens, spent.open) == (3, 30, 0)
    assert spent.money == pytest.approx(0.00012)
    lines = ledger(tmp_path)
    assert [line["status"][:8] for line in lines if line["event"] == "done"].count("answered") == 2
    assert sum(line["cost"] for line in lines if line["event"] == "done") == pytest.approx(0.00012)
    assert all(line["cost"] >= 0.00006 for line in lines if line["event"] == "sent"), "the most it can cost is more"


def test_a_budget_stops_before_it_is_exceeded_and_holds_over_restarts(server: JudgeServer, tmp_path: Path) -> None:
    """Every request uses 15 tokens and may use some 130; of 1,000 tokens the last request leaves with 130 to spare."""
    tight = endpoint(server, folder=str(tmp_path), budget=Budget(tokens=1000), concurrency=4)
    answers = tight.answers([q(f"question {i:03}") for i in range(200)])
    done = [answer for answer in answers if answer.text is not None]
    assert tight.spent().tokens == 15 * len(done) <= 1000
    assert len(done) > 50, "requests on their way give back what they did not use"
    left = [answer for answer in answers if answer.text is None]
    assert all(answer.down and "Raise the budget" in answer.why for answer in left)
    calls = len(server.seen)
    again = replace(tight, concurrency=3).answers([q(f"question {i:03}") for i in range(200)])
    assert sum(answer.text is not None for answer in again) == len(done)
    assert len(server.seen) == calls
    more = replace(tight, budget=Budget(tokens=10_000)).answers([q(f"question {i:03}") for i in range(200)])
    assert all(answer.text for answer in more)


def test_a_budget_in_money(server: JudgeServer) -> None:
    poor = endpoint(server, price=Price(1000.0, 1000.0), budget=Budget(money=0.01))
    assert "budget" in poor.answers([q("a")])[0].why
    assert not server.seen
    with pytest.raises(RecipeError, match="has no price"):
        endpoint(server, budget=Budget(money=1.0))


def test_what_is_not_known_to_be_unpaid_counts_in_full(server: JudgeServer, tmp_path: Path) -> None:
    server.script = [Say(body=completion("late"), hang_s=1.0), Say(body=completion("unmetered", usage=None))]
    there = endpoint(server, folder=str(tmp_path), timeout_s=0.4)
    assert there.answers([q("a")])[0].text == "unmetered"
    spent = there.spent()
    assert (spent.requests, spent.open) == (2, 1)
    assert spent.tokens == sum(line["tokens"] for line in ledger(tmp_path) if line["event"] == "sent")


def test_limits_of_speed_and_concurrency(server: JudgeServer) -> None:
    server.pause_s = 0.05
    endpoint(server, concurrency=3).answers([q(str(i)) for i in range(20)])
    assert server.most == 3
    server.times.clear()
    endpoint(server, requests_per_minute=600, timeout_s=4.0).answers([q(str(i)) for i in range(6)])
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert sum(gaps) >= 0.45
    assert min(gaps) > 0.05


def test_pace_by_hand() -> None:
    """60 requests and 600 tokens a minute: a request of 20 tokens holds the next one up for 2 s, 5 given back for 1.5 s."""
    now = [100.0]
    pace = Pace(60, 600, clock=lambda: now[0])
    assert [pace.turn(20), pace.turn(5)] == [0.0, 2.0]
    assert pace.turn(0) == 3.0
    pace = Pace(60, 600, clock=lambda: now[0])
    pace.turn(20)
    pace.give_back(5)
    assert pace.turn(0) == pytest.approx(1.5)
    pace.pause(30)
    assert pace.turn(0) == 30.0
    now[0] = 500.0
    assert Pace(0, 0, clock=lambda: now[0]).turn(10**9) == 0.0


def test_from_threads_a_running_loop_and_a_forked_child(server: JudgeServer) -> None:
    there = endpoint(server)
    found: list[str | None] = []
    threads = [
        threading.Thread(target=lambda i=i: found.append(there.answers([q(str(i % 5))])[0].text)) for i in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(filter(None, found)) == sorted(f"echo {i % 5}" for i in range(20))
    assert len(server.seen) == 5

    async def inside() -> str | None:
        return there.answers([q("in a loop")])[0].text

    assert asyncio.run(inside()) == "echo in a loop"
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_in_child, (there,)) == "echo child"


def _in_child(there: Endpoint) -> str | None:
    return there.answers([q("child")])[0].text


def test_an_endpoint_is_a_recipe_value_whose_identity_is_the_model(server: JudgeServer, tmp_path: Path) -> None:
    there = endpoint(server, price=Price(1.0, 2.0), budget=Budget(tokens=9))
    assert decode(encode(there)) == there
    assert pickle.loads(pickle.dumps(there)) == there
    moved = replace(there, folder=str(tmp_path), timeout_s=9.0, concurrency=1, key="OTHER", budget=Budget())
    assert fingerprint(moved) == fingerprint(there)
    assert fingerprint(replace(there, model="other")) != fingerprint(there)
    assert fingerprint(replace(there, extra='{"seed": 2}')) != fingerprint(there)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"url": "127.0.0.1:8000"}, "expected an address"),
        ({"url": "http://[::1"}, "expected an address"),
        ({"url": "https://me:hidden@host/v1"}, "logs and"),
        ({"url": "https://host/v1?api_key=hidden"}, "logs and"),
        ({"model": ""}, "model=NAME"),
        ({"concurrency": 0}, "concurrency"),
        ({"retries": True}, "retries"),
        ({"timeout_s": 0.0}, "timeout_s"),
        ({"requests_per_minute": -1.0}, "requests_per_minute"),
        ({"extra": "[1]"}, "JSON object"),
        ({"extra": '{"max_tokens": null}', "budget": Budget(tokens=5)}, "max_completion_tokens"),
    ],
)
def test_settings_that_cannot_work(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        Endpoint(**{"url": "http://127.0.0.1:1/v1", "model": "m", **wrong})
    assert "hidden" not in str(caught.value)


def _append(path: Path, name: str) -> None:
    log = SharedLog(path)
    for i in range(300):
        log.append({"who": name, "i": i, "pad": "x" * 200})
    log.close()


CHILD = (
    "import sys; from burnish.core.types import user; from burnish.rollout.api_engine import Endpoint\n"
    "from burnish.rollout.api_ledger import Budget; from burnish.verify.judge.ask import Question\n"
    "there = Endpoint(sys.argv[1], 'judge', folder=sys.argv[2], concurrency=4, budget=Budget(tokens=1500))\n"
    "answers = there.answers([Question(user(f'{sys.argv[3]} {i:03}'), 20) for i in range(100)])\n"
    "print(sum(answer.text is not None for answer in answers))\n"
)


def test_one_budget_over_two_processes_that_end_without_a_word(server: JudgeServer, tmp_path: Path) -> None:
    """Each request uses 15 tokens and at most some 130, so that 1,500 are enough for 91 to 100 requests of both together."""
    server.pause_s = 0.005
    children = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CHILD, server.url, str(tmp_path), name],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in ("one", "two")
    ]  # fmt: skip
    ended = [child.communicate(timeout=60) for child in children]
    assert [err for _, err in ended] == ["", ""]
    assert [child.returncode for child in children] == [0, 0]
    answered = sum(int(out) for out, _ in ended)
    assert answered == len(server.seen)
    assert 80 <= answered <= 100
    assert endpoint(server, folder=str(tmp_path)).spent().tokens == 15 * answered


def _reserve_all(folder: Path, ready: Any) -> None:
    books = Ledger(folder, Budget(tokens=10_000), None)
    ready.wait()
    for _ in range(600):
        books.reserve("judge", "key", 6, 4)
    books.close()


def test_a_budget_is_never_promised_twice(tmp_path: Path) -> None:
    """Four processes ask for 10 tokens 600 times each; 10,000 are 1,000 promises, however they interleave."""
    fork = multiprocessing.get_context("fork")
    ready = fork.Barrier(4)
    workers = [fork.Process(target=_reserve_all, args=(tmp_path, ready)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(line["tokens"] for line in ledger(tmp_path)) == 10_000


def test_an_interrupt_ends_the_waiting_and_the_next_call_works(server: JudgeServer) -> None:
    there = endpoint(server)
    server.script = [Say(body=completion("late"), hang_s=10.0)]
    timer = threading.Timer(0.3, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        there.answers([q("a"), q("a")])
    assert time.monotonic() - started < 8
    timer.join()
    assert there.answers([q("a")])[0].text == "echo a"


def test_a_shared_log_takes_lines_of_several_processes(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"who": "z", "i": 0}\n{"who": "cut')
    log = SharedLog(path)
    assert [record["who"] for _, record in log.new()] == ["z"]
    workers = [multiprocessing.get_context("fork").Process(target=_append, args=(path, name)) for name in "ab"]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = log.new()
    for name in "ab":
        assert [record["i"] for _, record in found if record["who"] == name] == list(range(300))
    assert all(log.at(place) == record for place, record in found[:5])
    assert os.path.getsize(path) > 0
    log.close()
