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
from tqdm import tqdm

from ..agreement import Agreement
from ..data.tasks import open_tasks, read_data
from ..data.text_cache import TextCache, fingerprint
from ..frozen_rows import ProtectedRows
from ..parallelism import build_accelerator, shards_of
from ..program import begin, run_to_its_end
from ..resuming import checkpoint_to_resume
from ..starts import load_start, load_teacher
from ..trainer import Hook, Trainer, TrainerSettings
from .curriculum import Stage, fit_to_quantizer, latent_deviations, prepare_model
from .memory import device_memory, estimate
from .networks import CLIP, ImageLosses
from .objective import Objective, trained_parameters
from .tiles import Tiles
from .turns import TurnBatches
from .validation import Exports

FITTING_BATCHES = 8  # whose latents say how they fit the quantizer


class ProgressBar(Hook):
    """Shows how far a run is, with its losses, in the first process."""

    def on_start(self, trainer: Trainer) -> None:
        """Begins where the run does."""
        shown, steps = trainer.accelerator.is_main_process, trainer.settings.steps
        self._bar = tqdm(total=steps, initial=trainer.progress.step, disable=not shown)

    def after_step(self, trainer: Trainer) -> None:
        """Goes on by a step."""
        self._bar.update()

    def on_log(self, numbers: dict[str, float]) -> None:
        """Shows the losses."""
        losses = {name: value for name, value in numbers.items() if name.endswith("/loss")}
        self._bar.set_postfix({name.removesuffix("/loss"): f"{value:.3f}" for name, value in losses.items()})

    def on_end(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


def main(
    stage_file: Annotated[
        Path,
        typer.Argument(
            metavar="STAGE", help="YAML file of the stage, such as training/tokenizer/stages/so400m-1.yaml."
        ),
    ],
    data: Annotated[Path, typer.Option(help="YAML file with the data sources of every task.")],
    init_from: Annotated[
        str, typer.Option(help="Model to start from: that of the previous stage, or SigLIP 2. Folder or Hub name.")
    ],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the final model.")],
    teacher: Annotated[
        str | None,
        typer.Option(
            help="Model that image embeddings are distilled from. Without it, they are trained contrastively."
        ),
    ] = None,
    resume: Annotated[
        str, typer.Option(help='"auto" (from the newest complete checkpoint, if any), "never", or a checkpoint folder.')
    ] = "auto",
    losses: Annotated[
        str | None, typer.Option(help="Parts of the image loss, such as l1,st-lpips,gram. Default: those of the stage.")
    ] = None,
    vgg: Annotated[
        str | None, typer.Option(help="File with the weights of LPIPS's or ST-LPIPS's network. Default: searched for.")
    ] = None,
    clip: Annotated[str, typer.Option(help="CLIP model for the CLIP loss: folder or Hub name.")] = CLIP,
    text_cache: Annotated[
        Path | None, typer.Option(help="Folder with the embeddings of captions that embed_captions has written.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps. Default: that of the stage.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Time for steps: the run ends when it is over, and rates fall with it.")
    ] = None,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 1000,
    keep: Annotated[int, typer.Option(help="Number of newest checkpoints to keep.")] = 3,
    log_every: Annotated[int, typer.Option(help="Steps per line of the log, which shows their mean.")] = 10,
    export_every: Annotated[
        int | None,
        typer.Option(help="Steps between exports into OUTPUT/exports, which `validation` measures. Default: none."),
    ] = None,
    tracker: Annotated[str, typer.Option(help='Where to show the log: "tensorboard", "trackio" or "none".')] = "none",
    max_skipped: Annotated[
        int, typer.Option(help="Steps in a row whose gradients may be infinite or NaN before the run stops.")
    ] = 10,
    workers: Annotated[int, typer.Option(help="Processes that read samples, for each GPU.")] = 6,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(help="Use less memory, but a third more time. Default: as the stage says, or as memory demands."),
    ] = None,
    compile_blocks: Annotated[bool, typer.Option("--compile", help="Compile every block with torch.compile.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the data order, the samples and new weights.")] = 0,
) -> None:
    """Train one stage of the curriculum (docs/curriculum.md)."""
    stage = Stage.read(stage_file)
    if steps is not None:
        stage = replace(stage, steps=steps)
    settings = TrainerSettings(output, stage.steps, stage.optimizer, minutes, max_skipped, save_every, log_every, keep)
    # A stage that reconstructs no images needs no networks for it.
    weights = stage.losses["image"] if "image_reconstruction" in stage.ratios else {}
    image_losses = ImageLosses.choose(losses if weights else None, weights)
    stage = replace(stage, losses={**stage.losses, "image": image_losses.weights})
    begin(seed)
    # Before there is an accelerator: with ZeRO-3 set up, transformers would load shards, and scalars have none.
    model, processor = load_start(init_from)
    tower, scale = (None, 0.0) if teacher is None else load_teacher(teacher)
    views = stage.losses.get("3d", {}) if "3d_reconstruction" in stage.ratios else {}
    networks = image_losses.load(vgg, clip, views)
    accelerator = build_accelerator(stage.optimizer.clip, tracker, output)
    agreement = Agreement()
    protected = ProtectedRows.load(init_from, accelerator.distributed_type)
    tasks = stage.tasks
    found = checkpoint_to_resume(resume, output, agreement)
    is_new_quantizer = stage.quantize and model.quantizer is None and found is None
    prepare_model(model, stage, torch.Generator().manual_seed(seed))
    room, shards = device_memory(accelerator.device), shards_of(accelerator)
    memory = estimate(model, tower, stage, agreement.processes, shards, room)
    if gradient_checkpointing is None:
        gradient_checkpointing = stage.gradient_checkpointing
    if gradient_checkpointing is None:
        gradient_checkpointing = memory.needs_checkpointing
    if gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    if compile_blocks:
        for block in (*model.vision_model.blocks, *model.decoder.blocks):
            block.compile(dynamic=True)
    tiles = Tiles(model.config, stage.tile_frames, stage.cached_share, seed)
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
        workers,
        stage.step_tokens,
        tiles.layout,
        None if text_cache is None else TextCache(text_cache, fingerprint(model.text_model)),
    )
    asked = None if text_cache is None else agreement
    objective = Objective(model, stage.losses, tower, scale, *networks, seed, processor, tiles, asked)
    objective.to(accelerator.device)
    if is_new_quantizer:
        # On the device, and the same factors in all processes.
        rebuilt = [task for task in tasks if task.endswith("reconstruction")]
        drawn = (next(batches[rebuilt[index % len(rebuilt)]]) for index in range(FITTING_BATCHES))
        fit_to_quantizer(model, latent_deviations(model, drawn, accelerator.device))
    hooks: list[Hook] = [protected, ProgressBar()]
    if export_every is not None:
        hooks.append(Exports(export_every))
    turns = TurnBatches(batches, stage.ratios)
    trainer = Trainer(accelerator, objective, turns, settings, hooks)
    if found is not None:
        trainer.resume(found)
    if accelerator.is_main_process:
        counts = trained_parameters(objective)
        print(f"{stage.name}: {counts}, from step {trainer.progress.step} to {stage.steps}", flush=True)
        print(memory.describe(gradient_checkpointing), flush=True)
    if tracker != "none":
        accelerator.init_trackers("atoken", config={"stage": stage.name, "seed": seed})
    run_to_its_end(trainer, turns)


if __name__ == "__main__":
    typer.run(main)
