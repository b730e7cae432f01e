"""Clusters under Slurm: which computers a recipe asks for, and the sbatch script that runs it there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from burnish.core.cores import cores
from burnish.errors import RecipeError
from burnish.pipeline.machine import Machine

# Days-hours:minutes:seconds and its shorter forms, as sbatch reads them.
_TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")
_WORD = re.compile(r"[A-Za-z0-9][\w.,:+@\[\]-]*")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Computers of one kind under Slurm, one job of them for a whole recipe.

    nodes, gpus:  computers, and GPUs of each; gpus=0 trains on their CPUs, in one process each.
    partition, account, qos, constraint: handed to sbatch where given.
    time:         the job's limit as sbatch reads it, e.g. "12:00:00"; the job puts itself back in the queue when it is over.
    cpus, memory: of each node ("256G"); 0 and "" leave them to the cluster's defaults.
    grace_s:      seconds before the limit at which the job is asked to end.
    setup:        a shell line that makes `burnish` known on the nodes, e.g. "source ~/venv/bin/activate".
    sharding, context, tensor, micro_tokens, recompute: as in Machine.
    """

    nodes: int = 1
    gpus: int = 8
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    time: str = ""
    cpus: int = 0
    memory: str = ""
    grace_s: int = 120
    setup: str = ""
    sharding: Literal["replicated", "full", "hybrid"] = "full"
    context: int = 1
    tensor: int = 1
    micro_tokens: int = 16384
    recompute: Literal["none", "attention", "layers"] = "none"

    def __post_init__(self) -> None:
        """Raise RecipeError for what sbatch would refuse, or would read as something else."""
        for name, least in (("nodes", 1), ("gpus", 0), ("cpus", 0), ("grace_s", 0)):
            value = getattr(self, name)
            if value < least:
                raise RecipeError(
                    f"cluster({name}={value}): no job can have that.\n  Give a whole number from {least} up."
                )
        if self.time and not _TIME.fullmatch(self.time):
            raise RecipeError(
                f"cluster(time={self.time!r}): sbatch would not read it as a time.\n"
                "  Write hours:minutes:seconds, e.g. '12:00:00', or days-hours, e.g. '2-00'."
            )
        for name in ("partition", "account", "qos", "constraint", "memory"):
            value = getattr(self, name)
            if value and not _WORD.fullmatch(value):
                raise RecipeError(f"cluster({name}={value!r}): this is no name that a script can hand to sbatch.")
        if "\n" in self.setup:
            raise RecipeError("cluster(setup=…): one line of shell, please; join commands with &&.")

    @property
    def machine(self) -> Machine:
        """The machine that each node of the job is, in bf16."""
        device: Literal["cpu", "cuda"] = "cuda" if self.gpus else "cpu"
        return Machine(
            name="cluster", device=device, threads=self.cpus or cores(), processes=max(self.gpus, 1), nodes=self.nodes,
            sharding=self.sharding, context=self.context, tensor=self.tensor, compute="bf16", micro_tokens=self.micro_tokens, slots=256, recompute=self.recompute,
        )  # fmt: skip

    def script(self, command: Sequence[str]) -> str:
        """The sbatch script that runs `command` (the words after `burnish run`, the machine among them) on all nodes.

        Every node runs the same command over one folder of runs, which all of them must see. Processes meet at the first node.
        Before the limit the job is asked to end, keeps its checkpoint, and queues itself again; so it does after a preemption.
        """
        name = re.sub(r"[^\w.-]", "-", command[0].rpartition("/")[2].removesuffix(".py")) if command else "recipe"
        lines = ["#!/bin/bash", *(f"#SBATCH {option}" for option in self._options(name)), "set -uo pipefail", ""]
        if self.setup:
            lines += [self.setup, ""]
        run = shlex.join(["burnish", "run", *command])
        lines += [
            "# All processes meet at the first node; the port is the job's own.",
            'MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"',
            'MASTER_PORT="$((20000 + SLURM_JOB_ID % 20000))"',
            "export MASTER_ADDR MASTER_PORT",
            "",
            "# One command on every node. Started again, it goes on from what is finished and from its last checkpoint.",
            "# shellcheck disable=SC2016  # each node fills in its own number",
            f'srun --kill-on-bad-exit=1 bash -c \'NODE_RANK="$SLURM_NODEID" exec "$@"\' bash {run}',
            'code="$?"',
            "",
            "# 143: asked to end before the limit. Back into the queue, and on from the checkpoint.",
            'if [ "$code" -eq 143 ]; then',
            '    scontrol requeue "$SLURM_JOB_ID"',
            "fi",
            'exit "$code"',
        ]
        return "\n".join(lines) + "\n"

    def _options(self, name: str) -> list[str]:
        found = [f"--job-name=burnish-{name}", f"--nodes={self.nodes}", "--ntasks-per-node=1"]
        found += [f"--gpus-per-node={self.gpus}"] if self.gpus else []
        found += [f"--cpus-per-task={self.cpus}"] if self.cpus else []
        found += [f"--mem={self.memory}"] if self.memory else []
        for option in ("partition", "account", "qos", "constraint", "time"):
            found += [f"--{option}={getattr(self, option)}"] if getattr(self, option) else []
        return [*found, f"--signal=TERM@{self.grace_s}", "--requeue", "--open-mode=append", "--output=%x-%j.log"]


def cluster(text: str) -> Cluster | None:
    """The cluster that a --machine text spells; None for another machine. Raises RecipeError for settings it does not have."""
    from burnish.pipeline.machine import chosen, spelled

    name, settings = spelled(text)
    return chosen(Cluster(), settings, text) if name == "cluster" else None
