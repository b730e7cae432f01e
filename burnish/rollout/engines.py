"""The engine a machine asks for."""

from __future__ import annotations

from typing import get_args, get_type_hints

from burnish.errors import RecipeError, nearest
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Engine
from burnish.rollout.engine_process import EngineProcess
from burnish.rollout.engine_team import EngineTeam
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.shared_weights import SharedWeights
from burnish.rollout.torch_engine import TorchEngine
from burnish.rollout.vllm_engine import VLLMEngine, vllm_dtype


def make_engine(policy: Policy, machine: Machine, console: Console | None = None) -> Engine:
    """The machine's engine, holding the policy's current weights. Raises RecipeError for an engine that is not known."""
    if machine.engine not in (known := get_args(get_type_hints(Machine)["engine"])):
        raise RecipeError(f"Machine(engine={machine.engine!r}): no such engine. {nearest(machine.engine, known)}")
    if machine.engine == "vllm":
        return _vllm(policy, machine, console)
    if machine.place.name == "process":
        return _processes(policy, machine, console)
    if machine.place.name == "ray":
        from burnish.rollout.ray_engine import ray_engines

        return ray_engines(policy, machine, console)
    if machine.engine == "hf":
        return HFEngine(policy, machine)
    return TorchEngine(policy, machine, console=console)


def _processes(policy: Policy, machine: Machine, console: Console | None) -> Engine:
    """One engine in a process of its own, or several that map one copy of the weights."""
    weights = SharedWeights(policy, "0")
    members = [
        EngineProcess(policy, machine, console=console, weights=weights, number=number)
        for number in range(machine.place.engines)
    ]
    return members[0] if len(members) == 1 else EngineTeam(members, weights, console)


def _vllm(policy: Policy, machine: Machine, console: Console | None) -> Engine:
    """VLLM in a process of this computer, or the workers that listen at the addresses named."""
    addresses = machine.place.at.split()
    if len(addresses) < 2:
        return VLLMEngine(policy, machine, console=console, address="".join(addresses))
    weights = SharedWeights(policy, "0", vllm_dtype(machine))
    members = [VLLMEngine(policy, machine, console=console, address=address, weights=weights) for address in addresses]
    return EngineTeam(members, weights, console)
