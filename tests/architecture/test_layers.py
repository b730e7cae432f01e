"""Who may import whom, and how large things may grow. The table is the one in docs/explanation/architecture.md."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "burnish"
FILES = sorted(PACKAGE.rglob("*.py"))
RECIPE_ROOMS = {"core", "pipeline", "losses", "verify", "text", "data", "model", "rollout", "train", "eval", "report"}

MAY_IMPORT = {
    "errors": set(),
    "core": {"errors"},
    "pipeline": {"errors", "core"},
    "losses": {"errors"},
    "verify": {"errors", "core"},
    "text": {"errors", "core"},
    "data": {"errors", "core", "pipeline", "text", "verify"},
    "model": {"errors", "core", "pipeline", "text", "losses"},
    "rollout": {"errors", "core", "pipeline", "data", "text", "model", "verify"},
    "train": {"errors", "core", "pipeline", "data", "text", "losses", "model", "rollout", "verify"},
    "eval": {"errors", "core", "pipeline", "data", "text", "model", "rollout", "verify"},
    "report": {"errors", "core", "pipeline"},
    "testing": {"errors"} | RECIPE_ROOMS,
    "cli": {"errors", "testing"} | RECIPE_ROOMS,
}
THIRD_PARTY = {  # at module level; everything else is imported inside functions
    "losses": {"torch"},
    "data": {"numpy", "pyarrow"},
    "model": {"torch", "transformers", "safetensors"},
    "rollout": {"torch", "numpy"},
    "train": {"torch"},
    "eval": {"numpy"},
    "testing": {"torch", "hypothesis"},
    "cli": {"tyro"},
}

# Modules of compiled code need their compiler at module level, for its cache on disk; others import them inside functions.
COMPILED = {
    "data/decontamination/kernel.py": {"numba"},
    "data/decontamination/kernel_tokens.py": {"numba"},
    "rollout/compiled/kernels.py": {"numba"},
    "rollout/compiled/vectors.py": {"numba", "llvmlite"},
}


def room(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def module_level_imports(tree: ast.Module) -> Iterator[str]:
    nodes: list[ast.stmt] = list(tree.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If):
            if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
                nodes += node.body
            nodes += node.orelse
        elif isinstance(node, ast.Try):
            nodes += node.body
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module or ""


def all_imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_table(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    tree = ast.parse(path.read_text())
    for name in all_imports(tree):
        parts = name.split(".")
        if parts[0] == "burnish" and len(parts) > 1:
            assert parts[1] == here or parts[1] in MAY_IMPORT[here], f"{here} must not import {name}"
    for name in module_level_imports(tree):
        top = name.split(".")[0]
        if top != "burnish" and top not in sys.stdlib_module_names:
            allowed = THIRD_PARTY.get(here, set()) | COMPILED.get(str(path.relative_to(PACKAGE)), set())
            assert top in allowed, f"{here} must import {top} inside the function that needs it"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_compiled_modules_are_imported_inside_functions(path: Path) -> None:
    if str(path.relative_to(PACKAGE)) not in COMPILED:
        modules = {"burnish." + name.removesuffix(".py").replace("/", ".") for name in COMPILED}
        assert not modules & set(module_level_imports(ast.parse(path.read_text())))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sizes_stay_readable(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 500, "a file has at most 500 lines: split it by meaning"
    assert path.stem not in {"utils", "common", "misc", "helpers"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            limit = 100 if room(path) == "train" and node.name in {"run", "loop"} else 60
            assert length <= limit, f"{node.name} has {length} lines, at most {limit}"
        if isinstance(node, ast.ClassDef):
            fields = sum(isinstance(part, ast.AnnAssign) for part in node.body)
            assert fields <= 20, f"{node.name} has {fields} fields, at most 20"


def loaded_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_burnish_is_light() -> None:
    loaded = loaded_after("import burnish, burnish.cli")
    assert not loaded & {"torch", "transformers", "numpy", "pyarrow", "matplotlib"}


LOSSES = sorted(p.stem for p in (PACKAGE / "losses").glob("*.py") if p.stem != "__init__")

# Torch is loaded once; each module is then imported in a fork of its own.
ONE_BY_ONE = """
import importlib, json, os, sys
import torch
for name in sys.argv[1:]:
    if os.fork() == 0:
        before = set(sys.modules)
        importlib.import_module(f"burnish.losses.{name}")
        print(json.dumps([name, sorted(set(sys.modules) - before)]), flush=True)
        os._exit(0)
    os.wait()
"""


def test_a_loss_loads_torch_and_little_else() -> None:
    done = subprocess.run([sys.executable, "-c", ONE_BY_ONE, *LOSSES], capture_output=True, text=True, check=True)
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert sorted(found) == LOSSES
    for name, loaded in found.items():
        ours = {m for m in loaded if m.startswith("burnish.")} - {"burnish.losses", f"burnish.losses.{name}"}
        assert "transformers" not in loaded
        assert len(ours) <= 3, (name, ours)


def test_only_the_sandbox_boundaries_catch_everything() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                if caught in {"Exception", "everything"} and not isinstance(node.body[-1], ast.Raise):
                    line = path.read_text().splitlines()[node.lineno - 1]
                    assert "noqa: BLE001" in line, f"{path.name}:{node.lineno} catches {caught}"
