r"""Our mathematics beside lm-eval's Minerva and Hendrycks code and beside Math-Verify.

Known differences, explained in docs/reference/verifiers/math.md:
- lm-eval 0.4.13 spares \infty, \sqrt[3] and "2,3,4" in the Minerva normal form; ours is that of 0.4.3, which Tülu 3 used;
- lm-eval's `is_equiv` says at once that equal texts are equal; in 0.4.3 sympy had to subtract them;
- where our exact comparison and Math-Verify differ, DIFFERENT lists both verdicts.
"""

from __future__ import annotations

import importlib.util
import random
import re
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from burnish.core.types import Check, Problem, user
from burnish.data.sources.math import MATHProblems
from burnish.verify.math import Math, extract
from burnish.verify.math.answers import compare
from burnish.verify.math.normal_forms import hendrycks, hendrycks_equal, minerva
from burnish.verify.math.symbolic import proved_equal, sympy_equal

pytestmark = pytest.mark.oracle

# (reference, answer, Math-Verify 0.9.0, ours)
DIFFERENT = (
    (r"\frac{1}{12}", "0.0833333333333333", True, False),
    (r"\sqrt2", "1.414214", True, False),
    ("(1,2)", r"\{1,2\}", True, False),
    ("5", "2x+3=5", True, False),
    ("e", "E", True, False),
    (r"5\text{ cm}", r"5\text{ m}", True, False),
    ("101_2", "101_3", True, False),
    (r"8\text{ a.m.}", r"8\text{ p.m.}", True, False),
    ("p=5,q=2;p=7,q=2", "(5,2),(7,2)", True, False),
    (r"x \in [-2,7]", r"-2 \le x \le 7", False, True),
    (r"50\%", "0.5", False, True),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "(1,2)", False, True),
    (r"0.\overline{3}", r"\frac13", False, True),
    (r"\emptyset", r"\varnothing", False, True),
)
UNIT_IN_COMMAND = re.compile(r"\\[A-Za-z]*(?:ft|sue|km|cm|gm|ways|square|units|points|feet|cents|mph|hours)")
PIECES = (
    "",
    "=",
    "$",
    "\\frac",
    "\\sqrt",
    "/",
    "\\text{ a}",
    " ",
    ".",
    "0.5",
    "{",
    "}",
    "\\boxed{",
    "\\text{",
    "mbox",
    "\\$",
    "3",
)


