"""Words by the Treebank rules, as NLTK's `word_tokenize` gives them up to version 3.9: marks are words of their own.

A straight quote becomes `` or ''; "don't" is "do" and "n't". Time is linear in the length of the text: the published
expression that goes quadratic on a full stop before many spaces is written out.
"""

from __future__ import annotations

import re

from burnish.verify.ifeval.sentences import sentences

_OPENING = re.compile(r"[«“‘„]|`+")
_BACKTICKS = re.compile(r"``")
_OPENING_QUOTE = re.compile(r"(?<=[ (\[{<])(?:\"|'{2})")
_LONE_LETTER = re.compile(r"'(?!re|ve|ll|m|t|s|d|n)(?=\w\b)", re.IGNORECASE)
_COMMA = re.compile(r"([:,])(\D|$)")
_MARKS = re.compile(r"\.{2,}|[;@#$%&?!]")
_APOSTROPHE = re.compile(r"(?<=[^'])' ")
_BRACKETS = re.compile(r"[*\[\](){}<>]|--")
_CLOSING = re.compile(r"[»”’]|''")
_CLITICS = (re.compile(r"(?<=[^' ])('[sSmMdD]|') "), re.compile(r"(?<=[^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) "))
_FUSED = re.compile(
    r"\b(?:(can)(not)\b|(d)('ye)\b|(gim)(me)\b|(gon)(na)\b|(got)(ta)\b|(lem)(me)\b|(more)('n)\b|(wan)(na)(?=\s))",
    re.IGNORECASE,
)
_TIS = re.compile(r" ('t)(is|was)\b", re.IGNORECASE)
_CLOSERS = "])}>\"'»”’"

# Where neither quotes nor apostrophes occur, all marks can be set apart at once.
_APART = re.compile(rf"[«“‘„»”’]|{_MARKS.pattern}|{_BRACKETS.pattern}")
_QUOTES = re.compile("['\"`]")


def words(text: str) -> list[str]:
    """The words and marks of `text`, sentence by sentence."""
    return [word for sentence in sentences(text) for word in words_of_sentence(sentence)]


def words_of_sentence(sentence: str) -> list[str]:
    """The words and marks of one sentence: a full stop is set apart at its end only."""
    if not _QUOTES.search(sentence):
        apart = _APART.sub(r" \g<0> ", _COMMA.sub(r" \1 \2", _final_stop(sentence)) + " ")
        return _FUSED.sub(_split_apart, apart).split()
    text = _OPENING.sub(r" \g<0> ", sentence)
    if text.startswith('"'):
        text = "``" + text[1:]
    text = _OPENING_QUOTE.sub(" `` ", _BACKTICKS.sub(r" \g<0> ", text))
    text = _COMMA.sub(r" \1 \2", _final_stop(_LONE_LETTER.sub("' ", text)))
    text = _APOSTROPHE.sub(" ' ", _MARKS.sub(r" \g<0> ", text))
    text = _CLOSING.sub(r" \g<0> ", " " + _BRACKETS.sub(r" \g<0> ", text) + " ").replace('"', " '' ")
    text = re.sub(r"\s+", " ", text)
    for clitics in _CLITICS:
        text = clitics.sub(r" \1 ", text)
    return _TIS.sub(_split_apart, _FUSED.sub(_split_apart, text)).split()


def _final_stop(text: str) -> str:
    body = text.rstrip().rstrip(_CLOSERS + " ")
    if body.endswith(".") and not body.endswith("..") and body != ".":
        return body[:-1] + " . " + text[len(body) :]
    return text


def _split_apart(match: re.Match[str]) -> str:
    return " " + " ".join(part for part in match.groups() if part) + " "
