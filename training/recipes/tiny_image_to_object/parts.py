"""The trainings of this recipe, one after another, and where their results lie."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

STAGES = Path(__file__).parent / "stages"
MOST_STEPS = 1_000_000  # time ends a training


@dataclass(frozen=True)
class Part:
    """
    Describes one training.

    Attributes:
        name: of its run; that of a part of the pipeline is also its folder there.
        stage: name of the file with its settings.
        share: of the time of all trainings.
        needs: what it reads besides the corpus, folders by the names of the command's options.
        begins_with: name of the training whose weights it begins with.
    """

    name: str
    stage: str
    share: float
    needs: dict[str, str] = field(default_factory=dict)
    begins_with: str = ""


# Whole grids are mostly empty, so the structure VAE learns most on cubes.
CROPS = Part("structure_vae_crops", "structure-vae-crops", 0.25)
PARTS = (
    Part("structure_vae", "structure-vae", 0.13, begins_with=CROPS.name),
    Part("structure_transformer", "structure-flow", 0.3, {"conditions": "recolored", "structures": "structures"}),
    Part("latent_transformer", "structured-latent-flow", 0.32, {"conditions": "conditions"}),
)
TRAININGS = (CROPS, *PARTS)


def train(
    part: Part, out: Path, tokenizer: Path, minutes: float, seed: int, stage: Path | None = None, name: str = ""
) -> Path:
    """
    Trains a part in a process of its own, unless that is done.

    Args:
        part: which.
        out: folder of the recipe.
        tokenizer: folder of the model that has written the corpus.
        minutes: time for its steps.
        seed: of the training.
        stage: file with other settings than the part's own.
        name: of the run, the part's own by default.

    Returns:
        The folder of the trained model.
    """
    run = out / "runs" / (name or part.name)
    if not (run / "model").is_dir():
        data = out / "train"
        command = [sys.executable, "-m", "atoken.training.generators.image_to_object.train"]
        command += [str(stage or STAGES / f"{part.stage}.yaml"), "--tokens", str(data / "latents")]
        command += ["--tokenizer", str(tokenizer), "--output", str(run), "--seed", str(seed)]
        command += [word for option, folder in part.needs.items() for word in (f"--{option}", str(data / folder))]
        if part.begins_with:
            command += ["--init-from", str(out / "runs" / part.begins_with / "model")]
        command += ["--minutes", str(minutes), "--steps", str(MOST_STEPS)]
        command += ["--save-every", "50", "--keep", "2", "--log-every", "10"]
        subprocess.run(command, check=True, env={**os.environ, "ACCELERATE_USE_CPU": "true"})
    return run / "model"
