"""`burnish generate`: replies to a file of prompts."""

from __future__ import annotations

import dataclasses
import gzip
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, cast, get_args, get_type_hints

from tyro.conf import Positional, arg

from burnish.cli.flags import cache_folder
from burnish.cli.models import model_folder
from burnish.errors import DataError, RecipeError, nearest
from burnish.pipeline.machine import Machine, machine
from burnish.pipeline.progress import Console

if TYPE_CHECKING:  # the help text must not load torch
    from burnish.rollout.engine import Sampling
    from burnish.rollout.generate import Job, Settings, Source
    from burnish.rollout.prompt_rows import Form, PromptRows

LISTED = 10
ENGINES = (*get_args(get_type_hints(Machine)["engine"]), "endpoint")


@dataclass(frozen=True)
class Drawing:
    """How replies are drawn; the defaults switch everything off but plain sampling.

    Attributes:
        n: replies to each prompt.
        temperature: divides the logits; 0 takes the likeliest token each time.
        top_p: keep the likeliest tokens up to this share of probability.
        top_k: keep this many of the likeliest tokens.
        min_p: keep tokens at least this times as likely as the likeliest.
        repetition_penalty: above 1, tokens of the prompt and of the reply so far become less likely.
        logit_bias: ID=NUMBER, added to the logit of a token.
        max_tokens: the most tokens a reply may have.
        min_tokens: nothing ends a reply before so many tokens.
        stop: texts that end a reply; it is cut before them.
        stop_ids: further token ids that end a reply.
        begin: text that every reply is made to begin with.
        seed: of sampling; each reply has one of its own made from it.
    """

    n: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Annotated[tuple[str, ...], arg(metavar="ID=NUMBER…")] = ()
    max_tokens: int = 512
    min_tokens: int = 0
    stop: Annotated[tuple[str, ...], arg(metavar="TEXT…")] = ()
    stop_ids: Annotated[tuple[int, ...], arg(metavar="ID…")] = ()
    begin: str = ""
    seed: int = 0

    def sampling(self) -> Sampling:
        """The settings as an engine takes them. Raises RecipeError for those without meaning, by the flag's name."""
        from burnish.rollout.engine import Sampling
        from burnish.rollout.reply import check_sampling

        found = Sampling(
            self.temperature, self.top_p, self.top_k, self.max_tokens, self.stop, self.min_p, self.repetition_penalty,
            tuple(sorted(_bias(word) for word in self.logit_bias)), self.min_tokens, self.stop_ids,
        )  # fmt: skip
        check_sampling(found)
        if self.n < 1:
            raise RecipeError(f"--n {self.n}: no replies would be sampled. Use 1 or more.")
        if self.n > 1 and self.temperature == 0.0:
            raise RecipeError(
                f"--n {self.n} --temperature 0: the likeliest reply is the same every time.\n  Use --temperature 1, or --n 1."
            )
        return found


