"""DeepMind Mathematics (Saxton et al. 2019, arXiv:1904.01557) as Tülu 3 asks it: 100 questions of each of 56 modules. Evaluation only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from burnish.core.types import Check, Problem, user
from burnish.data.sources.pinned import Pinned, TestFiles, records

# SHA-256 of each module's file: 100 of the 10,000 questions of deepmind/math_dataset's test split (random.Random(1234)).
MODULES: dict[str, str] = {
    "algebra__linear_1d": "48efb3e4d484c8ef1b1902904e43074f8cfd5bd9f3047989821cdffaaa416f50",
    "algebra__linear_1d_composed": "d2e0480a33dd1d5de6c1b4120c2b66feac4b2c36720f40f055b2dd85865ec7c8",
    "algebra__linear_2d": "120f022a54e1ee297a1bef092bfe67a6e3a80275b05a33e681a5a8a990bd0902",
    "algebra__linear_2d_composed": "5d4f492cb22b044b1430607ee2f7865bae9141cc09cd61209f3410466bcf314d",
    "algebra__polynomial_roots": "13b4fc7a7d347c38f527392eccb2b7b10833d4518a1d3e6cc589f15a2dbaa5c8",
    "algebra__polynomial_roots_composed": "a78f1c0ba4e5c352e76bbbf763f7816ae8b6b62d5f332016e52d6a0ef0015e18",
    "algebra__sequence_next_term": "fd10713d2562a807fd9717a963236ee3b7d0cad0c9f26215ae0712e5313ec200",
    "algebra__sequence_nth_term": "0ec7a8447e1060e1a3f6bc17d0810dd0c15a9829a367ea990737bbb9d12c7a7c",
    "arithmetic__add_or_sub": "2c047a17a235ce8a4f28796e58a37154dfdecf96c6124958a11e99c4e98c9e1d",
    "arithmetic__add_or_sub_in_base": "d304d3cd072266766c8521daf59e2fdebdf422874cc59d1c6fefa9dfca2eac24",
    "arithmetic__add_sub_multiple": "b29c1ed20b478cba2c9853aeed160d57e1a51140eefc1246391273073653b8eb",
    "arithmetic__div": "ac637d005064d1782ac164417080942c9df6123adc4746a8c721b3b69337d14e",
    "arithmetic__mixed": "23cf09d4cbdc8d4eb22326fdbeea8d9d7fee4458ab9a8a93ddfa7bf30475c14a",
    "arithmetic__mul": "b24936e2dd0ef9d5a63d7d6a759295bd8608e4b25159a2b44a4b5e5053f4aa17",
    "arithmetic__mul_div_multiple": "8f1595cd0c4de5303f3179a3c605b7c0fb9c94fe27802bcc59c251d46689c623",
    "arithmetic__nearest_integer_root": "e9e02118e31f4361c22243dbbd511c09271ca845c53dce3b86ff273f24382ca4",
    "arithmetic__simplify_surd": "8f0620c4998904dc8f341aa8417e0f7a83e08be73cb13c33e81044b818aab026",
    "calculus__differentiate": "f26d64182f566b1640179fcaa24bda6fccf12c8042cde6eaf7ea81dd271943e3",
    "calculus__differentiate_composed": "ef28334430da998c030717b6b766aa14a8a7d2eec610f7e9b28d9012051edc30",
    "comparison__closest": "0d9ff77e0bf824f3182df40f27352d1a4fa7285ab7b4a608d21ce5fd1e775229",
    "comparison__closest_composed": "a206d014fcff9463f9fc29b113646e256e77742530d1d2978966c0d41ae825d0",
    "comparison__kth_biggest": "5895cc2974717bc25cd2686a6ebb0946e8e03de5dc02c56c832a4cd3b5b3067b",
    "comparison__kth_biggest_composed": "dc6840816afa336099b8775a4e00ce02293880379a218f44589a89e2ce8e0ef9",
    "comparison__pair": "2e464ec4b0c84a2ae8255edd84e814a858bf4392c159c07005579d6a8e2f82ce",
    "comparison__pair_composed": "b0c6150d99c686423eddef600ed61e37f8bb504ec266be825e5f353be92ff70d",
    "comparison__sort": "1cdb200e88763a14bdf2991c7a13c81743fd6429db192a0d7fdb5074119150a2",
    "comparison__sort_composed": "f0bc653bdafcfaf960598a622b423c8e477e9889d08beaeea26dbdf4af209c55",
    "measurement__conversion": "a9007fcb2a157ec548eca98573bc71407353418b02a1fb7838cbce6372157ebe",
    "measurement__time": "d808e32ab8e8f4f2f9952375a09ed1a5193339f82b862bf44c4d67ea9fe4a5e5",
    "numbers__base_conversion": "b4910b866158b4115413d130b43db885442d61fafc8b2f67fb63122abb4ff9b5",
    "numbers__div_remainder": "ca9c4ef89f34a9594a24e66f58aa2ec9162da8194673e2d6470888ee10e49299",
    "numbers__div_remainder_composed": "accb007e1db6554dabf73e73ea8074b4105e958c344c41790f376c5d09c55c5a",
    "numbers__gcd": "7626f4f752a183274f28deabf30c21f3477ecf978b1bd15147c840a3e46f5fa3",
    "numbers__gcd_composed": "09427cde075740781084c574f261148cdbf961bcd167113fe70abe383d79c1b9",
    "numbers__is_factor": "2ed4a1279548a264a803f9f61dea12acf9b46fb31a3e8392980700c81e8c2fb2",
    "numbers__is_factor_composed": "67429689ea37f2ee258cac8cdec9d787f9b3cce3a678b1abd7e5dd0008c08916",
    "numbers__is_prime": "d08cc94fd5dc4576b56dc9d87cb6e598a709199e1c8e82121fce10fdc9a83985",
    "numbers__is_prime_composed": "f60e40ef68186bfb734e906befa74b56430a690dd9f01c67127bf69e570e1803",
    "numbers__lcm": "e6395169f06302ca0aefd58c6aa4b5927aae5b3f295db8a41212f1801f574cf4",
    "numbers__lcm_composed": "cc3c5e259a4e4a2d1c3ca617a83b6d7c9d56daa376d88a50ee58f6fcfda17d99",
    "numbers__list_prime_factors": "18836b3c217cb93bf2a25b7886953f10c7d0426ab16d28a70039746bfd94e49d",
    "numbers__list_prime_factors_composed": "20fb56537b50d32bcfa3443d8a9b8821579a811be75a2a105448d8d344e789f1",
    "numbers__place_value": "ecfef3eef3ef0b753b9a3585a2f914bcef592d37358eb21b7329748bdab4307d",
    "numbers__place_value_composed": "c1c8e33b1c6c0402ea54b271b49351caefe9ddb757074d652545aee3ee0efeb2",
    "numbers__round_number": "2194d0e9592154b2896a65b92b2fb3be22bff30d16b83e9807b3d1820b02ebb5",
    "numbers__round_number_composed": "5a818e32c22a0910985a77733b262f45512d629dcd4cae3be573362c0b2ecb20",
    "polynomials__add": "c18af3a8c88b65a34215be77feaf67cafbb9b9b1d5aac1887aca9d5838a6be46",
    "polynomials__coefficient_named": "7759096814ecf784822b97d9bc3946ab2de9e85c903f98b9598c69e0c099431e",
    "polynomials__collect": "892926cefe768b889a1e084d1be8b0555d35786b9e6c2601267a1aa333729cb0",
    "polynomials__compose": "494b50b3fcea8acfec83a3573b67ada76eb9250528848dcbddd91f1e80a03e10",
    "polynomials__evaluate": "0139add9d88750e45c9c71e2b8233fd68fd8dc5d8a81ff41961c15efb2a6aa8f",
    "polynomials__evaluate_composed": "4158a1fc74c6f624126b7945f10e3aae6a094a7b5dc0690399a210839d498d14",
    "polynomials__expand": "5bd023ca69bd9671b783ed27f87f17feef740a343ff20c91d5dcd3547d4e80ad",
    "polynomials__simplify_power": "e2d0fd7b0d9b22be8c95a949b8d37b91b817f5576f68e0a4caf98d335bca7502",
    "probability__swr_p_level_set": "e1cfb50ffe4992cbcc8804f26dca165f0146323a1dadb6f440c2872214b6ebfc",
    "probability__swr_p_sequence": "a1b8d06494096b9f6dbe2196f723e501b5bb84765404c3b94a35e2db75913f79",
}
PER_MODULE = 100
_FILES = tuple(
    Pinned(
        f"deepmind_math/{module}/test.jsonl.gz", sha256, PER_MODULE, "Apache-2.0", "https://github.com/behzadshomali/olmes",
        "99cf8bb7292f6b1e60aac729f8b1cdbb91e693ed",
    )
    for module, sha256 in MODULES.items()
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeepMindMathQuestions(TestFiles):
    """5,600 questions with short answers, for verifier "deepmind_math"; categories are the modules.

    The files are the folder oe_eval/data/deepmind_math_sample100 of olmes, Tülu 3's evaluation, here from a copy of it on GitHub.
    """

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """deepmind_math/sample100."""
        return "deepmind_math/sample100"

    @property
    def files(self) -> tuple[Pinned, ...]:
        """One file a module."""
        return _FILES

    def rows(self, data: Path | None) -> Iterator[Problem]:
        """The problems, module after module; the prompt is the question alone, without white space at its ends."""
        for module, file in zip(MODULES, self.files, strict=True):
            for number, record in enumerate(records(file, data, self.name, ("question", "answer"))):
                answer = bare(record["answer"])
                yield Problem(
                    user(bare(record["question"]).strip()), Check("deepmind_math", answer),
                    f"Therefore, the final answer is {answer}. I hope it is correct.", category=module, source=self.name,
                    licence=self.licence, annotations={"key": f"{module}/{number}"},
                )  # fmt: skip


def bare(text: str) -> str:
    r"""The text without the b' and \n' that the published rows were left with when bytes were written as text.

    Where the text holds an apostrophe, Python wrote b"...\n" instead; that stays, as it stays in the published prompts.
    """
    return text.removeprefix("b'").removesuffix("\\n'")
