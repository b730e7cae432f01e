"""Chat formats as data: how a conversation is written as one text, and which parts of it a model is trained on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from burnish.core.types import Messages
from burnish.errors import ModelError

# Which assistant turns are trained: all, the last, or those of these numbers (the first assistant turn is 0).
Train = Literal["assistant", "last"] | tuple[int, ...]


class Piece(NamedTuple):
    """A stretch of a rendered conversation. Pieces are cut at both ends of every assistant turn."""

    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How turns are written. In every field {bos} and {eos} stand for the tokenizer's own tokens, or for nothing.

    user, system:   the text before and after such a turn's content; system=None: the format has no system turns.
    assistant:      the text before the reply, which is also the generation prompt, and the end of turn that the model learns
                    to write: one token.
    after:          what follows an assistant's end of turn; never trained. `after_last`: also at the end of the conversation.
    start, close:   the text before the first turn, and after the last unless a reply is asked for.
    default_system: the system turn written where a conversation has none.
    trim:           white space around contents is dropped.
    alternate:      turns must go user, assistant, user …, after an optional system turn.
    """

    name: str
    user: tuple[str, str]
    assistant: tuple[str, str]
    system: tuple[str, str] | None = None
    after: str = ""
    after_last: bool = True
    start: str = "{bos}"
    close: str = ""
    default_system: str | None = None
    trim: bool = False
    alternate: bool = False

    @property
    def end(self) -> str:
        """The end-of-turn token's text."""
        return self.assistant[1]

    def bind(self, bos: str, eos: str) -> ChatFormat:
        """The format with a tokenizer's own tokens in place of {bos} and {eos}."""

        def fill(text: str) -> str:
            return text.replace("{bos}", bos).replace("{eos}", eos)

        return dataclasses.replace(
            self,
            user=(fill(self.user[0]), fill(self.user[1])),
            assistant=(fill(self.assistant[0]), fill(self.assistant[1])),
            system=self.system and (fill(self.system[0]), fill(self.system[1])),
            after=fill(self.after),
            start=fill(self.start),
            close=fill(self.close),
        )

    def pieces(self, messages: Messages, *, train: Train | None) -> list[Piece]:
        """The conversation in pieces; train=None: none is trained and the last one ends with the generation prompt.

        Raises ModelError for a system turn or an order of turns that the format does not have.
        """
        messages = self._checked(messages)
        replies = [i for i, message in enumerate(messages) if message.role == "assistant"]
        trained = trained_of(replies, train)
        found: list[Piece] = []
        open_text = self.start
        for i, message in enumerate(messages):
            if message.role != "assistant":
                before, behind = self.user if message.role == "user" else self._system_pair()
                open_text += before + self._content(message.content) + behind
                continue
            found.append(Piece(open_text + self.assistant[0], False))
            found.append(Piece(self.reply(message.content), i in trained))
            follows = self.after_last or i + 1 < len(messages) or train is None
            open_text = self.after if follows else ""
        open_text += self.assistant[0] if train is None else self.close
        found.append(Piece(open_text, False))
        return [piece for piece in found if piece.text]

    def reply(self, text: str) -> str:
        """What the model writes for this reply: its text and the end of turn."""
        return self._content(text) + self.end

    def jinja(self) -> str:
        """The same format as a chat template for tokenizers of Hugging Face transformers."""
        content = "message['content'] | trim" if self.trim else "message['content']"
        before, end = _literal(self.assistant[0]), _literal(self.assistant[1])
        after = (
            _literal(self.after)
            if self.after_last
            else f"('' if loop.last and not add_generation_prompt else {_literal(self.after)})"
        )
        default = ""
        if self.default_system is not None:
            pair = self._system_pair()
            default = (
                "{% if messages[0]['role'] != 'system' %}{{ "
                + _literal(pair[0] + self.default_system + pair[1])
                + " }}{% endif %}"
            )
        system = "{{ raise_exception('System role not supported') }}"
        if self.system is not None:
            system = f"{{{{ {_literal(self.system[0])} + ({content}) + {_literal(self.system[1])} }}}}"
        order = ""
        if self.alternate:
            order = (
                "{% set turns = messages | rejectattr('role', 'equalto', 'system') | list %}{% for message in turns %}"
                "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
                "{{ raise_exception('Roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% endfor %}"
            )
        return (
            f"{order}{{{{ {_literal(self.start)} }}}}{default}{{% for message in messages %}}"
            f"{{% if message['role'] == 'system' %}}{system}"
            f"{{% elif message['role'] == 'user' %}}{{{{ {_literal(self.user[0])} + ({content}) + {_literal(self.user[1])} }}}}"
            f"{{% elif message['role'] == 'assistant' %}}{{{{ {before} + ({content}) + {end} + {after} }}}}"
            "{% else %}{{ raise_exception('Unknown role ' + message['role']) }}{% endif %}{% endfor %}"
            f"{{% if add_generation_prompt %}}{{{{ {before} }}}}{{% else %}}{{{{ {_literal(self.close)} }}}}{{% endif %}}"
        )

    def _content(self, text: str) -> str:
        return text.strip() if self.trim else text

    def _system_pair(self) -> tuple[str, str]:
        if self.system is None:
            raise ModelError(
                f"The chat format {self.name!r} has no system turns, but the conversation has one.\n"
                "  Put its text at the start of the first user turn, or choose a format that has them."
            )
        return self.system

    def _checked(self, messages: Messages) -> Messages:
        """The messages with the default system turn where one is due; refuses orders that the format does not have."""
        turns = [message.role for message in messages if message.role != "system"]
        if self.alternate and any((role == "user") != (i % 2 == 0) for i, role in enumerate(turns)):
            raise ModelError(
                f"The chat format {self.name!r} wants turns that go user, assistant, user …, but got {', '.join(turns)}.\n"
                "  Drop or merge the turns that break the order, or choose another format."
            )
        if self.default_system is not None and not (messages and messages[0].role == "system"):
            return (type(messages[0])("system", self.default_system), *messages) if messages else messages
        return messages


