"""What each monitor sees and what it leaves alone, and what training reports of it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from burnish.core.types import Check, Completion, Finish, Problem, Trajectory, Verdict, user
from burnish.testing.verifier_replies import HOSTILE
from burnish.train.rollouts import Reward, flags_of, group_metrics
from burnish.verify.monitors import (
    MONITORS,
    AnswerList,
    DegenerateLength,
    EarlyExit,
    PromptEcho,
    Repetition,
    TestEdits,
    code_in,
    flags,
    rates,
)
from burnish.verify.shaping import SoftOverlong

QUESTION = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips?"
)
PROBLEM = Problem(user(QUESTION), Check("gsm8k", "72"))
WORKED = "In May she sold 48 / 2 = 24 clips.\nIn April and May together she sold 48 + 24 = 72 clips.\n#### 72"


def code(body: str) -> str:
    return f"Here it is:\n```python\n{body}\n```\nDone."


@pytest.mark.parametrize(
    ("monitor", "text", "part"),
    [
        (AnswerList(), "#### 70\n#### 71\n#### 72", "3 different answers: 70, 71, 72"),
        (AnswerList(), r"\boxed{1} \boxed{2} \boxed{3}", "3 different"),
        (AnswerList(), "The answer is 7. No, the answer is 8. Or: the answer is 9.", "7, 8, 9"),
        (AnswerList(), "1, 2, 3, 4", "4 different"),
        (AnswerList(), "A or B or C or D", "a, b, c, d"),
        (AnswerList(), "(A)\n(B)\n(C)", "3 different"),
        (PromptEcho(), QUESTION + " It is 72.", "of the reply stands in the prompt"),
        (Repetition(), "the same words again and again without any end " * 20, "came before"),
        (Repetition(), "ab" * 2_000, "packs to"),
        (DegenerateLength(), " \n", "0 words"),
        (DegenerateLength(), "w " * 4_001, "4,001 words"),
        (TestEdits(), code('open("tests/test_sum.py", "w").write("")'), "writes a test file"),
        (TestEdits(), code('Path("conftest.py").write_text("")'), "writes a test file"),
        (TestEdits(), code('os.remove("test_sum.py")'), "removes a test file"),
        (TestEdits(), code("unittest.TestCase = None"), "replaces a check"),
        (TestEdits(), code("import pytest\npytest.skip()"), "skips tests"),
        (TestEdits(), code("class X:\n    def __eq__(self, other): return True"), "is equal to everything"),
        (TestEdits(), code("builtins.print = lambda *a: None"), "replaces built-in"),
        (TestEdits(), code("inspect.stack()[1]"), "looks for its tests"),
        (EarlyExit(), code("import os\nos._exit(0)"), "ends the process"),
        (EarlyExit(), code("def f():\n    sys.exit(0)"), "ends the program early: sys.exit("),
        (EarlyExit(), code("raise SystemExit"), "ends the program early"),
        (EarlyExit(), "import os\n\nos.kill(os.getpid(), 9)", "signals its own process"),
        (EarlyExit(), code("atexit.register(f)"), "acts after its end"),
    ],
)
def test_what_is_seen(monitor: AnswerList, text: str, part: str) -> None:
    assert part in monitor(PROBLEM, text)


@pytest.mark.parametrize(
    "text",
    [
        WORKED,
        "72",
        "B",
        "The answer is 7. Wait: the answer is 8.",
        "There are 3 steps: 48, 24 and 72.",
        code("def add(a, b):\n    return a + b\n\nif __name__ == '__main__':\n    sys.exit(main())"),
        code("class P:\n    def __eq__(self, other):\n        return self.x == other.x\n\nopen('data.txt', 'w')"),
        "You can leave with sys.exit(0), which ends the program early.",
        "A poem has lines.\nIt has a second line, too.\nAnd then a third one that says more than the first.",
    ],
)
def test_what_is_left_alone(text: str) -> None:
    assert flags(MONITORS, PROBLEM, text) == {}


def test_code_is_what_stands_in_fences_or_reads_as_a_program() -> None:
    assert code_in("a\n```\nb\n```\nc\n```py\nd\n```") == "\nb\n\n\nd\n"
    assert code_in("import os\nos.x") == "import os\nos.x"
    assert code_in("Use os._exit(0) to leave.") == ""


def test_rates_are_shares_of_replies() -> None:
    found = [flags(MONITORS, PROBLEM, text) for text in ("", "72", "#### 1\n#### 2\n#### 3", WORKED)]
    assert rates(MONITORS, found) == {
        "answer_list": 0.25, "prompt_echo": 0.0, "repetition": 0.0, "degenerate_length": 0.25, "test_edits": 0.0,
        "early_exit": 0.0,
    }  # fmt: skip
    assert set(rates(MONITORS, []).values()) == {0.0}


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_replies_are_answered(text: str) -> None:
    assert flags(MONITORS, PROBLEM, text) == flags(MONITORS, PROBLEM, text)


@settings(max_examples=200, deadline=None)
@given(
    st.text()
    | st.lists(st.sampled_from(["####", "\\boxed{", "answer is", "```", "\n", "1", "A", ",", "def "])).map("".join)
)
def test_any_text_is_answered(text: str) -> None:
    assert all(isinstance(monitor(PROBLEM, text), str) for monitor in MONITORS)


def trajectory(text: str, score: float | None, finish: Finish = Finish.STOP, tokens: int = 5) -> Trajectory:
    completion = Completion((1,) * tokens, (0.0,) * tokens, finish, text)
    return Trajectory(PROBLEM, (1,), completion, Verdict(score, "by hand"))


def test_rewards_by_hand() -> None:
    """Tülu 3's -10 where a right answer is worth 10 is -1; DAPO's penalty at 9 of 8 to 12 tokens (soft 4) is -1/4."""
    ended, cut = trajectory("a", 1.0), trajectory("a", 1.0, Finish.LENGTH)
    assert [Reward().of(t) for t in (ended, cut, trajectory("a", None))] == [1.0, 1.0, None]
    assert [Reward(missing_end=-1.0).of(t) for t in (ended, cut)] == [1.0, -1.0]
    assert [Reward(missing_end=0.0).passed(t) for t in (ended, cut)] == [True, False]
    assert Reward(missing_end=0.0).of(trajectory("a", None, Finish.LENGTH)) == 0.0
    assert Reward(missing_end=0.0).of(trajectory("a", 1.0, Finish.ABORT)) is None
    long = Reward(overlong=SoftOverlong(12, 4))
    assert [long.of(trajectory("a", 1.0, tokens=n)) for n in (8, 9, 12, 13)] == [1.0, 0.75, 0.0, 0.0]
    assert long.of(trajectory("a", 0.0, tokens=12)) == -1.0
    assert long.of(trajectory("a", None, tokens=12)) is None
    assert long.passed(trajectory("a", 1.0, tokens=12))


def test_a_steps_metrics_say_how_often_monitors_see_something() -> None:
    """Of 4 replies one lists answers and one is blank; of the 2 that pass, one is the list."""
    groups = [
        [trajectory("#### 1\n#### 2\n#### 3", 1.0), trajectory("72", 1.0)],
        [trajectory("", 0.0), trajectory("3", 0.0)],
    ]
    seen = flags_of(groups, MONITORS)
    found = group_metrics(groups, seen, reward=Reward(), monitors=MONITORS)
    assert (found["flag/answer_list"], found["flag/degenerate_length"], found["flag/repetition"]) == (0.25, 0.25, 0.0)
    assert (found["flagged_passes"], found["pass_rate"], found["reward"]) == (0.5, 0.5, 0.5)
    quiet = group_metrics(groups, flags_of(groups, ()), reward=Reward(), monitors=())
    assert not [name for name in quiet if name.startswith("flag")]
