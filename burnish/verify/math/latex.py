r"""LaTeX answers made plain: layout, spacing, degree and currency marks gone, one spelling for what has several."""

from __future__ import annotations

import re

_LAYOUT = re.compile(
    r"\\(?:left|right|[bB]igg?[lrm]?|middle|displaystyle|textstyle|limits|quad|qquad|hfill|mathstrut|strut)(?![A-Za-z])\.?"
    r"|(?<!\\)\\[!,;: ]|\^\s*\{?\s*\\circ\s*\}?|\\degree(?:s)?(?![a-z])|°|\\\$|\\phantom\{[^{}]*\}"
)
_GROUPS = re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\!,|\\[,!: ;])\s*(?=\d{3}(?!\d))")
_BRACED = re.compile(r"\{\d{1,3}(?:,\d{3}){1,8}\}")
_SPACED = re.compile(r"[-+]?\d{1,3}(?: \d{3}){1,8}")
_THOUSANDS = re.compile(r"[-+]?\$?\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?(?=[^,]*$)")
_SPELLINGS = (
    (re.compile(r"\\[dtc]frac(?![a-z])"), r"\\frac"),
    (
        re.compile(r"\\(?:mathrm|mathbf|mathit|textbf|textrm|textit|textnormal|mbox|operatorname|rm|bf)\s*(?=\{)"),
        r"\\text",
    ),
    (re.compile(r"\\(?:leq|leqslant)(?![a-z])|≤|<="), r"\\le "),
    (re.compile(r"\\(?:geq|geqslant)(?![a-z])|≥|>="), r"\\ge "),
    (re.compile(r"\\neq(?![a-z])|≠|!="), r"\\ne "),
    (re.compile(r"\\(?:cup|bigcup)(?![a-z])|\\text\{\s*U\s*\}"), "∪"),
    (re.compile(r"\\pm(?![a-z])"), "±"),
    (re.compile("π"), r"\\pi "),
    (re.compile(r"\\infinity(?![a-z])|∞"), r"\\infty"),
    (re.compile(r"\\varnothing(?![a-z])|∅|\\\{\s*\\\}"), r"\\emptyset"),
    (re.compile(r"\\lbrace(?![a-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-z])"), r"\\}"),
    (re.compile(r"\\(?:langle|lparen)(?![a-z])"), "("),
    (re.compile(r"\\(?:rangle|rparen)(?![a-z])"), ")"),
    (re.compile(r"\\lbrack(?![a-z])"), "["),
    (re.compile(r"\\rbrack(?![a-z])"), "]"),
    (
        re.compile(
            r",?\s*\\text\{\s*,?\s*(?:and|or)\s*\}|,?\s+(?:and|or|or maybe|and also|vs)\s+(?!\d+/\d)|(?<=[)\d])or(?=[(\d-])"
        ),
        ",",
    ),
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"~|\xa0"), " "),
    (re.compile(r"\\text\{\s*\}"), ""),
)
_SQRT = re.compile(r"√\s*(?:\(([^()]*)\)|(\w+))|\\sqrt\s*([A-Za-z0-9])|(?<![\\A-Za-z])sqrt\(([^()]*)\)")
_SCAN = re.compile(r"\\[{}]|\\\\|[(){}\[\]]|[,;=\n∪]")
_UNIT = re.compile(
    r"(?:\\text\{\s*(?P<text>[^{}]*?)\s*\}|(?<=[\d})%])\s*\b(?P<bare>[A-Za-z]{2,}(?:[ .]+[A-Za-z]+){0,4})\.?)\s*(?:\^\s*\{?\s*(?P<power>[23])\s*\}?)?\s*$"
)
_UNIT_NAMES = {
    "centimeter": "cm", "centimetre": "cm", "meter": "m", "metre": "m", "kilometer": "km", "kilometre": "km",
    "millimeter": "mm", "millimetre": "mm", "inch": "in", "inche": "in", "foot": "ft", "feet": "ft", "yard": "yd",
    "mile": "mi", "gram": "g", "kilogram": "kg", "pound": "lb", "ounce": "oz", "second": "s", "sec": "s", "minute": "min",
    "hour": "h", "hr": "h", "day": "day", "week": "week", "month": "month", "year": "year", "dollar": "dollar",
    "cent": "cent", "liter": "l", "litre": "l", "milliliter": "ml", "millilitre": "ml", "mph": "mph", "degree": "degree",
    "cm": "cm", "m": "m", "km": "km", "mm": "mm", "in": "in", "ft": "ft", "yd": "yd", "mi": "mi", "g": "g", "kg": "kg",
    "am": "am", "pm": "pm", "noon": "noon", "midnight": "midnight", "lb": "lb", "oz": "oz", "s": "s", "min": "min", "h": "h", "l": "l", "ml": "ml",
}  # fmt: skip


def tidy(text: str, *, grouped: bool = True) -> str:
    """The answer without dollar signs around it, layout, spacing commands and a full stop, in one spelling.

    grouped: "81,256" is one number; False reads it as two.
    """
    text = text.strip().removesuffix(".").strip("*").strip()
    for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")):
        if text.startswith(opening) and text.endswith(closing) and len(text) > len(opening) + len(closing):
            inner = text[len(opening) : -len(closing)]
            text = inner if opening.strip("$") or "$" not in inner else text
    text = _BRACED.sub(lambda m: m[0].replace(",", ""), _GROUPS.sub("", text.strip()))
    for pattern, new in _SPELLINGS:
        text = pattern.sub(new, text)
    text = _LAYOUT.sub(" ", text)
    text = _SQRT.sub(lambda m: f"\\sqrt{{{m[1] or m[2] or m[3] or m[4] or ''}}}", text)
    text = re.sub(r"[ \t]+", " ", text).replace("$", "").strip(" ,;").removesuffix(".").strip()
    if text.startswith("{") and text.endswith("}") and text.count("{") == 1:
        text = text[1:-1].strip()  # plain braces are not printed
    if grouped and _SPACED.fullmatch(text):
        return text.replace(" ", "")
    match = _THOUSANDS.match(text) if grouped else None
    return match[0].replace(",", "") + text[match.end() :] if match else text


def split_at(text: str, separators: str) -> list[str]:
    """The parts of a text between separators that stand outside all brackets."""
    parts, depth, start = [], 0, 0
    for match in _SCAN.finditer(text):
        mark = match[0]
        if mark in ("(", "[", "{", "\\{"):
            depth += 1
        elif mark in (")", "]", "}", "\\}"):
            depth = max(0, depth - 1)
        elif depth == 0 and mark in separators:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def split_unit(text: str) -> tuple[str, str]:
    r"""The text and the unit behind it, "" without one: ("5", "cm") for "5\text{ cm}". A text alone has no unit."""
    match = _UNIT.search(text)
    if match is None or not text[: match.start()].strip():
        return text, ""
    return text[: match.start()].strip(), _unit((match["text"] or match["bare"] or ""), match["power"] or "")


def _unit(name: str, power: str) -> str:
    words = re.sub(r"[^a-z ]", "", name.lower()).split()
    for word, number in (("square", "2"), ("sq", "2"), ("cubic", "3"), ("cu", "3")):
        if word in words:
            words.remove(word)
            power = number
    return " ".join(_UNIT_NAMES.get(word.removesuffix("s") or word, word) for word in words) + power


def units_differ(one: str, other: str) -> bool:
    """True when both units are known and are not the same: centimetres and metres. "students" and "people" may be."""
    known = [unit.rstrip("23") in _UNIT_NAMES.values() for unit in (one, other)]
    return all(known) and one != other
