"""The tool protocol: a name, what it takes, and text for text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Protocol, runtime_checkable


class Tool(Protocol):
    """A frozen dataclass that a model can call by name. The same arguments give the same text.

    What the model does wrong is text that begins with "error: ". A tool raises only where it cannot work at all; the reply is
    then ungraded. It never runs what the model wrote outside a sandbox, and bounds what it computes and says.
    """

    VERSION: ClassVar[int]

    @property
    def name(self) -> str:
        """How calls name it."""

    @property
    def description(self) -> str:
        """One sentence for the model."""

    @property
    def arguments(self) -> Mapping[str, str]:
        """What it takes: the name of each argument, all of them texts, and a description for the model."""

    def __call__(self, arguments: Mapping[str, str]) -> str:
        """What it answers. All the arguments are there, and no others."""


@runtime_checkable
class RunsMany(Protocol):
    """What a tool has besides when many calls cost less together."""

    def call_many(self, calls: Sequence[Mapping[str, str]]) -> list[str]:
        """One answer a call, in order: those that the tool gives one by one."""


def schema(tool: Tool) -> dict[str, object]:
    """The tool as JSON Schema describes functions, the form that tool data is written in."""
    properties = {name: {"type": "string", "description": said} for name, said in tool.arguments.items()}
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": tool.name, "description": tool.description, "parameters": parameters}
