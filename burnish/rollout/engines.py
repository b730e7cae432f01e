"""The engine a machine asks for."""

from __future__ import annotations

from typing import get_args, get_type_hints

from burnish.errors import RecipeError, nearest
from burnish.model.policy import Policy
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Engine
from burnish.rollout.hf_engine import HFEngine
from burnish.rollout.torch_engine import TorchEngine
from burnish.rollout.vllm_engine import VLLMEngine


def make_engine(policy: Policy, machine: Machine, console: Console | None = None) -> Engine:
    """The machine's engine, holding the policy's current weights. Raises RecipeError for an engine that is not known."""
    if machine.engine == "torch":
        return TorchEngine(policy, machine, console=console)
    if machine.engine == "hf":
        return HFEngine(policy, machine)
    if machine.engine == "vllm":
        return VLLMEngine(policy, machine)
    known = get_args(get_type_hints(Machine)["engine"])
    raise RecipeError(f"Machine(engine={machine.engine!r}): no such engine. {nearest(machine.engine, known)}")
