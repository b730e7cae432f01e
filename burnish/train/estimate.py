"""What training on a dataset would need: memory and time from shapes, from the rows that are there and from measured rates.

Nothing is guessed. The model's shape comes from its config.json, lengths from a sample of the finished dataset in the model's
own tokens, the time of a FLOP from training of the same kind on this machine. What is missing is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.core.files import read_json
from burnish.core.types import Demo, Message, Pair, Row
from burnish.data.dataset import Dataset, sample_rows
from burnish.errors import DataError
from burnish.losses.batch import Sequences
from burnish.model.flops import Shape, Work
from burnish.model.memory import Batch, own_layers, trained_parameters, training_memory
from burnish.model.rates import kept_matrix_rate, kept_trained_rate
from burnish.model.sharing import computed_spans, computed_tokens
from burnish.model.trains import Layers, LoRA, Trains
from burnish.pipeline.estimate import Estimate, Look
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import duration
from burnish.pipeline.stage import Stage
from burnish.train.learner import Learner
from burnish.train.optimizer import Optimizer
from burnish.train.rows import split, steps_in

SAMPLE = 256  # rows


@dataclass(frozen=True, slots=True)
class Job:
    """What a training stage tells of itself.

    reads:     the kind of row it trains on; None where its rows are made another way, so that they cannot be counted here.
    reference: whether all rows are scored once without a gradient. scores: whether the model gives one number a row.
    """

    kind: str
    start: Stage
    data: Stage
    trains: Trains
    optimizer: Optimizer
    epochs: int
    global_batch: int
    max_tokens: int
    reads: type[Row] | None
    reference: bool = False
    scores: bool = False


@dataclass(frozen=True, slots=True)
class Sampled:
    """Some rows of a dataset as tokens: a row is one document (a conversation) or two (a pair).

    labels: positions of each row that are trained.
    """

    rows: tuple[tuple[list[int], ...], ...]
    labels: tuple[int, ...]

    def micro_batches(self, job: Job, machine: Machine) -> list[Batch]:
        """The micro-batches of optimizer steps over these rows, as the training loop would cut them."""
        costs = [computed_tokens(row) for row in self.rows]
        found: list[Batch] = []
        for start in range(0, len(self.rows), job.global_batch):
            step = range(start, min(start + job.global_batch, len(self.rows)))
            parts = split(step, [costs[i] for i in step], machine.micro_tokens)
            found += [self._batch(part, several=len(parts) > 1) for part in parts]
        return found

    def _batch(self, part: Sequence[int], *, several: bool) -> Batch:
        spans = computed_spans([document for i in part for document in self.rows[i]])
        lengths, before = tuple(stop - start for start, stop in spans), tuple(start for start, _ in spans)
        return Batch(lengths, before, sum(self.labels[i] for i in part), several)


@dataclass(frozen=True, slots=True)
class Rows:
    """A dataset as far as it was counted: how many of its rows fit, how many were sampled, and the sample's micro-batches."""

    count: int
    sampled: int
    batches: tuple[Batch, ...]


def estimate(job: Job, look: Look) -> Estimate:
    """The stage's estimate."""
    config = look.config(job.start)
    if config is None:
        return Estimate(notes=(f"memory and time unknown until {job.start.name} is made",))
    shape = Shape.of(config)
    if shape is None:
        return Estimate(
            notes=(f"memory and time unknown: the sizes of a {config.get('model_type')} model are not counted",)
        )
    work = work_of(job.trains, shape, shape.width if job.scores else shape.head)
    rows = _rows(job, look)
    machine = look.machine
    memory, notes = _memory(job, work, machine, config, rows if isinstance(rows, Rows) else None)
    seconds, why = _seconds(job, work, look, rows)
    return Estimate(memory, machine.processes, seconds, (*notes, *why))


