"""The script of a SLURM job, run here: one machine with two devices, which are CPUs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
# Python runs this before all else: in the trainers, but not in what launches them.
DEVICES = """import sys
if "launch" not in sys.orig_argv and "atoken.training.tokenizer.train" in sys.orig_argv:
    import on_cpu
"""
COMMANDS = {"scontrol": "echo localhost", "srun": 'exec "$@"'}


def run_slurm_job(folder: Path, *arguments: str, processes: int = 2) -> str:
    """
    Runs `slurm.sh` with its own launcher file, and gives what it printed.

    Args:
        folder: where stand-ins for SLURM's commands are written, and what makes devices of CPUs in every process.
        arguments: those of `slurm.sh`.
    """
    commands = folder / "bin"
    commands.mkdir(parents=True, exist_ok=True)
    for name, body in COMMANDS.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}\n")
        (commands / name).chmod(0o755)
    (commands / "sitecustomize.py").write_text(DEVICES)
    environment = {
        **os.environ,
        "PATH": f"{commands}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": f"{commands}:{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NNODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_GPUS_ON_NODE": str(processes),
    }
    script = ["bash", str(ROOT / "training/launch/slurm.sh"), *arguments]
    done = subprocess.run(script, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-9000:]
    return done.stdout + done.stderr
