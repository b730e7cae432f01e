"""The published columns of Tülu 3 (arXiv:2411.15124), to stand beside ours: percentages as printed.

Tables 5 and 6 (development, 70B and 8B), 2 (closed models, some cells imputed by the paper), 4 (405B, where PopQA is 3-shot
and BBH 0-shot, and TruthfulQA and DROP are left out), 33 (unseen), 31 (unseen by stage, five of the seven), and the safety
breakdown. Every average is the plain mean of the rows of its column, safety counting as one, but for two (`MISPRINTS`);
beside our own scores averages are always taken anew from the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

URL = "https://arxiv.org/abs/2411.15124"

DEVELOPMENT = (
    "MMLU", "PopQA", "TruthfulQA", "BBH", "DROP", "MATH", "GSM8K", "HumanEval", "HumanEval+", "IFEval", "AlpacaEval 2", "Safety",
)  # fmt: skip
UNSEEN = ("GPQA", "MMLU-Pro", "AGIEval", "DeepMind Math", "BigCodeBench-Hard", "IFEval-OOD", "HREF")
SAFETY = ("HarmBench", "XSTest", "WildGuardTest", "JailbreakTrigger", "DoAnythingNow", "WildJailbreak")


@dataclass(frozen=True, slots=True)
class Column:
    """One model's published scores, in per cent by row name; a row the table lacks has no entry.

    average: as printed. table: where it stands. other: rows asked in another way than in tables 5 and 6, and how.
    """

    model: str
    scores: Mapping[str, float]
    average: float
    table: str
    other: Mapping[str, str] = field(default_factory=dict)

    def mean_of(self, rows: Iterable[str]) -> float | None:
        """The plain mean of these rows; None where the column lacks one, or has it in another way."""
        names = list(rows)
        if not names or any(name not in self.scores or name in self.other for name in names):
            return None
        return sum(self.scores[name] for name in names) / len(names)


def _table(
    table: str, models: tuple[str, ...], average: tuple[float, ...], rows: Mapping[str, tuple[float, ...]],
    other: Mapping[str, str] | None = None,
) -> tuple[Column, ...]:  # fmt: skip
    """Columns from a table's rows, one number a model."""
    return tuple(
        Column(model, {row: values[i] for row, values in rows.items()}, average[i], table, dict(other or {}))
        for i, model in enumerate(models)
    )