def trained_of(replies: Sequence[int], train: Train | None) -> Sequence[int]:
    """Those of the assistant turns, given by their places in the conversation, that are trained."""
    if isinstance(train, tuple):
        return [replies[number] for number in train if number < len(replies)]
    return {None: [], "assistant": replies, "last": replies[-1:]}[train]


def _literal(text: str) -> str:
    """A jinja expression for a text with {bos} and {eos} in it."""
    for mark, name in (("{bos}", "bos_token"), ("{eos}", "eos_token")):
        if mark in text:
            first, _, rest = text.partition(mark)
            parts = [_literal(first)] if first else []
            parts.append(f"({name} or '')")
            parts += [_literal(rest)] if rest else []
            return " + ".join(parts)
    return json.dumps(text, ensure_ascii=False)


# Tülu 3 (arXiv:2411.15124; open-instruct's "tulu" template): roles are plain text, and the newline after an end of turn is left
# out at the end of the conversation.
TULU = ChatFormat(
    "tulu",
    system=("<|system|>\n", "\n"),
    user=("<|user|>\n", "\n"),
    assistant=("<|assistant|>\n", "{eos}"),
    after="\n",
    after_last=False,
)
CHATML = ChatFormat(
    "chatml",
    system=("<|im_start|>system\n", "<|im_end|>\n"),
    user=("<|im_start|>user\n", "<|im_end|>\n"),
    assistant=("<|im_start|>assistant\n", "<|im_end|>"),
    after="\n",
    start="",
)
SMOLLM2 = dataclasses.replace(
    CHATML,
    name="smollm2",
    default_system="You are a helpful AI assistant named SmolLM, trained by Hugging Face",
)
QWEN2 = dataclasses.replace(CHATML, name="qwen2", default_system="You are a helpful assistant.")
QWEN25 = dataclasses.replace(
    CHATML, name="qwen2.5", default_system="You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
)
LLAMA3 = ChatFormat(
    "llama3",
    system=("<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"),
    user=("<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
    assistant=("<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"),
    trim=True,
)
ZEPHYR = ChatFormat(
    "zephyr",
    system=("<|system|>\n", "{eos}\n"),
    user=("<|user|>\n", "{eos}\n"),
    assistant=("<|assistant|>\n", "{eos}"),
    after="\n",
    start="",
)
GEMMA = ChatFormat(
    "gemma",
    user=("<start_of_turn>user\n", "<end_of_turn>\n"),
    assistant=("<start_of_turn>model\n", "<end_of_turn>"),
    after="\n",
    trim=True,
    alternate=True,
)
MISTRAL = ChatFormat("mistral", user=("[INST] ", " [/INST]"), assistant=("", "{eos}"), alternate=True)
PHI3 = ChatFormat(
    "phi3",
    system=("<|system|>\n", "<|end|>\n"),
    user=("<|user|>\n", "<|end|>\n"),
    assistant=("<|assistant|>\n", "<|end|>"),
    after="\n",
    start="",
    close="{eos}",
)
