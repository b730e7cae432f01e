"""BIG-Bench Hard: per-task answer forms, by the published ladder and by a corrected rule."""

from burnish.verify.bbh.forms import FORMS
from burnish.verify.bbh.verifier import BBH, check_target

__all__ = ["BBH", "FORMS", "check_target"]
