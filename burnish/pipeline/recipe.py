"""Recipe files: found by path or name, loaded under a stable module name, their flags read from the signature."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from burnish.errors import RecipeError, nearest
from burnish.pipeline.stage import Stage

# In a checkout the recipes stand beside the package.
SHIPPED = Path(__file__).parents[2] / "recipes"


def find_recipe(spelling: str) -> Path:
    """The file that a person means by a path, or by the name of a file in `recipes/`.

    Raises RecipeError, with the nearest name, when there is none.
    """
    given = Path(spelling)
    if given.is_file():
        return given.resolve()
    known: dict[str, Path] = {}
    for folder in (Path("recipes"), SHIPPED):
        for file in sorted(folder.glob("*.py")):
            if not file.name.startswith("_"):
                known.setdefault(file.stem, file)
    stem = given.stem if given.suffix == ".py" else given.name
    if stem in known and given.parent in (Path("."), Path("recipes")):
        return known[stem].resolve()
    raise RecipeError(f"{spelling}: no such recipe file. {nearest(stem, known)}")


def module_name(file: Path) -> str:
    """The module name of a recipe file. It does not depend on the folder, so moving a recipe changes no fingerprint."""
    return f"recipes.{file.stem}"


def load_module(file: Path) -> Any:
    """The module in a recipe file, loaded once under `module_name`; its neighbours can be imported by their own names.

    Raises RecipeError with file and line when it is not Python, or imports something that is not there.
    """
    name = module_name(file)
    loaded = sys.modules.get(name)
    if loaded is not None and Path(getattr(loaded, "__file__", None) or "").resolve() == file.resolve():
        return loaded
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{file} is not a Python file.\n  A recipe is a .py file with a function `recipe`.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if isinstance(error, SyntaxError):
            raise RecipeError(f"{error.filename}, line {error.lineno}: {error.msg}.") from error
        if isinstance(error, ImportError):
            raise RecipeError(f"{file} cannot be loaded: {error}.") from error
        raise
    return module


def recipe_function(file: Path) -> Callable[..., Stage]:
    """The function `recipe` of a recipe file. Raises RecipeError when there is none or it takes positional arguments."""
    function: Any = getattr(load_module(file), "recipe", None)
    if not inspect.isfunction(function):
        raise RecipeError(f"{file} has no function `recipe`.\n  Write  def recipe(*, seed: int = 0) -> Stage: …")
    for parameter in flags(function):
        if parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            raise RecipeError(
                f"{file}: recipe({parameter}) cannot be given as a flag.\n  Use named parameters with a type and a default."
            )
    return function


def flags(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of a recipe that are command-line flags: all but `data`, which is the --data folder."""
    return [p for p in inspect.signature(function).parameters.values() if p.name != "data"]


def build(function: Callable[..., Stage], values: dict[str, Any], data: Path | None) -> Stage:
    """The recipe's value. Raises RecipeError when the function returns something else than a stage."""
    takes_data = "data" in inspect.signature(function).parameters
    try:
        root = function(**values, **({"data": data} if takes_data else {}))
    except TypeError as error:
        said = _unknown_field(error)
        if said:
            raise RecipeError(said) from error
        raise
    if not isinstance(root, Stage):
        raise RecipeError(
            f"{inspect.getsourcefile(function)}: recipe() returned a {type(root).__name__}, not a stage.\n  Return the last stage, mostly a Report."
        )
    return root


def _unknown_field(error: TypeError) -> str:
    """Place and nearest field where a dataclass was given one that it lacks; "" for every other error."""
    found = re.match(r"(?:.*\.)?(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", str(error))
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if found is None or last is None:
        return ""
    frame = last.tb_frame
    made = {**frame.f_globals, **frame.f_locals}.get(found[1])
    if not dataclasses.is_dataclass(made):
        return ""
    known = [field.name for field in dataclasses.fields(made) if field.init]
    place = f"{frame.f_code.co_filename}, line {last.tb_lineno}"
    return f"{place}: {found[1]} has no field {found[2]!r}. {nearest(found[2], known)}"
