"""The files of rollouts: what each holds, and that a cut at any byte loses no whole reply and changes no result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from burnish.core.types import Check, Completion, Finish, Problem, Trajectory, Verdict, user
from burnish.train.rollout_log import FILE, RUNNING, RolloutLog

GROUPS, SIZE = 2, 3


def reply(step: int, group: int, k: int) -> Trajectory:
    problem = Problem(user(f"problem {group}"), Check("v", ""))
    completion = Completion((10 + k, 2), (-0.5, -1.0 / 3), Finish.STOP, f"reply {step} {group} {k}", f"step {step - 1}")
    return Trajectory(problem, (1, 5), completion, Verdict(k / 2, "why"))


def groups(step: int) -> list[list[Trajectory]]:
    return [[reply(step, g, k) for k in range(SIZE)] for g in range(GROUPS)]


def score(trajectory: Trajectory) -> float | None:
    return trajectory.verdict.score


def write(log: RolloutLog, step: int) -> int:
    """Close a step, adding only what was not kept; returns how many replies were."""
    kept = log.kept(step)
    # Replies end in another order than that of the groups.
    for k in reversed(range(SIZE)):
        for g in range(GROUPS):
            if (g, k) not in kept:
                log.add(step, g, k, reply(step, g, k))
            else:
                assert kept[g, k] == reply(step, g, k)
    worth = [[0.5, -0.5, 0.0]] * GROUPS
    log.write(step, groups(step), worth, [[{}, {"echo": "seen"}, {}]] * GROUPS, score)
    return len(kept)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("straight")
    log = RolloutLog(folder, done=0)
    for step in (1, 2, 3):
        assert write(log, step) == 0
    log.finish()
    log.close()
    assert not (folder / RUNNING).exists()
    return (folder / FILE).read_bytes()


def test_a_line_has_its_step_group_advantage_and_flags(straight: bytes) -> None:
    lines = [json.loads(line) for line in straight.splitlines()]
    assert [(line["step"], line["group"]) for line in lines] == [
        (s, g) for s in (1, 2, 3) for g in (0, 1) for _ in range(3)
    ]
    assert [line["reward"] for line in lines[:3]] == [0.0, 0.5, 1.0]
    assert [line["advantage"] for line in lines[:3]] == [0.5, -0.5, 0.0]
    assert [line.get("flags") for line in lines[:3]] == [None, {"echo": "seen"}, None]
    assert lines[1]["completion"]["logprobs"] == [-0.5, -1.0 / 3]


@pytest.mark.parametrize("replies", range(GROUPS * SIZE + 1))
@pytest.mark.parametrize("torn", [0, 1, 40])
def test_a_cut_inside_a_step_loses_no_reply(replies: int, torn: int, straight: bytes, tmp_path: Path) -> None:
    """Step 2 is cut after some replies, the last line of which may be torn; the checkpoint is that of step 1."""
    log = RolloutLog(tmp_path, done=0)
    write(log, 1)
    places = [(g, k) for k in reversed(range(SIZE)) for g in range(GROUPS)][:replies]
    for g, k in places:
        log.add(2, g, k, reply(2, g, k))
    log.close()
    if torn:
        raw = (tmp_path / RUNNING).read_bytes()
        (tmp_path / RUNNING).write_bytes(raw[: len(raw) - torn] if raw else raw)
    log = RolloutLog(tmp_path, done=1)
    whole = max(len(places) - bool(torn), 0)
    assert write(log, 2) == whole
    write(log, 3)
    log.close()
    assert (tmp_path / FILE).read_bytes() == straight


@pytest.mark.parametrize("lines", range(GROUPS * SIZE))
def test_a_cut_while_a_step_is_put_in_order(lines: int, straight: bytes, tmp_path: Path) -> None:
    """Some lines of step 2 are in the ordered file, the last of them torn; the running file still has every reply."""
    log = RolloutLog(tmp_path, done=0)
    write(log, 1)
    for g in range(GROUPS):
        for k in range(SIZE):
            log.add(2, g, k, reply(2, g, k))
    log.close()
    step = [line for line in straight.splitlines(keepends=True) if json.loads(line)["step"] == 2]
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"".join(step[:lines]) + step[lines][:50])
    log = RolloutLog(tmp_path, done=1)
    assert write(log, 2) == GROUPS * SIZE
    write(log, 3)
    log.close()
    assert (tmp_path / FILE).read_bytes() == straight


def test_steps_after_the_checkpoint_are_given_back_whole(straight: bytes, tmp_path: Path) -> None:
    """Killed after step 3 with the checkpoint of step 1: nothing is sampled again, nothing is written twice."""
    log = RolloutLog(tmp_path, done=0)
    for step in (1, 2, 3):
        write(log, step)
    log.close()
    log = RolloutLog(tmp_path, done=1)
    assert [write(log, 2), write(log, 3)] == [6, 6]
    log.close()
    assert (tmp_path / FILE).read_bytes() == straight


def test_replies_of_later_steps_stay_while_a_step_is_closed(straight: bytes, tmp_path: Path) -> None:
    """With staleness, step 2 is sampled before step 1 is learned."""
    log = RolloutLog(tmp_path, done=0)
    for step in (1, 2):
        for g in range(GROUPS):
            for k in range(SIZE):
                log.add(step, g, k, reply(step, g, k))
    log.write(1, groups(1), [[0.5, -0.5, 0.0]] * GROUPS, [[{}, {"echo": "seen"}, {}]] * GROUPS, score)
    log.close()
    log = RolloutLog(tmp_path, done=1)
    assert write(log, 2) == 6
    write(log, 3)
    log.close()
    assert (tmp_path / FILE).read_bytes() == straight
