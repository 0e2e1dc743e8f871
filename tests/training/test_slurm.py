"""What the script of a SLURM job passes on to the launcher, which a command that prints it stands in for."""

import pytest

from .tokenizer.slurm_on_cpu import run_slurm_job


@pytest.mark.parametrize(
    "restarts, passed",
    [
        (None, "stage.yaml --output a folder --resume never"),
        ("0", "stage.yaml --output a folder --resume never"),
        ("2", "stage.yaml --output a folder --resume never --resume auto"),
    ],
)
def test_a_job_that_was_requeued_goes_on_whatever_its_first_start_was_told(restarts, passed, tmp_path, monkeypatch):
    launcher = tmp_path / "bin/accelerate"
    launcher.parent.mkdir()
    launcher.write_text('#!/bin/bash\necho "$@"\n')
    launcher.chmod(0o755)
    if restarts is not None:
        monkeypatch.setenv("SLURM_RESTART_COUNT", restarts)
    printed = run_slurm_job(tmp_path, "stage.yaml", "--output", "a folder", "--resume", "never")
    assert printed.strip().endswith(f"-m atoken.training.tokenizer.train {passed}")
