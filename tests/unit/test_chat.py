"""`burnish chat`: two models that hear the same turns, replies that can be stopped, and what a terminal shows of it."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.cli.main import main
from burnish.model.toy import make_toy
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console, cells
from burnish.rollout.chat import chat
from burnish.rollout.engine import Sampling
from burnish.rollout.side_by_side import Columns, InTurn

torch.set_num_threads(1)
MACHINE = replace(exact(), slots=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [make_toy(root / f"model{seed}", seed=seed) for seed in range(2)]


def talk(folders: list[Path], *lines: str, out: io.StringIO | None = None, length: int = 12) -> tuple[str, str]:
    """(what the models said, what was said besides)."""
    target, heard = out or io.StringIO(), io.StringIO()
    chat(
        folders, MACHINE, Console(heard), names=[f.name for f in folders], sampling=Sampling(max_tokens=length),
        inp=io.StringIO("".join(f"{line}\n" for line in lines)), out=target,
    )  # fmt: skip
    return target.getvalue(), heard.getvalue()


def test_each_model_has_its_own_history(folders: list[Path]) -> None:
    """Beside another model a model says what it says alone: the turns of the other never reach it."""
    lines = ("How many apples?", "Write.", "/reset", "Write.")
    together, _ = talk(folders, *lines)
    alone = [talk([folder], *lines)[0] for folder in folders]
    for name, said in zip(("model0", "model1"), alone, strict=True):
        own = re.findall(rf"(?<=\[{name}\]\n)(.*?)\n(?=\[model|\Z)", together, re.DOTALL)
        assert len(own) == 3
        assert "\n".join(own) + "\n" == said
    assert alone[0] != alone[1]


def test_what_one_model_cannot_hear_the_other_does_not(folders: list[Path], tmp_path: Path) -> None:
    small = make_toy(tmp_path / "small", max_position_embeddings=96)
    said, heard = talk([folders[0], small], "the " * 100, "Write.")
    assert "do not fit the context of 96" in heard
    assert said == talk([folders[0], small], "Write.")[0]


class Interrupted(io.StringIO):
    """The person presses Ctrl-C when this much has been shown."""

    def __init__(self, after: int, stop: KeyboardInterrupt) -> None:
        super().__init__()
        self._left, self._stop = after, stop

    def write(self, text: str) -> int:
        self._left -= 1
        if self._left == 0:
            raise self._stop
        return super().write(text)


@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_stops_the_reply_and_not_the_program(folders: list[Path], count: int) -> None:
    before = threading.active_count()
    out = Interrupted(4, KeyboardInterrupt())
    said, heard = talk(folders[:count], "How many apples?", "Write.", out=out, length=300)
    assert "Stopped." in heard
    assert len(said) > 200, "the second turn was replied to"
    assert threading.active_count() == before


def test_a_sigterm_ends_the_program(folders: list[Path]) -> None:
    stop = KeyboardInterrupt()
    stop.signal = signal.SIGTERM  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        talk(folders[:1], "How many apples?", "Write.", out=Interrupted(4, stop), length=300)


def screen(written: str) -> list[str]:
    """The rows a terminal shows: each carriage return and erasing writes the row anew."""
    return [row.rpartition("\r\x1b[K")[2] for row in written.split("\n")]


def columns_of(texts: list[list[str]], order: list[int], width: int) -> tuple[list[str], list[str]]:
    """What two columns show of texts that come in pieces, in that order."""
    out = io.StringIO()
    view = Columns(out, ["a", "b"], width)
    left = [list(text) for text in texts]
    for number in order:
        if left[number]:
            view.text(number, left[number].pop(0))
    for number in (0, 1):
        for piece in left[number]:
            view.text(number, piece)
        view.end(number)
    rows = [row.split(" │ ") if " │ " in row else [row.removesuffix(" │"), ""] for row in screen(out.getvalue())[2:]]
    return [row[0].rstrip() for row in rows], [row[1].rstrip() for row in rows]


WORDS = st.lists(st.text(st.sampled_from("ab \nß漢"), max_size=9), max_size=8)


@settings(deadline=None, max_examples=150)
@given(WORDS, WORDS, st.lists(st.integers(0, 1), max_size=16), st.integers(20, 60))
def test_columns_show_all_of_both_texts(one: list[str], two: list[str], order: list[int], width: int) -> None:
    """Whatever order the pieces come in: no letter is lost or moved, no row is too wide, and words are cut only where a row
    is too short for one."""
    shown = columns_of([one, two], order, width)
    for rows, pieces in zip(shown, (one, two), strict=True):
        assert "".join(rows).replace(" ", "") == "".join(pieces).replace(" ", "").replace("\n", "")
        assert all(cells(row) <= (width - 4) // 2 for row in rows)
    assert shown == columns_of([["".join(one)], ["".join(two)]], [], width)


def test_columns_by_hand() -> None:
    """Two columns of 8: (20 - 1 - 3) / 2. Rows are final when both texts have left them; control characters are not shown."""
    left, right = columns_of([["one two three"], ["a\x1b[2Jb\nc", "d\te"]], [0, 1], 20)
    assert left == ["one two", "three", ""]
    assert right == ["a[2Jb", "cd   e", ""]


def test_texts_in_turn_by_hand() -> None:
    out = io.StringIO()
    view = InTurn(out, ["a", "b"])
    for number, piece in ((1, "x"), (0, "1"), (1, "y"), (0, "2")):
        view.text(number, piece)
    assert out.getvalue() == "[a]\n12"
    view.end(1)
    view.end(0)
    assert out.getvalue() == "[a]\n12\n[b]\nxy\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "0 models are named"),
        (("toy", "toy", "toy"), "3 models are named"),
        (("bundeld",), "Did you mean 'bundled'?"),
        (("toy", "--temperature", "-1"), "sampling.temperature=-1.0"),
        (("toy", "--min-p", "7"), "sampling.min_p=7.0"),
        (("toy", "--max-token", "7"), "Did you mean '--max-tokens'?"),
    ],
)
def test_mistakes_are_one_message(
    words: tuple[str, ...], said: str, capsys: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["chat", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "beside"), [(100, True), (60, False)])
def test_on_a_real_terminal(folders: list[Path], columns: int, beside: bool, tmp_path: Path) -> None:
    """Two turns, the first stopped by Ctrl-C; a wide terminal has both replies beside each other."""
    import fcntl
    import struct
    import termios

    for folder in folders:
        os.symlink(folder, tmp_path / folder.name)
        (tmp_path / f"base-{folder.name}").mkdir()
        os.symlink(folder, tmp_path / f"base-{folder.name}" / "model")
    models = [str(tmp_path / f"base-{folder.name}") for folder in folders]
    pid, handle = pty.fork()
    if not pid:
        words = ["-m", "burnish.cli", "chat", *models, "--max-tokens", "1500", "--machine", "exact"]
        os.execv(sys.executable, [sys.executable, *words])
    fcntl.ioctl(handle, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    shown = ""

    def wait(for_what: str, since: int) -> None:
        nonlocal shown
        deadline = time.monotonic() + 60
        while for_what not in shown[since:]:
            assert time.monotonic() < deadline, shown
            shown += os.read(handle, 4096).decode(errors="replace")

    wait("> ", 0)
    os.write(handle, b"How many apples?\n")
    wait(" │ " if beside else "]\r\n", 0)
    at = len(shown)
    wait("\r" if beside else " ", at)
    os.write(handle, b"\x03")
    wait("Stopped.", at)
    wait("> ", at)
    os.write(handle, b"/quit\n")
    _, status = os.waitpid(pid, 0)
    os.close(handle)
    assert status == 0
    assert (" │ " in shown) is beside
