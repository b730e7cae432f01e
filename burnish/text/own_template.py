"""A tokenizer's own chat template: what it writes around replies is found by asking it, never by reading its source."""

from __future__ import annotations

import re
from typing import Any

from burnish.core.types import Message, Messages, plain, user
from burnish.errors import ModelError
from burnish.text.template import Piece, Train, trained_of

_WORD = "Zq7reply7qZ"
# Some templates write today's date; Llama 3.1 and 3.2 write this one where no date is known.
_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}{{ '' }}"


class OwnTemplate:
    """The chat template that a tokenizer carries, with the same methods as a ChatFormat.

    end:  the text of the token that ends a turn, or "" where the template writes none.
    lead: white space the template puts before a reply, after the generation prompt; trained, for the model must write it.
    tail: the same between a reply and its end of turn.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._template = _fixed_template(tokenizer)
        special = {token.content for token in tokenizer.added_tokens_decoder.values()} | set(
            tokenizer.all_special_tokens
        )
        spelled = sorted((token for token in special if token.strip()), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, spelled)) or "(?!)")
        self.end, self.lead, self.tail = "", "", ""
        self._keeps_left = self._keeps_right = True
        self._probe()

    def pieces(self, messages: Messages, *, train: Train | None) -> list[Piece]:
        """The conversation in pieces; train=None: none is trained and the last one ends with the generation prompt.

        Raises ModelError when the template refuses the conversation, or writes a turn to be trained otherwise than it
        prompts for it, so that what the model should learn cannot be told.
        """
        text = self._render(messages, ask=train is None)
        replies = [i for i, message in enumerate(messages) if message.role == "assistant"]
        trained = trained_of(replies, train)
        found: list[Piece] = []
        at = 0
        for i in replies:
            # Only what a template does with earlier turns makes rendering the prompt of each one necessary.
            prompt = self._render(messages[:i], ask=True) if i else ""
            reply = self.reply(messages[i].content)
            exact = len(prompt) >= at and text.startswith(prompt + reply) and bool(self.end)
            if exact:
                found += [Piece(text[at : len(prompt)], False), Piece(reply, i in trained)]
                at = len(prompt) + len(reply)
            elif i in trained:
                raise self._unmaskable(i, prompt, reply, text)
        found.append(Piece(text[at:], False))
        return [piece for piece in found if piece.text]

    def reply(self, text: str) -> str:
        """What the model writes for this reply: its text and the end of turn."""
        if not self._keeps_left:
            text = text.lstrip()
        if not self._keeps_right:
            text = text.rstrip()
        return self.lead + text + self.tail + self.end

    def _probe(self) -> None:
        """Learn lead, tail, end and trimming from one made-up exchange."""
        question = user("Zq7question7qZ")
        prompt = self._render(question, ask=True)
        text = self._render((*question, Message("assistant", f"  {_WORD}  ")), ask=False)
        before, found, behind = text.partition(_WORD)
        if not found:
            return
        self._keeps_left, self._keeps_right = before.endswith("  "), behind.startswith("  ")
        before = before[:-2] if self._keeps_left else before
        behind = behind[2:] if self._keeps_right else behind
        match = self._special.search(behind)
        if match and not behind[: match.start()].strip():
            self.end, self.tail = match[0], behind[: match.start()]
        if before.startswith(prompt) and not before[len(prompt) :].strip():
            self.lead = before[len(prompt) :]

    def _render(self, messages: Messages, *, ask: bool) -> str:
        from jinja2 import TemplateError

        try:
            text: str = self._tokenizer.apply_chat_template(
                plain(messages), chat_template=self._template, tokenize=False, add_generation_prompt=ask
            )
        except (TemplateError, TypeError, ValueError, KeyError, IndexError) as error:
            roles = ", ".join(message.role for message in messages) or "no turns"
            raise ModelError(
                f"The tokenizer's chat template refuses a conversation of {roles}: {error}\n"
                "  Change the order of the turns (a system turn may have to go into the first user turn), or give another format: "
                "Renderer(tokenizer, TULU)."
            ) from error
        return text

    def _unmaskable(self, i: int, prompt: str, reply: str, text: str) -> ModelError:
        if not self.end:
            what = "ends replies with no special token, so a model could not learn to stop"
        elif not text.startswith(prompt):
            what = f"drops or changes what comes before turn {i + 1} once that turn is answered"
        else:
            there = text[len(prompt) : len(prompt) + len(reply)]
            what = f"writes {there[:60]!r} where it prompts for turn {i + 1}, {reply[:60]!r}"
        return ModelError(
            f"The tokenizer's chat template {what}; training on it would teach other tokens than are asked for later.\n"
            '  Train on the last turn only (train="last") if earlier turns are the trouble, or give a format: Renderer(tokenizer, TULU).'
        )


def _fixed_template(tokenizer: Any) -> str:
    """The tokenizer's template, with the date fixed: tokens must not depend on the day."""
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError(
            "The tokenizer has no chat template, so conversations have no text form.\n"
            "  Give one: Renderer(tokenizer, TULU), with a format from burnish.text.template, or use a model that has one."
        )
    try:
        template: str = tokenizer.get_chat_template()
    except ValueError as error:
        raise ModelError(
            f"The tokenizer has several chat templates ({', '.join(tokenizer.chat_template)}) and none of them is the default.\n"
            "  Set tokenizer.chat_template to the one that is meant, or give a format: Renderer(tokenizer, TULU)."
        ) from error
    return _DATE + template if "strftime_now" in template else template
