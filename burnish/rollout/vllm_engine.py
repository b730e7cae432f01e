"""vLLM behind the engine protocol: its own process, in an environment of its own, here or on another computer.

vLLM pins torch and transformers, so it is not a dependency: `make vllm-env` makes an environment for it, or name its Python in
Machine(engine_place="inside(python='…')"). On another computer `vllm_worker.py --listen HOST:PORT` serves, and Machine(engine_place="servers(at=
'HOST:PORT')") asks it (docs/howto/vllm-machines.md).

Weights go through memory, shared on this computer and sent over the connection to another; vLLM takes them in place. After
every update the worker compares what it holds with the learner's sums and, exactly, with columns of each weight, so that
stale weights are an error and not a surprise.
"""

from __future__ import annotations

import base64
import importlib.util
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from burnish.core.types import Completion
from burnish.errors import RecipeError
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Continuations, OnFinish, OnText, Request, Scored
from burnish.rollout.replies import Replies
from burnish.rollout.reply import check_requests
from burnish.rollout.served_engine import ServedEngine
from burnish.rollout.serving import Serving, connected, started
from burnish.rollout.shared_weights import SharedWeights, write_description

WORKER = Path(__file__).with_name("vllm_worker.py")
HOME = Path(".venv-vllm/bin/python")
KEY = "BURNISH_ENGINE_KEY"  # the variable with the secret of workers on other computers
QUEUE = 2048  # requests handed over at once; the rest wait here
_COLUMNS = 4  # of each weight, compared exactly after an update


class VLLMEngine(ServedEngine):
    """Generates and scores with vLLM. A reply depends on its own seed, and to rounding on what runs beside it.

    address: HOST:PORT of a worker that listens; "": a process of this computer. weights: shared with other engines, which then
    take them when their owner says so; its own by default.
    """

    def __init__(
        self, policy: Policy, machine: Machine, *, version: str = "0", console: Console | None = None, address: str = "",
        weights: SharedWeights | None = None,
    ) -> None:  # fmt: skip
        self._python = "" if address else find_python(machine.place.python)
        self._address = address
        super().__init__(policy, machine, weights or SharedWeights(policy, version, vllm_dtype(machine)), console)

    def generate(
        self, requests: Sequence[Request], on_finish: OnFinish | None = None, on_text: OnText | None = None
    ) -> list[Completion]:
        """One completion per request, in order; `on_text` gets whole replies, which is how they arrive.

        Raises RecipeError for what does not fit or what vLLM would do otherwise, ModelError when vLLM ends.
        """
        policy = self._policy
        check_requests(requests, policy.context, policy.vocabulary, policy.renderer.stop_ids)
        _check_order(requests)
        replies = Replies(requests, policy.renderer, self._weights.version, on_finish, on_text)
        replies.begin(self.score)
        done: set[int] = set()

        def ask(part: range) -> None:
            left = [_sampled(i, requests[i], policy.renderer.stop_ids) for i in part if i not in done]
            for found in self._link.ask(op="generate", requests=left):
                done.add(found["id"])
                replies.take(found["id"], found["tokens"], found["logprobs"])

        for part in _parts(len(requests)):
            self._link.again(lambda part=part: ask(part))  # type: ignore[misc]
        return replies.completions()

    def score(
        self, requests: Sequence[Continuations], on_scored: Callable[[int, Scored], None] | None = None
    ) -> list[Scored]:
        """One Scored per request. Each continuation is read with its whole prompt: vLLM has no shorter way.

        Raises RecipeError for what does not fit, ModelError when vLLM ends.
        """
        jobs = [(i, n) for i, request in enumerate(requests) for n in range(len(request.continuations))]
        self._check_fit(requests)
        found: dict[tuple[int, int], tuple[tuple[float, ...], bool]] = {}
        done: dict[int, Scored] = {}
        known: set[int] = set()

        def ask(part: range) -> None:
            left = [_scored(job, requests[jobs[job][0]], jobs[job][1]) for job in part if job not in known]
            for answer in self._link.ask(op="score", requests=left):
                known.add(answer["id"])
                job = jobs[answer["id"]]
                found[job] = tuple(answer["logprobs"]), all(rank == 1 for rank in answer["ranks"])
                keys = [(job[0], n) for n in range(len(requests[job[0]].continuations))]
                if all(key in found for key in keys):
                    kept = [found.pop(key) for key in keys]
                    done[job[0]] = Scored(tuple(k[0] for k in kept), tuple(k[1] for k in kept))
                    if on_scored:
                        on_scored(job[0], done[job[0]])

        for part in _parts(len(jobs)):
            self._link.again(lambda part=part: ask(part))  # type: ignore[misc]
        return [done[index] for index in range(len(requests))]

    def _started(self) -> Serving:
        machine = self._machine
        with tempfile.TemporaryDirectory(prefix="burnish-vllm-") as folder:
            write_description(self._policy, Path(folder))
            files = {path.name: base64.b64encode(path.read_bytes()).decode() for path in Path(folder).iterdir()}
        settings = {
            "files": files, "dtype": str(vllm_dtype(machine)).removeprefix("torch."), "context": self._policy.context,
            "slots": machine.slots, "sleeps": machine.device == "cuda", "key": os.environ.get(KEY, ""),
        }  # fmt: skip
        if self._address:
            return connected(f"vLLM at {self._address}", self._address).ready(settings)
        command = [self._python, str(WORKER)]
        return started("vLLM", command, environment=_environment(machine), files=(self._weights.file,)).ready(settings)

    def _hand(self, serving: Serving) -> None:
        """Give it the weights, and what to compare with those it then holds."""
        weights, draw = self._weights, random.Random(self._weights.checksum)
        described = weights.described
        columns = {
            name: [draw.randrange(shape[1]) for _ in range(_COLUMNS)]
            for name, (_, shape, _) in described["layout"].items()
            if len(shape) == 2
        }
        message: dict[str, Any] = {"layout": described["layout"], "sums": weights.sums, "columns": columns}
        if self._address:
            answers = serving.ask([weights.raw()], op="weights", bytes=described["size"], **message)
        else:
            answers = serving.ask(op="weights", file=described["file"], size=described["size"], **message)
        for _ in answers:
            pass

    def _check_fit(self, requests: Sequence[Continuations]) -> None:
        context = self._policy.context
        for i, request in enumerate(requests):
            longest = len(request.prompt_ids) + max(map(len, request.continuations), default=0)
            if longest >= context:
                raise RecipeError(
                    f"request {i}: a prompt of {len(request.prompt_ids):,} tokens and its longest continuation need {longest + 1:,} "
                    f"positions, but the model's context is {context:,}.\n  Use fewer or shorter examples in the prompt."
                )


