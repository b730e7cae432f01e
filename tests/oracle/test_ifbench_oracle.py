"""Our IFBench constraints by the published rule against the published checkers (package ifbench), run side by side.

The package is installed without its dependencies' data: NLTK's punkt_tab, stopwords and averaged_perceptron_tagger_eng must
lie in an NLTK data folder. NLTK 3.10 splits curly quotes and some apostrophes in another way; we split as 3.9 does, which is
the version in the checkers' lock file, so other versions are skipped.

Where the published code stops with an exception (an empty field in custom:csv_quotes, a lone carriage return in CSV), the
reply counts as not followed.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from burnish.verify.ifbench import CONSTRAINTS, speech
from tests.ifbench_cases import CASES, DIFFERENCES

pytestmark = pytest.mark.oracle
KINDS = {kind.ID: kind for kind in CONSTRAINTS}

PIECES = [
    *".,;:!?'\"()[]{}<>*-_/\\#@$%&+=|~`^", "?!", "!?", "‽", "...", "…", "“", "”", "‘", "’", "—", "\n", "\n\n", "\n* ",
    "\n  - ", " ", "  ", "\t", "\r", "😀", "👍🏽", "❤️", "🇫🇷", "1️⃣", "日本", "寿司", "The", "the", "and", "And", "But", "So",
    "Emma", "it's", "Don't", "CANNOT", "U.S.", "Dr. Smith", "e.g.", "level", "radar", "strength", "I", "he/she", "3.14",
    "1,000", "3/4", "7", "14", "tree", "sea", "Sea", "tea.", "Tea", "iPhone", "Zimbabwe", "Question 1:", "A. one", "<i>",
    "</i>", "<em>", "</em>", "My Answer:", "yes", "a)", "Run", "naïve", "привет", "Is it?", "I am.", "Yes!", "\u200b", "\u00a0",
    "\x85", "\u2028", "½", "²", "٣",
]  # fmt: skip
OTHER: dict[str, list[Any]] = {
    "small_n": [0, 1, 2, 5], "N": [1, 2, 3, 10], "min_words": [1, 3], "max_words": [10, 200], "percentage": [0, 10, 50, 90],
    "n": [1, 2, 3], "m": [1, 2, 5], "sep": ["...", "-", "*"], "word": ["tree", "the"], "keyword": ["tree", "the"],
    "options": ["yes/no/maybe", "I know or I don't know", "a), b), c), d)", "red, green, blue"],
}  # fmt: skip


@pytest.fixture(scope="module")
def official() -> Callable[[str, dict[str, Any]], Callable[[str], bool]]:
    nltk = pytest.importorskip("nltk")
    if not nltk.__version__.startswith("3.9"):
        pytest.skip(f"compared with NLTK 3.9, this is {nltk.__version__}")
    for name in ("tokenizers/punkt_tab", "corpora/stopwords", f"taggers/{speech.NAME}"):
        try:
            nltk.data.find(name)
        except LookupError:
            pytest.skip(f"no {name} in an NLTK data folder: python -m nltk.downloader {name.split('/')[1]}")
    registry = pytest.importorskip("ifbench.instructions_registry")

    def checker(name: str, kwargs: dict[str, Any]) -> Callable[[str], bool]:
        instruction = registry.INSTRUCTION_DICT[name](name)
        instruction.build_description(**kwargs)

        def check(text: str) -> bool:
            try:
                return bool(instruction.check_following(text))
            except (IndexError, csv.Error):
                return False

        return check

    return checker


def mutated(text: str, rng: random.Random) -> str:
    characters = list(text)
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(characters))
        if rng.random() < 0.5 or place == len(characters):
            characters.insert(place, rng.choice(PIECES))
        elif rng.random() < 0.5:
            del characters[place : place + rng.randint(1, 6)]
        else:
            characters[place] = rng.choice(PIECES)
    return "".join(characters)


def replies(name: str, good: str, bad: str, real: list[str], rng: random.Random) -> list[str]:
    made = ["".join(rng.choice(PIECES) + rng.choice(["", " "]) for _ in range(rng.randint(1, 30))) for _ in range(60)]
    mine = [reply for kind, _, reply, _, _ in DIFFERENCES if kind == name]
    shaken = [mutated(rng.choice([good, good, bad, *mine]), rng) for _ in range(120)]
    return [text for text in [good, bad, *mine, *made, *shaken, *rng.sample(real, 60)] if text.strip()]


@pytest.mark.parametrize(("name", "kwargs", "good", "bad"), CASES, ids=[case[0] for case in CASES])
def test_the_published_rule_is_the_published_code(
    name: str, kwargs: dict[str, Any], good: str, bad: str, official: Any, data_dir: Path
) -> None:
    with gzip.open(data_dir / "alpaca" / "alpaca_5000.jsonl.gz", "rt", encoding="utf-8", newline="\n") as lines:
        real = [text for line in lines if (text := json.loads(line)["output"]).strip()]
    rng = random.Random(name)
    texts = replies(name, good, bad, real, rng)
    arguments = [kwargs, *({k: rng.choice(OTHER.get(k, [v])) for k, v in kwargs.items()} for _ in range(3))]
    seen = set()
    for given in arguments[: 4 if kwargs else 1]:
        check, constraint = official(name, given), KINDS[name](**given)
        for text in texts:
            wanted, got = check(text), getattr(constraint, "check_published", constraint.check)(text)
            assert got.followed == wanted, (given, text, got)
            seen.add(wanted)
    assert seen == {True, False}  # replies that all follow, or all break, would prove nothing