def work_of(trains: Trains, shape: Shape, head: int) -> Work:
    """The FLOPs and parameters of training part of a model."""
    if isinstance(trains, LoRA):
        sizes = {
            "q_proj": (shape.width, shape.query_width), "k_proj": (shape.width, shape.key_width),
            "v_proj": (shape.width, shape.key_width), "o_proj": (shape.query_width, shape.width),
            "gate_proj": (shape.width, shape.inner), "up_proj": (shape.width, shape.inner),
            "down_proj": (shape.inner, shape.width),
        }  # fmt: skip
        chosen = [sum(size) for name, size in sizes.items() if not trains.targets or name.endswith(trains.targets)]
        adapters = shape.layers * trains.rank * sum(chosen)
        return Work(shape, head, trained=0, adapters=adapters, first=0, head_trained=False)
    if isinstance(trains, Layers):
        layers = {*range(shape.layers - trains.last, shape.layers), *trains.these}
        first = -1 if trains.embeddings or (trains.head and shape.tied) else min(layers, default=shape.layers)
        return Work(
            shape, head, trained=len(layers) * shape.layer_matrices, first=first,
            head_trained=trains.head or (trains.embeddings and shape.tied),
        )  # fmt: skip
    return Work(shape, head)


def state_bytes(optimizer: Optimizer, work: Work) -> int | None:
    """Bytes of the optimizer's state in float32; None for an optimizer that does not say."""
    told = getattr(optimizer, "state_bytes", None)
    if told is None:
        return None
    shape, trained = work.shape, trained_parameters(work)
    inner = min(trained, shape.layers * shape.layer_matrices if work.trained is None else work.trained + work.adapters)
    found: int = told(inner, trained - inner)
    return found


def memory_of_step(learner: Learner, machine: Machine, micro_batches: Sequence[Sequences]) -> dict[str, int]:
    """Bytes that this process will hold at the peak of a step with these micro-batches; {} where that is not known."""
    work, config = learner.work, learner.policy.model.config.to_dict()
    state = state_bytes(learner.optimizer, work) if work else None
    if work is None or state is None or not own_layers(config, machine):
        return {}
    largest = max(micro_batches, key=lambda rows: rows.size)
    tokens = [row[:n] for row, n in zip(largest.tokens_BT.tolist(), largest.lengths_B.tolist(), strict=True)]
    spans = computed_spans(tokens)
    batch = Batch(
        tuple(stop - start for start, stop in spans), tuple(start for start, _ in spans), int(largest.mask_BT.sum()),
        several=len(micro_batches) > 1,
    )  # fmt: skip
    ranks = 1 if machine.sharding == "replicated" else learner.ranks.size
    return training_memory(work, machine, batch, state, ranks=ranks)


def _memory(
    job: Job, work: Work, machine: Machine, config: dict[str, Any], rows: Rows | None
) -> tuple[dict[str, int], list[str]]:
    state = state_bytes(job.optimizer, work)
    if state is None:
        return {}, [f"memory unknown: {type(job.optimizer).__name__} does not say what it keeps"]
    ranks = {"replicated": 1, "full": machine.processes * machine.nodes, "hybrid": machine.processes}[machine.sharding]
    batch = _largest(job, machine, rows)
    parts = training_memory(work, machine, batch, state, ranks=ranks)
    if not own_layers(config, machine):
        known: dict[str, int] = {n: parts[n] for n in ("weights", "gradients", "optimizer") if n in parts}
        return known, ["without activations, which are not estimated for this device or family"]
    return parts, [] if rows else [f"with full micro-batches of {sum(batch.lengths):,} tokens"]


def _largest(job: Job, machine: Machine, rows: Rows | None) -> Batch:
    """The micro-batch that keeps most, of the sampled rows or, without them, at the limits."""
    if rows is not None:
        return max(rows.batches, key=lambda batch: sum(batch.lengths))
    most = max(machine.micro_tokens, job.max_tokens)
    whole, rest = divmod(most, job.max_tokens)
    lengths = (job.max_tokens,) * whole + ((rest,) if rest else ())
    return Batch(lengths, (0,) * len(lengths), most, several=True)


def _seconds(job: Job, work: Work, look: Look, rows: Rows | str) -> tuple[float | None, list[str]]:
    if isinstance(rows, str):
        return None, [f"time unknown until {rows}"]
    passes = rows.count / rows.sampled
    flops = passes * job.epochs * sum(work.training(b.lengths, b.labels, b.before) for b in rows.batches)
    flops += passes * sum(work.forward(b.lengths, b.labels, b.before) for b in rows.batches) if job.reference else 0.0
    steps = steps_in(rows.count, job.global_batch, job.epochs)
    machine = look.machine
    devices = machine.processes * machine.nodes
    rate = kept_trained_rate(look.cache, machine, work.what(job.kind))
    if rate is not None:
        seconds = flops / (rate.flops * devices) + steps * rate.update_s
        return seconds, [f"{flops:.2g} model FLOPs at the {rate.flops / 1e12:.3g} TFLOP/s of {rate.measured}"]
    matrix = kept_matrix_rate(look.cache, machine)
    if matrix is None:
        return None, [f"time unknown until a first run has measured this machine ({flops:.2g} model FLOPs)"]
    least = flops / (matrix.flops * devices)
    return None, [
        f"time unknown until a first run of this kind; at least {duration(least)}, all at the rate of matrix products"
    ]


