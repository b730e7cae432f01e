"""Machines spelled on the command line, and the script for Slurm: what it says, and that shells and two nodes run it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from burnish.cli import main
from burnish.errors import RecipeError
from burnish.pipeline.cluster import Cluster, cluster
from burnish.pipeline.machine import MACHINES, laptop, machine

RECIPE = Path(__file__).with_name("counting.py")
WORDS = ["recipes/my recipe.py", "--data", "/some where", "--machine", "cluster(nodes=2, gpus=4)"]


def test_a_machine_with_other_settings() -> None:
    assert machine("laptop") == laptop()
    found = machine("laptop(micro_tokens=512, compute='fp32', checkpoint_every_s=5)")
    assert (found.micro_tokens, found.compute, found.checkpoint_every_s, found.threads) == (
        512,
        "fp32",
        5,
        laptop().threads,
    )
    node = machine("cluster(nodes=4, gpus=8, sharding='hybrid')")
    assert (node.nodes, node.processes, node.sharding, node.device, node.compute) == (4, 8, "hybrid", "cuda", "bf16")
    assert cluster("laptop(threads=3)") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("laptp", "Did you mean 'laptop'"),
        ("laptop(micro_token=1)", "Did you mean 'micro_tokens'"),
        ("laptop(threads='two')", "threads='two' is a str; threads is a int"),
        ("laptop(compute='fp64')", "compute='fp64' is not known"),
        ("cluster(8)", "neither a name nor a name with settings"),
        ("cluster(nodes=0)", "nodes=0"),
        ("cluster(gpus=-1)", "gpus=-1"),
        ("cluster(time='soon')", "time='soon'"),
        ("cluster(partition='gpu; reboot')", "no name that a script can hand to sbatch"),
        ("cluster(nodes=True)", "nodes=True is a bool"),
        ("laptop(**{'threads': 2})", "neither a name"),
        ("laptop(", "neither a name"),
        ("laptop(threads=2 + 2)", "neither a name"),
        ("", "neither a name"),
    ],
)
def test_what_cannot_be_a_machine_is_refused(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(said)):
        machine(text)


def test_nothing_in_a_machine_text_is_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for text in (
        f"open({str(made)!r}, 'w')",
        f"laptop(threads=open({str(made)!r}, 'w'))",
        f"__import__('pathlib').Path({str(made)!r}).touch()",
    ):
        with pytest.raises(RecipeError):
            machine(text)
    assert not made.exists()


@given(st.text(max_size=60).filter(lambda text: text.strip() not in MACHINES))
def test_no_other_text_is_a_machine(text: str) -> None:
    with pytest.raises(RecipeError, match="--machine"):
        machine(text)


def script() -> str:
    computers = Cluster(
        nodes=2,
        gpus=4,
        partition="gpu",
        account="lab-7",
        time="12:00:00",
        cpus=32,
        memory="200G",
        setup="source venv/bin/activate",
    )
    return computers.script(WORDS)


def test_the_script_asks_for_what_was_given() -> None:
    lines = script().splitlines()
    options = {line.removeprefix("#SBATCH --") for line in lines if line.startswith("#SBATCH")}
    assert options == {
        "job-name=burnish-my-recipe", "nodes=2", "ntasks-per-node=1", "gpus-per-node=4", "cpus-per-task=32", "mem=200G",
        "partition=gpu", "account=lab-7", "time=12:00:00", "signal=TERM@120", "requeue", "open-mode=append", "output=%x-%j.log",
    }  # fmt: skip
    assert lines.index("source venv/bin/activate") < min(i for i, line in enumerate(lines) if line.startswith("srun"))
    assert "partition" not in Cluster().script(WORDS)


def test_shells_accept_the_script(tmp_path: Path) -> None:
    path = tmp_path / "job.sh"
    path.write_text(script())
    subprocess.run(["bash", "-n", path], check=True)
    if checker := shutil.which("shellcheck"):
        subprocess.run([checker, "--severity=info", "--exclude=SC1091", path], check=True)


FAKE = {
    # Two nodes on this computer: srun starts its words once for each, with Slurm's own variables.
    "srun": """#!/bin/bash
shift
pids=()
for node in 0 1; do
    SLURM_NODEID=$node SLURM_PROCID=$node "$@" >"$LOGS/node$node" 2>&1 &
    pids+=($!)
done
code=0
for pid in "${pids[@]}"; do
    wait "$pid" || code=$?
done
exit "$code"
""",
    "scontrol": """#!/bin/bash
if [ "$1" = requeue ]; then echo "$2" >"$LOGS/requeued"; else printf '127.0.0.1\\n127.0.0.2\\n'; fi
""",
}


def run_script(text: str, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a job script with these stand-ins for Slurm's programs, and `burnish` a script of this text."""
    tools = folder / "bin"
    tools.mkdir()
    for name, body in {**FAKE, "burnish": command}.items():
        (tools / name).write_text(body)
        (tools / name).chmod(0o755)
    (folder / "job.sh").write_text(text)
    environment = os.environ | {
        "PATH": f"{tools}:{os.environ['PATH']}", "LOGS": str(folder), "SLURM_JOB_ID": "4321", "SLURM_JOB_NODELIST": "node[1-2]",
    }  # fmt: skip
    return subprocess.run(["bash", folder / "job.sh"], env=environment, capture_output=True, text=True, check=False)


def test_every_node_gets_the_same_words_and_its_own_number(tmp_path: Path) -> None:
    told = '#!/bin/bash\nprintf "%s\\n" "$NODE_RANK" "$MASTER_ADDR" "$MASTER_PORT" "$@"\n'
    done = run_script(Cluster(nodes=2, gpus=0).script(WORDS), tmp_path, told)
    assert done.returncode == 0, done.stderr
    for node in (0, 1):
        found = (tmp_path / f"node{node}").read_text().splitlines()
        assert found == [str(node), "127.0.0.1", "24321", "run", *WORDS]
    assert not (tmp_path / "requeued").exists()


@pytest.mark.parametrize(("code", "again"), [(143, True), (2, False), (137, False)])
def test_only_a_polite_end_goes_back_into_the_queue(code: int, again: bool, tmp_path: Path) -> None:
    """143 is what `burnish run` ends with when it is asked to end; a user's mistake or a crash would only happen again."""
    done = run_script(Cluster(nodes=2, gpus=0).script(WORDS), tmp_path, f"#!/bin/bash\nexit {code}\n")
    assert done.returncode == code
    assert (tmp_path / "requeued").exists() == again


def test_plan_prints_the_script(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = "cluster(nodes=2, gpus=4, time='1:00:00')"
    assert main(["plan", str(RECIPE), "--machine", where]) == 0
    text = capsys.readouterr().out
    assert "#SBATCH --nodes=2" in text
    assert f"burnish run {RECIPE} --machine 'cluster(nodes=2, gpus=4, time='\"'\"'1:00:00'\"'\"')'" in text
    assert main(["plan", str(RECIPE), "--machine", where, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["sbatch"].startswith("#!/bin/bash\n#SBATCH")
    assert "--json" not in found["sbatch"]
