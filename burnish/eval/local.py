"""A model folder on this machine as an answerer. Weights are loaded at the first question that no kept reply answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from burnish.errors import ModelError
from burnish.eval.model_answers import ModelAnswers
from burnish.eval.prompts import Overlong, Prompts
from burnish.eval.rewards import RewardAnswers
from burnish.eval.task import EvalTask
from burnish.model.folder import check_folder, has_template, is_reward_model
from burnish.pipeline.machine import Machine
from burnish.pipeline.progress import Console
from burnish.text.template import TULU

if TYPE_CHECKING:
    from burnish.rollout.engine import Engine


def local_answers(
    folder: Path, machine: Machine, console: Console, *, tasks: Sequence[EvalTask], overlong: Overlong, identity: str
) -> ModelAnswers | RewardAnswers:  # fmt: skip
    """The model in `folder` behind the machine's engine; a reward model as one. identity: its content, which replies are kept under.

    A model without a chat template is asked in Tülu 3's format, and the answers' notes say so. Raises ModelError for a folder
    that holds no model.
    """
    from burnish.text.render import Renderer

    check_folder(folder, template=False)
    if is_reward_model(folder):
        return RewardAnswers(folder, machine, console, identity=identity)
    chat_format, notes = None, []
    if not has_template(folder):
        chat_format = TULU
        asked = [task.name for task in tasks if task.chat]
        if asked:
            notes.append(
                f"the model has no chat template; {', '.join(asked)} asked in Tülu 3's chat format instead (<|user|>, <|assistant|>)"
            )
            console.line(f"  {notes[0]}")
    tokenizer, config = _read(folder)
    context = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 1 << 20)
    prompts = Prompts(Renderer(tokenizer, chat_format), context, overlong)
    return ModelAnswers(
        prompts, _once(folder, machine, console, chat_format), model=identity, kind=machine.engine, notes=notes
    )


def _once(folder: Path, machine: Machine, console: Console, chat_format: Any) -> Callable[[], Engine]:
    """A function that loads the model the first time it is called."""
    found: list[Engine] = []

    def engine() -> Engine:
        if not found:
            from burnish.model.policy import Policy
            from burnish.rollout.engines import make_engine

            found.append(make_engine(Policy.load(folder, machine, chat_format=chat_format), machine, console))
        return found[0]

    return engine


def _read(folder: Path) -> tuple[Any, Any]:
    """The tokenizer and the configuration."""
    from transformers import AutoConfig, AutoTokenizer

    try:
        return (
            AutoTokenizer.from_pretrained(folder, local_files_only=True),
            AutoConfig.from_pretrained(folder, local_files_only=True),
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{folder}: its tokenizer or configuration cannot be loaded: {error}\n"
            "  The folder must be what `save_pretrained` of transformers writes."
        ) from error
