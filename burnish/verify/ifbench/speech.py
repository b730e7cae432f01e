"""Whether a text starts with a verb: by a lexicon, and as the tagger of the published checker says.

The lexicon is the table of word forms in the package lemminflect (from the SPECIALIST lexicon), about 60,000 of them. The
tagger is the averaged perceptron of NLTK, for the first token only. Its tables are the files of NLTK's data package
averaged_perceptron_tagger_eng; no package on PyPI carries them, so they are read from an NLTK data folder of the user's.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from burnish.errors import MissingData, MissingExtra

NAME = "averaged_perceptron_tagger_eng"


@lru_cache(maxsize=1)
def readings() -> Mapping[str, Mapping[str, str]]:
    """Word form to its readings: part of speech ("verb", "noun", "aux" …) to lemma. Raises MissingExtra."""
    spec = importlib.util.find_spec(
        "lemminflect"
    )  # its table only: importing it would import spaCy where that is there
    if spec is None or spec.origin is None:
        raise MissingExtra("Telling verbs (words:start_verb)", "lemminflect", "ifbench")
    found: dict[str, dict[str, str]] = {}
    with gzip.open(Path(spec.origin).parent / "resources" / "lemma_lu.csv.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            form, part, lemma = line.rstrip("\n").split(",")
            found.setdefault(form, {})[part] = lemma
    return found


def reads_as_verb(tokens: Sequence[str]) -> bool:
    """True if the first token can be a verb, and what follows does not show it to be something else.

    A word that is a noun too is taken for one in the plural ("dogs bark") and before an auxiliary verb or "of" ("water
    is"); a word before a comma is an exclamation ("well,"). tokens: at least one; only the first two are looked at.
    """
    word, after = (*(token.lower() for token in tokens[:2]), "")[:2]
    known = readings().get(word, {})
    if not known.keys() & {"verb", "aux"} or after == ",":
        return False
    if "noun" not in known or "aux" in known or word.endswith("ing"):
        return True
    plural = word not in known["noun"].split("/")
    return not (plural or after == "of" or "aux" in readings().get(after, {}))


@dataclass(frozen=True, slots=True)
class Tables:
    """The tagger: weights of features by tag, words of one tag only, and all tags."""

    weights: Mapping[str, Mapping[str, float]]
    one_tag: Mapping[str, str]
    tags: frozenset[str]


def data_folders() -> list[Path]:
    """Where NLTK data is looked for: NLTK_DATA, then the home folder, the environment and the usual system folders."""
    given = [Path(part) for part in os.environ.get("NLTK_DATA", "").split(os.pathsep) if part]
    roots = [
        Path.home(),
        *(Path(sys.prefix) / part for part in ("", "share", "lib")),
        Path("/usr/share"),
        Path("/usr/lib"),
    ]
    return [*given, *(root / "nltk_data" for root in [*roots, Path("/usr/local/share"), Path("/usr/local/lib")])]


@lru_cache(maxsize=1)
def tables() -> Tables:
    """The tagger's tables, read once. Raises MissingData where they are not on this machine."""
    for folder in data_folders():
        found = folder / "taggers" / NAME
        if (found / f"{NAME}.weights.json").is_file():
            weights, one_tag, tags = (
                json.loads((found / f"{NAME}.{part}.json").read_text("utf-8"))
                for part in ("weights", "tagdict", "classes")
            )
            return Tables(weights, one_tag, frozenset(tags))
    raise MissingData(
        f"words:start_verb by the published rule needs NLTK's tagger tables, and no NLTK data folder has taggers/{NAME}, so "
        f"such replies are not graded.\n  pip install nltk, then python -m nltk.downloader {NAME}; or put the folder below one that NLTK_DATA names."
    )


def tagged_as_verb(tokens: Sequence[str]) -> bool:
    """True if the tagger gives the first token a verb's tag (VB, VBD, VBG, VBN, VBP, VBZ). Raises MissingData.

    tokens: the first three tokens, or fewer where there are no more; at least one.
    """
    known = tables()
    tag = known.one_tag.get(tokens[0])
    return "VB" in (tag or _predict(tokens, known))


def _predict(tokens: Sequence[str], known: Tables) -> str:
    first = tokens[0]
    here, after, later = [*map(_normal, tokens[:3]), "-END-", "-END2-"][:3]
    features = (
        "bias", f"i suffix {first[-3:]}", f"i pref1 {first[:1]}", "i-1 tag -START-", "i-2 tag -START2-",
        "i tag+i-2 tag -START- -START2-", f"i word {here}", f"i-1 tag+i word -START- {here}", "i-1 word -START2-",
        "i-1 suffix T2-", "i-2 word -START-", f"i+1 word {after}", f"i+1 suffix {after[-3:]}", f"i+2 word {later}",
    )  # fmt: skip
    scores: defaultdict[str, float] = defaultdict(float)
    for feature in features:
        for tag, weight in known.weights.get(feature, {}).items():
            scores[tag] += weight
    return max(known.tags, key=lambda tag: (scores[tag], tag))


def _normal(word: str) -> str:
    if "-" in word and word[0] != "-":
        return "!HYPHEN"
    if word.isdigit() and len(word) == 4:
        return "!YEAR"
    return "!DIGITS" if word[:1].isdigit() else word.lower()