@pytest.fixture(scope="module")
def official() -> Iterator[tuple[Any, Any]]:
    """lm-eval's Minerva and Hendrycks modules, without its start-up, which imports half of its tasks."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or spec.origin is None:
        pytest.skip("no oracle: pip install 'burnish[oracle,math]'")
    missing = "datasets" not in sys.modules and importlib.util.find_spec("datasets") is None
    if missing:  # named in an annotation only
        sys.modules["datasets"] = types.ModuleType("datasets")
        sys.modules["datasets"].Dataset = object  # type: ignore[attr-defined]
    modules = []
    for name in ("minerva_math", "hendrycks_math"):
        place = Path(spec.origin).parent / "tasks" / name / "utils.py"
        found = importlib.util.spec_from_file_location(f"official_{name}", place)
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        with warnings.catch_warnings(action="ignore"):  # a "\\%" in a plain string
            found.loader.exec_module(module)
        modules.append(module)
    yield modules[0], modules[1]
    if missing:
        del sys.modules["datasets"]


@pytest.fixture(scope="module")
def rows(data_dir: Path) -> list[Problem]:
    return [row for split in ("train", "test") for row in MATHProblems(split).rows(data_dir)]  # type: ignore[arg-type]


def mutated(text: str, rng: random.Random) -> str:
    letters = list(text)
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(letters) + 1)
        letters[at : at + rng.randint(0, 2)] = rng.choice(PIECES)
    return "".join(letters)


def published(function: Any, *args: str) -> str | None:
    """What the official function gives, or None where it raises."""
    try:
        return str(function(*args))
    except (AssertionError, IndexError, ValueError):
        return None


def ours(function: Any, *args: str) -> str | None:
    try:
        return str(function(*args))
    except ValueError:
        return None


def test_normal_forms_and_last_box(official: tuple[Any, Any], rows: list[Problem]) -> None:
    """On every answer and solution of MATH, as they are and twice damaged at random."""
    theirs_minerva, theirs_hendrycks = official
    rng = random.Random(0)
    compared, odd = 0, 0
    for row in rows:
        for damaged in (False, True, True):
            text = mutated(row.check.target, rng) if damaged else row.check.target
            assert ours(hendrycks, text) == published(theirs_hendrycks.strip_string, text)
            form, theirs = minerva(text), theirs_minerva.normalize_final_answer(text)
            if not changed_since(text, form, theirs):
                assert damaged or form == theirs, text
                compared, odd = compared + 1, odd + (form != theirs)
        for text in (row.solution, mutated(row.solution, rng)):
            box = theirs_minerva.last_boxed_only_string(text)
            assert extract.last_box(text) == (None if box is None else published_box(theirs_minerva, box))
    assert compared > 30_000
    assert odd < 0.001 * compared, "unit words that damage has put inside commands"


def changed_since(text: str, form: str, theirs: str) -> bool:
    """True for what lm-eval treats in another way since 0.4.3: unit words inside commands, indexed roots, lists of digits."""
    squeezed = theirs + " " + text.replace(" ", "").replace("mbox", "text").replace("$", "")
    return bool(UNIT_IN_COMMAND.search(squeezed) or "sqrt[" in squeezed or (form.isdigit() and "," in text + theirs))


def published_box(module: Any, box: str) -> str | None:
    if box.startswith("\\fbox"):  # the official code asserts \boxed and would end the run
        return box[len("\\fbox{") : -1]
    return published(module.remove_boxed, box)


def test_the_minerva_phrase(official: tuple[Any, Any], rows: list[Problem]) -> None:
    theirs, _ = official
    rng = random.Random(1)
    for row in rng.sample(rows, 500):
        phrase = f"Final Answer: The final answer is ${row.check.target}$."
        for reply in (
            row.solution,
            f"{row.solution}\n{phrase} I hope it is correct.",
            phrase,
            phrase + " ",
            mutated(phrase, rng),
        ):
            found = theirs.get_unnormalized_answer(reply)
            assert (extract.minerva_phrase(reply) or "[invalidanswer]") == (found or "[invalidanswer]")


def test_equality_by_sympy_and_by_hendrycks(official: tuple[Any, Any], rows: list[Problem]) -> None:
    """On pairs of near answers in Minerva normal form; where the texts are equal, lm-eval does not ask sympy."""
    theirs_minerva, theirs_hendrycks = official
    rng = random.Random(2)
    for row in rng.sample(rows, 60):
        gold = minerva(row.check.target)
        for other in (minerva(mutated(row.check.target, rng)), f"{gold}+0", f"1*{gold}"):
            assert hendrycks_equal(gold, other) == theirs_hendrycks.is_equiv(gold, other)
            if other != gold and other:
                assert sympy_equal(gold, other) == bool(theirs_minerva.is_equiv(gold, other)), (gold, other)


def test_scores_of_whole_replies(official: tuple[Any, Any], rows: list[Problem]) -> None:
    """lm-eval's exact_match of the Minerva protocol, and ours; equal but for answers that sympy cannot subtract."""
    theirs, _ = official
    rng = random.Random(3)
    spared = 0
    for row in rng.sample(rows, 100):
        document = {"answer": theirs.normalize_final_answer(row.check.target), "solution": row.solution}
        for answer in (row.check.target, mutated(row.check.target, rng)):
            if any(changed_since(text, minerva(text), "") for text in (answer, row.check.target)):
                continue
            reply = f"Steps.\nFinal Answer: The final answer is ${answer}$. I hope it is correct."
            want = bool(theirs.process_results(document, [reply])["exact_match"])
            got = Math("minerva")(Problem(user("?"), Check("math", row.check.target)), reply).score == 1.0
            if got != want:
                assert want, (row.check.target, answer)
                assert minerva(answer) == minerva(row.check.target)
                spared += 1
    assert spared < 40, spared


def theirs_equal(gold: str, answer: str) -> bool:
    from math_verify import parse, verify

    return bool(verify(parse(f"${gold}$"), parse(f"${answer}$")))


def ours_equal(gold: str, answer: str) -> bool:
    found = compare(gold, answer)
    return proved_equal(gold, answer) if found is None else found


@pytest.mark.parametrize(("gold", "answer", "theirs", "here"), DIFFERENT)
def test_where_math_verify_and_we_differ(gold: str, answer: str, theirs: bool, here: bool) -> None:
    assert (theirs_equal(gold, answer), ours_equal(gold, answer)) == (theirs, here)


@pytest.mark.slow
def test_math_verify_agrees_on_real_answers(rows: list[Problem]) -> None:
    """Reference answers with themselves, with another row's answer, and with one digit changed."""
    rng = random.Random(4)
    differ = []
    for row in rng.sample(rows, 100):
        gold = row.check.target
        others = [gold, rng.choice(rows).check.target]
        digits = [at for at, character in enumerate(gold) if character.isdigit()]
        if digits:
            at = rng.choice(digits)
            others.append(f"{gold[:at]}{(int(gold[at]) + 1) % 10}{gold[at + 1 :]}")
        differ += [(gold, other) for other in others if theirs_equal(gold, other) != ours_equal(gold, other)]
    assert len(differ) <= 4, differ
