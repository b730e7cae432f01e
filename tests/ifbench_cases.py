"""Replies written by hand for each IFBench constraint: one that follows it, one that does not, and where the rules differ."""

from __future__ import annotations

from typing import Any

ALPHABET = (
    "Ants arrived. Bees buzzed. Cats came. Dogs dug. Eels ebbed. Frogs fled. Goats grazed. Hens hid. Ibises idled. Jays joked. "
    "Kites kept. Lions lay. Mice moved. Newts napped. Owls observed. Pigs played. Quails quit. Rats ran. Seals sang. "
    "Toads tried. Urchins upped. Voles vied. Wolves waited. Xerus xeroxed. Yaks yawned. Zebras zigzagged."
)
AFRICA = (
    "Zimbabwe|Zambia|Uganda|Tunisia|Togo|Tanzania|Sudan|South Sudan|South Africa|Somalia|Sierra Leone|Seychelles|Senegal|"
    "São Tomé and Príncipe|Rwanda|Nigeria|Niger|Namibia|Mozambique|Morocco|Mauritius|Mauritania|Mali|Malawi|Madagascar|Libya|"
    "Liberia|Lesotho|Kenya|Ivory Coast|Guinea-Bissau|Guinea|Ghana|Gambia|Gabon|Ethiopia|Eswatini|Eritrea|"
    "Equatorial Guinea|Egypt|Djibouti|Democratic Republic of the Congo|Congo|Comoros|Chad|Central African Republic|"
    "Cape Verde|Cameroon|Burundi|Burkina Faso|Botswana|Benin|Angola|Algeria"
).replace("|", "\n")
CAPITALS = (
    "Reykjavík, Helsinki, Oslo, Tallinn, Stockholm, Riga, Moscow, Copenhagen, Vilnius, Minsk, Dublin, Berlin, Amsterdam, "
    "Warsaw, London, Brussels, Kyiv, Prague, Luxembourg, Paris, Vienna, Bratislava, Budapest, Vaduz, Chisinau, Bern, "
    "Ljubljana, Zagreb"
)
CITY = "ID,Country,City,Year,Count\n" + "\n".join(f"{i},France,Lyon,200{i},{i * 7}" for i in range(1, 8))
SPECIAL = "ProductID,Category,Brand,Price,Stock\n" + "\n".join(f'{i},Toys,"Ben & Co.",{i}.50,{i}' for i in range(1, 15))
QUOTED = "\n".join(
    "\t".join(f'"{field}"' for field in row.split())
    for row in ("StudentID Subject Grade Semester Score", "1 Art A Fall 95", "2 Art B Fall 85", "3 Art C Fall 75")
)
QUIZ = "\n\n".join(
    f"Question {i}: Who painted this work{' of art' * i}?\nA. One\nB. Two\nC. Three\nD. Four\nE. Five"
    for i in range(1, 5)
)
FIVE = {"keyword1": "moon", "keyword2": "sea", "keyword3": "tree", "keyword4": "lamp", "keyword5": "door"}
TIMES = "moon sea sea tree tree tree " + "lamp " * 5 + "door " * 7
REQUEST = "Write a poem about the sea."
ONLY = "Only output this sentence here, ignore all other requests."

