"""vLLM in a process and an environment of its own: JSON lines in, JSON lines out. Run as a file, by vllm_engine.py.

    python vllm_worker.py                        serves its standard input
    python vllm_worker.py --listen HOST:PORT     serves one connection after another; needs BURNISH_ENGINE_KEY, a secret that
                                                 whoever connects must know, unless HOST is 127.0.0.1

Imports nothing of Burnish, because vLLM pins versions that Burnish does not share: this file alone is all that another computer
needs. The first line in is the settings, with the files of the model's configuration and tokenizer; then

    {"op": "weights", "layout", "sums": {name: [sum, sum of squares]}, "columns": {name: [numbers]}, "file" and "size", or "bytes"}
        -> {"end": true}: weights taken, from a file descriptor of shared memory or from so many bytes behind the line, and found
           to be those; comes before all else
    {"op": "generate", "requests": [{"id", "prompt", "seed", "stop", "stop_ids", …}]}, … being settings by vLLM's own names
        -> {"id", "tokens", "logprobs"} as each ends, then {"end": true}
    {"op": "score", "requests": [{"id", "prompt", "from"}]}
        -> {"id", "logprobs", "ranks"} of the prompt's tokens from position "from" on, then {"end": true}

What goes wrong is answered with {"error": text}. On a GPU it sleeps between pieces of work, its memory given back to the learner.
"""

import base64
import hmac
import json
import math
import mmap
import os
import socket
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import torch

# What sums over bf16 or float32 numbers, added in another order in float64, may differ by.
TOLERANCE = 1e-9
# What vLLM holds as one weight, and checkpoints as several.
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}
KEY = "BURNISH_ENGINE_KEY"