def find_python(named: str) -> str:
    """The Python that vLLM is installed in: the one named, the one of `make vllm-env`, or this one.

    Raises RecipeError where none of them has vLLM.
    """
    if named:
        if not Path(named).exists():
            raise RecipeError(
                f'Machine(engine_place="inside(python={named!r})"): there is no such program.\n  make vllm-env'
            )
        return named
    if HOME.exists():
        return str(HOME.absolute())
    if importlib.util.find_spec("vllm") is not None:
        return sys.executable
    raise RecipeError(
        'Machine(engine="vllm") needs vLLM in an environment of its own, and there is none.\n'
        "  make vllm-env   makes one in .venv-vllm; or name its Python: engine_place=\"inside(python='/path/to/python')\".\n"
        '  Machine(engine="torch") needs nothing and gives the same replies to rounding.'
    )


def _parts(count: int) -> Iterator[range]:
    return (range(start, min(start + QUEUE, count)) for start in range(0, count, QUEUE))


def _check_order(requests: Sequence[Request]) -> None:
    """Raise RecipeError where vLLM's order of cuts gives another distribution: it cuts by min_p first, then by top_p."""
    for i, request in enumerate(requests):
        sampling = request.sampling
        if sampling.min_p and sampling.top_p < 1.0:
            raise RecipeError(
                f"request {i}: min_p={sampling.min_p} with top_p={sampling.top_p}: vLLM cuts by min_p before top_p, every other "
                "engine after it, so its replies would come from another distribution.\n"
                '  Use one of the two, or Machine(engine="torch").'
            )


def _sampled(index: int, request: Request, ends: frozenset[int]) -> dict[str, Any]:
    sampling = request.sampling
    return {
        "id": index, "prompt": list(request.begun), "temperature": sampling.temperature, "top_p": sampling.top_p,
        "top_k": sampling.top_k, "min_p": sampling.min_p, "repetition_penalty": sampling.repetition_penalty,
        "logit_bias": list(sampling.logit_bias), "max_tokens": sampling.max_tokens, "min_tokens": sampling.min_tokens,
        "stop": list(sampling.stop), "stop_ids": sorted(ends.union(sampling.stop_ids)), "seed": request.seed % (1 << 31),
    }  # fmt: skip


def _scored(job: int, request: Continuations, number: int) -> dict[str, Any]:
    whole = [*request.prompt_ids, *request.continuations[number]]
    return {"id": job, "prompt": whole, "from": len(request.prompt_ids)}


def vllm_dtype(machine: Machine) -> torch.dtype:
    """The type vLLM holds weights in."""
    return torch.bfloat16 if machine.compute == "bf16" else torch.float32


def _environment(machine: Machine) -> dict[str, str]:
    """Nothing of the shell's but paths and the choice of devices: no tokens, no settings."""
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "XDG_CACHE_HOME", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "OMP_NUM_THREADS": str(machine.threads), "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "WARNING",
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
