"""Who judges replies in an evaluation: the model that is asked, and the form that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from burnish.errors import RecipeError
from burnish.verify.judge.ask import Answerer


@dataclass(frozen=True, slots=True)
class Judge:
    """A judge model for the tasks that need one.

    model: an endpoint (`burnish.rollout.api_engine.Endpoint`), a model folder (`LocalModel`), or any other Answerer.
    form:  the published text that the judge was trained or tuned on, with places such as {prompt} and {response}; it is sent
           instead of our own words. "" for any chat model. Each task says which places its form has.
    """

    model: Answerer
    form: str = ""
    VERSION: ClassVar[int] = 1

    def form_with(self, task: str, *places: str) -> str:
        """The form, or "" for none. Raises RecipeError for one that has other places than the task fills."""
        lacks = [place for place in places if place not in self.form]
        if self.form and lacks:
            raise RecipeError(
                f"task {task}: the judge's form {self.form[:40]!r} … has no {' and no '.join(lacks)}, so the judge would not see what it judges.\n"
                f"  Give a form with {', '.join(places)}, or none; tasks with other forms are asked in a run of their own."
            )
        return self.form