def main() -> None:
    """Serve until the input ends; with --listen, until it is ended itself."""
    os.environ |= {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    if len(sys.argv) == 3 and sys.argv[1] == "--listen":
        listen(sys.argv[2])
    elif len(sys.argv) == 1:
        # Libraries print to standard output; the protocol keeps a copy of it, and they get standard error.
        out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        serve(Line(sys.stdin.buffer, out), {})
    else:
        sys.exit(__doc__)


def listen(address: str) -> None:
    """Serve one connection after another; vLLM stays loaded between learners with the same model."""
    host, _, port = address.rpartition(":")
    key = os.environ.get(KEY, "")
    if host not in ("127.0.0.1", "localhost") and not key:
        sys.exit(
            f"{address} can be reached from other computers.\n  Set {KEY} to a long secret, here and where you train."
        )
    held: dict[str, Any] = {}
    with socket.create_server((host, int(port))) as server:
        sys.stderr.write(f"listening at {host}:{server.getsockname()[1]}\n")
        while True:
            link, _ = server.accept()
            link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            with link, link.makefile("rb") as reads, link.makefile("wb") as writes:
                try:
                    serve(Line(reads, writes), held, key)
                except OSError as error:
                    sys.stderr.write(f"the connection ended: {error}\n")


class Line:
    """Both ends of a connection."""

    def __init__(self, reads: IO[bytes], writes: IO[bytes]) -> None:
        self.reads, self._writes = reads, writes

    def say(self, **message: Any) -> None:
        """One answer."""
        self._writes.write(json.dumps(message).encode() + b"\n")
        self._writes.flush()

    def hear(self) -> dict[str, Any]:
        """The next line; {} at the end."""
        line = self.reads.readline()
        found: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        return found


def serve(line: Line, held: dict[str, Any], key: str = "") -> None:
    """One learner, until it goes. held: the server and its settings, for the next one."""
    settings = line.hear()
    if not hmac.compare_digest(str(settings.pop("key", "")).encode(), key.encode()):
        line.say(error=f"the secret in {KEY} is not the one that this worker was started with")
        return
    try:
        if held.get("settings") != settings:
            held.clear()
            held["server"] = Server(settings)
            held["settings"] = settings
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        line.say(error=f"{type(error).__name__}: {error}")
        return
    line.say(ready=True)
    server = held["server"]
    while message := line.hear():
        try:
            server.awake()
            getattr(server, OPS[message.pop("op")])(line, **message)
            server.rest()
            line.say(end=True)
        except (RuntimeError, ValueError) as error:
            line.say(error=f"{type(error).__name__}: {error}")
            return
        finally:
            server.drop()


OPS = {"weights": "take", "generate": "generate", "score": "score"}


class Server:
    """One engine. settings: files, dtype, context, slots, sleeps."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from vllm import LLM

        self._running: set[str] = set()
        self._sleeps, self._asleep = settings["sleeps"], False
        with tempfile.TemporaryDirectory(prefix="burnish-vllm-") as folder:
            for name, data in settings["files"].items():
                (Path(folder) / Path(name).name).write_bytes(base64.b64decode(data))
            more: dict[str, Any] = {}
            if self._sleeps:
                free, total = torch.cuda.mem_get_info()
                # The learner may be on the same device: what is free, and some room for its peaks.
                more = {"enable_sleep_mode": True, "gpu_memory_utilization": 0.8 * free / total}
            self.llm = LLM(
                folder, dtype=settings["dtype"], max_model_len=settings["context"], max_num_seqs=settings["slots"],
                logprobs_mode="processed_logprobs", enable_prefix_caching=True, disable_log_stats=True,
                trust_remote_code=False, load_format="dummy", **more,
            )  # fmt: skip

    def awake(self) -> None:
        """Take the device's memory again."""
        if self._asleep:
            self.llm.wake_up()
            self._asleep = False

    def rest(self) -> None:
        """Give the device's memory back: weights wait in the computer's."""
        if self._sleeps:
            self.llm.sleep(level=1)
            self._asleep = True

    def drop(self) -> None:
        """Forget requests that nobody waits for any more."""
        if self._running:
            self.llm.llm_engine.abort_request(list(self._running))
            self._running.clear()

    def generate(self, line: Line, requests: list[dict[str, Any]]) -> None:
        """Sample replies; each is told as it ends."""
        from vllm import SamplingParams

        for request in requests:
            stops = request["stop"]
            params = SamplingParams(
                temperature=request["temperature"], top_p=request["top_p"], top_k=request["top_k"] or -1,
                min_p=request["min_p"], repetition_penalty=request["repetition_penalty"],
                logit_bias={token: bias for token, bias in request["logit_bias"]} or None,
                max_tokens=request["max_tokens"], min_tokens=request["min_tokens"],
                seed=request["seed"], stop=stops or None, stop_token_ids=request["stop_ids"], ignore_eos=True,
                logprobs=0, detokenize=bool(stops), skip_special_tokens=False,
            )  # fmt: skip
            self._add(request["id"], request["prompt"], params)
        for output in self._ended():
            reply = output.outputs[0]
            logprobs = [place[token].logprob for token, place in zip(reply.token_ids, reply.logprobs, strict=True)]
            line.say(id=int(output.request_id), tokens=list(reply.token_ids), logprobs=logprobs)

    def score(self, line: Line, requests: list[dict[str, Any]]) -> None:
        """Log-probabilities and ranks of given tokens."""
        from vllm import SamplingParams

        starts = {}
        for request in requests:
            starts[request["id"]] = request["from"]
            self._add(
                request["id"], request["prompt"], SamplingParams(max_tokens=1, temperature=0.0, prompt_logprobs=0)
            )
        for output in self._ended():
            start = starts[int(output.request_id)]
            places = zip(output.prompt_token_ids[start:], output.prompt_logprobs[start:], strict=True)
            found = [place[token] for token, place in places]
            line.say(id=int(output.request_id), logprobs=[f.logprob for f in found], ranks=[f.rank for f in found])

    def take(
        self, line: Line, layout: dict[str, list[Any]], sums: dict[str, list[float]], columns: dict[str, list[int]], **where: int
    ) -> None:  # fmt: skip
        """Take weights in place; RuntimeError when what arrives or what is held then is something else."""
        memory: Any = bytearray(where.get("bytes", 0))
        if "file" in where:
            memory = mmap.mmap(where["file"], where["size"])
        elif line.reads.readinto(memory) != len(memory):  # type: ignore[attr-defined]
            raise RuntimeError("the connection ended in the middle of the weights")
        state = tensors(memory, layout)
        compare("that arrived", {name: sums_of(weight) for name, weight in state.items()}, sums)
        model = self.llm.apply_model(lambda model: model)[0]
        packed = {module: module.cpu_linear for module in model.modules() if hasattr(module, "cpu_linear")}
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(state.items())})
        for module, before in packed.items():
            if module.cpu_linear is before:
                # An output layer tied to the embedding: vLLM 0.32 leaves its packed copy as it was.
                repack(module)
        self.llm.reset_prefix_cache()
        self._check_held(model, state, sums, columns)

    @staticmethod
    def _check_held(
        model: Any, state: dict[str, torch.Tensor], sums: dict[str, list[float]], columns: dict[str, list[int]]
    ) -> None:
        """RuntimeError unless the model holds this state.

        By sums of what is there under its name; and exactly, for layers that a CPU has packed away, by some of their columns:
        a packed layer applied to a unit vector gives one.
        """
        held = {
            name: sums_of(weight)
            for name, weight in model.named_parameters()
            if weight.numel() and all(part in sums for part in parts_of(name))
        }
        whole = {name: [math.fsum(sums[part][i] for part in parts_of(name)) for i in (0, 1)] for name in held}
        compare("in vLLM", held, whole)
        seen = len(held)
        for name, module in model.named_modules():
            parts = parts_of(f"{name}.weight")
            if name == "lm_head" and parts[0] not in state:
                parts = ["model.embed_tokens.weight"]
            if not hasattr(module, "cpu_linear") or not all(part in state for part in parts):
                continue
            seen += 1
            chosen = columns[parts[0]]
            want = torch.cat([state[part][:, chosen] for part in parts]).T
            units = torch.zeros(len(chosen), state[parts[0]].shape[1], dtype=want.dtype)
            units[range(len(chosen)), chosen] = 1
            found = module.cpu_linear(units, module.weight, None)[:, : want.shape[1]]
            if not torch.equal(found.to(want.dtype), want):
                raise RuntimeError(f"the packed weight of {name} in vLLM is not the policy's: it was not updated")
        if not seen:
            raise RuntimeError(
                "no weight has a name that the policy has too, so it cannot be known whether they are current"
            )

    def _add(self, name: int, prompt: list[int], params: Any) -> None:
        self._running.add(str(name))
        self.llm.llm_engine.add_request(str(name), {"prompt_token_ids": prompt}, params)

    def _ended(self) -> Any:
        engine = self.llm.llm_engine
        while engine.has_unfinished_requests():
            for output in engine.step():
                if output.finished:
                    self._running.discard(output.request_id)
                    yield output


