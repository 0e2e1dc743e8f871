"""Trains one stage of the curriculum, on one laptop or many machines; only files and launcher differ.

    accelerate launch -m atoken.training.tokenizer.train training/tokenizer/stages/so400m-1.yaml --data DATA.yaml \\
        --init-from SIGLIP2 --teacher SIGLIP2 --output runs/1

with google/siglip2-so400m-patch16-naflex as SIGLIP2.

OUT/model holds the averaged weights with the processor, ready for the next stage's --init-from; OUT/checkpoint-* hold
all that a run needs to go on exactly where it was.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from accelerate.utils import set_seed
from tqdm import tqdm

from atoken import AtokenModel

from .. import checkpoints
from ..data.batches import Batches
from ..data.tasks import open_tasks, read_data
from ..frozen_rows import ProtectedRows
from ..parallelism import build_accelerator
from ..trainer import Hook, Trainer, TrainerSettings
from .curriculum import Stage, fit_to_quantizer, prepare_model
from .networks import CLIP, ImageLosses, load_start, load_teacher
from .objective import Objective, trained_parameters
from .turns import DISTILLED, TurnBatches
from .validation import Validation

FITTING_BATCHES = 8  # whose latents say how they fit the quantizer


class ProgressBar(Hook):
    """Shows how far a run is, with its losses, in the first process."""

    def __init__(self, steps: int, shown: bool):
        self._bar = tqdm(total=steps, disable=not shown)

    def after_step(self, trainer: Trainer) -> None:
        self._bar.update(trainer.progress.step - self._bar.n)

    def on_log(self, numbers: dict[str, float]) -> None:
        losses = {name: value for name, value in numbers.items() if name.endswith("/loss")}
        self._bar.set_postfix({name.removesuffix("/loss"): f"{value:.3f}" for name, value in losses.items()})

    def on_end(self) -> None:
        self._bar.close()


@torch.no_grad()
def _fit_latents(model: AtokenModel, batches: dict[str, Batches], tasks: list[str]) -> None:
    latents = []
    for index in range(FITTING_BATCHES):
        batch = next(batches[tasks[index % len(tasks)]])
        latents.append(model.encode(batch.pixel_values, batch.coords, batch.cu_seqlens, pool=False).latents)
    fit_to_quantizer(model, torch.cat(latents))


def main(
    stage_file: Annotated[Path, typer.Argument(metavar="STAGE", help="YAML file of the stage.")],
    data: Annotated[Path, typer.Option(help="YAML file with the sources of every task.")],
    init_from: Annotated[str, typer.Option(help="The stage before, or SigLIP 2: folder or Hub name.")],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the exported model.")],
    teacher: Annotated[
        str | None, typer.Option(help="Vision tower that images are distilled from; without, they are contrasted.")
    ] = None,
    resume: Annotated[str, typer.Option(help='"auto" for the newest whole checkpoint, "never", or a folder.')] = "auto",
    losses: Annotated[str | None, typer.Option(help="Parts of the image loss, such as l1,gram-random.")] = None,
    vgg: Annotated[str | None, typer.Option(help="torchvision's VGG-16 weights; else torch's folder.")] = None,
    clip: Annotated[str, typer.Option(help="CLIP model of the CLIP loss.")] = CLIP,
    steps: Annotated[int | None, typer.Option(help="Instead of the stage's.")] = None,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 1000,
    keep: Annotated[int, typer.Option(help="Checkpoints that stay.")] = 3,
    log_every: Annotated[int, typer.Option(help="Steps that a line of the log is the mean of.")] = 10,
    validation: Annotated[Path | None, typer.Option(help="Evaluation file whose models lie at MODEL.")] = None,
    validate_every: Annotated[int, typer.Option(help="Steps between validations.")] = 5000,
    tracker: Annotated[str, typer.Option(help='"tensorboard", "trackio" or "none".')] = "none",
    max_skipped: Annotated[int, typer.Option(help="Steps in a row without finite gradients before giving up.")] = 10,
    threads: Annotated[int, typer.Option(help="That read samples, for each task.")] = 4,
    gradient_checkpointing: Annotated[bool, typer.Option(help="Less memory for a third more time.")] = False,
    compile_blocks: Annotated[bool, typer.Option("--compile", help="torch.compile of every block.")] = False,
    seed: Annotated[int, typer.Option(help="Of data, samples and new weights.")] = 0,
) -> None:
    """Train one stage of the curriculum."""
    stage = Stage.read(stage_file)
    if steps is not None:
        stage = replace(stage, steps=steps)
    # A stage that reconstructs no images needs no networks for it.
    weights = stage.losses["image"] if "image_reconstruction" in stage.ratios else {}
    image_losses = ImageLosses.choose(losses if weights else None, weights)
    stage = replace(stage, losses={**stage.losses, "image": image_losses.weights})
    set_seed(seed)
    # Before there is an accelerator: with ZeRO-3 set up, transformers would load shards, and scalars have none.
    model, processor = load_start(init_from)
    tower, scale = (None, 0.0) if teacher is None else load_teacher(teacher)
    networks = image_losses.load(vgg, clip)
    accelerator = build_accelerator(2 if stage.ratios else 1, stage.optimizer.clip, tracker, output)
    protected = ProtectedRows.load(init_from, accelerator.distributed_type)
    tasks = [DISTILLED, *stage.ratios]
    batches = open_tasks(
        tasks,
        read_data(data),
        stage.batch_sizes,
        stage.limits,
        processor.tokenizer,
        model.config.text_config.max_position_embeddings,
        seed,
        accelerator.process_index,
        accelerator.num_processes,
        threads,
    )
    found = _checkpoint(resume, output)
    if stage.quantize and model.quantizer is None and found is None:
        _fit_latents(model, batches, [task for task in tasks if task.endswith("reconstruction")])
    prepare_model(model, stage, torch.Generator().manual_seed(seed))
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if compile_blocks:
        for block in (*model.vision_model.blocks, *model.decoder.blocks):
            block.compile(dynamic=True)
    objective = Objective(model, stage.losses, tower, scale, *networks, seed, processor).to(accelerator.device)
    output.mkdir(parents=True, exist_ok=True)
    settings = TrainerSettings(output, stage.steps, stage.optimizer, max_skipped, save_every, log_every, keep)
    hooks: list[Hook] = [protected, ProgressBar(settings.steps, accelerator.is_main_process)]
    if validation is not None:
        hooks.append(Validation(validation, validate_every))
    turns = TurnBatches(batches, stage.ratios)
    trainer = Trainer(accelerator, objective, turns, settings, hooks)
    if found is not None:
        trainer.resume(found)
    if accelerator.is_main_process:
        counts = trained_parameters(objective)
        print(f"{stage.name}: {counts}, from step {trainer.progress.step} to {stage.steps}", flush=True)
    if tracker != "none":
        accelerator.init_trackers("atoken", config={"stage": stage.name, "seed": seed})
    trainer.run()
    turns.close()
    accelerator.end_training()


def _checkpoint(resume: str, output: Path) -> Path | None:
    if resume == "never":
        return None
    if resume == "auto":
        return checkpoints.newest(output)
    fault = checkpoints.damage(Path(resume))
    if fault is not None:
        raise ValueError(f"resume: {resume} cannot be used: {fault}")
    return Path(resume)


if __name__ == "__main__":
    typer.run(main)
