"""Replies to generated instructions, composed from what can be said of a topic and shaped by the constraints.

A composed reply is a candidate: the caller grades it with the verifier and composes another one if it fails.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from burnish.data.sources import instruction_wordings as bank
from burnish.data.sources.instruction_topics import Topic
from burnish.data.sources.phrasing import phrase

Constraints = Sequence[tuple[str, Mapping[str, Any]]]
Wanted = Mapping[str, Mapping[str, Any]]


def compose(topic: Topic, constraints: Constraints, rng: random.Random) -> str:
    """One candidate reply of about 10 to 60 words."""
    wanted = dict(constraints)
    slots = {"t": topic.subject, "T": _capital(topic.subject)}
    required = _required(topic, wanted, rng, slots)
    told = _told(topic, wanted, required, rng, slots)
    parts = told[:1] + rng.sample(required + told[1:], len(required) + max(len(told) - 1, 0))
    if len(parts) > 1 and rng.random() < 0.25 and not wanted.keys() & _FIXED_SIZE:
        parts.append(phrase(rng.choice(bank.CLOSINGS), rng, slots))
    if "detectable_format:number_highlighted_sections" in wanted:
        parts = _highlighted(
            topic, parts, wanted["detectable_format:number_highlighted_sections"]["num_highlights"], rng
        )
    if "detectable_format:number_bullet_lists" in wanted:
        text = "\n".join(f"* {part}" for part in parts)
    else:
        text = " ".join(parts)
    return _framed(text, wanted, rng, slots)


_FIXED_SIZE = {
    "detectable_format:number_bullet_lists", "length_constraints:number_sentences", "length_constraints:number_words",
}  # fmt: skip


def _required(topic: Topic, wanted: Wanted, rng: random.Random, slots: Mapping[str, str]) -> list[str]:
    """The sentences that keywords and placeholders call for."""
    found = [keyword_sentence(word, topic, rng) for word in wanted.get("keywords:existence", {}).get("keywords", ())]
    times = wanted.get("keywords:frequency", {}).get("frequency", 0)
    for saying in rng.sample(topic.sayings, times):
        found.append(phrase(rng.choice(bank.MENTIONS), rng, {**slots, "s": saying}))
    holes = wanted.get("detectable_content:number_placeholders", {}).get("num_placeholders", 0)
    kinds = zip(rng.sample(bank.HOLE_SENTENCES, holes), rng.sample(bank.HOLES, holes), strict=True)
    return found + [phrase(pattern, rng, {"h": hole}) for pattern, hole in kinds]


def keyword_sentence(word: str, topic: Topic, rng: random.Random) -> str:
    """A sentence that uses a keyword of the word bank or of the topic."""
    slots = {"t": topic.subject, "T": _capital(topic.subject), "w": word, "W": _capital(word)}
    for group, patterns in bank.KEYWORDS:
        if word in group.split():
            return phrase(rng.choice(patterns), rng, slots)
    return phrase(rng.choice(bank.LINKS), rng, slots)


def _told(topic: Topic, wanted: Wanted, required: list[str], rng: random.Random, slots: Mapping[str, str]) -> list[str]:
    """Sentences about the topic, as many as the constraints ask for; the first one names the topic."""
    bullets = "detectable_format:number_bullet_lists" in wanted
    words = wanted.get("length_constraints:number_words", {})
    least = words["num_words"] + rng.randint(0, 4) if words.get("relation") == "at least" else 0
    size = _sentences_wanted(wanted, len(required), rng)
    patterns = _patterns(wanted, rng)
    sayings = [saying for saying in rng.sample(topic.sayings, len(topic.sayings)) if not _forbidden(saying, wanted)]
    told: list[str] = []
    while sayings:
        if sum(map(_count, required + told)) >= least and len(required) + len(told) >= size:
            break
        pattern = patterns.pop() if patterns else "It $s."
        if "$s2" in pattern and (bullets or len(sayings) < 2):
            pattern = "It $s."
        if not told:
            pattern = re.sub(r"\b[Ii]t(?= \$s)", lambda m: "$T" if m[0][0] == "I" else "$t", pattern, count=1)
        pair = {"s": sayings.pop(), "s2": sayings.pop() if "$s2" in pattern else ""}
        told.append(phrase(pattern, rng, {**slots, **pair}))
    return told


def _patterns(wanted: Wanted, rng: random.Random) -> list[str]:
    """Sentence patterns in the order of their use, last first; none opens twice in the same manner."""
    if "detectable_format:number_bullet_lists" in wanted:
        return ["It $s.", "$T $s."] * 2
    joined = rng.sample(bank.JOININGS, 2) + rng.choices(bank.PLAIN, k=3)
    rng.shuffle(joined)
    joined.append(rng.choice(bank.OPENINGS if rng.random() < 0.4 else bank.PLAIN))
    return [pattern for pattern in joined if "," not in pattern or "punctuation:no_comma" not in wanted]


def _sentences_wanted(wanted: Wanted, required: int, rng: random.Random) -> int:
    """How many sentences, one about the topic at least where there is room."""
    bullets = wanted.get("detectable_format:number_bullet_lists")
    count = wanted.get("length_constraints:number_sentences")
    words = wanted.get("length_constraints:number_words")
    if bullets:
        return int(bullets["num_bullets"])
    if count and count["relation"] == "at least":
        return int(count["num_sentences"]) + (rng.random() < 0.3)
    if count:
        return max(required, rng.randint(1, int(count["num_sentences"]) - 1))
    if words and words["relation"] == "less than":
        return max(required, int(words["num_words"]) // 10)
    return max(required + 1, rng.randint(2, 3))


def _forbidden(saying: str, wanted: Wanted) -> bool:
    return any(word in saying for word in wanted.get("keywords:forbidden_words", {}).get("forbidden_words", ()))


def _count(text: str) -> int:
    return len(re.findall(r"\w+", text))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _highlighted(topic: Topic, parts: list[str], count: int, rng: random.Random) -> list[str]:
    """The sentences with the topic, or a run of their last words, between asterisks in `count` of them."""
    marked = list(parts)
    for index in rng.sample(range(len(parts)), min(count, len(parts))):
        if topic.subject in marked[index] and rng.random() < 0.5:
            marked[index] = marked[index].replace(topic.subject, f"*{topic.subject}*", 1)
            continue
        words = marked[index].split()
        start = len(words) - min(rng.randint(1, 3), len(words) - 1)
        run = " ".join(words[start:])
        inner = run.rstrip(".?")
        marked[index] = " ".join([*words[:start], f"*{inner}*{run[len(inner) :]}"])
    return marked


def _framed(text: str, wanted: Wanted, rng: random.Random, slots: Mapping[str, str]) -> str:
    """The text with its title, postscript, ending, case and quotation marks."""
    if "detectable_format:title" in wanted:
        title = phrase(rng.choice(bank.TITLES), rng, {**slots, "T": slots["t"].title().replace("The ", "the ")})
        text = f"<<{_capital(title)}>>\n{text}"
    if "detectable_content:postscript" in wanted:
        note = phrase(rng.choice(bank.POSTSCRIPTS), rng, slots)
        text = f"{text}\n{wanted['detectable_content:postscript']['postscript_marker']} {note}"
    if "startend:end_checker" in wanted:
        text = f"{text} {wanted['startend:end_checker']['end_phrase']}"
    if "change_case:english_lowercase" in wanted:
        text = text.lower()
    if "change_case:english_capital" in wanted:
        text = text.upper()
    return f'"{text}"' if "startend:quotation" in wanted else text
