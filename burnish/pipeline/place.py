"""Where the engines of a machine run, as `Machine.engine_place` spells it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from burnish.errors import RecipeError, nearest
from burnish.pipeline.machine import chosen, spelled

if TYPE_CHECKING:
    from burnish.pipeline.machine import Machine

PLACES = ("inside", "process", "ray", "servers")


@dataclass(frozen=True, slots=True)
class EnginePlace:
    """Where engines run. Outside the learner's process they generate while it trains, if a stage allows staleness.

    name:    "inside" the learner's process; "process": in processes of their own on this computer; "ray": actors on a Ray
             cluster; "servers": vLLM workers that listen on other computers.
    engines: how many share the requests of a step.
    threads: of each engine; 0: as many as the learner's.
    device:  of the first engine, "cpu", "cuda" or "cuda:1"; each further engine takes the next CUDA device. "": the learner's.
    at:      the address of the Ray cluster ("": the one that RAY_ADDRESS names, else one on this computer), or those of the
             servers, HOST:PORT with a space between them: "10.0.0.2:8100 10.0.0.3:8100".
    python:  the Python that has vLLM; "" looks for .venv-vllm and then for vLLM beside Burnish.
    """

    name: str = "inside"
    engines: int = 1
    threads: int = 0
    device: str = ""
    at: str = ""
    python: str = ""

    @classmethod
    def of(cls, text: str) -> EnginePlace:
        """The place that a text means. Raises RecipeError, with the nearest known name, for what is not known."""
        if text == "inside":
            return cls()
        where = f"engine_place={text}"
        name, settings = spelled(text)
        if name not in PLACES:
            raise RecipeError(f"Machine({where!r}): no such place. {nearest(name, PLACES)}")
        return chosen(cls(name), settings, where)

    def check(self, machine: Machine) -> None:
        """Raise RecipeError for what cannot be together."""
        said = f"Machine(engine={machine.engine!r}, engine_place={machine.engine_place!r})"
        wrong = ""
        if machine.engine == "vllm" and self.name in ("process", "ray"):
            wrong = "vLLM has a process of its own anyway.\n  Leave engine_place away, or name vLLM's addresses: servers(at='HOST:PORT')."
        elif machine.engine != "vllm" and self.name == "servers":
            wrong = "only vLLM runs as a server of its own.\n  Set engine='vllm', or engine_place='process' or 'ray'."
        elif self.name == "servers" and not (
            self.at and all(re.fullmatch(r"\S+:\d+", part) for part in self.at.split())
        ):
            wrong = "it names no server.\n  Write engine_place=\"servers(at='10.0.0.2:8100')\", HOST:PORT with spaces between."
        elif self.engines < 1 or (self.engines > 1 and self.name not in ("process", "ray")):
            wrong = "engines is a whole number from 1 up, and more than one only of processes or on Ray."
        elif self.threads < 0 or not re.fullmatch(r"(cpu|cuda(:\d+)?)?", self.device):
            wrong = "threads is 0 (as the learner's) or more, and device is 'cpu', 'cuda', 'cuda:1' and so on, or '' (the learner's)."
        if wrong:
            raise RecipeError(f"{said}: {wrong}")

    def machine(self, machine: Machine) -> Machine:
        """The machine as an engine there sees it."""
        device: Any = self.device.partition(":")[0] or machine.device
        return replace(
            machine, device=device, threads=self.threads or machine.threads, engine_place="inside", processes=1, nodes=1,
            context=1, tensor=1, sharding="replicated", offload="none", kernels="torch", attention="auto",
        )  # fmt: skip

    def environment(self, machine: Machine, number: int = 0) -> dict[str, str]:
        """The variables that an engine's process starts with, beside those of this one. number: which of several, from 0."""
        here = self.machine(machine)
        found = here.environment()
        if here.device == "cuda":
            seen = [part for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part]
            index = int(self.device.partition(":")[2] or 0) + number
            found["CUDA_VISIBLE_DEVICES"] = seen[index % len(seen)] if seen else str(index)
        return found
