"""Tülu 3's own variants of the 25 instructions (arXiv:2411.15124, §6), as the rows of allenai/RLVR-IFeval name them.

Ids are "tulu3:" and the name of the function in open-instruct's `if_functions.py`; fields are its arguments. Two readings:

- `check`, the fixed one, counts as IFEval counts, so that training rewards what the evaluation measures, with the bounds
  that the prompt states: exactly N times, at least, at most or around N.
- `check_published` gives what the function gave when Tülu 3 was trained (November 2024), quirks included; each class
  says which. The functions saw the reply without white space around it.
"""

from burnish.verify.ifeval.constraints import Constraint
from burnish.verify.ifeval.tulu3.form import (
    ValidateEnd,
    ValidateHighlightedSections,
    ValidateJsonFormat,
    ValidateParagraphs,
    ValidatePlaceholders,
    ValidateQuotation,
    ValidateSections,
    ValidateTitle,
    ValidateTwoResponses,
    VerifyBulletPoints,
    VerifyParagraphCount,
    VerifyPostscript,
)
from burnish.verify.ifeval.tulu3.wording import (
    ValidateChoice,
    ValidateForbiddenWords,
    ValidateFrequencyCapitalWords,
    ValidateLowercase,
    ValidateNoCommas,
    ValidateRepeatPrompt,
    ValidateResponseLanguage,
    ValidateUppercase,
    ValidateWordConstraint,
    VerifyKeywordFrequency,
    VerifyKeywords,
    VerifyLetterFrequency,
    VerifySentenceConstraint,
)

CONSTRAINTS: tuple[type[Constraint], ...] = (
    VerifyKeywords, VerifyKeywordFrequency, ValidateForbiddenWords, VerifyLetterFrequency, ValidateResponseLanguage,
    VerifyParagraphCount, ValidateWordConstraint, VerifySentenceConstraint, ValidateParagraphs, VerifyPostscript,
    ValidatePlaceholders, VerifyBulletPoints, ValidateTitle, ValidateChoice, ValidateHighlightedSections, ValidateSections,
    ValidateJsonFormat, ValidateRepeatPrompt, ValidateTwoResponses, ValidateUppercase, ValidateLowercase,
    ValidateFrequencyCapitalWords, ValidateEnd, ValidateQuotation, ValidateNoCommas,
)  # fmt: skip
