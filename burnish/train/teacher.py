"""What a teacher says about every trained token of a dataset, on disk: the likeliest candidates and their log-probs.

A folder holds
    teacher.json            what was asked, of which vocabulary, and the shards; written last
    teacher-00000.safetensors …   some rows each, in the order of the dataset:
        tokens [sum of lengths] int32, mask [the same] bool, lengths [R] int32, weight [R] float32
        ids [K, k] int32: at each masked token its own id, then the k - 1 likeliest others
        logp [K, k + 1]: the teacher's log-probs (nats) of these, and of all other tokens together

Shapes: R rows of a shard, K masked tokens of a shard, k candidates, N tokens of a shard, B rows, T positions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from burnish.core.files import read_json, write_atomic, write_json
from burnish.core.types import Message, user
from burnish.errors import ArtifactError, ModelError
from burnish.losses.batch import CandidateSequences, TeacherBatch
from burnish.model.policy import Policy
from burnish.pipeline.stage import Context
from burnish.text.render import Rendered, Renderer
from burnish.train.demos import RenderedDemo
from burnish.train.rows import split, stack

INDEX, META = "teacher.json", "shard"
SHARD_TOKENS = 1 << 17  # trained tokens after which a shard ends
_TYPES = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the teacher is asked: candidates a token, the temperature, and the type in which log-probs are kept."""

    k: int
    temperature: float
    dtype: Literal["float32", "float16"]


def vocabulary(renderer: Renderer) -> dict[str, Any]:
    """What a teacher and its student must share: the tokens with their ids, and how a conversation is written with them."""
    tokens = renderer.tokenizer.get_vocab()
    listed = json.dumps(sorted(tokens.items(), key=lambda item: item[1])).encode()
    try:
        talk = renderer.render((*user("Hello."), Message("assistant", "Good day. How are you?"))).token_ids
    except ModelError:
        talk = ()
    return {"tokens": len(tokens), "sha256": hashlib.sha256(listed).hexdigest(), "conversation": list(talk)}


