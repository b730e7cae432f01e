"""Word problems in GSM8K's manner with a number as answer: SVAMP, GSM-Hard, and MGSM in eleven languages. Evaluation only."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.readers import records as records_of
from burnish.data.sources.pinned import Pinned, TestFiles, TestSource, locate, one_of
from burnish.errors import DataError
from burnish.verify.mgsm import PREFIXES

_SVAMP = Pinned(
    "svamp/SVAMP.json", "5be77703a6d891ae476d7c082787ad361392aa02453b132516cdd5f4e7934e3e",
    1000, "MIT", "https://github.com/arkilpatel/SVAMP", "689d7ccac74b9983a2ac7cc3b264f441b99e7c53",
)  # fmt: skip
_GSM_HARD = Pinned(
    "gsm_hard/gsmhardv2.jsonl", "2032b0188a49ac0ec38cbe1e695e7d62d6dddc44bbb64f920728aca710e9ddef",
    1319, "Apache-2.0", "https://github.com/reasoning-machines/pal", "f81ca2a9777f002f98a6b4d0f10b61bd5c8feb02",
)  # fmt: skip
_MGSM: dict[str, str] = {
    "bn": "6b00bc7cc635547e866989284afa924d789b5affa2eb8de623c385dd943ad977",
    "de": "4dfea30fede44b813e2e496f5f0534049e83c7cc8aed6e00600b30ec62053626",
    "en": "50021d0f28cc957edcb44e7806425b1c7fbd648ddcb9e0a8ec689d10e57d40fa",
    "es": "5bd27ebdf00140cec845c5298dc17715f5cd57d8edda6df1976db40bf3f0750a",
    "fr": "36207c1c03fd7cd3ea491441eb755408199f94e4a647851df531bbaedc99d606",
    "ja": "59a2b50debe77981fd784cb3b2bef1505e3abf2a37116dc9d7a366ab029b4637",
    "ru": "6bd30fd2e80c5bac23f566fb4ae0e6a55a19578401fbf9a01fb21beb3645fef8",
    "sw": "2bac828d77229e65d7c7197b1ad4a2cb5b1fe99b163f2cbdd66501de6a2115c4",
    "te": "dd6b1452c244bb2e4ba254c01ea84137f80c1cefc57d69c23b0ed88b9c0f36b7",
    "th": "f3932dc5ad8e9d0ea82b017adc1e1461dd647af861e7166d6741986602a0cfd6",
    "zh": "b2fa63151022370a0de1f4211c8c284eae74b0f5a3b003b1d5982c0d4a73f661",
}
_MGSM_FILES = {
    language: Pinned(
        f"mgsm/mgsm_{language}.tsv", sha256, 250, "CC-BY-4.0", "https://github.com/google-research/url-nlp",
        "452a21ad3dae5668c06ceeac21ff073e1e40f9be",
    )
    for language, sha256 in _MGSM.items()
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SVAMPProblems(TestSource):
    """SVAMP (Patel et al. 2021, arXiv:2103.07191): 1,000 short problems, for verifier "gsm8k"; categories are the operations."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """Svamp."""
        return "svamp"

    @property
    def file(self) -> Pinned:
        """The authors' file."""
        return _SVAMP

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order: the story, a space and the question. One operation is misspelled in the file."""
        for number, row in _rows(self.file, data, self.name, ("Body", "Question", "Type", "ID")):
            category = row["Type"].replace("Divison", "Division")
            asked = f"{row['Body'].strip()} {row['Question'].strip()}"
            answer = as_text(row.get("Answer"), self.name, number)
            yield Problem(
                user(asked), Check("gsm8k", answer), f"#### {answer}", category=category, source=self.name, licence=self.licence,
                annotations={"key": row["ID"]},
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class GSMHardProblems(TestSource):
    """GSM-Hard (Gao et al. 2022, arXiv:2211.10435): GSM8K's 1,319 test questions with large numbers in them, for verifier "close_number"."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """gsm_hard."""
        return "gsm_hard"

    @property
    def file(self) -> Pinned:
        """The authors' file."""
        return _GSM_HARD

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in file order. Answers were computed by a program, so that some are fractions of people."""
        for number, row in _rows(self.file, data, self.name, ("input",)):
            answer = as_text(row.get("target"), self.name, number)
            yield Problem(
                user(row["input"].strip()), Check("close_number", answer), f"#### {answer}", source=self.name,
                licence=self.licence, annotations={"key": number},
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class MGSMProblems(TestFiles):
    """MGSM (Shi et al. 2022, arXiv:2210.03057): 250 of GSM8K's test questions in English and ten other languages, for verifier "mgsm".

    language: one of the eleven, or "" for all, which are the categories.
    """

    language: str = ""
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.language:
            one_of(self.language, _MGSM_FILES, "MGSMProblems(language=...)")

    @property
    def name(self) -> str:
        """Mgsm, or mgsm/<language>."""
        return f"mgsm/{self.language}" if self.language else "mgsm"

    @property
    def files(self) -> tuple[Pinned, ...]:
        """One file a language."""
        return (_MGSM_FILES[self.language],) if self.language else tuple(_MGSM_FILES.values())

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems, language after language. A line is a question, a tab and a whole number; nothing is quoted.

        A question and its translations share annotations["cluster"].
        """
        for file in self.files:
            language = Path(file.path).stem.removeprefix("mgsm_")
            path = locate(file, data, self.name)
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
                question, tab, answer = line.partition("\t")
                answer = answer.strip().replace(",", "")
                if not tab or not question.strip() or not answer.lstrip("-").isdecimal():
                    raise DataError(
                        f"{path}, line {number + 1}: expected a question, a tab and a whole number, got {line!r:.60}."
                    )
                target = {"answer": answer, "language": language}
                yield Problem(
                    user(question.strip()), Check("mgsm", json.dumps(target)), f"{PREFIXES[language]}: {answer}",
                    category=language, source=self.name, licence=self.licence, annotations={"key": f"{language}/{number}", "cluster": f"mgsm/{number}"},
                )  # fmt: skip


def as_text(value: Any, source: str, number: int) -> str:
    """A number of JSON as a person writes it, without an exponent: 51.0 is "51". Raises DataError for anything else."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise DataError(f"{source}, row {number + 1}: expected a number as answer, got {value!r:.60}.")
    if float(value).is_integer():
        return str(int(value))
    return format(Decimal(repr(float(value))), "f")


def _rows(
    file: Pinned, data: Path | None, source: str, fields: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number from 0, row) of a JSON or JSON Lines file whose `fields` are texts. Raises DataError (file, row, field)."""
    path = locate(file, data, source)
    for number, record in enumerate(records_of(path)):
        if record.value is None:
            raise DataError(f"{path}, {record.where}: {record.problem}.")
        for name in fields:
            if not isinstance(record.value.get(name), str):
                raise DataError(
                    f"{path}, {record.where}, field {name!r}: expected text, got {record.value.get(name)!r:.60}."
                )
        yield number, record.value
