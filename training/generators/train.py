"""Trains a generator on a corpus of tokens, on one laptop or many machines; only files and launcher differ.

    accelerate launch -m atoken.training.generators.train training/generators/stages/lightning-dit-xl.yaml \\
        --tokens CORPUS --tokenizer atoken-so-c --output runs/lightning-dit

CORPUS is what `atoken tokenize SOURCE CORPUS --flip --keep label` has written: latents for Lightning-DiT, of AToken or,
with `--autoencoder`, of VA-VAE and others; codes for TokenBridge. OUT/model holds the averaged weights as a model of
diffusers; OUT/checkpoint-* hold all that a run needs to go on exactly where it was.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from atoken.tokenizing.corpus.reading import AtokenTokens

from ..agreement import Agreement
from ..parallelism import build_accelerator, spreads_weights
from ..program import begin
from ..trainer import Hook, Trainer, TrainerSettings
from .building import build_generator, build_objective, open_tokenizer
from .drawn_samples import DrawnSamples
from .initial_weights import load_start
from .running import run_training
from .stage import GeneratorStage
from .token_batches import TokenBatches, TokensInMemory

# Options that all programs which train generators have.
Resume = Annotated[
    str, typer.Option(help='"auto" (from the newest complete checkpoint, if any), "never", or a checkpoint folder.')
]
Steps = Annotated[int | None, typer.Option(help="Number of steps. Default: that of the stage.")]
Minutes = Annotated[
    float | None, typer.Option(help="Time for steps: the run ends when it is over, and rates fall with it.")
]
SaveEvery = Annotated[int, typer.Option(help="Steps between checkpoints.")]
Keep = Annotated[int, typer.Option(help="Number of newest checkpoints to keep.")]
LogEvery = Annotated[int, typer.Option(help="Steps per line of the log, which shows their mean.")]
Tracker = Annotated[str, typer.Option(help='Where to show the log: "tensorboard", "trackio" or "none".')]
MaxSkipped = Annotated[
    int, typer.Option(help="Steps in a row whose gradients may be infinite or NaN before the run stops.")
]
GradientCheckpointing = Annotated[bool, typer.Option(help="Use less memory, but a third more time.")]
InMemory = Annotated[bool, typer.Option(help="Read whole corpora once, at the start.")]
Output = Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the model.")]
Seed = Annotated[int, typer.Option(help="Seed of the order, of all that is drawn, and of new weights.")]


class ProgressBar(Hook):
    """Shows how far a run is, with its loss, in the first process."""

    def on_start(self, trainer: Trainer) -> None:
        """Begins where the run does."""
        shown, steps = trainer.accelerator.is_main_process, trainer.settings.steps
        self._bar = tqdm(total=steps, initial=trainer.progress.step, disable=not shown)

    def after_step(self, trainer: Trainer) -> None:
        """Goes on by a step."""
        self._bar.update()

    def on_log(self, numbers: dict[str, float]) -> None:
        """Shows the loss."""
        self._bar.set_postfix({"loss": f"{numbers['generation/loss']:.4f}"})

    def on_end(self) -> None:
        """Leaves the bar as it is."""
        self._bar.close()


def main(
    stage_file: Annotated[
        Path,
        typer.Argument(metavar="STAGE", help="YAML file, such as training/generators/stages/lightning-dit-xl.yaml."),
    ],
    tokens: Annotated[Path, typer.Option(help="Corpus that atoken tokenize has written, with labels.")],
    tokenizer: Annotated[str, typer.Option(help="Tokenizer that has written it: folder or Hub name.")],
    output: Output,
    class_names: Annotated[Path | None, typer.Option(help="Text file with the name of one class a line.")] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="Weights to begin with: a generator of the stage's sizes, as OUTPUT/model is.")
    ] = None,
    resume: Resume = "auto",
    steps: Steps = None,
    minutes: Minutes = None,
    in_memory: InMemory = False,
    save_every: SaveEvery = 1000,
    keep: Keep = 3,
    log_every: LogEvery = 10,
    draw_every: Annotated[
        int | None, typer.Option(help="Steps between pictures of samples in OUTPUT/samples. Default: none.")
    ] = None,
    tracker: Tracker = "none",
    max_skipped: MaxSkipped = 10,
    gradient_checkpointing: GradientCheckpointing = False,
    seed: Seed = 0,
) -> None:
    """Train a generator (docs/generation.md)."""
    stage = GeneratorStage.read(stage_file)
    if steps is not None:
        stage = replace(stage, steps=steps)
    settings = TrainerSettings(output, stage.steps, stage.optimizer, minutes, max_skipped, save_every, log_every, keep)
    begin(seed)
    corpus = AtokenTokens(tokens)
    vae = open_tokenizer(tokenizer, corpus)
    names = None if class_names is None else class_names.read_text(encoding="utf-8").splitlines()
    model = build_generator(stage, corpus, vae, names)
    if init_from is not None:
        load_start(model, init_from)
    if gradient_checkpointing:
        model.enable_gradient_checkpointing()
    accelerator, agreement = build_accelerator(stage.optimizer.clip, tracker, output), Agreement()
    if draw_every is not None and spreads_weights(accelerator):
        raise ValueError(
            "draw_every must be left out where weights are spread over processes (FSDP2, ZeRO-3), as the first one "
            f"draws alone, got {draw_every}; use whole copies, or draw with the model that is exported at the end"
        )
    rows = TokensInMemory(corpus) if in_memory else corpus
    batches = TokenBatches(rows, stage.batch_size, seed, accelerator.process_index, accelerator.num_processes)
    objective = build_objective(model, stage, seed).to(accelerator.device)
    drawn = [] if draw_every is None else [DrawnSamples(model, vae, draw_every)]
    run_training(
        accelerator,
        objective,
        batches,
        settings,
        name=stage.name,
        about=[f"{len(corpus):,} rows"],
        resume=resume,
        tracker=tracker,
        agreement=agreement,
        seed=seed,
        hooks=[ProgressBar(), *drawn],
    )


if __name__ == "__main__":
    typer.run(main)