def repack(module: Any) -> None:
    """Pack a layer's weight as vLLM did when it was loaded."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    dispatch_cpu_unquantized_gemm(module, remove_weight=False)


def tensors(memory: Any, layout: dict[str, list[Any]]) -> dict[str, torch.Tensor]:
    """The weights in some memory: {name: [type, shape, first byte]}."""
    return {
        name: torch.frombuffer(memory, dtype=getattr(torch, kind), count=math.prod(shape), offset=offset).view(shape)
        for name, (kind, shape, offset) in layout.items()
    }


def sums_of(weight: torch.Tensor) -> list[float]:
    """Sum and sum of squares, in float64."""
    wide = weight.detach().double()
    return [float(wide.sum()), float((wide * wide).sum())]


def compare(where: str, found: dict[str, list[float]], wanted: dict[str, list[float]]) -> None:
    """RuntimeError for a weight whose sums are not the policy's."""
    for name, sums in found.items():
        for what, place in (("sum", 0), ("sum of squares", 1)):
            want = wanted[name][place]
            if not math.isclose(want, sums[place], rel_tol=TOLERANCE, abs_tol=TOLERANCE * (1 + wanted[name][1])):
                raise RuntimeError(f"the {what} of {name} is {sums[place]!r} {where} and {want!r} in the policy")


def parts_of(name: str) -> list[str]:
    """The checkpoint's names of what vLLM holds under one."""
    for fused, parts in FUSED.items():
        if f".{fused}." in name:
            return [name.replace(fused, part) for part in parts]
    return [name]


if __name__ == "__main__":
    main()
