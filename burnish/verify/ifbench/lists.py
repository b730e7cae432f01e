"""The closed lists that IFBench's instructions speak of: stop words, pronouns, names, capitals, countries, emoji."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# The English list of NLTK's stop words corpus (Snowball's list with later additions), 198 forms. Forms with an apostrophe
# are left out here: the checker cuts words at apostrophes, so they never occur.
_STOP_WORDS = """
a about above after again against ain all am an and any are aren as at be because been before being below between
both but by can couldn d did didn do does doesn doing don down during each few for from further had hadn has hasn
have haven having he her here hers herself him himself his how i if in into is isn it its itself just ll m ma me
mightn more most mustn my myself needn no nor not now o of off on once only or other our ours ourselves out over own
re s same shan she should shouldn so some such t than that the their theirs them themselves then there these they
this those through to too under until up ve very was wasn we were weren what when where which while who whom why
will with won wouldn y you your yours yourself yourselves
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

CONJUNCTIONS = frozenset(["and", "but", "for", "nor", "or", "so", "yet"])

# Personal, possessive, reflexive, demonstrative, asking and indefinite pronouns, as the checker lists them.
_PRONOUNS = """
all any anybody anyone anything both each either everybody everyone everything he her hers herself him himself his i
it its itself me mine my myself neither nobody none nothing our ours ourselves she some somebody someone something
that their theirs them themselves these they this those us we what whatever which whichever who whoever whom
whomever whose you your yours yourself yourselves
"""
PRONOUNS = frozenset(_PRONOUNS.split())

# The 50 names that the instruction lists.
_PERSON_NAMES = """
Emma Liam Sophia Jackson Olivia Noah Ava Lucas Isabella Mason Mia Ethan Charlotte Alexander Amelia Benjamin Harper
Leo Zoe Daniel Chloe Samuel Lily Matthew Grace Owen Abigail Gabriel Ella Jacob Scarlett Nathan Victoria Elijah Layla
Nicholas Audrey David Hannah Christopher Penelope Thomas Nora Andrew Aria Joseph Claire Ryan Stella Jonathan
"""
PERSON_NAMES = tuple(_PERSON_NAMES.split())

# Words that title case leaves small inside a title: articles, short prepositions, coordinating conjunctions.
_MINOR_WORDS = """
a an and as at but by for from if in into nor of off on onto or out over per so than the to up upon via vs with yet
"""
MINOR_WORDS = frozenset(_MINOR_WORDS.split())

# Capitals of Europe north of 45 degrees, from north to south. The published list leaves Kyiv out (50.45° N).
_CAPITALS = """
Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam Warsaw London
Brussels Kyiv Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana Zagreb
"""
CAPITALS = tuple(_CAPITALS.split())
CAPITAL_SPELLINGS = {"Kiev": "Kyiv", "Luxembourg City": "Luxembourg", "Berne": "Bern"}

# The 54 states of Africa with their usual spellings in English, and two territories that some lists count.
AFRICA: tuple[tuple[str, ...], ...] = (
    ("algeria",), ("angola",), ("benin",), ("botswana",), ("burkina faso",), ("burundi",), ("cabo verde", "cape verde"),
    ("cameroon",), ("central african republic",), ("chad",), ("comoros", "the comoros"),
    ("democratic republic of the congo", "democratic republic of congo", "dr congo", "drc", "congo democratic republic of the",
     "congo democratic republic", "congo kinshasa", "the democratic republic of the congo", "congo dr"),
    ("congo", "republic of the congo", "republic of congo", "congo republic of the", "congo republic", "congo brazzaville"),
    ("cote divoire", "ivory coast"), ("djibouti",), ("egypt",), ("equatorial guinea",), ("eritrea",),
    ("eswatini", "swaziland"), ("ethiopia",), ("gabon",), ("gambia", "the gambia", "gambia the"), ("ghana",), ("guinea",),
    ("guinea bissau", "guineabissau"), ("kenya",), ("lesotho",), ("liberia",), ("libya",), ("madagascar",), ("malawi",),
    ("mali",), ("mauritania",), ("mauritius",), ("morocco",), ("mozambique",), ("namibia",), ("niger",), ("nigeria",),
    ("rwanda",), ("sao tome and principe", "sao tome principe"), ("senegal",), ("seychelles",), ("sierra leone",),
    ("somalia",), ("south africa",), ("south sudan",), ("sudan",), ("tanzania",), ("togo",), ("tunisia",), ("uganda",),
    ("zambia",), ("zimbabwe",), ("western sahara", "sahrawi arab democratic republic"), ("somaliland",),
)  # fmt: skip