def _rows(job: Job, look: Look) -> Rows | str:
    """The dataset in the start model's tokens, from a sample; or what must be there first."""
    if job.reads is None:
        return "the first steps are done: its rows are not counted beforehand"
    folder, model = look.finished(job.data), look.model_like(job.start)
    if folder is None:
        return f"{job.data.name} is made: its rows decide"
    if model is None:
        return f"{job.start.name} is made: its tokenizer counts the tokens of {job.data.name}"
    try:
        count, sampled = sample_rows(Dataset.open(folder), SAMPLE)
        tokens = Tokens.of(model)
    except (DataError, OSError, ValueError) as error:  # ValueError: pyarrow's, for a damaged file
        return f"the first steps are done ({str(error).splitlines()[0]})"
    if tokens is None:
        return "the first steps are done: only the model's own library can read its tokenizer or template"
    counted = [tokens.documents(row) for row in sampled if isinstance(row, job.reads)]
    found = [one for one in counted if one is not None]
    fitting = [one for one in found if max(map(len, one[0])) <= job.max_tokens]
    if not fitting:
        return f"its rows are rendered: none of {len(sampled)} sampled from {job.data.name} could be counted"
    some = Sampled(tuple(documents for documents, _ in fitting), tuple(labels for _, labels in fitting))
    share = len(fitting) / len(sampled)
    return Rows(max(1, round(count * share)), len(fitting), tuple(some.micro_batches(job, look.machine)))


class Tokens:
    """Counts the tokens of rows with a model's tokenizer.json and chat template, without loading transformers."""

    def __init__(self, tokenizer: Any, template: Any, settings: dict[str, Any]) -> None:
        self._tokenizer, self._template = tokenizer, template
        self._words = {
            name: value["content"] if isinstance(value, dict) else value
            for name, value in settings.items() if name in ("bos_token", "eos_token", "pad_token", "unk_token") and value
        }  # fmt: skip

    @classmethod
    def of(cls, folder: Path) -> Tokens | None:
        """Those of a model folder; None where a library or a file is missing. Raises DataError for files that are no JSON."""
        try:
            from jinja2.exceptions import TemplateError
            from jinja2.sandbox import ImmutableSandboxedEnvironment
            from tokenizers import Tokenizer
        except ImportError:
            return None
        settings = read_json(folder / "tokenizer_config.json") if (folder / "tokenizer_config.json").exists() else {}
        own = folder / "chat_template.jinja"
        text = own.read_text() if own.exists() else settings.get("chat_template")
        if not isinstance(text, str) or not (folder / "tokenizer.json").exists():
            return None
        room = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        try:
            return cls(Tokenizer.from_file(str(folder / "tokenizer.json")), room.from_string(text), settings)
        except TemplateError:
            return None

    def documents(self, row: Row) -> tuple[tuple[list[int], ...], int] | None:
        """(tokens of each document of a row, its labels); None for a row that is neither a demonstration nor a pair."""
        if isinstance(row, Demo):
            told = self._rendered(row.messages)
            labels = sum(len(self._ids(m.content)) + 1 for m in row.messages if m.role == "assistant")
            return None if told is None else ((told,), labels)
        if isinstance(row, Pair):
            told = self._rendered(row.prompt, reply=True)
            replies = [self._ids(text) for text in (row.chosen, row.rejected)]
            # Each reply ends with a token of its own.
            return None if told is None else (tuple([*told, *ids, -1] for ids in replies), sum(map(len, replies)) + 2)
        return None

    def _rendered(self, messages: Sequence[Message], *, reply: bool = False) -> list[int] | None:
        from jinja2.exceptions import TemplateError

        plain = [{"role": m.role, "content": m.content} for m in messages]
        try:
            return self._ids(self._template.render(messages=plain, add_generation_prompt=reply, **self._words))
        except (TemplateError, TypeError):
            return None

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return found