TABLE_6 = _table(
    "table 6",
    ("Llama 3.1 8B Instruct", "Qwen 2.5 7B Instruct", "Magpie 8B", "Gemma 2 9B Instruct", "Ministral 8B Instruct", "Tülu 3 8B SFT", "Tülu 3 8B DPO", "Tülu 3 8B"),
    (62.9, 66.5, 49.3, 60.4, 59.6, 60.6, 64.7, 65.1),
    {
        "MMLU": (71.2, 76.6, 62.0, 74.6, 68.5, 65.9, 68.7, 68.2),
        "PopQA": (20.2, 18.1, 22.5, 28.3, 20.2, 29.3, 29.3, 29.1),
        "TruthfulQA": (55.1, 63.1, 57.0, 61.4, 55.5, 46.8, 56.1, 55.0),
        "BBH": (71.9, 70.2, 55.2, 64.9, 70.8, 69.7, 68.7, 69.0),
        "DROP": (61.5, 54.4, 49.4, 58.8, 56.2, 61.3, 62.5, 62.6),
        "MATH": (42.5, 69.9, 5.1, 29.8, 40.0, 31.5, 42.0, 43.7),
        "GSM8K": (83.4, 83.8, 61.2, 79.7, 80.0, 76.2, 84.3, 87.6),
        "HumanEval": (86.3, 93.1, 75.4, 71.7, 91.0, 86.2, 83.9, 83.9),
        "HumanEval+": (82.9, 89.7, 69.1, 67.0, 88.5, 81.4, 78.6, 79.2),
        "IFEval": (80.6, 74.7, 38.8, 69.9, 56.4, 72.8, 81.1, 82.4),
        "AlpacaEval 2": (24.2, 29.0, 49.0, 43.7, 31.4, 12.4, 33.5, 34.5),
        "Safety": (75.2, 75.0, 46.4, 75.5, 56.2, 93.1, 87.2, 85.5),
    },
)  # fmt: skip
TABLE_5 = _table(
    "table 5",
    ("Llama 3.1 70B Instruct", "Qwen 2.5 72B Instruct", "Hermes 3 70B", "Nemotron 70B", "Tülu 3 70B SFT", "Tülu 3 70B DPO", "Tülu 3 70B"),
    (74.1, 72.8, 68.5, 72.0, 72.6, 76.2, 76.2),
    {
        "MMLU": (85.3, 85.5, 80.4, 83.8, 78.9, 83.3, 83.1),
        "PopQA": (46.4, 30.6, 48.1, 36.4, 48.6, 46.3, 46.5),
        "TruthfulQA": (66.8, 69.9, 66.5, 62.6, 55.7, 67.9, 67.6),
        "BBH": (83.0, 80.4, 83.6, 78.5, 82.6, 84.8, 85.0),
        "DROP": (77.0, 34.2, 73.2, 68.8, 77.2, 74.1, 74.3),
        "MATH": (56.4, 75.9, 41.9, 55.0, 53.7, 62.3, 63.0),
        "GSM8K": (93.7, 89.5, 90.0, 84.7, 91.1, 93.5, 93.5),
        "HumanEval": (93.6, 94.0, 89.6, 94.1, 92.9, 92.4, 92.4),
        "HumanEval+": (89.5, 90.8, 85.9, 85.5, 87.3, 88.4, 88.0),
        "IFEval": (88.0, 87.6, 76.0, 79.9, 82.1, 82.6, 83.2),
        "AlpacaEval 2": (33.4, 47.7, 28.4, 66.1, 26.3, 49.6, 49.8),
        "Safety": (76.5, 87.0, 57.9, 69.0, 94.4, 89.0, 88.3),
    },
)  # fmt: skip
TABLE_2 = _table(
    "table 2", ("GPT-3.5 Turbo", "GPT-4o mini", "Claude 3.5 Haiku"), (64.7, 69.6, 75.3),
    {
        "MMLU": (70.2, 82.2, 81.8),
        "PopQA": (45.0, 39.0, 42.5),
        "TruthfulQA": (62.9, 64.8, 64.9),
        "BBH": (66.6, 65.9, 73.7),
        "DROP": (70.2, 36.3, 78.4),
        "MATH": (41.2, 67.9, 68.0),
        "GSM8K": (74.3, 83.0, 90.1),
        "HumanEval": (87.1, 90.4, 90.8),
        "HumanEval+": (84.0, 87.0, 88.1),
        "IFEval": (66.9, 83.5, 86.3),
        "AlpacaEval 2": (38.7, 49.7, 47.3),
        "Safety": (69.1, 84.9, 91.8),
    },
)  # fmt: skip
TABLE_4 = _table(
    "table 4",
    ("Llama 3.1 405B Instruct", "Hermes 3 405B", "DeepSeek V3", "GPT-4o (11-24)", "Tülu 3 405B SFT", "Tülu 3 405B DPO", "Tülu 3 405B"),
    (79.0, 73.5, 75.9, 81.6, 77.5, 79.6, 80.7),
    {
        "MMLU": (88.0, 84.9, 82.1, 87.9, 84.4, 86.6, 87.0),
        "PopQA": (52.9, 54.2, 44.9, 53.6, 55.7, 55.4, 55.5),
        "BBH": (87.1, 87.7, 89.5, 83.3, 88.0, 88.8, 88.6),
        "MATH": (66.6, 58.4, 72.5, 68.8, 63.4, 59.9, 67.3),
        "GSM8K": (95.4, 92.7, 94.1, 91.7, 93.6, 94.2, 95.5),
        "HumanEval": (95.9, 92.3, 94.6, 97.0, 95.7, 97.2, 95.9),
        "HumanEval+": (90.3, 86.9, 91.6, 92.7, 93.3, 93.9, 92.9),
        "IFEval": (88.4, 81.9, 88.0, 84.8, 82.4, 85.0, 86.0),
        "AlpacaEval 2": (38.5, 30.2, 53.5, 65.0, 30.4, 49.8, 51.4),
        "Safety": (86.8, 65.8, 72.2, 90.9, 87.7, 85.5, 86.7),
    },
    {"PopQA": "3-shot", "BBH": "0-shot CoT"},
)  # fmt: skip
TABLE_33 = _table(
    "table 33",
    ("Llama 3.1 8B Instruct", "Hermes 3 8B", "Tülu 3 8B", "Llama 3.1 70B Instruct", "Hermes 3 70B", "Tülu 3 70B"),
    (36.4, 30.7, 34.2, 51.3, 43.1, 47.2),
    {
        "GPQA": (28.8, 32.8, 35.7, 43.8, 42.6, 48.0),
        "MMLU-Pro": (49.1, 40.9, 44.3, 68.3, 60.3, 65.8),
        "AGIEval": (64.2, 58.1, 59.3, 77.8, 73.3, 75.0),
        "DeepMind Math": (39.3, 28.3, 35.4, 62.4, 50.0, 49.8),
        "BigCodeBench-Hard": (15.5, 9.5, 7.4, 26.4, 14.2, 21.6),
        "IFEval-OOD": (26.1, 19.4, 24.3, 34.5, 24.6, 27.8),
        "HREF": (38.5, 26.2, 32.7, 45.6, 36.8, 42.3),
    },
)  # fmt: skip
TABLE_31 = _table(
    "table 31",
    ("Tülu 3 8B SFT", "Tülu 3 8B DPO", "Tülu 3 8B", "Tülu 3 70B SFT", "Tülu 3 70B DPO", "Tülu 3 70B"),
    (29.9, 31.9, 32.4, 41.0, 44.4, 44.4),
    {
        "GPQA": (31.9, 31.2, 35.7, 43.3, 48.0, 48.0),
        "AGIEval": (56.2, 61.8, 59.3, 73.2, 75.0, 75.0),
        "DeepMind Math": (32.3, 33.0, 35.4, 49.7, 49.4, 49.8),
        "BigCodeBench-Hard": (11.5, 9.5, 7.4, 12.2, 23.0, 21.6),
        "IFEval-OOD": (17.6, 23.9, 24.3, 26.8, 26.4, 27.8),
    },
)  # fmt: skip
# One row a model: the six in the order of SAFETY. The averages are the safety rows of tables 6 and 5.
_SIX: Mapping[str, tuple[float, ...]] = {
    "Llama 3.1 8B Instruct": (82.8, 92.7, 86.2, 78.8, 45.0, 65.6),
    "Ministral 8B Instruct": (53.4, 85.6, 68.1, 63.3, 16.0, 50.7),
    "Qwen 2.5 7B Instruct": (84.1, 91.8, 85.0, 71.0, 61.7, 56.2),
    "Tülu 3 8B SFT": (98.4, 90.4, 99.2, 95.8, 88.3, 86.7),
    "Tülu 3 8B DPO": (94.4, 92.4, 98.9, 87.0, 69.7, 81.1),
    "Tülu 3 8B": (94.7, 93.3, 98.5, 85.5, 62.0, 78.8),
    "Llama 3.1 70B Instruct": (80.6, 87.1, 81.3, 71.0, 80.0, 59.2),
    "Qwen 2.5 72B Instruct": (86.3, 93.6, 93.1, 89.8, 93.3, 66.0),
    "Hermes 3 70B": (54.7, 89.3, 66.6, 56.3, 26.7, 53.8),
    "Nemotron 70B": (84.4, 92.0, 84.9, 60.5, 36.3, 56.1),
    "Tülu 3 70B SFT": (98.8, 91.1, 99.1, 95.3, 93.7, 88.6),
    "Tülu 3 70B DPO": (97.8, 94.9, 99.2, 87.0, 69.0, 86.3),
    "Tülu 3 70B": (97.8, 92.4, 98.9, 86.7, 67.7, 86.2),
}
BREAKDOWN = tuple(
    Column(
        column.model, dict(zip(SAFETY, _SIX[column.model], strict=True)), column.scores["Safety"], "safety breakdown"
    )
    for column in (*TABLE_6, *TABLE_5)
    if column.model in _SIX
)

# Averages that the rows given above them do not have, by (table, model), with the mean of the rows to one decimal.
MISPRINTS: Mapping[tuple[str, str], float] = {
    ("table 4", "DeepSeek V3"): 78.3,
    ("table 33", "Llama 3.1 8B Instruct"): 37.4,
}

# What --columns chooses: tables of the development suite, of the unseen one and of safety, each beside its own suite.
COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "8b": (*TABLE_6, *TABLE_33[:3], *BREAKDOWN[:6]),
    "70b": (*TABLE_5, *TABLE_33[3:], *BREAKDOWN[6:]),
    "405b": TABLE_4,
    "closed": TABLE_2,
    "stages": (*TABLE_6[5:], *TABLE_5[4:], *TABLE_31, *BREAKDOWN[3:6], *BREAKDOWN[10:]),
}


def breakdown(column: Column) -> Mapping[str, float]:
    """The six safety scores of a column's model, {} where they are not published."""
    found = (each.scores for each in BREAKDOWN if each.model == column.model and "Safety" in column.scores)
    return next(found, {})
