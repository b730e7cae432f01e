"""Multiple choice: the letter a reply gives, by the published extraction ladders and by a corrected rule."""

from burnish.verify.choice.verifier import Choice, check_target

__all__ = ["Choice", "check_target"]
