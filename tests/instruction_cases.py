"""Replies by hand for the instructions of Tülu 3 and IF-RLVR: what follows them, what does not, and what only one reading accepts.

A case is (id, kwargs, replies that follow, replies that do not, followed only as fixed, followed only as published).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Case(NamedTuple):
    """One instruction with replies; each reply belongs to exactly one of the four groups."""

    id: str
    kwargs: dict[str, Any]
    follows: list[str]
    breaks: list[str]
    only_fixed: Sequence[str] = ()
    only_published: Sequence[str] = ()

    @property
    def replies(self) -> list[tuple[str, bool, bool]]:
        """(reply, followed as fixed, followed as published)."""
        groups: tuple[tuple[Sequence[str], bool, bool], ...] = ((self.follows, True, True), (self.breaks, False, False))
        more = ((self.only_fixed, True, False), (self.only_published, False, True))
        return [(reply, fixed, published) for group, fixed, published in groups + more for reply in group]


SEA = "The moon rose over the sea."
LONG = "The old harbour lay quiet while the fishermen mended their nets and told stories about the winter storms."

TULU3 = [
    Case("tulu3:verify_keywords", {"keyword_list": ["moon", "Sea"]}, [SEA, "MOON seaside", "honeymoon at sea"], ["The moon.", "sea", "mo on sea"]),
    Case(
        "tulu3:verify_keyword_frequency", {"word": "moon", "N": 2},
        ["Moon and moon.", "moon, MOON; moons"], ["moon", "moon moon moon", "honeymoon moonlight"],
    ),
    Case("tulu3:verify_keyword_frequency", {"word": "well-known", "N": 1}, [], ["none here", "well known"], ["A well-known moon."]),
    Case(
        "tulu3:validate_forbidden_words", {"forbidden_words": ["art", "Sea"]},
        ["The moon rose.", "ra"], ["The sea.", "ART for all", "art"], ["A party started.", "A season."],
    ),
    Case(
        "tulu3:verify_letter_frequency", {"letter": "m", "N": 2},
        ["my moon", "mm"], ["moon", "m m m", "x"], ["My moon", "MM"], ["mm M"],
    ),
    Case(
        "tulu3:validate_response_language", {"language": "de"},
        ["Der Mond ging über dem Meer auf und alle schwiegen."], [LONG, "123 456", "Le soleil se lève sur la mer calme."],
    ),
    Case(
        "tulu3:verify_paragraph_count", {"N": 2},
        ["One.\n* * *\nTwo.", "One. * * * Two."], ["One.", "One.\n* * *\n\n* * *\nTwo.", "a* * *b* * *c"],
        ["One.\n***\nTwo.", "* * *\nOne.\n* * *\nTwo.", "One.\n* * *\nTwo.\n* * *"], ["a\n* * *\nb\n***\nc"],
    ),
    Case(
        "tulu3:validate_word_constraint", {"N": 4, "quantifier": "at most"},
        ["one two three four", "one"], ["one two three four five"], [], ["don't can't won't", "a-b c-d e"],
    ),
    Case("tulu3:validate_word_constraint", {"N": 3, "quantifier": "at least"}, ["one two three"], ["one two"], ["don't do"], ["one - *"]),
    Case(
        "tulu3:validate_word_constraint", {"N": 20, "quantifier": "around"},
        ["word " * 18, "word " * 22, "word " * 20], ["word " * 17, "word " * 23], [], ["word " * 18 + "it's - it's it's"],
    ),
    Case(
        "tulu3:verify_sentence_constraint", {"N": 2, "quantifier": "at least"},
        ["One. Two.", "One? Two."], ["One.", "one two"], ["One! Two.", "One!\nTwo!", "No. 5 came"],
    ),
    Case(
        "tulu3:verify_sentence_constraint", {"N": 2, "quantifier": "around"},
        ["One.", "One. Two. Three."], ["One. Two. Three. Four."], [], ["One! Two! Three! Four!"],
    ),
    Case(
        "tulu3:verify_sentence_constraint", {"N": 1, "quantifier": "at most"},
        ["One.", "Dr. Smith came."], ["One. Two.", "Apples, etc. and more"], [], ["One! Two.", "No. 5 came"],
    ),
    Case(
        "tulu3:validate_paragraphs", {"N": 2, "first_word": "Then", "i": 2},
        ["One.\n\nThen two."], ["One.\n\nBut two.", "Then", "Then\n\nTwo."], ["One.\n\nthen two.", 'One.\n\n"Then two."'], ["One.\n\nThenceforth two."],
    ),
    Case(
        "tulu3:verify_postscript", {"postscript_marker": "P.S."},
        ["Bye. P.S. Write soon.", "x P.S.y"], ["Bye.", "Bye. P.S.", "PS: write"], ["Bye. p.s. write", "Bye. P. S. write"],
    ),
    Case("tulu3:verify_postscript", {"postscript_marker": "P.P.S"}, ["Bye. P.P.S write"], ["Bye. P.S. write", "Bye P.P.S"], ["Bye. P. P. S. write"]),
    Case(
        "tulu3:validate_placeholders", {"N": 2}, ["[name] [address]", "[a][b][c]"], [], [], ["none", "[name]", "[a\nb] c]"],
    ),
    Case(
        "tulu3:verify_bullet_points", {"N": 2},
        ["* one\n* two", "- one\n  * two"], ["* one", "one\ntwo", "* one\n* two\n* three"],
        ["**Bold title**\n* one\n* two"], ["**Bold title**\n* one"],
    ),
    Case("tulu3:validate_title", {}, ["<<Moon>>\nText", "a <<b>> c"], ["Moon", "<Moon>", "<<Moon>\n>"], [], ["<<>> text", "<< >>"]),
    Case(
        "tulu3:validate_choice", {"options": ["yes", "no", "maybe"]},
        ["yes", "no", " maybe "], ["perhaps", "yes or no", "maybe, maybe not, yes"], ["I say yes.", "The answer: no"], ["a", "may", "e", "s", "o"],
    ),
    Case(
        "tulu3:validate_highlighted_sections", {"N": 2},
        ["*a* and *b*", "**a** **b**"], ["*a*", "none", "*a\nb*"], [], ["**a**", "*** *"],
    ),
    Case(
        "tulu3:validate_sections", {"N": 2, "section_splitter": "Section"},
        ["Section 1 a\nSection 2 b", "Section 1\nx\nSection 2\ny"], ["Section 1 a", "a", "none"],
        ["Intro\nSection 1 a\nSection 2 b", "Section 1 Section 2 Section 3"], ["Section a\nSection b", "Intro\nSection one"],
    ),
    Case("tulu3:validate_json_format", {}, ['{"a": 1}', "[1, 2]", ' "x" '], ["a: 1", "{'a': 1}", '{"a": 1} done'], ['```json\n{"a": 1}\n```', "```\n[1]\n```"]),
    Case(
        "tulu3:validate_repeat_prompt", {"original_prompt": "Tell me about the sea."},
        ["Tell me about the sea. It is deep.", "Tell me about the sea."], ["It is deep.", "Sure. Tell me about the sea.", "Tell me about the"],
        ["tell me about the sea. It is deep.", "TELL ME ABOUT THE SEA."],
    ),
    Case(
        "tulu3:validate_two_responses", {},
        ["One. ****** Two.", "a******b"], ["One. Two.", "a******a", "a******b******c"], ["a******b******"], ["******only", "only******"],
    ),
    Case(
        "tulu3:validate_uppercase", {}, [LONG.upper()], [LONG, "THE mOON"], [], ["123", "DER MOND GING ÜBER DEM MEER AUF UND ALLE SCHWIEGEN", "!?"],
    ),
    Case(
        "tulu3:validate_lowercase", {}, [LONG.lower()], [LONG, "the Moon"], [], ["123", "der mond ging über dem meer auf und alle schwiegen", "..."],
    ),
    Case(
        "tulu3:validate_frequency_capital_words", {"N": 2, "quantifier": "at least"},
        ["THE MOON rose", "THE BIG MOON", "U.S. 3D X1"], ["THE moon", "moon"], ["ÉTÉ THE"], ["A-B rose"],
    ),
    Case(
        "tulu3:validate_frequency_capital_words", {"N": 20, "quantifier": "around"},
        ["MOON " * 20], ["MOON " * 17, "MOON " * 23], ["MOON " * 18, "MOON " * 22],
    ),
    Case("tulu3:validate_frequency_capital_words", {"N": 1, "quantifier": "at most"}, ["THE moon", "moon"], ["THE MOON"], ["A-B rose"], ["ÉTÉ THE"]),
    Case(
        "tulu3:validate_end", {"end_phrase": "The end."},
        ["It rose. The end.", "The end. "], ["It rose.", "The end. Bye."], ["It rose. the end.", '"It rose. The end."'],
    ),
    Case("tulu3:validate_quotation", {}, ['"It rose."', ' "x" ', '""'], ["It rose.", '"It rose.', "'x'"], [], ['"']),
    Case("tulu3:validate_no_commas", {}, [SEA, "a; b"], ["a, b", ","]),
]  # fmt: skip

PHRASE = "the old man saw a ship"
RLVR = [
    Case(
        "copy:repeat_phrase", {"phrase": PHRASE, "small_n": 2},
        ["the old man met a ship the old man saw one ship", "Once the old dog saw a ship and the old man lost a ship here"],
        [PHRASE, f"{PHRASE} {PHRASE}", "the old man met a ship", "the new man lost a ship the old man met a ship", "nothing"],
        ["The old man met a ship. The old man lost a ship!"],
    ),
    Case("copy:copy", {"prompt_to_repeat": "Say hello to Ann."}, ["Say hello to Ann.", " say HELLO to ann.\n"], ["Hello Ann", "Say hello to Ann. Hello!", "Say hello to Ann"]),
    Case("copy:copying_simple", {"prompt_to_repeat": "Say hello."}, ["Say hello.", "SAY HELLO."], ["Hello", "Say hello. Hello.", "Say hello!"]),
    Case(
        "copy:copying_multiple", {"prompt_to_repeat": "Say hello.", "N": 2},
        ["Say hello.******Say hello.", "say hello. ****** Say hello.\n"], ["Say hello.", "Say hello.******Say hi.", "Say hello.******Say hello.******Say hello.", "Say hello. Say hello."],
    ),
    Case(
        "new:copy_span_idx", {"prompt_to_repeat": "A small bird", "n_start": 2, "n_end": 6},
        [], ["A small bird", "small b", "bird"], ["small", "SMALL "], ["smal"],
    ),
    Case(
        "new:copy_span_idx", {"prompt_to_repeat": "A small bird", "n_start": 2, "n_end": 7},
        ["small", " Small"], ["smal", "A small", "small b"],
    ),
    Case(
        "detectable_format:sentence_hyphens", {},
        ["One came.-Two left.", "One came.", "One?-Two!-Three.", "One-"], ["One came. Two left.", "One.- Two.", "One. -Two."],
        ["A well-known fact.-Two."], ["One.-Two.-"],
    ),
    Case(
        "keywords:no_adjacent_consecutive", {},
        ["big", "dog and sun", "zoo ape"], ["a big", "Cat dog", "one pear", "(x) )y"], ["1 2 many", "( ) many"], ['"a" big', "big (cat)"],
    ),
    Case(
        "detectable_format:square_brackets", {},
        ["[The] [moon] [rose]", "[x]"], ["The moon", "[The] moon", "[The moon", "]"], ["[The] [moon].", "[a], [b]!"], ["[] []"],
    ),
    Case("keywords:word_once", {"keyword": "moon"}, ["The Moon rose.", SEA], ["none", "moon moon", "MOON, moon"], ["moon and moonlight"], ["honeymoon"]),
    Case(
        "keywords:word_count_different_numbers", {"keyword": "moon", "frequency": 2, "relation": "at least"},
        ["moon moon", "Moon, MOON, moon"], ["moon", "x"], [], ["moon moonlight"],
    ),
    Case(
        "keywords:word_count_different_numbers", {"keyword": "moon", "frequency": 2, "relation": "less than"},
        ["moon", "x"], ["moon moon"], ["moon moonlight"],
    ),
    Case(
        "keywords:exclude_word_harder", {"keyword": "moon"},
        ["The sun rose.", "moonlight"], ["The moon rose.", "x moon y"], [], ["moon rose", "The Moon rose", "the moon."],
    ),
    Case(
        "count:count_increment_word", {"keyword1": "sun", "keyword2": "moon"},
        ["sun moon moon", "Moon, Sun, moon."], ["sun moon", "moon moon", "sun sun moon moon"], ["sun moon moon sunny"], ["sun moon moonlight"],
    ),
    Case("paragraphs:paragraphs", {}, ["One.\n***\nTwo.", "***One***Two***"], ["One.", "a***b***c", "a*** ***b"]),
    Case(
        "paragraphs:paragraphs2", {},
        ["One.\n\nTwo.", "\n\nOne.\n\nTwo."], ["One.", "One.\nTwo.", "a\n\nb\n\nc"], ["One.\n\n\n\nTwo.", "One.\n \nTwo."],
    ),
    Case(
        "first_word:first_word_sent", {"first_word": "Well"},
        ["Well it rose. Well it set.", "well yes"], ["It rose.", "Well it rose. It set."], ["Well, it rose. Well, it set.", '"Well it rose."'],
    ),
    Case("first_word:first_word_answer", {"first_word": "well"}, ["Well it rose.", "WELL"], ["It rose well.", "wells"], ["Well, it rose.", '"Well" he said.']),
    Case(
        "last_word:last_word_sent", {"last_word": "sea"},
        ["It is the sea. I love the Sea!", "sea", "The (sea)."], ["It is the moon.", "The sea. The moon."], ["Is it the sea?! Yes the sea."],
    ),
    Case("last_word:last_word_sent", {"last_word": "don't"}, [], ["I do.", "dont know"], ["I don't. You don't."]),
    Case("last_word:last_word_answer", {"last_word": "sea"}, ["The moon and the sea.", "SEA!"], ["The sea rose.", "seas", "x"], ["The 'sea' ..."]),
    Case(
        "detectable_format:bigram_wrapping", {},
        ["<<The moon>> <<rose up>>", "<<a b>>"], ["The moon rose", "<<The moon>> rose up", "<<a b c>> <<d e>>"],
        ["<<The moon>>, <<rose up>>."], ["<<a>> <<b>>", "<<a b>> c", "word"],
    ),
    Case("punctuation:punctuation_dot", {}, ["The moon rose", "a!"], ["The moon.", "3.5", "..."]),
    Case("punctuation:punctuation_exclamation", {}, [SEA, "?"], ["Hello!", "a!b"]),
    Case("count:lowercase_counting", {"N": 2}, ["The moon rose", "THE MOON"], ["the moon rose"], ["don't go"], ["été est ça"]),
    Case("letters:letter_counting", {"N": 4, "relation": "less than"}, ["abc", "a1 2 3"], ["abcd", "The moon"], [], ["über", "Привет"]),
    Case("letters:letter_counting", {"N": 4, "relation": "at least"}, ["abcd", "The moon"], ["abc", "1 2 3 4"], ["über"]),
    Case("letters:letter_counting2", {"letter": "o", "let_frequency": 2, "let_relation": "at least"}, ["Moon", "O o"], ["sun", "one"]),
    Case(
        "count:counting_composition", {"n_sent": 1, "n_words": 3},
        [], ["One.", "a b c\n***\na b c", "a b c. d e f.\n***\na b c\n***\na b c"],
        ["I am here.\n***\nYou are there.\n***\nWe go home.", "I am here.\n* * *\nYou are there.\n* * *\nWe go home."],
        ["I am.\n***\nYou are.\n***\nWe go."],
    ),
    Case("count:count_unique", {}, ["The moon rose.", "One two three"], ["the moon the sun", "a a"], ["I came. You left.", "one, two, three"], ["The moon saw the sun"]),
    Case(
        "keywords:palindrome", {},
        ["My level is low", "a kayak"], ["The moon rose", "xy"], ["Level.", 'The "Kayak"'], ["I saw it", "a dog", "2 dogs"],
    ),
    Case(
        "keywords:keyword_specific_position", {"keyword": "moon", "n": 2, "m": 3},
        ["I came. See the moon here.", "One. A big moon"], ["I came. The moon.", "moon moon moon", "I came."],
        ["I came. Look, the Moon!", "I came. Yes, a moon"], ["I came. Yes, moon"],
    ),
    Case(
        "keywords:keyword_specific_position", {"keyword": "full moon", "n": 1, "m": 2}, [], ["The moon.", "full moon"], ["The full moon."],
    ),
    Case(
        "keywords:start_end", {},
        ["Moon over the moon", "sea sea"], ["moon", "The moon", "Moon over the moon."], ['"Moon over the moon'], ["! wow !", "(a (", ". x ."],
    ),
]  # fmt: skip

CASES = TULU3 + RLVR
