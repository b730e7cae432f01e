"""Programs graded by running them in the sandbox: functions with tests, whole programs by input and output, unittest."""

from burnish.verify.code.function_tests import FunctionTests
from burnish.verify.code.stdio import StdioTests
from burnish.verify.code.unit_tests import UnitTests

__all__ = ["FunctionTests", "StdioTests", "UnitTests"]
