"""A model on this machine as an answerer: through any engine, or from a folder."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from burnish.core.files import sha256_file
from burnish.core.fingerprint import not_identity
from burnish.core.types import Finish, Message
from burnish.errors import Error, ModelError
from burnish.rollout.engine import Continuations, Engine, Request, Sampling, Scorer
from burnish.rollout.shared_log import ReplyCache
from burnish.verify.judge.ask import Answer, Question, encodable

if TYPE_CHECKING:
    from burnish.core.types import Completion
    from burnish.text.render import Renderer


class EngineAnswers:
    """Answers from a running engine; one call at a time, because an engine is one."""

    def __init__(self, engine: Engine, renderer: Renderer, context: int, name: str, folder: Path | None = None) -> None:
        """`context` is the longest prompt and reply in tokens; replies are kept in `folder`, or in memory for None."""
        self.name = name
        self._engine, self._renderer, self._context = engine, renderer, context
        self._cache = ReplyCache(folder)
        self._turn = threading.Lock()

    def answers(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer a question, in order; equal ones are asked once. A question that does not fit the context has none."""
        with self._turn:
            return self._answers(questions)

    def _answers(self, questions: Sequence[Question]) -> list[Answer]:
        keys = [self._key(question) for question in questions]
        found: dict[str, Answer] = {}
        waiting: dict[str, Request] = {}
        ranked: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {}
        for key, question in zip(keys, questions, strict=True):
            if key in found or key in waiting or key in ranked:
                continue
            known = self._cache.get(key)
            ids = () if known else self._prompt(question)
            if known is not None:
                found[key] = Answer(known["text"], cut=known["cut"], logprobs=tuple(known.get("logprobs", ())))
            elif not ids or len(ids) + question.max_tokens > self._context:
                found[key] = Answer(
                    None,
                    f"a question of {len(ids):,} tokens and a reply of up to {question.max_tokens:,} do not fit the judge's "
                    f"context of {self._context:,}" if ids else "the question has no tokens",
                )  # fmt: skip
            elif question.options and isinstance(self._engine, Scorer):
                ranked[key] = (ids, question.options)
            else:
                sampling = Sampling(temperature=question.temperature, max_tokens=question.max_tokens)
                waiting[key] = Request(ids, sampling, int(key[:15], 16))

        order = list(waiting)

        def finish(index: int, completion: Completion) -> None:
            key = order[index]
            if completion.finish is Finish.ABORT:
                found[key] = Answer(None, "the engine gave the judge's reply up", down=True)
                return
            cut = completion.finish is Finish.LENGTH
            self._cache.put(key, {"text": completion.text, "cut": cut, "model": self.name})
            found[key] = Answer(completion.text, cut=cut)

        if waiting:
            self._engine.generate(list(waiting.values()), finish)
        found |= self._ranked(ranked)
        return [found[key] for key in keys]

    def _ranked(self, asked: Mapping[str, tuple[tuple[int, ...], tuple[str, ...]]]) -> dict[str, Answer]:
        """For prompts with options: the log-probability of each option, and the likeliest as the reply. Nothing is drawn."""
        if not asked or not isinstance(self._engine, Scorer):
            return {}
        encode = self._renderer.tokenizer.encode
        requests = [
            Continuations(ids, tuple(tuple(encode(option, add_special_tokens=False)) for option in options))
            for ids, options in asked.values()
        ]
        found: dict[str, Answer] = {}
        for (key, (_, options)), scored in zip(asked.items(), self._engine.score(requests), strict=True):
            logprobs = tuple(math.fsum(part) for part in scored.logprobs)
            text = max(zip(logprobs, options, strict=True))[1]
            self._cache.put(key, {"text": text, "cut": False, "logprobs": logprobs, "model": self.name})
            found[key] = Answer(text, logprobs=logprobs)
        return found

    def _prompt(self, question: Question) -> tuple[int, ...]:
        """The tokens of a conversation in the model's chat format, or of raw text with the model's start token."""
        if not isinstance(question.prompt, str):
            return self._renderer.prompt(tuple(Message(turn.role, encodable(turn.content)) for turn in question.prompt))
        tokenizer, text = self._renderer.tokenizer, encodable(question.prompt)
        start = tokenizer.bos_token or ""
        # A form that writes the start token itself must not get a second one.
        ids = tokenizer(text, add_special_tokens=not (start and text.startswith(start)))["input_ids"]
        return tuple(ids)

    def _key(self, question: Question) -> str:
        asked = [self.name, question.max_tokens, question.temperature]
        prompt = question.prompt
        turns = prompt if isinstance(prompt, str) else [[turn.role, turn.content] for turn in prompt]
        options = [list(question.options)] if question.options else []
        return hashlib.sha256(json.dumps([*asked, turns, *options]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model folder that answers on this machine, loaded at the first question. It is an `Answerer` for judges.

    sha256:  of the weights, which is what the answers depend on; `LocalModel.of(folder)` fills it in.
    machine: laptop, exact or one_gpu.
    cache:   folder for replies.jsonl, or "" to keep replies in memory.
    """

    sha256: str
    folder: str = not_identity(default="")
    machine: str = not_identity(default="laptop")
    cache: str = not_identity(default="")
    VERSION: ClassVar[int] = 1

    @classmethod
    def of(cls, folder: Path | str, machine: str = "laptop", cache: str = "") -> LocalModel:
        """The model in a folder as it is. Raises ModelError where there is none."""
        return cls(weights_sha256(Path(folder)), str(folder), machine, cache)

    @property
    def name(self) -> str:
        """The weights' hash."""
        return f"folder {self.sha256}"

    def answers(self, questions: Sequence[Question]) -> list[Answer]:
        """One answer a question, in order; without a model that can be used, the reason for each."""
        try:
            return _loaded(self.sha256, self.folder, self.machine, self.cache).answers(questions) if questions else []
        except Error as error:
            return [Answer(None, str(error), down=True)] * len(questions)

    def check(self) -> None:
        """Raise ModelError unless the folder holds the model that `sha256` names."""
        digest = weights_sha256(Path(self.folder))
        if digest != self.sha256:
            raise ModelError(
                f"LocalModel(folder={self.folder!r}): the weights there have the hash {digest}, not {self.sha256}, so its answers "
                f"would not be those this judge names.\n  Write LocalModel.of({self.folder!r}) to use this folder."
            )


def weights_sha256(folder: Path) -> str:
    """The first 16 hex digits of the SHA-256 of every weights file, joined by spaces. Raises ModelError for no weights."""
    weights = sorted(_place(folder).glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{folder}: there is no model (*.safetensors) in this folder.")
    return " ".join(sha256_file(file)[:16] for file in weights)


def _place(folder: Path) -> Path:
    return folder / "model" if (folder / "model").is_dir() else folder


@lru_cache(maxsize=2)
def _loaded(sha256: str, folder: str, machine_name: str, cache: str) -> EngineAnswers:
    from burnish.model.policy import Policy
    from burnish.pipeline.machine import machine
    from burnish.rollout.engines import make_engine

    LocalModel(sha256, folder).check()
    where = machine(machine_name)
    policy = Policy.load(_place(Path(folder)), where)
    engine = make_engine(policy, where)
    return EngineAnswers(engine, policy.renderer, policy.context, f"folder {sha256}", Path(cache) if cache else None)