# Emoji of one code point (Unicode 17, as the library emoji 2.15 lists them), as first-last in hexadecimal.
_EMOJI = (
    "A9 AE 203C 2049 2122 2139 2194-2199 21A9-21AA 231A-231B 2328 23CF 23E9-23F3 23F8-23FA 24C2 25AA-25AB 25B6 25C0 "
    "25FB-25FE 2600-2604 260E 2611 2614-2615 2618 261D 2620 2622-2623 2626 262A 262E-262F 2638-263A 2640 2642 2648-2653 "
    "265F-2660 2663 2665-2666 2668 267B 267E-267F 2692-2697 2699 269B-269C 26A0-26A1 26A7 26AA-26AB 26B0-26B1 26BD-26BE "
    "26C4-26C5 26C8 26CE-26CF 26D1 26D3-26D4 26E9-26EA 26F0-26F5 26F7-26FA 26FD 2702 2705 2708-270D 270F 2712 2714 2716 "
    "271D 2721 2728 2733-2734 2744 2747 274C 274E 2753-2755 2757 2763-2764 2795-2797 27A1 27B0 27BF 2934-2935 2B05-2B07 "
    "2B1B-2B1C 2B50 2B55 3030 303D 3297 3299 1F004 1F0CF 1F170-1F171 1F17E-1F17F 1F18E 1F191-1F19A 1F201-1F202 1F21A "
    "1F22F 1F232-1F23A 1F250-1F251 1F300-1F321 1F324-1F393 1F396-1F397 1F399-1F39B 1F39E-1F3F0 1F3F3-1F3F5 1F3F7-1F4FD "
    "1F4FF-1F53D 1F549-1F54E 1F550-1F567 1F56F-1F570 1F573-1F57A 1F587 1F58A-1F58D 1F590 1F595-1F596 1F5A4-1F5A5 1F5A8 "
    "1F5B1-1F5B2 1F5BC 1F5C2-1F5C4 1F5D1-1F5D3 1F5DC-1F5DE 1F5E1 1F5E3 1F5E8 1F5EF 1F5F3 1F5FA-1F64F 1F680-1F6C5 "
    "1F6CB-1F6D2 1F6D5-1F6D8 1F6DC-1F6E5 1F6E9 1F6EB-1F6EC 1F6F0 1F6F3-1F6FC 1F7E0-1F7EB 1F7F0 1F90C-1F93A 1F93C-1F945 "
    "1F947-1F9FF 1FA70-1FA7C 1FA80-1FA8A 1FA8E-1FAC6 1FAC8 1FACD-1FADC 1FADF-1FAEA 1FAEF-1FAF8"
)


@lru_cache(maxsize=1)
def emoji() -> frozenset[str]:
    """Every emoji that is one character."""
    spans = (span.partition("-") for span in _EMOJI.split())
    return frozenset(chr(c) for first, _, last in spans for c in range(int(first, 16), int(last or first, 16) + 1))


def is_emoji(character: str) -> bool:
    """True for an emoji of one code point."""
    return character in emoji()


def plain_ascii(text: str) -> str:
    """`text` with accents taken off letters, and without what is not ASCII then: "São Tomé" becomes "Sao Tome"."""
    return unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
