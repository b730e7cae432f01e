"""Scores on clean and contaminated problems: from `burnish decontaminate`, from a recipe's datasets, and the numbers by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

from burnish.cli.main import main
from burnish.core.files import read_json, read_jsonl
from burnish.core.types import Check, Demo, Message, Problem, Row, Verdict, user
from burnish.data.curate import Curate, Take
from burnish.data.decontamination.items import HeldOut
from burnish.data.decontamination.tested import KnownItems, read_tested
from burnish.data.decontamination.verdict import Policy
from burnish.errors import ArtifactError, DataError
from burnish.eval.answer import GoldAnswers
from burnish.eval.contamination import FLAG, by_status, known_in, lines, mark, split, trained_on
from burnish.eval.run import evaluate
from burnish.eval.task import EvalTask
from burnish.pipeline.machine import exact
from burnish.pipeline.progress import Console
from burnish.pipeline.stage import Context, Stage

SPIDERS = "How many legs do seven spiders and three beetles have altogether when none of them has lost any"
PART = " ".join(SPIDERS.split()[:12])
WHEELS = "How many wheels do eleven bicycles and four tricycles have when one of the tricycles has lost a single wheel"
QUESTIONS = (SPIDERS, WHEELS, "What is the sum of the first hundred whole numbers that an even number divides")
QUIET = Console(io.StringIO(), quiet=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """Problems with these questions, each behind a worked example; the target is the question's number."""

    questions: tuple[str, ...] = QUESTIONS
    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "asked"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for i, question in enumerate(self.questions):
            notes = {"fields": [question]}
            yield Problem(user(f"Example: 1 + 1 = 2\n\n{question}?"), Check("same", str(i)), str(i), annotations=notes)


@dataclass(frozen=True, slots=True)
class Talks:
    """Demos that ask these questions."""

    questions: tuple[str, ...]
    VERSION: ClassVar[int] = 1
    name: ClassVar[str] = "talks"
    licence: ClassVar[str] = "CC0-1.0"
    url: ClassVar[str] = ""
    revision: ClassVar[str] = "generated"

    def rows(self, data: Path | None) -> Iterator[Row]:
        for question in self.questions:
            yield Demo((*user(question), Message("assistant", "Twelve.")))


@dataclass(frozen=True, slots=True)
class Same:
    """Right when the reply is the target."""

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = ()
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __call__(self, problem: Problem, text: str) -> Verdict:
        return Verdict(float(text == problem.check.target), "compared")


TASK = EvalTask("asked", Asked(), Same())


def asked(scores: Sequence[float | None]) -> tuple[list[Problem], dict[str, float | None]]:
    problems = [Problem(user(f"{i}?"), Check("same", str(i))) for i in range(len(scores))]
    return problems, {problem.id: score for problem, score in zip(problems, scores, strict=True)}


def test_by_hand():
    """Clean: 0 of 2 (one ungraded). Contaminated: 2 of 2. Unknown: 1, in neither. Difference -1, and wide."""
    problems, scores = asked([1.0, 1.0, 0.0, 0.0, None, 1.0])
    tested = KnownItems(("train",), {problem.id: i < 2 for i, problem in enumerate(problems[:5])})
    found = by_status(TASK, problems, scores, split(problems, tested))
    assert (found["clean"]["n"], found["clean"]["score"]) == (2, 0.0)
    assert (found["contaminated"]["n"], found["contaminated"]["score"]) == (2, 1.0)
    assert (found["unknown"], found["from"]) == (1, ["train"])
    assert found["difference"]["difference"] == -1.0
    assert found["difference"]["interval"][0] == -1.0
    assert -1.0 < found["difference"]["interval"][1] < 0.0
    nothing = by_status(TASK, problems, scores, split(problems, KnownItems()))
    assert (nothing["clean"], nothing["contaminated"], nothing["difference"], nothing["unknown"]) == (
        None,
        None,
        None,
        6,
    )


def test_an_item_is_known_by_its_question_whatever_stands_around_it():
    (problem, *_) = TASK.problems(None)
    text = HeldOut("t", Asked()).problems(None)[0]
    assert problem.id == text.id
    other = Problem(
        user(f"Read this. {SPIDERS}?"), Check("same", "0"), annotations={"fields": [f"  {SPIDERS.upper()}"]}
    )
    from burnish.data.decontamination.tested import text_key

    known = KnownItems((), {}, {text_key([SPIDERS]): True})
    assert (known.overlaps(problem), known.overlaps(other)) == (True, True)
    assert known.overlaps(Problem(user(SPIDERS + " now"), Check("same", "0"))) is None
    joined = known.joined(KnownItems(("b",), {}, {text_key([SPIDERS]): False, text_key([WHEELS]): False}))
    assert joined.overlaps(problem) is True
    assert joined.overlaps(Problem(user(WHEELS), Check("same", "0"))) is False


