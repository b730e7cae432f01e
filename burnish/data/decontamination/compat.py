"""The numbers of open-instruct's decontamination scripts (decontamination/index.py and search.py), without a search server.

What those scripts compute differs from the definition in the paper, and this module follows the scripts:
    a document is one user turn; its tokens are split at the index's separators and lower-cased
    a window is `ngram` tokens of spaCy's English tokeniser, where punctuation and runs of blanks count; its text is looked for as a
        phrase of the index's tokens, mostly fewer, and none where the window is punctuation alone: such a window is never found
    equal windows of one field are one query, which covers only the last place where the window stands
    a query answers with the first `search_size` documents in the order of the index
    score(item, document) = mean over all the item's fields of covered spaCy tokens / spaCy tokens
    score(item) = the best document's; a row's score = the best of its documents with any item
The blank English tokeniser gives the same tokens as the en_core_web_lg pipeline that the scripts load. Items with a missing
field, which the scripts skip and do not count, are the caller's to leave out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from burnish.data.decontamination.fallback import Tokens, cut, fold, hits
from burnish.data.decontamination.index import Arrays, Ints, build, token_hashes, words_of
from burnish.data.decontamination.items import Item, batches
from burnish.data.decontamination.rule import Overlap
from burnish.data.decontamination.scan import buffers
from burnish.errors import MissingExtra, RecipeError

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Match:
    """The best document of an item: the number of its row, and of the turn in it."""

    score: float
    row: int
    turn: int


@dataclass(frozen=True, slots=True)
class Matches:
    """What the scripts report.

    best:   item number → its best document; items that no document shares a window with are absent and score 0.
    of_row: row number → its best score with any item. The scripts drop rows above the threshold.
    """

    items: tuple[Item, ...]
    best: dict[int, Match]
    of_row: dict[int, float]

    def rate(self, test: str, threshold: float | None = 0.5) -> float:
        """The number the scripts print for a test: the share of its items above the threshold, or without one the mean score."""
        numbers = [number for number, item in enumerate(self.items) if item.test == test]
        scores = [self.best[number].score if number in self.best else 0.0 for number in numbers]
        return sum(score if threshold is None else score > threshold for score in scores) / len(scores)


@dataclass(frozen=True, slots=True)
class OpenInstruct:
    """Settings of the scripts. search_size: their default is 100; None asks for every document, which they cannot.

    fields: which texts of an item are its fields.
    """

    ngram: int = 8
    search_size: int | None = 100
    fields: Literal["prompt", "all"] = "prompt"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        Overlap(ngram=self.ngram, fields=self.fields)
        if self.search_size is not None and self.search_size < 1:
            raise RecipeError(
                f"OpenInstruct(search_size={self.search_size}): expected at least 1 document a query, or None for all."
            )

    def match(self, rows: Iterable[Sequence[str]], items: Sequence[Item]) -> Matches:
        """Compare rows, each the texts of its user turns, with the items. Raises MissingExtra without spaCy."""
        queries = _Queries.of(items, self)
        documents = _documents(queries.phrases, rows, self.search_size)
        best: dict[int, Match] = {}
        of_row: dict[int, float] = {}
        for number, fields in enumerate(queries.fields):
            for (row, turn), score in sorted(_scores(fields, documents).items()):
                of_row[row] = max(score, of_row.get(row, 0.0))
                if number not in best or score > best[number].score:
                    best[number] = Match(score, row, turn)
        return Matches(tuple(items), best, of_row)


@dataclass(frozen=True, slots=True)
class _Field:
    """Tokens of a field, and for each of its queries the phrase's number and the places that it covers."""

    tokens: int
    queries: list[tuple[int, int]]
    window: int


@dataclass(frozen=True, slots=True)
class _Queries:
    """Every distinct phrase, and the fields that ask for it."""

    phrases: list[str]
    fields: list[list[_Field]]

    @classmethod
    def of(cls, items: Sequence[Item], settings: OpenInstruct) -> _Queries:
        """The queries of the scripts: windows by their text, the last place of each."""
        split = english()
        rule = Overlap(fields=settings.fields)
        numbers: dict[str, int] = {}
        made: list[list[_Field]] = []
        for item in items:
            fields = []
            for text in item.fields(rule):
                document = split(text)
                last = {document[i : i + settings.ngram].text: i for i in range(len(document) - settings.ngram + 1)}
                queries = [(numbers.setdefault(phrase, len(numbers)), i) for phrase, i in last.items()]
                fields.append(_Field(len(document), queries, settings.ngram))
            made.append(fields)
        return cls(list(numbers), made)


class _PhraseRule(Overlap):
    """Every phrase is one window, as long as it is."""

    def window(self, tokens: list[str]) -> int:
        return max(1, len(tokens))


def english() -> Any:
    """SpaCy's blank English pipeline. Raises MissingExtra without spaCy."""
    try:
        import spacy
    except ModuleNotFoundError as error:
        raise MissingExtra("decontamination as open-instruct's scripts do it", "spacy", "compat") from error
    return spacy.blank("en")


def _documents(
    phrases: Sequence[str], rows: Iterable[Sequence[str]], most: int | None
) -> dict[int, list[tuple[int, int]]]:
    """Phrase number → the (row, turn) that hold it, in order, at most `most`."""
    rule = _PhraseRule()
    index = build([Item("", str(i), (phrase,)) for i, phrase in enumerate(phrases)], rule)
    found: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for first, batch in batches(rows, _ROWS_AT_ONCE):
        for phrase, row, turn in _found(index, rule, batch):
            if most is None or len(found[phrase]) < most:
                found[phrase].append((first + row, turn))
    return found


def _found(index: Arrays, rule: Overlap, batch: Sequence[Sequence[str]]) -> Iterator[tuple[int, int, int]]:
    """(phrase, row, turn), each once, by row and turn."""
    data, turns, rows = buffers(pa.array(batch, pa.large_list(pa.large_string())), rule)
    text, bounds = fold(data, turns, index)
    start, size, turn = cut(text, bounds)
    of_turn = np.repeat(np.arange(len(batch)), np.diff(rows))
    tokens = Tokens(text, start, size, token_hashes(words_of(text), start, size), turn, of_turn, rows)
    every: list[Ints] = []
    for length in index.grams.lengths.tolist():
        at, gram = hits(index, tokens, length)
        every.append(np.unique((tokens.turn_T[at] << 32) | gram))
    for key in np.sort(np.concatenate(every)).tolist() if every else []:
        number, gram = key >> 32, key & 0xFFFFFFFF
        row = int(of_turn[number])
        for place in index.grams.posts[index.grams.posts_G[gram] : index.grams.posts_G[gram + 1]].tolist():
            yield int(index.item_F[index.field_N[place]]), row, number - int(rows[row])


def _scores(fields: Sequence[_Field], documents: dict[int, list[tuple[int, int]]]) -> dict[tuple[int, int], float]:
    """(row, turn) → the score of an item's fields, for every document that answered any of their queries."""
    total: defaultdict[tuple[int, int], float] = defaultdict(float)
    for asked in fields:
        covered: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
        for phrase, begin in asked.queries:
            for place in documents.get(phrase, ()):
                covered[place].update(range(begin, begin + asked.window))
        for place, tokens in covered.items():
            total[place] += len(tokens) / asked.tokens
    return {place: score / len(fields) for place, score in total.items()}
