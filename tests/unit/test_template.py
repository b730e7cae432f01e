"""Our formats write what the published templates write, and the templates we export write what our formats write."""

from __future__ import annotations

import pytest
from chat_models import MODELS, ChatModel, tokenizer_of

from burnish.core.types import Message, Messages, plain, user
from burnish.errors import ModelError
from burnish.text.render import Renderer
from burnish.text.template import GEMMA, SMOLLM2, TULU

ONE = (Message("user", " Hello\n"), Message("assistant", '  Hi, "you" {eos} {bos} \\n é🙂\n'))
TWO = (*ONE, Message("user", "\tMore?"), Message("assistant", "No."))
WITH_SYSTEM = (Message("system", " Be brief. "), *TWO)
CONVERSATIONS = {
    "one": ONE,
    "two": TWO,
    "system": WITH_SYSTEM,
    "asked": TWO[:3],
    "empty reply": (TWO[0], Message("assistant", "")),
}


def fits(model: ChatModel, messages: Messages) -> bool:
    return model.ours.system is not None or messages[0].role != "system"


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("ask", [False, True])
def test_format_template_and_export_agree(model: ChatModel, messages: Messages, ask: bool) -> None:
    if not fits(model, messages) or (ask and messages[-1].role != "user"):
        return
    theirs = tokenizer_of(model)
    expected = theirs.apply_chat_template(plain(messages), tokenize=False, add_generation_prompt=ask)
    bound = model.ours.bind(model.bos or "", model.eos)
    assert "".join(piece.text for piece in bound.pieces(messages, train=None if ask else "assistant")) == expected
    exported = tokenizer_of(model, model.ours.jinja())
    assert exported.apply_chat_template(plain(messages), tokenize=False, add_generation_prompt=ask) == expected


def test_tulu_is_written_as_published() -> None:
    """Content, end of text, newline; the last reply ends at the end of text."""
    text = "".join(piece.text for piece in TULU.bind("<B>", "<E>").pieces((WITH_SYSTEM[0], *user("q"), Message("assistant", "a"), *user("r"), Message("assistant", "b")), train="last"))  # fmt: skip
    assert text == "<B><|system|>\n Be brief. \n<|user|>\nq\n<|assistant|>\na<E>\n<|user|>\nr\n<|assistant|>\nb<E>"
    ask = "".join(piece.text for piece in TULU.bind("<B>", "<E>").pieces((*user("q"), Message("assistant", "a"), *user("r")), train=None))  # fmt: skip
    assert ask == "<B><|user|>\nq\n<|assistant|>\na<E>\n<|user|>\nr\n<|assistant|>\n"


def test_trained_pieces_are_replies_with_their_end_of_turn() -> None:
    bound = TULU.bind("<B>", "<E>")
    assert [p.text for p in bound.pieces(TWO, train="assistant") if p.trained] == [TWO[1].content + "<E>", "No.<E>"]
    assert [p.text for p in bound.pieces(TWO, train="last") if p.trained] == ["No.<E>"]
    assert [p.text for p in bound.pieces(TWO[:3], train=None) if p.trained] == []


def test_contents_that_look_like_placeholders_stay() -> None:
    assert "{eos} {bos}" in "".join(p.text for p in TULU.bind("<B>", "<E>").pieces(ONE, train="last"))


def test_a_default_system_turn_gives_way_to_a_given_one() -> None:
    text = "".join(p.text for p in SMOLLM2.pieces(WITH_SYSTEM, train="last"))
    assert "SmolLM" not in text
    assert "SmolLM" in "".join(p.text for p in SMOLLM2.pieces(ONE, train="last"))


@pytest.mark.parametrize("own", [True, False], ids=["own template", "our format"])
def test_a_system_turn_where_there_is_none_is_an_error(own: bool) -> None:
    model = next(m for m in MODELS if m.name == "gemma")
    renderer = Renderer(tokenizer_of(model), None if own else GEMMA)
    with pytest.raises(ModelError, match=r"[Ss]ystem"):
        renderer.render(WITH_SYSTEM)


@pytest.mark.parametrize("own", [True, False], ids=["own template", "our format"])
def test_turns_that_do_not_alternate_are_an_error(own: bool) -> None:
    model = next(m for m in MODELS if m.name == "mistral")
    renderer = Renderer(tokenizer_of(model), None if own else model.ours)
    with pytest.raises(ModelError, match=r"alternate|user, assistant, user"):
        renderer.render((*user("a"), *user("b"), Message("assistant", "c")))


def test_exported_templates_refuse_what_the_format_refuses() -> None:
    model = next(m for m in MODELS if m.name == "gemma")
    exported = tokenizer_of(model, GEMMA.jinja())
    with pytest.raises(Exception, match="System role not supported"):
        exported.apply_chat_template(plain(WITH_SYSTEM), tokenize=False)
    with pytest.raises(Exception, match="alternate"):
        exported.apply_chat_template(plain((*user("a"), *user("b"))), tokenize=False)
