"""Every trap is caught: each check passes, and fails once the bug is put back."""

from __future__ import annotations

import pytest
from checks import World
from mutations import MUTATIONS, Mutation


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.trap}: {m.bug}")
def test_the_bug_is_caught(mutation: Mutation, world: World) -> None:
    mutation.check(world)
    with pytest.MonkeyPatch.context() as patch:
        mutation.put_back(patch)
        with pytest.raises(AssertionError):
            mutation.check(world)
