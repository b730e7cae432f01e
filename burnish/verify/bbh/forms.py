"""The answer form of each of the 27 tasks of BIG-Bench Hard (arXiv:2210.09261)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Form = Literal["true or false", "yes or no", "valid or invalid", "brackets", "integer", "words", "letter"]

_LETTER_TASKS = (
    "date_understanding", "disambiguation_qa", "geometric_shapes", "hyperbaton",
    "logical_deduction_five_objects", "logical_deduction_seven_objects", "logical_deduction_three_objects",
    "movie_recommendation", "penguins_in_a_table", "reasoning_about_colored_objects", "ruin_names",
    "salient_translation_error_detection", "snarks", "temporal_sequences",
    "tracking_shuffled_objects_five_objects", "tracking_shuffled_objects_seven_objects",
    "tracking_shuffled_objects_three_objects",
)  # fmt: skip

FORMS: Mapping[str, Form] = {
    "boolean_expressions": "true or false",
    "causal_judgement": "yes or no",
    "dyck_languages": "brackets",
    "formal_fallacies": "valid or invalid",
    "multistep_arithmetic_two": "integer",
    "navigate": "yes or no",
    "object_counting": "integer",
    "sports_understanding": "yes or no",
    "web_of_lies": "yes or no",
    "word_sorting": "words",
    **dict.fromkeys(_LETTER_TASKS, "letter"),
}

# How a target of each form is written.
TARGETS: Mapping[Form, re.Pattern[str]] = {
    "true or false": re.compile(r"True|False"),
    "yes or no": re.compile(r"Yes|No|yes|no"),
    "valid or invalid": re.compile(r"valid|invalid"),
    "brackets": re.compile(r"[\])}> ]*[\])}>][\])}> ]*"),
    "integer": re.compile(r"-?\d+"),
    "words": re.compile(r"\S(?:.*\S)?"),
    "letter": re.compile(r"\([A-Z]\)|\S.{3,}\S"),  # three published rows have the text of a choice, which holds commas
}
