"""Our published readings against open-instruct's own code: `if_functions.py` as of November 2024, when Tülu 3 was trained,
and `IFEvalG`, the checkers of IF-RLVR. Needs a clone and its libraries:

    git clone https://github.com/allenai/open-instruct
    pip install nltk==3.9.1 immutabledict langdetect absl-py && python -m nltk.downloader punkt_tab
    OPEN_INSTRUCT=open-instruct python -m pytest tests/oracle/test_open_instruct_oracle.py -m oracle

With --update-golden the verdicts on the replies by hand are recorded in tests/golden, for tests without a clone.
Two corners have no official verdict: langdetect raises where a reply has no letters, and `last_word_answer` where it is
blank; we take both as not followed.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.verify.ifeval import constraints_of
from burnish.verify.ifeval.constraints import PublishedRule
from tests.instruction_cases import CASES, RLVR, TULU3, Case

pytestmark = pytest.mark.oracle
GOLDEN = Path(__file__).parents[1] / "golden"
TRAINED = "9c2d44beca0727ba8c1fac205fc4957dd39e54f1"
Official = Callable[[str, dict[str, Any], str], bool]

COMMON = (
    "The moon rose over the sea.", "One. Two! Three?\n\nFour, five.", "* a\n- b\n**c** *d* [e] <<f>>", '"quoted, text"', "ALL CAPS HERE",
    "a******b", "Section 1 x Section 2 y P.S. z", '{"a": 1}',
)  # fmt: skip
MARKS = (
    ".", "!", "?", ",", ";", " ", "  ", "\n", "\n\n", "***", "* * *", "******", "-", "*", "**", "<<", ">>", "[", "]", '"', "'", "“", "”",
    "(", ")", "...", "1", "2.5", "\t", "`", "a", "I", "É", "ü", "ß", "İ", "&", "Dr.", "etc.", "U.S.", "Ph.D.", "x.com",
)  # fmt: skip


@pytest.fixture(scope="module")
def official() -> Iterator[Official]:
    """(id, kwargs, reply) to the official verdict."""
    clone = os.environ.get("OPEN_INSTRUCT")
    if not clone:
        pytest.skip("no oracle: OPEN_INSTRUCT names no clone of open-instruct")
    nltk = pytest.importorskip("nltk")
    pytest.importorskip("immutabledict")
    pytest.importorskip("absl")
    import langdetect

    if tuple(map(int, nltk.__version__.split(".")[:2])) != (3, 9):
        pytest.skip(f"compared with NLTK 3.9, this is {nltk.__version__}")
    show = ["git", "-C", clone, "show", f"{TRAINED}:open_instruct/if_functions.py"]
    functions: dict[str, Any] = {}
    exec(subprocess.run(show, capture_output=True, text=True, check=True).stdout, functions)
    sys.path.insert(0, clone)
    seed, langdetect.DetectorFactory.seed = langdetect.DetectorFactory.seed, 0
    registry = importlib.import_module("open_instruct.IFEvalG.instructions_registry").INSTRUCTION_DICT

    def verdict(name: str, kwargs: dict[str, Any], reply: str) -> bool:
        if name.startswith("tulu3:"):
            try:
                # verify_ifeval_sample strips the reply; what is true counts as followed, also a pair.
                return bool(functions["IF_FUNCTIONS_MAP"][name.removeprefix("tulu3:")](reply.strip(), **kwargs))
            except langdetect.lang_detect_exception.LangDetectException:
                return False
        checker = registry[name](name)
        checker.build_description(**kwargs)
        return bool(checker.check_following(reply))

    yield verdict
    sys.path.remove(clone)
    langdetect.DetectorFactory.seed = seed


def ours(name: str, kwargs: dict[str, Any], reply: str) -> bool:
    (constraint,) = constraints_of(json.dumps([{"id": name, "kwargs": kwargs}]))
    check = constraint.check_published if isinstance(constraint, PublishedRule) else constraint.check
    return check(reply).followed


def mutated(case: Case, rng: random.Random) -> str:
    """A reply near those by hand, or of their words and marks in any order."""
    replies = [reply for reply, _, _ in case.replies]
    words = [*" ".join(replies).split(), *(word for value in case.kwargs.values() for word in str(value).split())]
    kind = rng.random()
    if kind < 0.3:
        return rng.choice([" ", "\n", " * * * ", "***", "******", "-", "\n\n"]).join(
            rng.choices(replies, k=rng.randint(1, 4))
        )
    if kind < 0.6:
        return "".join(rng.choice([*words, *MARKS]) + rng.choice(["", " ", " "]) for _ in range(rng.randint(1, 14)))
    parts = list(rng.choice(replies))
    for _ in range(rng.randint(1, 3)):
        i = rng.randint(0, len(parts))
        parts[i : i + rng.randint(0, 1)] = [rng.choice(MARKS)] if rng.random() < 0.7 else []
    return "".join(parts)


def test_published_readings_equal_the_official_code(official: Official) -> None:
    rng = random.Random(0)
    followed: Counter[str] = Counter()
    asked = 0
    for case in CASES:
        for _ in range(150):
            reply = mutated(case, rng)
            if reply.strip():
                wanted = official(case.id, case.kwargs, reply)
                assert ours(case.id, case.kwargs, reply) == wanted, (case.id, case.kwargs, reply)
                followed[case.id] += wanted
                asked += 1
    assert asked > 9_000
    assert 0.15 < followed.total() / asked < 0.85
    assert min(followed[case.id] for case in CASES) > 0


@pytest.mark.parametrize(("name", "cases"), [("tulu3_functions", TULU3), ("ifrlvr", RLVR)])
def test_replies_by_hand_have_the_recorded_official_verdicts(
    official: Official, name: str, cases: list[Case], update_golden: bool
) -> None:
    lines = [
        json.dumps({"id": case.id, "kwargs": case.kwargs, "reply": reply, "followed": official(case.id, case.kwargs, reply)}, ensure_ascii=False)
        for case in cases
        for reply in dict.fromkeys([*(reply for reply, _, _ in case.replies), *COMMON])
    ]  # fmt: skip
    path = GOLDEN / f"{name}.jsonl"
    if update_golden:
        path.write_text("\n".join(lines) + "\n")
    assert path.read_text().splitlines() == lines
