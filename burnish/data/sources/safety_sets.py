"""Prompts of Tülu 3's safety suite besides XSTest (arXiv:2411.15124, section 7.2): what is asked, and what is wanted of a reply.

The target is "refuse", "comply" or "harmless". HarmBench, TrustLLM's JailbreakTrigger and Do-Anything-Now are open files;
which rows of the last two Tülu 3 asked is published only as data sets on the hub (allenai/tulu-3-...-eval), so `Tulu3Rows` reads
those, and the classes of the sets draw as many by a seed, under a name that says so. WildGuardTest and WildJailbreak are
gated. What comes from the hub has no hash that is known here; its rows are counted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from burnish.core.rng import stream
from burnish.core.types import Check, Problem, user
from burnish.data.source import Source
from burnish.data.sources.benchmark import Benchmark, BenchmarkSource, rows_of, text_of
from burnish.data.sources.held_out import TESTS
from burnish.data.sources.pinned import Pinned, TestSource, one_of, records
from burnish.data.sources.xstest import REPLIES
from burnish.errors import DataError

Wanted = Literal["refuse", "harmless", "instance"]

HARMBENCH_TEST = Pinned(
    "harmbench/behaviors_text_test.jsonl", "11104ce26a55186d51618cfe665aa5449471ed95cc541b4fe9b15cbe6936e4ea",
    320, "MIT", "https://github.com/busycalibrating/AdversariaLLM", "f970939273ea17b491fadf6001fddc36ed3ae3ff",
)  # fmt: skip
_PLACE = re.compile(r"\[(?:insert prompt here|insert prompt|prompt here|your prompt here)\\?\]", re.IGNORECASE)


def _problem(prompt: str, wanted: str, category: str, source: Source, asked: str = "", key: Any = None) -> Problem:
    return Problem(
        user(prompt), Check("safety", wanted), solution=REPLIES["comply" if wanted == "comply" else "refuse"], category=category,
        source=source.name, licence=source.licence,
        annotations={"fields": [asked or prompt], **({} if key is None else {"key": key})},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class HarmBenchTest(TestSource):
    """HarmBench's 320 test behaviours (arXiv:2402.04249): 159 standard, 81 contextual, 80 copyright.

    A contextual prompt is the context, a blank line, "---", a blank line and the behaviour.
    wanted: "harmless" for judges of harm, "refuse" for rules that see refusals only, "instance" for HarmBench's classifier, whose
            target is the behaviour and its context as JSON.
    """

    wanted: Wanted = "harmless"
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """harmbench/test."""
        return "harmbench/test"

    @property
    def file(self) -> Pinned:
        """The behaviours' file."""
        return HARMBENCH_TEST

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The behaviours in the file's order; the category is the functional one."""
        fields = ("Behavior", "ContextString", "FunctionalCategory", "BehaviorID")
        for record in records(self.file, data, self.name, fields):
            behavior, context = record["Behavior"], record["ContextString"]
            prompt = f"{context}\n\n---\n\n{behavior}" if context else behavior
            wanted = (
                json.dumps({"behavior": behavior, "context": context}) if self.wanted == "instance" else self.wanted
            )
            kind = record["FunctionalCategory"]
            yield _problem(prompt, wanted, kind, self, asked=behavior, key=record["BehaviorID"])


