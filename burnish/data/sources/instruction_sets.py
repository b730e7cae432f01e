"""Instruction sets published as files: one class a format, one table row a set. Licences are those of their publishers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from burnish.core.types import Demo, Message, user
from burnish.data.forms import with_input
from burnish.data.sources.pinned import Pinned, PinnedSource, TestSource, one_of, records
from burnish.errors import DataError, RecipeError

ALPACA_SETS = {
    "alpaca_5000": Pinned(
        "alpaca/alpaca_5000.jsonl.gz",
        "23d7a44e856ccccac9e78887f43e1c81f9079afa086351fab2ab04fa844b0e88",
        5000,
        "CC-BY-NC-4.0",
        "https://github.com/tatsu-lab/stanford_alpaca",
        "5e69c50054c48cd3b919c46d13bb2d92a62f4498",
    ),
    "codealpaca_2k": Pinned(
        "codealpaca/code_alpaca_2k.jsonl.gz",
        "79665eca807dea3197227f1c12f12c3949532a62c3d6b26d77d497534506080c",
        2017,
        "CC-BY-NC-4.0",
        "https://github.com/sahil280114/codealpaca",
        "2f78ddc5c682ed6738ad092bbbfa59ba915afcb0",
    ),
    "gpteacher_codegen": Pinned(
        "gpteacher/codegen.jsonl.gz",
        "d27eec56573d5780291340bc0c561083d8d0f75ce96f793954fbffa57183fbed",
        4535,
        "MIT",
        "https://github.com/teknium1/GPTeacher",
        "481075123c29854bddb82655badeef6a438f2436",
    ),
    "gpteacher_roleplay": Pinned(
        "gpteacher/roleplay.jsonl.gz",
        "20832cd9ad0f99a9c458d5e73ea24213bb3589b33f1d4d6c74c37adb6712d12f",
        1923,
        "MIT",
        "https://github.com/teknium1/GPTeacher",
        "481075123c29854bddb82655badeef6a438f2436",
    ),
    "gpteacher_toolformer": Pinned(
        "gpteacher/toolformer.jsonl.gz",
        "1ecb9c64388cad509c66e290d038a68b398c9b2dc9ad7d126d105b9e76e847fc",
        7673,
        "MIT",
        "https://github.com/teknium1/GPTeacher",
        "481075123c29854bddb82655badeef6a438f2436",
    ),
    "safety_tuned_llamas": Pinned(
        "safety_tuned_llamas/safety_only_instructions.jsonl.gz",
        "08a47817284a704560772423010dd22943702f34b53247a224d500b2b0695198",
        2483,
        "CC-BY-NC-4.0",
        "https://github.com/vinid/safety-tuned-llamas",
        "36a4b8d5c2177ed165bf61f59b590161394f7f12",
    ),
    "llamafactory_alpaca_en": Pinned(
        "llamafactory_demo/alpaca_en_demo.jsonl.gz",
        "6541fa21f1c5850a4247788cf3848b6360f72e597923cff961e496b6d12368f6",
        999,
        "Apache-2.0 AND CC-BY-NC-4.0",
        "https://github.com/hiyouga/LLaMA-Factory",
        "ff6d4d12eeb035d6ce06805a5733dd7b29f2ac30",
    ),
}
FLAN_COT_SETS = {
    "aqua": Pinned(
        "flan_cot/aqua_train.jsonl.gz",
        "d30bb346afcad7bcfc39e7ccb81eaf86988f9fc21733a8c967617a049650d7d4",
        2728,
        "Apache-2.0",
        "https://github.com/google-research/FLAN",
        "e9e4ec6e2701182c7a91af176f705310da541277",
    ),
    "creak": Pinned(
        "flan_cot/creak_train.jsonl.gz",
        "5278a5cc845885f973367cd87f1e2e3b9448c0e3c6a4d627f26ccc1a5a45d051",
        6915,
        "MIT",
        "https://github.com/google-research/FLAN",
        "e9e4ec6e2701182c7a91af176f705310da541277",
    ),
    "ecqa": Pinned(
        "flan_cot/ecqa_train.jsonl.gz",
        "e82388551d1c7f4419d75db5bca7a099a267571b1460c7dbc8c6252e7d164345",
        7112,
        "CDLA-Sharing-1.0",
        "https://github.com/google-research/FLAN",
        "e9e4ec6e2701182c7a91af176f705310da541277",
    ),
    "gsm8k": Pinned(
        "flan_cot/gsm8k_train.jsonl.gz",
        "44bd30b81361d7051ff961c43e0747cae53a6afba220307c52f21058e37dd101",
        7473,
        "MIT",
        "https://github.com/google-research/FLAN",
        "e9e4ec6e2701182c7a91af176f705310da541277",
    ),
    "qasc": Pinned(
        "flan_cot/qasc_train.jsonl.gz",
        "7f93b9ce9dde97fac7a9d6414760df12a4a91fda7bf280b2bb6c005f74ae7a0d",
        1084,
        "CC-BY-4.0",
        "https://github.com/google-research/FLAN",
        "e9e4ec6e2701182c7a91af176f705310da541277",
    ),
    "sensemaking": Pinned(
        "flan_cot/sensemaking_train.jsonl.gz",
        "bcc132280c90a674300e6dec175f0edce2b356cab46a590da82a8087ad92b7c7",
        6070,
        "CC-BY-SA-4.0",
        "https://github.com/google-research/FLAN",
        "e9e4ec6e2701182c7a91af176f705310da541277",
    ),
    "strategyqa": Pinned(
        "flan_cot/strategyqa_train.jsonl.gz",
        "43f4fcfa0d884922991ea1eeda2de21219933272d22dfe2ca9056a4f2277f98b",
        2061,
        "MIT",
        "https://github.com/google-research/FLAN",
        "e9e4ec6e2701182c7a91af176f705310da541277",
    ),
}
P3 = Pinned(
    "p3_t0/train.jsonl.gz",
    "469e01aaa17a80a1290f94ee62f86aa0f8dd4210e643a5fe259d2ee27b587194",
    29853,
    "by source set",
    "https://github.com/yizhongw/self-instruct",
    "0b26ccaa415992100fa32df62d41b994cf928e23",
)
SCIQ_ROWS = 1000
SEED_TASKS = Pinned(
    "self_instruct/seed_tasks.jsonl",
    "7779004fa198fdf27cf70a159363879d8a26c53329e11b436af17b3941875f48",
    175,
    "Apache-2.0",
    "https://github.com/yizhongw/self-instruct",
    "0b26ccaa415992100fa32df62d41b994cf928e23",
)
USER_ORIENTED = Pinned(
    "self_instruct/user_oriented_instructions.jsonl",
    "81d60a117db495cecedecd9193504fd07c5b5a42f6699ef6b0f9da10fc22f42e",
    252,
    "Apache-2.0",
    "https://github.com/yizhongw/self-instruct",
    "0b26ccaa415992100fa32df62d41b994cf928e23",
)
IDENTITY = Pinned(
    "llamafactory_demo/identity.jsonl.gz",
    "e76a5ca2a4b4160a915dccc0f72d5aa9b9dd1fa3a817b98c4ea269067683be4f",
    91,
    "Apache-2.0",
    "https://github.com/hiyouga/LLaMA-Factory",
    "ff6d4d12eeb035d6ce06805a5733dd7b29f2ac30",
)
# P3 and its templates are Apache-2.0; the text keeps the licence of the set it was made from.
P3_LICENCES = {
    "adversarial_qa": "CC-BY-SA-4.0",
    "common_gen": "MIT",
    "commonsense_qa": "MIT",
    "cosmos_qa": "CC-BY-4.0",
    "dbpedia_14": "CC-BY-SA-3.0",
    "duorc": "MIT",
    "kilt_tasks_hotpotqa": "CC-BY-SA-4.0",
    "paws": "free use with attribution",
    "qasc": "CC-BY-4.0",
    "quarel": "CC-BY-4.0",
    "quartz": "CC-BY-4.0",
    "quoref": "CC-BY-4.0",
    "ropes": "CC-BY-4.0",
    "sciq": "CC-BY-NC-3.0",
    "social_i_qa": "CC-BY-4.0",
    "wiki_bio": "CC-BY-SA-3.0",
    "wiki_hop": "CC-BY-SA-3.0",
}


@dataclass(frozen=True, slots=True)
class AlpacaSet(PinnedSource):
    """A set in Alpaca's form: instruction, optional input, and output or response. Names: the keys of ALPACA_SETS."""

    name: str = "alpaca_5000"
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        one_of(self.name, ALPACA_SETS, "AlpacaSet(...)")

    @property
    def file(self) -> Pinned:
        """The set's file."""
        return ALPACA_SETS[self.name]

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One demo a row; a non-empty input follows the instruction after an empty line."""
        reply = "response" if self.name.startswith("gpteacher") else "output"
        for record in records(self.file, data, self.name, ("instruction", reply)):
            yield _demo(with_input(record["instruction"], record.get("input") or ""), record[reply], self)


@dataclass(frozen=True, slots=True)
class FlanCoT(PinnedSource):
    """A chain-of-thought set of the FLAN collection (arXiv:2210.11416): the rationale, then "The answer is …"."""

    task: str
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        one_of(self.task, FLAN_COT_SETS, "FlanCoT(...)")

    @property
    def name(self) -> str:
        """flan_cot/<task>."""
        return f"flan_cot/{self.task}"

    @property
    def file(self) -> Pinned:
        """The task's file."""
        return FLAN_COT_SETS[self.task]

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One demo a question."""
        for record in records(self.file, data, self.name, ("question", "answer", "rationale")):
            answer = record["answer"].strip().rstrip(".")
            yield _demo(record["question"].strip(), f"{record['rationale'].strip()}\nThe answer is {answer}.", self)


@dataclass(frozen=True, slots=True)
class P3Prompts(PinnedSource):
    """The P3 / T0 prompts (arXiv:2110.08207) that Self-Instruct was compared with. Row sources are p3_t0/<source set>.

    commercial: without the set that is for non-commercial use only (sciq).
    """

    commercial: bool = False
    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """p3_t0."""
        return "p3_t0"

    @property
    def file(self) -> Pinned:
        """The file of all sets."""
        return P3

    @property
    def count(self) -> int:
        """All rows, or those whose set may be used commercially."""
        return P3.rows - (SCIQ_ROWS if self.commercial else 0)

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One demo a prompt, without the end-of-text mark of the published completions."""
        for record in records(self.file, data, self.name, ("prompt", "completion", "source_dataset")):
            origin = record["source_dataset"]
            if origin not in P3_LICENCES:
                raise DataError(f"{self.name}: no licence is known for source set {origin!r}.")
            if self.commercial and "-NC-" in P3_LICENCES[origin]:
                continue
            reply = record["completion"].removesuffix("<|endoftext|>").strip()
            turns = (*user(record["prompt"].strip()), Message("assistant", reply))
            yield Demo(turns, source=f"{self.name}/{origin}", licence=P3_LICENCES[origin])


