"""Every source this library knows by name, and the table of them for the reference page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import cast

from burnish.data.licences import terms
from burnish.data.source import Source
from burnish.data.sources import tulu3
from burnish.data.sources.arithmetic import Arithmetic
from burnish.data.sources.code_problems import HumanEvalPlusProblems, HumanEvalProblems, MBPPPlusProblems
from burnish.data.sources.gsm8k import GSM8KDemos, GSM8KProblems
from burnish.data.sources.held_out import TESTS, TestPrompts
from burnish.data.sources.hub import Hub
from burnish.data.sources.ifeval import IFEvalPrompts
from burnish.data.sources.instruction_sets import (
    ALPACA_SETS,
    FLAN_COT_SETS,
    AlpacaSet,
    FlanCoT,
    Identity,
    P3Prompts,
    SeedTasks,
    UserOriented,
)
from burnish.data.sources.instructions import Instructions
from burnish.data.sources.math import MATHDemos, MATHProblems
from burnish.data.sources.mbpp import MBPPDemos, MBPPProblems
from burnish.data.sources.pinned import PinnedSource
from burnish.data.sources.preference_sets import PREFERENCE_SETS, PreferenceSet
from burnish.data.sources.reverse_text import ReverseText
from burnish.data.sources.seed_prompts import ConstraintSeeds
from burnish.data.sources.tool_calls import ToolCalls

GENERATED = 1000


def published() -> tuple[PinnedSource, ...]:
    """The sources that read one file each, pinned by its SHA-256."""
    return (
        GSM8KProblems("train"), GSM8KProblems("test"), GSM8KDemos(),
        MATHProblems("train"), MATHProblems("test"), MATHProblems("500"), MATHDemos(),
        IFEvalPrompts(),
        MBPPDemos("train"), MBPPDemos("validation"), MBPPDemos("test"), MBPPDemos("prompt"),
        MBPPProblems("train"), MBPPProblems("validation"), MBPPProblems("test"), MBPPProblems("prompt"),
        HumanEvalProblems(), HumanEvalPlusProblems(), MBPPPlusProblems(),
        *(FlanCoT(name) for name in FLAN_COT_SETS),
        P3Prompts(), SeedTasks(), UserOriented(),
        *(AlpacaSet(name) for name in ALPACA_SETS),
        Identity("NAME", "AUTHOR"), ToolCalls(),
        *(PreferenceSet(name) for name in PREFERENCE_SETS),
        ConstraintSeeds(),
        *(TestPrompts(name) for name in TESTS),
    )  # fmt: skip


def sources() -> dict[str, Source]:
    """All sources by the name that `burnish data show gsm8k/train` looks up. Of two with one name, the later is called by what its
    rows are too: gsm8k/train, gsm8k/train/demos. Generated sources have 1,000 rows here; a recipe says how many it wants.
    """
    every: Iterable[Source] = (
        *cast(tuple[Source, ...], published()),
        *(Arithmetic(split, GENERATED) for split in ("train", "test")),
        *(Instructions(split, GENERATED) for split in ("train", "test")),
        *(ReverseText(split, GENERATED) for split in ("train", "test")),
        *tulu3.sft_mixture(),
        *(source for size in ("8b", "70b", "405b") for source in tulu3.preference_mixture(size)),
        *tulu3.rlvr_mixture(),
    )
    found: dict[str, Source] = {}
    for source in every:
        kind = "demos" if "Demos" in type(source).__name__ else "problems"
        found[source.name if source.name not in found else f"{source.name}/{kind}"] = source
    return found


def tables() -> str:
    """All named sources as Markdown: the published files, and the mixtures of Tülu 3."""
    parts = [
        "### Published files\n",
        _table(
            ("source", "rows", "licence", "use", "published in"),
            [
                (
                    f"`{_written(source)}`", f"{source.count:,}", _licence(source.licence), _use(source),
                    _commit(source.url, source.revision),
                )
                for source in published()
            ],
        ),
        "\n### Tülu 3: subsets of prompts\n",
        _table(
            ("source", "skill", "pool", "SFT", "preference", "licence", "made from"),
            [
                (
                    f"`tulu3.sft({name!r})`" if subset.sft else subset.title, subset.skill, f"{subset.pool:,}",
                    _number(subset.sft), _number(subset.dpo), _licence(subset.licence), subset.origin,
                )
                for name, subset in tulu3.SUBSETS.items()
            ]
            + [("**all**", "", *(f"**{n:,}**" for n in _totals()), "", "")],
        ),
        "\n### Tülu 3: preference mixtures\n",
        _table(
            ("source", "pairs", "8b", "70b", "data set on the hub", "revision"),
            [
                (
                    f"`tulu3.preference({name!r}, size)`", f"{part.pairs:,}", *("yes" if s in part.uses else "" for s in ("8b", "70b")),
                    part.id, _revision(part.id),
                )
                for name, part in tulu3.COMPONENTS.items()
            ]
            + [("**all**", "", *(f"**{_pairs(size):,}**" for size in ("8b", "70b")), "", "")],
        ),
        "\n### Tülu 3: RLVR mixture\n",
        _table(
            ("source", "problems", "licence", "data set on the hub", "revision"),
            [
                (f"`tulu3.rlvr({name!r})`", f"{source.count:,}", source.licence, source.id, source.revision[:12])
                for name, source in zip(tulu3.RLVR_PARTS, tulu3.rlvr_mixture(), strict=True)
            ],
        ),
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _written(source: object) -> str:
    """The source as a recipe writes it: class and the fields that are set."""
    given = [getattr(source, field.name) for field in fields(source)] if is_dataclass(source) else []
    return f"{type(source).__name__}({', '.join(map(repr, given))})"


def _use(source: PinnedSource) -> str:
    return "evaluation only" if source.evaluation_only else "training"


def _commit(url: str, revision: str) -> str:
    return f"[{url.removeprefix('https://github.com/')}]({url}) {revision[:12]}"


def _licence(licence: str) -> str:
    """Bold where commercial use is forbidden."""
    return f"**{licence}**" if "non-commercial" in terms(licence).conditions else licence


def _number(count: int) -> str:
    return f"{count:,}" if count else "–"


def _revision(hub_id: str) -> str:
    """The commit that is read. Of an id with a size in it, only the 8b set is pinned anywhere."""
    pinned = tulu3.REVISIONS.get(hub_id.format(size="8b"), "")[:12]
    return f"{pinned}{' (8b)' if '{size}' in hub_id else ''}" if pinned else "not pinned"


def _pairs(size: tulu3.Size) -> int:
    return _rows(tulu3.preference_mixture(size))


def _rows(sources: Sequence[Hub]) -> int:
    return sum(source.count or 0 for source in sources)


def _totals() -> tuple[int, int, int]:
    subsets = tulu3.SUBSETS.values()
    return sum(s.pool for s in subsets), sum(s.sft for s in subsets), sum(s.dpo for s in subsets)
