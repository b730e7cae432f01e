"""vLLM in a process and an environment of its own: JSON lines in, JSON lines out. Run as a file, by vllm_engine.py.

Imports nothing of Burnish, because vLLM pins versions that Burnish does not share. The first line in is the settings; then

    {"op": "generate", "requests": [{"id", "prompt", "temperature", "top_p", "top_k", "max_tokens", "stop", "seed"}], "stop_ids"}
        -> {"id", "tokens", "logprobs"} as each ends, then {"end": true}
    {"op": "score", "requests": [{"id", "prompt", "from"}]}
        -> {"id", "logprobs", "ranks"} of the prompt's tokens from position "from" on, then {"end": true}
    {"op": "weights", "folder", "sums": {name: [sum, sum of squares]}} -> {"end": true}: weights taken and found to be those

What goes wrong is answered with {"error": text}.
"""

import json
import math
import os
import sys
from typing import Any

# What sums over bf16 or float32 numbers, added in another order in float64, may differ by.
TOLERANCE = 1e-9
# What vLLM holds as one weight, and checkpoints as several.
FUSED = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "gate_up_proj": ("gate_proj", "up_proj")}


def main() -> None:
    """Serve until the input ends."""
    # Libraries print to standard output; the protocol keeps a copy of it, and they get standard error.
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    lines = sys.stdin

    def say(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")

    settings = json.loads(lines.readline())
    try:
        server = Server(settings)
        server.check_weights(settings["sums"])
    except (ImportError, RuntimeError, ValueError, OSError) as error:
        say(error=f"{type(error).__name__}: {error}")
        return
    say(ready=True)
    for line in lines:
        message = json.loads(line)
        try:
            getattr(server, message.pop("op"))(say, **message)
            say(end=True)
        except (RuntimeError, ValueError, OSError) as error:
            say(error=f"{type(error).__name__}: {error}")


class Server:
    """One engine. settings: folder, dtype, context, slots."""

    def __init__(self, settings: dict[str, Any]) -> None:
        from vllm import LLM

        self.llm = LLM(
            settings["folder"], dtype=settings["dtype"], max_model_len=settings["context"], max_num_seqs=settings["slots"],
            logprobs_mode="processed_logprobs", enable_prefix_caching=True, disable_log_stats=True,
            trust_remote_code=False, load_format="safetensors",
        )  # fmt: skip

    def generate(self, say: Any, requests: list[dict[str, Any]], stop_ids: list[int]) -> None:
        """Sample replies; each is told as it ends."""
        from vllm import SamplingParams

        for request in requests:
            stops = request["stop"]
            params = SamplingParams(
                temperature=request["temperature"], top_p=request["top_p"], top_k=request["top_k"] or -1,
                max_tokens=request["max_tokens"], seed=request["seed"], stop=stops or None, stop_token_ids=stop_ids,
                ignore_eos=True, logprobs=0, detokenize=bool(stops), skip_special_tokens=False,
            )  # fmt: skip
            self._add(request["id"], request["prompt"], params)
        for output in self._ended():
            reply = output.outputs[0]
            logprobs = [place[token].logprob for token, place in zip(reply.token_ids, reply.logprobs, strict=True)]
            say(id=int(output.request_id), tokens=list(reply.token_ids), logprobs=logprobs)

    def score(self, say: Any, requests: list[dict[str, Any]]) -> None:
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
            say(id=int(output.request_id), logprobs=[f.logprob for f in found], ranks=[f.rank for f in found])

    def weights(self, say: Any, folder: str, sums: dict[str, list[float]]) -> None:
        """Take the weights of a folder in place; RuntimeError when what is held then is something else."""
        self.llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        self.llm.reset_prefix_cache()
        self.check_weights(sums)

    def check_weights(self, sums: dict[str, list[float]]) -> None:
        """RuntimeError unless the weights held have those sums, whatever their layout.

        On a CPU vLLM packs its linear layers away, so there embeddings and norms are compared: every optimizer step moves them.
        """
        compared = 0
        for name, found in self.llm.apply_model(held_sums)[0].items():
            parts = [part for part in parts_of(name) if part in sums]
            if not parts:
                continue
            compared += 1
            for what, place in (("sum", 0), ("sum of squares", 1)):
                want = math.fsum(sums[part][place] for part in parts)
                scale = math.fsum(sums[part][1] for part in parts)
                if not math.isclose(want, found[place], rel_tol=TOLERANCE, abs_tol=TOLERANCE * (1 + scale)):
                    raise RuntimeError(f"the {what} of {name} is {found[place]!r} in vLLM and {want!r} in the policy")
        if not compared:
            raise RuntimeError(
                "no weight has a name that the policy has too, so it cannot be known whether they are current"
            )

    def _add(self, name: int, prompt: list[int], params: Any) -> None:
        self.llm.llm_engine.add_request(str(name), {"prompt_token_ids": prompt}, params)

    def _ended(self) -> Any:
        engine = self.llm.llm_engine
        while engine.has_unfinished_requests():
            yield from (output for output in engine.step() if output.finished)


def held_sums(model: Any) -> dict[str, tuple[float, float]]:
    """Sum and sum of squares, in float64, of every weight that is still there under its name."""
    held = {name: weight.detach().double() for name, weight in model.named_parameters() if weight.numel()}
    return {name: (float(w.sum()), float((w * w).sum())) for name, w in held.items()}


def parts_of(name: str) -> list[str]:
    """The checkpoint's names of what vLLM holds under one."""
    for fused, parts in FUSED.items():
        if f".{fused}." in name:
            return [name.replace(fused, part) for part in parts]
    return [name]


if __name__ == "__main__":
    main()
