"""Verdicts of many replies, found in parallel and kept as they come, so that a killed grading goes on where it was."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from burnish.core.fingerprint import encode
from burnish.core.types import Verdict
from burnish.eval.records import KeptVerdicts, verdict_key
from burnish.pipeline.progress import Console
from burnish.verify.apart import Case, grade_all
from burnish.verify.base import Verifier


class Verdicts:
    """Grades replies, each once. With a folder, verdicts are kept in its graded.jsonl and not paid for again.

    A verdict is kept under the hash of the verifier (its class, fields and VERSION), the problem's content id and the
    reply's text, so that the file serves any later grading of the same texts. What could not be graded is asked again.

    jobs: replies graded at a time in worker processes; 1 grades in this process. The verdicts are the same.
    """

    def __init__(self, folder: Path | None, *, jobs: int, console: Console) -> None:
        self._jobs, self._console = jobs, console
        self._kept = KeptVerdicts(folder / "graded.jsonl" if folder is not None else None)

    def of(self, verifier: Verifier, cases: Sequence[Case], title: str) -> list[Verdict]:
        """One verdict a case, in order. Equal cases are graded once."""
        rule = encode(verifier, identity=True)
        keys = [verdict_key(rule, problem.id, text) for problem, text in cases]
        found: dict[str, Verdict] = {}
        missing: dict[str, Case] = {}
        for key, case in zip(keys, cases, strict=True):
            if key not in found and key not in missing:
                known = self._kept.get(key)
                if known is None:
                    missing[key] = case
                else:
                    found[key] = known
        names = list(missing)
        with self._console.bar(title, len(found) + len(names), "replies", done=len(found)) as bar:

            def keep(number: int, verdict: Verdict) -> None:
                found[names[number]] = verdict
                self._kept.put(names[number], verdict)
                bar.advance()

            grade_all(verifier, list(missing.values()), keep, jobs=self._jobs)
        return [found[key] for key in keys]

    def close(self) -> None:
        """Close the file."""
        self._kept.close()
