"""The PCA of the README's table: fitted to the photos and clips of the training split.

    python -m atoken.training.recipes.tiny.fit_pca DATA OUT.safetensors

DATA is the folder that `collect_media` has written.
"""

import random
from pathlib import Path
from typing import Annotated

import torch
import typer

from atoken.evaluation.models.pca import FRAMES, PcaTokenizer
from atoken.processing.atomic_files_atoken import atomic_file

from .crops import clip_batch, load_clips, load_squares


def main(
    data: Annotated[Path, typer.Argument(help="Folder written by collect_media.")],
    out: Annotated[Path, typer.Argument(help="File of the fitted bases, .safetensors.")],
    side: Annotated[int, typer.Option(help="Short side of pictures, as they are evaluated.")] = 256,
    frames: Annotated[int, typer.Option(help="That are read of each training clip.")] = 150,
) -> None:
    """Fit PCA to the photos and clips of the training split."""
    # The same crops as the tiny tokenizers are trained on.
    rng = random.Random(0)
    loaded = load_clips(data / "clips" / "train", frames)
    batches = [clip_batch(loaded, crop, FRAMES, 8, rng) for crop in (128, 256) * 30]
    videos = [((crop + 1) * 127.5).round().to(torch.uint8) for batch in batches for crop in batch]
    fitted = PcaTokenizer.fit(load_squares(data / "photos" / "train", side), videos, num_components=48)
    with atomic_file(out) as temporary:
        fitted.save(temporary)


if __name__ == "__main__":
    typer.run(main)
