"""The sandbox from the caller's side: outcomes, limits, sessions, parallel use, and what happens when it breaks."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from burnish.errors import VerifierError
from burnish.verify.sandbox import Limits, Outcome, Program, Sandbox, calls, sandbox
from burnish.verify.sandbox.launch import Kind
from burnish.verify.sandbox.pool import Pool, Traffic
from burnish.verify.sandbox.view import IMPORTS, outermost, package_entries, view

ROOT = Path(__file__).parents[2]

# Programs as people write them; each must behave as under a fresh interpreter.
ORDINARY = (
    "print('hello')",
    "import sys\nprint(sys.stdin.read().upper(), file=sys.stderr)",
    "a, b = map(int, input().split())\nprint(a + b)",
    "import sys\nsys.exit(7)",
    "exit(3)",
    "raise SystemExit('bye')",
    "assert 1 == 2, 'unequal'",
    "print(1 / 0)",
    "def f(:",
    "import unittest\nprint(unittest.TestCase().assertEqual(1, 1))",
    "import multiprocessing as m\ndef f(x): return x * x\nif __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p: print(p.map(f, range(4)))",
    "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    return 3\nprint(asyncio.run(f()))",
    "import subprocess, sys\nprint(subprocess.run([sys.executable, '-S', '-c', 'print(1)'], capture_output=True).stdout)",
    "import sqlite3\nprint(sqlite3.connect(':memory:').execute('select 1').fetchall())",
    "import pickle, dataclasses\n@dataclasses.dataclass\nclass A: x: int = 1\nprint(pickle.loads(pickle.dumps(A())))",
    "import threading\nthreading.Thread(target=lambda: print('thread')).start()",
    "import tempfile\nwith tempfile.TemporaryFile('w+') as f:\n    f.write('a')\n    f.seek(0)\n    print(f.read())",
    "import atexit\natexit.register(print, 'end')\nprint('start')",
    "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 0.05)\ntime.sleep(5)",
    "import os\nos.abort()",
    "import sys\nsys.setrecursionlimit(10 ** 6)\ndef f(n): return n and 1 + f(n - 1)\nprint(f(20_000))",
    "def f(): return f()\nf()",
    "import warnings\nwarnings.warn('old')\nprint('done')",
    "import logging\nlogging.warning('careful')",
    "import decimal, fractions, hashlib, zlib, lzma, bz2, ssl, ctypes\nprint(hashlib.sha256(b'').hexdigest())",
    "print(__name__, sorted({'a', 'b', 'c'}), hash('text'))",
    "import os\nos.write(1, b'\\xff\\xfe')",
    "import os\nprint('buffered')\nos._exit(4)",
    "from __future__ import annotations\ndef f(x: Unknown) -> None: ...\nprint(f.__annotations__)",
    "print('é', '漢', '\\U0001f600')",
)  # fmt: skip


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    made = sandbox(workers=2)
    yield made
    made.close()


def one(box: Sandbox, source: str, stdin: str = "", **limits: float) -> Outcome:
    return box.run([Program(source, stdin, limits=Limits(**limits))])[0]  # type: ignore[arg-type]


def test_ordinary_programs_behave_as_under_a_fresh_interpreter(box: Sandbox, tmp_path: Path) -> None:
    """The worker forks instead of starting Python. Output, errors and exit code are those of `python main.py`."""
    outcomes = box.run([Program(source, "3 4\n") for source in ORDINARY])
    environment = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
    for source, outcome in zip(ORDINARY, outcomes, strict=True):
        (tmp_path / "main.py").write_text(source)
        fresh = subprocess.run(
            [view(()).python, "-s", "-B", "-X", "utf8", "main.py"],
            input=b"3 4\n", capture_output=True, cwd=tmp_path, env=environment,
        )  # fmt: skip
        said = re.sub(r'File "[^"]*main.py"', 'File "main.py"', fresh.stderr.decode())
        said = re.sub(r"^\S*main.py:", "main.py:", said)
        assert (outcome.stdout, outcome.exit_code) == (fresh.stdout.decode("utf-8", "replace"), fresh.returncode), (
            source
        )
        assert outcome.stderr == said, source
        assert outcome.status == ("ok" if fresh.returncode == 0 else "error"), source


@pytest.mark.parametrize(
    ("source", "limits", "status", "why"),
    [
        ("print(1)", {}, "ok", "ended with exit code 0"),
        ("1/0", {}, "error", "ended with exit code 1: ZeroDivisionError: division by zero"),
        ("import os; os.kill(os.getpid(), 11)", {}, "error", "ended by signal 11 (Segmentation fault)"),
        ("while True: pass", {"cpu_s": 0.2}, "timeout", "used more than 0.2 s of processor time"),
        ("import time; time.sleep(9)", {"wall_s": 0.2}, "timeout", "not done after 0.2 s on the clock, with 0.0"),
        ("x = bytearray(1 << 30)", {}, "memory", "was refused memory beyond its limit (MemoryError)"),
        ("print('x' * 3000)", {"output_kb": 2}, "output", "printed more than 2 KiB"),
    ],
)  # fmt: skip
def test_every_end_has_its_status_and_a_sentence(
    box: Sandbox, source: str, limits: dict[str, float], status: str, why: str
) -> None:
    outcome = one(box, source, **limits)
    assert outcome.status == status
    assert why in outcome.why
    assert (outcome.exit_code is None) == (status in ("timeout", "output"))


def test_output_up_to_the_limit_is_kept(box: Sandbox) -> None:
    """2 KiB are 2048 bytes: 2047 and a newline fit, one more does not; the first 2048 are kept."""
    assert one(box, "print('x' * 2047)", output_kb=2).status == "ok"
    over = one(box, "print('x' * 2048)", output_kb=2)
    assert over.status == "output"
    assert over.stdout == "x" * 2048


def test_time_is_measured_in_processor_seconds_of_all_processes(box: Sandbox) -> None:
    """Two processes of 0.15 s each are 0.3 s; sleeping costs nothing."""
    burn = "import os, time\nos.fork()\nend = time.process_time() + 0.15\nwhile time.process_time() < end: pass\ntry: os.wait()\nexcept OSError: pass"
    assert 0.29 < one(box, burn).seconds < 0.45
    slept = one(box, "import time; time.sleep(0.3)")
    assert slept.seconds < 0.1
    assert slept.wall_s >= 0.3


def test_files_arguments_and_input(box: Sandbox) -> None:
    source = "import sys, helper\nprint(sys.argv, open('data/a.txt').read(), helper.x, input())"
    files = {"data/a.txt": "text", "helper.py": "x = 5"}
    outcome = box.run([Program(source, "line\n", files, ("--n", "1"))])[0]
    assert outcome.stdout == "['main.py', '--n', '1'] text 5 line\n"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "", "a\0b"])
def test_a_file_outside_the_folder_is_refused(box: Sandbox, name: str) -> None:
    with pytest.raises(VerifierError, match="relative path without"):
        box.run([Program("print(1)", files={name: "x"})])


def test_order_is_kept_and_every_program_starts_clean(box: Sandbox) -> None:
    """Whatever a program does to its interpreter, the next one does not see it."""
    source = (
        "import os, sys, math, random, builtins\nprint(sys.argv[1], os.listdir('.'), hasattr(math, 'mark'), hasattr(builtins, 'mark'),"
        " random.random(), sys.getrecursionlimit() > 999, 'MARK' in os.environ)\nmath.mark = builtins.mark = 1\nopen('mark', 'w').close()\n"
        "os.environ['MARK'] = '1'\nsys.setrecursionlimit(50)\nsys.modules['json'] = None\nprint = None"
    )
    outcomes = box.run([Program(source, argv=(str(number),)) for number in range(30)])
    assert [o.stdout for o in outcomes] == [f"{n} [] False False 0.8444218515250481 True False\n" for n in range(30)]


def test_calls_from_threads_and_from_asyncio(box: Sandbox) -> None:
    results: dict[int, list[str]] = {}

    def call(number: int) -> None:
        results[number] = [o.stdout for o in box.run([Program(f"print({number * 10 + n})") for n in range(4)])]

    threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {n: [f"{n * 10 + k}\n" for k in range(4)] for n in range(4)}

    async def several() -> list[list[Outcome]]:
        return await asyncio.gather(*(asyncio.to_thread(box.run, [Program("print(1)")]) for _ in range(3)))

    assert [o[0].stdout for o in asyncio.run(several())] == ["1\n"] * 3


def test_a_forked_child_has_workers_of_its_own_and_leaves_the_parents_alone() -> None:
    code = (
        "import os\nfrom burnish.verify.sandbox import Program, sandbox\nbox = sandbox(workers=1)\nbox.run([Program('print(0)')])\n"
        "pid = os.fork()\nprint(os.getpid() and box.run([Program('print(input())', 'x')])[0].stdout, end='', flush=True)\n"
        "if pid:\n    assert os.waitpid(pid, 0)[1] == 0\n    print(box.run([Program('print(2)')])[0].stdout, end='')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (done.stdout, done.returncode) == ("x\nx\n2\n", 0), done.stderr


def test_a_program_kept_waiting_for_a_core_is_run_again_alone() -> None:
    """Eight programs of 0.2 s on one core need 1.6 s; with 0.6 s on the clock most starve, and pass when alone."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        pool = Pool(Kind(sandbox().name, view(()), IMPORTS), workers=8)
        burn = "import time\nwhile time.process_time() < 0.2: pass\nprint('done')"
        outcomes = pool.run([Program(burn, limits=Limits(wall_s=0.6))] * 8)
        pool.close()
    finally:
        os.sched_setaffinity(0, cores)
    assert [o.stdout for o in outcomes] == ["done\n"] * 8, outcomes
    assert any("second try, alone" in o.why for o in outcomes)


