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
from accelerate.utils import set_seed

from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import load_model

from ...agreement import Agreement
from ...interruption import STOPPED, Stopped
from ...parallelism import build_accelerator
from ...resuming import checkpoint_to_resume
from ...trainer import Trainer, TrainerSettings
from ..train import ProgressBar
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
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the model.")],
    conditions: Annotated[Path | None, typer.Option(help="What is seen of the objects' pictures.")] = None,
    structures: Annotated[Path | None, typer.Option(help="Latents of the objects' structures.")] = None,
    init_from: Annotated[Path | None, typer.Option(help="Folder of a trained model to begin with.")] = None,
    resume: Annotated[
        str, typer.Option(help='"auto" (from the newest complete checkpoint, if any), "never", or a checkpoint folder.')
    ] = "auto",
    steps: Annotated[int | None, typer.Option(help="Number of steps. Default: that of the stage.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Time for steps: the run ends when it is over, and rates fall with it.")
    ] = None,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 1000,
    keep: Annotated[int, typer.Option(help="Number of newest checkpoints to keep.")] = 3,
    log_every: Annotated[int, typer.Option(help="Steps per line of the log, which shows their mean.")] = 10,
    tracker: Annotated[str, typer.Option(help='Where to show the log: "tensorboard", "trackio" or "none".')] = "none",
    max_skipped: Annotated[
        int, typer.Option(help="Steps in a row whose gradients may be infinite or NaN before the run stops.")
    ] = 10,
    gradient_checkpointing: Annotated[bool, typer.Option(help="Use less memory, but a third more time.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the order, of noise and views, and of new weights.")] = 0,
) -> None:
    """Train a part of image to 3D (docs/generation.md)."""
    stage = ObjectStage.read(stage_file)
    if steps is not None:
        stage = replace(stage, steps=steps)
    settings = TrainerSettings(output, stage.steps, stage.optimizer, minutes, max_skipped, save_every, log_every, keep)
    accelerator, agreement = build_accelerator(stage.optimizer.clip, tracker, output), Agreement()
    set_seed(seed)
    loaded = load_model(tokenizer, "cpu")
    rows = ObjectRows(AtokenTokens(tokens, normalize=False), loaded)
    files = ObjectFiles.open(stage, rows, loaded.model, conditions, structures)
    with accelerator.main_process_first():  # statistics of the corpus are kept there
        model = build_object_model(stage, files, init_from)
    if gradient_checkpointing:
        model.enable_gradient_checkpointing()
    batches = build_object_batches(stage, files, model, seed, accelerator.process_index, accelerator.num_processes)
    objective = build_object_objective(model, stage, seed).to(accelerator.device)
    trainer = Trainer(accelerator, objective, batches, settings, [ProgressBar()])
    found = checkpoint_to_resume(resume, output, agreement)
    if found is not None:
        trainer.resume(found)
    if accelerator.is_main_process:
        trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
        kept = f"{len(rows) - batches.left_out:,} objects, {batches.left_out} left out"
        print(f"{stage.name}: {trained:,} weights, {kept}, from step {trainer.progress.step}", flush=True)
    if tracker != "none":
        accelerator.init_trackers("atoken", config={"stage": stage.name, "seed": seed})
    try:
        trainer.run()
    except Stopped as stop:
        print(stop, flush=True)
        raise typer.Exit(STOPPED) from None
    finally:
        batches.close()
    accelerator.end_training()


if __name__ == "__main__":
    typer.run(main)