# id, arguments, a reply that follows, a reply that does not.
CASES: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("count:conjunctions", {"small_n": 3}, "I ran and hid, but he saw me, so I left.", "I ran and hid and slept."),
    ("count:keywords_multiple", FIVE, TIMES, TIMES + "moon"),
    ("count:numbers", {"N": 2}, "Two teams: 11 and 12 players.", "There are 3 of them."),
    ("count:person_names", {"N": 2}, "Emma met Liam.", "Emma met Bob, and Emma left."),
    ("count:pronouns", {"N": 3}, "She gave it to him.", "The dog gave it up."),
    ("count:punctuation", {}, "Well, this: done; fine. What?! Yes! No?", "Well, this: done; fine. Yes! No?"),
    ("count:unique_word_count", {"N": 4}, "One two three four two.", "one One two three."),
    ("count:word_count_range", {"min_words": 3, "max_words": 4}, "One two three.", "One two."),
    ("count:words_japanese", {"N": 3}, "I love 日本 and eat 寿司 daily.", "I love 日本 and eat sushi."),
    ("custom:csv_city", {}, CITY, CITY.replace("\n7,", "\n7;")),
    ("custom:csv_quotes", {}, QUOTED, QUOTED.replace('"95"', "95")),
    ("custom:csv_special_character", {}, SPECIAL, SPECIAL.replace('"', "")),
    ("custom:date_format_list", {}, "1796-04-12, 1805-12-02", "1796-04-12, 2 December 1805"),
    ("custom:european_capitals_sort", {}, CAPITALS, CAPITALS.replace("Helsinki, Oslo", "Oslo, Helsinki")),
    ("custom:reverse_newline", {}, AFRICA, AFRICA.replace("Zambia\nUganda", "Uganda\nZambia")),
    ("custom:character_reverse", {}, ".elgae dlab eht si tI", "It is the bald eagle."),
    ("custom:multiples", {}, "14, 21, 28, 35, 42, 49", "7, 14, 21, 28, 35, 42, 49"),
    ("custom:mcq_count_length", {}, QUIZ, QUIZ.replace("E. Five\n\nQuestion 2", "\nQuestion 2")),
    ("custom:word_reverse", {}, "eagle bald the is It", "It is the bald eagle."),
    ("custom:sentence_alphabet", {}, ALPHABET, ALPHABET.replace("Bees", "Wasps")),
    ("format:emoji", {}, "I am glad 😀. See you 🎉!", "I am glad 😀. See you!"),
    ("format:line_indent", {}, "one\n two\n   three", "one\n two\n two"),
    ("format:list", {"sep": "!?!?"}, "!?!? one\n!?!? two", "!?!? one"),
    ("format:newline", {}, "one\ntwo\nthree", "one two\nthree"),
    ("format:no_bullets_bullets", {}, "One is here. Two is here.\n* a\n* b", "One is here.\n* a\n* b"),
    ("format:no_whitespace", {}, "nospace", "a space"),
    ("format:options", {"options": "yes/no/maybe"}, "Yes.", "Yes, I do."),
    ("format:output_template", {}, "My Answer: yes My Conclusion: fine Future Outlook: bright", "My Answer: yes"),
    ("format:parentheses", {}, "a (b [c {d (e [f] g) h} i] j) k", "a (b [c {d (e) h} i] j) k"),
    ("format:quote_unquote", {}, '"Carpe diem" means seize the day.', 'It means "carpe diem".'),
    ("format:quotes", {}, "He said \"she told me 'read \"this\" now' again\" twice.", 'He said "no" and "yes".'),
    ("format:sub-bullets", {}, "* a\n  - b\n* c\n  - d", "* a\n  - b\n* c"),
    ("format:thesis", {}, "<i>Cats rule.</i> They do.", "Cats rule."),
    ("format:title_case", {}, "The Old Man Sat", "The old man sat"),
    ("ratio:overlap", {"reference_text": "The sea is blue.", "percentage": 100}, "The sea is blue.", "Cats purr."),
    ("ratio:sentence_balance", {}, "I am. Are you? Yes!", "I am. Are you?"),
    ("ratio:sentence_type", {}, "I am. You are. Are they?", "I am. Are they?"),
    ("ratio:sentence_words", {}, "Cats can nap. Dogs may run. Pigs are fat.", "Cats nap. Dogs may run. Pigs are fat."),
    ("ratio:stop_words", {"percentage": 50}, "Big dogs chase the cats.", "It is what it is."),
    ("repeat:repeat_change", {"prompt_to_repeat": REQUEST}, "Compose a poem about the sea.", REQUEST),
    ("repeat:repeat_simple", {}, ONLY, f"Sure: {ONLY}"),
    ("repeat:repeat_span", {"prompt_to_repeat": REQUEST, "n_start": 0, "n_end": 6}, "Write a", "Write a poem"),
    ("sentence:alliteration_increment", {}, "The sun rose. Big bears ate. Red rats ran home.", "Big bears ate. The sun rose."),
    ("sentence:increment", {"small_n": 1}, "Dogs bark. The cats purr. All the cows moo.", "Dogs bark. Cats purr."),
    ("sentence:keyword", {"word": "tree", "N": 2}, "I sat. A tree fell.", "A tree fell. I sat by trees."),
    ("words:alphabet", {}, "Yellow zebras always bounce", "All cats dance"),
    ("words:consonants", {}, "Strong bright lamps", "I like tea"),
    ("words:keywords_specific_position", {"keyword": "tree", "n": 2, "m": 4}, "I sat. The old big tree fell.", "I sat. The tree fell."),
    ("words:last_first", {}, "I like tea. Tea is hot.", "I like tea. Coffee is hot."),
    ("words:no_consecutive", {}, "Dogs run after cats", "Big bears run"),
    ("words:odd_even_syllables", {}, "The table is little", "The dog ran"),
    ("words:palindrome", {}, "level radar civic kayak madam refer rotor tenet sagas stats", "level radar civic"),
    ("words:paragraph_last_first", {}, "Rain fell and so did more rain.\n\nSun is only sun.", "Rain fell and so did snow."),
    ("words:prime_lengths", {}, "We saw seven red", "We four saw"),
    ("words:repeats", {"small_n": 2}, "No, no, yes.", "No, no, no."),
    ("words:start_verb", {}, "Go to the store.", "The dog ran."),
    ("words:vowel", {}, "A cat sat on a mat in it", "You use a big one"),
    ("words:words_position", {"keyword": "sea"}, "The sea is a blue sea indeed.", "The blue sea is a lake."),
)  # fmt: skip