def test_results_are_the_same_under_load(box: Sandbox) -> None:
    programs = [
        Program(source, limits=Limits(cpu_s=0.3, wall_s=20, memory_mb=64, output_kb=16))
        for source in ("print(sum(range(10)))", "while True: pass", "1/0", "print('x' * 99999)", "x = bytearray(1 << 30)")
    ] * 2  # fmt: skip
    quiet = [(o.status, o.exit_code, o.stdout) for o in box.run(programs)]
    busy = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(4)]
    try:
        loaded = [(o.status, o.exit_code, o.stdout) for o in box.run(programs)]
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert quiet == loaded
    assert [s for s, _, _ in quiet[:5]] == ["ok", "timeout", "error", "output", "memory"]


def test_a_worker_that_dies_is_replaced_and_nothing_is_graded_by_it() -> None:
    pool = Pool(Kind(sandbox().name, view(()), IMPORTS), workers=1)
    assert pool.run([Program("print(1)")])[0].stdout == "1\n"
    worker = pool._idle[0]._process.pid
    os.killpg(worker, signal.SIGKILL)
    assert pool.run([Program("print(2)")])[0].stdout == "2\n"
    results: list[Outcome] = []
    running = threading.Thread(
        target=lambda: results.extend(pool.run([Program("import time; time.sleep(1); print(3)")]))
    )
    second = pool._idle[0]._process.pid
    running.start()
    time.sleep(0.3)
    os.killpg(second, signal.SIGKILL)
    running.join()
    assert (results[0].status, results[0].stdout) == ("ok", "3\n")
    pool.close()


