"""Replies to a file of prompts, kept as they end: a run that was killed anywhere goes on and samples nothing twice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from burnish.core.files import JsonlLog, read_json, write_json
from burnish.core.fingerprint import ABSENT, diff, encode
from burnish.core.rng import seed_of
from burnish.core.types import Completion, Finish
from burnish.errors import DataError, RecipeError
from burnish.pipeline.lock import lock
from burnish.pipeline.progress import Console
from burnish.rollout.api_engine import Endpoint, check_protocol
from burnish.rollout.engine import Engine, Request, Sampling
from burnish.rollout.prompt_rows import Prompt
from burnish.text.render import Renderer
from burnish.verify.judge.ask import Answer, Question


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides the replies beside the prompts. Reply k to a prompt has the same seed however many are asked for.

    model:    the hash of the weights, or an endpoint's name. engine: which one draws.
    begin:    text that every reply is forced to begin with. raw: prompts are text to go on from, without a chat template.
    logprobs: keep token ids and log-probs too.
    """

    model: str
    engine: str
    sampling: Sampling
    seed: int = 0
    begin: str = ""
    system: str = ""
    raw: bool = False
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Reply k to a prompt."""

    prompt: Prompt
    k: int

    def seed(self, seed: int) -> int:
        """The seed of its tokens."""
        return seed_of(seed, "generate", self.prompt.id, self.k)


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no reply to a prompt, or to a job."""

    why: str


Told = Callable[[Job, "dict[str, Any] | Refused"], None]
Source = Callable[[Sequence[Job], Told], None]


class ReplyFile:
    """Where replies go: a file that knows what it was made with, or a stream for None."""

    def __init__(self, path: Path | None, settings: Settings, stream: TextIO) -> None:
        """Raises RecipeError when the file was made with other settings, DataError when it holds no replies."""
        self._stream = stream
        self._log: JsonlLog | None = None
        self.done: dict[tuple[str, int], dict[str, Any]] = {}
        if path is None:
            return
        _check_settings(path, settings)
        try:
            self._log = JsonlLog(path)
            self.done = {(record["id"], record["k"]): record for record in self._log.records}
        except (ValueError, KeyError, TypeError) as error:
            self.close()
            raise DataError(
                f"--out {path} holds a line that is no reply of this command ({error}).\n  Give another file, or remove that line."
            ) from None

    def add(self, record: dict[str, Any]) -> None:
        """Keep a reply; it is in the operating system's hands when this returns."""
        self.done[record["id"], record["k"]] = record
        if self._log is not None:
            self._log.append(record)
        else:
            self._stream.write(json.dumps(record) + "\n")
            self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._log is not None:
            self._log.close()


@contextmanager
def reply_file(path: Path | None, settings: Settings, stream: TextIO) -> Iterator[ReplyFile]:
    """The file for one run alone. Raises ArtifactError while another writes to it, and as `ReplyFile`."""
    if path is None:
        yield ReplyFile(None, settings, stream)
        return
    if path.is_dir():
        raise RecipeError(f"--out {path} is a folder.\n  Name a file in it: --out {path / 'replies.jsonl'}")
    with lock(path.with_name(f".{path.name}.lock"), str(path), "--out"):
        file = ReplyFile(path, settings, stream)
        try:
            yield file
        finally:
            file.close()


def _check_settings(path: Path, settings: Settings) -> None:
    """Compare with what the file was made with, or write that down for a new one."""
    record, now = path.with_name(path.name + ".settings.json"), encode(settings)
    if not record.exists():
        if path.exists() and path.stat().st_size:
            raise RecipeError(
                f"--out {path} is there already, and no {record.name} beside it says what made it; nothing is overwritten.\n"
                "  Give another file."
            )
        write_json(record, now)
        return
    differing = diff(read_json(record), now)
    if differing:
        shown = [f"  {field}: {_shown(old)} there, {_shown(new)} here" for field, old, new in differing]
        raise RecipeError(
            f"--out {path} was made with other settings, and replies of two kinds in one file could not be told apart:\n"
            + "\n".join(shown)
            + "\n  Give another file, or the settings of this one."
        )


def _shown(value: Any) -> str:
    return "nothing" if value is ABSENT else repr(value)


