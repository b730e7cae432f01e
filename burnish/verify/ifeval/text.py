"""What the instructions count in a reply: words, capital words, paragraphs, bullets, highlights, the loose variants.

Every function gives what the official IFEval code gives, in time linear in the length of the text: the official regular
expressions that go quadratic on a reply of one repeated character are written out as scans.
"""

from __future__ import annotations

import re

from burnish.verify.ifeval.treebank import words, words_of_sentence

_WORD = re.compile(r"\w+")

# Where the end of a sentence decides what is a word: "IT'S." is two words at the end of one and one word elsewhere. (What
# stands behind an apostrophe at the end of a piece, space or line break, decides as well.)
_BOUND_MATTERS = re.compile(r"'\w{0,2}'*\.|[.?!][\"')\]}]*'|wanna\.", re.IGNORECASE)
_FUSED = frozenset(("cannot", "gimme", "gonna", "gotta", "lemme", "wanna"))
_LETTERS = re.compile(r"[^\W\d_]+")
_OUTER_MARKS = '.,:;!?()[]{}*"#'

# The characters that are no ASCII letters but equal one where letter case is ignored: dotted and dotless i, long s, kelvin.
_ODD_CASE = "İıſ\u212a"
_NO_LETTERS = bytes(i for i in range(128) if not chr(i).isalpha())
_ASCII_WORDS = bytes(i if chr(i).isalnum() or chr(i) == "_" else 32 for i in range(256))


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores: "don't" is two."""
    if text.isascii():
        return len(text.encode().translate(_ASCII_WORDS).split())
    return len(_WORD.findall(text))


def occurrences(word: str, text: str) -> int:
    """How often `word` stands in `text`, in any case, also inside other words; overlaps count once."""
    if _plain_case(word, text):
        return text.lower().count(word.lower())
    return len(re.findall(re.escape(word), text, re.IGNORECASE))


def whole_occurrences(word: str, text: str) -> int:
    """How often `word` stands in `text`, in any case, with no letter, digit or underscore beside it."""
    if not _plain_case(word, text):
        return len(re.findall(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE))
    word, text = word.lower(), text.lower()
    found, start = 0, text.find(word)
    while start >= 0:
        stop = start + len(word)
        alone = not (start and _is_word(text[start - 1])) and not (stop < len(text) and _is_word(text[stop]))
        found += alone
        start = text.find(word, stop if alone else start + 1)
    return found


def stands_between_bounds(word: str, text: str) -> bool:
    r"""True where the expression \bword\b finds `word` in any case: a mark at its edge wants a letter beside it."""
    if not _plain_case(word, text):
        return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None
    word, text = word.lower(), text.lower()
    first, last = _is_word(word[0]), _is_word(word[-1])
    start = text.find(word)
    while start >= 0:
        stop = start + len(word)
        before = start > 0 and _is_word(text[start - 1])
        behind = stop < len(text) and _is_word(text[stop])
        if before != first and behind != last:
            return True
        start = text.find(word, start + 1)
    return False


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _plain_case(word: str, text: str) -> bool:
    """True if lower-casing both finds what ignoring the case finds."""
    return word.isascii() and (text.isascii() or not any(odd in text for odd in _ODD_CASE))


def count_letters(text: str) -> int:
    """Letters of every script."""
    if text.isascii():
        return len(text.encode().translate(None, _NO_LETTERS))
    return sum(map(str.isalpha, text))


def count_capital_words(text: str) -> int:
    """Words without a lower-case letter and with at least one capital, by the Treebank rules: "A-B" is one, "IT'S" two."""
    found = 0
    for piece in [piece for piece in text.split() if not piece.islower()]:
        core = piece.strip(_OUTER_MARKS)
        if core.isalpha() and core.lower() not in _FUSED:
            found += core.isupper()
        elif _may_hold_capitals(core):
            if piece.endswith("'") or _BOUND_MATTERS.search(piece):
                return sum(map(str.isupper, words(text)))
            found += sum(map(str.isupper, words_of_sentence(f" {piece} ")))
    return found


def _may_hold_capitals(piece: str) -> bool:
    """False if no way to split `piece` gives a word in capitals. Words are split between letters only at "n't" and "can|not"."""
    runs = _LETTERS.findall(piece)
    return any(run.isupper() or run.lower() in _FUSED for run in runs) or "n't" in piece.lower()


def divided_paragraphs(text: str) -> list[str]:
    """The paragraphs between *** dividers, blank ones included."""
    return text.split("***")


def count_bullets(text: str) -> int:
    """Lines that start with "-", or with one "*" and something behind it; indentation allowed."""
    count = 0
    skip = False
    lines = text.split("\n")
    for i, line in enumerate(lines):
        if line[:1] == "-" or line.lstrip()[:1] == "-":
            count += 1
        if skip:
            skip = False
            continue
        head = line.lstrip()
        if head == "*":
            # A lone star takes the line break as the character behind it, and the next line with it.
            skip = i + 1 < len(lines)
            count += skip
        elif head[:1] == "*" and head[1] != "*":
            count += 1
    return count


def count_highlights(text: str) -> int:
    """Parts in *…* or **…** on one line that are not blank; a part in two stars counts under both."""
    single = sum(1 for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip())
    double = sum(1 for part in re.findall(r"\*\*([^\n*]*)\*\*", text) if part.strip())
    return single + double


def count_placeholders(text: str) -> int:
    """Parts in square brackets on one line, e.g. [address]."""
    count = 0
    for line in text.split("\n") if "[" in text else ():
        start = line.find("[")
        while start >= 0:
            stop = line.find("]", start + 1)
            if stop < 0:
                break
            count += 1
            start = line.find("[", stop + 1)
    return count


def has_title(text: str) -> bool:
    """True if some line has <<…>> around more than white space and angle brackets."""
    if "<<" not in text:
        return False
    for line in text.split("\n"):
        start, stop = line.find("<<"), line.rfind(">>")
        if start >= 0 and stop >= start + 3 and line[start : stop + 2].lstrip("<").rstrip(">").strip():
            return True
    return False


def loose_variants(text: str) -> list[tuple[str, str]]:
    """(what was left out, reply) for the eight replies of which one must pass; blank ones and repeats are gone."""
    lines = text.split("\n")
    cuts = (
        ("", text),
        ("without its first line", "\n".join(lines[1:]).strip()),
        ("without its last line", "\n".join(lines[:-1]).strip()),
        ("without its first and last line", "\n".join(lines[1:-1]).strip()),
    )
    found: dict[str, str] = {}
    for name, cut in cuts:
        for label, variant in ((name, cut), (f"{name} without asterisks".strip(), cut.replace("*", ""))):
            if variant.strip():
                found.setdefault(variant, label)
    return [(label, variant) for variant, label in found.items()]
