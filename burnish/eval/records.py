"""What was asked and graded, kept below the key of its content: a killed evaluation goes on, and nothing is paid twice.

replies.jsonl:  a line a request: {"key", "text", "finish", "tokens", "flags", "ranked"}, under `request_key`.
verdicts.jsonl: a line a verdict: {"key", "score", "why", "flags"}, under `verdict_key`. What could not be graded is not kept.

Both are only ever appended to, line by line, by as many processes as like to. A line that a kill cut short is passed over.
"""

from __future__ import annotations

import hashlib
import json
import threading
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from burnish.core.fingerprint import content_id, encode
from burnish.core.types import Finish, Verdict
from burnish.errors import ArtifactError
from burnish.eval.answer import Given
from burnish.eval.ranking import Ranked
from burnish.rollout.engine import Sampling
from burnish.rollout.shared_log import ReplyCache

FORMAT = 1
_HEADER = "format"


def request_key(
    model: str, engine: str, prompt: Sequence[int] | str, sampling: Sampling | Sequence[Sequence[int]], seed: int, sample: int
) -> str:  # fmt: skip
    """64 hex digits over everything that decides a reply.

    prompt:   the token ids the model is given, or the text of a prompt that another machine tokenises.
    sampling: how the reply is drawn; or the token ids of the continuations that are ranked.
    """
    if isinstance(sampling, Sampling):
        how: Any = encode(sampling, identity=True)
    else:
        how = [list(ids) for ids in sampling]
    said = json.dumps([FORMAT, model, engine, how, seed, sample], sort_keys=True)
    digest = hashlib.sha256(said.encode() + b"\0")
    if isinstance(prompt, str):
        digest.update(b"text" + prompt.encode("utf-8", "surrogatepass"))
    else:
        digest.update(b"ids" + array("q", prompt).tobytes())
    return digest.hexdigest()


def verdict_key(rule: Any, problem: str, text: str) -> str:
    """16 hex digits over verifier, problem and reply.

    rule: the verifier's identity, `encode(verifier, identity=True)`: class, fields and VERSION. problem: the content id, which
    covers prompt and target.
    """
    return content_id("verdict", [rule, problem, text])


class Kept:
    """A file of records by key, or memory of this process for None. May be used from any thread."""

    def __init__(self, path: Path | None) -> None:
        self._cache = ReplyCache(path.parent if path else None, path.name if path else "")
        self._turn = threading.Lock()
        if path is None:
            return
        with self._turn:
            found = self._cache.get(_HEADER)
            if found is None:
                self._cache.put(_HEADER, {"format": FORMAT})
            elif found.get("format") != FORMAT:
                self._cache.close()
                raise ArtifactError(
                    f"{path} was written by another version of burnish (format {found.get('format')}, this one reads {FORMAT}), so its "
                    "replies cannot be used.\n  Give another folder with --out, or move this one away."
                )

    def get(self, key: str) -> dict[str, Any] | None:
        """What is kept under the key."""
        with self._turn:
            return self._cache.get(key)

    def put(self, key: str, record: dict[str, Any]) -> None:
        """Keep a record. Raises ArtifactError for a disk that is full or read-only."""
        with self._turn:
            self._cache.put(key, record)

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._cache.close()


class KeptVerdicts:
    """Verdicts by `verdict_key`, in a file or in memory."""

    def __init__(self, path: Path | None) -> None:
        self._kept = Kept(path)

    def get(self, key: str) -> Verdict | None:
        """The verdict kept under the key."""
        found = self._kept.get(key)
        return None if found is None else Verdict(found["score"], found["why"], tuple(found.get("flags", ())))

    def put(self, key: str, verdict: Verdict) -> None:
        """Keep a verdict; one without a score is not kept, so that it is asked for again."""
        if verdict.score is not None:
            self._kept.put(key, {"score": verdict.score, "why": verdict.why, "flags": list(verdict.flags)})

    def close(self) -> None:
        """Close the file."""
        self._kept.close()


class KeptReplies:
    """Replies by `request_key`, in a file or in memory."""

    def __init__(self, path: Path | None) -> None:
        self._kept = Kept(path)

    def get(self, key: str) -> Given | None:
        """The reply kept under the key."""
        found = self._kept.get(key) if key else None
        if found is None:
            return None
        ranked = tuple(Ranked(*each) for each in found["ranked"])
        return Given(found["text"], Finish(found["finish"]), found["tokens"], ranked, tuple(found["flags"]))

    def put(self, key: str, given: Given) -> None:
        """Keep a reply; one that the engine gave up is not kept, so that it is asked for again."""
        if key and given.finish is not Finish.ABORT:
            ranked = [[each.text, each.logprob, each.tokens, each.greedy] for each in given.ranked]
            self._kept.put(
                key,
                {"text": given.text, "finish": given.finish.value, "tokens": given.tokens, "flags": list(given.flags),
                 "ranked": ranked},
            )  # fmt: skip

    def close(self) -> None:
        """Close the file."""
        self._kept.close()
