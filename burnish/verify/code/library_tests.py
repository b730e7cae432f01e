"""The verifier for programs that use third-party libraries (BigCodeBench, arXiv:2406.15877): unittest classes, and no zero for want of one."""

from __future__ import annotations

import ast
import importlib.util
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from burnish.core.fingerprint import not_identity
from burnish.core.types import Problem, Verdict
from burnish.verify.code.extraction import read
from burnish.verify.code.parallel import side_by_side
from burnish.verify.code.unit_tests import UnitTests

# The libraries of BigCodeBench's tests by the module that is imported, where the package index has another name for it.
_OTHER_NAMES = {
    "bs4": "beautifulsoup4", "Crypto": "pycryptodome", "cv2": "opencv-python-headless", "dateutil": "python-dateutil",
    "django": "Django", "dns": "dnspython", "docx": "python-docx", "faker": "Faker", "flask_mail": "Flask-Mail", "PIL": "pillow",
    "skimage": "scikit-image", "sklearn": "scikit-learn", "werkzeug": "Werkzeug", "wtforms": "WTForms", "yaml": "PyYAML",
}  # fmt: skip
_SAME_NAMES = """
blake3 chardet cryptography docxtpl flask flask_login flask_restful flask_wtf folium gensim geopandas geopy holidays keras
Levenshtein librosa lxml matplotlib mechanize natsort networkx nltk numba numpy openpyxl pandas prettytable psutil pyfakefs
pyquery pytesseract pytest pytz requests requests_mock rsa scipy seaborn selenium sendgrid shapely soundfile statsmodels sympy
tensorflow textblob texttable wikipedia wordcloud wordninja xlrd xlwt xmltodict
"""
LIBRARIES: dict[str, str] = {**dict.fromkeys(_SAME_NAMES.split(), ""), **_OTHER_NAMES}


@dataclass(frozen=True, slots=True)
class LibraryTests:
    """UnitTests whose programs may import the libraries of BigCodeBench that are installed here.

    A problem whose own prompt or tests import a library that is not installed cannot be graded here, whatever the program: its
    verdict is None and names the library. Other fields as in UnitTests, and its promise.
    """

    VERSION: ClassVar[int] = 1
    ACCEPTS: ClassVar[tuple[tuple[str, str], ...]] = UnitTests.ACCEPTS
    REJECTS: ClassVar[tuple[tuple[str, str], ...]] = UnitTests.REJECTS
    cpu_s: float = 30.0
    memory_mb: int = 4096
    sandbox: str = not_identity(default="auto")

    def check_target(self, target: str) -> None:
        """Nothing, when `target` can be compared with. Raises VerifierError otherwise."""
        self._tests().check_target(target)

    def __call__(self, problem: Problem, text: str) -> Verdict:
        """1 when every test passes, else 0, with the first that failed; None where a library is missing."""
        missing = [] if read(text, "flexible") is None else lacking(problem.check.target)
        if missing:
            names = ", ".join(LIBRARIES.get(module) or module for module in missing)
            return Verdict(
                None, f"its tests need {names}, which is not installed here: pip install {names.replace(',', '')}"
            )
        return self._tests()(problem, text)

    def grade_many(self, items: Sequence[tuple[Problem, str]]) -> list[Verdict]:
        """The verdict on each (problem, reply), in order, on all cores."""
        return side_by_side(self, items)

    def _tests(self) -> UnitTests:
        return UnitTests(cpu_s=self.cpu_s, memory_mb=self.memory_mb, packages=installed(), sandbox=self.sandbox)


@lru_cache(maxsize=1)
def installed() -> tuple[str, ...]:
    """The packages of LIBRARIES that are installed here, by their names on the package index, sorted."""
    return tuple(sorted((name or module) for module, name in LIBRARIES.items() if _there(module)))


@lru_cache(maxsize=1024)
def lacking(target: str) -> list[str]:
    """The modules that a target's prompt and tests import at their top level and that are not installed here, sorted.

    None for a target that cannot be read: UnitTests says what is wrong with it.
    """
    try:
        spec = json.loads(target)
        texts = [str(spec.get("prompt", "")) + "\n    pass\n", str(spec.get("test", ""))]
    except (ValueError, RecursionError, AttributeError):
        return []
    found = {module for text in texts for module in _imported(text)}
    return sorted(module for module in found if module not in sys.stdlib_module_names and not _there(module))


def _imported(code: str) -> set[str]:
    """Top-level packages that a program's top level imports; none for text that is no program."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's test is not our warning
            tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return set()
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