@dataclass(frozen=True)
class Generate(Drawing):
    """Replies to prompts, a JSON line each: {"id", "k", "response", "finish", "tokens"}.

    Attributes:
        model: bundled, toy, a model folder, a hub id, or an artifact with a model, spelled as for `burnish show`.
        prompts: JSON Lines, {"prompt": text} or {"messages": turns} with an "id" where wanted, or plain lines; - reads standard input.
        out: file for the replies; killed, the same command goes on where it stopped. Standard output unless given.
        system: a system turn for conversations that have none.
        raw: prompts are text to go on from, without a chat template.
        logprobs: write token ids and log-probabilities too.
        engine: torch, hf (slow, exact), vllm, or endpoint (--url, --model-name).
        url: address of an OpenAI-compatible server; BURNISH_ENDPOINT_KEY holds its key.
        model_name: the model's name there.
        extra: further members of each request to it, as JSON.
        batch: ask it in batches: half the price, up to a day. Needs --out.
        machine: laptop, exact or one_gpu.
        runs: folder of the artifacts.
        cache: folder of converted models and downloads.
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]] = ""
    prompts: Positional[Annotated[str, arg(metavar="PROMPTS.jsonl")]] = "-"
    out: Path | None = None
    system: str = ""
    raw: bool = False
    logprobs: bool = False
    engine: str = "torch"
    url: str = ""
    model_name: str = ""
    extra: str = ""
    batch: bool = False
    machine: str = "laptop"
    runs: Path = Path("runs")
    cache: Path = dataclasses.field(default_factory=cache_folder)

    def __call__(self) -> int:
        """Generate and tell; 1 when a row could not be asked or a reply failed."""
        from burnish.rollout.generate import Settings, generate, reply_file

        console = Console()
        sampling = self.sampling()
        self._check()
        rows = self._rows(console)
        name, source = self._source(console)
        settings = Settings(name, self.engine, sampling, self.seed, self.begin, self.system, self.raw, self.logprobs)
        with reply_file(self.out, settings, sys.stdout) as file:
            failed = generate(rows.prompts, self.n, file, lambda: source(settings), console)
            kept = [file.done[key] for p in rows.prompts for k in range(self.n) if (key := (p.id, k)) in file.done]
        for line in _told(rows, failed, kept, self.out):
            console.line(line)
        return 1 if failed or rows.broken else 0

    def _check(self) -> None:
        if self.engine not in ENGINES:
            raise RecipeError(f"--engine {self.engine}: no such engine. {nearest(self.engine, ENGINES)}")
        if self.raw and self.system:
            raise RecipeError(
                "--raw --system: raw text has no turns, so it cannot have a system turn.\n  Leave one out."
            )
        away = self.engine == "endpoint"
        server = {"--url": self.url, "--model-name": self.model_name, "--extra": self.extra, "--batch": self.batch}
        for flag, value in server.items():
            if value and not away:
                raise RecipeError(f"{flag} is about a server.\n  Add --engine endpoint, or leave it out.")
        if self.batch and not self.out:
            raise RecipeError(
                "--batch: a batch that is paid must be found again after a kill.\n  Add --out FILE.jsonl."
            )
        if away and not (self.url and self.model_name):
            raise RecipeError(
                "--engine endpoint: nothing says where replies come from.\n  Add --url http://HOST/v1 --model-name NAME."
            )
        if not away and not self.model:
            raise RecipeError(
                "burnish generate: no model is named.\n  burnish generate bundled prompts.jsonl --out replies.jsonl"
            )

    def _rows(self, console: Console) -> PromptRows:
        """The prompts. Raises DataError when there are none."""
        from burnish.rollout.prompt_rows import read_prompts

        # With an endpoint the model is named by flags, and the one word is the file.
        place = self.model if self.engine == "endpoint" and self.model and self.prompts == "-" else self.prompts
        with _opened(place, console) as lines:
            try:
                rows = read_prompts(lines, _form(place), raw=self.raw, system=self.system)
            except (OSError, EOFError) as error:
                raise DataError(f"{place} cannot be read ({error}).\n  Is the file complete?") from None
        what = "Standard input" if place == "-" else place
        if not rows.prompts and not rows.broken:
            raise DataError(f'{what} has no prompts.\n  Write one a line: {{"prompt": "..."}}, or plain text.')
        if not rows.prompts:
            shown = "\n".join(_listed("", rows.broken))
            raise DataError(f"{what}: none of its {len(rows.broken):,} rows can be asked.\n{shown}")
        return rows

    def _source(self, console: Console) -> tuple[str, Callable[[Settings], Source]]:
        """The name that replies are kept under, and what makes the source of replies when it is needed."""
        from burnish.rollout.generate import from_endpoint, from_engine

        if self.engine == "endpoint":
            from burnish.cli.judges import endpoint_of

            paid = self.out.with_name(self.out.name + ".paid") if self.out else None
            endpoint = endpoint_of(self.url, self.model_name, paid if self.batch else None)
            assert endpoint is not None
            asked = dataclasses.replace(endpoint, extra=self.extra, folder=str(paid or ""))
            return asked.name, lambda settings: from_endpoint(asked, settings)
        from burnish.rollout.local_answers import weights_sha256

        chosen = dataclasses.replace(machine(self.machine), engine=cast(Any, self.engine))
        folder = model_folder(self.model, self.runs, self.cache, chosen)

        def source(settings: Settings) -> Source:
            from burnish.model.policy import Policy
            from burnish.rollout.engines import make_engine

            policy = Policy.load(folder, chosen)
            engine = make_engine(policy, chosen, console)
            return from_engine(engine, policy.renderer, policy.context, settings)

        return weights_sha256(folder), source


def _bias(word: str) -> tuple[int, float]:
    token, equals, number = word.partition("=")
    try:
        if equals:
            return int(token), float(number)
    except ValueError:
        pass
    raise RecipeError(f"--logit-bias {word}: expected a token id and a number, e.g. --logit-bias 198=-100.")


def _form(place: str) -> Form:
    name = place.removesuffix(".gz")
    return "text" if name.endswith(".txt") else "json" if name.endswith((".jsonl", ".json")) else "either"


@contextmanager
def _opened(place: str, console: Console) -> Iterator[BinaryIO]:
    if place == "-":
        if sys.stdin.isatty():
            console.line("  Prompts, one a line; Ctrl-D ends:")
        yield sys.stdin.buffer
        return
    path = Path(place)
    if path.is_dir():
        raise DataError(
            f"{place} is a folder, and prompts come from one file.\n  Name a file in it, or - for standard input."
        )
    if not path.is_file():
        near = [file.name for file in path.parent.glob("[!.]*") if file.is_file()] if path.parent.is_dir() else []
        raise DataError(f"{place}: no such file. {nearest(path.name, near)}")
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        yield cast(BinaryIO, file)


def _told(
    rows: PromptRows, failed: Sequence[tuple[Job, str]], kept: Sequence[dict[str, object]], out: Path | None
) -> Iterator[str]:
    """What a person must know: how many replies, how many cut, and every row without one."""
    finishes = Counter(record["finish"] for record in kept)
    cut = f", {finishes['length']:,} cut by --max-tokens" if finishes["length"] else ""
    asked = len(rows.prompts)
    yield f"  {len(kept):,} {'reply' if len(kept) == 1 else 'replies'} to {asked:,} prompt{'s' * (asked != 1)}{cut}{f': {out}' if out else ''}"
    if rows.repeated:
        yield f"  Repeated, with one set of replies: {_some(rows.repeated)}"
    yield from _listed("not asked", rows.broken)
    reasons: dict[int, str] = {}
    for job, why in failed:
        reasons.setdefault(job.prompt.row, why)
    yield from _listed("without all their replies", sorted(reasons.items()))


def _listed(title: str, rows: Sequence[tuple[int, str]]) -> Iterator[str]:
    if rows and title:
        yield f"  {len(rows):,} row{'s' * (len(rows) != 1)} {title}:"
    for row, why in rows[:LISTED]:
        yield f"    row {row}: {why}"
    if len(rows) > LISTED:
        yield f"    … and {len(rows) - LISTED:,} more: {_some([row for row, _ in rows[LISTED:]])}"


def _some(rows: Sequence[int]) -> str:
    return (
        f"row{'s' * (len(rows) != 1)} "
        + ", ".join(map(str, rows[: 4 * LISTED]))
        + (" …" if len(rows) > 4 * LISTED else "")
    )
