"""The bar and the lines below it, on a real pseudo-terminal and on a pipe."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from terminals import Screen, terminal

from burnish.pipeline.progress import Bar, Console, cells, cut, plain


@pytest.fixture(autouse=True)
def usual_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a second after the last, so that every advance draws."""
    now = iter(range(10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))


def below(*lines: str) -> Callable[[int], Sequence[str]]:
    return lambda columns: lines


@pytest.mark.usefixtures("quick")
def test_the_lines_below_are_drawn_in_place() -> None:
    with terminal(100) as screen:
        console = Console(screen.stream)
        console.line("before")
        with console.bar("rl", 3, "steps") as bar:
            bar.advance(1, "the note", below("  reward 1", "  policy 1"))
            assert screen.read().splitlines()[2:] == ["  reward 1", "  policy 1"]
            bar.advance(1, "the note", below("  reward 2"))
            shown = screen.read().splitlines()
            assert shown[0] == "before"
            assert shown[1].startswith("  rl ━━━━━━━━━━━━━━━━╌╌╌╌╌╌╌╌ 2/3 steps")
            assert shown[2:] == ["  reward 2"]
            assert "the note" not in screen.written
            console.line("a message")
            assert screen.read().splitlines() == ["before", "a message"]
            bar.advance(1, "", below("  reward 3"))
        console.line("after")
        shown = screen.read().splitlines()
    assert [shown[0], shown[1], shown[3], shown[4]] == ["before", "a message", "  reward 3", "after"]
    assert "3/3 steps" in shown[2]
    assert "done in" in shown[2]


@pytest.mark.usefixtures("quick")
def test_a_narrow_terminal_has_no_line_that_wraps() -> None:
    with terminal(60) as screen:
        with Console(screen.stream).bar("rl", 9, "steps") as bar:
            for _ in range(4):
                bar.advance(1, "a note " * 20, below("x" * 200, "\x1b[1m" + "数" * 60 + "\x1b[0m"))
        shown = screen.read().splitlines()
    assert len(shown) == 3
    assert all(cells(line) <= 59 for line in shown)
    assert shown[1] == "x" * 58 + "…"


@pytest.mark.usefixtures("quick")
def test_a_terminal_made_narrower_leaves_nothing_behind() -> None:
    with terminal(100) as screen:
        console = Console(screen.stream)
        console.line("before")
        with console.bar("rl", 9, "steps") as bar:
            bar.advance(1, "", below("y" * 90, "z" * 90))
            screen.size(40)
            bar.advance(1, "", below("reward"))
        shown = screen.read().splitlines()
    assert shown[0] == "before"
    assert len(shown) == 3
    assert shown[2] == "reward"


@pytest.mark.usefixtures("quick")
def test_a_low_terminal_shows_the_first_lines() -> None:
    with terminal(80, lines=4) as screen:
        with Console(screen.stream).bar("rl", 9, "steps") as bar:
            for step in range(3):
                bar.advance(1, "", below(*(f"line {i} of step {step}" for i in range(9))))
        shown = screen.read().splitlines()
    assert shown[1:] == ["line 0 of step 2", "line 1 of step 2"]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("name", "value", "coloured"), [("TERM", "xterm", True), ("NO_COLOR", "1", False), ("NO_COLOR", "", True)]
)
def test_colours_follow_no_color(name: str, value: str, coloured: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with terminal(80) as screen:
        with Console(screen.stream).bar("rl", 9, "steps") as bar:
            bar.advance(1, "", below("\x1b[1mbold\x1b[0m"))
        assert screen.read().splitlines()[1] == "bold"
        assert ("\x1b[1m" in screen.written) is coloured


@pytest.mark.usefixtures("quick")
def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with terminal(80) as screen:
        bar = Bar(Console(screen.stream), "rl", 30, "steps")
        for _ in range(12):
            bar.advance(1, "loss 1", below("never"))
        shown = screen.read()
    assert "never" not in shown
    assert "\x1b" not in screen.written
    assert "loss 1" in shown


@pytest.mark.usefixtures("quick")
def test_a_pipe_gets_a_line_every_ten_seconds_with_the_note() -> None:
    said = io.StringIO()
    bar = Bar(Console(said), "rl", 40, "steps")
    for _ in range(39):
        bar.advance(1, "reward 0.5", below("never"))
    lines = said.getvalue().splitlines()
    assert len(lines) == 3
    assert all(line.startswith("  rl: ") and line.endswith("reward 0.5") for line in lines)
    assert "never" not in said.getvalue()


@pytest.mark.usefixtures("quick")
def test_slow_steps_tell_how_long_each_takes() -> None:
    said = io.StringIO()
    console = Console(said)
    bar = Bar(console, "rl", 20, "steps")
    for _ in range(11):
        time.monotonic(), *(time.monotonic() for _ in range(40))  # 41 s pass
        bar.advance()
    assert "42 s each" in said.getvalue()


@pytest.mark.usefixtures("quick")
def test_an_error_inside_the_loop_starts_on_a_line_of_its_own() -> None:
    with terminal(80) as screen:
        console = Console(screen.stream)

        def fails() -> None:
            with console.bar("rl", 9, "steps") as bar:
                bar.advance(1, "", below("reward"))
                raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            fails()
        screen.stream.write("Error: no\n")
        assert screen.read().splitlines()[1:] == ["reward", "Error: no"]


def test_a_quiet_console_says_nothing() -> None:
    said = io.StringIO()
    console = Console(said, quiet=True)
    console.show(["a"])
    console.line("b")
    console.draw("c", 0.5, "d", False, ["e"])
    assert said.getvalue() == ""


styled = st.lists(st.sampled_from(["a", "b", " ", "数", "\u0301", "é", "\x1b[1m", "\x1b[0m"]), max_size=60).map("".join)


@settings(deadline=None)
@given(styled, st.integers(1, 50))
def test_cut_text_fits_and_is_a_beginning(text: str, columns: int) -> None:
    short = cut(text, columns)
    assert cells(short) <= columns
    if cells(text) <= columns:
        assert short == text
    else:
        assert plain(text).startswith(plain(short).removesuffix("…"))
        assert plain(short).endswith("…")


@settings(deadline=None)
@given(
    st.lists(st.lists(st.text(alphabet="ab数 ", max_size=90), max_size=6), min_size=1, max_size=6), st.integers(10, 70)
)
def test_whatever_is_drawn_the_screen_holds_the_last_frame_alone(frames: list[list[str]], columns: int) -> None:
    with terminal(columns) as made:
        console = Console(made.stream)
        console.line("top")
        for frame in frames:
            console.show(["head", *frame])
        want = "\n".join(["top", "head", *(cut(line, columns - 1).rstrip() for line in frames[-1])]).rstrip()
        assert made.read() == want


def test_the_terminal_of_these_tests_wraps_as_terminals_do() -> None:
    """Five letters in a terminal of four columns are two rows; going one row up and clearing leaves nothing."""
    screen = Screen(4)
    screen.feed("abcde")
    assert screen.rows == [["a", "b", "c", "d"], ["e"]]
    screen.feed("\r\x1b[1A\x1b[Jx")
    assert screen.text == "x"