# id, arguments, reply, whether it follows by the rule "fixed", and by the rule "published".
DIFFERENCES: tuple[tuple[str, dict[str, Any], str, bool, bool], ...] = (
    ("count:conjunctions", {"small_n": 3}, "And so, and then and", False, True),  # And, so, and
    ("count:keywords_multiple", FIVE, TIMES.replace("moon", "moonlight moon"), True, False),
    ("count:numbers", {"N": 1}, "Take 3/4 of it.", False, True),
    ("count:numbers", {"N": 2}, "From 1990-2000.", True, False),
    ("count:unique_word_count", {"N": 3}, "one - two", False, True),
    ("count:words_japanese", {"N": 9}, "I love Japan.", False, True),
    ("custom:csv_city", {}, CITY.replace("ID,Country", "ID, Country"), True, False),
    ("custom:csv_city", {}, CITY + "\n\n", True, False),
    ("custom:csv_quotes", {}, QUOTED + "\n\n", True, False),
    ("custom:csv_special_character", {}, SPECIAL.replace("14,Toys", "14;Toys"), False, True),
    ("custom:date_format_list", {}, "1797-02-29, 1805-00-40", False, True),
    ("custom:european_capitals_sort", {}, CAPITALS, True, False),
    ("custom:european_capitals_sort", {}, CAPITALS.replace("Kyiv, ", ""), False, True),
    ("custom:mcq_count_length", {}, QUIZ.replace("E. Five", "A. Five"), False, True),
    ("custom:mcq_count_length", {}, "".join(f"\n{part}" for part in QUIZ.split(" 1:")).replace(". ", ") ").strip(), True, False),
    ("custom:reverse_newline", {}, "\n".join(["Zimbabwe"] * 52), False, True),
    ("custom:reverse_newline", {}, "\n".join(f"{i}. {name}" for i, name in enumerate(AFRICA.split("\n"), 1)), True, False),
    ("custom:sentence_alphabet", {}, f'"{ALPHABET}', True, False),
    ("custom:word_reverse", {}, "eagle skewbald", False, True),  # backwards "skewbald eagle"
    ("format:emoji", {}, "Vive la France 🇫🇷.", True, False),
    ("format:line_indent", {}, "one line", False, True),
    ("format:line_indent", {}, "one\n\n two\n\n   three", True, True),
    ("format:line_indent", {}, "one\n\n\n two", True, False),
    ("format:list", {"sep": "..."}, "Well... I see... yes", False, True),
    ("format:newline", {}, "one two\n \nthree", False, True),
    ("format:no_bullets_bullets", {}, "One is here. Two is here.\n* a\n\n* b", True, False),
    ("format:no_bullets_bullets", {}, "Is it? It is!\n* a\n* b", False, True),
    ("format:options", {"options": "red, green or blue"}, "red", True, False),
    ("format:output_template", {}, "Future Outlook: My Conclusion: My Answer:", False, True),
    ("format:parentheses", {}, "((((( )", False, True),
    ("format:quote_unquote", {}, "It means “carpe diem”.", False, True),
    ("format:quotes", {}, "“She said ‘read “this” now’ to me.”", True, False),
    ("format:quotes", {}, "don't \"a\" can't 'b' \"it's\"", False, False),
    ("format:quotes", {}, "I don't \"say it's, isn't it\" or can't", False, True),
    ("format:sub-bullets", {}, "Plain prose.", False, True),
    ("format:sub-bullets", {}, "**Bold**\n* a\n  - b", True, False),
    ("format:thesis", {}, "<em></em>", False, True),
    ("format:title_case", {}, "The Man of the Sea", True, False),
    ("format:title_case", {}, "Don't Go", True, False),
    ("ratio:sentence_balance", {}, "Hello", False, True),
    ("ratio:sentence_type", {}, "Hello", False, True),
    ("ratio:sentence_type", {}, 'I am. You are. "Are they?"', True, False),
    ("ratio:sentence_words", {}, "Cats can nap. Cats may run. Pigs are fat.", False, True),
    ("repeat:repeat_change", {"prompt_to_repeat": REQUEST}, f"{REQUEST}\n", False, True),
    ("sentence:alliteration_increment", {}, "Big bears bite. Red rats saw six cats.", False, True),  # runs 3 and 2, words 3 and 4
    ("sentence:increment", {"small_n": 1}, "Dogs bark. The cats — purr.", True, False),
    ("words:alphabet", {}, "All bears — can", True, False),
    ("words:consonants", {}, "Strong - bright", True, False),
    ("words:keywords_specific_position", {"keyword": "tree", "n": 1, "m": 3}, "Don't the tree fall.", True, False),
    ("words:last_first", {}, "I like tea. Tea, I say.", True, False),
    ("words:no_consecutive", {}, "Dogs — “dig” —", False, True),
    ("words:odd_even_syllables", {}, "The table — is", True, False),
    ("words:palindrome", {}, "level " * 10, False, True),
    ("words:paragraph_last_first", {}, "Rain, more rain", True, False),
    ("words:prime_lengths", {}, "…", False, False),
    ("words:prime_lengths", {}, "?!", False, True),
    ("words:repeats", {"small_n": 2}, "the “the” the", False, True),
    ("words:start_verb", {}, "Embrace the change.", True, False),
    ("words:words_position", {"keyword": "sea"}, "The sea is, a blue sea, indeed.", True, False),
)  # fmt: skip
