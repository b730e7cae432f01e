"""Conversations to token ids and back, with a mask over the tokens that are trained."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from burnish.core.types import Messages
from burnish.errors import ModelError
from burnish.text.own_template import OwnTemplate
from burnish.text.template import ChatFormat, Piece, Train


@dataclass(frozen=True, slots=True)
class Rendered:
    """Token ids, and for each whether it is trained. The first never is: nothing comes before it."""

    token_ids: tuple[int, ...]
    mask: tuple[bool, ...]


class Renderer:
    """Turns conversations into the tokens a model sees, in training and in generation alike.

    With a ChatFormat, conversations are written in it, and `tokenizer` is a copy whose chat template is that format, so that a
    saved model carries it. Without one, the tokenizer's own template is used. Raises ModelError when there is neither, or when
    the format ends turns with something that is not one token of this tokenizer.

    Tokens are those of the template's own text. Where a token would cross the border between a prompt and its reply, the two are
    tokenised apart, because that is what the model meets when it generates.
    """

    def __init__(self, tokenizer: Any, chat_format: ChatFormat | None = None) -> None:
        self.tokenizer = tokenizer
        self._layout: ChatFormat | OwnTemplate
        if chat_format is None:
            self._layout = OwnTemplate(tokenizer)
        else:
            self._layout = chat_format.bind(tokenizer.bos_token or "", tokenizer.eos_token or "")
            self.tokenizer = copy.copy(tokenizer)
            self.tokenizer.chat_template = chat_format.jinja()
        self.template_name = chat_format.name if chat_format else str(getattr(tokenizer, "name_or_path", "") or "own")
        self.stop_ids = self._find_stop_ids(chat_format)
        self._anchor = self._find_anchor()

    def render(self, messages: Messages, *, train: Train = "assistant") -> Rendered:
        """The whole conversation; trained are all assistant turns, only the last, or those of the given numbers, each with
        its end-of-turn token.

        Raises ModelError when nothing would be trained, or when the tokenizer's template does not tell what to train.
        """
        pieces = self._layout.pieces(messages, train=train)
        if not any(piece.trained for piece in pieces):
            if isinstance(train, tuple) and any(message.role == "assistant" for message in messages):
                raise ModelError(
                    f"None of the assistant turns {train} of the conversation is there, so nothing in it would be trained.\n"
                    "  Number them from 0: the first assistant turn is 0."
                )
            roles = ", ".join(message.role for message in messages) or "no turns"
            raise ModelError(
                f"A conversation of {roles} has no assistant turn, so nothing in it would be trained.\n"
                "  Drop such rows, or render them with prompt() if a reply is wanted."
            )
        ids: list[int] = []
        mask: list[bool] = []
        for part, piece in zip(self._tokenize(pieces), pieces, strict=True):
            ids += part
            mask += [piece.trained] * len(part)
        mask[0] = False
        return Rendered(tuple(ids), tuple(mask))

    def prompt(self, messages: Messages) -> tuple[int, ...]:
        """The tokens that ask for the next reply; they end with the generation prompt."""
        pieces = self._layout.pieces(messages, train=None)
        return tuple(token for part in self._tokenize(pieces) for token in part)

    def reply(self, prompt: Messages, text: str) -> Rendered:
        """prompt(messages), then the reply and its end-of-turn token; only those are trained."""
        if not self._layout.end:
            raise ModelError(
                "The tokenizer's chat template ends replies with no special token, so a model could not learn to stop.\n"
                "  Give a format: Renderer(tokenizer, TULU)."
            )
        pieces = self._layout.pieces(prompt, train=None)
        known = [token for part in self._tokenize(pieces) for token in part]
        ids = self._extend(known, "".join(piece.text for piece in pieces), self._layout.reply(text))
        mask = [i >= max(len(known), 1) for i in range(len(ids))]
        return Rendered(tuple(ids), tuple(mask))

    def begun(
        self, messages: Messages, start: str, texts: Sequence[str] = ()
    ) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """The tokens of prompt(messages) with `start`, the beginning of a reply, behind it; and of each text that could go on.

        Where a token would cross the border in front of `start` or of a text, both sides are tokenised apart.
        """
        pieces = self._layout.pieces(messages, train=None)
        ids = [token for part in self._tokenize(pieces) for token in part]
        done = "".join(piece.text for piece in pieces)
        if start:
            ids, done = self._extend(ids, done, start), done + start
        wholes = self._encode([done + text for text in texts])
        longer = [
            whole if whole[: len(ids)] == ids else self._extend(ids, done, text)
            for whole, text in zip(wholes, texts, strict=True)
        ]
        return tuple(ids), tuple(tuple(each[len(ids) :]) for each in longer)

    def follow(self, messages: Messages, last: int) -> tuple[int, ...]:
        """The tokens that come behind a turn of the model when it is answered, so that nothing before them is written anew:
        the end of its turn, unless the turn ended with that, what follows in the template, and the prompt for its next turn.

        messages: the conversation; the last two turns are the model's and the answer. last: the last token of the model's turn.
        Raises ModelError when the template would write what came before otherwise than the model saw and wrote it.
        """
        before, wrote = messages[:-2], messages[-2].content
        asked, whole = (
            "".join(piece.text for piece in self._layout.pieces(part, train=None)) for part in (before, messages)
        )
        seen, end = asked + self._layout.reply(wrote), self._layout.end
        if not end or not whole.startswith(seen):
            raise self._rewritten(seen, whole)
        # Behind some text, as in the conversation; which one makes no difference to what follows an end of turn.
        known = self._encode(["x" + end])[0]
        (ends,) = self._encode([end])
        return (*([] if [last] == ends else ends), *self._extend(known, f"x{end}", whole[len(seen) :])[len(known) :])

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, special tokens left out."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    def _rewritten(self, seen: str, whole: str) -> ModelError:
        if not self._layout.end:
            what = "ends the model's turns with no special token, so nothing tells where one ends"
        else:
            at = next((i for i, (a, b) in enumerate(zip(seen, whole, strict=False)) if a != b), len(whole))
            what = (
                f"changes an earlier turn once it is answered: the model saw {seen[at : at + 60]!r} where the template would "
                f"write {whole[at : at + 60]!r}"
            )
        return ModelError(
            f"The chat template {self.template_name!r} {what}. A conversation of several turns must go on from the tokens "
            "that were sampled.\n"
            "  Use a template that keeps earlier turns as they are (some drop what stands in <think>), for example a start model "
            "saved with the format CHATML or TULU of burnish.text.template, or ask for one turn: leave out environments=."
        )

    def _tokenize(self, pieces: list[Piece]) -> list[list[int]]:
        """The token ids of each piece; together, wherever no token crosses a border, those of the whole text."""
        texts = [piece.text for piece in pieces]
        if len(texts) < 2:
            return self._encode(texts)
        whole, *parts = self._encode(["".join(texts), *texts])
        if whole == [token for part in parts for token in part]:
            return parts
        parts, done = [], ""
        ids: list[int] = []
        for text in texts:
            longer = self._extend(ids, done, text)
            parts.append(longer[len(ids) :])
            ids, done = longer, done + text
        return parts

    def _extend(self, ids: list[int], done: str, text: str) -> list[int]:
        """The token ids of `done + text` that begin with `ids`, those of `done`."""
        (whole,) = self._encode([done + text])
        if whole[: len(ids)] == ids:
            return whole
        apart, anchor, anchored = self._encode([text, self._anchor, self._anchor + text])
        return ids + (anchored[len(anchor) :] if anchored[: len(anchor)] == anchor else apart)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        found: list[list[int]] = (
            self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] if texts else []
        )
        return found

    def _find_anchor(self) -> str:
        """A text to put before another so that it is tokenised as if in the middle; "" where the start is no special place.

        SentencePiece tokenizers add a space to the start of a text, which a reply in the middle of one does not have.
        """
        together, apart = self._encode(["\nx", "x"])
        return "" if together[-len(apart) :] == apart else "\n"

    def _find_stop_ids(self, chat_format: ChatFormat | None) -> frozenset[int]:
        """The end-of-turn token and the tokenizer's end of text."""
        end = self._layout.end
        ids = self._encode([end])[0] if end else []
        if chat_format is not None and len(ids) != 1:
            said = (
                f"ends turns with {end!r}, which is {len(ids)} tokens"
                if end
                else "ends turns with an eos token it lacks"
            )
            raise ModelError(
                f"The chat format {chat_format.name!r} does not fit this tokenizer: it {said}, so generation could not stop on it.\n"
                "  Choose a format whose end of turn the tokenizer has, or add that token to the tokenizer and the model."
            )
        eos = self.tokenizer.eos_token_id
        return frozenset([*(ids if len(ids) == 1 else []), *([] if eos is None else [eos])])
