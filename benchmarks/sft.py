"""SFT throughput on CPU: Burnish's learner beside TRL's SFTTrainer, same rows, same model, interleaved runs.

    python benchmarks/sft.py --model DIR [--rows 96] [--repeats 3]

Both sides train the same conversations (generated word problems and instruction prompts with worked replies) for two epochs
in a process of their own; the second epoch is timed. TRL runs with bf16, packed (its best setting here) and padded. Tokens
are the real tokens of the rows, padding not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SIDES = ("burnish", "trl-packed", "trl-padded")
GLOBAL_BATCH = 16
MAX_TOKENS = 512


def conversations(count: int) -> list[list[dict[str, str]]]:
    from burnish.core.types import plain
    from burnish.data.sources.arithmetic import Arithmetic
    from burnish.data.sources.instructions import Instructions
    from burnish.data.sources.worked import Worked

    sources = (Worked(Arithmetic("train", n=count // 2)), Worked(Instructions("train", n=count - count // 2)))
    return [plain(row.messages) for source in sources for row in source.rows(None)]


def run_trl(model_folder: str, rows: list[list[dict[str, str]]], tokens: int, packed: bool) -> dict[str, Any]:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    clock: list[float] = []

    class Epochs(TrainerCallback):
        def on_epoch_begin(self, *args: Any, **kwargs: Any) -> None:
            clock.append(time.perf_counter())

        def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
            clock.append(time.perf_counter())

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    with tempfile.TemporaryDirectory() as out:
        config = SFTConfig(
            output_dir=out, num_train_epochs=2, learning_rate=1e-5, bf16=True, use_cpu=True, packing=packed, max_length=MAX_TOKENS,
            per_device_train_batch_size=4, gradient_accumulation_steps=1 if packed else GLOBAL_BATCH // 4, gradient_checkpointing=False,
            save_strategy="no", report_to=[], logging_steps=1000, disable_tqdm=True, dataloader_pin_memory=False, seed=0,
        )  # fmt: skip
        data = Dataset.from_list([{"messages": messages} for messages in rows])
        trainer = SFTTrainer(
            model,
            args=config,
            train_dataset=data,
            processing_class=AutoTokenizer.from_pretrained(model_folder),
            callbacks=[Epochs()],
        )
        trainer.train()
    return {"seconds": clock[3] - clock[2], "tokens": tokens}


def run_burnish(model_folder: str, rows: list[list[dict[str, str]]], tokens: int) -> dict[str, Any]:
    from burnish.core.rows import messages_from
    from burnish.losses.batch import TokenBatch
    from burnish.losses.sft import SFTLoss
    from burnish.model.policy import Policy
    from burnish.pipeline.machine import laptop
    from burnish.train.learner import AdamW, Learner
    from burnish.train.rows import split, stack

    machine = laptop()
    policy = Policy.load(Path(model_folder), machine, trainable=True)
    learner = Learner(policy, machine, AdamW())
    rendered = [policy.renderer.render(messages_from(messages)) for messages in rows]
    for _ in range(2):
        start = time.perf_counter()
        for at in range(0, len(rendered), GLOBAL_BATCH):
            rows_now = rendered[at : at + GLOBAL_BATCH]
            parts = split(rows_now, [len(row.token_ids) for row in rows_now], machine.micro_tokens)
            learner.forward_backward([TokenBatch(stack(list(part))) for part in parts], SFTLoss())
            learner.step(1e-5)
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "tokens": tokens}


def child(side: str, model_folder: str, count: int) -> dict[str, Any]:
    import torch
    from transformers import AutoTokenizer

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    rows = conversations(count)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokens = sum(len(tokenizer.apply_chat_template(m, tokenize=True, return_dict=False)) for m in rows)
    if side == "burnish":
        return run_burnish(model_folder, rows, tokens)
    return run_trl(model_folder, rows, tokens, packed=side == "trl-packed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a Hugging Face causal LM")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES)
    parser.add_argument("--side", choices=SIDES, help="measure one side in this process")
    args = parser.parse_args()
    if args.side:
        print("RESULT " + json.dumps(child(args.side, args.model, args.rows)))
        return
    from burnish.pipeline.machine import laptop

    rates: dict[str, list[float]] = {side: [] for side in args.sides}
    for repeat in range(args.repeats):
        for side in args.sides:
            command = [sys.executable, __file__, "--model", args.model, "--rows", str(args.rows), "--side", side]
            environment = {**os.environ, **laptop().environment()}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
            lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
            if not lines:
                sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
            result = json.loads(lines[0][7:])
            rates[side].append(result["tokens"] / result["seconds"])
            print(f"run {repeat + 1}: {side:12} {rates[side][-1]:8.1f} tokens/s", flush=True)
    from record import write

    write(
        "sft",
        title="SFT on CPU: tokens/s of real tokens, SmolLM2-135M, two threads",
        settings={
            "rows": args.rows,
            "global_batch": GLOBAL_BATCH,
            "max_tokens": MAX_TOKENS,
            "compute": "bf16, fp32 masters",
            "epoch timed": 2,
        },
        rates=rates,
        unit="tokens/s",
        baseline="trl-packed",
        packages=("torch", "transformers", "trl"),
        command=f"python benchmarks/sft.py --model FOLDER --rows {args.rows} --repeats {args.repeats}",
    )


if __name__ == "__main__":
    main()
