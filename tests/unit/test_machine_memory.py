"""How much memory there is: of the machine and of control groups, read from folders laid out as Linux lays them."""

from __future__ import annotations

from pathlib import Path

import pytest

from burnish.pipeline.memory import gib, memory, resident_bytes

GIB = 1 << 30


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemTotal:       16777216 kB\nMemAvailable:   12582912 kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_machine_alone(tmp_path: Path) -> None:
    there = memory(system(tmp_path, {}))
    assert there is not None
    assert (there.total, there.free, there.limit) == (16 * GIB, 12 * GIB, "the machine")


@pytest.mark.parametrize(
    ("files", "group"),
    [
        (
            {
                "proc/self/cgroup": "0::/job.slice/step\n",
                "sys/fs/cgroup/job.slice/memory.max": str(8 * GIB),
                "sys/fs/cgroup/job.slice/memory.current": str(5 * GIB),
                "sys/fs/cgroup/job.slice/memory.stat": f"anon {4 * GIB}\ninactive_file {GIB}\n",
                "sys/fs/cgroup/job.slice/step/memory.max": "max\n",
                "sys/fs/cgroup/job.slice/step/memory.current": "1",
            },
            "/job.slice",
        ),
        (
            {
                "proc/self/cgroup": "7:cpu,cpuacct:/x\n5:memory:/slurm/job_7\n0::/\n",
                "sys/fs/cgroup/memory/slurm/job_7/memory.limit_in_bytes": str(8 * GIB),
                "sys/fs/cgroup/memory/slurm/job_7/memory.usage_in_bytes": str(5 * GIB),
                "sys/fs/cgroup/memory/slurm/job_7/memory.stat": f"total_inactive_file {GIB}\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1",
            },
            "/slurm/job_7",
        ),
        (
            # A container sees its own group at the top of the mount, under the host's path.
            {
                "proc/self/cgroup": "0::/docker/abc\n",
                "sys/fs/cgroup/memory.max": str(8 * GIB),
                "sys/fs/cgroup/memory.current": str(4 * GIB),
            },
            "/",
        ),
    ],
    ids=["version 2", "version 1", "container"],
)
def test_control_groups_are_tighter(files: dict[str, str], group: str, tmp_path: Path) -> None:
    """8 GiB allowed, 5 used of which 1 is file pages that go when asked: 4 left."""
    there = memory(system(tmp_path, files))
    assert there is not None
    assert (there.total, there.free) == (8 * GIB, 4 * GIB)
    assert there.limit == f"the limit of the control group {group}"


def test_where_nothing_can_be_read_nothing_is_said(tmp_path: Path) -> None:
    assert memory(tmp_path) is None


def test_this_machine_has_memory_and_this_process_holds_some() -> None:
    there = memory()
    assert there is not None
    assert 0 < there.free <= there.total
    assert 10 << 20 < resident_bytes() < there.total
    assert gib(1.5 * GIB) == "1.5 GiB"
