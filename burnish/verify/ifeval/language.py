"""The language of a text through langdetect, seeded so that a text always gets the same answer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from burnish.errors import VerifierError, nearest

# The languages of the published instructions, as langdetect codes.
NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "de": "German", "en": "English", "es": "Spanish",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "gu": "Gujarati", "he": "Hebrew", "hi": "Hindi", "it": "Italian",
    "ja": "Japanese", "kn": "Kannada", "ko": "Korean", "ml": "Malayalam", "mr": "Marathi", "ne": "Nepali",
    "pa": "Punjabi", "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sw": "Swahili", "ta": "Tamil",
    "te": "Telugu", "th": "Thai", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese",
}  # fmt: skip

# All that langdetect can answer.
CODES = frozenset((
    *NAMES, "af", "ca", "cs", "cy", "da", "el", "et", "hr", "hu", "id", "lt", "lv", "mk", "nl", "no", "ro", "sk", "sl",
    "so", "sq", "sv", "tl", "tr", "zh-cn", "zh-tw",
))  # fmt: skip


def check_code(language: str) -> None:
    """Nothing, for a code that langdetect can answer. Raises VerifierError otherwise: no reply could pass."""
    if language not in CODES:
        raise VerifierError(
            f"language={language!r:.60}: langdetect never answers this. {nearest(language[:60], CODES)}"
        )


@lru_cache(maxsize=1)
def _factory() -> Any:
    from langdetect.detector_factory import PROFILES_DIRECTORY, DetectorFactory

    factory = DetectorFactory()
    # On the instance, not the class: langdetect as the rest of a program uses it keeps its own seed.
    factory.seed = 0
    factory.load_profile(PROFILES_DIRECTORY)
    return factory


@lru_cache(maxsize=4096)
def language_of(text: str) -> str | None:
    """The most likely language code, e.g. "en" or "zh-cn"; None where nothing in the text tells a language."""
    return likely_language(text)[0] or None


def likely_language(text: str) -> tuple[str, float]:
    """The most likely language code and its probability; ("", 0.0) where nothing in the text tells a language."""
    from langdetect.lang_detect_exception import LangDetectException

    detector = _factory().create()
    detector.append(text)
    try:
        found = detector.get_probabilities()
    except LangDetectException:
        return "", 0.0
    # langdetect's own word for a text in which no language reaches its threshold.
    return (str(found[0].lang), float(found[0].prob)) if found else ("unknown", 0.0)