def generate(
    prompts: Sequence[Prompt], n: int, file: ReplyFile, source: Callable[[], Source], console: Console
) -> list[tuple[Job, str]]:
    """Write the replies that the file lacks; returns the jobs that got none, with the reason. `source` is made if needed."""
    jobs = [Job(prompt, k) for prompt in prompts for k in range(n)]
    missing = [job for job in jobs if (job.prompt.id, job.k) not in file.done]
    refused: list[tuple[Job, str]] = []
    if not missing:
        return refused
    ask = source()
    began, tokens = time.monotonic(), 0
    with console.bar("generate", len(jobs), "replies", done=len(jobs) - len(missing)) as bar:

        def told(job: Job, given: dict[str, Any] | Refused) -> None:
            nonlocal tokens
            if isinstance(given, Refused):
                refused.append((job, given.why))
                bar.advance()
                return
            file.add({"id": job.prompt.id, "k": job.k, **given})
            tokens += given["tokens"] or 0
            speed = tokens / max(time.monotonic() - began, 1e-9)
            bar.advance(note=f"{speed:,.0f} tokens/s" if tokens else "")

        ask(missing, told)
    return refused


def from_engine(engine: Engine, renderer: Renderer, context: int, settings: Settings) -> Source:
    """Replies of a running engine. A prompt that does not fit the context is refused, the others are not."""

    def ask(jobs: Sequence[Job], told: Told) -> None:
        rendered = {job.prompt.id: _tokens(renderer, job.prompt.prompt, settings.begin) for job in jobs}
        asked: list[Job] = []
        requests: list[Request] = []
        for job in jobs:
            prompt, forced = rendered[job.prompt.id]
            needed = len(prompt) + len(forced) + settings.sampling.max_tokens
            if needed > context:
                most = context - len(prompt) - len(forced)
                cure = f"set --max-tokens {most} or less" if most > 0 else "it alone is too long"
                told(job, Refused(
                    f"a prompt of {len(prompt):,} tokens and {settings.sampling.max_tokens:,} of a reply need {needed:,} positions, "
                    f"the model's context is {context:,}: {cure}"
                ))  # fmt: skip
                continue
            asked.append(job)
            requests.append(Request(prompt, settings.sampling, job.seed(settings.seed), forced))

        def finish(index: int, completion: Completion) -> None:
            if completion.finish is Finish.ABORT:
                told(asked[index], Refused("the engine gave this reply up before it ended"))
            else:
                told(asked[index], _record(completion, settings.logprobs))

        engine.generate(requests, finish)

    return ask


def _tokens(renderer: Renderer, prompt: Any, begin: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens of the prompt, and those of the forced beginning behind it."""
    if isinstance(prompt, str):
        start = renderer.tokenizer.bos_token or ""
        # A prompt that writes the start token itself must not get a second one.
        special = not (start and prompt.startswith(start))
        ids, whole = (
            tuple(renderer.tokenizer(t, add_special_tokens=special)["input_ids"]) for t in (prompt, prompt + begin)
        )
        if whole[: len(ids)] != ids:
            whole = ids + tuple(renderer.tokenizer(begin, add_special_tokens=False)["input_ids"])
    else:
        ids, (whole, _) = renderer.prompt(prompt), renderer.begun(prompt, begin)
    return ids, whole[len(ids) :]


def _record(completion: Completion, logprobs: bool) -> dict[str, Any]:
    more = {"token_ids": list(completion.token_ids), "logprobs": list(completion.logprobs)} if logprobs else {}
    return {
        "response": completion.text, "finish": completion.finish.value, "tokens": completion.length, **more
    }  # fmt: skip


def from_endpoint(endpoint: Endpoint, settings: Settings) -> Source:
    """Replies of a model behind an address, at the endpoint's concurrency; how many tokens they have it does not tell.

    Raises RecipeError for settings that OpenAI's protocol does not have, and when the endpoint does not answer.
    """
    sampling = settings.sampling
    check_protocol(sampling)
    if settings.begin or settings.logprobs:
        which = "--begin" if settings.begin else "--logprobs"
        raise RecipeError(
            f"{which} needs the model's own tokens, which an endpoint does not tell.\n  Use --engine torch."
        )
    if sampling.logit_bias:
        extra_members = json.loads(endpoint.extra or "{}") | {"logit_bias": {str(t): b for t, b in sampling.logit_bias}}
        endpoint = replace(endpoint, extra=json.dumps(extra_members))
    endpoint.check()

    def question(job: Job) -> Question:
        seed = job.seed(settings.seed) % (1 << 31) if sampling.temperature > 0 else None
        return Question(
            job.prompt.prompt,
            sampling.max_tokens,
            sampling.temperature,
            stop=sampling.stop,
            top_p=sampling.top_p,
            seed=seed,
        )

    def ask(jobs: Sequence[Job], told: Told) -> None:
        endpoint.each([question(job) for job in jobs], lambda place, answer: told(jobs[place], _answered(answer)))

    return ask


def _answered(answer: Answer) -> dict[str, Any] | Refused:
    if answer.text is None:
        return Refused(answer.why)
    return {"response": answer.text, "finish": ("length" if answer.cut else "stop"), "tokens": None}
