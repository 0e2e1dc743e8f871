"""The trainings of this recipe, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

STAGES = Path(__file__).parent / "stages"


def train(
    out: Path,
    name: str,
    tokenizer: Path,
    corpora: dict[str, Path],
    stage: str,
    steps: int,
    init_from: Path | None = None,
    seed: int = 0,
) -> Path:
    """
    Trains, unless that is done, or goes on where it was stopped.

    Args:
        out: folder of all trainings; that of this one is `name` in it.
        name: of the training.
        tokenizer: folder of the model that has written the corpora.
        corpora: by kind.
        stage: name of a file in stages/.
        steps: how many.
        init_from: weights to begin with.
        seed: of everything.

    Returns:
        The folder of the averaged weights.
    """
    run = out / name
    if (run / "model").is_dir():
        return run / "model"
    command = [sys.executable, "-m", "atoken.training.generators.text_to_media.train", str(STAGES / f"{stage}.yaml")]
    command += ["--tokenizer", str(tokenizer), "--output", str(run), "--in-memory", "--seed", str(seed)]
    command += ["--captions", str(out / f"{'-'.join(sorted(corpora))}-captions")]
    for kind, corpus in corpora.items():
        command += [f"--{kind}s", str(corpus)]
    if init_from is not None:
        command += ["--init-from", str(init_from)]
    command += ["--steps", str(steps), "--save-every", "100", "--keep", "2", "--log-every", "20"]
    subprocess.run(command, check=True, env={**os.environ, "ACCELERATE_USE_CPU": "true"})
    return run / "model"
