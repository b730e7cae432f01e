"""An engine of this house in a process of its own: `python -m burnish.rollout.engine_worker`, started by EngineProcess.

JSON lines, as `serving` describes them. The settings are `Server`'s, with the memory of the weights (`SharedWeights`); then

    {"op": "generate", "requests": [{"prompt", "sampling": encoded, "seed", "forced"}], "texts": bool}
        -> {"id", "completion"} as each ends, {"id", "text"} where texts are wanted
    {"op": "score", "requests": [[prompt ids, [continuation ids]]]} -> {"id", "logprobs", "greedy"} as each is done
    {"op": "take", "version", "checksum"}: what the memory holds is taken and found to be that; comes before all else

The process ends when its input does: it never outlives the learner.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from burnish.core.fingerprint import decode, encode
from burnish.core.rows import completion_to_json
from burnish.core.types import Completion
from burnish.errors import Error, ModelError
from burnish.model.lora import plain_weights
from burnish.model.policy import Policy, quiet
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.rollout.engine import Continuations, Engine, Request, Scored, Scorer
from burnish.rollout.engines import make_engine
from burnish.rollout.shared_weights import mapped, write_description
from burnish.text.render import Renderer

Say = Callable[[dict[str, Any]], None]


def described(policy: Policy, machine: Machine, folder: Path) -> dict[str, Any]:
    """What a Server needs to know beside the weights; the model's configuration and tokenizer are written to `folder`."""
    write_description(policy, folder)
    return {"machine": encode(machine), "stop_ids": sorted(policy.renderer.stop_ids)}


class Server:
    """An engine around weights that are somewhere else.

    settings: `described`. folder: its files. weights: by name; on a CPU they are not copied. It holds them from `take` on.
    """

    def __init__(self, settings: Mapping[str, Any], folder: Path, weights: Mapping[str, Tensor]) -> None:
        from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoTokenizer

        machine: Machine = decode(settings["machine"])
        machine.prepare()
        kind = next(iter(weights.values())).dtype
        with quiet():
            config = AutoConfig.from_pretrained(folder, local_files_only=True)
            made: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
            model = made.from_pretrained(None, config=config, state_dict=dict(weights), dtype=kind)
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        renderer = Renderer(tokenizer)
        # Its own chat format may end turns otherwise than the tokenizer's template.
        renderer.stop_ids = frozenset(settings["stop_ids"])
        model.requires_grad_(False)
        self._policy = Policy(model.to(machine.device), renderer, machine)
        self._engine: Engine | None = None
        self._machine = machine

    def take(self, weights: Mapping[str, Tensor], version: str, checksum: str) -> None:
        """Hold these weights. Raises ModelError when what is held then has another checksum."""
        with torch.no_grad():
            for name, held in plain_weights(self._policy.model):
                if held.device.type == "cpu":
                    held.data = weights[name]
                else:
                    held.copy_(weights[name])
        found = self._policy.checksum()
        if found != checksum:
            raise ModelError(
                f"The engine's weights {version!r} have the checksum {found}, the learner's {checksum}: they were changed on "
                "the way, and replies would come from neither."
            )
        if self._engine is None:
            self._engine = make_engine(self._policy, self._machine, Console(sys.stderr))
        self._engine.load_weights(self._policy, version)

    def generate(self, requests: list[Any], texts: bool, say: Say) -> None:
        """Reply to requests (`plain_requests`); each reply is said as it ends, pieces of text as they come where wanted."""
        asked = [Request(tuple(r["prompt"]), decode(r["sampling"]), r["seed"], tuple(r["forced"])) for r in requests]

        def ended(index: int, completion: Completion) -> None:
            say({"id": index, "completion": completion_to_json(completion)})

        def told(index: int, piece: str) -> None:
            say({"id": index, "text": piece})

        self._held().generate(asked, ended, told if texts else None)

    def score(self, requests: list[Any], say: Say) -> None:
        """Log-probs of [prompt ids, [continuation ids]]; each is said as it is done."""
        engine = self._held()
        if not isinstance(engine, Scorer):
            raise ModelError(f"{type(engine).__name__} does not score continuations.")

        def ended(index: int, scored: Scored) -> None:
            say({"id": index, "logprobs": [list(row) for row in scored.logprobs], "greedy": list(scored.greedy)})

        engine.score([Continuations(tuple(p), tuple(tuple(c) for c in rest)) for p, rest in requests], ended)

    def _held(self) -> Engine:
        if self._engine is None:
            raise ModelError("The engine holds no weights.")
        return self._engine


def main() -> None:
    """Serve until the input ends."""
    # A terminal's Ctrl-C reaches this process too; the learner decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Libraries print to standard output; the protocol keeps a copy of it, and they get standard error.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()

    def say(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")

    settings = json.loads(lines.get())
    weights = mapped(settings["weights"])
    try:
        server = Server(settings, Path(settings["folder"]), weights)
        say({"ready": True})
        while True:
            message = json.loads(lines.get())
            match message["op"]:
                case "generate":
                    server.generate(message["requests"], message["texts"], say)
                case "score":
                    server.score(message["requests"], say)
                case "take":
                    server.take(weights, message["version"], message["checksum"])
            say({"end": True})
    except Error as error:
        say({"error": str(error), "kind": type(error).__name__})


def _read(lines: queue.SimpleQueue[str]) -> None:
    """Hand on each line of the input; at its end the process ends, whatever it is doing."""
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
