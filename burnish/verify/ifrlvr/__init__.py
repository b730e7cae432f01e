"""The 29 training constraints of IF-RLVR (arXiv:2507.02833), graded by burnish.verify.ifeval.

Ids and field names are those of open-instruct's `IFEvalG` and of the rows of allenai/IF_multi_constraints_upto5. `check`
reads each constraint as its sentence says; `check_published` gives what the published checker gives, quirks included.
Both take keywords as plain text, not as regular expressions.
"""

from burnish.verify.ifeval.constraints import Constraint
from burnish.verify.ifrlvr.copying import Copy, CopyingMultiple, CopyingSimple, CopySpanIdx, RepeatPhrase
from burnish.verify.ifrlvr.keywords import (
    CountIncrementWord,
    ExcludeWordHarder,
    KeywordSpecificPosition,
    NoAdjacentConsecutive,
    Palindrome,
    StartEnd,
    WordCountDifferentNumbers,
    WordOnce,
)
from burnish.verify.ifrlvr.marks import (
    BigramWrapping,
    CountUnique,
    LetterCounting,
    LetterCounting2,
    LowercaseCounting,
    PunctuationDot,
    PunctuationExclamation,
    SquareBrackets,
)
from burnish.verify.ifrlvr.sentences import (
    CountingComposition,
    FirstWordAnswer,
    FirstWordSent,
    LastWordAnswer,
    LastWordSent,
    Paragraphs,
    Paragraphs2,
    SentenceHyphens,
)

CONSTRAINTS: tuple[type[Constraint], ...] = (
    RepeatPhrase, Copy, CopySpanIdx, SentenceHyphens, NoAdjacentConsecutive, SquareBrackets, WordOnce,
    WordCountDifferentNumbers, ExcludeWordHarder, Paragraphs, Paragraphs2, FirstWordSent, FirstWordAnswer, LastWordSent,
    LastWordAnswer, BigramWrapping, CopyingSimple, CopyingMultiple, PunctuationDot, PunctuationExclamation,
    LowercaseCounting, LetterCounting, LetterCounting2, CountingComposition, CountUnique, CountIncrementWord, Palindrome,
    KeywordSpecificPosition, StartEnd,
)  # fmt: skip
