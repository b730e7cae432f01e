"""A toy model from a seed: a plain Hugging Face folder with a tiny Llama and a byte-level tokenizer, made in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# ChatML in the shape of SmolLM2's template, without its default system prompt.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Each word becomes one token by merging its letters from the left; "_" stands for a leading space.
WORDS = (
    "system user assistant _the _and _of _to _in _is _that _for _it _you _with _are _have _this _from _how _many _what _each "
    "_more _than _total _left _has _she _he _they _answer _number _word _words _sentence _write _make _all _at _one _two "
    "_three _apple _apples _book _books _day _days _buys _gives _sells _cost _then _so _left _your _reply _least _about"
)


def make_toy(folder: Path, *, seed: int = 0, **sizes: int) -> Path:
    """Write a tiny Llama (about 0.2 M parameters) with tokenizer and chat template to `folder`; returns the folder.

    The weights come from `seed`; the vocabulary is always the same. `sizes` overrides fields of LlamaConfig
    (hidden_size, num_hidden_layers …).
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM
    from transformers.utils import logging

    tokenizer = toy_tokenizer()
    shape: dict[str, Any] = {
        "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 2048, "vocab_size": len(tokenizer),
        "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2,
        # Wider than usual, so that different tokens get visibly different probabilities.
        "initializer_range": 0.1,
    }  # fmt: skip
    config = LlamaConfig(**{**shape, **sizes})
    bar = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = LlamaForCausalLM(config)
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    finally:
        if bar:
            logging.enable_progress_bar()
    return folder


def toy_tokenizer() -> Any:
    """A byte-level BPE tokenizer: three special tokens, 256 bytes, and the merges that spell WORDS."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    for word in WORDS.split():
        letters = word.replace("_", "\u0120")  # byte-level BPE writes a space as U+0120
        for i in range(1, len(letters)):
            if letters[: i + 1] not in pieces:
                merges.append((letters[:i], letters[i]))
                pieces.append(letters[: i + 1])
    core = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=merges))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|im_end|>",
        unk_token="<|endoftext|>", chat_template=TEMPLATE, clean_up_tokenization_spaces=False,
    )  # fmt: skip
