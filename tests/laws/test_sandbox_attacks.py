"""Every attack is contained, graded right, and leaves nothing behind for the next program or on the machine."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sandbox_attacks import ATTACKS, Attack

from burnish.errors import VerifierError
from burnish.verify.sandbox import Program, Remote, Sandbox, sandbox

ROOT = Path(__file__).parents[2]
CLEAN = "import os, random\nprint(os.getcwd() and os.listdir('.'), os.listdir('/tmp/shm') if os.path.exists('/tmp/box') else [], random.random() < 1)"


def executor(kind: str, scratch: Path) -> tuple[Sandbox, subprocess.Popen[str]]:
    """The same kind under the system's Python: a separate user may not enter the folder of every interpreter."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no other Python here")
    token = secrets.token_hex(16)
    process = subprocess.Popen(
        [python, "-B", "-m", "burnish.verify.sandbox", "--kind", kind, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "TMPDIR": str(scratch), "BURNISH_SANDBOX_TOKEN": token},
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline() + process.stdout.readline()
    if "listening on " not in said:
        reason = process.communicate()[1]
        pytest.skip(f"kind {kind} does not work here: {reason[-300:]}")
    return Remote(said.split("listening on ")[1].strip(), token), process


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder for temporary files, ours alone."""
    kept, tempfile.tempdir = tempfile.tempdir, "/tmp"
    with tempfile.TemporaryDirectory() as folder:  # not pytest's own, which other users may not enter
        os.chmod(folder, 0o755)
        tempfile.tempdir = folder
        yield Path(folder)
        tempfile.tempdir = kept


KINDS = ("namespaces", "bubblewrap", "user")
# All attacks in the kind that needs no installed program, a sample in the others; `-m slow` runs the rest.
CASES = [
    pytest.param(kind, one, id=f"{kind}-{one.name.replace(' ', '-')}", marks=[pytest.mark.slow] * bool(rest))
    for kind in KINDS
    for number, one in enumerate(ATTACKS)
    for rest in (kind != "namespaces" and number % 4,)
]


@pytest.fixture(scope="module", params=KINDS)
def box(request: pytest.FixtureRequest, scratch: Path) -> Iterator[Sandbox]:
    os.environ["BURNISH_TEST_SECRET"] = "hidden-from-programs"
    process = None
    try:
        made = sandbox(request.param, workers=2)
    except VerifierError as error:
        if request.param != "user":
            pytest.skip(str(error))
        made, process = executor(request.param, scratch)
    yield made
    made.close()
    assert process or state(scratch)[0] == []
    del os.environ["BURNISH_TEST_SECRET"]
    if process:
        process.terminate()
        process.communicate()


def state(folder: Path) -> tuple[list[str], list[str], int]:
    """What could be left behind: files where the sandbox may make some, mounts, and processes below this one."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{name}/stat").read_text()
                parents[int(name)] = int(text[text.rindex(")") + 2 :].split()[1])
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    files = [str(path) for path in folder.rglob("*")]
    return sorted(files), sorted(Path("/proc/self/mountinfo").read_text().splitlines()), len(below)


@pytest.mark.parametrize(("box", "one"), CASES, indirect=["box"])
def test_attack_is_contained_and_graded_right(box: Sandbox, one: Attack, scratch: Path) -> None:
    box.run([Program(CLEAN)])
    before = state(scratch)
    outcome = box.run([Program(one.source, limits=one.limits)])[0]
    assert state(scratch) == before
    assert outcome.status in one.statuses, outcome
    assert "BROKEN" not in outcome.stdout, outcome.stdout
    assert one.said is None or outcome.stdout == one.said, outcome
    assert outcome.why
    assert len(outcome.stdout) <= one.limits.output_kb << 10
    assert box.run([Program(CLEAN)])[0].stdout == "[] [] True\n"


@pytest.mark.parametrize("one", ATTACKS[::9], ids=lambda one: one.name.replace(" ", "-"))
def test_victims_beside_an_attack_pass(box: Sandbox, one: Attack) -> None:
    """Honest programs that run at the same time as an attack are graded as without it."""
    honest = Program("assert sorted([3, 1, 2]) == [1, 2, 3]\nprint(input())", "done")
    outcomes = box.run([honest, Program(one.source, limits=one.limits), honest, honest])
    assert [o.status for o in (outcomes[0], *outcomes[2:])] == ["ok"] * 3
    assert [o.stdout for o in (outcomes[0], *outcomes[2:])] == ["done\n"] * 3


def test_the_suite_runs_somewhere() -> None:
    """On Linux at least one safe kind contains; otherwise all of the above would be skipped without a word."""
    assert sandbox().name in ("bubblewrap", "namespaces", "user")
