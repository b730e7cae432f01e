"""Invented rows in the columns that benchmarks are published in; none is of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MMLU_PRO: list[dict[str, Any]] = [
    {
        "question_id": 70, "question": "Which is a colour?", "options": ["stone", "red", "run"], "answer": "B", "answer_index": 1,
        "cot_content": "", "category": "other", "src": "invented",
    },
    {
        "question_id": 71, "question": "2 + 2?", "options": [str(i) for i in range(10)], "answer": "E", "answer_index": 4,
        "cot_content": "", "category": "math", "src": "invented",
    },
]  # fmt: skip
GPQA: list[dict[str, Any]] = [
    {
        "Question": "What does a prism do?", "Correct Answer": " parts light [title] by colour\n", "Incorrect Answer 1": "melts [1] ice",
        "Incorrect Answer 2": "bends  iron", "Incorrect Answer 3": "sings", "Explanation": "", "Record ID": "rec1",
        "High-level domain": "Physics", "Canary String": "",
    },
    {
        "Question": "Which is an acid?", "Correct Answer": "vinegar", "Incorrect Answer 1": "chalk", "Incorrect Answer 2": "salt",
        "Incorrect Answer 3": "sand", "Explanation": "", "Record ID": "rec2", "High-level domain": "Chemistry", "Canary String": "",
    },
]  # fmt: skip
BIGCODEBENCH: list[dict[str, Any]] = [
    {
        "task_id": "BigCodeBench/1", "complete_prompt": "", "doc_struct": "{}", "libs": "['json', 'os']", "entry_point": "task_func",
        "instruct_prompt": "Give the names in a JSON text.\nYou should write self-contained code starting with:\n```\nimport json\ndef task_func(text):\n```\n\n",
        "code_prompt": "import json\ndef task_func(text):\n", "canonical_solution": "    return sorted(json.loads(text))",
        "test": (
            "import unittest\nclass TestCases(unittest.TestCase):\n"
            "    def test_order(self):\n        self.assertEqual(task_func('{\"b\": 1, \"a\": 2}'), ['a', 'b'])\n"
            "    def test_empty(self):\n        self.assertEqual(task_func('{}'), [])\n"
        ),
    },
]  # fmt: skip
OUT_OF_DISTRIBUTION: list[dict[str, Any]] = [
    {
        "key": "1", "prompt": "Write about rain. Include at least 2 numbers.", "instruction_id_list": ["count:numbers"],
        "kwargs": [{"N": 2, "reference_text": None}],
    },
]  # fmt: skip
HREF: list[dict[str, Any]] = [
    {
        "category": "Closed QA", "instruction": "Which city is the capital of France?", "output": "It is a big city.",
        "generator": "a model", "reference": "The capital of France is Paris.",
    },
    {
        "category": "Brainstorm", "instruction": "What can one do when it rains?", "output": "Nothing.", "generator": "a model",
        "reference": "Read a book, bake bread, or call a friend.",
    },
]  # fmt: skip
DROP_TRAIN: list[dict[str, Any]] = [
    {
        "section_id": "s", "query_id": str(i), "passage": f"Passage {i} has {i} goals.", "question": f"How many goals has {i}?",
        "answer": {"number": str(i), "date": {"day": "", "month": "", "year": ""}, "spans": []},
    }
    for i in range(20)
]  # fmt: skip


def write(folder: Path, path: str, rows: Sequence[dict[str, Any]]) -> Path:
    """The rows as JSON Lines below the folder; returns the file."""
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file