@dataclass(frozen=True, slots=True)
class DoAnythingNow(TestSource):
    """`n` forbidden questions, each inside a jailbreak prompt found in the wild (Shen et al., arXiv:2308.03825).

    Drawn by `seed`: n of the 390 questions and n of the 650 different prompts, both without repetition, paired in the order
    drawn. The question stands where the prompt says "[INSERT PROMPT HERE]" (85 prompts, and spellings like it), else after
    the prompt and a blank line.
    """

    n: int = 300
    seed: int = 0
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. do_anything_now/300-seed0."""
        return f"do_anything_now/{self.n}-seed{self.seed}"

    @property
    def file(self) -> Pinned:
        """The jailbreak prompts' file."""
        return TESTS["do_anything_now"].file

    @property
    def count(self) -> int:
        """The problems drawn."""
        return self.n

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems in the order drawn; the category is the policy that the question breaks."""
        questions = list(
            records(TESTS["do_anything_now_questions"].file, data, self.name, ("question", "content_policy_name"))
        )
        found = (record["prompt"] for record in records(self.file, data, self.name, ("prompt",)))
        prompts = list(dict.fromkeys(prompt for prompt in found if prompt.strip()))
        if self.n > min(len(questions), len(prompts)):
            raise DataError(
                f"DoAnythingNow(n={self.n}): there are {len(questions)} questions and {len(prompts)} prompts, and none is used twice.\n"
                f"  Write n={min(len(questions), len(prompts))} or less."
            )
        draw = stream(self.seed, "do_anything_now")
        for record, prompt in zip(draw.sample(questions, self.n), draw.sample(prompts, self.n), strict=True):
            question = record["question"]
            parts = _PLACE.split(prompt)
            text = question.join(parts) if len(parts) > 1 else f"{prompt}\n\n{question}"
            yield _problem(text, "refuse", record["content_policy_name"], self, asked=question)


@dataclass(frozen=True, slots=True)
class JailbreakTrigger(TestSource):
    """`n` of TrustLLM's 1,400 JailbreakTrigger prompts (arXiv:2401.05561): 14 styles of attack, 100 prompts each.

    Drawn by `seed`, as many of each style as of any other or one more (400: 28 or 29), in the file's order. n=1400 is all.
    """

    n: int = 400
    seed: int = 0
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """E.g. jailbreaktrigger/400-seed0."""
        return "jailbreaktrigger/all" if self.n == self.file.rows else f"jailbreaktrigger/{self.n}-seed{self.seed}"

    @property
    def file(self) -> Pinned:
        """The prompts' file."""
        return TESTS["trustllm_jailbreak"].file

    @property
    def count(self) -> int:
        """The problems drawn."""
        return self.n

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The prompts; the category is the style of attack."""
        rows = list(records(self.file, data, self.name, ("prompt",)))
        styles: dict[str, list[int]] = {}
        for place, record in enumerate(rows):
            styles.setdefault(style_of(record, f"{self.name}, row {place + 1}"), []).append(place)
        draw = stream(self.seed, "jailbreaktrigger")
        left = {style: draw.sample(places, len(places)) for style, places in sorted(styles.items())}
        chosen: list[int] = []
        while len(chosen) < self.n and any(left.values()):
            # One of each style in turn; whose turn comes first is drawn, for the rounds that are not full.
            for style in draw.sample(sorted(left), len(left)):
                if left[style] and len(chosen) < self.n:
                    chosen.append(left[style].pop())
        if len(chosen) < self.n:
            raise DataError(
                f"JailbreakTrigger(n={self.n}): the set has {len(rows)} prompts.\n  Write n={len(rows)} or less."
            )
        for place in sorted(chosen):
            yield _problem(rows[place]["prompt"], "refuse", style_of(rows[place], self.name), self, key=place)


def style_of(record: Mapping[str, Any], where: str) -> str:
    """The style of attack: TrustLLM's `label` is a list of one. Raises DataError."""
    label = record.get("label")
    style = label[0] if isinstance(label, list) and label else label
    if not isinstance(style, str) or not style:
        raise DataError(f"{where}, field 'label': expected the style of attack, got {label!r:.60}.")
    return style


@dataclass(frozen=True, slots=True)
class Tulu3Rows(BenchmarkSource):
    """The rows that Tülu 3 asked of an open set, from its data set on the hub. of: "do_anything_now", "jailbreaktrigger".

    Columns: `adversarial` (the whole prompt), and `prompt` and `label` (the style of attack).
    """

    of: str
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        one_of(self.of, _TULU3, "Tulu3Rows(of=...)")

    @property
    def name(self) -> str:
        """E.g. do_anything_now/tulu3."""
        return f"{self.of}/tulu3"

    @property
    def benchmark(self) -> Benchmark:
        """The data set on the hub."""
        return _TULU3[self.of]

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The prompts in the file's order; the category is the style of attack, where there is one."""
        field = self.benchmark.columns[0]
        for number, record in enumerate(rows_of(self.benchmark, data, self.name)):
            style = style_of(record, f"{self.name}, row {number + 1}") if "label" in self.benchmark.columns else ""
            yield _problem(text_of(record, field, self.name, number), "refuse", style, self, key=number)


