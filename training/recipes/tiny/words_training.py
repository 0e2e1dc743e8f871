"""Trains a stage of the tiny curriculum with real words beside its tasks.

    python -m atoken.training.recipes.tiny.words_training STAGE --data DATA.yaml --words DATA/words \\
        --init-from START --teacher TEACHER --output OUT

It is `atoken.training.tokenizer.train` with one more batch in each step, of crops of photos with what a teacher of
words has seen in them (`words_targets`). START has a text tower that knows real words (`words_start`). A run that was
stopped goes on from its newest checkpoint; OUT/model holds the averaged weights.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from ... import checkpoints
from ...data.tasks import open_tasks, read_data
from ...frozen_rows import ProtectedRows
from ...parallelism import build_accelerator
from ...program import begin, run_to_its_end
from ...starts import load_start, load_teacher
from ...tokenizer.curriculum import DISTILLED, Stage, prepare_model
from ...tokenizer.train import ProgressBar
from ...tokenizer.turns import TurnBatches
from ...trainer import Trainer, TrainerSettings
from .words_objective import WordsObjective, fit_space
from .words_task import WordBatches, WordTurns

FITTING_BATCHES = 40  # of either kind, that heads begin with


def main(
    stage_file: Annotated[Path, typer.Argument(metavar="STAGE", help="YAML file of the stage.")],
    data: Annotated[Path, typer.Option(help="YAML file with the data sources of every task.")],
    words: Annotated[Path, typer.Option(help="Folder written by words_targets.")],
    init_from: Annotated[str, typer.Option(help="Model to start from, whose text tower knows real words.")],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the final model.")],
    teacher: Annotated[
        str | None, typer.Option(help="Model whose embeddings of the miniature world's images are distilled.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Crops of each step, of all processes together.")] = 16,
    steps: Annotated[int | None, typer.Option(help="Number of steps. Default: that of the stage.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time for steps, with which rates fall.")] = None,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    workers: Annotated[int, typer.Option(help="Processes that read samples.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the data order, the samples and new weights.")] = 0,
) -> None:
    """Trains, or goes on."""
    stage = Stage.read(stage_file)
    stage = stage if steps is None else replace(stage, steps=steps)
    begin(seed)
    model, processor = load_start(init_from)
    tower, scale = (None, 0.0) if teacher is None else load_teacher(teacher)
    accelerator = build_accelerator(stage.optimizer.clip, "none", output)
    rank, processes = accelerator.process_index, accelerator.num_processes
    length = model.config.text_config.max_position_embeddings
    tasks = stage.tasks
    sources, sizes = read_data(data), stage.batch_sizes
    batches = open_tasks(
        tasks,
        sources,
        sizes,
        stage.limits,
        processor.tokenizer,
        length,
        seed,
        rank,
        processes,
        workers,
        stage.step_tokens,
    )
    prepare_model(model, stage, torch.Generator().manual_seed(seed))
    objective = WordsObjective(
        *fit_space(words, model.text_model, processor.tokenizer),
        model=model,
        weights=stage.losses,
        teacher=tower,
        teacher_scale=scale,
        seed=seed,
        processor=processor,
    )
    found = checkpoints.newest(output)
    if found is None:
        crops = WordBatches(words, batch, seed + 1)
        drawn = [(next(crops), next(batches[DISTILLED])) for _ in range(FITTING_BATCHES)]
        objective.fit_heads([one for one, _ in drawn], [other for _, other in drawn])
    turns = WordTurns(TurnBatches(batches, stage.ratios), WordBatches(words, batch // processes, seed, rank, processes))
    settings = TrainerSettings(output, stage.steps, stage.optimizer, minutes, save_every=save_every)
    hooks = [ProtectedRows.load(init_from, accelerator.distributed_type), ProgressBar()]
    trainer = Trainer(accelerator, objective.to(accelerator.device), turns, settings, hooks)
    if found is not None:
        trainer.resume(found)
    run_to_its_end(trainer, turns)


if __name__ == "__main__":
    typer.run(main)
