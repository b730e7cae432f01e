"""vLLM behind the engine protocol: its own process, in an environment of its own.

vLLM pins torch and transformers, so it is not a dependency: `make vllm-env` makes an environment for it, or name its Python in
Machine(vllm_python=...). Weights go through a folder on this machine; after every load the worker compares sums over what it
holds with the policy's, so that stale weights are an error and not a surprise.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import torch

from burnish.core.types import Completion
from burnish.errors import ModelError, RecipeError
from burnish.model.lora import plain_weights
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.rollout.engine import Continuations, Request, Scored
from burnish.rollout.reply import Reply, check_requests

WORKER = Path(__file__).with_name("vllm_worker.py")
HOME = Path(".venv-vllm/bin/python")
QUEUE = 2048  # requests handed over at once; the rest wait here
TAIL = 2000  # characters of vLLM's own output shown when it ends


class VLLMEngine:
    """Generates and scores with vLLM. A reply depends on its own seed, and to rounding on what runs beside it."""

    def __init__(self, policy: Policy, machine: Machine, *, version: str = "0") -> None:
        self._python = find_python(machine.vllm_python)
        self._policy, self._machine, self._version = policy, machine, version
        self._worker: _Worker | None = None

    @property
    def policy_version(self) -> str:
        """Which weights it holds."""
        return self._version

    def load_weights(self, policy: Policy, version: str) -> None:
        """Take the policy's weights through a folder. Raises ModelError when vLLM then holds others.

        On a CPU vLLM 0.32 keeps its packed linear layers when weights are reloaded in place, in silence; there it starts anew.
        """
        self._policy, self._version = policy, version
        if self._worker is None or not self._worker.alive:
            return
        if self._machine.device == "cpu":
            self.close()
            return
        folder, sums = self._worker.saved(policy)
        for _ in self._worker.ask(op="weights", folder=folder, sums=sums):
            pass

    def generate(
        self, requests: Sequence[Request], on_finish: Callable[[int, Completion], None] | None = None
    ) -> list[Completion]:
        """One completion per request, in order. Raises RecipeError for what does not fit, ModelError when vLLM ends."""
        check_requests(requests, self._policy.context)
        done: dict[int, Completion] = {}
        stop_ids = sorted(self._policy.renderer.stop_ids)
        for part in _parts(len(requests)):
            asked = [_sampled(i, requests[i]) for i in part]
            for found in self._started().ask(op="generate", requests=asked, stop_ids=stop_ids):
                index = found["id"]
                done[index] = self._completion(requests[index], found["tokens"], found["logprobs"])
                if on_finish:
                    on_finish(index, done[index])
        return [done[index] for index in range(len(requests))]

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
        for part in _parts(len(jobs)):
            asked = [_scored(job, requests[jobs[job][0]], jobs[job][1]) for job in part]
            for answer in self._started().ask(op="score", requests=asked):
                job = jobs[answer["id"]]
                found[job] = tuple(answer["logprobs"]), all(rank == 1 for rank in answer["ranks"])
                keys = [(job[0], n) for n in range(len(requests[job[0]].continuations))]
                if all(key in found for key in keys):
                    kept = [found.pop(key) for key in keys]
                    done[job[0]] = Scored(tuple(k[0] for k in kept), tuple(k[1] for k in kept))
                    if on_scored:
                        on_scored(job[0], done[job[0]])
        return [done[index] for index in range(len(requests))]

    def close(self) -> None:
        """End vLLM's process and remove its folder of weights; the next call starts another."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _started(self) -> _Worker:
        if self._worker is None or not self._worker.alive:
            self._worker = _Worker(self._python, self._policy, self._machine)
        return self._worker

    def _completion(self, request: Request, tokens: list[int], logprobs: list[float]) -> Completion:
        """The reply by this house's rules: where it ends and what its text is does not depend on the engine."""
        reply = Reply(request, self._policy.renderer)
        for token, logprob in zip(tokens, logprobs, strict=True):
            if reply.push(token, logprob):
                break
        return reply.completion(self._version)

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
            raise RecipeError(f"Machine(vllm_python={named!r}): there is no such program.\n  make vllm-env")
        return named
    if HOME.exists():
        return str(HOME.absolute())
    if importlib.util.find_spec("vllm") is not None:
        return sys.executable
    raise RecipeError(
        'Machine(engine="vllm") needs vLLM in an environment of its own, and there is none.\n'
        "  make vllm-env   makes one in .venv-vllm; or name its Python: Machine(vllm_python='/path/to/python').\n"
        '  Machine(engine="torch") needs nothing and gives the same replies to rounding.'
    )


