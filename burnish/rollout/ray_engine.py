"""Engines as actors on a Ray cluster: an extra, `pip install 'burnish[ray]'`.

The learner puts its weights into Ray's object store once, and every engine reads them there: on its own computer without a
copy, on another after one transfer. Replies come back one by one as they end. Every computer of the cluster needs the same
version of Burnish.
"""

from __future__ import annotations

import os
import queue
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.core.cores import cores
from burnish.core.rows import completion_from_json
from burnish.core.types import Completion
from burnish.errors import MissingExtra, ModelError
from burnish.model.lora import plain_weights
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.place import EnginePlace
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Continuations, OnFinish, OnText, Request, Scored
from burnish.rollout.engine_process import plain_requests
from burnish.rollout.engine_team import EngineTeam
from burnish.rollout.reply import check_continuations, check_requests
from burnish.rollout.serving import Died


def ray_engines(policy: Policy, machine: Machine, console: Console | None = None) -> EngineTeam:
    """The machine's engines, each an actor. Raises MissingExtra without Ray, ModelError without the cluster."""
    place = machine.place
    ray = joined(place, machine)
    weights = RayWeights(ray, policy, "0")
    members = [RayEngine(ray, policy, machine, weights) for _ in range(place.engines)]
    return EngineTeam(members, weights, console)


def joined(place: EnginePlace, machine: Machine) -> Any:
    """Ray, this process being part of a cluster: the one named, else a new one on this computer that only it can reach."""
    address = place.at or os.environ.get("RAY_ADDRESS", "")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not address:
        # Without clusters Ray listens on the loopback only; it reads this when it is imported.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    try:
        import ray
    except ImportError:
        raise MissingExtra(f"Machine(engine_place={machine.engine_place!r})", "ray", "ray") from None
    if ray.is_initialized():
        return ray
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "namespace": "burnish"}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            count = max(cores(), place.engines * place.machine(machine).threads)
            ray.init(num_cpus=count, include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise ModelError(
            f"The Ray cluster {address or 'on this computer'} cannot be joined: {error}\n"
            "  Start it with `ray start --head`, and name it: engine_place=\"ray(at='HOST:6379')\" or RAY_ADDRESS."
        ) from error
    return ray


class RayWeights:
    """A policy's plain weights in Ray's object store; `reference` is what actors are given."""

    def __init__(self, ray: Any, policy: Policy, version: str) -> None:
        self._ray = ray
        self.version = self.checksum = ""
        self.reference: Any = None
        self.write(policy, version)

    def write(self, policy: Policy, version: str) -> None:
        """Put the policy's current weights there, once for all engines; the ones before go when no engine holds them."""
        state = {}
        for name, weight in plain_weights(policy.model):
            flat = weight.detach().cpu().contiguous().view(-1).view(torch.uint8)
            state[name] = (str(weight.dtype).removeprefix("torch."), tuple(weight.shape), flat.numpy())
        self.reference = self._ray.put(state)
        self.version, self.checksum = version, policy.checksum()


def tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """What RayWeights put into the store, not copied."""
    with warnings.catch_warnings():
        # The store's memory is read-only, and so are these tensors used.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return {
            name: torch.from_numpy(raw).view(getattr(torch, kind)).view(shape)
            for name, (kind, shape, raw) in state.items()
        }


class Actor:
    """What runs in Ray's worker: a Server whose answers are streamed."""

    def __init__(self, settings: dict[str, Any], files: dict[str, bytes], state: dict[str, Any]) -> None:
        from burnish.rollout.engine_worker import Server

        with tempfile.TemporaryDirectory(prefix="burnish-engine-") as folder:
            for name, data in files.items():
                path = Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            self._server = Server(settings, Path(folder), tensors(state))

    def take(self, state: dict[str, Any], version: str, checksum: str) -> None:
        """Hold these weights."""
        self._server.take(tensors(state), version, checksum)

    def generate(self, requests: list[Any], texts: bool) -> Iterator[dict[str, Any]]:
        """What Server.generate says, as it says it."""
        yield from _streamed(lambda say: self._server.generate(requests, texts, say))

    def score(self, requests: list[Any]) -> Iterator[dict[str, Any]]:
        """What Server.score says, as it says it."""
        yield from _streamed(lambda say: self._server.score(requests, say))

    def process_id(self) -> int:
        """The operating system's number of the worker, on its computer."""
        return os.getpid()