def ask_teacher(policy: Policy, rows: Sequence[RenderedDemo], asked: Asked, ctx: Context) -> None:
    """Write the teacher's folder into ctx.out. Shards that are there already with the same content are kept."""
    parts = _shards(rows)
    known = vocabulary(policy.renderer)
    weights = policy.checksum()
    with ctx.console.bar("teacher", len(rows), "rows") as bar:
        for number, part in enumerate(parts):
            path = ctx.out / _name(number)
            key = _key(weights, part, asked, ctx)
            if _key_of(path) != key:
                write_atomic(path, _shard(policy, part, asked, ctx, key))
            bar.advance(len(part))
    write_json(
        ctx.out / INDEX,
        {"k": asked.k, "temperature": asked.temperature, "dtype": asked.dtype, "vocabulary": known, "rows": len(rows),
         "shards": [_name(number) for number in range(len(parts))]},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TaughtRow:
    """A row and where its candidates lie: rows [start, end) of the tensors of a shard."""

    id: str
    row: Rendered
    weight: float
    shard: int
    start: int

    @property
    def tokens(self) -> int:
        """All of them, trained or not."""
        return len(self.row.token_ids)

    @property
    def end(self) -> int:
        """One past its last candidate row."""
        return self.start + sum(self.row.mask)


class Teacher:
    """A folder of `ask_teacher`, read a few rows at a time: candidates stay on disk until a batch needs them."""

    def __init__(self, folder: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.index = read_json(folder / INDEX)
        self.temperature = float(self.index["temperature"])
        try:
            self._shards: list[Any] = [safe_open(folder / name, framework="pt") for name in self.index["shards"]]
        except (SafetensorError, OSError) as error:
            raise ArtifactError(
                f"{folder}: a file of the teacher's log-probs cannot be read ({error}).\n"
                "  Delete that folder and run the recipe again: the teacher is asked anew."
            ) from error

    def rows(self) -> list[TaughtRow]:
        """Every row, in the order of the dataset, without its candidates."""
        found: list[TaughtRow] = []
        for number, shard in enumerate(self._shards):
            tokens, mask = shard.get_tensor("tokens").tolist(), shard.get_tensor("mask").tolist()
            lengths, weights = shard.get_tensor("lengths").tolist(), shard.get_tensor("weight").tolist()
            names = json.loads(shard.metadata()[META])["rows"]
            start = 0
            ends = accumulate(lengths)
            for name, length, weight, end in zip(names, lengths, weights, ends, strict=True):
                row = Rendered(tuple(tokens[end - length : end]), tuple(mask[end - length : end]))
                found.append(TaughtRow(name, row, weight, number, start))
                start = found[-1].end
        return found

    def batch(self, rows: Sequence[TaughtRow]) -> TeacherBatch:
        """Rows as tensors, with their candidates and the teacher's log-probs of them."""
        plain = stack([row.row for row in rows])
        k = int(self.index["k"])
        ids_BTk = torch.zeros(*plain.mask_BT.shape, k, dtype=torch.long)
        logp_BTk1 = torch.zeros(*plain.mask_BT.shape, k + 1)
        for i, row in enumerate(rows):
            shard, where = self._shards[row.shard], plain.mask_BT[i]
            ids_BTk[i, where] = shard.get_slice("ids")[row.start : row.end].long()
            logp_BTk1[i, where] = shard.get_slice("logp")[row.start : row.end].float()
        weights = [row.weight for row in rows]
        sequences = CandidateSequences(plain.tokens_BT, plain.lengths_B, plain.mask_BT, ids_BTk, self.temperature)
        return TeacherBatch(sequences, logp_BTk1, None if all(w == 1 for w in weights) else torch.tensor(weights))

    def check_student(self, renderer: Renderer, teacher: str, student: str) -> None:
        """Raise ModelError, naming both, where the student's tokens or chat format are not the teacher's."""
        theirs, own = self.index["vocabulary"], vocabulary(renderer)
        if theirs["sha256"] != own["sha256"]:
            counts = f"{theirs['tokens']:,} tokens of the teacher and {own['tokens']:,} of the student"
            if theirs["tokens"] == own["tokens"]:
                counts = f"{own['tokens']:,} tokens each, but others or in another order"
            raise ModelError(
                f"The teacher {teacher!r} and the student {student!r} have different vocabularies ({counts}), so the teacher's "
                "log-probs are about other tokens than the student's.\n"
                "  Distil between models of one tokenizer, or sample replies from the teacher and train on them with SFT."
            )
        if theirs["conversation"] != own["conversation"]:
            raise ModelError(
                f"The teacher {teacher!r} and the student {student!r} write conversations differently (their chat templates), so "
                "the student would be trained in a format that it is not asked in.\n"
                "  Give both the same chat_template.jinja."
            )


def _shards(rows: Sequence[RenderedDemo]) -> list[list[RenderedDemo]]:
    """The rows in order, cut where a shard has its number of trained tokens."""
    found: list[list[RenderedDemo]] = []
    room = 0
    for row in rows:
        if room <= 0:
            found.append([])
            room = SHARD_TOKENS
        found[-1].append(row)
        room -= sum(row.row.mask)
    return found


def _shard(policy: Policy, rows: Sequence[RenderedDemo], asked: Asked, ctx: Context, key: str) -> bytes:
    from safetensors.torch import save

    counts = [sum(row.row.mask) for row in rows]
    starts = [end - count for end, count in zip(accumulate(counts), counts, strict=True)]
    ids = torch.zeros(sum(counts), asked.k, dtype=torch.int32)
    logp = torch.zeros(sum(counts), asked.k + 1, dtype=_TYPES[asked.dtype])
    for part in split(range(len(rows)), [row.tokens for row in rows], ctx.machine.micro_tokens):
        found_ids, found_logp = policy.likeliest(stack([rows[i].row for i in part]), asked.k, asked.temperature)
        places = torch.tensor([place for i in part for place in range(starts[i], starts[i] + counts[i])])
        ids[places] = found_ids.to("cpu", torch.int32)
        logp[places] = found_logp.to("cpu", logp.dtype)
    tensors = {
        "ids": ids,
        "logp": logp,
        "tokens": _flat(rows, torch.int32),
        "mask": torch.tensor([m for row in rows for m in row.row.mask]),
        "lengths": torch.tensor([row.tokens for row in rows], dtype=torch.int32),
        "weight": torch.tensor([row.weight for row in rows], dtype=torch.float32),
    }
    # One entry only: safetensors writes several in an order of its own.
    data: bytes = save(tensors, metadata={META: json.dumps({"key": key, "rows": [row.id for row in rows]})})
    return data


def _flat(rows: Sequence[RenderedDemo], dtype: torch.dtype) -> Tensor:
    return torch.tensor([token for row in rows for token in row.row.token_ids], dtype=dtype)


def _name(number: int) -> str:
    return f"teacher-{number:05d}.safetensors"


def _key(weights: str, rows: Sequence[RenderedDemo], asked: Asked, ctx: Context) -> str:
    """What a shard's content follows from."""
    digest = hashlib.sha256(f"{weights} {ctx.machine.compute} {asked}".encode())
    for row in rows:
        digest.update(repr((row.id, row.row.token_ids, row.row.mask, row.weight)).encode())
    return digest.hexdigest()


def _key_of(path: Path) -> str:
    """The key of a shard that is there and whole, or ""."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return ""
    try:
        with safe_open(path, framework="pt") as file:
            return str(json.loads((file.metadata() or {}).get(META, "{}")).get("key", ""))
    except (SafetensorError, ValueError):
        # Damaged: the shard is written anew.
        return ""
