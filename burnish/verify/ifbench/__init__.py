"""The 58 test constraints of IFBench (Pyatkin et al., arXiv:2507.02833), graded by burnish.verify.ifeval.IFEval.

`check` counts what the instruction's sentence says; `check_published`, where a constraint has it, gives the verdict of the
published checkers (allenai/IFBench 0.2.0 with NLTK 3.9.2, emoji 2.15 and syllapy 0.7.2), quirks included.
docs/reference/verifiers/ifbench.md lists the 58 and where the two differ.
"""

from burnish.verify.ifbench import (
    answers,
    counts,
    formats,
    layouts,
    ratios,
    repeats,
    sentence_rules,
    tables,
    word_rules,
)
from burnish.verify.ifeval.constraints import Constraint

CONSTRAINTS: tuple[type[Constraint], ...] = (
    counts.Conjunctions, counts.KeywordsMultiple, counts.Numbers, counts.PersonNames, counts.Pronouns, counts.Punctuation,
    counts.UniqueWordCount, counts.WordCountRange, counts.WordsJapanese,
    tables.CsvCity, tables.CsvQuotes, tables.CsvSpecialCharacter, tables.DateFormatList, tables.EuropeanCapitals,
    tables.ReverseNewline,
    answers.CharacterReverse, answers.Multiples, answers.QuizQuestions, answers.WordReverse,
    formats.Emoji, formats.LineIndent, formats.NestedQuotes, formats.Newline, formats.NoWhitespace, formats.OutputTemplate,
    formats.Parentheses, formats.QuoteUnquote, formats.TitleCase,
    layouts.ItemList, layouts.Options, layouts.SentencesThenBullets, layouts.SubBullets, layouts.Thesis,
    ratios.Overlap, ratios.SentenceBalance, ratios.SentenceType, ratios.SentenceWords, ratios.StopWords,
    repeats.RepeatChange, repeats.RepeatSimple, repeats.RepeatSpan,
    sentence_rules.AlliterationIncrement, sentence_rules.SentenceAlphabet, sentence_rules.SentenceIncrement,
    sentence_rules.SentenceKeyword,
    word_rules.Alphabet, word_rules.Consonants, word_rules.KeywordPosition, word_rules.LastFirst, word_rules.NoConsecutive,
    word_rules.OddEvenSyllables, word_rules.Palindromes, word_rules.ParagraphLastFirst, word_rules.PrimeLengths,
    word_rules.Repeats, word_rules.StartVerb, word_rules.Vowel, word_rules.WordsPosition,
)  # fmt: skip
