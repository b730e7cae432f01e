"""An executor on another machine: the same answers, one token, and "lost" where it does not answer."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.errors import VerifierError
from burnish.verify.sandbox import Executor, Limits, Program, Remote, frames, sandbox

ROOT = Path(__file__).parents[2]
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    box = sandbox(workers=2)
    with Executor(box, TOKEN) as made:
        yield made
    box.close()


def test_the_answers_are_those_of_the_sandbox_there(executor: Executor) -> None:
    remote = Remote(executor.address, TOKEN)
    assert remote.name.startswith("remote ")
    assert executor.address in remote.why
    programs = [
        Program(f"import sys\nprint(input(), {n}, sys.argv, open('a').read())", "é\n", {"a": "漢"}, ("x",))
        for n in range(6)
    ]
    programs += [Program("while True: pass", limits=Limits(cpu_s=0.2)), Program("print('\ud800')")]
    outcomes = remote.run(programs)
    assert [o.stdout for o in outcomes[:6]] == [f"é {n} ['main.py', 'x'] 漢\n" for n in range(6)]
    assert [o.status for o in outcomes] == ["ok"] * 6 + ["timeout", "error"]
    remote.close()


def test_a_remote_session(executor: Executor) -> None:
    remote = Remote(executor.address, TOKEN)
    session = remote.open(Program("print(input() * 2, flush=True)\ninput()\nprint('end')"))
    session.send(b"ab\n")
    assert session.receive(20) == b"abab\n"
    session.send(b"\n")
    outcome = session.close()
    assert (outcome.status, outcome.stdout) == ("ok", "end\n")
    assert session.close() is outcome
    remote.close()


def test_a_wrong_token_is_refused(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VerifierError, match=r"refused.*\n.*same text on both"):
        Remote(executor.address, "f" * 16)
    monkeypatch.delenv("BURNISH_SANDBOX_TOKEN", raising=False)
    with pytest.raises(VerifierError, match="refused"):
        sandbox(executor.address)
    monkeypatch.setenv("BURNISH_SANDBOX_TOKEN", TOKEN)
    remote = sandbox(executor.address)
    assert remote.run([Program("print(1)")])[0].stdout == "1\n"
    remote.close()


def test_a_short_token_is_refused() -> None:
    with pytest.raises(VerifierError, match="shorter than 16"):
        Executor(sandbox(workers=2), "short")


def test_nobody_there_says_how_to_start_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(VerifierError, match=r"no executor answers.*\n.*python -m burnish.verify.sandbox --listen"):
        Remote(f"127.0.0.1:{port}", TOKEN)


def test_an_executor_that_ends_leaves_programs_ungraded() -> None:
    box = sandbox(workers=2)
    executor = Executor(box, TOKEN).start()
    remote = Remote(executor.address, TOKEN)
    assert remote.run([Program("print(1)")])[0].status == "ok"
    executor.close()
    outcome = remote.run([Program("print(1)")])[0]
    assert outcome.status == "lost"
    assert "does not answer" in outcome.why


def test_noise_does_not_end_the_executor(executor: Executor) -> None:
    for noise in (b"", b"GET / HTTP/1.0\r\n\r\n", bytes(64), b"\xff" * 4096):
        host, port = executor.address.split(":")
        with socket.create_connection((host, int(port)), 5) as link:
            link.sendall(noise)
    remote = Remote(executor.address, TOKEN)
    assert remote.run([Program("print(1)")])[0].stdout == "1\n"
    remote.close()


def test_frames_carry_any_bytes() -> None:
    here, there = socket.socketpair()
    with here, there:
        frames.send(here, {"a": "é"}, [b"", b"\0\xff", b"x" * 1000])
        assert frames.receive(there) == ({"a": "é"}, [b"", b"\0\xff", b"x" * 1000])
        here.sendall(b"\xff" * 8)
        with pytest.raises(ValueError, match="not one of ours"):
            frames.receive(there)


def test_the_command_says_which_kind_is_active() -> None:
    done = subprocess.run([sys.executable, "-m", "burnish.verify.sandbox"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0
    assert done.stdout.split(":")[0] in ("bubblewrap", "namespaces", "user")
    unsafe = subprocess.run(
        [sys.executable, "-m", "burnish.verify.sandbox", "--kind", "nothing"], capture_output=True, text=True, cwd=ROOT
    )
    assert unsafe.returncode == 1
    assert "there is no such kind" in unsafe.stderr
