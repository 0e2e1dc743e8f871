"""Trains a part of image to 3D on a corpus of objects, on one laptop or many machines.

    accelerate launch -m atoken.training.generators.image_to_object.train STAGE \\
        --tokens CORPUS --tokenizer atoken-so-c --output OUT

STAGE is one of the files in `stages/`, CORPUS what `atoken tokenize MESHES CORPUS --kind object` has written. The flows
need what `conditions.py` beside this file writes (`--conditions`), the first stage also what `structures.py` does
(`--structures`). OUT/model holds the averaged weights as a model of diffusers; OUT/checkpoint-* hold all that a run
needs to go on exactly where it was.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import load_model

from ...agreement import Agreement
from ...parallelism import build_accelerator
from ...program import begin
from ...trainer import TrainerSettings
from ..running import run_training
from ..train import (
    GradientCheckpointing,
    Keep,
    LogEvery,
    MaxSkipped,
    Minutes,
    Output,
    ProgressBar,
    Resume,
    SaveEvery,
    Seed,
    Steps,
    Tracker,
)
from .building import ObjectFiles, build_object_batches, build_object_model, build_object_objective
from .rows import ObjectRows
from .stage import ObjectStage


def main(
    stage_file: Annotated[
        Path,
        typer.Argument(
            metavar="STAGE", help="YAML file, such as training/generators/image_to_object/stages/structure-vae.yaml."
        ),
    ],
    tokens: Annotated[Path, typer.Option(help="Corpus of objects that atoken tokenize has written.")],
    tokenizer: Annotated[str, typer.Option(help="Tokenizer that has written it: folder or Hub name.")],
    output: Output,
    conditions: Annotated[Path | None, typer.Option(help="What is seen of the objects' pictures.")] = None,
    structures: Annotated[Path | None, typer.Option(help="Latents of the objects' structures.")] = None,
    init_from: Annotated[Path | None, typer.Option(help="Folder of a trained model to begin with.")] = None,
    resume: Resume = "auto",
    steps: Steps = None,
    minutes: Minutes = None,
    save_every: SaveEvery = 1000,
    keep: Keep = 3,
    log_every: LogEvery = 10,
    tracker: Tracker = "none",
    max_skipped: MaxSkipped = 10,
    gradient_checkpointing: GradientCheckpointing = False,
    seed: Seed = 0,
) -> None:
    """Train a part of image to 3D (docs/generation.md)."""
    stage = ObjectStage.read(stage_file)
    if steps is not None:
        stage = replace(stage, steps=steps)
    settings = TrainerSettings(output, stage.steps, stage.optimizer, minutes, max_skipped, save_every, log_every, keep)
    accelerator, agreement = build_accelerator(stage.optimizer.clip, tracker, output), Agreement()
    begin(seed)
    loaded = load_model(tokenizer, "cpu")
    rows = ObjectRows(AtokenTokens(tokens, normalize=False), loaded)
    files = ObjectFiles.open(stage, rows, loaded.model, conditions, structures)
    with accelerator.main_process_first():  # statistics of the corpus are kept there
        model = build_object_model(stage, files, init_from)
    if gradient_checkpointing:
        model.enable_gradient_checkpointing()
    batches = build_object_batches(stage, files, model, seed, accelerator.process_index, accelerator.num_processes)
    objective = build_object_objective(model, stage, seed).to(accelerator.device)
    run_training(
        accelerator,
        objective,
        batches,
        settings,
        name=stage.name,
        about=[f"{len(rows) - batches.left_out:,} objects", f"{batches.left_out} left out"],
        resume=resume,
        tracker=tracker,
        agreement=agreement,
        seed=seed,
        hooks=[ProgressBar()],
    )


if __name__ == "__main__":
    typer.run(main)
