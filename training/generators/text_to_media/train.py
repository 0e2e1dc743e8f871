"""Trains a generator of images and videos of texts, on one laptop or many machines; only files and launcher differ.

    accelerate launch -m atoken.training.generators.text_to_media.train \\
        training/generators/text_to_media/stages/images-256.yaml \\
        --images CORPUS --tokenizer atoken-so-c --captions CAPTIONS --output runs/images

The corpora are what `atoken tokenize SOURCE CORPUS --keep caption` has written, and CAPTIONS is what `encode_captions`
has written; a training of one process encodes by itself what is missing there. With --videos, and --init-from
runs/images/model, the same model goes on with videos. OUT/model holds the averaged weights and the statistics of
latents; OUT/checkpoint-* hold all that a run needs to go on exactly where it was.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from atoken.tokenizing.corpus.reading import AtokenTokens
from atoken.tokenizing.loading import LoadedModel

from ...agreement import Agreement
from ...parallelism import build_accelerator
from ...program import begin
from ...trainer import StoppedElsewhere, TrainerSettings
from ..running import run_training
from ..train import (
    GradientCheckpointing,
    InMemory,
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
from .batches import Captioned, MediaBatches
from .building import build_transformer, check_corpus, statistics_of
from .captions import EMPTY, CaptionConditions, captions_of, check_encoder, write_captions
from .objective import TextToMediaObjective
from .stage import TextToMediaStage
from .text_encoders import TextEncoders, open_text_encoders
from .tokenizers import channels_of, open_tokenizer


def open_captions(
    folder: Path,
    captions: Sequence[str],
    open_encoders: Callable[[], TextEncoders],
    device: torch.device,
    agreement: Agreement,
) -> CaptionConditions:
    """
    Opens the conditions of captions.

    The first process alone opens the encoders, which may be large, and checks that they are what has encoded the
    captions. Only where there is no other process, which would have to wait, it encodes what is missing.

    Args:
        folder: of encoded captions.
        captions: of all rows.
        open_encoders: opens what has to have encoded them.
        device: to encode on.
        agreement: with the other processes.

    Raises:
        FileNotFoundError: there are several processes and no folder.
        ValueError: the folder has captions of other encoders, or none.
        StoppedElsewhere: the first process had one of these errors.
    """
    error = None
    if agreement.rank == 0:
        try:
            encoders = open_encoders()
            name = encoders.fingerprint()
            if agreement.processes == 1:
                for done, total in write_captions(folder, captions, encoders.to(device).encode, name):
                    print(f"{done:,} of {total:,} captions", flush=True)
            check_encoder(folder, name)
        except Exception as caught:  # whatever it is, the other processes must not wait for this one
            error = caught
    if agreement.any(error is not None):
        raise error or StoppedElsewhere("the first process cannot read the captions; its own message says why")
    return CaptionConditions(folder)


def open_media(corpora: dict[str, AtokenTokens], in_memory: bool) -> dict[str, Captioned]:
    """Gives what batches are drawn from, by kind."""
    return {
        kind: Captioned(
            [corpus[index] for index in range(len(corpus))] if in_memory else corpus,
            corpus.sizes(),
            captions_of(corpus),
        )
        for kind, corpus in corpora.items()
    }


def main(
    stage_file: Annotated[
        Path,
        typer.Argument(
            metavar="STAGE", help="YAML file, such as training/generators/text_to_media/stages/images-256.yaml."
        ),
    ],
    tokenizer: Annotated[str, typer.Option(help="Tokenizer that has written the corpora: folder or Hub name.")],
    captions: Annotated[
        Path, typer.Option(help="Folder of encoded captions; a training of one process encodes what is missing.")
    ],
    output: Output,
    images: Annotated[Path | None, typer.Option(help="Corpus of images with captions.")] = None,
    videos: Annotated[Path | None, typer.Option(help="Corpus of videos with captions.")] = None,
    text_encoder: Annotated[
        str | None, typer.Option(help="Encoder of transformers: folder or Hub name. Default: the tokenizer's tower.")
    ] = None,
    text_encoder_2: Annotated[
        str | None, typer.Option(help="CLIP for the vector of a whole text. Default: the first encoder gives it.")
    ] = None,
    init_from: Annotated[
        Path | None, typer.Option(help="Weights to begin with: OUTPUT/model of a training on images.")
    ] = None,
    resume: Resume = "auto",
    steps: Steps = None,
    minutes: Minutes = None,
    in_memory: InMemory = False,
    save_every: SaveEvery = 1000,
    keep: Keep = 3,
    log_every: LogEvery = 10,
    tracker: Tracker = "none",
    max_skipped: MaxSkipped = 10,
    gradient_checkpointing: GradientCheckpointing = False,
    seed: Seed = 0,
) -> None:
    """Train a generator of images and videos of texts (docs/generation.md)."""
    given = {kind: path for kind, path in (("image", images), ("video", videos)) if path is not None}
    if not given:
        raise typer.BadParameter("--images or --videos must be given")
    stage = TextToMediaStage.read(stage_file)
    if steps is not None:
        stage = replace(stage, steps=steps)
    begin(seed)
    corpora = {kind: AtokenTokens(path) for kind, path in given.items()}
    loaded = open_tokenizer(tokenizer, corpora)
    for kind, corpus in corpora.items():
        check_corpus(f"{kind}s", corpus, kind, loaded, stage.patch_size)
    statistics = statistics_of(corpora, loaded, init_from)
    atoken = loaded if isinstance(loaded, LoadedModel) else None
    accelerator, agreement = build_accelerator(stage.optimizer.clip, tracker, output), Agreement()
    media = open_media(corpora, in_memory)
    conditions = open_captions(
        captions,
        [text for each in media.values() for text in each.captions],
        lambda: open_text_encoders(atoken, text_encoder, text_encoder_2),
        accelerator.device,
        agreement,
    )
    batches = MediaBatches(media, conditions, stage, seed, accelerator.process_index, accelerator.num_processes)
    model = build_transformer(stage, channels_of(loaded), conditions, init_from)
    if gradient_checkpointing:
        model.enable_gradient_checkpointing()
    objective = TextToMediaObjective(model, stage, conditions.find([EMPTY]), statistics, seed).to(accelerator.device)
    settings = TrainerSettings(output, stage.steps, stage.optimizer, minutes, max_skipped, save_every, log_every, keep)
    run_training(
        accelerator,
        objective,
        batches,
        settings,
        name=stage.name,
        about=batches.describe(),
        resume=resume,
        tracker=tracker,
        agreement=agreement,
        seed=seed,
        hooks=[ProgressBar()],
    )


if __name__ == "__main__":
    typer.run(main)