def test_from_burnish_decontaminate(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The test file holds the first two questions, and training data 12 of 18 tokens of the first: over one half, under 80 %.

    Clean 1, contaminated 1, unknown 1.
    """
    train, test = tmp_path / "train.jsonl", tmp_path / "asked.jsonl"
    train.write_text("".join(json.dumps({"prompt": f"Please: {q}", "completion": "x"}) + "\n" for q in (PART, "Up?")))
    test.write_text("".join(json.dumps({"question": question}) + "\n" for question in QUESTIONS[:2]))
    checked = tmp_path / "checked"
    assert main(["decontaminate", str(train), "--against", str(test), "--out", str(checked)]) == 0
    tested = known_in([checked])
    assert tested is not None
    problems = {"asked": TASK.problems(None)}
    out = tmp_path / "scores"
    evaluate([TASK], GoldAnswers(), seed=0, label="gold", model="gold", data=None, out=out, console=QUIET)
    before = (out / "samples.jsonl").read_bytes()
    for _ in range(2):
        scores = mark(out, [TASK], problems, tested)
        found = scores["tasks"][0]["contamination"]
        assert (found["clean"]["n"], found["contaminated"]["n"], found["unknown"]) == (1, 1, 1)
        assert read_json(out / "scores.json") == scores
    samples = [record for _, record in read_jsonl(out / "samples.jsonl")]
    assert [FLAG in sample["flags"] for sample in samples] == [True, False, False]
    assert lines(scores) == [
        "  asked            clean 100.0 (n 1), contaminated 100.0 (n 1), difference +0.0 [-79.3, +79.3], 1 not compared"
    ]
    mark(out, [TASK], problems, KnownItems())
    assert (out / "samples.jsonl").read_bytes() == before
    again = ["decontaminate", "--from", str(checked), "--coverage", "0.8", "--out", str(checked), "--remove", "none"]
    assert main(again) == 0
    capsys.readouterr()
    assert read_tested(checked).overlaps(problems["asked"][0]) is False
    with pytest.raises(DataError, match=r"holds no findings/ and no tested\.parquet"):
        known_in([out])
    with pytest.raises(DataError, match=r"--contamination .*nowhere: no such folder"):
        known_in([tmp_path / "nowhere"])
    assert known_in([]) is None


@dataclass(frozen=True)
class Model(Stage):
    """Stands for a model made from datasets."""

    data: tuple[Stage, ...]

    @property
    def name(self) -> str:
        return "model"


def made(stages: dict[str, Stage], tmp_path: Path) -> Context:
    """The datasets made; the context an evaluation of a model from them has."""

    def path_of(stage: Stage) -> Path:
        if not (tmp_path / stage.name).is_dir():
            raise ArtifactError(f"{stage.name} has not been made")
        return tmp_path / stage.name

    for name, stage in stages.items():
        (tmp_path / name).mkdir()
        stage.run(Context(tmp_path / name, exact(), path_of, None, tmp_path, QUIET))
    return Context(tmp_path, exact(), path_of, None, tmp_path, QUIET)


def curated(label: str, remove: Any, questions: tuple[str, ...], away: bool = True) -> Curate:
    tests = (HeldOut("asked", Asked(QUESTIONS[:2])),) if away else ()
    return Curate((Take(Talks(questions)),), away_from=tests, policy=Policy(remove), label=label)


def test_from_the_datasets_of_a_recipe(tmp_path: Path):
    """Rows that overlap and went leave no problem contaminated; rows that stayed do. Two datasets count together."""
    gone, stayed = curated("gone", "rows", (SPIDERS, "Up?")), curated("stayed", "none", (f"Well: {WHEELS}", "Down?"))
    plain = curated("plain", "rows", ("Left?",), away=False)
    ctx = made({"gone": gone, "stayed": stayed, "plain": plain}, tmp_path)
    problems = TASK.problems(None)

    def status(*data: Stage) -> list[bool | None]:
        tested = trained_on(Model(data), ctx)
        assert tested is not None
        return [tested.overlaps(problem) for problem in problems]

    assert status(gone, plain) == [False, False, None]
    assert status(gone, stayed) == [False, True, None]
    assert trained_on(Model((plain,)), ctx) is None
    found = trained_on(Model((gone, stayed)), ctx)
    assert found is not None
    assert found.origins == ("gone", "stayed")
