"""Judges as the command line names them: a model in a folder, or one behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from burnish.core.types import user
from burnish.data.decontamination.paraphrase import QUESTION, verdict_of
from burnish.errors import DataError, RecipeError
from burnish.eval.judging import Judge
from burnish.pipeline.progress import Console
from burnish.rollout.api_batch import Batches
from burnish.rollout.api_engine import Endpoint
from burnish.rollout.local_answers import LocalModel
from burnish.verify.judge.ask import Answerer, Question

KEY = "BURNISH_JUDGE_KEY"
ENDPOINT_KEY = "BURNISH_ENDPOINT_KEY"
_TOKENS = 48
_CHARACTERS = 6000


@dataclass(frozen=True, slots=True)
class SameQuestion:
    """Asks a model whether two texts ask the same. Pairs that it cannot answer, for their length say, are ungraded."""

    judge_model: Answerer

    @property
    def name(self) -> str:
        """Which model."""
        return self.judge_model.name

    def judge(self, pairs: Sequence[tuple[str, str]]) -> list[bool | None]:
        """One verdict a pair. Raises DataError when the model cannot be asked, so that nothing counts as judged."""
        questions = [
            Question(user(QUESTION.format(item=item[:_CHARACTERS], row=row[:_CHARACTERS])), _TOKENS) for item, row in pairs
        ]  # fmt: skip
        answers = self.judge_model.answers(questions)
        for answer in answers:
            if answer.down:
                raise DataError(
                    f"--judge: {answer.why}\n  Verdicts so far are kept; run the same command again to go on."
                )
        return [None if answer.text is None else verdict_of(answer.text) for answer in answers]


def judge_of(spelling: str, model: str, machine: str) -> SameQuestion:
    """The judge that a person means by a folder or by an address; an endpoint's key is read from BURNISH_JUDGE_KEY.

    Raises RecipeError for an endpoint that does not answer or does not know the model, ModelError for a folder without one.
    """
    answerer = _answerer(spelling, model, machine)
    if isinstance(answerer, Endpoint):
        answerer.check()
    return SameQuestion(answerer)


def task_judge(
    spelling: str, model: str, form: Path | None, machine: str, folder: Path | None, console: Console, *, batch: bool = False
) -> Judge | None:  # fmt: skip
    """The judge of an evaluation's replies, spelled as for `judge_of`; None for "".

    form: a file with the text that the judge was trained on. folder: where its replies are kept, each paid once; None keeps them in memory.
    batch: an endpoint is asked in batches, which needs the folder.
    An endpoint that does not answer is told of and taken: replies to judge are kept, and the same command judges them later.
    Raises RecipeError for a form that cannot be read or has no judge, ModelError for a folder without a model.
    """
    if not spelling:
        if model or form:
            raise RecipeError("--judge-model and --judge-form say how a judge is asked, and no --judge is named.")
        return None
    if batch and folder is None and _is_address(spelling):
        raise RecipeError("--batch: a batch that is paid must be found again after a kill.\n  Add --out DIR.")
    answerer = _answerer(spelling, model, machine, "" if folder is None else str(folder), batch=batch)
    if isinstance(answerer, Endpoint):
        try:
            answerer.check()
        except RecipeError as error:
            console.line(
                f"  note: {error}\n  What is to be judged stays ungraded until the same command finds the judge."
            )
    try:
        text = form.read_text(encoding="utf-8") if form else ""
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"--judge-form {form}: {error}.\n  Give a text file.") from None
    return Judge(answerer, text)


def _is_address(spelling: str) -> bool:
    return spelling.startswith(("http://", "https://"))


def _answerer(
    spelling: str, model: str, machine: str, folder: str = "", *, batch: bool = False
) -> Endpoint | LocalModel:  # fmt: skip
    if not _is_address(spelling):
        return LocalModel.of(spelling, machine, folder)
    if not model:
        raise RecipeError(f"--judge {spelling} is an endpoint and needs the name of its model: --judge-model NAME.")
    return Endpoint(spelling, model, key=_key(KEY), folder=folder, batch=Batches() if batch else None)


def endpoint_of(url: str, model: str, batches: Path | None = None) -> Endpoint | None:
    """The model behind --url and --model-name; None where neither is given. Its key is read from BURNISH_ENDPOINT_KEY.

    batches: ask in batches, and keep them and their replies in this folder.
    Raises RecipeError where one of the two is missing.
    """
    if not url and not model:
        return None
    if not url or not model:
        raise RecipeError(
            f"--{'url' if url else 'model-name'} {url or model}: an endpoint needs its address and the name of its model.\n"
            "  --url http://HOST/v1 --model-name NAME"
        )
    folder, batch = ("", None) if batches is None else (str(batches), Batches())
    return Endpoint(url, model, key=_key(ENDPOINT_KEY), folder=folder, batch=batch)


def check_batch(batch: bool, endpoint: bool, judge: str) -> None:
    """Raise RecipeError for --batch where no endpoint is asked."""
    if batch and not endpoint and not _is_address(judge):
        raise RecipeError(
            "--batch: no endpoint is asked here, and models on this machine have no batches.\n"
            "  Add --engine endpoint or --judge http://HOST/v1, or leave it out."
        )


def _key(name: str) -> str:
    return name if os.environ.get(name) else ""