_TULU3: Mapping[str, Benchmark] = {
    "do_anything_now": Benchmark(
        "do_anything_now/tulu3", "allenai/tulu-3-do-anything-now-eval", "", "test", 300, "MIT", ("adversarial",)
    ),
    "jailbreaktrigger": Benchmark(
        "trustllm_safety/tulu3", "allenai/tulu-3-trustllm-jailbreaktrigger-eval", "", "test", 400, "MIT",
        ("prompt", "label"),
    ),
}  # fmt: skip
_WILDGUARDTEST = Benchmark(
    "wildguardtest/test", "allenai/wildguardmix", "wildguardtest", "test", 1725, "ODC-BY-1.0",
    ("prompt", "adversarial", "prompt_harm_label", "response_refusal_label", "response_harm_label"),
)  # fmt: skip
_WILDJAILBREAK = Benchmark(
    "wildjailbreak/eval", "allenai/wildjailbreak", "eval", "train", 2210, "ODC-BY-1.0", ("adversarial", "data_type")
)


@dataclass(frozen=True, slots=True)
class WildGuardTest(BenchmarkSource):
    """WildGuardTest (arXiv:2406.18495), gated: of 1,725 rows the 749 with a harmful prompt and all labels known.

    wanted: "harmless" or "refuse", as in `HarmBenchTest`.
    """

    wanted: Wanted = "harmless"
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """wildguardtest/test."""
        return "wildguardtest/test"

    @property
    def benchmark(self) -> Benchmark:
        """The data set on the hub, whose terms must be accepted."""
        return _WILDGUARDTEST

    @property
    def count(self) -> int:
        """The rows asked."""
        return 749

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The harmful prompts; the category is vanilla or adversarial. Raises DataError when they are not 749."""
        labels = ("response_refusal_label", "response_harm_label")
        asked = [
            (number, record)
            for number, record in enumerate(rows_of(self.benchmark, data, self.name))
            if record["prompt_harm_label"] == "harmful" and all(record[name] for name in labels)
        ]
        if len(asked) != self.count:
            raise DataError(
                f"{self.name}: {len(asked):,} rows have a harmful prompt and both labels of the response, and 749 were published, so this is another revision.\n"
                f"  Fetch split 'test', configuration 'wildguardtest', of {self.benchmark.hub} again."
            )
        for number, record in asked:
            kind = "adversarial" if str(record["adversarial"]).lower() in ("true", "1") else "vanilla"
            yield _problem(text_of(record, "prompt", self.name, number), self.wanted, kind, self, key=number)


@dataclass(frozen=True, slots=True)
class WildJailbreakTest(BenchmarkSource):
    """WildJailbreak's evaluation set (arXiv:2406.18510), gated: 2,000 adversarial harmful prompts, 210 adversarial benign ones."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """wildjailbreak/eval."""
        return "wildjailbreak/eval"

    @property
    def benchmark(self) -> Benchmark:
        """The data set on the hub, whose terms must be accepted."""
        return _WILDJAILBREAK

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """Harmful prompts are to be refused, benign ones answered; the category is harmful or benign."""
        wanted = {"adversarial_harmful": "refuse", "adversarial_benign": "comply"}
        for number, record in enumerate(rows_of(self.benchmark, data, self.name)):
            kind = text_of(record, "data_type", self.name, number)
            if kind not in wanted:
                raise DataError(
                    f"{self.name}, row {number + 1}, column 'data_type': {kind!r:.40} is none of {', '.join(wanted)}."
                )
            prompt = text_of(record, "adversarial", self.name, number)
            yield _problem(prompt, wanted[kind], kind.removeprefix("adversarial_"), self, key=number)
