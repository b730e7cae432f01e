"""Layouts of training data in files: which columns, what they become, and how a file's layout is told from its records.

docs/reference/layouts.md shows each with an example. Order of roles and broken records: burnish/data/turns.py.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from burnish.core.types import Row
from burnish.data import forms
from burnish.data.forms import Fields
from burnish.errors import DataError, nearest

Kind = Literal["demo", "pair", "rated", "problem"]
_ALIKE = 0.6  # from here on two spellings are taken for one column


@dataclass(frozen=True, slots=True)
class Layout:
    """A way in which files write rows.

    columns:  those every record must have; optional: those that are read where they are there.
    also:     other spellings of a column that are read without being told.
    build:    the row of a record. form: whether the values have the form that tells this layout from another with the
              same columns.
    renamed_to, verifier: what `renamed` and `graded` set: the file's spelling of columns, the verifier of problems.
    """

    name: str
    kind: Kind
    columns: tuple[str, ...]
    build: Callable[[Fields], Row]
    optional: tuple[str, ...] = ()
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    form: Callable[[Fields], bool] | None = None
    needs_verifier: bool = False
    renamed_to: Mapping[str, str] = field(default_factory=dict)
    verifier: str = ""

    def renamed(self, columns: Mapping[str, str]) -> Layout:
        """This layout for a file that spells columns differently: {"prompt": "question"} reads prompt from question."""
        return replace(self, renamed_to=dict(columns))

    def graded(self, verifier: str) -> Layout:
        """This layout with the verifier that compares with a problem's answer."""
        return replace(self, verifier=verifier)

    def row(self, record: Mapping[str, Any]) -> Row:
        """The row of a record. Raises DataError naming the field that is missing or wrong.

        The record's own `source`, `id` and `subset`, where they are text or a number, are kept as annotations origin, key and
        subset; the number `weight` of a demonstration, how much it counts in training, as annotation weight.
        """
        fields = self._fields(record)
        missing = [name for name in self.columns if not fields.there(name)]
        if missing:
            raise DataError(f"{fields.where(missing[0])}: missing; the file is read as layout {self.name!r}.")
        row = self.build(fields)
        notes = {
            note: record[column]
            for note, column in (("origin", "source"), ("key", "id"), ("subset", "subset"))
            if isinstance(record.get(column), str | int) and record[column] != ""
        }
        if self.kind == "demo" and record.get("weight") is not None:
            notes["weight"] = _weight(record["weight"])
        return replace(row, annotations={**notes, **row.annotations}) if notes else row

    def fits(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has the columns, none of them null, in this layout's form."""
        fields = self._fields(record)
        has_all = all(fields.get(name) is not None for name in self.columns)
        return has_all and (self.form is None or self.form(fields))

    def spelled(self, record: Mapping[str, Any]) -> dict[str, str]:
        """What the record calls each column that it does not call by its first name."""
        found = {
            name: next(other for other in others if other in record)
            for name, others in self.also.items()
            if name not in record and any(other in record for other in others)
        }
        return {**found, **self.renamed_to}

    def _fields(self, record: Mapping[str, Any]) -> Fields:
        return Fields(record, self.spelled(record), self.verifier)


@dataclass(frozen=True, slots=True)
class Detection:
    """The layout of a file, bound to its spelling of the columns, and a sentence that says why."""

    layout: Layout
    why: str


_PROMPT = {"prompt": ("question", "problem")}
_CATEGORY = {"category": ("subject", "type")}
# In the order of priority: where two fit a file, the first is taken, and `Detection.why` names the other.
_ALL = (
    Layout("tulu-rlvr", "problem", ("messages", "ground_truth", "dataset"), forms.tulu_rlvr, ("constraint_type", "constraint")),
    Layout("ultrafeedback", "pair", ("instruction", "completions"), forms.ultrafeedback),
    Layout(
        "ultrafeedback-binarized", "pair", ("prompt", "chosen", "rejected", "score_chosen", "score_rejected"), forms.scored_preference
    ),
    Layout("sharegpt-preference", "pair", ("conversations", "chosen", "rejected"), forms.sharegpt_preference),
    Layout("tulu-preference", "pair", ("prompt", "chosen", "rejected"), forms.preference, form=forms.has_whole_conversations),
    Layout("preference", "pair", ("prompt", "chosen", "rejected"), forms.preference),
    Layout("hh-rlhf", "pair", ("chosen", "rejected"), forms.hh_rlhf, form=forms.is_dialogue),
    Layout("implicit-preference", "pair", ("chosen", "rejected"), forms.implicit_preference, form=forms.has_turns),
    Layout("kto", "rated", ("prompt", "completion", "label"), forms.kto, form=forms.is_label),
    Layout("kto-messages", "rated", ("messages", "label"), forms.kto_messages, ("tools",), form=forms.is_label),
    Layout("flan-cot", "demo", ("question", "rationale", "answer"), forms.flan_cot),
    Layout("gsm8k", "problem", ("question", "answer"), forms.gsm8k, form=forms.is_worked),
    Layout("self-instruct", "demo", ("instruction", "instances"), forms.self_instruct),
    Layout(
        "alpaca", "demo", ("instruction", "output"), forms.alpaca, ("input", "history", "system"), {"output": ("response",)}
    ),
    Layout(
        "problem-messages", "problem", ("messages", "answer"), forms.problem_messages, ("solution", "category"), _CATEGORY,
        form=forms.is_open, needs_verifier=True,
    ),
    Layout(
        "problem", "problem", ("prompt", "answer"), forms.problem, ("solution", "category"), {**_PROMPT, **_CATEGORY}, needs_verifier=True
    ),
    Layout("sharegpt", "demo", ("conversations",), forms.sharegpt, ("system", "tools"), {"conversations": ("conversation",)}),
    Layout("prompt-completion", "demo", ("prompt", "completion"), forms.prompt_completion, (), {"prompt": ("question",), "completion": ("response",)}),
    Layout("messages", "demo", ("messages",), forms.messages, ("tools",)),
)  # fmt: skip
LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in _ALL}


