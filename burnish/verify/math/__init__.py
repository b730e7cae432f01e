"""Mathematics: extraction of stated answers, exact and symbolic comparison, and the published normal forms."""

from burnish.verify.math.deepmind import DeepMindMath
from burnish.verify.math.verifier import Math

__all__ = ["DeepMindMath", "Math"]