def _parts(count: int) -> Iterator[range]:
    return (range(start, min(start + QUEUE, count)) for start in range(0, count, QUEUE))


def _sampled(index: int, request: Request) -> dict[str, Any]:
    sampling = request.sampling
    return {
        "id": index, "prompt": list(request.prompt_ids), "temperature": sampling.temperature, "top_p": sampling.top_p,
        "top_k": sampling.top_k, "max_tokens": sampling.max_tokens, "stop": list(sampling.stop),
        "seed": request.seed % (1 << 31),
    }  # fmt: skip


def _scored(job: int, request: Continuations, number: int) -> dict[str, Any]:
    whole = [*request.prompt_ids, *request.continuations[number]]
    return {"id": job, "prompt": whole, "from": len(request.prompt_ids)}


class _Worker:
    """vLLM's process, the folder its weights come from, and the file its own output goes to."""

    def __init__(self, python: str, policy: Policy, machine: Machine) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="burnish-vllm-")
        self._dtype = torch.bfloat16 if machine.compute == "bf16" else torch.float32
        self._log = Path(self._scratch.name) / "vllm.log"
        folder, sums = self.saved(policy)
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8",
                env=_environment(machine), cwd=self._scratch.name,
            )  # fmt: skip
        self._end = weakref.finalize(self, _end, self._process, self._scratch)
        self._send(
            {"folder": folder, "dtype": str(self._dtype).removeprefix("torch."), "context": policy.context, "slots": machine.slots,
             "sums": sums}
        )  # fmt: skip
        self._receive()

    @property
    def alive(self) -> bool:
        """Whether the process can still be asked."""
        return self._end.alive and self._process.poll() is None

    def saved(self, policy: Policy) -> tuple[str, dict[str, list[float]]]:
        """The folder the policy was written to, and the sums over each weight in the type vLLM computes in."""
        folder = Path(self._scratch.name) / "model"
        policy.save(folder)
        sums = {}
        for name, weight in plain_weights(policy.model):
            held = weight.detach().to(self._dtype).double()
            sums[name] = [float(held.sum()), float((held * held).sum())]
        return str(folder), sums

    def ask(self, **message: Any) -> Iterator[dict[str, Any]]:
        """Every answer up to the end of the work."""
        self._send(message)
        while True:
            found = self._receive()
            if "end" in found:
                return
            yield found

    def close(self) -> None:
        """End the process and remove the folder."""
        self._end()

    def _send(self, message: dict[str, Any]) -> None:
        try:
            pipe = _pipe(self._process.stdin)
            pipe.write(json.dumps(message) + "\n")
            pipe.flush()
        except OSError:
            self._died()

    def _receive(self) -> dict[str, Any]:
        line = _pipe(self._process.stdout).readline()
        if not line:
            self._died()
        found: dict[str, Any] = json.loads(line)
        if "error" in found:
            self.close()
            raise ModelError(
                f"vLLM: {found['error']}\n  Nothing that was finished is lost; start the same command again."
            )
        return found

    def _died(self) -> None:
        code = self._process.wait()
        said = self._log.read_text(errors="replace")[-TAIL:].strip()
        raise ModelError(
            f"vLLM's process ended with {code}. Nothing that was finished is lost; start the same command again.\n"
            f"  Its last words:\n{said}"
        )


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise ModelError("vLLM's process has no pipe.")
    return pipe


def _end(process: subprocess.Popen[str], scratch: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    scratch.cleanup()


def _environment(machine: Machine) -> dict[str, str]:
    """Nothing of the shell's but paths and the choice of devices: no tokens, no settings."""
    kept = ("PATH", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "CUDA_HOME", "XDG_CACHE_HOME", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ} | {
        "OMP_NUM_THREADS": str(machine.threads), "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "2",
        "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "VLLM_LOGGING_LEVEL": "WARNING",
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
