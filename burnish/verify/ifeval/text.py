"""What the instructions count in a reply: words, capital words, paragraphs, bullets, highlights, the loose variants.

Every function gives what the official IFEval code gives, in time linear in the length of the text: the official regular
expressions that go quadratic on a reply of one repeated character are written out as scans.
"""

from __future__ import annotations

import re

from burnish.verify.ifeval.sentences import sentences

_WORD = re.compile(r"\w+")

# The Treebank word rules in the order in which NLTK 3.9 applies them, without those that cannot change how many words are
# all capitals. Text between marks is what is left after spaces are put around them.
_OPENING = re.compile(r"[«“‘„]|`+")
_OPENING_QUOTE = re.compile(r"^\"|(?<=[ (\[{<])(?:\"|'{2})")
_LONE_LETTER = re.compile(r"'(?![mtsdn])(?=\w\b)", re.IGNORECASE)
_COMMA = re.compile(r"([:,])(\D|$)")
_MARKS = re.compile(r"\.{2,}|[;@#$%&?!]")
_APOSTROPHE = re.compile(r"(?<=[^'])' ")
_BRACKETS = re.compile(r"[*\[\](){}<>]|--")
_CLOSING = re.compile(r"[»”’\"]|''")
_CLITICS = (re.compile(r"(?<=[^' ])('[sSmMdD]|') "), re.compile(r"(?<=[^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) "))
_FUSED = re.compile(
    r"\b(?:(can)(not)\b|(d)('ye)\b|(gim)(me)\b|(gon)(na)\b|(got)(ta)\b|(lem)(me)\b|(more)('n)\b|(wan)(na)(?=\s))",
    re.IGNORECASE,
)
_TIS = re.compile(r" ('t)(is|was)\b", re.IGNORECASE)
_CLOSERS = "])}>\"'»”’"

# Where no apostrophe occurs, all marks can be set apart at once.
_APART = re.compile(rf"[:,](?!\d)|{_OPENING.pattern}|{_MARKS.pattern}|{_BRACKETS.pattern}|{_CLOSING.pattern}")
_BOUND_MATTERS = re.compile(r"'\w{0,2}'*\.|[.?!][\"')\]}]*'")


def count_words(text: str) -> int:
    """Runs of letters, digits and underscores: "don't" is two."""
    return len(_WORD.findall(text))


def count_capital_words(text: str) -> int:
    """Words without a lower-case letter and with at least one capital, by the Treebank rules: "A-B" is one, "IT'S" two."""
    # Where sentences end matters only beside an apostrophe ("IT'S." is two words at the end of one), and is slow to find.
    parts = sentences(text) if _BOUND_MATTERS.search(text) else [text]
    return sum(word.isupper() for part in parts for word in _treebank(part))


def _treebank(sentence: str) -> list[str]:
    if "'" not in sentence:
        return _FUSED.sub(_split_apart, _APART.sub(r" \g<0> ", sentence)).split()
    text = _OPENING_QUOTE.sub(" `` ", _OPENING.sub(r" \g<0> ", sentence))
    text = _COMMA.sub(r" \1 \2", _LONE_LETTER.sub("' ", text))
    body = text.rstrip().rstrip(_CLOSERS + " ")
    if body.endswith(".") and not body.endswith("..") and body != ".":
        text = body[:-1] + " . " + text[len(body) :]
    text = _APOSTROPHE.sub(" ' ", _MARKS.sub(r" \g<0> ", text))
    text = _CLOSING.sub(r" \g<0> ", " " + _BRACKETS.sub(r" \g<0> ", text) + " ")
    text = re.sub(r"\s+", " ", text)
    for clitics in _CLITICS:
        text = clitics.sub(r" \1 ", text)
    return _TIS.sub(_split_apart, _FUSED.sub(_split_apart, text)).split()


def _split_apart(match: re.Match[str]) -> str:
    return " " + " ".join(part for part in match.groups() if part) + " "


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
    for line in text.split("\n"):
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