def descendants(pid: int) -> set[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(text[text.rindex(")") + 2 :].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.mark.parametrize("kind", ["auto", "unsafe"])
def test_nothing_survives_a_host_that_is_killed(kind: str, tmp_path: Path) -> None:
    """The host is killed while a program with a child runs: all processes and files are gone within seconds."""
    code = (
        f"from burnish.verify.sandbox import Program, sandbox\nbox = sandbox({kind!r}, workers=1)\nprint('ready', flush=True)\n"
        "box.run([Program('import os, time\\nos.fork()\\ntime.sleep(600)')])"
    )
    host = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert host.stdout is not None
    assert host.stdout.readline() == b"ready\n"
    until = time.monotonic() + 20
    while len(below := descendants(host.pid)) < 4 and time.monotonic() < until:
        time.sleep(0.05)
    host.kill()
    host.communicate()
    while (left := {pid for pid in below if Path(f"/proc/{pid}").exists()}) and time.monotonic() < until + 20:
        time.sleep(0.05)
    assert not list(tmp_path.iterdir())
    assert len(below) >= 4
    assert not left


def test_a_session_talks_both_ways(box: Sandbox) -> None:
    source = "import sys\nfor line in sys.stdin:\n    print(int(line) * 2, flush=True)\nprint('end')"
    session = box.open(Program(source, stdin="1\n"))
    assert session.receive(20) == b"2\n"
    session.send(b"21\n")
    assert session.receive(20) == b"42\n"
    assert session.receive(0.05) == b""
    outcome = session.close()
    assert (outcome.status, outcome.stdout) == ("ok", "end\n")
    assert session.close() is outcome
    assert session.receive(1) == b""
    with pytest.raises(VerifierError, match="close"):
        session.send(b"1\n")


def test_a_session_keeps_the_limits(box: Sandbox) -> None:
    sleeping = box.open(Program("import time\ntime.sleep(600)", limits=Limits(wall_s=0.3)))
    assert sleeping.close().status == "timeout"
    burning = box.open(Program("while True: pass", limits=Limits(cpu_s=0.2)))
    assert burning.close().status == "timeout"
    flooding = box.open(Program("while True: print('x' * 100)", limits=Limits(output_kb=8)))
    assert flooding.close().status == "output"
    ended = box.open(Program("import sys\nprint('bye')\nsys.exit(3)"))
    assert ended.receive(20) == b"bye\n"
    outcome = ended.close()
    assert (outcome.status, outcome.exit_code) == ("error", 3)


def test_sending_to_a_program_that_reads_nothing_ends_with_an_error(box: Sandbox) -> None:
    session = box.open(Program("import sys\nsys.exit(0)"))
    with pytest.raises(VerifierError, match="close"):
        session.send(b"x" * (1 << 22))
    assert session.close().status == "ok"


def test_sessions_and_runs_at_the_same_time(box: Sandbox) -> None:
    sessions = [box.open(Program(f"print(input(), {n}, flush=True)")) for n in range(4)]
    assert box.run([Program("print(1)")])[0].stdout == "1\n"
    for n, session in enumerate(sessions):
        session.send(b"go\n")
        assert session.receive(20) == f"go {n}\n".encode()
        assert session.close().status == "ok"


def test_chosen_packages_and_nothing_else_of_site_packages() -> None:
    box = sandbox(packages=["numpy"], imports=["numpy"], workers=1)
    source = "import numpy as np\nprint(np.linalg.det(np.eye(3)))\nimport torch"
    outcome = box.run([Program(source, limits=Limits(cpu_s=20, wall_s=60))])[0]
    assert outcome.stdout == "1.0\n"
    assert "No module named 'torch'" in outcome.why
    box.close()


def test_a_package_brings_what_it_requires() -> None:
    names = {Path(entry).name for entry in package_entries(["jinja2"])}
    assert {"jinja2", "markupsafe"} <= names
    assert not names & {"torch", "numpy", "bin", ".."}


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(VerifierError, match=r"'numpyy'.*Did you mean 'numpy'"):
        sandbox(packages=["numpyy"])


def test_only_the_outermost_paths_are_shown() -> None:
    assert outermost(["/a/b", "/a", "/ab", "/a/b/c", "/a"]) == ("/a", "/ab")


@pytest.mark.parametrize("name", ["cpu_s", "wall_s", "memory_mb", "processes", "output_kb", "files", "disk_mb"])
def test_a_limit_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(VerifierError, match=rf"Limits\({name}=0\)"):
        Limits(**{name: 0})


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(VerifierError, match="Did you mean 'bubblewrap'"):
        sandbox("bubblewarp")


def test_auto_never_takes_the_unsafe_kind() -> None:
    """In a process that may make no namespaces and change no user, the error says what was tried and what to do."""
    code = (
        "from burnish.errors import VerifierError\nfrom burnish.verify.sandbox import calls, kernel, sandbox\n"
        "kernel.drop_capabilities()\nkernel.filter_calls(calls.program(kernel.machine()))\n"
        "try: sandbox()\nexcept VerifierError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert "No safe sandbox works on this machine" in done.stdout, done.stderr
    for kind in ("bubblewrap", "namespaces", "user"):
        assert f"  {kind}: sandbox '{kind}' does not work on this machine: " in done.stdout
    assert "apt-get install bubblewrap" in done.stdout


def test_the_unsafe_kind_says_so_and_still_keeps_time(capsys: pytest.CaptureFixture[str]) -> None:
    box = sandbox("unsafe", workers=1)
    assert box.name == "unsafe"
    assert box.why.startswith("UNSAFE")
    assert one(box, "print(6 * 7)").stdout == "42\n"
    assert one(box, "while True: pass", cpu_s=0.2).status == "timeout"
    box.close()


def test_every_safe_kind_says_what_it_protects_from(box: Sandbox) -> None:
    assert box.name in ("bubblewrap", "namespaces", "user")
    assert "no network" in box.why


def test_many_are_quiet_while_one_is_alone() -> None:
    traffic, inside, seen = Traffic(), [0], []

    def work(alone: bool) -> None:
        with traffic.alone() if alone else traffic.among_others():
            inside[0] += 1
            time.sleep(0.01)
            seen.append((alone, inside[0]))
            inside[0] -= 1

    threads = [threading.Thread(target=work, args=(n % 3 == 0,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(count == 1 for alone, count in seen if alone)
    assert max(count for alone, count in seen if not alone) > 1


def test_the_filters_numbers_are_those_of_this_machines_kernel() -> None:
    """Compared with the header of the C library, where it is installed."""
    found = [path for path in Path("/usr/include").rglob("unistd_64.h")] + [Path("/usr/include/asm-generic/unistd.h")]
    here = os.uname().machine
    wanted = [path for path in found if path.exists() and (("64" in path.name) == (here == "x86_64"))]
    if not wanted:
        pytest.skip("no kernel headers")
    numbers = dict(re.findall(r"#define\s+__NR_(\w+)\s+(\d+)", wanted[0].read_text()))
    column = 0 if here == "x86_64" else 1
    shared = [name for name in calls.REFUSED if name in numbers]
    assert len(shared) > 80
    assert {name: int(numbers[name]) for name in shared} == {name: calls.REFUSED[name][column] for name in shared}
