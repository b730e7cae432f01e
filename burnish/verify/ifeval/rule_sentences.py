"""Sentences by hand-written rules, as the checkers of IF-RLVR split them (open-instruct's
`split_into_sentences`); IFEval's own sentence count uses Punkt (burnish.verify.ifeval.sentences).

Every ".", "?" and "!" ends a sentence except after a title ("Dr."), in a number, in an acronym, before a web domain and
after a lone letter. A run of full stops ends one. Line breaks count as spaces; empty sentences inside are kept.
"""

from __future__ import annotations

import re

# Stand for a full stop that ends nothing and for the end of a sentence; noncharacters, which no text holds.
_DOT, _STOP = "\ufdd0", "\ufdd1"
_LETTER = "([A-Za-z])"
_START = (
    r"(Mr|Mrs|Ms|Dr|Prof|Capt|Cpt|Lt|He\s|She\s|It\s|They\s|Their\s|Our\s|We\s|But\s|However\s|That\s|This\s|Wherever)"
)
_COMPANY = "(Inc|Ltd|Jr|Sr|Co)"
_COMPANY_STOP = r"[.](?:(?<=Inc\.)|(?<=Ltd\.)|(?<=Jr\.)|(?<=Sr\.)|(?<=Co\.))"


def _rules(*rules: tuple[str, str, str]) -> tuple[tuple[re.Pattern[str], re.Pattern[str], str], ...]:
    return tuple((re.compile(gate), re.compile(pattern), written) for gate, pattern, written in rules)


# Applied in this order; the order matters. The first of each three finds, from its full stop, whether there is anything to
# do: most texts have few full stops, and a search that starts with one is quick.
_BEFORE_DOCTORATE = _rules(
    (r"[.](?:(?<=Mr\.)|(?<=St\.)|(?<=Ms\.)|(?<=Dr\.)|(?<=Mrs\.))", r"(Mr|St|Mrs|Ms|Dr)[.]", rf"\1{_DOT}"),
    (r"[.](?=com|net|org|io|gov|edu|me)", r"[.](com|net|org|io|gov|edu|me)", rf"{_DOT}\1"),
    (r"[.][0-9]", r"([0-9])[.]([0-9])", rf"\1{_DOT}\2"),
)
_RUN = re.compile(r"\.{2,}")
_AFTER_DOCTORATE = _rules(
    (r"[.] (?<=\s[A-Za-z][.] )", rf"\s{_LETTER}[.] ", rf" \1{_DOT} "),
    (r"[.][A-Z][.]", rf"([A-Z][.][A-Z][.](?:[A-Z][.])?) {_START}", rf"\1{_STOP} \2"),
    (r"[.][A-Za-z][.]", rf"{_LETTER}[.]{_LETTER}[.]{_LETTER}[.]", rf"\1{_DOT}\2{_DOT}\3{_DOT}"),
    (r"[.][A-Za-z][.]", rf"{_LETTER}[.]{_LETTER}[.]", rf"\1{_DOT}\2{_DOT}"),
    (_COMPANY_STOP, rf" {_COMPANY}[.] {_START}", rf" \1{_STOP} \2"),
    (_COMPANY_STOP, rf" {_COMPANY}[.]", rf" \1{_DOT}"),
    (r"[.](?<= [A-Za-z][.])", rf" {_LETTER}[.]", rf" \1{_DOT}"),
)
# A closing quote belongs to the sentence that ends before it.
_QUOTES = ((".”", "”."), ('."', '".'), ('!"', '"!'), ('?"', '"?'))


def rule_sentences(text: str) -> list[str]:
    """The sentences of `text`, stripped; [] for a blank text. What stands after the last end mark is one as well."""
    text = f" {text}  ".replace("\n", " ")
    if "." in text:
        text = _apply(_BEFORE_DOCTORATE, text)
        if ".." in text:
            text = _RUN.sub(lambda run: _DOT * len(run[0]) + _STOP, text)
        text = text.replace("Ph.D.", f"Ph{_DOT}D{_DOT}")
        text = _apply(_AFTER_DOCTORATE, text)
    for old, new in _QUOTES:
        text = text.replace(old, new)
    for mark in ".?!":
        text = text.replace(mark, mark + _STOP)
    found = [part.strip() for part in text.replace(_DOT, ".").split(_STOP)]
    return found if found[-1] else found[:-1]


def _apply(rules: tuple[tuple[re.Pattern[str], re.Pattern[str], str], ...], text: str) -> str:
    for gate, pattern, written in rules:
        if gate.search(text):
            text = pattern.sub(written, text)
    return text