@dataclass(frozen=True, slots=True)
class SeedTasks(PinnedSource):
    """The 175 seed tasks of Self-Instruct (arXiv:2212.10560); every instance of a task is a demo."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """self_instruct/seed_tasks."""
        return "self_instruct/seed_tasks"

    @property
    def file(self) -> Pinned:
        """The tasks' file."""
        return SEED_TASKS

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One demo an instance."""
        for record in records(self.file, data, self.name, ("id", "instruction")):
            for instance in _instances(record, self.name):
                yield _demo(with_input(record["instruction"], instance["input"]), instance["output"], self)


@dataclass(frozen=True, slots=True)
class UserOriented(TestSource):
    """The 252 expert-written instructions that Self-Instruct was judged on. All of them are in AlpacaEval: evaluation only."""

    VERSION: ClassVar[int] = 1

    @property
    def name(self) -> str:
        """self_instruct/user_oriented."""
        return "self_instruct/user_oriented"

    @property
    def file(self) -> Pinned:
        """The instructions' file."""
        return USER_ORIENTED

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One demo an instance."""
        for record in records(self.file, data, self.name, ("id", "instruction")):
            for instance in _instances(record, self.name):
                yield _demo(with_input(record["instruction"], instance["input"]), instance["output"], self)


@dataclass(frozen=True, slots=True)
class Identity(PinnedSource):
    """Questions about who the model is, answered with a name and an author of your own (LLaMA-Factory's identity set)."""

    assistant: str
    author: str
    VERSION: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not self.assistant.strip() or not self.author.strip():
            raise RecipeError(
                f"Identity({self.assistant!r}, {self.author!r}): both names stand in the replies, so neither can be empty.\n"
                "  Give what the model calls itself and who made it."
            )

    @property
    def name(self) -> str:
        """llamafactory_identity."""
        return "llamafactory_identity"

    @property
    def file(self) -> Pinned:
        """The questions' file."""
        return IDENTITY

    def rows(self, data: Path | None) -> Iterator[Demo]:
        """One demo a question."""
        for record in records(self.file, data, self.name, ("instruction", "output")):
            reply = record["output"].replace("{{name}}", self.assistant).replace("{{author}}", self.author)
            yield _demo(with_input(record["instruction"], record.get("input") or ""), reply, self)


def _demo(asked: str, reply: str, source: PinnedSource) -> Demo:
    return Demo((*user(asked), Message("assistant", reply)), source=source.name, licence=source.licence)


def _instances(record: dict[str, Any], source: str) -> list[dict[str, str]]:
    found = record.get("instances")
    if not isinstance(found, list) or not all(
        isinstance(each, dict) and isinstance(each.get("input"), str) and isinstance(each.get("output"), str)
        for each in found
    ):
        raise DataError(f"{source}: task {record['id']} needs instances with the texts input and output.")
    return found
