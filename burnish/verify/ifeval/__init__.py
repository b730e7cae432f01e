"""The IFEval taxonomy: typed constraints, their verifier, and the check of targets at plan time."""

from burnish.verify.ifeval.target import check_target, constraints_of
from burnish.verify.ifeval.verifier import IFEval

__all__ = ["IFEval", "check_target", "constraints_of"]