def _weight(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise DataError(f"field 'weight': expected a number from 0 up, got {value!r:.60}.")
    return float(value)


def known_columns() -> list[str]:
    """Every column that some layout reads, sorted: what may be renamed."""
    return sorted({name for layout in _ALL for name in (*layout.columns, *layout.optional)})


def detect(records: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> Detection:
    """The layout of a file from its first records. columns: the file's spelling, as in `Layout.renamed`.

    Of the layouts that fit more than half as many records as the one that fits most, the first in the order of LAYOUTS.
    Raises DataError where none fits, with the columns there are and the nearest column that is needed.
    """
    counts = {}
    for layout in _ALL:
        bound = layout.renamed(columns)
        if count := sum(bound.fits(record) for record in records):
            counts[layout.name] = count
    if not counts:
        raise _nothing_fits(records, columns)
    most = max(counts.values())
    fitting = [layout for layout in _ALL if 2 * counts.get(layout.name, 0) > most]
    chosen, others = fitting[0].renamed(columns), [layout.name for layout in fitting[1:]]
    example = next(record for record in records if chosen.fits(record))
    spelled = chosen.spelled(example)
    names = ", ".join(spelled.get(name, name) for name in chosen.columns)
    why = f"{names} in {counts[chosen.name]} of the first {len(records)} records"
    also = f"; {', '.join(others)} would fit too and come later in the order of layouts" if others else ""
    return Detection(chosen, why + also)


def _nothing_fits(records: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> DataError:
    there = list(dict.fromkeys(str(name) for record in records for name in record))
    gone = [spelled for spelled in columns.values() if spelled not in there]
    if gone:
        return DataError(
            f"columns={{...}} names {gone[0]!r}, which the file does not have. {nearest(gone[0], there)}\n"
            "  Give the columns as the file spells them."
        )
    missing = {
        layout.name: [columns.get(name, name) for name in layout.columns if not _has(layout, name, there, columns)]
        for layout in _ALL
    }
    near = {name: _most_alike(LAYOUTS[name], needs, there) for name, needs in missing.items()}
    share = {name: len(needs) / len(LAYOUTS[name].columns) for name, needs in missing.items()}
    name = min(missing, key=lambda each: (share[each], -near[each][0], len(missing[each])))
    likeness, need, have = near[name]
    if not missing[name]:
        return DataError(
            f"has the columns {', '.join(there)}; they fit layout {name!r}, but their values are of another form or null.\n"
            f"  To see what is wrong with each record, say layout={name!r}."
        )
    wanted, found = (need, have) if likeness >= _ALIKE else (missing[name][0], "NAME")
    mend = f"columns={{{wanted!r}: {found!r}}} in a recipe, --columns {wanted}={found} as a flag"
    return DataError(
        f"has the columns {', '.join(there) or 'none'}; no known layout fits. Nearest is {name!r}, which needs "
        f"{', '.join(missing[name])} too.\n  Say what the file calls it: {mend}. Layouts: {', '.join(LAYOUTS)}."
    )


def _most_alike(layout: Layout, needs: Sequence[str], there: Sequence[str]) -> tuple[float, str, str]:
    """(likeness, needed column, column that is there) of the two that are spelled most alike."""
    spellings = ((need, other) for need in needs for other in (need, *layout.also.get(need, ())))
    pairs = (
        (difflib.SequenceMatcher(None, have, other).ratio(), need, have) for need, other in spellings for have in there
    )
    return max(pairs, default=(0.0, "", ""))


def _has(layout: Layout, name: str, there: Sequence[str], columns: Mapping[str, str]) -> bool:
    return columns.get(name, name) in there or (
        name not in columns and any(o in there for o in layout.also.get(name, ()))
    )