def _streamed(work: Callable[[Callable[[dict[str, Any]], None]], None]) -> Iterator[dict[str, Any]]:
    said: queue.SimpleQueue[dict[str, Any] | BaseException | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            work(said.put)
            said.put(None)
        except BaseException as error:  # noqa: BLE001 - it is raised again by whoever reads
            said.put(error)

    threading.Thread(target=run, daemon=True).start()
    while (found := said.get()) is not None:
        if isinstance(found, BaseException):
            raise found
        yield found


class RayEngine:
    """One actor. It is placed when it is first asked; one that is lost raises Died and is placed anew when asked again."""

    def __init__(self, ray: Any, policy: Policy, machine: Machine, weights: RayWeights) -> None:
        self._ray, self._policy, self._machine, self._weights = ray, policy, machine, weights
        self._actor: Any = None
        self._taken = ("", "")

    @property
    def process_id(self) -> int:
        """The operating system's number of its worker, on the worker's computer."""
        with self._told():
            found: int = self._ray.get(self._placed().process_id.remote())
        return found

    def take(self) -> None:
        """Take the weights in the store; an actor that is not placed takes them when it is."""
        weights = self._weights
        if self._actor is None or self._taken == (weights.version, weights.checksum):
            return
        with self._told():
            self._ray.get(self._actor.take.remote(weights.reference, weights.version, weights.checksum))
        self._taken = weights.version, weights.checksum

    def generate(
        self, requests: Sequence[Request], on_finish: OnFinish | None = None, on_text: OnText | None = None
    ) -> list[Completion]:
        """One completion per request, in order. Raises Died when the actor is lost."""
        policy = self._policy
        check_requests(requests, policy.context, policy.vocabulary, policy.renderer.stop_ids)
        done: dict[int, Completion] = {}
        for found in self._answers("generate", plain_requests(requests), on_text is not None):
            index = found["id"]
            if "text" in found and on_text:
                on_text(index, found["text"])
            if "completion" in found:
                done[index] = completion_from_json(found["completion"])
                if on_finish:
                    on_finish(index, done[index])
        return [done[index] for index in range(len(requests))]

    def score(
        self, requests: Sequence[Continuations], on_scored: Callable[[int, Scored], None] | None = None
    ) -> list[Scored]:
        """One Scored per request, in order. Raises Died when the actor is lost."""
        check_continuations(requests, self._policy.context)
        done: dict[int, Scored] = {}
        for found in self._answers("score", [(r.prompt_ids, r.continuations) for r in requests]):
            index = found["id"]
            done[index] = Scored(tuple(tuple(row) for row in found["logprobs"]), tuple(found["greedy"]))
            if on_scored:
                on_scored(index, done[index])
        return [done[index] for index in range(len(requests))]

    def close(self) -> None:
        """End the actor; the next call places another."""
        actor, self._actor = self._actor, None
        if actor is not None:
            self._ray.kill(actor)

    def _answers(self, method: str, *words: Any) -> Iterator[dict[str, Any]]:
        with self._told():
            actor = self._placed()
            stream = getattr(actor, method).options(num_returns="streaming").remote(*words)
            for reference in stream:
                yield self._ray.get(reference)

    def _placed(self) -> Any:
        if self._actor is not None:
            self.take()
            return self._actor
        from burnish.rollout.engine_worker import described

        here = self._machine.place.machine(self._machine)
        with tempfile.TemporaryDirectory() as folder:
            settings = described(self._policy, here, Path(folder))
            files = {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
        options: dict[str, Any] = {"num_cpus": here.threads, "max_restarts": 0}
        options["runtime_env"] = {"env_vars": here.environment()}
        if here.device == "cuda":
            options["num_gpus"] = 1
        made = self._ray.remote(Actor).options(**options)
        self._actor, self._taken = made.remote(settings, files, self._weights.reference), ("", "")
        self.take()
        return self._actor

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn Ray's errors into ours: Died for an actor that is lost, what the engine itself raised as it was."""
        errors = self._ray.exceptions
        try:
            yield
        except errors.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, ModelError) else ModelError(f"An engine on Ray failed: {error}") from error
        except (errors.RayActorError, errors.ObjectLostError, errors.OutOfMemoryError) as error:
            self.close()
            raise Died(f"An engine on Ray is gone: {str(error).splitlines()[0]}") from error
